//! The kernel programs of shunt: read the context, decide, write the context, report. Each hook family has a file;
//! what a decision is stands in `agent_common::decide`, what the maps hold in `agent_common::abi`.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![cfg_attr(feature = "compare-and-swap", feature(asm_experimental_arch))]
#![expect(
    internal_features,
    reason = "the BPF target has compare-and-swap, but core's atomics do not offer it there"
)]

mod clients;
mod connect;
mod denials;
mod flows;
mod holder;
mod maps;
mod names;
mod options;
mod outbound;
#[cfg(feature = "compare-and-swap")]
mod outcome;
mod peername;
mod recvmsg;
mod release;
mod sendmsg;
mod sockaddr;
#[cfg(feature = "compare-and-swap")]
mod sockops;
#[cfg(feature = "compare-and-swap")]
mod sweep;
mod trace;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: nothing here panics; an object in which this were reachable would be refused by the verifier.
    unsafe { core::hint::unreachable_unchecked() }
}

/// The helpers that these programs call are offered to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
