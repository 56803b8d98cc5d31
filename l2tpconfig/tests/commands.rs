//! The program against a daemon that says what it was asked, over a real Unix socket.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use api::server::{Backend, Captured, EventLog, serve};
use api::{
    CapturedPacket, Collection, CommandError, Direction, ErrorKind, Origin, Page, Parameters,
    Range, Request, Response, Selector, SessionFilter, Statistics, TraceEvent, TraceRequest,
    TunnelFilter, TunnelPeer, TunnelState, TunnelStatus, UserFilter,
};
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};

/// The configuration of the daemon.
const SAVED: &str = "user create user_name=saved password=x\n";

/// Answers a little of everything, and remembers what it was asked.
#[derive(Default)]
struct Fake(Mutex<Vec<Request>>);

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

fn parameters(of: &[(&str, Value)]) -> Parameters {
    of.iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

struct Daemon {
    _directory: TempDir,
    socket: PathBuf,
    fake: Arc<Fake>,
}

impl Daemon {
    fn start() -> Self {
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

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l2tpconfig"));
        command
            .arg("--socket")
            .arg(&self.socket)
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Runs it with commands on its standard input.
    fn piped(&self, script: impl AsRef<[u8]>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l2tpconfig"));
        command.arg("--socket").arg(&self.socket);
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
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the daemon is asked by a command.
    fn asked(&self, line: &str) -> Request {
        self.ok(&line.split(' ').collect::<Vec<_>>());
        self.fake.0.lock().unwrap().pop().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn each_command_asks_for_what_it_says() {
    let daemon = Daemon::start();
    let name = |name: &str| Selector::Name(name.to_owned());
    let text = |of: &[(&str, &str)]| {
        parameters(&of.iter().map(|(n, v)| (*n, json!(v))).collect::<Vec<_>>())
    };
    for (line, request) in [
        (
            "tunnel list",
            Request::TunnelList(TunnelFilter::default(), Range::default()),
        ),
        (
            "tunnel show tunnel_id=17",
            Request::TunnelShow(Selector::Id(17)),
        ),
        (
            "tunnel delete tunnel_name=17",
            Request::TunnelDelete(name("17")),
        ),
        (
            "tun cre dest=192.0.2.1 persist=on",
            Request::TunnelCreate(text(&[("dest_ipaddr", "192.0.2.1"), ("persist", "on")])),
        ),
        (
            "tunnel modify tunnel_id=17 mtu=1400",
            Request::TunnelModify(Selector::Id(17), text(&[("mtu", "1400")])),
        ),
        (
            "session list",
            Request::SessionList(SessionFilter::default(), Range::default()),
        ),
        (
            "session list tunnel_name=a/b",
            Request::SessionList(SessionFilter::of_tunnel(name("a/b")), Range::default()),
        ),
        (
            "session delete tunnel_name=a session_id=5",
            Request::SessionDelete(name("a"), Selector::Id(5)),
        ),
        (
            "user list",
            Request::UserList(UserFilter::default(), Range::default()),
        ),
        (
            "user create user_name=bob password=pw",
            Request::ObjectCreate(
                Collection::Users,
                text(&[("user_name", "bob"), ("password", "pw")]),
            ),
        ),
        (
            "user delete user_name=bob",
            Request::ObjectDelete(Collection::Users, "bob".to_owned()),
        ),
        (
            "ip_pool list",
            Request::ObjectList(Collection::IpPools, Range::default()),
        ),
        (
            "ppp profile show profile_name=x",
            Request::ObjectShow(Collection::PppProfiles, "x".to_owned()),
        ),
        (
            "peer profile modify profile_name=x netmask=24",
            Request::ObjectModify(
                Collection::PeerProfiles,
                "x".to_owned(),
                text(&[("netmask", "24")]),
            ),
        ),
        (
            "ppp profile unset profile_name=x mtu",
            Request::ObjectModify(
                Collection::PppProfiles,
                "x".to_owned(),
                parameters(&[("mtu", Value::Null)]),
            ),
        ),
        ("system show statistics", Request::SystemStatistics),
        ("system show datapath", Request::SystemDatapath),
        (
            "system modify max_tunnels=9",
            Request::SystemModify(text(&[("max_tunnels", "9")])),
        ),
    ] {
        assert_eq!(daemon.asked(line), request, "{line}");
    }
}

#[test]
fn a_value_keeps_what_the_shell_left_of_its_quotes() {
    let daemon = Daemon::start();
    daemon.ok(&[
        "user",
        "create",
        "user_name=bob",
        r#"password=two words, a " and a \"#,
    ]);
    let Some(Request::ObjectCreate(_, parameters)) = daemon.fake.0.lock().unwrap().pop() else {
        panic!()
    };
    assert_eq!(parameters["password"], json!(r#"two words, a " and a \"#));
}

#[test]
fn answers_are_tables_for_people_and_json_for_programs() {
    let daemon = Daemon::start();
    let list = daemon.ok(&["tunnel", "list"]);
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[0].starts_with("ID  NAME    STATE"), "{list}");
    for part in [
        "17",
        "office",
        "established",
        "192.0.2.1:1701",
        "1d 02:03:04",
    ] {
        assert!(lines[1].contains(part), "{part}: {list}");
    }
    assert!(
        !list.contains('\u{1b}'),
        "what a peer says must not command the terminal: {list:?}"
    );

    let json: Value = serde_json::from_str(&daemon.ok(&["--json", "tunnel", "list"])).unwrap();
    assert_eq!(json[1]["tunnel_id"], 17);
    let json: Value =
        serde_json::from_str(&daemon.ok(&["tunnel", "delete", "tunnel_id=1", "--json"])).unwrap();
    assert_eq!(json, Value::Null);
    assert_eq!(
        daemon.ok(&["ip_pool", "list"]),
        "POOL NAME  RANGE\np          a-b\n"
    );
    assert!(
        daemon
            .ok(&["tunnel", "profile", "show", "profile_name=x"])
            .contains("mtu           1400 octets\n")
    );
    assert_eq!(
        daemon.ok(&["system", "show", "statistics"]),
        "received.sccrq  7\n"
    );
    assert_eq!(
        daemon.ok(&["system", "show", "datapath"]),
        "datapath              auto\nshared device         tun\ndevices of their own  kernel\nkernel                6.1\n\n\
         ENGINE  PART              THERE  DETAIL\n\
         ebpf    -                 no     needs self-test\n\
         ebpf    programs          yes    taken\n\
         ebpf    self-test         no     the kernel makes 2\n\
         ebpf    speed (optional)  no     none\n"
    );
}

#[test]
fn changes_are_said_unless_quiet() {
    let daemon = Daemon::start();
    let created = daemon.run(&["tunnel", "create", "dest_ipaddr=192.0.2.1"]);
    assert_eq!(
        stderr(&created),
        "Created tunnel office 17\n",
        "as ever in OpenL2TP"
    );
    assert!(created.status.success() && created.stdout.is_empty());
    assert_eq!(
        daemon.ok(&["user", "delete", "user_name=bob"]),
        "Deleted user bob\n"
    );
    assert_eq!(
        daemon.ok(&["system", "modify", "max_tunnels=1"]),
        "Modified system\n"
    );
    let quiet = daemon.run(&["-q", "-t", "tunnel", "create", "dest_ipaddr=192.0.2.1"]);
    assert!(quiet.stdout.is_empty() && quiet.stderr.is_empty());
}

#[test]
fn several_commands_are_one_line_or_many() {
    let daemon = Daemon::start();
    let both = daemon.ok(&["server", "show", ";", "ip_pool", "list"]);
    assert!(both.starts_with("Connected to server: ") && both.ends_with("a-b\n"));
    assert_eq!(
        daemon.ok(&["# nothing; ip_pool list"]),
        "",
        "a comment goes on to the end of the line"
    );
    let script = "user delete user_name=bob # him\n\ntunnel delete tunnel_id=404\nuser \\\n delete user_name=al\ntunnel x\nexit\nbad\n";
    let output = daemon.piped(script);
    assert_eq!(output.status.code(), Some(3), "that of the first failure");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Deleted user bob\nDeleted user al\n"
    );
    let said = stderr(&output);
    assert!(
        said.contains("line 3: there is no tunnel 404")
            && said.contains("line 6: error at or near `x`"),
        "{said}"
    );
    assert!(!said.contains("bad"), "{said}");
}

#[test]
fn a_restore_stops_at_the_first_error_and_says_its_line() {
    let daemon = Daemon::start();
    let file = daemon.socket.with_extension("conf");
    std::fs::write(
        &file,
        "# saved\nuser delete user_name=a\nuser \\\n  delete user_name=\"b c\"; user delete user_name=c\n\ntunnel delete tunnel_id=409\nuser delete user_name=d\n",
    )
    .unwrap();
    let output = daemon.run(&["config", "restore", &format!("file={}", file.display())]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("conf:6: no\n"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "Deleted user a\nDeleted user b c\nDeleted user c\n"
    );
    let missing = daemon.run(&["config", "restore", "file=/nonexistent"]);
    assert_eq!(missing.status.code(), Some(3));
}

#[test]
fn a_file_of_objects_is_restored_as_a_whole() {
    let daemon = Daemon::start();
    let file = daemon.socket.with_extension("conf");
    let restore = |text: &str| {
        daemon.fake.0.lock().unwrap().clear();
        std::fs::write(&file, text).unwrap();
        let output = daemon.run(&["config", "restore", &format!("file={}", file.display())]);
        (output, daemon.fake.0.lock().unwrap().clone())
    };
    let conf = include_str!("../../README.md")
        .split_once("`lns.conf`:\n\n")
        .unwrap()
        .1;
    let conf: String = conf
        .lines()
        .take_while(|line| line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    let (output, asked) = restore(&conf);
    assert!(output.status.success(), "{}", stderr(&output));
    let place = |is_it: fn(&Request) -> bool| asked.iter().position(is_it).unwrap();
    let pool = place(|r| matches!(r, Request::ObjectCreate(Collection::IpPools, _)));
    let ppp = place(|r| matches!(r, Request::ObjectModify(Collection::PppProfiles, ..)));
    assert!(pool < ppp, "{asked:?}");
    assert_eq!(asked.len(), 5, "{asked:?}");

    // Where the last line is wrong, the first is not carried out.
    for (last, status) in [
        (
            "peer profile create profile_name=x tunnel_profile_name=none",
            1,
        ),
        ("user create user_name=a", 2),
        ("user nonsense", 2),
    ] {
        let (output, asked) = restore(&format!("{conf}{last}\n"));
        assert_eq!(output.status.code(), Some(status), "{last}");
        assert!(stderr(&output).contains("conf:6:"), "{}", stderr(&output));
        assert!(asked.iter().all(|r| *r == Request::ConfigFile), "{asked:?}");
        assert!(!stderr(&output).contains("wonderland"));
    }
}

#[test]
fn a_save_follows_links_and_replaces_no_device() {
    let daemon = Daemon::start();
    let folder = daemon.socket.parent().unwrap();
    let file = |name: &str| folder.join(name);
    let save = |to: &str| daemon.ok(&["config", "save", &format!("file={to}")]);
    let save_to = |name: &str| save(file(name).to_str().unwrap());
    std::fs::create_dir(file("deep")).unwrap();
    for (link, target) in [("a", "deep/b"), ("deep/b", "c"), ("loop", "loop")] {
        std::os::unix::fs::symlink(target, file(link)).unwrap();
    }
    // First it is made, then replaced.
    for _ in 0..2 {
        save_to("a");
        assert!(file("a").is_symlink() && file("deep/b").is_symlink());
        assert_eq!(std::fs::read_to_string(file("deep/c")).unwrap(), SAVED);
    }
    assert_eq!(std::fs::read_dir(file("deep")).unwrap().count(), 2);
    let looped = format!("file={}", file("loop").display());
    assert_eq!(
        daemon.run(&["config", "save", &looped]).status.code(),
        Some(1)
    );
    assert!(file("loop").is_symlink());
    // Written to, and there as before.
    assert_eq!(save("/dev/stdout"), SAVED);
    save("/dev/null");
    let fifo = file("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::read_to_string(fifo).unwrap()
    });
    save_to("fifo");
    use std::os::unix::fs::FileTypeExt;
    let of = |path: &std::path::Path| std::fs::metadata(path).unwrap().file_type();
    assert!(of(&fifo).is_fifo() && of("/dev/null".as_ref()).is_char_device());
    assert_eq!(reader.join().unwrap(), SAVED);
}

#[test]
fn yaml_says_what_json_says() {
    let daemon = Daemon::start();
    let yaml = daemon.ok(&["--yaml", "tunnel", "show", "tunnel_id=17"]);
    assert!(
        yaml.contains("tunnel_id: 17\n") && yaml.contains("tunnel_name: office\n"),
        "{yaml}"
    );
    assert!(!yaml.contains('\u{1b}'), "{yaml:?}");
    assert_eq!(
        daemon
            .run(&["--yaml", "--json", "user", "list"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn tunnels_are_listed_and_shown_in_part() {
    let daemon = Daemon::start();
    assert_eq!(daemon.ok(&["tunnel", "list", "names"]), "office\noffice\n");
    assert_eq!(daemon.ok(&["tunnel", "list", "names", "remote_only"]), "");
    assert_eq!(
        daemon.ok(&["tunnel", "list", "names", "local"]),
        "office\noffice\n"
    );
    let none: Value =
        serde_json::from_str(&daemon.ok(&["--json", "tunnel", "list", "remote_only"])).unwrap();
    assert_eq!(none, json!([]));
    let config = daemon.ok(&["tunnel", "show", "config", "tunnel_id=17"]);
    for part in ["host_name", "hello_timeout", "20 s", "********"] {
        assert!(config.contains(part), "{part}: {config}");
    }
    assert_eq!(
        daemon.ok(&["tunnel", "show", "transport", "tunnel_id=17"]),
        ""
    );
    let peer = daemon.ok(&["peer", "show", "peer_ipaddr=192.0.2.1"]);
    assert!(peer.contains("192.0.2.7") && peer.contains('2'), "{peer}");
    assert!(
        daemon
            .run(&["peer", "show", "peer_ipaddr=192.0.2.9"])
            .status
            .code()
            == Some(3)
    );
}

#[test]
fn debug_changes_the_categories_named_and_no_other() {
    let daemon = Daemon::start();
    let masked = |line: &str| match daemon.asked(line) {
        Request::ObjectModify(_, name, parameters) => (name, parameters["trace_flags"].clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        masked("debug modify tunnel_profile_name=x proto=on fsm=1"),
        ("x".to_owned(), json!("3"))
    );
    assert_eq!(
        masked("debug mod ppp_profile_name=x all=yes func=no"),
        ("x".to_owned(), json!((0x7ff & !64).to_string()))
    );
    for line in [
        "debug modify app",
        "debug modify protocol=yes",
        "debug modify app ppp_profile_name=x fsm=yes",
        "debug modify app fsm=perhaps",
        "debug show session_id=4",
        "debug modify app av=yes",
    ] {
        let output = daemon.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "{line}: {}", stderr(&output));
    }
}

#[test]
fn words_and_names_of_objects_are_completed() {
    let daemon = Daemon::start();
    let complete = |text: &str| {
        let all = daemon.ok(&["complete", "word", "--", text]);
        all.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("tun"), ["tunnel"]);
    assert_eq!(complete("user list; tunnel pr"), ["profile"]);
    assert_eq!(complete("tunnel prof sh"), ["show"]);
    assert_eq!(complete("tunnel create peer_u"), ["peer_udp_port="]);
    assert_eq!(complete("tunnel create persist="), ["yes", "no"]);
    assert_eq!(
        complete("tunnel create auth_mode="),
        ["none", "simple", "challenge"]
    );
    assert_eq!(
        complete("system modify trace_flags=fsm,avp_d"),
        ["fsm,avp_data"]
    );
    assert_eq!(complete("tunnel show tunnel_name="), ["office"]);
    assert_eq!(complete("tunnel create tunnel_name="), [""; 0]);
    assert_eq!(complete("system show st"), ["status", "statistics"]);
    assert_eq!(
        complete("ppp profile unset profile_name=x lcp_echo"),
        ["lcp_echo_failure_count", "lcp_echo_interval"]
    );
    assert_eq!(complete("nonsense "), [""; 0]);
    assert_eq!(complete("--js"), ["--json"]);
    assert_eq!(complete("--json -q --so"), ["--socket="]);
    assert_eq!(complete("--json -q tun"), ["tunnel"]);
    assert_eq!(complete("--json "), complete(""));
    assert_eq!(complete("--socket "), [""; 0]);
    assert_eq!(complete("--socket /run"), [""; 0]);
    for elsewhere in ["--socket /nonexistent", "--socket=/nonexistent"] {
        let tunnel = format!("{elsewhere} tunnel show tunnel_name");
        assert_eq!(complete(&tunnel), ["tunnel_name="]);
        assert_eq!(complete(&(tunnel + "=")), [""; 0]);
    }
    assert!(
        daemon
            .ok(&["complete", "token", "tunnel show tunnel_name="])
            .starts_with("tunnel_name=office")
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(daemon.ok(&["completions", shell]).contains("complete"));
    }
}

#[test]
fn the_exit_status_says_what_went_wrong() {
    let daemon = Daemon::start();
    for (line, status, said) in [
        ("tunnel delete tunnel_id=409", 1, "l2tpconfig: no\n"),
        (
            "tunnel delete tunnel_id=404",
            3,
            "l2tpconfig: there is no tunnel 404\n",
        ),
        ("tunnel dleete", 2, "`delete`"),
        ("s show", 2, "`s` can be system or session or server"),
        (
            "-R host tunnel list",
            2,
            "not asked over the network any more",
        ),
        ("peer", 2, "expected one of profile, show, list"),
        ("tunnel show", 2, "tunnel_name"),
        ("tunnel show tunnel_id=1 tunnel_name=a", 2, "is enough"),
        (
            "tunnel modify tunnel_id=1 hide_avps=yes",
            2,
            "only at creation",
        ),
        (
            "tunnel create dest_ipaddr=x mtu=5",
            2,
            "mtu=5\n                                    ^\n",
        ),
    ] {
        let output = daemon.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(status), "{line}");
        assert!(
            stderr(&output).contains(said),
            "{line}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{line}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_l2tpconfig"))
        .args(["--socket", "/nonexistent", "user", "list"])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(
        stderr(&output).contains("no daemon at /nonexistent"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_daemon_that_goes_away_is_no_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (words, answer) in [
        ("user list", ""),
        ("config save", head),
        ("tunnel trace peer=192.0.2.1", head),
    ] {
        let child = Command::new(env!("CARGO_BIN_EXE_l2tpconfig"))
            .arg("--socket")
            .arg(&socket)
            .args(words.split(' '))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        drop(stream);
        let output = child.wait_with_output().unwrap();
        let said = stderr(&output);
        assert!(said.contains("the daemon went away"), "{words}: {said}");
        assert_eq!(output.status.code(), Some(4), "{words}");
    }
}

#[test]
fn input_that_is_no_text_is_said_to_be_that() {
    let output = Daemon::start().piped(b"user list\n\xff\xfe\n");
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(
        said.contains("line 2: standard input: a line is not UTF-8"),
        "{said}"
    );
}

#[test]
fn help_comes_from_the_declarations() {
    let daemon = Daemon::start();
    assert!(daemon.ok(&["--help"]).contains("ppp profile"));
    let text = daemon.ok(&["tunnel", "create", "--help"]);
    assert!(
        text.contains("peer_udp_port") && text.contains("[1701]") && !text.contains("tunnel_id"),
        "{text}"
    );
    assert!(
        daemon
            .ok(&["tunnel", "profile", "--help"])
            .contains("create|modify|delete|show|list|unset")
    );
}

#[test]
fn a_trace_is_a_ladder_json_and_a_file_for_wireshark() {
    let daemon = Daemon::start();
    let output = daemon.run(&["tunnel", "trace", "tunnel_name=office"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let ladder = "        s  192.0.2.1:1701          192.0.2.2:1701
    0.000  |- HELLO 3/4 ----------------------->|
    1.499  |- HELLO 3/4 again ----------------->|
    1.599  |<......................... ZLB 4/4 .|
";
    assert_eq!(String::from_utf8_lossy(&output.stdout), ladder);

    let json = daemon.run(&["tunnel", "trace", "tunnel_id=9", "count=2", "--json"]);
    let lines = String::from_utf8(json.stdout).unwrap();
    let events: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["name"], "HELLO");
    assert_eq!(events[1]["repeated"], true);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace.pcapng");
    let name = file.to_str().unwrap();
    let output = daemon.run(&["tunnel", "trace", "peer_ipaddr=192.0.2.2", "--pcap", name]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut reader = PcapNgReader::new(std::fs::File::open(&file).unwrap()).unwrap();
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            // The library reads times as nanoseconds, whatever is said of them.
            Block::InterfaceDescription(interface) => {
                let options = format!("{:?}", interface.options);
                assert_eq!(options, "[IfTsResol(9)]");
            }
            Block::EnhancedPacket(packet) => {
                packets.push((packet.timestamp, packet.data.to_vec()));
            }
            _ => {}
        }
    }
    let payloads: Vec<_> = packets
        .iter()
        .map(|(_, packet)| packet[42..].len())
        .collect();
    assert_eq!(payloads, [20, 20, 12]);
    assert_eq!(packets[1].0.as_micros(), 1_500_000);

    for (words, said) in [
        (&["tunnel", "trace"][..], "is needed"),
        (&["tunnel", "list", "--pcap", name], "goes with"),
    ] {
        let output = daemon.run(words);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(said));
    }
}

#[test]
fn a_capture_is_a_file_of_raw_ip_with_directions_and_what_was_lost() {
    let daemon = Daemon::start();
    let of = ["session", "capture", "tunnel_name=office", "session_id=5"];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session.pcapng");
    let name = file.to_str().unwrap();
    let output = daemon.run(&[&of[..], &["-w", name]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "3 packets captured, 7 lost\n");
    let written = std::fs::read(&file).unwrap();
    let mut reader = PcapNgReader::new(&written[..]).unwrap();
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.linktype, pcap_file::DataLink::RAW);
                let options = format!("{:?}", interface.options);
                assert_eq!(options, "[IfTsResol(9)]");
            }
            Block::EnhancedPacket(packet) => packets.push((
                packet.timestamp.as_micros(),
                packet.data.to_vec(),
                format!("{:?}", packet.options),
            )),
            _ => {}
        }
    }
    let ip = vec![0x45, 0, 0, 20];
    let options = |flags: u32, lost: u64| format!("[Flags({flags}), DropCount({lost})]");
    assert_eq!(
        packets,
        [
            (1_500_000, ip.clone(), options(2, 0)),
            (1_600_000, ip.clone(), options(1, 7)),
            (1_700_000, ip, options(2, 0)),
        ]
    );

    let output = daemon.run(&[&of[..], &["count=1"]].concat());
    assert_eq!(stderr(&output), "1 packets captured, 0 lost\n");
    assert_eq!(output.stdout[..4], written[..4]);
    let output = daemon.run(&[&of[..], &["count=2", "--json", "-q"]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["lost"], 7);

    for (words, status, said) in [
        (&["tunnel_name=office", "session_id=404"][..], 3, "no such"),
        (&["tunnel_name=office"], 2, "session_id or session_name"),
        (&["session_id=1"], 2, "tunnel_id or tunnel_name"),
        (&["tunnel_name=office", "session_id=x"], 2, "number"),
        (
            &["tunnel_name=office", "session_id=1", "count=0"],
            2,
            "count",
        ),
    ] {
        let output = daemon.run(&[&["session", "capture"], words].concat());
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    let output = daemon.run(&["tunnel", "list", "-w", name]);
    assert_eq!(output.status.code(), Some(2));
}
