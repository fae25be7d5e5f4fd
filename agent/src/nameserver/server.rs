//! The name server at work: a thread of its own, so that whatever else the agent does, names are answered; and so that
//! its heartbeat tells of it and of nothing else.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hickory_server::server::Server;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::compile::Names;

use super::answering::Answering;
use super::forward::Forwarder;
use super::handler::{Listener, Origin};
use super::lesson::Lesson;
use super::question::Question;
use super::reply::{Cached, Reply, Source};
use super::stats::{Counters, Stats};
use super::upstreams::Upstreams;

/// Time between two beats: a tenth of what the kernel programs bear with.
const BEAT: Duration = Duration::from_millis(100);
/// How often one looks whether the system's configuration is another.
const CONFIGURATION_CHECK: Duration = Duration::from_secs(1);
/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(10);
/// Answers of one connection that may wait for the client.
const BACKLOG: usize = 16;
/// No question takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where one listener listens: sockets of one port.
#[derive(Debug, Default)]
pub struct Sockets {
    pub udp: Vec<UdpSocket>,
    pub tcp: Vec<TcpListener>,
}

/// Gives what clients with names of this number know of hosts now.
pub type Known = Arc<dyn Fn(u32) -> Arc<Names> + Send + Sync>;

/// What the name server works with.
pub struct Setup {
    pub listeners: Vec<Sockets>,
    pub names: Known,
    pub lessons: mpsc::Sender<Lesson>,
    pub origin: Origin,
    /// Empty: the server that the client asked.
    pub upstreams: Vec<SocketAddr>,
    pub resolv_conf: PathBuf,
    /// Called again and again while the server is at work.
    pub beat: Box<dyn FnMut() + Send>,
}

/// A running name server, until it is dropped.
pub struct NameServer {
    answering: Arc<Answering>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// When a name server ends.
#[derive(Debug)]
pub struct Ended(oneshot::Receiver<String>);

impl Ended {
    /// Returns when the server has ended by itself, with the reason, which is always a failure.
    pub async fn reason(&mut self) -> String {
        let panicked = || "the name server panicked".to_owned();
        (&mut self.0).await.unwrap_or_else(|_| panicked())
    }
}

impl NameServer {
    /// Its thread is of the network namespace that this one is in.
    pub fn start(setup: Setup) -> io::Result<(Self, Ended)> {
        let Setup {
            listeners,
            names,
            lessons,
            origin,
            upstreams,
            resolv_conf,
            beat,
        } = setup;
        let counters = Arc::new(Counters::default());
        let upstreams = Upstreams::new(upstreams, resolv_conf);
        let forwarder = Forwarder::new(upstreams, Arc::clone(&counters));
        let answering = Arc::new(Answering::new(names, lessons, forwarder, counters));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let servers = {
            let _entered = runtime.enter();
            serve(listeners, &origin, &answering)?
        };
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let at_work = Arc::clone(&answering);
        let thread = thread::Builder::new()
            .name("names".to_owned())
            .spawn(move || {
                let reason = runtime.block_on(work(servers, &at_work, beat, stopped));
                // Nobody waits for it while it is being stopped.
                end.send(reason).ok();
            })?;
        let server = Self {
            answering,
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        };
        Ok((server, Ended(ended)))
    }

    /// What a client is told that asks us; `None` where that takes too long.
    pub fn lookup(&self, question: Question) -> Option<(Reply, Source)> {
        let (told, answer) = blocking::channel();
        let answering = Arc::clone(&self.answering);
        self.runtime.spawn(async move {
            let reply = answering.answer(&question, None).await;
            // Whoever asked may be gone.
            told.send(reply).ok();
        });
        answer.recv_timeout(PATIENCE).ok()
    }

    pub fn cached(&self) -> Vec<Cached> {
        self.answering.forwarder.cached()
    }

    pub fn stats(&self) -> Stats {
        self.answering.counters.now()
    }

    /// The servers of the system's configuration.
    pub fn system_servers(&self) -> Vec<SocketAddr> {
        self.answering.forwarder.upstreams.system()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the name server panicked");
        }
    }
}

fn serve(
    listeners: Vec<Sockets>,
    origin: &Origin,
    answering: &Arc<Answering>,
) -> io::Result<Vec<Server<Listener>>> {
    let serve = |(number, sockets): (usize, Sockets)| {
        let mut server = Server::new(Listener {
            number,
            origin: Arc::clone(origin),
            answering: Arc::clone(answering),
        });
        for socket in sockets.udp {
            socket.set_nonblocking(true)?;
            server.register_socket(tokio::net::UdpSocket::from_std(socket)?);
        }
        for listener in sockets.tcp {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            server.register_listener(listener, IDLE, BACKLOG);
        }
        Ok(server)
    };
    listeners.into_iter().enumerate().map(serve).collect()
}

/// Serves until it is told to stop, or until a listener ends; returns why.
async fn work(
    servers: Vec<Server<Listener>>,
    answering: &Answering,
    mut beat: Box<dyn FnMut() + Send>,
    mut stop: oneshot::Receiver<()>,
) -> String {
    let mut serving = JoinSet::new();
    for mut server in servers {
        serving.spawn(async move { server.block_until_done().await });
    }
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut checks = interval(CONFIGURATION_CHECK);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut stop => return "it was stopped".to_owned(),
            _ = beats.tick() => beat(),
            _ = checks.tick() => answering.forwarder.upstreams.follow(),
            Some(ended) = serving.join_next() => return match ended {
                Ok(Ok(())) => "a listener of the name server ended".to_owned(),
                Ok(Err(error)) => format!("a listener of the name server ended: {error}"),
                Err(error) => format!("a listener of the name server ended: {error}"),
            },
        }
    }
}
