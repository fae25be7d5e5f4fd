//! What the agent and the kernel programs must agree on: the layout of every map ([`abi`]) and the decision itself
//! ([`decide`]). This crate knows nothing of how either side reaches the maps.
#![no_std]

pub mod abi;
pub mod decide;

pub use decide::{Connect, Family, Reason, Tables, Verdict, decide};
