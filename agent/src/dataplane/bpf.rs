//! The commands of bpf(2) that aya does not offer, each as a function.
#![expect(unsafe_code, reason = "bpf(2)")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Of `enum bpf_cmd`, include/uapi/linux/bpf.h; so are all numbers here.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// Of `enum bpf_prog_type`.
pub(super) const SOCKET_FILTER: u32 = 1;

const BPF_F_QUERY_EFFECTIVE: u32 = 1;
/// A program with this flag tolerates one below it in its place.
pub(super) const BPF_F_ALLOW_OVERRIDE: u32 = 1;
/// A program with this flag, as every one attached with a link, tolerates others beside and below it.
pub(super) const BPF_F_ALLOW_MULTI: u32 = 2;

/// The kernel takes 64 for one hook of one cgroup (`BPF_CGROUP_MAX_PROGS`); this is for 32 full levels of cgroups.
const MAX_PROGRAMS: usize = 64 * 32;

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

/// The part that `BPF_OBJ_PIN` and `BPF_OBJ_GET` read.
#[repr(C)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The part that `BPF_PROG_TEST_RUN` reads and writes.
#[repr(C)]
#[derive(Default)]
struct Run {
    program: u32,
    returned: u32,
    data_in_size: u32,
    data_out_size: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_in_size: u32,
    context_out_size: u32,
    context_in: u64,
    context_out: u64,
}

/// The beginning of `struct __sk_buff`.
#[repr(C)]
#[derive(Default)]
struct Packet {
    length: u32,
    kind: u32,
    mark: u32,
}

/// The part that `BPF_PROG_QUERY` reads and writes: to its end, since some kernels from 6.17 on write `revision` whatever
/// size is given (commit 120933984460).
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The part that `BPF_LINK_UPDATE` reads.
#[repr(C)]
struct Update {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// The part that `BPF_LINK_DETACH` reads.
#[repr(C)]
struct Detach {
    link: u32,
}

/// The part that `BPF_LINK_CREATE` reads of a cgroup.
#[repr(C)]
struct Create {
    program: u32,
    cgroup: u32,
    attach_type: u32,
    flags: u32,
}

/// The part that `BPF_OBJ_GET_INFO_BY_FD` reads and writes.
#[repr(C)]
struct Ask {
    object: u32,
    length: u32,
    answer: u64,
}

/// `struct bpf_link_info` of a cgroup's link.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    cgroup: u64,
    attach_type: u32,
    end: u32,
}

/// The part that `BPF_MAP_LOOKUP_BATCH` reads and writes.
#[repr(C)]
struct Batch {
    from: u64,
    next: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// What a link of a cgroup does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Linked {
    /// The id of the program.
    pub program: u32,
    /// The id of the cgroup; 0 where the link has been detached, or the cgroup is gone.
    pub cgroup: u64,
}

/// What is attached to one hook of a cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attached {
    /// In the order of their runs.
    pub programs: Vec<u32>,
    /// With which they were attached; all of one cgroup and hook have the same.
    pub flags: u32,
}

/// Loads a program that uses no map.
pub(super) fn load(kind: u32, attach_type: u32, instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut load = Load {
        kind,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr().addr() as u64,
        license: c"GPL".as_ptr().addr() as u64,
        attach_type,
        ..Load::default()
    };
    // SAFETY: the instructions and the licence outlive the call, and the counts are theirs.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &mut load) }?;
    // SAFETY: the kernel has just given this descriptor to us.
    unsafe { owned(fd) }
}

/// Runs a program for packets on an empty one with that mark, and returns what it does.
pub(super) fn run(program: BorrowedFd<'_>, mark: u32) -> io::Result<u32> {
    // An Ethernet header, without which there is no packet.
    let packet = [0u8; 14];
    let context = Packet {
        mark,
        ..Packet::default()
    };
    let mut run = Run {
        program: program.as_raw_fd().cast_unsigned(),
        data_in_size: u32::try_from(packet.len()).map_err(io::Error::other)?,
        data_in: packet.as_ptr().addr() as u64,
        repeat: 1,
        context_in_size: u32::try_from(size_of::<Packet>()).map_err(io::Error::other)?,
        context_in: (&raw const context).addr() as u64,
        ..Run::default()
    };
    // SAFETY: the packet and its context outlive the call and have these sizes; nothing is to be written beyond the attributes.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut run) }?;
    Ok(run.returned)
}

/// Opens what is pinned at `path`.
pub(super) fn get_pinned(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut pin = Pin {
        path: name.as_ptr().addr() as u64,
        fd: 0,
        flags: 0,
    };
    // SAFETY: the name outlives the call and ends with NUL.
    let fd = unsafe { bpf(BPF_OBJ_GET, &mut pin) }?;
    // SAFETY: the kernel has just given this descriptor to us.
    unsafe { owned(fd) }
}

/// Keeps `object` as a file on a BPF file system.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut pin = Pin {
        path: name.as_ptr().addr() as u64,
        fd: object.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    // SAFETY: the name outlives the call and ends with NUL.
    unsafe { bpf(BPF_OBJ_PIN, &mut pin) }?;
    Ok(())
}

/// Attaches `program` beside others, for as long as the link is held or pinned.
pub(super) fn create_link(
    program: BorrowedFd<'_>,
    cgroup: &File,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    let mut create = Create {
        program: program.as_raw_fd().cast_unsigned(),
        cgroup: cgroup.as_raw_fd().cast_unsigned(),
        attach_type,
        // A link always allows others beside it, and any flag is refused.
        flags: 0,
    };
    // SAFETY: the command reads descriptors and numbers, and no more.
    let fd = unsafe { bpf(BPF_LINK_CREATE, &mut create) }?;
    // SAFETY: the kernel has just given this descriptor to us.
    unsafe { owned(fd) }
}

pub(super) fn linked(link: BorrowedFd<'_>) -> io::Result<Linked> {
    let mut info = LinkInfo::default();
    let mut ask = Ask {
        object: link.as_raw_fd().cast_unsigned(),
        length: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        answer: (&raw mut info).addr() as u64,
    };
    // SAFETY: the answer outlives the call and has the length that it is said to have.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut ask) }?;
    Ok(Linked {
        program: info.program,
        cgroup: info.cgroup,
    })
}

/// Elements and where the next ones begin, if there are more.
pub(super) type Elements<K, V> = (Vec<(K, V)>, Option<u32>);

/// Reads `most` elements of a hash at most: those in the buckets from `from` on.
///
/// # Safety
/// Keys and values of the map must be of the size of `K` and `V`, and any bytes must be valid ones.
pub(super) unsafe fn batch<K: Copy, V: Copy>(
    map: BorrowedFd<'_>,
    from: u32,
    most: usize,
) -> io::Result<Elements<K, V>> {
    let mut keys = vec![MaybeUninit::<K>::uninit(); most];
    let mut values = vec![MaybeUninit::<V>::uninit(); most];
    let mut next = 0u32;
    let mut batch = Batch {
        from: if from == 0 {
            0
        } else {
            (&raw const from).addr() as u64
        },
        next: (&raw mut next).addr() as u64,
        keys: keys.as_mut_ptr().addr() as u64,
        values: values.as_mut_ptr().addr() as u64,
        count: u32::try_from(most).map_err(io::Error::other)?,
        map: map.as_raw_fd().cast_unsigned(),
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: there is room for as many keys and values as is said, of the map's sizes by the caller's promise, and all of it
    // outlives the call.
    let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut batch) };
    let is_last = match result {
        Ok(_) => false,
        // After the last bucket.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    let read = keys.into_iter().zip(values).take(batch.count as usize);
    // SAFETY: the kernel has written so many of both, and any bytes are valid by the caller's promise.
    let read = read.map(|(key, value)| unsafe { (key.assume_init(), value.assume_init()) });
    Ok((read.collect(), (!is_last).then_some(next)))
}

/// Puts `program` in the place of the one that the link is of, as if in one instant: each socket meets the one or the other.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut update = Update {
        link: link.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        flags: 0,
        old_program: 0,
    };
    // SAFETY: the command reads two descriptors and flags, and no more.
    unsafe { bpf(BPF_LINK_UPDATE, &mut update) }?;
    Ok(())
}

/// After this the link does nothing, whoever holds it.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut detach = Detach {
        link: link.as_raw_fd().cast_unsigned(),
    };
    // SAFETY: the command reads a descriptor and no more.
    unsafe { bpf(BPF_LINK_DETACH, &mut detach) }?;
    Ok(())
}

/// The programs that are attached to one hook of `cgroup` itself.
pub(super) fn attached(cgroup: &File, attach_type: u32) -> io::Result<Attached> {
    query(cgroup, attach_type, 0)
}

/// The programs that run for sockets in `cgroup`: those of its ancestors come last.
pub(super) fn effective(cgroup: &File, attach_type: u32) -> io::Result<Vec<u32>> {
    Ok(query(cgroup, attach_type, BPF_F_QUERY_EFFECTIVE)?.programs)
}

fn query(cgroup: &File, attach_type: u32, flags: u32) -> io::Result<Attached> {
    let mut programs = vec![0u32; MAX_PROGRAMS];
    let mut query = Query {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        attach_type,
        flags,
        prog_ids: programs.as_mut_ptr().addr() as u64,
        prog_cnt: u32::try_from(programs.len()).map_err(io::Error::other)?,
        ..Query::default()
    };
    // SAFETY: the buffer has room for as many ids as it is said to have, and outlives the call.
    unsafe { bpf(BPF_PROG_QUERY, &mut query) }?;
    programs.truncate(query.prog_cnt as usize);
    Ok(Attached {
        programs,
        flags: query.attach_flags,
    })
}

/// # Safety
/// `attributes` must be laid out as `command` has it, as far as the kernel reads and writes it, and what it points to must
/// be valid for that.
unsafe fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the caller's promise; the size is that of `attributes`.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// # Safety
/// `fd` must be open, and nobody else's.
unsafe fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
