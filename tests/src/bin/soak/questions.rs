//! People and scripts, who ask the agents all the time: while one is up, each command is answered, and soon.

use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tests::binary;

use crate::ledger::{Ledger, increase};
use crate::site::Door;

/// The longest that a command may take.
const BOUND: Duration = Duration::from_secs(10);
/// Between two commands.
const PAUSE: Duration = Duration::from_millis(150);

const COMMANDS: [&[&str]; 8] = [
    &["status"],
    &["status", "-o", "json"],
    &["get", "services"],
    &["get", "endpoints", "-o", "json"],
    &["get", "objects"],
    &["get", "policies"],
    &["get", "denials"],
    &["explain", "moving.test:80", "--count", "1000"],
];

pub(crate) fn ask(ledger: &Ledger, doors: &[Door], mut random: Rng) {
    while !ledger.is_over() {
        let door = &doors[random.usize(..doors.len())];
        let command = COMMANDS[random.usize(..COMMANDS.len())];
        if let Some(before) = door.up() {
            let start = Instant::now();
            let socket = format!("--socket={}", door.socket.display());
            let ended = binary::shunt(command.iter().copied().chain([&*socket]));
            let took = start.elapsed();
            increase(&ledger.counts.questions);
            let is_answered = ended.status == Some(0) && took < BOUND;
            // An agent that was ended meanwhile answers nothing.
            if !is_answered && door.up() == Some(before) {
                let name = door.name;
                ledger.breach(format!(
                    "the agent of {name} answers {command:?} after {took:?}: {ended:?}"
                ));
            }
        }
        thread::sleep(PAUSE);
    }
}
