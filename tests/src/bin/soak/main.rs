//! `cargo xtask soak`: does shunt keep its promises, for as long as one likes, while everything happens to it that may? Clients
//! connect all the time to all kinds of services through the real agent on the real kernel, and each connect and each open socket
//! is held against what was valid at that moment. Meanwhile files change and break, agents are killed and started, grow and shrink,
//! and whatever else the actions are.
//!
//! Nothing leaves the network namespaces of this program and its clients, and everything that is made is removed at the end.

mod actions;
mod clients;
mod driver;
mod growth;
mod ledger;
mod questions;
mod report;
mod scene;
mod site;

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fastrand::Rng;
use tempfile::TempDir;
use tests::dns_server::DnsServer;
use tests::{interrupt, lab, netns};

use clients::Place;
use driver::Driver;
use growth::Growth;
use ledger::Ledger;
use scene::Scene;
use site::Site;

/// Between two lines that tell how far it is.
const TELL: Duration = Duration::from_secs(10);
/// Between two bursts of the client whose agent is not restarted.
const LEISURE: Duration = Duration::from_millis(100);

#[derive(Parser)]
struct Arguments {
    /// How long to go on
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    minutes: f64,
    /// Repeat the actions of another run; at which instants they happen is never quite the same
    #[arg(long)]
    seed: Option<u64>,
    /// Tell of each action what it did
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    match soak(&arguments, seed) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all promises were kept.
fn soak(arguments: &Arguments, seed: u64) -> Result<bool> {
    ensure!(lab::can_run(), "kernel programs cannot be loaded here");
    interrupt::listen()?;
    println!("seed {seed}: `--seed {seed}` repeats the actions");
    netns::isolate()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let dns = runtime.block_on(async { DnsServer::start() })?;
    let folder = TempDir::new()?;
    let config = folder.path().join("config");
    fs::create_dir(&config)?;
    let common = [
        format!("--config-dir={}", config.display()),
        format!("--resolver={}", dns.address()),
    ];
    let of = |more: &str| [&common[..], &[more.to_owned()]].concat();
    let scene = Scene::new();
    let ledger = Ledger::new(&scene);
    let mut driver = Driver {
        ledger: &ledger,
        random: Rng::with_seed(seed),
        scene,
        dns: &dns,
        config,
        restless: Site::new("restless", folder.path(), &of("--enter-namespaces"))?,
        constant: Site::new(
            "constant",
            folder.path(),
            &of("--dns-listen=127.0.0.1:15054"),
        )?,
        updates: 0,
        slowest: Duration::ZERO,
        tells_actions: arguments.verbose,
        pins: 0,
        still_open: 0,
        restarts: BTreeMap::new(),
    };
    let length = Duration::from_secs_f64(arguments.minutes * 60.0);
    // The heap of an agent keeps what it had at the most, which is not to look like growth later.
    let begun = driver.begin().and_then(|()| actions::overfill(&mut driver));
    let growth = begun.and_then(|()| run(&mut driver, length));
    let growth = growth.and_then(|growth| {
        driver.still_open = driver.expect_none_open()?;
        Ok(growth)
    });
    let growth = growth.unwrap_or_else(|error| {
        ledger.breach(format!("{error:#}"));
        Growth::default()
    });
    for site in [&mut driver.restless, &mut driver.constant] {
        if let Err(error) = site.clean_up() {
            ledger.breach(format!("{error:#}"));
        }
    }
    conclude(seed, &driver, &growth)
}

/// Lets clients connect while the actions go on.
fn run(driver: &mut Driver<'_>, length: Duration) -> Result<Growth> {
    let ledger = driver.ledger;
    let client = std::env::current_exe()?.with_file_name("client");
    let place = |site: &Site| Place {
        client: client.clone(),
        cgroup: site.cgroup.path().to_owned(),
    };
    let (restless, constant) = (place(&driver.restless), place(&driver.constant));
    let doors = [driver.restless.door.clone(), driver.constant.door.clone()];
    // Streams of their own: what clients draw changes no action.
    let mut numbers = 1..;
    let seed = driver.random.get_seed();
    let mut random = || Rng::with_seed(seed.wrapping_add(numbers.next().expect("without an end")));
    let racers = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let mut clients = Vec::new();
        for _ in 0..racers {
            let (place, random) = (&restless, random());
            clients.push(scope.spawn(move || clients::race(ledger, place, random, Duration::ZERO)));
        }
        let (place, drawn) = (&constant, random());
        clients.push(scope.spawn(move || clients::race(ledger, place, drawn, LEISURE)));
        let (place, drawn) = (&restless, random());
        clients.push(scope.spawn(move || clients::exchange(ledger, place, drawn)));
        let drawn = random();
        clients.push(scope.spawn(move || clients::last(ledger, place, drawn)));
        let (doors, drawn) = (&doors, random());
        scope.spawn(move || questions::ask(ledger, doors, drawn));
        let growth = scope.spawn(move || growth::watch(ledger, &doors[1]));
        scope.spawn(move || tell(ledger));

        let acted = act(driver, length, || {
            clients.iter().any(ScopedJoinHandle::is_finished)
        });
        ledger.end();
        acted?;
        for client in clients {
            client.join().expect("a client does not panic")?;
        }
        growth.join().expect("looking does not panic")
    })
}

/// Acts until the time is up, or somebody who must not has ended.
fn act(driver: &mut Driver<'_>, length: Duration, has_ended: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + length;
    while Instant::now() < deadline && !interrupt::came() && !has_ended() {
        actions::act(driver)?;
    }
    driver.expect_in_force()
}

/// Tells from time to time how far it is.
fn tell(ledger: &Ledger) {
    use std::sync::atomic::Ordering::Relaxed;
    let mut next = Instant::now() + TELL;
    while !ledger.is_over() {
        if Instant::now() >= next {
            next += TELL;
            let counts = &ledger.counts;
            println!(
                "{:6.0} s: {} connects, {} failed, {} misdirected, {} let through, {} sockets broken",
                ledger.elapsed().as_secs_f64(),
                counts.connects.load(Relaxed),
                counts.failed.load(Relaxed),
                counts.misdirected.load(Relaxed),
                counts.let_through.load(Relaxed),
                counts.broken.load(Relaxed),
            );
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Tells what it came to; whether all promises were kept.
fn conclude(seed: u64, driver: &Driver<'_>, growth: &Growth) -> Result<bool> {
    let ledger = driver.ledger;
    for (what, change) in [
        ("memory in KiB", growth.memory()),
        ("descriptors", growth.descriptors()),
    ] {
        if let Some(change) = change.filter(|change| change.is_too_much()) {
            ledger.breach(format!("{what} grew: {change:?}"));
        }
    }
    report::print(seed, driver, growth);
    let is_kept = ledger.with_breaches(|count, first| {
        for breach in first {
            println!("broken {breach}");
        }
        count == 0
    });
    if !is_kept {
        for site in [&driver.restless, &driver.constant] {
            let log = site.keep_log(seed).context("keeping the log of an agent")?;
            println!("the log of {}: {}", site.door.name, log.display());
        }
        println!("`cargo xtask soak --seed {seed}` repeats the actions");
    }
    Ok(is_kept)
}
