//! What the log and those who follow messages get to see, and that no secret is in it.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use api::{
    Client, Collection, Followed, Parameters, Range, Request, Selector, SessionFilter,
    SessionStatus, TraceEvent, TraceOf, TraceRequest, TunnelFilter, TunnelStatus, UserFilter,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon, and the lines of its log.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    directory: TempDir,
    port: u16,
}

impl Daemon {
    fn start(configuration: &str, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        fs::write(directory.path().join("conf"), configuration).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_openl2tpd"))
            .args(["--datapath", "null", "-u", &port.to_string()])
            .args(["-f", "-c", "conf", "-P", "pid", "--socket", "socket"])
            .args(flags)
            .current_dir(directory.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut lines = log.lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
        let mut daemon = Self {
            child,
            lines,
            seen: Vec::new(),
            directory,
            port,
        };
        daemon.until("serves UDP port");
        daemon
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn client(&self) -> Client {
        Client::new(&self.socket()).unwrap()
    }

    /// Waits for a line with `text`; how many lines came before it.
    fn until(&mut self, text: &str) -> usize {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(_) => panic!("no line with `{text}` in:\n{}", self.seen.join("\n")),
            }
            if self.seen.last().is_some_and(|line| line.contains(text)) {
                return self.seen.len() - 1;
            }
        }
    }

    /// Ends it in order; all that it ever said.
    fn end(&mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        self.seen.extend(self.lines.iter());
        self.seen.join("\n")
    }

    /// Follows messages until the daemon ends.
    fn follow(&self, of: TraceOf) -> Following {
        let client = self.client();
        let (sender, names) = channel();
        let events = thread::spawn(move || {
            let mut events = Vec::new();
            let request = TraceRequest { of, ppp: true };
            let each = |followed| {
                if let Followed::Item(event) = followed {
                    let event: TraceEvent = event;
                    // Nobody may wait for one any more.
                    let _ = sender.send(event.name.clone());
                    events.push(event);
                }
                ControlFlow::Continue(())
            };
            // The daemon's end may cut the last one short.
            let _ = client.trace(&request, each);
            events
        });
        Following { events, names }
    }
}

/// Somebody who follows messages.
struct Following {
    events: thread::JoinHandle<Vec<TraceEvent>>,
    /// What they are called, as they come.
    names: Receiver<String>,
}

impl Following {
    /// Waits for a message.
    fn until(&self, name: &str) {
        while self.names.recv_timeout(PATIENCE).unwrap() != name {}
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn name(name: &str) -> Selector {
    Selector::Name(name.to_owned())
}

fn parameters<const N: usize>(of: [(&str, Value); N]) -> Parameters {
    let named = of.into_iter().map(|(name, value)| (name.to_owned(), value));
    named.collect()
}

/// Whatever none may see.
const SECRETS: [&str; 5] = [
    "tunn3l-s3cret",
    "p4p-passw0rd",
    "ch4p-passw0rd",
    "msch4p-passw0rd",
    "wr0ng-passw0rd",
];

/// An LNS that all of [`clients`] can log in to.
const LNS: &str = "
ip_pool create pool_name=p range=10.99.0.2-10.99.0.9
ppp profile modify profile_name=default local_ipaddr=10.99.0.1 ip_pool_name=p use_ipv6=no
tunnel profile modify profile_name=default auth_mode=challenge secret=tunn3l-s3cret hide_avps=yes
user create user_name=pap password=p4p-passw0rd
user create user_name=chap password=ch4p-passw0rd
user create user_name=mschap password=msch4p-passw0rd
";

/// A tunnel of which everything is secret, and a session of every kind of authentication; one of them fails, again and again.
fn clients(port: u16) -> String {
    let tunnel = format!(
        "tunnel create tunnel_name=t dest_ipaddr=127.0.0.1 peer_udp_port={port} persist=yes auth_mode=challenge secret=tunn3l-s3cret hide_avps=yes\n"
    );
    let client = |name: &str, user: &str, password: &str, no: &str| {
        format!(
            "ppp profile create profile_name={name} use_ipv6=no {no}
            session create tunnel_name=t session_name={name} user_name={user} user_password={password} ppp_profile_name={name}\n"
        )
    };
    tunnel
        + &client(
            "pap",
            "pap",
            "p4p-passw0rd",
            "auth_chap=no auth_mschapv2=no",
        )
        + &client(
            "chap",
            "chap",
            "ch4p-passw0rd",
            "auth_pap=no auth_mschapv2=no",
        )
        + &client(
            "mschap",
            "mschap",
            "msch4p-passw0rd",
            "auth_pap=no auth_chap=no",
        )
        + &client(
            "wrong",
            "pap",
            "wr0ng-passw0rd",
            "auth_chap=no auth_mschapv2=no",
        )
}

#[test]
fn no_secret_is_ever_shown() {
    let mut lns = Daemon::start(LNS, &["-D"]);
    let of_lns = lns.follow(TraceOf::Peer("127.0.0.1".parse().unwrap()));
    let mut lac = Daemon::start(&clients(lns.port), &["-D"]);
    let of_lac = lac.follow(TraceOf::Tunnel(name("t")));
    for user in ["pap", "chap", "mschap"] {
        let list = Request::SessionList(SessionFilter::default(), Range::default());
        let up = lac
            .client()
            .list::<SessionStatus>(list)
            .map(Result::unwrap)
            .any(|s| s.session_name.as_deref() == Some(user) && s.interface_name.is_some());
        if !up
            && !lac
                .seen
                .iter()
                .any(|line| line.contains(&format!("up: user {user}")))
        {
            lac.until(&format!("up: user {user}"));
        }
    }
    lns.until("user pap failed to authenticate");
    // They may have begun to follow when the first were over.
    for following in [&of_lac, &of_lns] {
        following.until("PAP Authenticate-Request");
    }

    let mut output = String::new();
    for daemon in [&lns, &lac] {
        let client = daemon.client();
        let asked = [
            Request::TunnelList(TunnelFilter::default(), Range::default()),
            Request::SessionList(SessionFilter::default(), Range::default()),
            Request::UserList(UserFilter::default(), Range::default()),
            Request::SystemShow,
            Request::SystemStatistics,
            Request::SystemParameters,
        ];
        let kept = api::Collection::ALL.map(|kept| Request::ObjectList(kept, Range::default()));
        for request in asked.iter().chain(&kept) {
            output += &client.call::<Value>(request).unwrap().to_string();
        }
    }
    output += &lac.end();
    output += &lns.end();
    for events in [of_lac, of_lns].map(|of| of.events.join().unwrap()) {
        let names: Vec<_> = events.iter().map(|event| event.name.as_str()).collect();
        assert!(names.contains(&"PAP Authenticate-Request"), "{names:?}");
        for event in &events {
            output += &serde_json::to_string(event).unwrap();
        }
    }
    for category in [
        "hidden",
        "hides",
        "PAP Authenticate-Request",
        "-> established",
        "Random Vector",
    ] {
        assert!(output.contains(category), "{category}");
    }
    for secret in SECRETS {
        let hex: String = secret.bytes().map(|octet| format!("{octet:02x}")).collect();
        let list = format!("{:?}", secret.as_bytes());
        for form in [secret, &hex, &list[1..list.len() - 1]] {
            assert!(!output.contains(form), "{secret} is shown as {form}");
        }
    }
}

#[test]
fn flags_change_while_everything_runs() {
    let lns = Daemon::start("user create user_name=bob password=hunter2\n", &[]);
    let mut lac = Daemon::start("", &[]);
    let client = lac.client();
    let create = |tunnel: &str, flags: &str| {
        let request = Request::TunnelCreate(parameters([
            ("tunnel_name", json!(tunnel)),
            ("dest_ipaddr", json!("127.0.0.1")),
            ("peer_udp_port", json!(lns.port)),
            ("trace_flags", json!(flags)),
        ]));
        client.call::<TunnelStatus>(&request).unwrap()
    };
    let delete = |tunnel: &str| {
        client
            .call::<()>(&Request::TunnelDelete(name(tunnel)))
            .unwrap();
    };
    let silent = create("silent", "0");
    let loud = create("loud", "protocol,fsm");
    let id = loud.tunnel_id.unwrap();
    lac.until(&format!("wait-ctl-reply -> established tunnel={id}"));
    assert!(
        lac.seen
            .iter()
            .any(|line| line.contains("SCCRP") && line.contains(&format!("tunnel={id}")))
    );
    let of_silent = format!("tunnel={}", silent.tunnel_id.unwrap());
    assert!(!lac.seen.iter().any(|line| line.contains(&of_silent)));

    // The system's flags are everybody's, from the next message on.
    let system = |flags: &str| {
        let change = parameters([("trace_flags", json!(flags))]);
        client.call::<()>(&Request::SystemModify(change)).unwrap();
    };
    system("protocol,api");
    delete("silent");
    lac.until("StopCCN");
    assert!(lac.seen.iter().any(|line| line.contains(&of_silent)));
    system("0");

    let profile = parameters([("trace_flags", json!("fsm"))]);
    let modify = Request::ObjectModify(Collection::TunnelProfiles, "default".to_owned(), profile);
    client.call::<()>(&modify).unwrap();
    let before = lac.seen.len();
    let request = Request::TunnelCreate(parameters([
        ("tunnel_name", json!("next")),
        ("dest_ipaddr", json!("127.0.0.1")),
        ("peer_udp_port", json!(lns.port)),
    ]));
    let next = client
        .call::<TunnelStatus>(&request)
        .unwrap()
        .tunnel_id
        .unwrap();
    lac.until(&format!("wait-ctl-reply -> established tunnel={next}"));
    let lines = lac.seen[before..].iter();
    assert_eq!(
        lines.filter(|line| line.contains("SCCRQ")).count(),
        0,
        "fsm is not protocol"
    );
}

#[test]
fn more_than_enough_may_follow_and_no_more() {
    let daemon = Daemon::start("", &[]);
    let follow = || {
        let mut stream = UnixStream::connect(daemon.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = "GET /v1/trace?peer=192.0.2.1 HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (String::from_utf8_lossy(&status).into_owned(), stream)
    };
    let mut streams: Vec<_> = (0..64).map(|_| follow()).collect();
    assert!(streams.iter().all(|(status, _)| status == "HTTP/1.1 200"));
    assert_eq!(follow().0, "HTTP/1.1 503");
    // The place of one that has gone is free once that is noticed.
    streams.pop();
    assert!((0..100_000).any(|_| follow().0 == "HTTP/1.1 200"));
}
