//! Events over a real Unix socket: in order, from where a reader was, and with a word about what it missed.
#![cfg(all(feature = "client", feature = "server"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use api::server::{Backend, EventLog, serve};
use api::{
    Client, CommandError, ErrorKind, Event, EventFilter, EventRecord, Request, Response,
    TraceEvent, TraceRequest,
};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

/// Events that the log keeps.
const KEPT: usize = 100;

struct Daemon {
    _directory: TempDir,
    socket: PathBuf,
    log: Arc<EventLog>,
}

struct Log(Arc<EventLog>);

impl Backend for Log {
    async fn call(&self, _: Request) -> Result<Response, CommandError> {
        Ok(Response::Done)
    }

    fn events(&self) -> Arc<EventLog> {
        Arc::clone(&self.0)
    }

    fn trace(&self, _: TraceRequest) -> Result<Receiver<TraceEvent>, CommandError> {
        Err(CommandError::new(ErrorKind::NotFound, "there are none"))
    }
}

fn start(instance: u32) -> Daemon {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let log = Arc::new(EventLog::new(instance, KEPT));
    let backend = Arc::new(Log(Arc::clone(&log)));
    std::thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            serve(
                tokio::net::UnixListener::from_std(listener).unwrap(),
                backend,
            )
            .await
        })
    });
    Daemon {
        _directory: directory,
        socket,
        log,
    }
}

impl Daemon {
    /// Lets as many tunnels go down, one after the other.
    fn happen(&self, ids: impl IntoIterator<Item = u16>) {
        for tunnel_id in ids {
            let event = Event::TunnelDown {
                tunnel_id,
                remote: "192.0.2.1:1701".parse().unwrap(),
                reason: "closed\n\ndata: {}".to_owned(),
                was_up: true,
            };
            self.log.push(1_000 + u64::from(tunnel_id), event);
        }
    }

    /// The next `count` events after one.
    fn follow(&self, filter: &EventFilter, after: &str, count: usize) -> Vec<EventRecord> {
        let mut seen = Vec::new();
        let each = |record| {
            seen.push(record);
            if seen.len() == count {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let client = Client::new(&self.socket).unwrap();
        client.events(filter, Some(after), each).unwrap();
        seen
    }
}

fn ids(records: &[EventRecord]) -> Vec<Option<u16>> {
    records.iter().map(|r| r.event.tunnel_id()).collect()
}

fn lost(record: &EventRecord) -> Option<Option<u64>> {
    match record.event {
        Event::Gap { lost } => Some(lost),
        _ => None,
    }
}

#[test]
fn a_reader_goes_on_where_it_was() {
    let daemon = start(0xabc);
    daemon.happen(1..=90);
    let all = EventFilter::default();
    let first = daemon.follow(&all, "00000abc-0", 70);
    assert_eq!(ids(&first), (1..=70).map(Some).collect::<Vec<_>>());
    assert_eq!(
        (first[0].time, first[0].event.kind()),
        (1_001, "tunnel_down")
    );
    let rest = daemon.follow(&all, &first[69].id, 20);
    assert_eq!(ids(&rest), (71..=90).map(Some).collect::<Vec<_>>());
}

#[test]
fn what_is_gone_is_counted_and_what_is_left_follows() {
    let daemon = start(7);
    daemon.happen(1..=250);
    let seen = daemon.follow(&EventFilter::default(), "00000007-10", 101);
    assert_eq!(lost(&seen[0]), Some(Some(140)));
    assert_eq!(ids(&seen[1..]), (151..=250).map(Some).collect::<Vec<_>>());
    // The gap's own id is a place to go on from.
    let again = daemon.follow(&EventFilter::default(), &seen[0].id, 1);
    assert_eq!(ids(&again), [Some(151)]);
}

#[test]
fn a_daemon_that_was_started_anew_is_noticed() {
    let daemon = start(2);
    daemon.happen([9]);
    let seen = daemon.follow(&EventFilter::default(), "00000001-500", 2);
    assert_eq!(lost(&seen[0]), Some(None));
    assert_eq!(ids(&seen[1..]), [Some(9)]);
}

#[test]
fn filters_are_of_types_and_tunnels() {
    let daemon = start(1);
    daemon.happen([1, 2]);
    let object = "user".to_owned();
    let operation = "create".to_owned();
    daemon.log.push(
        5,
        Event::ConfigChanged {
            object,
            operation,
            name: None,
        },
    );
    daemon.happen([1]);
    let of = |types: &[&str], tunnel| {
        let types = types.iter().map(|&name| name.to_owned()).collect();
        EventFilter { types, tunnel }
    };
    let numbers = |records: Vec<EventRecord>| -> Vec<String> {
        records.into_iter().map(|record| record.id).collect()
    };
    let of_tunnel = daemon.follow(&of(&[], Some(1)), "00000001-0", 2);
    assert_eq!(numbers(of_tunnel), ["00000001-1", "00000001-4"]);
    let of_types = daemon.follow(&of(&["config_changed", "tunnel_up"], None), "00000001-0", 1);
    assert_eq!(numbers(of_types), ["00000001-3"]);
}

#[test]
fn an_event_is_one_frame_whatever_is_in_it_and_the_header_says_where_to_go_on() {
    let daemon = start(1);
    daemon.happen([1, 2]);
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    let request =
        "GET /v1/events?after=00000001-0 HTTP/1.1\r\nhost: x\r\nlast-event-id: 00000001-1\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut seen = String::new();
    while !seen.contains("\n\n") {
        let mut octets = [0; 4096];
        let length = stream.read(&mut octets).unwrap();
        assert_ne!(length, 0, "{seen}");
        seen += std::str::from_utf8(&octets[..length]).unwrap();
    }
    assert!(
        seen.contains("content-type: text/event-stream\r\n"),
        "{seen}"
    );
    let frame = "id: 00000001-2\nevent: tunnel_down\ndata: {\"id\":\"00000001-2\",\"time\":1002,\"type\":\"tunnel_down\",\"tunnel_id\":2,\
        \"remote\":\"192.0.2.1:1701\",\"reason\":\"closed\\n\\ndata: {}\",\"was_up\":true}\n\n";
    assert!(seen.contains(frame), "{seen}");
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_up_and_is_told_what_it_missed() {
    let daemon = start(1);
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    let request =
        "GET /v1/events?after=00000001-0 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
    for _ in 0..10 {
        daemon.happen(1..=10_000);
    }
    let mut seen = String::new();
    while !seen.contains("event: gap\n") {
        let mut octets = [0; 65_536];
        let length = stream.read(&mut octets).unwrap();
        assert_ne!(length, 0);
        seen += &String::from_utf8_lossy(&octets[..length]);
    }
}

#[test]
fn what_is_no_id_type_or_tunnel_is_refused() {
    let daemon = start(1);
    let client = Client::new(&daemon.socket).unwrap();
    let all = EventFilter::default();
    for after in ["", "1", "00000001-", "x-1", "00000001-1"] {
        assert!(
            client
                .events(&all, Some(after), |_| ControlFlow::Break(()))
                .is_err(),
            "{after}"
        );
    }
    for filter in [
        EventFilter {
            types: vec!["gap".to_owned()],
            tunnel: None,
        },
        EventFilter {
            types: Vec::new(),
            tunnel: Some(0),
        },
    ] {
        assert!(
            client
                .events(&filter, None, |_| ControlFlow::Break(()))
                .is_err(),
            "{filter:?}"
        );
    }
}
