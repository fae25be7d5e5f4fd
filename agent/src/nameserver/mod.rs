//! The name server: answers clients for the hosts that are known, asks others for the rest, and tells the core what
//! clients are told before they are.
//!
//! Which host has which address is the compiler's to say (`compile::Names`). What is answered is decided in `plan` and
//! `records`, which are pure; `forward` asks other servers; `handler` puts the two together for one query.

mod answering;
mod exchange;
mod forward;
mod handler;
mod lesson;
pub mod passing;
pub mod plan;
mod question;
pub mod records;
mod reply;
mod server;
mod stats;
mod upstreams;

pub use handler::Origin;
pub use lesson::Lesson;
pub use question::{Question, RecordKind};
pub use reply::{Cached, Reply, Source};
pub use server::{Ended, Known, NameServer, Setup, Sockets};
pub use stats::Stats;

use std::net::SocketAddr;

/// What a listener stands for: the server that a client asked, and which names the client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    pub server: SocketAddr,
    /// The number of those names, as [`crate::compile::Scope`] has it.
    pub names: u32,
}
