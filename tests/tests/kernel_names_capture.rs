//! The capture of name resolution in the running kernel: which queries to name servers go to the agent's listeners, and that
//! the socket does not notice. All of it with flow records in lines, and with those at the sockets, which kernels before Linux
//! 5.12 have.

use std::net::{IpAddr, SocketAddr};

use agent::compile::{Action, Program};
use agent::dataplane::{Heart, LISTENERS, Listeners};
use agent_common::abi::{DEFAULT_SCOPE, TCP, UDP};
use anyhow::Result;
use tests::lab::Lab;
use tests::programs::{add, at, balance, frontend, ip, key, service};
use tests::sockets::{Request, Server, Setting, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

/// Where the listeners are: from port 5300 on.
const V4: &str = "127.0.0.1";
const V6: &str = "fd00::1";
const FIRST_PORT: u16 = 5300;

/// Name servers that are there.
const STUB: &str = "127.0.0.53:53";
const SERVER: &str = "10.9.0.1:53";
const SERVER6: &str = "[fd00::53]:53";

/// Runs `check` in laboratories in which there are name servers, listeners, and a heart that has beaten.
fn check(check: impl Fn(&mut Lab, &Heart) -> Result<()>) -> Result<()> {
    Lab::with_records_anywhere(CLIENT, |lab| {
        let addresses = [ip("10.9.0.1"), ip("fd00::53"), ip(V6)];
        lab.client
            .order(&Request::AddAddresses(addresses.to_vec()))?;
        let listeners = (1..=3).flat_map(|n| [listener(V4, n), listener(V6, n)]);
        let servers = [STUB, SERVER, SERVER6].map(at);
        for at in servers.into_iter().chain(listeners) {
            for transport in [Transport::Udp, Transport::Tcp] {
                let server = Server::Tell(transport);
                lab.client.order(&Request::Serve { at, server })?;
            }
        }
        let heart = lab.dataplane.capture_names(&listeners_at(false));
        heart.beat();
        check(lab, &heart)
    })
}

fn listeners_at(everywhere: bool) -> Listeners {
    let mut ports = [0; LISTENERS];
    for (port, number) in ports.iter_mut().zip(FIRST_PORT..) {
        *port = number;
    }
    Listeners {
        v4: Some(V4.parse().expect("an address")),
        v6: Some(V6.parse().expect("an address")),
        ports,
        everywhere,
    }
}

fn listener(address: &str, number: u16) -> SocketAddr {
    SocketAddr::new(ip(address), FIRST_PORT + number)
}

/// Who answers at the other end of a connection of a new socket. Its peer must seem to be what it asked for.
fn connect(lab: &mut Lab, transport: Transport, to: &str) -> Result<SocketAddr> {
    let socket = lab.client.next_socket();
    let connected = lab.client.connect_socket(socket, transport, at(to))?;
    let socket = connected.socket();
    assert_eq!(lab.client.peer(socket)?, at(to));
    let told = lab.client.told(socket)?;
    lab.client.close(socket)?;
    Ok(told.server)
}

fn ask(lab: &mut Lab, to: &str) -> Result<SocketAddr> {
    let socket = lab.client.open_udp(at(to).is_ipv6())?;
    let server = lab.client.reach(socket, to)?;
    lab.client.close(socket)?;
    Ok(server)
}

#[test]
fn a_query_goes_to_a_listener_and_its_answer_comes_from_the_server_that_was_asked() -> Result<()> {
    check(|lab, _| {
        for (to, listener) in [
            (STUB, listener(V4, 1)),
            ("[::ffff:127.0.0.53]:53", listener(V4, 1)),
            (SERVER6, listener(V6, 2)),
        ] {
            assert_eq!(ask(lab, to)?, listener, "unconnected, {to}");
            for transport in [Transport::Udp, Transport::Tcp] {
                let reached = connect(lab, transport, to)?;
                assert_eq!(reached, listener, "{transport:?} {to}");
            }
        }
        Ok(())
    })
}

#[test]
fn each_name_server_has_a_listener_of_its_own() -> Result<()> {
    check(|lab, _| {
        let socket = lab.client.open_udp(false)?;
        for _ in 0..3 {
            assert_eq!(lab.client.reach(socket, STUB)?, listener(V4, 1));
            assert_eq!(lab.client.reach(socket, SERVER)?, listener(V4, 2));
        }
        lab.client.close(socket)?;
        let origins = lab.dataplane.origins();
        assert_eq!(origins.of(1), Some((at(STUB), DEFAULT_SCOPE)));
        assert_eq!(origins.of(2), Some((at(SERVER), DEFAULT_SCOPE)));
        assert_eq!(origins.of(3), None);
        assert_eq!(origins.of(LISTENERS), None);
        assert_eq!(origins.claim(at(SERVER).ip(), DEFAULT_SCOPE)?, Some(2));
        origins.forget(1);
        assert_eq!(ask(lab, SERVER6)?, listener(V6, 1));
        assert_eq!(ask(lab, SERVER)?, listener(V4, 2));
        Ok(())
    })
}

#[test]
fn servers_beyond_the_listeners_are_asked_themselves() -> Result<()> {
    check(|lab, _| {
        let origins = lab.dataplane.origins();
        for n in 1..16 {
            let other = IpAddr::from([192, 0, 2, n]);
            assert_eq!(origins.claim(other, DEFAULT_SCOPE)?, Some(usize::from(n)));
        }
        assert_eq!(origins.claim(at(STUB).ip(), DEFAULT_SCOPE)?, None);
        assert_eq!(ask(lab, STUB)?, at(STUB));
        assert_eq!(lab.dataplane.counts().name_servers_full, 1);
        origins.forget(3);
        assert_eq!(ask(lab, STUB)?, listener(V4, 3));
        Ok(())
    })
}

#[test]
fn nothing_is_captured_without_a_heartbeat() -> Result<()> {
    check(|lab, heart| {
        let socket = lab.client.open_udp(false)?;
        assert_eq!(lab.client.reach(socket, STUB)?, listener(V4, 1));
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(lab.client.reach(socket, STUB)?, at(STUB));
        for transport in [Transport::Udp, Transport::Tcp] {
            assert_eq!(connect(lab, transport, STUB)?, at(STUB));
        }
        heart.beat();
        assert_eq!(lab.client.reach(socket, STUB)?, listener(V4, 1));
        let other = lab.dataplane.capture_names(&listeners_at(false));
        assert_eq!(lab.client.reach(socket, STUB)?, at(STUB));
        other.beat();
        assert_eq!(lab.client.reach(socket, STUB)?, listener(V4, 1));
        drop(other);
        assert_eq!(lab.client.reach(socket, STUB)?, at(STUB));
        heart.beat();
        lab.dataplane.release_names();
        heart.beat();
        assert_eq!(lab.client.reach(socket, STUB)?, at(STUB));
        assert_eq!(lab.dataplane.origins().of(1), None);
        lab.client.close(socket)
    })
}

#[test]
fn a_query_goes_to_its_server_where_the_listener_is_gone() -> Result<()> {
    check(|lab, _| {
        let origins = lab.dataplane.origins();
        // At the sixth nobody listens but this client's own socket, for as long as that is open.
        for n in 1..6 {
            origins.claim(IpAddr::from([192, 0, 2, n]), DEFAULT_SCOPE)?;
        }
        let at_sixth = listener(V4, 6).to_string();
        let listening = lab.client.open_udp(false)?;
        lab.client.bind(listening, &at_sixth)?;
        let asking = lab.client.open_udp(false)?;
        lab.client.reconnect(asking, STUB)?;
        assert_eq!(origins.of(6), Some((at(STUB), DEFAULT_SCOPE)));
        assert_eq!(connect(lab, Transport::Tcp, STUB)?, at(STUB));
        lab.client.close(listening)?;
        assert_eq!(connect(lab, Transport::Udp, STUB)?, at(STUB));
        assert_eq!(ask(lab, STUB)?, at(STUB));
        // A socket of any address may be somebody else's.
        let any = lab.client.open_udp(false)?;
        lab.client
            .bind(any, &format!("0.0.0.0:{}", FIRST_PORT + 6))?;
        assert_eq!(ask(lab, STUB)?, at(STUB));
        lab.client.close(any)?;
        lab.client.close(asking)
    })
}

#[test]
fn a_query_from_another_network_namespace_goes_to_its_server() -> Result<()> {
    check(|lab, _| {
        let mut other = lab.start_client(CLIENT)?;
        other.order(&Request::Serve {
            at: at(STUB),
            server: Server::Tell(Transport::Udp),
        })?;
        let socket = other.open_udp(false)?;
        let told = |told: Result<tests::sockets::Exchange, i32>| told.map(|e| e.told.server);
        assert_eq!(told(other.exchange(socket, STUB)?), Ok(at(STUB)));
        assert_eq!(lab.dataplane.origins().of(1), None);
        // A listener that is said to be everywhere is not looked for.
        let heart = lab.dataplane.capture_names(&listeners_at(true));
        heart.beat();
        other.order(&Request::Serve {
            at: listener(V4, 1),
            server: Server::Tell(Transport::Udp),
        })?;
        assert_eq!(told(other.exchange(socket, STUB)?), Ok(listener(V4, 1)));
        Ok(())
    })
}

#[test]
fn a_socket_that_is_bound_to_a_device_asks_the_server_itself() -> Result<()> {
    check(|lab, _| {
        let socket = lab.client.open_udp(false)?;
        lab.client.set(socket, Setting::Device("lo".to_owned()))?;
        assert_eq!(lab.client.reach(socket, STUB)?, at(STUB));
        lab.client.close(socket)
    })
}

#[test]
fn a_socket_that_has_chosen_a_device_asks_the_server_itself() -> Result<()> {
    check(|lab, _| {
        for (is_v6, server) in [(false, STUB), (true, SERVER6)] {
            let socket = lab.client.open_udp(is_v6)?;
            lab.client.set(socket, Setting::UnicastLoopback)?;
            assert_eq!(lab.client.reach(socket, server)?, at(server));
            lab.client.reconnect(socket, server)?;
            assert_eq!(lab.client.told(socket)?.server, at(server));
            lab.client.close(socket)?;
        }
        Ok(())
    })
}

#[test]
fn other_ports_and_the_listeners_themselves_are_left_alone() -> Result<()> {
    check(|lab, _| {
        for port in [853, 5353] {
            let to = format!("127.0.0.53:{port}");
            for transport in [Transport::Udp, Transport::Tcp] {
                lab.serve(&to, Server::Tell(transport))?;
                assert_eq!(connect(lab, transport, &to)?, at(&to));
            }
            assert_eq!(ask(lab, &to)?, at(&to));
        }
        let mut listeners = listeners_at(false);
        listeners.ports[0] = 53;
        let heart = lab.dataplane.capture_names(&listeners);
        heart.beat();
        let own = "127.0.0.1:53";
        lab.serve(own, Server::Tell(Transport::Udp))?;
        assert_eq!(ask(lab, own)?, at(own));
        assert_eq!(lab.dataplane.origins().of(1), None);
        Ok(())
    })
}

#[test]
fn a_declared_name_server_stays_that_of_its_service() -> Result<()> {
    check(|lab, heart| {
        let declared = "198.51.100.53:53";
        let mut program = Program::default();
        balance(
            &mut program,
            "dns",
            frontend(at(declared), UDP),
            &[(at(SERVER), 1)],
        );
        let kept = service(Action::Original { port: None }, Vec::new());
        add(
            &mut program,
            &key("kept", 53, TCP),
            kept,
            &[frontend(at(STUB), TCP)],
        );
        lab.apply(&program);
        heart.beat();
        assert_eq!(ask(lab, declared)?, at(SERVER));
        assert_eq!(connect(lab, Transport::Tcp, STUB)?, at(STUB));
        // What is not declared is captured as before.
        assert_eq!(ask(lab, STUB)?, listener(V4, 1));
        Ok(())
    })
}

#[test]
fn a_query_without_a_listener_of_its_family_goes_to_its_server() -> Result<()> {
    check(|lab, _| {
        let only_v4 = Listeners {
            v6: None,
            ..listeners_at(false)
        };
        let heart = lab.dataplane.capture_names(&only_v4);
        heart.beat();
        assert_eq!(ask(lab, SERVER6)?, at(SERVER6));
        let only_v6 = Listeners {
            v4: None,
            ..listeners_at(false)
        };
        let heart = lab.dataplane.capture_names(&only_v6);
        heart.beat();
        assert_eq!(ask(lab, STUB)?, at(STUB));
        let socket = lab.client.open_udp(true)?;
        lab.client.set(socket, Setting::OnlyV6)?;
        assert_eq!(lab.client.reach(socket, SERVER6)?, listener(V6, 1));
        lab.client.close(socket)
    })
}

#[test]
fn captured_sockets_count_nowhere_and_leave_no_record() -> Result<()> {
    check(|lab, heart| {
        let before = lab.dataplane.counts().services;
        for _ in 0..50 {
            heart.beat();
            ask(lab, STUB)?;
            connect(lab, Transport::Udp, STUB)?;
            connect(lab, Transport::Tcp, SERVER)?;
        }
        assert_eq!(lab.dataplane.counts().services, before);
        lab.expect_no_records();
        Ok(())
    })
}

#[test]
fn a_query_of_the_agent_is_not_captured() -> Result<()> {
    check(|lab, heart| {
        // As with an agent that is attached to the whole machine, itself included.
        lab.dataplane.attach(&[tests::cgroup::present()?])?;
        // The socket stays with the cgroup that it was made in, so that the hook still runs.
        lab.client
            .order(&Request::JoinCgroup(tests::cgroup::present()?))?;
        heart.beat();
        assert_eq!(ask(lab, STUB)?, at(STUB));
        assert_eq!(connect(lab, Transport::Tcp, STUB)?, at(STUB));
        assert_eq!(lab.dataplane.origins().of(1), None);
        Ok(())
    })
}
