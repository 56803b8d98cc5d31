//! Clients that send too much, too slowly or not at all, and that never read, over a real Unix socket in virtual time.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::server::{BUFFER, Backend, CONNECTIONS, EventLog, LARGEST_BODY, PATIENCE, READERS, serve};
use api::{CommandError, Event, Page, Parameters, Request, Response, TraceEvent, TraceRequest};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{sleep, timeout};

/// What a Unix socket of Linux holds at most, and more.
const KERNEL: usize = 1024 * 1024;

/// A page of a list, octets.
const PAGE: usize = 50_000;

/// Answers lists with much.
struct Daemon {
    calls: AtomicUsize,
    log: Arc<EventLog>,
}

impl Backend for Daemon {
    async fn call(&self, request: Request) -> Result<Response, CommandError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let Request::ObjectList(..) = request else {
            return Ok(Response::Done);
        };
        let name = ("name".to_owned(), Value::from("x".repeat(PAGE)));
        Ok(Response::Objects(Page::whole(vec![Parameters::from_iter(
            [name],
        )])))
    }

    fn events(&self) -> Arc<EventLog> {
        Arc::clone(&self.log)
    }

    fn trace(&self, _: TraceRequest) -> Result<Receiver<TraceEvent>, CommandError> {
        Ok(channel(1).1)
    }
}

struct Served {
    daemon: Arc<Daemon>,
    directory: TempDir,
}

impl Served {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let served = Self {
            daemon: Arc::new(Daemon {
                calls: AtomicUsize::new(0),
                log: Arc::new(EventLog::new(1, 100_000)),
            }),
            directory,
        };
        let listener = UnixListener::bind(served.socket()).unwrap();
        tokio::spawn(serve(listener, Arc::clone(&served.daemon)));
        served
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    /// A client that has sent this.
    async fn sent(&self, octets: &[u8]) -> UnixStream {
        let mut stream = self.connect().await;
        stream.write_all(octets).await.unwrap();
        stream
    }

    /// What a client is answered that sends this, until the daemon closes.
    async fn answer(&self, octets: &[u8]) -> String {
        let mut stream = self.sent(octets).await;
        let mut answer = Vec::new();
        // A daemon that closes with something unread resets the connection, which is as good an end.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn answers_others(&self) {
        let request = b"GET /v1/system HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = timeout(Duration::from_secs(1), self.answer(request)).await;
        let answer = answer.expect("others wait");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// Lets so much happen that who does not read is noticed.
    fn happen_much(&self) {
        for number in 0..20_000 {
            let event = Event::ConfigChanged {
                object: "user".to_owned(),
                operation: "create".to_owned(),
                name: Some(format!("user {number}")),
            };
            self.daemon.log.push(number, event);
        }
    }
}

fn post(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /v1/tunnels HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// The status and the kind of a refusal in the interface's own form.
fn refusal(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect(answer);
    let body: Value = serde_json::from_str(body).expect(answer);
    assert!(body["message"].is_string(), "{answer}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body["kind"].as_str().unwrap().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_body_of_a_mebibyte_is_read_and_a_longer_one_is_refused() {
    let served = Served::new();
    let spaces = vec![b' '; LARGEST_BODY - 2];
    let whole = [&spaces, b"{}".as_slice()].concat();
    let head = format!("content-length: {LARGEST_BODY}\r\nconnection: close");
    let answer = served.answer(&post(&head, &whole)).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");

    // By what it says, before any of it is there.
    let announced = served.answer(&post("content-length: 104857600", b"")).await;
    assert_eq!(refusal(&announced), (413, "invalid".to_owned()));
    // By what it is.
    let chunk = [
        format!("{LARGEST_BODY:x}\r\n").as_bytes(),
        &whole,
        b"\r\n1\r\n}\r\n",
    ]
    .concat();
    let came = served
        .answer(&post("transfer-encoding: chunked", &chunk))
        .await;
    assert_eq!(refusal(&came), (413, "invalid".to_owned()));
    assert_eq!(served.daemon.calls.load(Ordering::Relaxed), 1);
    served.answers_others().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_no_object_or_says_something_twice_is_refused() {
    let served = Served::new();
    let closes = |body: &str| {
        let head = format!("content-length: {}\r\nconnection: close", body.len());
        post(&head, body.as_bytes())
    };
    for body in [
        "[]",
        "17",
        "{",
        "{} {}",
        "{\"mtu\": 1400, \"mtu\": 1400}",
        "\u{fffd}",
    ] {
        let answer = served.answer(&closes(body)).await;
        assert_eq!(refusal(&answer), (400, "invalid".to_owned()), "{body}");
    }
    for body in ["", " {\"mtu\": 1400, \"mru\": 1400}\n"] {
        let answer = served.answer(&closes(body)).await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{body}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_waited_for_no_longer_than_half_a_body() {
    let served = Served::new();
    let mut idle = served.connect().await;
    let mut half = served.sent(b"GET /v1/system HTTP/1.1\r\nho").await;
    let body = served.sent(&post("content-length: 9", b"{")).await;
    sleep(PATIENCE / 2).await;
    served.answers_others().await;
    assert!(half.try_write(b"s").is_ok() && idle.try_write(b"G").is_ok());
    sleep(PATIENCE).await;
    for stream in [&mut idle, &mut half] {
        let mut answer = Vec::new();
        let closed = stream.read_to_end(&mut answer);
        let _ = timeout(Duration::from_secs(1), closed)
            .await
            .expect("it is open still");
        assert_eq!(answer, b"");
    }
    let mut answer = [0; 1000];
    let length = body.try_read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert_eq!(refusal(&answer), (408, "invalid".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_head_longer_than_what_is_kept_of_one_is_refused() {
    let served = Served::new();
    let long = "x".repeat(2 * BUFFER);
    for head in [
        format!("GET /v1/system HTTP/1.1\r\nhost: x\r\nlong: {long}"),
        format!("GET /v1/system HTTP/1.1\r\n{}", "a: b\r\n".repeat(1000)),
    ] {
        let answer = served.answer(head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    // Whole, in one piece or in two, with a field or a path that fills it.
    let with = |path: usize, field: usize| {
        let (path, field) = ("p".repeat(path), "x".repeat(field));
        format!("GET /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nlong: {field}\r\n\r\n")
    };
    let rest = BUFFER - with(0, 0).len();
    for (head, status) in [
        (with(0, rest), 404),
        (with(0, rest + 1), 431),
        (with(rest, 0), 404),
        (with(70_000, 0), 414),
    ] {
        let answer = served.answer(head.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{} octets: {answer}",
            head.len()
        );
    }
    served.answers_others().await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_never_reads_costs_others_nothing_and_is_dropped() {
    let served = Served::new();
    let follow = b"GET /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut followers = Vec::new();
    for _ in 0..READERS {
        let mut follower = served.sent(follow).await;
        let mut status = [0; 13];
        follower.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200 ");
        followers.push(follower);
    }
    let one_more = served.answer(follow).await;
    assert_eq!(refusal(&one_more), (503, "resources".to_owned()));

    served.happen_much();
    sleep(PATIENCE / 2).await;
    served.answers_others().await;
    sleep(PATIENCE).await;
    let mut instead = served.sent(follow).await;
    let mut status = [0; 13];
    instead.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 ");
    for mut follower in followers {
        let mut rest = Vec::new();
        follower.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() < KERNEL, "{} octets were kept", rest.len());
    }
}

#[tokio::test(start_paused = true)]
async fn lists_that_are_asked_for_and_never_read_are_not_made() {
    let served = Served::new();
    let ask = b"GET /v1/ppp_profiles HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut client = served.sent(&ask.repeat(500)).await;
    sleep(PATIENCE / 2).await;
    served.answers_others().await;
    let calls = served.daemon.calls.load(Ordering::Relaxed);
    assert!(calls * PAGE < KERNEL, "{calls} lists were made");
    sleep(PATIENCE).await;
    let mut answers = Vec::new();
    let _ = client.read_to_end(&mut answers).await;
    assert!(answers.len() < KERNEL, "{} octets were kept", answers.len());
    assert!(client.write_all(ask).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn more_connections_than_there_may_be_wait_until_others_end() {
    let served = Served::new();
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(served.connect().await);
    }
    let request = b"GET /v1/system HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let waits = served.answer(request);
    assert!(timeout(PATIENCE / 2, waits).await.is_err());
    drop(idle.pop());
    served.answers_others().await;
    idle.push(served.connect().await);
    // Who says nothing makes room in time.
    let waits = served.answer(request);
    let answer = timeout(2 * PATIENCE, waits).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
