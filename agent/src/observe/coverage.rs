//! What shows that the agent's programs run: destinations that nothing but they refuse, and how often they have refused.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use agent_common::abi::{DEFAULT_SCOPE, Outbound, Port, UDP, UNCOUNTED};
use agent_common::{Connect, Family, Reason, Tables, Verdict, decide};
use serde::{Deserialize, Serialize};

use crate::dataplane::{Counts, abi_address};
use crate::model::VipRanges;

use super::State;

/// Ports of one address that are tried; objects declare few.
const PORTS: u16 = 1024;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CoverageView {
    /// Whether the programs are attached.
    pub ready: bool,
    /// Where.
    pub cgroups: Vec<PathBuf>,
    /// Destinations, one of each family, that a UDP socket is refused to connect to: automatic addresses with a port that
    /// nothing declares.
    pub refused: Vec<SocketAddr>,
    /// How often that has been refused, here and anywhere.
    pub refusals: u64,
}

pub fn coverage(
    state: &State,
    tables: &impl Tables,
    counts: &Counts,
    ranges: &VipRanges,
) -> CoverageView {
    let last: [IpAddr; 2] = [ranges.v4.broadcast().into(), ranges.v6.broadcast().into()];
    CoverageView {
        ready: state.ready,
        cgroups: state.cgroups.clone(),
        refused: last
            .into_iter()
            .filter_map(|address| refused_at(tables, address))
            .collect(),
        refusals: counts.port_not_declared,
    }
}

fn refused_at(tables: &impl Tables, address: IpAddr) -> Option<SocketAddr> {
    let is_refused = |port: &u16| {
        let connect = Connect {
            family: if address.is_ipv4() {
                Family::V4
            } else {
                Family::V6
            },
            address: abi_address(address),
            port: Port::new(*port),
            protocol: UDP,
            scope: DEFAULT_SCOPE,
            names: 0,
            outbound: Outbound::AllowAny,
        };
        let refused = Verdict::Deny {
            service: None,
            endpoint: UNCOUNTED,
            reason: Reason::PortNotDeclared,
        };
        decide(tables, &connect, &mut || 0) == refused
    };
    let port = (1..=PORTS).find(is_refused)?;
    Some(SocketAddr::new(address, port))
}
