//! What happens meanwhile: one action after the other, which the seed draws. Each says what it did, and ends when all that it
//! changed is in force again.

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hickory_proto::op::ResponseCode;
use rustix::process::Signal;
use tests::dns_server::Entry;
use tests::{binary, pins};

use crate::driver::Driver;
use crate::scene::{NAME, Service};
use crate::site::{CAPACITIES, PATIENCE};

/// Of which the pins of links are named; without one they go on, until their agent ends.
const PROGRAMS: [&str; 4] = [
    "shunt_connect4",
    "shunt_sendmsg6",
    "shunt_peername4",
    "shunt_release",
];
/// Of what finds no room in FRONTENDS.
const NO_ROOM: &str = "SH4002";

struct Action {
    name: &'static str,
    /// How often it is drawn, beside the others.
    weight: u32,
    carry_out: fn(&mut Driver<'_>) -> Result<()>,
}

const fn action(
    name: &'static str,
    weight: u32,
    carry_out: fn(&mut Driver<'_>) -> Result<()>,
) -> Action {
    Action {
        name,
        weight,
        carry_out,
    }
}

const ACTIONS: [Action; 14] = [
    action("update", 20, update),
    action("many updates", 10, many_updates),
    action("damaged file", 8, damage),
    action("directory away", 4, directory_away),
    action("SIGHUP", 3, reload),
    action("restart", 10, restart),
    action("killed amid updates", 6, kill_amid_updates),
    action("killed while it starts", 6, kill_while_it_starts),
    action("other capacity", 5, resize),
    action("second agent", 3, second_agent),
    action("name server away", 3, name_server_away),
    action("limit reached", 2, overfill),
    action("others meddle", 4, meddle),
    action("rest", 4, rest),
];

/// Draws an action and carries it out.
pub(crate) fn act(driver: &mut Driver<'_>) -> Result<()> {
    let sum = ACTIONS.iter().map(|action| action.weight).sum();
    let mut drawn = driver.random.u32(0..sum);
    let chosen = ACTIONS.iter().find(|action| {
        let is_it = drawn < action.weight;
        drawn = drawn.saturating_sub(action.weight);
        is_it
    });
    let chosen = chosen.expect("weights sum up to what is drawn from");
    let start = Instant::now();
    driver.ledger.begin_action(chosen.name);
    (chosen.carry_out)(driver)?;
    let done = driver.ledger.end_action();
    if driver.tells_actions {
        println!("{done}: {:?}", start.elapsed());
    }
    driver.pause(100);
    Ok(())
}

fn update(driver: &mut Driver<'_>) -> Result<()> {
    driver.change()?;
    driver.expect_in_force()
}

fn many_updates(driver: &mut Driver<'_>) -> Result<()> {
    for _ in 0..driver.random.u32(5..=40) {
        driver.change()?;
        driver.pause(8);
    }
    driver.expect_in_force()
}

/// What the agent goes on from is the file as it was when it was good, over restarts, too.
fn damage(driver: &mut Driver<'_>) -> Result<()> {
    let candidates =
        Service::all().filter_map(|service| Some((service, driver.scene.text(service)?)));
    let candidates: Vec<_> = candidates.collect();
    let (service, text) = &candidates[driver.random.usize(..candidates.len())];
    let path = driver.path(*service);
    driver.ledger.doing(&format!("damaging {}", service.host()));
    match driver.random.u8(0..4) {
        // Within braces.
        0 => fs::write(&path, &text[..=text.rfind('{').context("braces")?])?,
        1 => {
            let mut bytes = vec![0xc3, 0x28];
            bytes.extend((0..driver.random.usize(..4096)).map(|_| driver.random.u8(..)));
            fs::write(&path, bytes)?;
        }
        2 => fs::write(&path, "[".repeat(100_000))?,
        _ => fs::set_permissions(&path, Permissions::from_mode(0o000))?,
    }
    driver.pause(600);
    if driver.random.bool() {
        driver.end()?;
        driver.start()?;
        driver.pause(300);
    }
    driver.ledger.doing("mending");
    fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    let service = *service;
    driver.write(service)?;
    driver.expect_in_force()
}

fn directory_away(driver: &mut Driver<'_>) -> Result<()> {
    let config = driver.config.clone();
    let aside = config.with_extension("aside");
    fs::rename(&config, &aside)?;
    let has_replacement = driver.random.bool();
    if has_replacement {
        fs::write(&config, "no directory")?;
    }
    driver.pause(1000);
    // With a file as its directory an agent refuses to start.
    if !has_replacement && driver.random.bool() {
        driver.end()?;
        driver.start()?;
        driver.pause(300);
    }
    if has_replacement {
        fs::remove_file(&config)?;
    }
    fs::rename(&aside, &config)?;
    driver.change()?;
    driver.expect_in_force()
}

fn reload(driver: &mut Driver<'_>) -> Result<()> {
    driver.change()?;
    for site in [&driver.restless, &driver.constant] {
        site.signal(Signal::HUP)?;
    }
    driver.expect_in_force()
}

fn restart(driver: &mut Driver<'_>) -> Result<()> {
    driver.end()?;
    for _ in 0..driver.random.u32(0..=3) {
        driver.change()?;
    }
    driver.pause(300);
    driver.start()?;
    driver.expect_in_force()
}

fn kill_amid_updates(driver: &mut Driver<'_>) -> Result<()> {
    for _ in 0..driver.random.u32(1..=20) {
        driver.change()?;
        driver.pause(4);
    }
    driver.pause(60);
    driver.kill()?;
    driver.start()?;
    driver.expect_in_force()
}

fn kill_while_it_starts(driver: &mut Driver<'_>) -> Result<()> {
    driver.end()?;
    for _ in 0..driver.random.u32(1..=3) {
        driver.change()?;
        driver.start_in_vain()?;
    }
    driver.start()?;
    driver.expect_in_force()
}

/// Takes new maps.
fn resize(driver: &mut Driver<'_>) -> Result<()> {
    let before = driver.restless.capacity;
    let others: Vec<_> = CAPACITIES
        .iter()
        .filter(|other| **other != before)
        .collect();
    let capacity = *others[driver.random.usize(..others.len())];
    driver.ledger.doing(&format!("{capacity:?}"));
    driver.end()?;
    driver.change()?;
    driver.restless.capacity = capacity;
    if driver.random.bool() {
        driver.start_in_vain()?;
    }
    *driver.restarts.entry("to other maps").or_default() += 1;
    driver.start()?;
    driver.expect_in_force()
}

/// It is refused, and told which is the first.
fn second_agent(driver: &mut Driver<'_>) -> Result<()> {
    let first = driver.restless.door.up().context("the first agent is up")?;
    let mut second = binary::command(["run"])
        .args(driver.restless.flags())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = second.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            second.kill()?;
            second.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut said = String::new();
    let mut stderr = second.stderr.take().context("stderr is a pipe")?;
    stderr.read_to_string(&mut said)?;
    let is_refused = status.is_some_and(|status| !status.success());
    if !is_refused || !said.contains(&first.to_string()) {
        driver
            .ledger
            .breach(format!("a second agent ended so: {status:?}\n{said}"));
    }
    Ok(())
}

/// What was resolved stays.
fn name_server_away(driver: &mut Driver<'_>) -> Result<()> {
    let entry = if driver.random.bool() {
        Entry::Silence
    } else {
        Entry::Code(ResponseCode::ServFail)
    };
    driver.dns.set(NAME, entry);
    driver.pause(2500);
    driver.resolve();
    driver.expect_in_force()
}

/// Somebody takes a pin away, and puts into a map what is nobody's: all is as it was when `shunt verify` has ended.
fn meddle(driver: &mut Driver<'_>) -> Result<()> {
    let bpf_dir = driver.restless.door.bpf_dir.clone();
    let program = PROGRAMS[driver.random.usize(..PROGRAMS.len())];
    let pin = pins::link(&bpf_dir, program)?;
    driver.ledger.doing(&format!("removing {}", pin.display()));
    fs::remove_file(&pin)?;
    let frontends = pins::Map::open(&bpf_dir, "FRONTENDS")?;
    let mut foreign: [u8; 24] = *frontends.keys()?.first().context("there are frontends")?;
    // Of an address that nobody asks for.
    foreign[..4].fill(0xfd);
    frontends.set(&foreign, &[1; 8])?;
    let socket = driver.restless.door.socket.display().to_string();
    let verify = || binary::shunt(["verify", "--socket", &socket]);
    // The agent may have found it by itself meanwhile.
    verify();
    let again = verify();
    let is_mended = again.status == Some(0) && pin.exists();
    if !is_mended || frontends.keys::<24>()?.contains(&foreign) {
        driver
            .ledger
            .breach(format!("what others have done stays: {again:?}"));
    }
    driver.change()?;
    driver.expect_in_force()
}

/// What fits is as it was, what does not is named, and comes in when there is room.
pub(crate) fn overfill(driver: &mut Driver<'_>) -> Result<()> {
    let before = driver.scene.fillers;
    driver.scene.overfill();
    driver.write(Service::Fillers)?;
    driver.wait("what has no room is named", |status| {
        let mut findings = status.findings.list.iter();
        findings.any(|finding| finding.code == NO_ROOM)
    })?;
    driver.pause(300);
    driver.scene.fillers = before;
    driver.write(Service::Fillers)?;
    driver.expect_in_force()
}

fn rest(driver: &mut Driver<'_>) -> Result<()> {
    driver.pause(2000);
    driver.expect_in_force()
}
