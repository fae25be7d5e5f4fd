//! A program of somebody else on the hooks of shunt: it notes the address that it sees, and may put another in its place.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::bpf;

/// Where a program runs; values are those of `enum bpf_attach_type` of include/uapi/linux/bpf.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    Connect4 = 10,
    Connect6 = 11,
    SendMessage4 = 14,
    SendMessage6 = 15,
    ReceiveMessage4 = 19,
    ReceiveMessage6 = 20,
    PeerName4 = 29,
    PeerName6 = 30,
}

impl Hook {
    const fn is_v6(self) -> bool {
        matches!(
            self,
            Self::Connect6 | Self::SendMessage6 | Self::ReceiveMessage6 | Self::PeerName6
        )
    }
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// With a link, which tolerates others.
    Link,
    /// With `BPF_PROG_ATTACH` and `BPF_F_ALLOW_MULTI`, which tolerates others.
    Multi,
    /// The same with `BPF_F_ALLOW_OVERRIDE`: one below it takes its place.
    Overridable,
    /// The same without a flag: nobody beside or below it.
    Exclusive,
}

/// A program that is attached to one hook of a cgroup until it is dropped.
pub struct Neighbour {
    program: OwnedFd,
    notes: OwnedFd,
    cgroup: File,
    hook: Hook,
    link: Option<OwnedFd>,
}

/// What [`Neighbour`] notes: the address as the context has it, the port, and how often it ran.
const NOTES: usize = 16 + 4 + 4;

impl Neighbour {
    /// As listings of the kernel have it.
    pub const NAME: &str = "other_lb";

    pub fn attach(cgroup: &Path, hook: Hook, manner: Manner) -> Result<Self> {
        Self::rewriting(cgroup, hook, manner, None)
    }

    /// One that puts `to`, of the hook's family, in the place of every address.
    pub fn rewriting(
        cgroup: &Path,
        hook: Hook,
        manner: Manner,
        to: Option<SocketAddr>,
    ) -> Result<Self> {
        let notes = bpf::array::<NOTES>().context("making a map")?;
        let instructions = program(hook, notes.as_fd(), to);
        let kind = hook as u32;
        let program = bpf::load(kind, Self::NAME, &instructions).context("loading a neighbour")?;
        let cgroup = File::open(cgroup)?;
        let (by, flags) = (program.as_fd(), |flags| (None, flags));
        let (link, flags) = match manner {
            Manner::Link => (Some(bpf::link(by, &cgroup, kind)?), 0),
            Manner::Multi => flags(2),
            Manner::Overridable => flags(1),
            Manner::Exclusive => flags(0),
        };
        if link.is_none() {
            bpf::attach(by, &cgroup, kind, flags).context("attaching a neighbour")?;
        }
        Ok(Self {
            program,
            notes,
            cgroup,
            hook,
            link,
        })
    }

    /// The kernel's number of the program.
    pub fn id(&self) -> Result<u32> {
        let path = format!("/proc/self/fdinfo/{}", self.program.as_raw_fd());
        let facts = fs::read_to_string(path)?;
        let id = facts.lines().find_map(|line| line.strip_prefix("prog_id:"));
        Ok(id.context("no prog_id in fdinfo")?.trim().parse()?)
    }

    /// The address that it saw last.
    pub fn seen(&self) -> Result<SocketAddr> {
        let notes = bpf::element::<NOTES>(self.notes.as_fd())?;
        if self.runs()? == 0 {
            bail!("the neighbour has not run");
        }
        let (address, rest) = notes.split_at(16);
        let address: [u8; 16] = address.try_into()?;
        let ip: IpAddr = if self.hook.is_v6() {
            Ipv6Addr::from(address).into()
        } else {
            let v4: [u8; 4] = address[..4].try_into()?;
            v4.into()
        };
        // A word that holds the port in network order in its first two bytes.
        let port = u16::from_be_bytes(rest[..2].try_into()?);
        Ok(SocketAddr::new(ip, port))
    }

    /// How often it ran.
    pub fn runs(&self) -> Result<u32> {
        let notes = bpf::element::<NOTES>(self.notes.as_fd())?;
        Ok(u32::from_ne_bytes(notes[20..].try_into()?))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        if self.link.is_some() {
            return;
        }
        let kind = self.hook as u32;
        if let Err(error) = bpf::detach(self.program.as_fd(), &self.cgroup, kind) {
            eprintln!("detaching a neighbour: {error}");
        }
    }
}

/// Offsets in `struct bpf_sock_addr`.
const USER_IP4: i16 = 4;
const USER_IP6: i16 = 8;
const USER_PORT: i16 = 24;

/// Registers.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R6: u8 = 6;
const R10: u8 = 10;

/// What a neighbour does. `to` is of the hook's family.
fn program(hook: Hook, notes: BorrowedFd<'_>, to: Option<SocketAddr>) -> Vec<u64> {
    let words: Vec<i16> = if hook.is_v6() {
        (0..4).map(|word| USER_IP6 + 4 * word).collect()
    } else {
        vec![USER_IP4]
    };
    let mut noting = Vec::new();
    for (to, &from) in (0..).zip(&words) {
        noting.extend([load_word(R1, R6, from), store_word(R0, 4 * to, R1)]);
    }
    noting.extend([
        load_word(R1, R6, USER_PORT),
        store_word(R0, 16, R1),
        load_word(R1, R0, 20),
        instruction(0x07, R1, 0, 0, 1), // r1 += 1
        store_word(R0, 20, R1),
    ]);
    let skip = i16::try_from(noting.len()).expect("a few instructions");
    let mut program = vec![
        instruction(0xbf, R6, R1, 0, 0),  // r6 = r1
        instruction(0x62, R10, 0, -4, 0), // *(u32 *)(r10 - 4) = 0
        // r1 = the map, in two instructions
        instruction(0x18, R1, 1, 0, notes.as_raw_fd()),
        0,
        instruction(0xbf, R2, R10, 0, 0),  // r2 = r10
        instruction(0x07, R2, 0, 0, -4),   // r2 += -4
        instruction(0x85, 0, 0, 0, 1),     // r0 = bpf_map_lookup_elem(r1, r2)
        instruction(0x15, R0, 0, skip, 0), // if r0 == 0 goto
    ];
    program.extend(noting);
    if let Some(to) = to {
        let octets = match to.ip() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        for (&word, bytes) in words.iter().zip(octets.chunks_exact(4)) {
            let bytes = bytes.try_into().expect("chunks of four");
            program.extend(put(word, i32::from_ne_bytes(bytes)));
        }
        program.extend(put(USER_PORT, i32::from(to.port().to_be())));
    }
    program.extend([
        instruction(0xb7, R0, 0, 0, 1),
        instruction(0x95, 0, 0, 0, 0),
    ]); // r0 = 1; exit
    program
}

/// Writes a word of the context.
fn put(offset: i16, value: i32) -> [u64; 2] {
    [
        instruction(0xb4, R1, 0, 0, value), // w1 = value
        store_word(R6, offset, R1),
    ]
}

fn load_word(to: u8, from: u8, offset: i16) -> u64 {
    instruction(0x61, to, from, offset, 0)
}

fn store_word(to: u8, offset: i16, from: u8) -> u64 {
    instruction(0x63, to, from, offset, 0)
}

/// `struct bpf_insn`.
fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    u64::from(code)
        | u64::from(to) << 8
        | u64::from(from) << 12
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(value.cast_unsigned()) << 32
}
