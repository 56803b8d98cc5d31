//! The interface of those who may look and not touch, over a real Unix socket.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use api::server::{Backend, EventLog, READERS, serve, serve_read_only};
use api::{CommandError, Direction, Request, Response, TraceEvent, TraceRequest};
use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};

/// Answers everything.
struct Willing(Arc<EventLog>);

impl Willing {
    fn new() -> Arc<Self> {
        Arc::new(Self(Arc::new(EventLog::new(1, 1))))
    }
}

impl Backend for Willing {
    async fn call(&self, request: Request) -> Result<Response, CommandError> {
        Ok(match request {
            Request::ConfigFile => Response::Text("secret".to_owned()),
            _ => Response::Done,
        })
    }

    fn events(&self) -> Arc<EventLog> {
        Arc::clone(&self.0)
    }

    fn trace(&self, _: TraceRequest) -> Result<Receiver<TraceEvent>, CommandError> {
        let (sender, receiver) = channel(1);
        let end = "192.0.2.1:1701".parse().unwrap();
        let zlb = [0xc8, 2, 0, 12, 0, 9, 0, 0, 0, 3, 0, 4];
        let event = TraceEvent::message(1, Direction::Sent, (end, end), &zlb);
        sender.try_send(event).unwrap();
        Ok(receiver)
    }
}

/// Serves the read-only interface or the other one; where its socket is.
fn served(read_only: bool, backend: Arc<Willing>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            match read_only {
                true => serve_read_only(listener, backend).await,
                false => serve(listener, backend).await,
            }
        })
    });
    (directory, socket)
}

/// What a request is answered, over the read-only interface or the other one.
fn ask(read_only: bool, line: &str) -> String {
    let (_directory, socket) = served(read_only, Willing::new());
    let mut stream = UnixStream::connect(&socket).unwrap();
    let head = "host: x\r\nconnection: close\r\ncontent-length: 2";
    stream
        .write_all(format!("{line} HTTP/1.1\r\n{head}\r\n\r\n{{}}").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_changes_something_is_forbidden_and_what_reads_is_not() {
    for line in [
        "POST /v1/tunnels",
        "PATCH /v1/config/system",
        "DELETE /v1/tunnels/1",
        "POST /v1/config/reload",
        "POST /v1/system/statistics/reset",
        "PUT /v1/tunnels/1",
        "OPTIONS /v1/tunnels",
        "POST /v1/nowhere",
    ] {
        let answer = ask(true, line);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{line}: {answer}");
        assert!(
            answer.contains(r#"{"kind":"forbidden","message":"this socket is read-only"#),
            "{line}: {answer}"
        );
        assert!(!ask(false, line).starts_with("HTTP/1.1 403 "), "{line}");
    }
    for line in [
        "GET /v1/tunnels/1",
        "HEAD /v1/system",
        "GET /v1/config/system",
    ] {
        let answer = ask(true, line);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{line}: {answer}");
    }
}

#[test]
fn the_configuration_file_with_its_secrets_is_forbidden() {
    for path in ["/v1/config/file", "/v1/config/file?", "/v1/config/fil%65"] {
        let answer = ask(true, &format!("GET {path}"));
        assert!(!answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        assert!(!answer.ends_with("secret"), "{path}: {answer}");
    }
    let answer = ask(true, "GET /v1/config/file");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains(r#""kind":"forbidden""#), "{answer}");
    assert!(ask(false, "GET /v1/config/file").ends_with("secret"));
}

#[test]
fn packets_of_sessions_are_forbidden() {
    let line = "GET /v1/tunnels/1/sessions/1/capture";
    let answer = ask(true, line);
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(!ask(false, line).starts_with("HTTP/1.1 403 "));
}

#[test]
fn those_who_only_look_leave_streams_for_who_runs_the_daemon() {
    let backend = Willing::new();
    let [(_one, looks), (_other, runs)] =
        [true, false].map(|looks| served(looks, Arc::clone(&backend)));
    let follow = |socket: &PathBuf| {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream
            .write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, status.ends_with(b" 200"))
    };
    let followed: Vec<_> = (0..READERS).map(|_| follow(&looks)).collect();
    let given = followed.iter().filter(|(_, given)| *given).count();
    assert_eq!(given, READERS / 4 * 3);
    let others: Vec<_> = (given..READERS).map(|_| follow(&runs)).collect();
    assert!(others.iter().all(|(_, given)| *given));
}

#[test]
fn traces_come_without_the_octets_of_messages() {
    for path in [
        "/v1/trace?peer=192.0.2.1",
        "/v1/tunnels/1/trace",
        "/v1/tunnels/1/sessions/1/trace",
    ] {
        let line = format!("GET {path}");
        let without = ask(true, &line);
        assert!(without.contains("data: {"), "{path}: {without}");
        assert!(!without.contains("octets"), "{path}: {without}");
        assert!(ask(false, &line).contains(r#""octets":"c802"#), "{path}");
    }
}
