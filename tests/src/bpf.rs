//! bpf(2), as far as tests and the bench use it for programs that are not shunt's.
#![expect(unsafe_code, reason = "bpf(2)")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `enum bpf_cmd` of include/uapi/linux/bpf.h; so are all numbers here.
const MAP_CREATE: i64 = 0;
const MAP_LOOKUP_ELEM: i64 = 1;
const MAP_UPDATE_ELEM: i64 = 2;
const MAP_DELETE_ELEM: i64 = 3;
const MAP_GET_NEXT_KEY: i64 = 4;
const PROG_LOAD: i64 = 5;
const OBJ_GET: i64 = 7;
const PROG_ATTACH: i64 = 8;
const PROG_DETACH: i64 = 9;
const PROG_GET_FD_BY_ID: i64 = 13;
const MAP_GET_FD_BY_ID: i64 = 14;
const OBJ_GET_INFO_BY_FD: i64 = 15;
const LINK_CREATE: i64 = 28;
const LINK_UPDATE: i64 = 29;
const ENABLE_STATS: i64 = 32;
const LINK_DETACH: i64 = 34;

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

/// The same for commands on an element; of `BPF_MAP_GET_NEXT_KEY`, the value is the next key.
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

/// The beginning of `struct bpf_link_info`.
#[repr(C)]
#[derive(Default)]
struct LinkFacts {
    kind: u32,
    id: u32,
    program: u32,
}

/// The same for `BPF_LINK_UPDATE`.
#[repr(C)]
struct Update {
    link: u32,
    program: u32,
    flags: u32,
    old: u32,
}

/// The same for `BPF_OBJ_GET`.
#[repr(C)]
struct Pinned {
    path: u64,
    object: u32,
    flags: u32,
}

/// The same for `BPF_MAP_GET_FD_BY_ID` and `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct Open {
    id: u32,
    next: u32,
    flags: u32,
}

/// The map of this name that programs of this process use.
pub fn own_map(name: &str) -> io::Result<OwnedFd> {
    for program in own("anon_inode:bpf-prog")? {
        if let Some(map) = map_of(program, name)? {
            return Ok(map);
        }
    }
    Err(io::Error::other(format!("no program uses a map {name}")))
}

/// The map of this name that the program uses which is pinned at `link`.
pub fn map_of_link(link: &Path, name: &str) -> io::Result<OwnedFd> {
    let link = get_pinned(link)?;
    let mut facts = LinkFacts::default();
    describe(number(link.as_fd()), &mut facts)?;
    let program = open(PROG_GET_FD_BY_ID, facts.program)?;
    let map = map_of(number(program.as_fd()), name)?;
    map.ok_or_else(|| io::Error::other(format!("the program uses no map {name}")))
}

/// Detaches all that this process has attached with links.
pub fn detach_own_links() -> io::Result<usize> {
    let links = own("anon_inode:bpf_link")?;
    for link in &links {
        detach_number(*link)?;
    }
    Ok(links.len())
}

/// The descriptors of this process of such objects.
fn own(kind: &str) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let is_one = fs::read_link(&path).is_ok_and(|to| to.as_os_str() == kind);
        let number: Option<u32> = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        found.extend(number.filter(|_| is_one));
    }
    Ok(found)
}

fn map_of(program: u32, name: &str) -> io::Result<Option<OwnedFd>> {
    let mut ids = [0u32; 64];
    let mut facts = ProgramFacts {
        map_count: u32::try_from(ids.len()).map_err(io::Error::other)?,
        maps: ids.as_mut_ptr().addr() as u64,
        ..ProgramFacts::default()
    };
    describe(program, &mut facts)?;
    for id in &ids[..facts.map_count as usize] {
        let map = open(MAP_GET_FD_BY_ID, *id)?;
        let mut facts = MapFacts::default();
        describe(number(map.as_fd()), &mut facts)?;
        if facts.name.split(|byte| *byte == 0).next() == Some(name.as_bytes()) {
            return Ok(Some(map));
        }
    }
    Ok(None)
}

fn open(command: i64, id: u32) -> io::Result<OwnedFd> {
    let open = Open {
        id,
        next: 0,
        flags: 0,
    };
    owned(bpf(command, &open)?)
}

/// Opens what is pinned there.
pub fn get_pinned(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let pinned = Pinned {
        path: name.as_ptr().addr() as u64,
        object: 0,
        flags: 0,
    };
    owned(bpf(OBJ_GET, &pinned)?)
}

/// Puts another program in the place of that of a link.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let update = Update {
        link: number(link),
        program: number(program),
        flags: 0,
        old: 0,
    };
    bpf(LINK_UPDATE, &update).map(drop)
}

/// After this the link does nothing, whoever holds it.
pub fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    detach_number(number(link))
}

fn detach_number(link: u32) -> io::Result<()> {
    bpf(LINK_DETACH, &link).map(drop)
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

/// Takes the key, of the map's size, out of a map.
pub fn remove(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    bpf(MAP_DELETE_ELEM, &at(map, key, 0)).map(drop)
}

/// All keys of a map, which must be of that size.
pub fn keys<const N: usize>(map: BorrowedFd<'_>) -> io::Result<Vec<[u8; N]>> {
    let mut keys: Vec<[u8; N]> = Vec::new();
    loop {
        let mut next = [0; N];
        let after = keys.last().map_or(0, |last| last.as_ptr().addr());
        let mut ask = at(map, &[], next.as_mut_ptr().addr());
        ask.key = after as u64;
        match bpf(MAP_GET_NEXT_KEY, &ask) {
            Ok(_) => keys.push(next),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keys),
            Err(error) => return Err(error),
        }
    }
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
