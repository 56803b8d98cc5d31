//! The client and the routes over a real Unix socket, with a backend that says what it was asked.
#![cfg(all(feature = "client", feature = "server"))]
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::server::{Backend, EventLog, serve};
use api::{
    Client, ClientError, Collection, CommandError, Cursor, Direction, ErrorKind, Followed, Origin,
    Page, Parameters, Range, Request, Response, Selector, SessionFilter, SessionState, Statistics,
    TraceEvent, TraceOf, TraceRequest, TunnelFilter, TunnelState, UserFilter,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};

struct Echo;

impl Backend for Echo {
    async fn call(&self, request: Request) -> Result<Response, CommandError> {
        match request {
            Request::TunnelDelete(Selector::Id(_)) => Ok(Response::Done),
            Request::TunnelDelete(Selector::Name(name)) => Err(CommandError::new(
                ErrorKind::NotFound,
                format!("no tunnel is named {name}"),
            )),
            Request::SystemStatistics => Ok(Response::Statistics(Statistics(
                [("received.sccrq".into(), 7)].into(),
            ))),
            other => Ok(Response::Object(Parameters::from_iter([(
                "asked".to_owned(),
                json!(format!("{other:?}")),
            )]))),
        }
    }

    fn events(&self) -> Arc<EventLog> {
        Arc::new(EventLog::new(1, 1))
    }

    fn trace(&self, request: TraceRequest) -> Result<Receiver<TraceEvent>, CommandError> {
        let (sender, receiver) = channel(2);
        let ends = ("192.0.2.1:1701", "192.0.2.2:1701");
        let ends = (ends.0.parse().unwrap(), ends.1.parse().unwrap());
        let mut event = TraceEvent::message(1, Direction::Sent, ends, &ZLB);
        event.tunnel_name = Some(format!("{request:?}"));
        for _ in 0..2 {
            sender.try_send(event.clone()).unwrap();
        }
        Ok(receiver)
    }
}

/// An acknowledgement.
const ZLB: [u8; 12] = [0xc8, 2, 0, 12, 0, 9, 0, 0, 0, 3, 0, 4];

struct Daemon {
    _directory: TempDir,
    socket: PathBuf,
}

impl Daemon {
    fn start() -> Self {
        Self::serve(Echo)
    }

    fn serve(backend: impl Backend) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                serve(
                    tokio::net::UnixListener::from_std(listener).unwrap(),
                    Arc::new(backend),
                )
                .await
            })
        });
        Self {
            _directory: directory,
            socket,
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.socket).unwrap()
    }

    /// Sends octets that no client of ours would.
    fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }
}

fn parameters() -> Parameters {
    [
        ("dest_ipaddr".to_owned(), json!("192.0.2.1")),
        ("mtu".to_owned(), json!(1400)),
        ("persist".to_owned(), json!(true)),
    ]
    .into_iter()
    .collect()
}

#[test]
fn the_backend_is_asked_what_the_client_asked() {
    let daemon = Daemon::start();
    let client = daemon.client();
    let tunnel = || Selector::Name("a b/%ü".into());
    let range = || Range {
        limit: Some(7),
        after: Some(Cursor("a&b=1".to_owned())),
    };
    let tunnels = TunnelFilter {
        peer: Some("2001:db8::1".parse().unwrap()),
        state: Some(TunnelState::WaitCtlConn),
        name: Some("a+b &c".to_owned()),
        created_by: Some(Origin::Peer),
    };
    let sessions = SessionFilter {
        tunnel: Some(tunnel()),
        user: Some("bob@example.net".to_owned()),
        state: Some(SessionState::Link),
        interface: Some("l2tp0".to_owned()),
        created_by: None,
    };
    let users = UserFilter {
        name: Some("ü".to_owned()),
    };
    let mut requests = vec![
        Request::TunnelList(TunnelFilter::default(), Range::default()),
        Request::TunnelList(tunnels, range()),
        Request::TunnelCreate(parameters()),
        Request::TunnelShow(Selector::Id(17)),
        Request::TunnelShow(Selector::Name("17".into())),
        Request::TunnelModify(tunnel(), parameters()),
        Request::StatisticsReset,
        Request::SessionList(SessionFilter::default(), Range::default()),
        Request::SessionList(sessions, range()),
        Request::SessionCreate(tunnel(), parameters()),
        Request::SessionShow(tunnel(), Selector::Id(1)),
        Request::SessionModify(tunnel(), Selector::Id(1), parameters()),
        Request::SessionDelete(Selector::Id(1), tunnel()),
        Request::UserList(users, range()),
        Request::PeerList(range()),
        Request::PeerShow("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()),
        Request::SystemShow,
        Request::SystemDatapath,
        Request::SystemParameters,
        Request::SystemModify(Parameters::new()),
    ];
    for collection in Collection::ALL {
        let name = || "../x?y#z".to_owned();
        requests.extend([
            Request::ObjectList(collection, range()),
            Request::ObjectCreate(collection, parameters()),
            Request::ObjectShow(collection, name()),
            Request::ObjectModify(collection, name(), parameters()),
            Request::ObjectDelete(collection, name()),
        ]);
    }
    for request in requests {
        let answer: Parameters = client.call(&request).unwrap();
        assert_eq!(answer["asked"], json!(format!("{request:?}")));
    }
}

#[test]
fn answers_and_refusals_arrive_as_what_they_are() {
    let daemon = Daemon::start();
    let client = daemon.client();
    client
        .call::<()>(&Request::TunnelDelete(Selector::Id(1)))
        .unwrap();
    assert_eq!(
        client
            .call::<Statistics>(&Request::SystemStatistics)
            .unwrap()
            .0["received.sccrq"],
        7
    );
    let refused = client.call::<()>(&Request::TunnelDelete(Selector::Name("x".into())));
    assert!(
        matches!(&refused, Err(ClientError::Refused(e)) if e.kind == ErrorKind::NotFound && e.message == "no tunnel is named x"),
        "{refused:?}"
    );
}

#[test]
fn a_missing_daemon_is_said_with_its_path() {
    let client = Client::new("/nonexistent/api.sock".as_ref()).unwrap();
    let error = client.call::<()>(&Request::SystemShow).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no daemon at /nonexistent/api.sock: "),
        "{error}"
    );
}

#[test]
fn a_daemon_that_does_not_answer_in_time_is_late() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    // It is there, and accepts nobody.
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let patience = Duration::from_millis(1);
    let client = Client::new(&socket).unwrap().with_patience(patience);
    let late = client.call::<()>(&Request::SystemShow).unwrap_err();
    assert!(
        matches!(late, ClientError::Late(waited) if waited == patience),
        "{late}"
    );
}

#[test]
fn strange_requests_are_refused_in_json() {
    let daemon = Daemon::start();
    for (line, body, status, kind) in [
        ("GET /v2/tunnels", "", "404 Not Found", "no_resource"),
        ("GET /v1/tunnels/70000", "", "400 Bad Request", "invalid"),
        ("GET /v1/tunnels/0", "", "400 Bad Request", "invalid"),
        ("DELETE /v1/tunnels/+17", "", "404 Not Found", "not_found"),
        (
            "GET /v1/sessions?tunnel=99999",
            "",
            "400 Bad Request",
            "invalid",
        ),
        (
            "GET /v1/events?tunnel=99999",
            "",
            "400 Bad Request",
            "invalid",
        ),
        (
            "DELETE /v1/tunnels/1/sessions/65536",
            "",
            "400 Bad Request",
            "invalid",
        ),
        ("GET /v1/tunnels?limit=0", "", "400 Bad Request", "invalid"),
        (
            "GET /v1/tunnels?limit=257",
            "",
            "400 Bad Request",
            "invalid",
        ),
        (
            "GET /v1/tunnels?limit=1&limit=1",
            "",
            "400 Bad Request",
            "invalid",
        ),
        (
            "GET /v1/tunnels?colour=red",
            "",
            "400 Bad Request",
            "invalid",
        ),
        (
            "GET /v1/tunnels?state=fine",
            "",
            "400 Bad Request",
            "invalid",
        ),
        (
            "GET /v1/tunnels?peer=here",
            "",
            "400 Bad Request",
            "invalid",
        ),
        (
            "GET /v1/tunnels/1/sessions?tunnel=2",
            "",
            "400 Bad Request",
            "invalid",
        ),
        (
            "GET /v1/tunnels/1?limit=1",
            "",
            "400 Bad Request",
            "invalid",
        ),
        (
            "POST /v1/tunnels?limit=1",
            "{}",
            "400 Bad Request",
            "invalid",
        ),
        (
            "GET /v1/peers/192.0.2.1/x",
            "",
            "400 Bad Request",
            "invalid",
        ),
        ("PUT /v1/tunnels", "", "405 Method Not Allowed", "invalid"),
        ("POST /v1/tunnels", "{", "400 Bad Request", "invalid"),
        ("POST /v1/tunnels", "[1]", "400 Bad Request", "invalid"),
        ("DELETE /v1/tunnels/x", "", "404 Not Found", "not_found"),
    ] {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let response = daemon.raw(&request);
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{line}: {response}"
        );
        assert!(
            response.contains(&format!("{{\"kind\":\"{kind}\",\"message\":\"")),
            "{line}: {response}"
        );
    }
    for (query, parameter) in [
        ("/v1/tunnels?peer=here", "peer"),
        ("/v1/sessions?state=fine&user=a", "state"),
        ("/v1/sessions?tunnel=0", "tunnel"),
        ("/v1/events?tunnel=many", "tunnel"),
        ("/v1/trace?ppp=yes", "peer"),
        ("/v1/trace?peer=a", "peer"),
        ("/v1/tunnels/1/trace?colour=red", "colour"),
    ] {
        let answer = daemon.raw(&format!(
            "GET {query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        ));
        let named = answer
            .split_once("the query is wrong: ")
            .map(|(_, why)| why);
        assert!(
            named.is_some_and(|why| why.contains(parameter)),
            "{query}: {answer}"
        );
        assert!(!answer.contains("deserialize"), "{query}: {answer}");
    }
    let created = daemon.raw(
        "POST /v1/tunnels HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
    );
    assert!(created.starts_with("HTTP/1.1 201 Created\r\n"), "{created}");
}

#[test]
fn whose_messages_are_followed_comes_through_and_every_message_comes_back() {
    let daemon = Daemon::start();
    let client = Client::new(&daemon.socket).unwrap();
    let name = |name: &str| Selector::Name(name.to_owned());
    for of in [
        TraceOf::Tunnel(name("a/b c?ppp=yes&")),
        TraceOf::Tunnel(Selector::Id(7)),
        TraceOf::Session(name("t"), Selector::Id(7)),
        TraceOf::Peer("192.0.2.1".parse().unwrap()),
        TraceOf::Peer("2001:db8::1".parse().unwrap()),
    ] {
        for ppp in [false, true] {
            let request = TraceRequest {
                of: of.clone(),
                ppp,
            };
            let mut seen = Vec::new();
            let each = |followed| {
                seen.push(followed);
                ControlFlow::Continue(())
            };
            client.trace(&request, each).unwrap();
            let [Followed::Begun, Followed::Item(_), Followed::Item(event)] = &seen[..] else {
                panic!("{seen:?}")
            };
            let asked = event.tunnel_name.as_deref();
            assert_eq!(asked, Some(format!("{request:?}").as_str()));
            assert_eq!(event.payload().unwrap(), ZLB);
            assert_eq!(
                event.header.map(|header| (header.ns, header.nr)),
                Some((3, 4))
            );
            let mut once = 0;
            let each = |followed| match followed {
                Followed::Begun => ControlFlow::Continue(()),
                Followed::Item(_) => {
                    once += 1;
                    ControlFlow::Break(())
                }
            };
            client.trace(&request, each).unwrap();
            assert_eq!(once, 1, "who has enough stops");
        }
    }
}

#[test]
fn a_trace_of_nobody_is_refused() {
    let daemon = Daemon::start();
    for path in [
        "/v1/trace",
        "/v1/trace?peer=nobody",
        "/v1/tunnels/1/trace?peer=192.0.2.1",
        "/v1/tunnels/1/trace?ppp=perhaps",
        "/v1/tunnels/1/trace?count=1",
    ] {
        let answer = daemon.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ));
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
}

/// Lists numbers, three a page at most, and one page without any.
struct Counting;

impl Backend for Counting {
    fn events(&self) -> Arc<EventLog> {
        Arc::new(EventLog::new(1, 1))
    }

    fn trace(&self, _: TraceRequest) -> Result<Receiver<TraceEvent>, CommandError> {
        Err(CommandError::new(ErrorKind::NotFound, "there are none"))
    }

    async fn call(&self, request: Request) -> Result<Response, CommandError> {
        let Request::PeerList(range) = request else {
            return Ok(Response::Objects(Page::whole(Vec::new())));
        };
        let start = range.after.map_or(0, |cursor| cursor.0.parse().unwrap());
        let items = if start == 3 { 0 } else { 3 };
        let item = |n: u32| Parameters::from_iter([("n".to_owned(), json!(n))]);
        Ok(Response::Objects(Page {
            items: (start..start + items).map(item).collect(),
            next: (start < 7).then(|| Cursor((start + 3).to_string())),
        }))
    }
}

#[test]
fn a_list_is_followed_to_its_end_over_pages_without_items() {
    let daemon = Daemon::serve(Counting);
    let all: Result<Vec<Parameters>, ClientError> = daemon
        .client()
        .list(Request::PeerList(Range::default()))
        .collect();
    let numbers: Vec<_> = all
        .unwrap()
        .iter()
        .map(|o| o["n"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [0, 1, 2, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn what_a_resource_takes_is_said_when_asked() {
    let daemon = Daemon::start();
    let options =
        daemon.raw("OPTIONS /v1/tunnels HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(options.starts_with("HTTP/1.1 204 "), "{options}");
    assert!(
        options.to_lowercase().contains("allow: get,head,post"),
        "{options}"
    );
    let head =
        daemon.raw("HEAD /v1/system/statistics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}
