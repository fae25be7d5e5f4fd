//! What the agent and the kernel programs must agree on: the layout of every map ([`abi`]) and the decision itself
//! ([`mod@decide`]). This crate knows nothing of how either side reaches the maps.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "the kernel programs must hold all of a decision: a call costs time, and may not return a map pointer"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "halves of words are taken on purpose"
)]

pub mod abi;
pub mod decide;
mod pick;
pub mod source;

pub use decide::{Client, Connect, Family, Reach, Reason, Tables, Verdict, decide};
