//! Asks a running agent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Request, Response};

/// Longest wait for the agent to read on or to answer. Counting 10,000 services with 10 endpoints each takes well below
/// a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest answer: far above what an agent at the limits of its maps would say.
const MAX_ANSWER_BYTES: u64 = 1 << 30;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(
        "no agent answers on {}: is `shunt run` running? name its socket with --socket if it is another one",
        socket.display()
    )]
    NotRunning { socket: PathBuf },
    #[error(
        "{}: permission denied: the socket is for root, the agent's user and the group of the socket; try sudo",
        socket.display()
    )]
    Denied { socket: PathBuf },
    #[error("{}: the agent did not answer within {} seconds", socket.display(), PATIENCE.as_secs())]
    Silent { socket: PathBuf },
    #[error("{}: {source}", socket.display())]
    Io { socket: PathBuf, source: io::Error },
    #[error(
        "{}: the answer is not understood ({reason}): are the agent and this command of the same version?",
        socket.display()
    )]
    Mismatch { socket: PathBuf, reason: String },
    /// The agent said why.
    #[error("the agent refused: {0}")]
    Refused(String),
}

/// Asks the agent on `socket`, and waits for the answer, which is never `Response::Error` or `Response::Denied`.
pub fn ask(socket: &Path, request: &Request) -> Result<Response, ClientError> {
    let line = exchange(socket, request).map_err(|source| failure(socket, source))?;
    let mismatch = |reason: String| ClientError::Mismatch {
        socket: socket.to_owned(),
        reason,
    };
    if !line.ends_with(b"\n") {
        return Err(mismatch("it breaks off".to_owned()));
    }
    match serde_json::from_slice(&line) {
        Ok(Response::Denied) => Err(ClientError::Denied {
            socket: socket.to_owned(),
        }),
        Ok(Response::Error(message)) => Err(ClientError::Refused(message)),
        Ok(response) => Ok(response),
        Err(error) => Err(mismatch(error.to_string())),
    }
}

fn exchange(socket: &Path, request: &Request) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    BufReader::new(stream.take(MAX_ANSWER_BYTES)).read_until(b'\n', &mut answer)?;
    Ok(answer)
}

fn failure(socket: &Path, source: io::Error) -> ClientError {
    let socket = socket.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning { socket }
        }
        io::ErrorKind::PermissionDenied => ClientError::Denied { socket },
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent { socket },
        _ => ClientError::Io { socket, source },
    }
}
