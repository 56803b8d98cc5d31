//! A daemon that says what it was asked, over a real Unix socket.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use api::server::{Backend, Captured, EventLog, serve};
use api::{
    CapturedPacket, CommandError, Direction, ErrorKind, Origin, Page, Parameters, Request,
    Response, Selector, Statistics, TraceEvent, TraceRequest, TunnelPeer, TunnelState,
    TunnelStatus,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};

/// The configuration of the daemon.
pub(crate) const SAVED: &str = "user create user_name=saved password=x\n";

/// Answers a little of everything, and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Fake(pub(crate) Mutex<Vec<Request>>);

impl Backend for Fake {
    async fn call(&self, request: Request) -> Result<Response, CommandError> {
        self.0.lock().unwrap().push(request.clone());
        Ok(match request {
            Request::TunnelCreate(_) | Request::TunnelShow(_) => {
                Response::Tunnel(Box::new(tunnel()))
            }
            Request::PeerList(_) => Response::Peers(Page::whole(vec![api::PeerStatus {
                local_ipaddr: "192.0.2.7".parse().unwrap(),
                peer_ipaddr: "192.0.2.1".parse().unwrap(),
                tunnels: 2,
            }])),
            Request::TunnelList(..) => Response::Tunnels(Page::whole(vec![tunnel(), tunnel()])),
            Request::SystemStatistics => {
                Response::Statistics(Statistics([("received.sccrq".to_owned(), 7)].into()))
            }
            Request::SystemDatapath => {
                let part = |part: &str, available, needed, detail: &str| api::EnginePart {
                    part: part.to_owned(),
                    available,
                    needed,
                    detail: detail.to_owned(),
                };
                Response::Datapath(Box::new(api::DatapathStatus {
                    datapath: "auto".to_owned(),
                    shared_device: "tun".to_owned(),
                    own_device: "kernel".to_owned(),
                    kernel_release: "6.1".to_owned(),
                    engines: vec![api::EngineStatus {
                        engine: "ebpf".to_owned(),
                        usable: false,
                        parts: vec![
                            part("programs", true, true, "taken"),
                            part("self-test", false, true, "the kernel makes 2"),
                            part("speed", false, false, "none"),
                        ],
                    }],
                }))
            }
            Request::ObjectList(..) => Response::Objects(Page::whole(vec![parameters(&[
                ("pool_name", json!("p")),
                ("range", json!("a-b")),
            ])])),
            Request::ObjectShow(..) => Response::Object(parameters(&[
                ("profile_name", json!("x")),
                ("mtu", json!(1400)),
            ])),
            Request::ConfigFile => Response::Text(SAVED.to_owned()),
            Request::UserList(..) => Response::Users(Page::whole(Vec::new())),
            Request::SessionList(..) => Response::Sessions(Page::whole(Vec::new())),
            Request::TunnelDelete(Selector::Id(404)) => {
                return Err(CommandError::new(
                    ErrorKind::NotFound,
                    "there is no tunnel 404",
                ));
            }
            Request::TunnelDelete(Selector::Id(409)) => {
                return Err(CommandError::new(ErrorKind::Exists, "no"));
            }
            _ => Response::Done,
        })
    }

    fn events(&self) -> Arc<EventLog> {
        Arc::new(EventLog::new(1, 1))
    }

    fn trace(&self, _: TraceRequest) -> Result<Receiver<TraceEvent>, CommandError> {
        let (sender, receiver) = channel(3);
        let ends = ("192.0.2.1:1701", "192.0.2.2:1701");
        let ends = (ends.0.parse().unwrap(), ends.1.parse().unwrap());
        let hello = [
            200, 2, 0, 20, 0, 9, 0, 0, 0, 3, 0, 4, 128, 8, 0, 0, 0, 0, 0, 6,
        ];
        let zlb = [200, 2, 0, 12, 0, 8, 0, 0, 0, 4, 0, 4];
        let mut events = [
            TraceEvent::message(1_000, Direction::Sent, ends, &hello),
            TraceEvent::message(1_500_000, Direction::Sent, ends, &hello),
            TraceEvent::message(1_600_000, Direction::Received, ends, &zlb),
        ];
        events[1].repeated = true;
        for event in events {
            sender.try_send(event).unwrap();
        }
        Ok(receiver)
    }

    async fn capture(&self, tunnel: Selector, session: Selector) -> Result<Captured, CommandError> {
        if session == Selector::Id(404) {
            return Err(CommandError::new(ErrorKind::NotFound, "no such session"));
        }
        assert_eq!(tunnel, Selector::Name("office".to_owned()));
        let (sender, packets) = channel(3);
        for (time, direction, lost) in [
            (1_500_000, Direction::Sent, 0),
            (1_600_000, Direction::Received, 7),
            (1_700_000, Direction::Sent, 0),
        ] {
            let packet = CapturedPacket::new(time, direction, &[0x45, 0, 0, 20], lost);
            sender.try_send(packet).unwrap();
        }
        let (held, _) = tokio::sync::oneshot::channel();
        Ok(Captured { packets, held })
    }
}

fn tunnel() -> TunnelStatus {
    TunnelStatus {
        tunnel_id: Some(17),
        tunnel_name: Some("office".to_owned()),
        state: TunnelState::Established,
        created_by: Origin::Admin,
        persist: true,
        local: None,
        remote: Some("192.0.2.1:1701".parse().unwrap()),
        dest_ipaddr: None,
        profile_name: "default".to_owned(),
        host_name: "lac".to_owned(),
        peer: Some(TunnelPeer {
            host_name: "evil\u{1b}[2J".to_owned(),
            ..TunnelPeer::default()
        }),
        sessions: 3,
        seconds: 93_784,
        age: 100_000,
        establish_retries: 0,
        tie_breaker: None,
        transport: None,
        traffic: None,
        listener_name: None,
        trace_flags: "0".to_owned(),
        path_mtu: None,
        last_error: None,
        last_end: None,
        parameters: parameters(&[("hello_timeout", 20.into()), ("secret", "********".into())]),
    }
}

pub(crate) fn parameters(of: &[(&str, Value)]) -> Parameters {
    of.iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

pub(crate) struct Daemon {
    _directory: TempDir,
    pub(crate) socket: PathBuf,
    pub(crate) fake: Arc<Fake>,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("api.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let fake = Arc::<Fake>::default();
        let backend = Arc::clone(&fake);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                serve(
                    tokio::net::UnixListener::from_std(listener).unwrap(),
                    backend,
                )
                .await
            })
        });
        Self {
            _directory: directory,
            socket,
            fake,
        }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        program(&self.socket).args(arguments).output().unwrap()
    }

    /// Runs it with commands on its standard input.
    pub(crate) fn piped(&self, script: impl AsRef<[u8]>) -> Output {
        let mut command = program(&self.socket);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(script.as_ref()).unwrap();
        drop(input);
        child.wait_with_output().unwrap()
    }

    /// Runs a command that succeeds; what it prints.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the daemon is asked by a command.
    pub(crate) fn asked(&self, line: &str) -> Request {
        self.ok(&line.split(' ').collect::<Vec<_>>());
        self.fake.0.lock().unwrap().pop().unwrap()
    }
}

/// The program, which is to ask here.
pub(crate) fn program(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_l2tpconfig"));
    command.arg("--socket").arg(socket);
    command
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
