//! bpf(2), as far as tests and the bench use it for programs that are not shunt's.
#![expect(unsafe_code, reason = "bpf(2)")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `enum bpf_cmd` of include/uapi/linux/bpf.h; so are all numbers here.
const MAP_CREATE: i64 = 0;
const MAP_LOOKUP_ELEM: i64 = 1;
const MAP_UPDATE_ELEM: i64 = 2;
const PROG_LOAD: i64 = 5;
const PROG_ATTACH: i64 = 8;
const PROG_DETACH: i64 = 9;
const MAP_GET_FD_BY_ID: i64 = 14;
const OBJ_GET_INFO_BY_FD: i64 = 15;
const LINK_CREATE: i64 = 28;
const ENABLE_STATS: i64 = 32;

const ARRAY: u32 = 2;

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`.
pub const CGROUP_SOCK_ADDR: u32 = 18;

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads.
#[repr(C)]
#[derive(Default)]
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
    device: u32,
    attach_type: u32,
}

/// The same for `BPF_MAP_CREATE`.
#[repr(C)]
struct Map {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
}

/// The same for `BPF_MAP_LOOKUP_ELEM` and `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The same for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct Attachment {
    cgroup: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// The same for `BPF_LINK_CREATE`.
#[repr(C)]
struct Link {
    program: u32,
    cgroup: u32,
    attach_type: u32,
    flags: u32,
}

/// Loads a `sock_addr` program for one hook. Of the name, 15 bytes count.
pub fn load(attach_type: u32, name: &str, instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut load = Load {
        kind: CGROUP_SOCK_ADDR,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr().addr() as u64,
        license: c"GPL".as_ptr().addr() as u64,
        attach_type,
        ..Load::default()
    };
    for (to, from) in load.name[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    owned(bpf(PROG_LOAD, &load)?)
}

/// Attaches until the result is dropped.
pub fn link(program: BorrowedFd<'_>, cgroup: &File, attach_type: u32) -> io::Result<OwnedFd> {
    let link = Link {
        program: number(program),
        cgroup: number(cgroup.as_fd()),
        attach_type,
        flags: 0,
    };
    owned(bpf(LINK_CREATE, &link)?)
}

/// Attaches until [`detach`].
pub fn attach(
    program: BorrowedFd<'_>,
    cgroup: &File,
    attach_type: u32,
    flags: u32,
) -> io::Result<()> {
    let attach = Attachment {
        program: number(program),
        cgroup: number(cgroup.as_fd()),
        attach_type,
        flags,
    };
    bpf(PROG_ATTACH, &attach).map(drop)
}

pub fn detach(program: BorrowedFd<'_>, cgroup: &File, attach_type: u32) -> io::Result<()> {
    let detach = Attachment {
        program: number(program),
        cgroup: number(cgroup.as_fd()),
        attach_type,
        flags: 0,
    };
    bpf(PROG_DETACH, &detach).map(drop)
}

/// An array of one element.
pub fn array<const N: usize>() -> io::Result<OwnedFd> {
    let map = Map {
        kind: ARRAY,
        key_size: 4,
        value_size: u32::try_from(N).map_err(io::Error::other)?,
        entries: 1,
    };
    owned(bpf(MAP_CREATE, &map)?)
}

/// The same for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Ask {
    object: u32,
    length: u32,
    answer: u64,
}

/// The beginning of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapFacts {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
    name: [u8; 16],
}

/// The beginning of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct ProgramFacts {
    before: [u64; 6],
    created_by: u32,
    map_count: u32,
    maps: u64,
}

/// The same for `BPF_MAP_GET_FD_BY_ID`.
#[repr(C)]
struct Open {
    id: u32,
    next: u32,
    flags: u32,
}

/// The map of this name that programs of this process use.
pub fn own_map(name: &str) -> io::Result<OwnedFd> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let is_program =
            fs::read_link(&path).is_ok_and(|to| to.as_os_str() == "anon_inode:bpf-prog");
        let program = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let Some(program) = program.filter(|_| is_program) else {
            continue;
        };
        let mut ids = [0u32; 64];
        let mut facts = ProgramFacts {
            map_count: u32::try_from(ids.len()).map_err(io::Error::other)?,
            maps: ids.as_mut_ptr().addr() as u64,
            ..ProgramFacts::default()
        };
        describe(program, &mut facts)?;
        for id in &ids[..facts.map_count as usize] {
            let open = Open {
                id: *id,
                next: 0,
                flags: 0,
            };
            let map = owned(bpf(MAP_GET_FD_BY_ID, &open)?)?;
            let mut facts = MapFacts::default();
            describe(number(map.as_fd()), &mut facts)?;
            if facts.name.split(|byte| *byte == 0).next() == Some(name.as_bytes()) {
                return Ok(map);
            }
        }
    }
    Err(io::Error::other(format!("no program uses a map {name}")))
}

/// Has the kernel say what it knows of a map or a program.
fn describe<T>(object: u32, facts: &mut T) -> io::Result<()> {
    let ask = Ask {
        object,
        length: u32::try_from(size_of::<T>()).map_err(io::Error::other)?,
        answer: std::ptr::from_mut(facts).addr() as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &ask).map(drop)
}

/// The element of an [`array()`] of the same size.
pub fn element<const N: usize>(map: BorrowedFd<'_>) -> io::Result<[u8; N]> {
    lookup(map, &0u32.to_ne_bytes())
}

/// The value that stands in a map under the key, which must be of the map's sizes.
pub fn lookup<const N: usize>(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<[u8; N]> {
    let mut value = [0; N];
    bpf(MAP_LOOKUP_ELEM, &at(map, key, value.as_mut_ptr().addr()))?;
    Ok(value)
}

/// Puts the value into a map under the key, both of the map's sizes.
pub fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    bpf(MAP_UPDATE_ELEM, &at(map, key, value.as_ptr().addr())).map(drop)
}

fn at(map: BorrowedFd<'_>, key: &[u8], value: usize) -> Element {
    Element {
        map: number(map),
        padding: 0,
        key: key.as_ptr().addr() as u64,
        value: value as u64,
        flags: 0,
    }
}

/// Makes the kernel count the runs of programs, and their time, for as long as the result is held: as
/// `kernel.bpf_stats_enabled` does, but it cannot be left behind.
pub fn count_runs() -> io::Result<OwnedFd> {
    let run_time = 0u32;
    owned(bpf(ENABLE_STATS, &run_time)?)
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn bpf<T>(command: i64, attributes: &T) -> io::Result<i64> {
    // SAFETY: `attributes` are what the command reads, of that size, and what they point to outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn owned(fd: i64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: only results of commands that make a file descriptor for us come here.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
