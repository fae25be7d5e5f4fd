use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::*;

fn handler(request: Request) -> Response {
    match request {
        Request::Services => Response::Services(Vec::new()),
        other => Response::Error(format!("{other:?}")),
    }
}

struct Place {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Self {
            dir: tempfile::tempdir().unwrap(),
            runtime: builder.worker_threads(1).enable_all().build().unwrap(),
        }
    }

    /// In a directory that is not there yet.
    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/shunt.sock")
    }

    fn serve(&self) -> Result<Listening, ListenError> {
        let _guard = self.runtime.enter();
        serve(&self.socket(), handler, || {})
    }
}

/// What the agent answers to these bytes.
fn exchange(socket: &Path, bytes: &[u8]) -> Response {
    let mut stream = UnixStream::connect(socket).unwrap();
    // The server may answer, and hang up, before it has read all.
    match stream.write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => panic!("{error}"),
        _ => {}
    }
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_question_is_answered_and_the_file_goes_with_the_server() {
    let place = Place::new();
    let listening = place.serve().unwrap();
    let socket = place.socket();
    assert_eq!(listening.socket(), socket);
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let response = ask(&socket, &Request::Services).unwrap();
    assert_eq!(response, Response::Services(Vec::new()));
    drop(listening);
    assert!(!socket.exists());
    let names = fs::read_dir(socket.parent().unwrap()).unwrap().count();
    assert_eq!(names, 0, "something is left beside the socket");
}

#[test]
fn many_clients_are_answered_in_turn() {
    let place = Place::new();
    let _listening = place.serve().unwrap();
    let socket = place.socket();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| ask(&socket, &Request::Services).unwrap());
        }
    });
}

#[test]
fn a_refusal_is_told() {
    let place = Place::new();
    let _listening = place.serve().unwrap();
    let error = ask(&place.socket(), &Request::Status).unwrap_err();
    assert_eq!(error.to_string(), "the agent refused: Status");
}

#[test]
fn the_socket_of_a_dead_agent_is_replaced() {
    let place = Place::new();
    fs::create_dir(place.socket().parent().unwrap()).unwrap();
    drop(UnixListener::bind(place.socket()).unwrap());
    assert!(place.socket().exists());
    let _listening = place.serve().unwrap();
    ask(&place.socket(), &Request::Services).unwrap();
}

#[test]
fn the_socket_of_a_living_agent_is_left_alone() {
    let place = Place::new();
    let _listening = place.serve().unwrap();
    let error = place.serve().unwrap_err();
    assert!(matches!(error, ListenError::Live { .. }), "{error}");
    assert!(error.to_string().contains("shunt.sock"), "{error}");
    ask(&place.socket(), &Request::Services).unwrap();
}

#[test]
fn what_is_not_a_socket_is_never_replaced() {
    let place = Place::new();
    fs::create_dir(place.socket().parent().unwrap()).unwrap();
    fs::write(place.socket(), "mine").unwrap();
    let error = place.serve().unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read_to_string(place.socket()).unwrap(), "mine");
}

#[test]
fn garbage_is_answered_with_an_error() {
    let place = Place::new();
    let _listening = place.serve().unwrap();
    for garbage in [
        &b"\n"[..],
        b"{\n",
        b"\xff\xff\n",
        b"{\"request\":\"nothing\"}\n",
    ] {
        let response = exchange(&place.socket(), garbage);
        assert!(matches!(&response, Response::Error(reason) if reason.contains("not understood")));
    }
    ask(&place.socket(), &Request::Services).unwrap();
}

#[test]
fn an_endless_request_is_cut_off() {
    let place = Place::new();
    let _listening = place.serve().unwrap();
    let response = exchange(&place.socket(), &vec![b' '; 64 * 1024]);
    assert!(matches!(&response, Response::Error(reason) if reason.contains("65536")));
}

#[test]
fn an_agent_that_is_gone_is_named_with_the_remedy() {
    let place = Place::new();
    let socket = place.dir.path().join("none.sock");
    let error = ask(&socket, &Request::Status).unwrap_err();
    assert!(matches!(error, ClientError::NotRunning { .. }));
    let text = error.to_string();
    assert!(
        text.contains("none.sock") && text.contains("--socket"),
        "{text}"
    );
}

#[test]
fn an_answer_of_another_version_is_a_mismatch() {
    let place = Place::new();
    let socket = place.dir.path().join("other.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            reader.read_line(&mut String::new()).unwrap();
            reader.get_mut().write_all(b"{\"hello\":1}\n").unwrap();
        });
        let error = ask(&socket, &Request::Status).unwrap_err();
        assert!(matches!(error, ClientError::Mismatch { .. }), "{error}");
    });
}
