//! SIGINT and SIGTERM: noted here and asked for between two measurements, so that everything made is removed on the way
//! out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

static CAME: AtomicBool = AtomicBool::new(false);

/// Starts to listen.
pub(crate) fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _within = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        CAME.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Fails once a signal came.
pub(crate) fn check() -> Result<()> {
    if CAME.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}
