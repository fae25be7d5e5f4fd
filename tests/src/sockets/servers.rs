//! What is at the other end of a connection. Servers run in threads of the client process, for as long as that runs.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};

use rustix::net;
use serde::{Deserialize, Serialize};

use super::datagrams::PATIENCE;
use super::{Told, Transport, open};

/// What a client asks of [`Server::Tell`]: one byte, for which it gets a line.
pub(super) const QUESTION: &[u8] = b"?";

/// How a server treats those who come.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Server {
    /// Answers each question with whom it sees at both ends.
    Tell(Transport),
    /// Resets each connection.
    Reset,
    /// Takes no connection and refuses none: a SYN gets no answer.
    Silent,
}

/// Starts a server. What is returned must stay open.
pub(super) fn start(server: Server, at: SocketAddr) -> io::Result<Vec<OwnedFd>> {
    match server {
        Server::Tell(Transport::Udp) => {
            let socket = UdpSocket::bind(at)?;
            thread::spawn(move || answer_datagrams(&socket));
        }
        Server::Tell(transport) => {
            each_connection(listen(transport, at, 128)?, |stream| {
                thread::spawn(move || answer_questions(stream));
            });
        }
        Server::Reset => {
            each_connection(listen(Transport::Tcp, at, 128)?, |stream| {
                open::reset_on_close(stream).expect("a TCP socket can linger");
            });
        }
        Server::Silent => {
            // Of connections that nobody accepts, a backlog of 0 holds one; the SYNs of others are dropped.
            let listener = listen(Transport::Tcp, at, 0)?;
            let first = TcpStream::connect(at)?;
            return Ok(vec![listener.into(), first.into()]);
        }
    }
    Ok(Vec::new())
}

/// Accepts connections until it is stopped.
pub(super) struct Listening {
    listener: TcpListener,
    thread: JoinHandle<()>,
}

pub(super) fn close_each(at: SocketAddr) -> io::Result<Listening> {
    let listener = listen(Transport::Tcp, at, 4096)?;
    Ok(Listening {
        // Closed at once: the client's half stays open, and thousands of connections need few file descriptors.
        thread: each_connection(listener.try_clone()?, drop),
        listener,
    })
}

impl Listening {
    /// From when this returns, connects are refused.
    pub(super) fn stop(self) -> io::Result<()> {
        net::shutdown(&self.listener, net::Shutdown::Both)?;
        self.thread.join().expect("accepting does not panic");
        Ok(())
    }
}

fn listen(transport: Transport, at: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = open::open(transport, at.is_ipv6())?;
    // What it accepts takes this on, and is to end like any other connection.
    net::sockopt::set_socket_linger(&socket, None)?;
    // Once more, while connections of a server that has ended are not forgotten yet.
    net::sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &at)?;
    net::listen(&socket, backlog)?;
    Ok(socket.into())
}

fn each_connection(
    listener: TcpListener,
    treat: impl Fn(TcpStream) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(treat))
}

fn answer_questions(mut stream: TcpStream) {
    let mut question = [0];
    while stream.read_exact(&mut question).is_ok() {
        let answer = stream.local_addr().and_then(|server| {
            let client = stream.peer_addr()?;
            stream.write_all(&line(Told { server, client }))
        });
        if answer.is_err() {
            return;
        }
    }
}

fn answer_datagrams(socket: &UdpSocket) {
    let mut question = [0];
    while let Ok((_, client)) = socket.recv_from(&mut question) {
        let server = socket.local_addr().expect("a bound socket has an address");
        // Who has gone by now is not waiting for it.
        let _ = socket.send_to(&line(Told { server, client }), client);
    }
}

fn line(told: Told) -> Vec<u8> {
    let mut line = serde_json::to_vec(&told).expect("addresses can be written");
    line.push(b'\n');
    line
}

/// Asks the server at the other end of a connected socket.
pub(super) fn ask(socket: &OwnedFd) -> anyhow::Result<Told> {
    net::sockopt::set_socket_timeout(socket, net::sockopt::Timeout::Recv, Some(PATIENCE))?;
    net::send(socket, QUESTION, net::SendFlags::empty()).map_err(io::Error::from)?;
    // A stream for the line's end; a datagram is read in one piece.
    let stream = TcpStream::from(socket.try_clone()?);
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
