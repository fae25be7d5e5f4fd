//! What programs do that go by names: the test program becomes each of them.
#![expect(unsafe_code, reason = "unshare(2)")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read};
use std::net::{IpAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::cgroup;

/// Becomes `program` in the cgroup (`-`: where we are), with that file in the place of `/etc/resolv.conf`.
pub fn become_program(
    group: &Path,
    servers: &Path,
    program: &str,
    arguments: &[OsString],
) -> Result<()> {
    if group != Path::new("-") {
        cgroup::join(group)?;
    }
    // SAFETY: mounts of its own touch neither memory nor file descriptors, and there is one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    mount_bind(servers, "/etc/resolv.conf")?;
    let error = Command::new(program)
        .args(arguments)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .exec();
    Err(error).with_context(|| format!("starting {program}"))
}

/// Prints what the C library says of a name, a line for each address.
pub fn resolve(name: &str) -> Result<()> {
    let addresses: BTreeSet<IpAddr> = match (name, 80).to_socket_addrs() {
        Ok(found) => found.map(|at| at.ip()).collect(),
        // EAI_NONAME and EAI_NODATA have no kind of their own.
        Err(error) if error.to_string().contains("not known") => BTreeSet::new(),
        Err(error) if error.to_string().contains("No address") => BTreeSet::new(),
        Err(error) => bail!(error),
    };
    for address in addresses {
        println!("{address}");
    }
    Ok(())
}

/// Connects to a name and port, and prints what is said there.
pub fn fetch(at: &str) -> Result<()> {
    let mut said = String::new();
    TcpStream::connect(at)?.read_to_string(&mut said)?;
    println!("{said}");
    Ok(())
}

/// Asks for a name again and again until the end of the input, and prints how often it did and how often it had to ask
/// again; no name is asked for more than twice.
pub fn ask_on(name: &str) -> Result<()> {
    let is_over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&is_over);
    thread::spawn(move || {
        // Whatever ends the input ends the asking.
        io::stdin().read_to_end(&mut Vec::new()).ok();
        told.store(true, Ordering::Relaxed);
    });
    let (mut asked, mut again) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        asked += 1;
        let start = Instant::now();
        if let Err(first) = (name, 80).to_socket_addrs() {
            again += 1;
            let waited = start.elapsed();
            (name, 80).to_socket_addrs().with_context(|| {
                let both = start.elapsed();
                format!("question {asked}: {first} after {waited:?}, and again after {both:?}")
            })?;
        }
    }
    println!("{asked} questions, {again} asked again");
    Ok(())
}

/// Asks servers for both families of a name from one unconnected socket, as musl and Java do, and prints who answered what.
pub fn ask_both(name: &str, servers: &[&str]) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut id = 0;
    for server in servers {
        for kind in [RecordType::A, RecordType::AAAA] {
            id += 1;
            let mut question = Message::query();
            question.metadata.id = id;
            question.metadata.recursion_desired = true;
            question.add_query(Query::query(Name::from_ascii(format!("{name}."))?, kind));
            socket.send_to(&question.to_vec()?, (*server, 53))?;
        }
    }
    let mut buffer = [0; 4096];
    for _ in 0..id {
        let (length, from) = socket.recv_from(&mut buffer)?;
        let answer = Message::from_vec(&buffer[..length])?;
        let kind = answer.queries.first().context("the question")?.query_type();
        let addresses = answer
            .answers
            .iter()
            .filter_map(|record| record.data.ip_addr());
        let addresses: Vec<String> = addresses.map(|a| format!(" {a}")).collect();
        println!("{from} {kind}{}", addresses.concat());
    }
    Ok(())
}
