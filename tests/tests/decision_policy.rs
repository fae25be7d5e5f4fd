//! The running kernel: clients of different scopes, what may not be reached, and what is told of that.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use agent::compile::{
    Access, Action, Clients, Exemption, Outbound, Program, RefuseReason, Ruling, Scope,
};
use agent::dataplane::{Denials, client_word, ip_address};
use agent_common::abi::{DEFAULT_SCOPE, Denial, Denied, TCP, UDP, UNCOUNTED};
use anyhow::{Context, Result};
use tests::cgroup::TemporaryCgroup;
use tests::client::Outcome;
use tests::lab::{ECONNREFUSED, ENETUNREACH, Lab};
use tests::programs::{add, at, balance, endpoint, frontend, key, service};
use tests::sockets::{Request, Server, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");
const EPERM: i32 = libc::EPERM;

/// How deep workloads are: below the cgroup of the laboratory.
const LEVEL: u8 = 2;

const VIP: &str = "240.240.0.1:80";
const ENDPOINTS: [&str; 2] = ["10.9.0.1:8080", "10.9.0.2:8080"];
const SCOPES: [u32; 2] = [7, 1 << 20];

/// A laboratory, cgroups in it for workloads, and one in the first of these.
struct Cluster {
    // Dropped in this order, from the inside.
    nested: TemporaryCgroup,
    workloads: [TemporaryCgroup; 2],
    lab: Lab,
}

impl Cluster {
    fn new() -> Result<Option<Self>> {
        let Some(lab) = Lab::new(CLIENT)? else {
            return Ok(None);
        };
        let below = || TemporaryCgroup::below(lab.cgroup.path());
        let workloads = [below()?, below()?];
        let nested = TemporaryCgroup::below(workloads[0].path())?;
        Ok(Some(Self {
            nested,
            workloads,
            lab,
        }))
    }

    /// One of its workloads in each of [`SCOPES`], which all may do the same.
    fn clients(&self, outbound: Outbound) -> Result<Clients> {
        let mut clients = Clients {
            levels: vec![LEVEL],
            ..Clients::default()
        };
        for (scope, workload) in SCOPES.into_iter().zip(&self.workloads) {
            let of = Scope {
                outbound,
                ..Scope::default()
            };
            clients.scopes.insert(scope, of);
            clients.cgroups.insert(workload.id()?, scope);
        }
        // The servers are of the client's process, and their answers are datagrams that nothing registers.
        let answers = at(ENDPOINTS[0]).ip().into();
        clients.exempt.insert(answers, Exemption::Destination);
        Ok(clients)
    }

    fn enter(&mut self, cgroup: &Path) -> Result<()> {
        self.lab
            .client
            .order(&Request::JoinCgroup(cgroup.to_owned()))
    }

    fn enter_workload(&mut self, number: usize) -> Result<()> {
        let path = self.workloads[number].path().to_owned();
        self.enter(&path)
    }

    /// Holds that each way to `to` ends at `endpoint`.
    fn expect_reached(&mut self, to: &str, endpoint: &str) -> Result<()> {
        let client = &mut self.lab.client;
        for transport in [Transport::Tcp, Transport::Udp] {
            let socket = client.connect(transport, at(to))?.socket();
            client.expect_connected(socket, to, endpoint)?;
            client.close(socket)?;
        }
        let socket = client.open_udp(false)?;
        let exchange = client.exchange(socket, to)?;
        let exchange = exchange.map_err(|errno| anyhow::anyhow!("{to}: errno {errno}"))?;
        assert_eq!(
            (exchange.told.server, exchange.from),
            (at(endpoint), at(to))
        );
        client.close(socket)
    }

    /// What each way to `to` fails with: TCP, connected UDP, unconnected UDP.
    fn errors(&mut self, to: &str) -> Result<[i32; 3]> {
        let client = &mut self.lab.client;
        let mut connect = |transport| match client.connect(transport, at(to))? {
            Outcome::Failed(errno) => Ok(errno),
            Outcome::Connected { peer, .. } => anyhow::bail!("connected to {peer}"),
        };
        let (tcp, udp) = (connect(Transport::Tcp)?, connect(Transport::Udp)?);
        let socket = client.open_udp(at(to).is_ipv6())?;
        let sent = client.exchange(socket, to)?;
        client.close(socket)?;
        let unconnected = sent.err().context("it was sent")?;
        Ok([tcp, udp, unconnected])
    }
}

impl Drop for Cluster {
    /// The cgroups cannot be removed while the client is in them.
    fn drop(&mut self) {
        let outside = self.lab.cgroup.path().to_owned();
        if let Err(error) = self.enter(&outside) {
            eprintln!("the client stays in its workload: {error:#}");
        }
    }
}

/// [`VIP`] leads each of the scopes to an endpoint of its own.
fn apart(clients: Clients) -> Program {
    let mut program = Program {
        clients,
        ..Program::default()
    };
    for (scope, to) in SCOPES.into_iter().zip(ENDPOINTS) {
        for transport in [TCP, UDP] {
            let mut frontend = frontend(at(VIP), transport);
            frontend.scope = scope;
            balance(&mut program, to, frontend, &[(at(to), 1)]);
        }
    }
    program
}

fn serve(lab: &mut Lab, endpoints: &[&str]) -> Result<()> {
    lab.add_addresses(endpoints)?;
    for endpoint in endpoints {
        for transport in [Transport::Tcp, Transport::Udp] {
            lab.serve(endpoint, Server::Tell(transport))?;
        }
    }
    Ok(())
}

#[test]
fn clients_of_two_scopes_reach_different_endpoints_at_one_address() -> Result<()> {
    let Some(mut cluster) = Cluster::new()? else {
        return Ok(());
    };
    let clients = cluster.clients(Outbound::AllowAny)?;
    cluster.lab.apply(&apart(clients));
    serve(&mut cluster.lab, &ENDPOINTS)?;

    for (number, endpoint) in ENDPOINTS.into_iter().enumerate() {
        cluster.enter_workload(number)?;
        cluster.expect_reached(VIP, endpoint)?;
    }

    let nested = cluster.nested.path().to_owned();
    cluster.enter(&nested)?;
    cluster.expect_reached(VIP, ENDPOINTS[0])?;

    let nobodys = cluster.lab.cgroup.path().to_owned();
    cluster.enter(&nobodys)?;
    assert_ne!(cluster.errors(VIP)?, [0; 3]);
    Ok(())
}

#[test]
fn a_cgroup_that_is_named_is_known_before_the_one_around_it() -> Result<()> {
    let Some(mut cluster) = Cluster::new()? else {
        return Ok(());
    };
    let nested = (cluster.nested.path().to_owned(), cluster.nested.id()?);
    let clients = cluster.clients(Outbound::AllowAny)?;
    let program = apart(clients.clone());
    cluster.lab.apply(&program);
    serve(&mut cluster.lab, &ENDPOINTS)?;
    cluster.enter(&nested.0)?;
    cluster.expect_reached(VIP, ENDPOINTS[0])?;

    let other = client_word(&clients, SCOPES[1]);
    assert!(cluster.lab.dataplane.place_clients(&[(nested.1, other)]));
    cluster.expect_reached(VIP, ENDPOINTS[1])?;
    assert!(cluster.lab.dataplane.place_clients(&[(nested.1, None)]));
    cluster.expect_reached(VIP, ENDPOINTS[0])?;
    assert_eq!(cluster.lab.dataplane.apply(&program).steps, 0);
    Ok(())
}

#[test]
fn who_may_reach_only_what_is_registered_is_denied_all_that_is_not_exempt() -> Result<()> {
    let Some(mut cluster) = Cluster::new()? else {
        return Ok(());
    };
    let mut denials = cluster.lab.dataplane.denials()?;
    let mut clients = cluster.clients(Outbound::RegistryOnly)?;
    for (net, exemption) in [
        ("203.0.113.0/24", Exemption::Destination),
        ("198.51.100.53/32", Exemption::NameServer),
        ("::/0", Exemption::Destination),
    ] {
        clients.exempt.insert(net.parse()?, exemption);
    }
    cluster.lab.apply(&apart(clients));
    serve(&mut cluster.lab, &ENDPOINTS)?;
    cluster.enter_workload(0)?;

    cluster.expect_reached(VIP, ENDPOINTS[0])?;
    assert_eq!(denials.drain(), []);
    for to in ["10.9.0.2:8080", "192.0.2.1:443", "198.51.100.53:80"] {
        assert_eq!(cluster.errors(to)?, [EPERM; 3], "{to}");
    }
    for to in [
        "203.0.113.1:443",
        "198.51.100.53:53",
        "[2001:db8::1]:443",
        "169.254.169.254:80",
    ] {
        assert_eq!(cluster.errors(to)?, [ENETUNREACH; 3], "{to}");
    }
    let loopback = cluster
        .lab
        .client
        .connect(Transport::Tcp, at("127.0.0.1:9"))?;
    assert_eq!(loopback, Outcome::Failed(ECONNREFUSED));
    // Port 0 asks for a route, and there is none to elsewhere.
    let route = cluster
        .lab
        .client
        .connect(Transport::Udp, at("192.0.2.1:0"))?;
    assert_eq!(route, Outcome::Failed(ENETUNREACH));

    let counts = cluster.lab.dataplane.counts();
    assert_eq!(
        (counts.not_registered, counts.not_registered_audited),
        (9, 0)
    );
    let told = denials.drain();
    assert_eq!(told.len(), 9);
    let expected = Denial {
        cgroup: cluster.workloads[0].id()?,
        address: agent::dataplane::abi_address(at(ENDPOINTS[1]).ip()),
        service: UNCOUNTED,
        endpoint: UNCOUNTED,
        scope: SCOPES[0],
        process: cluster.lab.client.process(),
        port: agent_common::abi::Port::new(8080),
        protocol: TCP,
        code: Denied::NotRegistered.code(),
        reserved: 0,
    };
    let udp = Denial {
        protocol: UDP,
        ..expected
    };
    assert_eq!(told[..3], [expected, udp, udp]);
    assert_eq!(cluster.lab.dataplane.denied(&expected), (None, None));
    Ok(())
}

#[test]
fn an_audited_client_passes_and_is_told_of() -> Result<()> {
    let Some(mut cluster) = Cluster::new()? else {
        return Ok(());
    };
    let mut denials = cluster.lab.dataplane.denials()?;
    let clients = cluster.clients(Outbound::Audited)?;
    cluster.lab.apply(&apart(clients));
    serve(&mut cluster.lab, &ENDPOINTS)?;
    cluster.enter_workload(0)?;
    cluster.expect_reached(VIP, ENDPOINTS[0])?;
    cluster.expect_reached(ENDPOINTS[1], ENDPOINTS[1])?;

    let counts = cluster.lab.dataplane.counts();
    assert_eq!(
        (counts.not_registered, counts.not_registered_audited),
        (0, 5)
    );
    // The two answers are told of, too.
    let told = denials.drain();
    assert!(
        told.iter()
            .all(|denial| denial.denied() == Some(Denied::Audited)
                && ip_address(denial.address) == at(ENDPOINTS[1]).ip()),
        "{told:?}"
    );
    assert_eq!(told.len(), 5);
    Ok(())
}

#[test]
fn what_no_workload_claims_does_as_the_default_client_may() -> Result<()> {
    let Some(mut cluster) = Cluster::new()? else {
        return Ok(());
    };
    let mut program = Program::default();
    let default = program.clients.scopes.entry(DEFAULT_SCOPE).or_default();
    default.outbound = Outbound::RegistryOnly;
    cluster.lab.apply(&program);
    assert_eq!(cluster.errors("192.0.2.1:443")?, [EPERM; 3]);
    assert_eq!(cluster.errors("[2001:db8::1]:443")?, [EPERM; 3]);
    // The ports of automatic addresses come first.
    let refused = tests::lab::refusal(ECONNREFUSED);
    assert_eq!(cluster.errors("240.240.0.9:1")?, [refused; 3]);
    cluster.lab.apply(&Program::default());
    assert_eq!(cluster.errors("192.0.2.1:443")?, [ENETUNREACH; 3]);
    Ok(())
}

/// Connects, and returns how many failed because of policies.
fn count_denied(lab: &mut Lab, transport: Transport, count: u32) -> Result<u32> {
    let mut denied = 0;
    for _ in 0..count {
        match lab.client.connect(transport, at(VIP))? {
            Outcome::Connected { socket, .. } => lab.client.close(socket)?,
            Outcome::Failed(errno) => {
                assert_eq!(errno, EPERM);
                denied += 1;
            }
        }
    }
    Ok(denied)
}

/// What was told, by the service and endpoint.
fn by_place(lab: &Lab, denials: &mut Denials) -> BTreeMap<(String, Option<String>), usize> {
    let mut places = BTreeMap::new();
    for denial in denials.drain() {
        assert_eq!(denial.denied(), Some(Denied::Policy));
        let (service, endpoint) = lab.dataplane.denied(&denial);
        let service = service.map(|key| key.host.to_string()).unwrap_or_default();
        let place = (service, endpoint.map(|at| at.to_string()));
        *places.entry(place).or_default() += 1;
    }
    places
}

fn access(is_denied: bool) -> Arc<Access> {
    let ruling = if is_denied {
        Ruling::Denied
    } else {
        Ruling::Allowed
    };
    Arc::new(Access {
        ruling,
        ..Access::default()
    })
}

#[test]
fn an_endpoint_that_is_denied_keeps_its_share_which_fails() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let mut denials = lab.dataplane.denials()?;
    let mut program = Program::default();
    let endpoints = [(ENDPOINTS[0], false), (ENDPOINTS[1], true)];
    let endpoints = endpoints.map(|(to, is_denied)| {
        let mut endpoint = endpoint(at(to), 1);
        endpoint.access = Some(access(is_denied));
        endpoint
    });
    for transport in [TCP, UDP] {
        add(
            &mut program,
            &key("a.test", 80, transport),
            service(Action::Balance, endpoints.to_vec()),
            &[frontend(at(VIP), transport)],
        );
    }
    lab.apply(&program);
    serve(&mut lab, &ENDPOINTS)?;
    // The odds that a fair draw is off by so much are below one in a million.
    let tcp = count_denied(&mut lab, Transport::Tcp, 200)?;
    assert!((60..140).contains(&tcp), "{tcp}");
    let udp = count_denied(&mut lab, Transport::Udp, 200)?;
    assert!((60..140).contains(&udp), "{udp}");

    let counts = lab.dataplane.counts();
    for (transport, denied) in [(TCP, tcp), (UDP, udp)] {
        let service = &counts.services[&key("a.test", 80, transport)];
        let of = |to: &str| service.endpoints[&(at(to).ip(), at(to).port())];
        assert_eq!(service.denied, u64::from(denied));
        assert_eq!(of(ENDPOINTS[1]).denied, u64::from(denied));
        assert_eq!((of(ENDPOINTS[0]).denied, of(ENDPOINTS[1]).connects), (0, 0));
    }
    let place = ("a.test".to_owned(), Some(ENDPOINTS[1].to_owned()));
    let expected = BTreeMap::from([(place, (tcp + udp) as usize)]);
    assert_eq!(by_place(&lab, &mut denials), expected);
    Ok(())
}

#[test]
fn a_socket_does_not_keep_an_endpoint_that_is_denied_by_now() -> Result<()> {
    let with = |is_denied| {
        let mut program = Program::default();
        let mut endpoint = endpoint(at(ENDPOINTS[0]), 1);
        endpoint.access = Some(access(is_denied));
        add(
            &mut program,
            &key("a.test", 80, UDP),
            service(Action::Balance, vec![endpoint]),
            &[frontend(at(VIP), UDP)],
        );
        program
    };
    Lab::with_records_anywhere(CLIENT, |lab| {
        lab.apply(&with(false));
        serve(lab, &ENDPOINTS[..1])?;
        let socket = lab.client.open_udp(false)?;
        assert!(lab.client.exchange(socket, VIP)?.is_ok());
        lab.apply(&with(true));
        assert_eq!(lab.client.exchange(socket, VIP)?, Err(EPERM));
        lab.apply(&with(false));
        assert!(lab.client.exchange(socket, VIP)?.is_ok());
        Ok(())
    })
}

#[test]
fn a_service_that_is_denied_fails_and_says_so() -> Result<()> {
    let Some(mut lab) = Lab::new(CLIENT)? else {
        return Ok(());
    };
    let mut denials = lab.dataplane.denials()?;
    let mut program = Program::default();
    add(
        &mut program,
        &key("a.test", 80, TCP),
        service(Action::Refuse(RefuseReason::Denied), Vec::new()),
        &[frontend(at(VIP), TCP)],
    );
    lab.apply(&program);
    assert_eq!(count_denied(&mut lab, Transport::Tcp, 3)?, 3);
    let counts = lab.dataplane.counts();
    assert_eq!(counts.services[&key("a.test", 80, TCP)].denied, 3);
    let expected = BTreeMap::from([(("a.test".to_owned(), None), 3)]);
    assert_eq!(by_place(&lab, &mut denials), expected);
    Ok(())
}
