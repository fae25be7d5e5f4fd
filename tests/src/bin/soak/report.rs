//! What a run came to, as a table.

use std::sync::atomic::Ordering;

use crate::driver::Driver;
use crate::growth::{Change, Growth};

/// Prints it.
pub(crate) fn print(seed: u64, driver: &Driver<'_>, growth: &Growth) {
    let counts = &driver.ledger.counts;
    let seconds = driver.ledger.elapsed().as_secs_f64();
    let row = |what: &str, figure: String| println!("| {what} | {figure} |");
    let counted = |what: &str, counter: &std::sync::atomic::AtomicU64| {
        row(what, counter.load(Ordering::Relaxed).to_string());
    };
    println!("\n| | figure |\n|---|--:|");
    row("seed", seed.to_string());
    row("minutes", format!("{:.1}", seconds / 60.0));
    counted("connects that reached a valid endpoint", &counts.connects);
    counted("connects that failed as they had to", &counts.refused);
    counted("**failed**", &counts.failed);
    counted("**misdirected**", &counts.misdirected);
    counted("**denied that got through**", &counts.let_through);
    counted("looks at sockets that stay open", &counts.looks);
    counted("**sockets that broke**", &counts.broken);
    let restarts: u64 = driver.restarts.values().sum();
    row("restarts", restarts.to_string());
    for (kind, count) in &driver.restarts {
        row(&format!("restarts: {kind}"), count.to_string());
    }
    row("updates", driver.updates.to_string());
    let slowest = driver.slowest.as_secs_f64();
    row(
        "the longest until all was in force",
        format!("{slowest:.2} s"),
    );
    for (action, count) in driver.ledger.actions() {
        row(&format!("actions: {action}"), count.to_string());
    }
    counted("commands that agents answered", &counts.questions);
    let mebibytes = |kibibytes: f64| format!("{:.1} MiB", kibibytes / 1024.0);
    let memory = growth.memory();
    row("memory, first to last quarter", shown(memory, mebibytes));
    let descriptors = growth.descriptors();
    let plain = |count: f64| format!("{count:.0}");
    row(
        "descriptors, first to last quarter",
        shown(descriptors, plain),
    );
    row("pins of maps and links", driver.pins.to_string());
    row(
        "counted as open after the end",
        driver.still_open.to_string(),
    );
    let broken = driver.ledger.with_breaches(|count, _| count);
    row("promises broken in all", broken.to_string());
}

fn shown(change: Option<Change>, figure: impl Fn(f64) -> String) -> String {
    let Some(change) = change else {
        return "too short a run to tell".to_owned();
    };
    format!(
        "{} → {} ({:+.1} %; {} more are allowed)",
        figure(change.first),
        figure(change.last),
        change.percent(),
        figure(change.allowed)
    )
}
