//! The running kernel: programs of others on the same hooks, in the same cgroup and above and below it, beside ours.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;
use std::time::Duration;

use agent::compile::Program;
use agent::dataplane::checks::{self, Check, State};
use agent::dataplane::{self, AttachError, Dataplane, LoadOptions};
use agent_common::abi::UDP;
use anyhow::{Context, Result, bail};
use tests::binary::{self, Ended};
use tests::bpffs::TemporaryBpffs;
use tests::cgroup::{self, TemporaryCgroup};
use tests::client::{Client, Outcome};
use tests::lab::{self, ENETUNREACH};
use tests::neighbour::{Hook, Manner, Neighbour};
use tests::netns;
use tests::programs::{at, balance, frontend};
use tests::sockets::{Request, Transport};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

const VIP: &str = "240.240.0.1:53";
const ENDPOINT: &str = "10.9.0.1:5353";
const VIP6: &str = "[2001:2::1]:53";
const ENDPOINT6: &str = "[fd00::1]:5353";
/// A second service.
const OTHER_VIP: &str = "240.240.0.2:53";
const OTHER_ENDPOINT: &str = "10.9.0.2:5353";
/// No service.
const ELSEWHERE: &str = "10.9.0.3:5353";

fn program() -> Program {
    let mut program = Program::default();
    let services = [
        (VIP, ENDPOINT),
        (VIP6, ENDPOINT6),
        (OTHER_VIP, OTHER_ENDPOINT),
    ];
    for (vip, endpoint) in services {
        let frontend = frontend(at(vip), UDP);
        balance(&mut program, vip, frontend, &[(at(endpoint), 1)]);
    }
    program
}

/// A data plane that is not attached yet, and three cgroups, one in the other. Dropped from the inside out.
struct Tree {
    dataplane: Dataplane,
    below: TemporaryCgroup,
    ours: TemporaryCgroup,
    above: TemporaryCgroup,
    _turn: MutexGuard<'static, ()>,
}

impl Tree {
    /// `None`, with the reason printed, where kernel tests cannot run.
    fn new() -> Result<Option<Self>> {
        if !lab::can_run() {
            return Ok(None);
        }
        let turn = lab::turn();
        let above = TemporaryCgroup::new()?;
        let ours = TemporaryCgroup::below(above.path())?;
        let below = TemporaryCgroup::below(ours.path())?;
        let mut dataplane = Dataplane::load(&LoadOptions {
            limits: lab::limits(),
            ..LoadOptions::default()
        })?;
        assert_eq!(dataplane.apply(&program()).diagnostics, []);
        Ok(Some(Self {
            dataplane,
            below,
            ours,
            above,
            _turn: turn,
        }))
    }

    fn attach(&mut self) -> Result<(), AttachError> {
        self.dataplane.attach(&[self.ours.path().to_owned()])
    }

    /// A client in the innermost cgroup, with the addresses of all endpoints.
    fn client(&self) -> Result<Client> {
        client_in(self.below.path())
    }
}

fn client_in(cgroup: &Path) -> Result<Client> {
    let mut client = Client::start(CLIENT, cgroup)?;
    let addresses = [ENDPOINT, ENDPOINT6, OTHER_ENDPOINT, ELSEWHERE];
    let addresses = addresses.map(|endpoint| at(endpoint).ip()).to_vec();
    client.order(&Request::AddAddresses(addresses))?;
    Ok(client)
}

/// Connects, and gives who was reached and what getpeername shows.
fn connect(client: &mut Client, to: &str) -> Result<(SocketAddr, SocketAddr)> {
    match client.connect(Transport::Udp, at(to))? {
        // The endpoints are the client's own addresses, from which it then connects.
        Outcome::Connected { local, peer, .. } => {
            Ok((SocketAddr::new(local.ip(), peer.port()), peer))
        }
        Outcome::Failed(errno) => bail!("the connect failed with {errno}"),
    }
}

/// One on each hook of a connected socket: connect4, getpeername4, connect6, getpeername6.
fn observers(cgroup: &TemporaryCgroup, manner: Manner) -> Result<Vec<Neighbour>> {
    [
        Hook::Connect4,
        Hook::PeerName4,
        Hook::Connect6,
        Hook::PeerName6,
    ]
    .into_iter()
    .map(|hook| Neighbour::attach(cgroup.path(), hook, manner))
    .collect()
}

fn seen(observers: &[Neighbour]) -> Result<Vec<SocketAddr>> {
    observers.iter().map(Neighbour::seen).collect()
}

#[test]
fn who_runs_before_us_sees_the_vip_and_who_runs_after_us_the_endpoint() -> Result<()> {
    let Some(mut tree) = Tree::new()? else {
        return Ok(());
    };
    let tolerant = [Manner::Link, Manner::Multi];
    let on = |cgroup: &TemporaryCgroup| -> Result<Vec<Vec<Neighbour>>> {
        tolerant.iter().map(|&how| observers(cgroup, how)).collect()
    };
    let earlier = on(&tree.ours)?;
    tree.attach()?;
    let later = on(&tree.ours)?;
    // The kernel runs the programs of a cgroup before those of its parent.
    let (below, above) = (on(&tree.below)?, on(&tree.above)?);
    let mut client = tree.client()?;

    for (vip, endpoint) in [(VIP, ENDPOINT), (VIP6, ENDPOINT6)] {
        let (reached, peer) = connect(&mut client, vip)?;
        assert_eq!((reached.ip(), peer), (at(endpoint).ip(), at(vip)));
    }

    // getpeername starts from the endpoint, which is what the socket is connected to.
    let before_us = [VIP, ENDPOINT, VIP6, ENDPOINT6].map(at);
    let after_us = [ENDPOINT, VIP, ENDPOINT6, VIP6].map(at);
    for observers in below.iter().chain(&earlier) {
        assert_eq!(seen(observers)?, before_us);
    }
    for observers in later.iter().chain(&above) {
        assert_eq!(seen(observers)?, after_us);
    }
    Ok(())
}

#[test]
fn a_rewrite_before_us_chooses_the_service() -> Result<()> {
    let Some(mut tree) = Tree::new()? else {
        return Ok(());
    };
    let to = Some(at(OTHER_VIP));
    let _other = Neighbour::rewriting(tree.below.path(), Hook::Connect4, Manner::Multi, to)?;
    tree.attach()?;
    let mut client = tree.client()?;

    let (reached, peer) = connect(&mut client, VIP)?;

    // We show what we were asked for; showing what the client asked for is the other's part.
    assert_eq!(
        (reached.ip(), peer),
        (at(OTHER_ENDPOINT).ip(), at(OTHER_VIP))
    );
    Ok(())
}

#[test]
fn a_rewrite_after_us_takes_effect_and_is_shown() -> Result<()> {
    let Some(mut tree) = Tree::new()? else {
        return Ok(());
    };
    tree.attach()?;
    let to = Some(at(ELSEWHERE));
    let other = Neighbour::rewriting(tree.above.path(), Hook::Connect4, Manner::Link, to)?;
    let mut client = tree.client()?;

    let (reached, peer) = connect(&mut client, VIP)?;

    assert_eq!(other.seen()?, at(ENDPOINT));
    assert_eq!((reached.ip(), peer), (at(ELSEWHERE).ip(), at(ELSEWHERE)));
    // Where it shows the endpoint instead, it does so after us.
    let (place, back) = (tree.above.path(), Some(at(ENDPOINT)));
    let _back = Neighbour::rewriting(place, Hook::PeerName4, Manner::Link, back)?;
    assert_eq!(connect(&mut client, VIP)?.1, at(ENDPOINT));
    Ok(())
}

/// Sends a datagram from `cgroup` to `to` and has it answered from `endpoint`, which is outside; gives where the answer seems
/// to be from.
fn exchange(cgroup: &Path, to: &str, endpoint: &str) -> Result<SocketAddr> {
    let server = UdpSocket::bind(at(endpoint))?;
    let home = cgroup::present()?;
    cgroup::join(cgroup)?;
    let answered = (|| {
        let client = UdpSocket::bind(SocketAddr::new(at(endpoint).ip(), 0))?;
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        }
        client.send_to(b"ping", at(to))?;
        let (_, from) = server.recv_from(&mut [0; 8])?;
        server.send_to(b"pong", from)?;
        let (_, from) = client.recv_from(&mut [0; 8])?;
        anyhow::Ok(from)
    })();
    cgroup::join(&home)?;
    answered
}

#[test]
fn datagrams_are_seen_like_connects() -> Result<()> {
    let Some(mut tree) = Tree::new()? else {
        return Ok(());
    };
    netns::isolate()?;
    netns::add_address(at(ENDPOINT).ip(), 1)?;
    netns::add_address(at(ENDPOINT6).ip(), 2)?;
    let sends = [Hook::SendMessage4, Hook::SendMessage6];
    let receives = [Hook::ReceiveMessage4, Hook::ReceiveMessage6];
    let on = |cgroup: &TemporaryCgroup, hooks: [Hook; 2]| -> Result<Vec<Neighbour>> {
        let all = hooks.into_iter();
        all.map(|hook| Neighbour::attach(cgroup.path(), hook, Manner::Multi))
            .collect()
    };
    let earlier = [on(&tree.ours, sends)?, on(&tree.ours, receives)?];
    tree.attach()?;
    let later = [on(&tree.above, sends)?, on(&tree.above, receives)?];

    for (vip, endpoint) in [(VIP, ENDPOINT), (VIP6, ENDPOINT6)] {
        assert_eq!(exchange(tree.below.path(), vip, endpoint)?, at(vip));
    }

    assert_eq!(seen(&earlier[0])?, [VIP, VIP6].map(at));
    assert_eq!(seen(&later[0])?, [ENDPOINT, ENDPOINT6].map(at));
    assert_eq!(seen(&earlier[1])?, [ENDPOINT, ENDPOINT6].map(at));
    assert_eq!(seen(&later[1])?, [VIP, VIP6].map(at));
    Ok(())
}

#[test]
fn a_neighbour_stays_when_we_go_and_we_when_it_goes() -> Result<()> {
    let Some(mut tree) = Tree::new()? else {
        return Ok(());
    };
    let leaving = observers(&tree.ours, Manner::Multi)?;
    let leaving_too = observers(&tree.ours, Manner::Link)?;
    let staying = Neighbour::attach(tree.ours.path(), Hook::Connect4, Manner::Multi)?;
    let linked = Neighbour::attach(tree.ours.path(), Hook::Connect4, Manner::Link)?;
    tree.attach()?;
    let mut client = tree.client()?;

    drop((leaving, leaving_too));
    assert_eq!(connect(&mut client, VIP)?.1, at(VIP));

    // Dropped in the reverse order.
    let Tree {
        _turn,
        above: _above,
        ours: _ours,
        below: _below,
        dataplane,
    } = tree;
    let runs = (staying.runs()?, linked.runs()?);
    drop(dataplane);
    let outcome = client.connect(Transport::Udp, at(VIP))?;
    assert_eq!(outcome, Outcome::Failed(ENETUNREACH));
    let after = (staying.runs()?, linked.runs()?);
    assert_eq!(after, (runs.0 + 1, runs.1 + 1));
    drop(client);
    Ok(())
}

#[test]
fn cleanup_after_a_killed_agent_leaves_neighbours_attached() -> Result<()> {
    if !lab::can_run() {
        return Ok(());
    }
    let _turn = lab::turn();
    let bpffs = TemporaryBpffs::new()?;
    let pins = bpffs.path().join("shunt");
    let cgroup = TemporaryCgroup::new()?;
    let other = Neighbour::attach(cgroup.path(), Hook::Connect4, Manner::Multi)?;
    let killed = Command::new(env!("CARGO_BIN_EXE_doomed-agent"))
        .arg(&pins)
        .arg(cgroup.path())
        .status()?;
    assert!(!killed.success());
    let mut client = client_in(cgroup.path())?;
    assert_eq!(connect(&mut client, VIP)?.1, at(VIP));

    dataplane::cleanup(&pins)?;

    let outcome = client.connect(Transport::Udp, at(VIP))?;
    assert_eq!(outcome, Outcome::Failed(ENETUNREACH));
    assert_eq!((other.runs()?, other.seen()?), (2, at(VIP)));
    Ok(())
}

/// What `shunt check` says of the neighbours of `cgroup`.
fn neighbours(cgroup: &TemporaryCgroup) -> Result<Check> {
    checks::machine(&[cgroup.path().to_owned()], cgroup.path())
        .into_iter()
        .find(|check| check.name == "neighbours")
        .context("no such check")
}

/// What a message about `other` must name.
fn identity(other: &Neighbour, hook: &str, place: &TemporaryCgroup) -> Result<String> {
    let (name, id) = (Neighbour::NAME, other.id()?);
    let place = place.path().display();
    Ok(format!(
        "program {name} (cgroup_sock_addr, id {id}) on {hook} of {place}"
    ))
}

/// Attaching beside or below an exclusive program fails, and names it.
fn check_exclusive(
    hook: Hook,
    name: &str,
    place: impl Fn(&Tree) -> &TemporaryCgroup,
) -> Result<()> {
    let Some(mut tree) = Tree::new()? else {
        return Ok(());
    };
    let other = Neighbour::attach(place(&tree).path(), hook, Manner::Exclusive)?;
    let identity = identity(&other, name, place(&tree))?;
    let remedy = format!(
        "`bpftool cgroup detach {} {name} id {}`",
        place(&tree).path().display(),
        other.id()?
    );

    let Err(refusal) = tree.attach() else {
        panic!("the kernel attached beside an exclusive program");
    };

    let refusal = refusal.to_string();
    assert!(refusal.contains(&identity), "{refusal}");
    assert!(refusal.contains(&remedy), "{refusal}");
    let check = neighbours(&tree.ours)?;
    assert_eq!(check.state, State::Fail, "{check:?}");
    assert!(check.detail.contains(&identity), "{check:?}");
    assert!(check.remedy.contains(&remedy), "{check:?}");
    drop(other);
    // What had been attached before the refusal is gone.
    let check = neighbours(&tree.ours)?;
    assert!(
        check.detail.ends_with(": 0 programs of shunt, no other"),
        "{check:?}"
    );
    Ok(tree.attach()?)
}

#[test]
fn an_exclusive_program_above_is_named_with_the_remedy() -> Result<()> {
    check_exclusive(Hook::Connect4, "connect4", |tree| &tree.above)?;
    check_exclusive(Hook::PeerName6, "getpeername6", |tree| &tree.above)
}

#[test]
fn an_exclusive_program_on_the_same_cgroup_is_named_with_the_remedy() -> Result<()> {
    check_exclusive(Hook::SendMessage4, "sendmsg4", |tree| &tree.ours)
}

#[test]
fn a_program_that_would_be_overridden_is_told_of() -> Result<()> {
    let Some(mut tree) = Tree::new()? else {
        return Ok(());
    };
    let other = Neighbour::attach(tree.above.path(), Hook::Connect4, Manner::Overridable)?;
    let check = neighbours(&tree.ours)?;
    assert_eq!(check.state, State::Warn, "{check:?}");
    let identity = identity(&other, "connect4", &tree.above)?;
    assert!(check.detail.contains(&identity), "{check:?}");

    // It is as was told: it does not run.
    tree.attach()?;
    let mut client = tree.client()?;
    assert_eq!(connect(&mut client, VIP)?.1, at(VIP));
    assert_eq!(other.runs()?, 0);
    Ok(())
}

/// Runs the binary within `cgroup`.
fn shunt_in(cgroup: &Path, arguments: &[&str]) -> Result<Ended> {
    let own = binary::path();
    let mut command = binary::command([PathBuf::from("enter-cgroup"), cgroup.to_owned()]);
    command.arg("--").arg(own).args(arguments);
    Ok(command.output()?.into())
}

#[test]
fn exec_below_an_exclusive_program_says_who_is_in_the_way() -> Result<()> {
    if !lab::can_run() {
        return Ok(());
    }
    let _turn = lab::turn();
    let cgroup = TemporaryCgroup::new()?;
    let other = Neighbour::attach(cgroup.path(), Hook::Connect6, Manner::Exclusive)?;
    let config = tempfile::tempdir()?;
    let config = config.path().display().to_string();

    let ended = shunt_in(
        cgroup.path(),
        &["exec", "--config-dir", &config, "--", "true"],
    )?;

    assert_eq!(ended.status, Some(1), "{ended:?}");
    let identity = identity(&other, "connect6", &cgroup)?;
    assert!(ended.stderr.contains(&identity), "{ended:?}");
    Ok(())
}
