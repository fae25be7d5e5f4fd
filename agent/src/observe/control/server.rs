//! Answers on the control socket. What the answers are is the handler's to know.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Probe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::peer::Peer;
use super::{Request, Response};

/// Longest request, its newline included.
const MAX_REQUEST_BYTES: u64 = 64 * 1024;
/// Longest wait for a client to say or to take something.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients that are served at once; others wait in the listener's queue.
const MAX_CLIENTS: usize = 16;
/// Wait after a failed `accept`, which lasts as long as what it lacks (file descriptors, memory).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Between two beats.
const BEAT: Duration = Duration::from_millis(500);
/// Its owner and its group may ask.
const MODE: u32 = 0o660;
/// Of the directory that it is in, where there is none.
const DIRECTORY_MODE: u32 = 0o750;

/// What answers. It is called outside of the runtime's own threads, so it may block.
pub trait Handler: Fn(Request) -> Response + Send + Sync + 'static {}

impl<F: Fn(Request) -> Response + Send + Sync + 'static> Handler for F {}

#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{}: another agent answers there: stop it, or name another --socket", socket.display())]
    Live { socket: PathBuf },
    #[error("{}: there is something that is not a socket: remove it, or name another --socket", socket.display())]
    NotASocket { socket: PathBuf },
    #[error("{}: {source}", socket.display())]
    Io { socket: PathBuf, source: io::Error },
}

/// A control socket that answers until this is dropped, which also removes its file.
#[derive(Debug)]
pub struct Listening {
    file: SocketFile,
    task: JoinHandle<()>,
}

impl Listening {
    pub fn socket(&self) -> &Path {
        &self.file.path
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to answer on `socket`, and calls `beat` again and again while clients are taken. Must be called within a Tokio runtime.
pub fn serve(
    socket: &Path,
    handler: impl Handler,
    beat: impl Fn() + Send + 'static,
) -> Result<Listening, ListenError> {
    let (listener, file) = listen(socket)?;
    let door = Door {
        handler,
        socket: socket.to_owned(),
        own: geteuid().as_raw(),
    };
    let task = tokio::spawn(accept(listener, Arc::new(door), beat));
    Ok(Listening { file, task })
}

fn listen(socket: &Path) -> Result<(UnixListener, SocketFile), ListenError> {
    let failed = |source| ListenError::Io {
        socket: socket.to_owned(),
        source,
    };
    make_room(socket)?;
    if let Some(parent) = socket.parent().filter(|parent| !parent.exists()) {
        fs::create_dir_all(parent)
            .and_then(|()| fs::set_permissions(parent, Permissions::from_mode(DIRECTORY_MODE)))
            .map_err(failed)?;
    }
    // The socket takes its name only once its mode is right, so that nobody else can connect in between.
    let mut unnamed = socket.as_os_str().to_owned();
    unnamed.push(format!(".{}", std::process::id()));
    let mut file = SocketFile::new(PathBuf::from(unnamed));
    // One that an agent of the same process id left when it was killed.
    match fs::remove_file(&file.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&file.path).map_err(failed)?;
    fs::set_permissions(&file.path, Permissions::from_mode(MODE)).map_err(failed)?;
    file.rename(socket).map_err(failed)?;
    Ok((listener, file))
}

/// Refuses a path where an agent answers, or that is no socket; the socket of a dead agent may be replaced.
fn make_room(socket: &Path) -> Result<(), ListenError> {
    let path = socket.to_owned();
    match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(ListenError::Io {
                socket: path,
                source,
            });
        }
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NotASocket { socket: path });
        }
        Ok(_) => {}
    }
    match Probe::connect(socket) {
        Ok(_) => Err(ListenError::Live { socket: path }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(source) => Err(ListenError::Io {
            socket: path,
            source,
        }),
    }
}

/// A socket's file, removed at the end unless somebody else has put another one in its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            identity: None,
        }
    }

    fn rename(&mut self, to: &Path) -> io::Result<()> {
        let identity = identity(&self.path)?;
        fs::rename(&self.path, to)?;
        to.clone_into(&mut self.path);
        self.identity = Some(identity);
        Ok(())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = self
            .identity
            .is_none_or(|own| identity(&self.path).is_ok_and(|now| now == own));
        if is_ours {
            // One that is gone already needs no removal, and nobody is left to tell of anything else.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Who answers, and whom.
struct Door<H> {
    handler: H,
    socket: PathBuf,
    /// The agent's user.
    own: u32,
}

async fn accept(listener: UnixListener, door: Arc<Door<impl Handler>>, beat: impl Fn()) {
    let seats = Arc::new(Semaphore::new(MAX_CLIENTS));
    // Dropped, and so ended, with this task.
    let mut clients = JoinSet::new();
    // Said once, however long it lasts.
    let mut is_failing = false;
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let seat = Arc::clone(&seats)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        while clients.try_join_next().is_some() {}
        let accepted = loop {
            tokio::select! {
                accepted = listener.accept() => break accepted,
                _ = beats.tick() => beat(),
            }
        };
        match accepted {
            Ok((stream, _)) => {
                is_failing = false;
                let door = Arc::clone(&door);
                clients.spawn(async move {
                    let _seat = seat;
                    if let Err(error) = attend(stream, door).await {
                        tracing::debug!(%error, "a client of the control socket went away");
                    }
                });
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "the control socket cannot take clients for now");
                }
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// One client: a request, and its answer.
async fn attend(stream: UnixStream, door: Arc<Door<impl Handler>>) -> io::Result<()> {
    let peer = Peer::of(&stream)?;
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST_BYTES));
    timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await??;
    if line.is_empty() {
        // Somebody looked whether anybody is here.
        return Ok(());
    }
    let answer = spawn_blocking(move || door.answer(&line, &peer))
        .await
        .map_err(io::Error::other)?;
    timeout(PATIENCE, writer.write_all(&answer)).await??;
    timeout(PATIENCE, writer.shutdown()).await?
}

impl<H: Handler> Door<H> {
    fn answer(&self, line: &[u8], peer: &Peer) -> Vec<u8> {
        let response = match parse(line) {
            Ok(request) if self.is_open(&request, peer) => (self.handler)(request),
            Ok(_) => Response::Denied,
            Err(reason) => Response::Error(reason),
        };
        let mut answer = serde_json::to_vec(&response)
            .expect("views have string keys only and serialize without fail");
        answer.push(b'\n');
        answer
    }

    fn is_open(&self, request: &Request, peer: &Peer) -> bool {
        // Whoever gives the socket to another group need not tell the agent.
        let group = fs::metadata(&self.socket).ok().map(|socket| socket.gid());
        let is_open = peer.may(request.need(), self.own, group);
        if !is_open {
            tracing::warn!(?peer, "the control socket refused a client");
        }
        is_open
    }
}

fn parse(line: &[u8]) -> Result<Request, String> {
    if !line.ends_with(b"\n") {
        return Err(format!(
            "the request has no end within {MAX_REQUEST_BYTES} bytes"
        ));
    }
    serde_json::from_slice(line).map_err(|error| {
        format!("the request is not understood ({error}): are both of the same version?")
    })
}
