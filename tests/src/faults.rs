//! System calls that fail as the kernel has them fail: a filter hands each call of one thread to another thread, which lets it
//! happen or fails it (`SECCOMP_RET_USER_NOTIF`, Linux 5.5 for what goes on). Whoever makes the calls knows nothing of that.
#![expect(unsafe_code, reason = "seccomp(2)")]

use std::env;
use std::fmt;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result};
use libc::{sock_filter, sock_fprog};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What is handed over: whatever may change or read maps, programs, links, pins and cgroups.
const CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_bpf, "bpf"),
    (libc::SYS_membarrier, "membarrier"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_getdents64, "getdents64"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_write, "write"),
    (libc::SYS_perf_event_open, "perf_event_open"),
    (libc::SYS_epoll_create1, "epoll_create1"),
    (libc::SYS_epoll_ctl, "epoll_ctl"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "rmdir"),
];

/// Of mmap(2) alone what is shared: the rest is the allocator's.
const SHARED: u32 = libc::MAP_SHARED.cast_unsigned();

/// Where this variable is set each call fails with each errno, rather than some of them.
const EVERY: &str = "EVERY_FAULT";

/// What the kernel says when something is short, not allowed, busy or full.
const ERRNOS: [i32; 8] = [
    libc::ENOMEM,
    libc::EPERM,
    libc::EBUSY,
    libc::E2BIG,
    libc::ENOSPC,
    libc::EMFILE,
    libc::EINTR,
    libc::EAGAIN,
];

/// Which calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 0.
    pub first: usize,
    /// Of bpf(2): calls with this command alone are counted.
    pub command: Option<u64>,
    /// All that follow fail, too.
    pub lasts: bool,
    pub errno: i32,
}

impl Fault {
    fn counts(&self, call: &Call) -> bool {
        let is_of = |command| call.name == "bpf" && call.command == command;
        self.command.is_none_or(is_of)
    }

    /// Whether the last of these calls fails.
    fn is_for(&self, calls: &[Call]) -> bool {
        let mut counted = (0..).zip(calls).filter(|(_, call)| self.counts(call));
        let Some((first, _)) = counted.nth(self.first) else {
            return false;
        };
        self.lasts || first + 1 == calls.len()
    }
}

/// Which faults are tried: all of them, or some, others each time.
#[derive(Debug)]
pub struct Choice {
    every: bool,
    turn: usize,
}

impl Choice {
    /// As the environment says.
    pub fn get() -> Self {
        let every = env::var_os(EVERY).is_some();
        Self { every, turn: 0 }
    }

    /// Of what makes so many calls: each call with each errno, or one.
    pub fn of(&mut self, calls: usize) -> Vec<Fault> {
        if !self.every {
            return self.some(calls, 1);
        }
        let each = (0..calls).flat_map(|first| ERRNOS.map(|errno| (first, errno)));
        each.flat_map(|(first, errno)| [false, true].map(|lasts| fault(first, errno, lasts)))
            .collect()
    }

    /// Of what takes long: each call with one errno, or so many.
    pub fn some(&mut self, calls: usize, count: usize) -> Vec<Fault> {
        let turns = if self.every { calls } else { count.min(calls) };
        let some = (0..turns).map(|turn| {
            self.turn += 1;
            // No multiple of the numbers of calls that there are.
            let first = if self.every {
                turn
            } else {
                self.turn * 37 % calls
            };
            let errno = ERRNOS[self.turn % ERRNOS.len()];
            fault(first, errno, self.turn.is_multiple_of(3))
        });
        some.collect()
    }
}

fn fault(first: usize, errno: i32, lasts: bool) -> Fault {
    Fault {
        first,
        command: None,
        // Whoever is interrupted tries again at once.
        lasts: lasts && errno != libc::EINTR,
        errno,
    }
}

/// A system call that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: &'static str,
    /// The first argument, which is the command of bpf(2).
    pub command: u64,
}

impl Call {
    fn of(data: &libc::seccomp_data) -> Self {
        let number = libc::c_long::from(data.nr);
        let known = CALLS.iter().find(|(call, _)| *call == number);
        Self {
            name: known.map_or("mmap", |(_, name)| name),
            command: data.args[0],
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            "bpf" => write!(f, "bpf({})", self.command),
            name => f.write_str(name),
        }
    }
}

/// Does `work` on a thread of its own whose calls fail so. Returns what came of it, and all calls in their order.
pub fn with_faults<T: Send>(
    fault: Option<Fault>,
    work: impl FnOnce() -> T + Send,
) -> Result<(T, Vec<Call>)> {
    let (ready, listening) = mpsc::channel();
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let listener = hand_over_calls();
            let is_handed = listener.is_ok();
            ready.send(listener).ok();
            is_handed.then(work)
        });
        let listener = listening.recv()?.context("handing system calls over")?;
        let calls = judge(&listener, fault, || worker.is_finished())?;
        let done = match worker.join() {
            Ok(done) => done.context("the filter is there")?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok((done, calls))
    })
}

/// Lets each call happen that does not fail, until the thread has ended.
fn judge(
    listener: &OwnedFd,
    fault: Option<Fault>,
    is_over: impl Fn() -> bool,
) -> io::Result<Vec<Call>> {
    let mut calls = Vec::new();
    let patience = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    loop {
        let mut watched = [PollFd::new(listener, PollFlags::IN)];
        poll(&mut watched, Some(&patience))?;
        let found = watched[0].revents();
        if found.contains(PollFlags::IN) {
            let Some(asked) = receive(listener)? else {
                continue;
            };
            calls.push(Call::of(&asked.data));
            let errno = fault.filter(|fault| fault.is_for(&calls));
            answer(listener, asked.id, errno.map(|fault| fault.errno))?;
        } else if found.contains(PollFlags::HUP) || is_over() {
            return Ok(calls);
        }
    }
}

/// Has this thread's calls wait for whoever reads what this returns.
fn hand_over_calls() -> io::Result<OwnedFd> {
    let mut program = program();
    let filter = sock_fprog {
        len: u16::try_from(program.len()).expect("a few instructions"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the filter is as long as it says, and outlives the call.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const filter,
        )
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    let listener = i32::try_from(listener).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Compares the number of a call with each of ours.
fn program() -> Vec<sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const HAS: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, k: u32, jt: usize, jf: u8| sock_filter {
        code: u16::try_from(code).expect("a code has 16 bits"),
        jt: u8::try_from(jt).expect("a few instructions"),
        jf,
        k,
    };
    let at = |offset: usize| u32::try_from(offset).expect("a small structure");
    let number = |call: libc::c_long| u32::try_from(call).expect("a small number");
    // The lower half of the fourth argument.
    let flags = offset_of!(libc::seccomp_data, args) + 3 * size_of::<u64>();
    let flags = flags + if cfg!(target_endian = "big") { 4 } else { 0 };
    let mut steps = vec![step(LOAD, at(offset_of!(libc::seccomp_data, nr)), 0, 0)];
    for (before_end, (call, _)) in (0..CALLS.len()).rev().zip(CALLS) {
        steps.push(step(IS, number(*call), before_end + 4, 0));
    }
    steps.extend([
        step(IS, number(libc::SYS_mmap), 0, 2),
        step(LOAD, at(flags), 0, 0),
        step(HAS, SHARED, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
    ]);
    steps
}

/// `None` where whoever asked is gone.
fn receive(listener: &OwnedFd) -> io::Result<Option<libc::seccomp_notif>> {
    // SAFETY: a structure of integers, which the kernel wants to be zero.
    let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    let receive = libc::SECCOMP_IOCTL_NOTIF_RECV;
    // SAFETY: the kernel writes one such structure.
    let received = unsafe { libc::ioctl(listener.as_raw_fd(), receive, &raw mut asked) };
    Ok(unless_gone(received)?.then_some(asked))
}

fn answer(listener: &OwnedFd, id: u64, errno: Option<i32>) -> io::Result<()> {
    let goes_on = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).expect("one bit");
    let mut answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: errno.map_or(0, |errno| -errno),
        flags: if errno.is_some() { 0 } else { goes_on },
    };
    let send = libc::SECCOMP_IOCTL_NOTIF_SEND;
    // SAFETY: the kernel reads one such structure.
    unless_gone(unsafe { libc::ioctl(listener.as_raw_fd(), send, &raw mut answer) })?;
    Ok(())
}

/// Whether an ioctl(2) worked; it fails so where the thread has gone on without it.
fn unless_gone(result: libc::c_int) -> io::Result<bool> {
    match io::Error::last_os_error() {
        _ if result >= 0 => Ok(true),
        gone if gone.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        error => Err(error),
    }
}
