//! What the verifier of this kernel counts for each program that an agent loads, in lines `vm: program NAME COUNT`.
//!
//! Kernels tell the number themselves since Linux 5.16; the verifier's log has it in all. aya asks for the log of a
//! program that was refused only. So the C library's `syscall`, through which aya speaks to the kernel, is replaced here
//! by one that asks for the log of every program.
#![expect(
    unsafe_code,
    reason = "a function of the C library is replaced, and reads what bpf(2) is given"
)]

use std::ffi::{CStr, c_long};
use std::mem;
use std::sync::OnceLock;

use agent::dataplane::{Dataplane, LoadOptions};
use anyhow::Result;
use tests::lab;

/// Of `enum bpf_cmd`, and of `include/linux/bpf_verifier.h`.
const BPF_PROG_LOAD: c_long = 5;
const BPF_LOG_STATS: u32 = 4;

/// The first fields of `union bpf_attr` for [`BPF_PROG_LOAD`].
#[repr(C)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

type Syscall =
    unsafe extern "C" fn(c_long, c_long, *mut Load, c_long, c_long, c_long, c_long) -> c_long;

fn main() -> Result<()> {
    let always = LoadOptions {
        limits: lab::limits(),
        ..LoadOptions::default()
    };
    Dataplane::load(&always)?;
    // What is loaded on request, where the kernel can.
    let on_request = LoadOptions {
        sock_ops: true,
        ..always
    };
    if let Err(error) = Dataplane::load(&on_request) {
        println!("with sock_ops: {error}");
    }
    Ok(())
}

/// Takes the place of the C library's.
///
/// # Safety
/// As the system call.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    first: c_long,
    second: *mut Load,
    third: c_long,
    fourth: c_long,
    fifth: c_long,
    sixth: c_long,
) -> c_long {
    let call = |attributes| {
        // SAFETY: the caller's own call.
        unsafe { original()(number, first, attributes, third, fourth, fifth, sixth) }
    };
    if number != libc::SYS_bpf || first != BPF_PROG_LOAD {
        return call(second);
    }
    // SAFETY: the second argument of bpf(2) is an attribute, of which every kernel that knows names reads so much.
    let load = unsafe { &mut *second };
    if !load.name.starts_with(b"shunt_") || load.log_level != 0 {
        return call(second);
    }
    let mut log = vec![0_u8; 1 << 16];
    load.log_level = BPF_LOG_STATS;
    load.log_size = 1 << 16;
    load.log = log.as_mut_ptr() as u64;
    let result = call(second);
    (load.log_level, load.log_size, load.log) = (0, 0, 0);
    tell(&load.name, &log, result >= 0);
    result
}

/// The function that would have been called.
fn original() -> Syscall {
    static ORIGINAL: OnceLock<Syscall> = OnceLock::new();
    *ORIGINAL.get_or_init(|| {
        // SAFETY: the name is NUL-terminated.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"syscall".as_ptr()) };
        assert!(!found.is_null(), "the C library has no syscall");
        // SAFETY: it is that function, whose further arguments are integers or pointers.
        unsafe { mem::transmute::<*mut libc::c_void, Syscall>(found) }
    })
}

/// The log has "processed 123 insns (limit …".
fn tell(name: &[u8; 16], log: &[u8], is_loaded: bool) {
    let text = |bytes| CStr::from_bytes_until_nul(bytes).map(|text| text.to_string_lossy());
    let (Ok(name), Ok(log)) = (text(name), text(log)) else {
        return;
    };
    let count = log
        .split_once("processed ")
        .and_then(|(_, rest)| rest.split(' ').next())
        .unwrap_or("?");
    let outcome = if is_loaded { "" } else { " REFUSED" };
    println!("vm: program {name} {count}{outcome}");
}
