//! Queries to name servers: what comes before them, and which connects are none.

use std::net::SocketAddr;

use agent_common::abi::{Address, DEFAULT_SCOPE, Outbound, Port, TCP, UDP, UNCOUNTED};
use agent_common::{Connect, Family, Reason, Verdict, decide};

use crate::compile::{Frontend, Program};
use crate::dataplane::Limits;

use super::super::address;
use super::super::memory::MemoryDataplane;
use super::programs::{add, frontend, key};

const LISTENER: (Address, Port) = (Address::from_v4_octets([127, 0, 0, 1]), Port::new(5301));

fn verdict(dataplane: &MemoryDataplane, to: &str, protocol: u8) -> Verdict {
    let to: SocketAddr = to.parse().unwrap();
    let connect = Connect {
        family: Family::V4,
        address: address::from_ip(to.ip()),
        port: Port::new(to.port()),
        protocol,
        scope: DEFAULT_SCOPE,
        names: 0,
        outbound: Outbound::AllowAny,
    };
    decide(dataplane.tables(), &connect, &mut || 0)
}

#[test]
fn a_query_is_what_goes_to_port_53_and_is_claimed_by_nothing_else() {
    let mut dataplane = MemoryDataplane::in_memory(&Limits::small());
    let mut program = Program::default();
    program.vip_ranges.v4 = "240.240.0.0/16".parse().unwrap();
    for destination in ["198.51.100.53", "203.0.113.0/24"] {
        let declared = Frontend {
            port: 53,
            ..frontend(destination)
        };
        add(&mut program, destination, &[], &[("10.0.0.1:53", 1)]);
        program.frontends.insert(declared, key(destination));
    }
    dataplane.apply(&program);
    let servers = ["127.0.0.53", "198.51.100.53", "203.0.113.1", "240.240.0.1"];
    dataplane.store.name_servers = servers
        .map(|server| (server.parse().unwrap(), LISTENER))
        .into();

    let (address, port) = LISTENER;
    let ask = Verdict::Ask { address, port };
    assert_eq!(verdict(&dataplane, "127.0.0.53:53", UDP), ask);
    assert_eq!(verdict(&dataplane, "127.0.0.53:53", TCP), ask);
    assert_eq!(verdict(&dataplane, "198.51.100.53:53", UDP), ask);
    for declared in ["198.51.100.53:53", "203.0.113.1:53"] {
        let verdict = verdict(&dataplane, declared, TCP);
        assert!(matches!(verdict, Verdict::Rewrite { .. }), "{declared}");
    }
    let refused = Verdict::Deny {
        service: None,
        endpoint: UNCOUNTED,
        reason: Reason::PortNotDeclared,
    };
    assert_eq!(verdict(&dataplane, "240.240.0.1:53", UDP), refused);
    for (other, protocol) in [
        ("127.0.0.53:853", TCP),
        ("127.0.0.53:53", 132),
        ("127.0.0.54:53", UDP),
    ] {
        assert_eq!(
            verdict(&dataplane, other, protocol),
            Verdict::Pass,
            "{other}"
        );
    }
}
