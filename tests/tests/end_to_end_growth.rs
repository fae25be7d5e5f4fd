//! The real binary on the real kernel, started again with larger and smaller maps while clients connect all the time: no connect
//! fails or goes astray, and sockets that are open go on, keep their peer name and count.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use agent::settings::OnExit;
use anyhow::{Result, ensure};
use tests::agent_process::AgentProcess;
use tests::binary::shunt;
use tests::client::Client;
use tests::node::{Node, PATIENCE};
use tests::programs::at;
use tests::sockets::{Race, Request, Server, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const ENDPOINTS: [&str; 3] = ["10.9.1.1:8080", "10.9.1.2:8080", "10.9.1.3:8080"];
const TARGETS: [(Transport, &str); 2] = [
    (Transport::Tcp, "192.0.2.1:80"),
    (Transport::Udp, "192.0.2.1:81"),
];
/// Sockets that stay open, of each transport.
const SOCKETS: usize = 8;

const OBJECTS: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec:\n  hosts: [a.test]\n  \
    addresses: [192.0.2.1]\n  ports:\n  - {number: 80, name: tcp, protocol: TCP, targetPort: 8080}\n  \
    - {number: 81, name: udp, protocol: UDP, targetPort: 8080}\n  resolution: STATIC\n  \
    endpoints: [{address: 10.9.1.1}, {address: 10.9.1.2}, {address: 10.9.1.3}]\n";

/// A client in whose network namespace there is whom it reaches.
fn client(node: &Node) -> Result<Client> {
    let mut client = Client::start(CLIENT, node.cgroup.path())?;
    let addresses = ENDPOINTS.map(|endpoint| at(endpoint).ip()).into();
    client.order(&Request::AddAddresses(addresses))?;
    for endpoint in ENDPOINTS {
        for (transport, _) in TARGETS {
            let (at, server) = (at(endpoint), Server::Tell(transport));
            client.order(&Request::Serve { at, server })?;
        }
    }
    Ok(client)
}

/// Starts an agent with so many times the maps of the smallest; flow records have a number of their own.
fn start(node: &Node, times: u32, flows: u32) -> Result<AgentProcess> {
    let limits = [
        format!("--max-frontends={}", times * 1024),
        format!("--max-cells={}", times * 4096),
        format!("--max-services={}", times * 512),
        format!("--max-endpoints={}", times * 1024),
        format!("--max-flows={flows}"),
    ];
    AgentProcess::start(node, &limits.each_ref().map(String::as_str))
}

/// A socket that is connected, what it asked for, and where it got to.
struct Open {
    socket: u32,
    asked: &'static str,
    endpoint: SocketAddr,
}

fn open(client: &mut Client) -> Result<Vec<Open>> {
    let targets = TARGETS.into_iter().cycle().take(2 * SOCKETS);
    targets
        .map(|(transport, asked)| {
            let socket = client.connect(transport, at(asked))?.socket();
            let endpoint = client.told(socket)?.server;
            Ok(Open {
                socket,
                asked,
                endpoint,
            })
        })
        .collect()
}

/// Connects until it is over, and holds each connect to its service. Returns how many there were.
fn connect(mut client: Client, is_over: &AtomicBool) -> Result<usize> {
    let endpoints = ENDPOINTS.map(|endpoint| at(endpoint).ip());
    let mut connects = 0;
    while !is_over.load(Ordering::Relaxed) {
        let runs = client.race(Race {
            threads: 2,
            connects: 200,
            to: TARGETS.map(|(transport, to)| (transport, at(to))).into(),
        })?;
        connects += runs.len();
        let is_wrong = |reached: Result<IpAddr, i32>| {
            reached.map_or(true, |reached| !endpoints.contains(&reached))
        };
        let wrong: Vec<_> = runs.iter().filter(|run| is_wrong(run.reached)).collect();
        ensure!(
            wrong.is_empty(),
            "{} of {}: {wrong:?}",
            wrong.len(),
            runs.len()
        );
    }
    Ok(connects)
}

/// How many sockets the agent counts as open.
fn counted(node: &Node) -> u64 {
    let socket = node.socket().display().to_string();
    let endpoints = shunt(["get", "endpoints", "-o", "json", "--socket", &socket]).json();
    let endpoints = endpoints.as_array().into_iter().flatten();
    endpoints
        .filter_map(|endpoint| endpoint["open"].as_u64())
        .sum()
}

/// Ends the agent, and starts one with other maps.
fn succeed(node: &Node, mut agent: AgentProcess, times: u32, flows: u32) -> Result<AgentProcess> {
    // Either way is as good as the other.
    if times.is_multiple_of(2) {
        agent.kill()?;
        drop(agent);
    } else {
        agent.stop()?;
    }
    start(node, times, flows)
}

#[test]
fn nothing_is_lost_while_an_agent_with_larger_or_smaller_maps_takes_the_place_of_another()
-> Result<()> {
    let Some(mut node) = Node::new(CLIENT)? else {
        return Ok(());
    };
    node.on_exit = OnExit::Keep;
    fs::write(node.config_dir().join("a.yaml"), OBJECTS)?;
    let first = start(&node, 1, 2048)?;
    let mut keeper = client(&node)?;
    let sockets = open(&mut keeper)?;
    let restless = [client(&node)?, client(&node)?];
    let is_over = AtomicBool::new(false);
    let happen = || -> Result<AgentProcess> {
        let mut agent = first;
        for times in [4, 2, 1] {
            agent = succeed(&node, agent, times, 2048)?;
            for open in &sockets {
                keeper.expect_connected(open.socket, open.asked, &open.endpoint.to_string())?;
            }
        }
        Ok(agent)
    };

    let (agent, connects) = thread::scope(|scope| {
        let is_over = &is_over;
        let working = restless.map(|client| scope.spawn(move || connect(client, is_over)));
        let happened = happen();
        is_over.store(true, Ordering::Relaxed);
        let mut connects = 0;
        for thread in working {
            connects += thread.join().expect("connecting does not panic")?;
        }
        anyhow::Ok((happened?, connects))
    })?;

    println!("{connects} connects");
    ensure!(connects > 0);
    let deadline = Instant::now() + PATIENCE;
    while counted(&node) != sockets.len() as u64 {
        ensure!(Instant::now() < deadline, "{} are counted", counted(&node));
        thread::yield_now();
    }
    // Other flow records: nothing is known of older sockets, and they go on.
    let _agent = succeed(&node, agent, 2, 4096)?;
    for open in &sockets {
        ensure!(keeper.told(open.socket)?.server == open.endpoint);
    }
    Ok(())
}
