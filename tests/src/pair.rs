//! Two services of one transport, each with a server: what most tests of sockets need.

use std::ffi::OsStr;

use anyhow::Result;

use crate::lab::Lab;
use crate::sockets::Transport;

pub const VIP: &str = "240.240.0.1:80";
pub const ENDPOINT: &str = "10.9.0.1:8080";
pub const OTHER_VIP: &str = "240.240.0.2:80";
pub const OTHER_ENDPOINT: &str = "10.9.0.2:8080";

/// Serves both. `None` where kernel tests cannot run.
pub fn serve(client: impl AsRef<OsStr>, transport: Transport) -> Result<Option<Lab>> {
    let services = [
        (VIP, transport, ENDPOINT),
        (OTHER_VIP, transport, OTHER_ENDPOINT),
    ];
    Lab::serving(client, &services)
}
