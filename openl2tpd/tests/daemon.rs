//! The program as it is started, asked and ended: two of them over the loopback, without privilege and so without traffic.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use api::{
    Client, ClientError, Collection, DatapathStatus, ErrorKind, Method, Parameters, Range, Request,
    Selector, SessionFilter, SessionState, SessionStatus, Statistics, TunnelFilter, TunnelStatus,
    UserFilter, UserStatus,
};
use common::{PATIENCE, Place, all, parameters};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::{Value, json};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const LNS: &str = "ip_pool create pool_name=p range=10.99.0.2-10.99.0.9
ppp profile modify profile_name=default local_ipaddr=10.99.0.1 ip_pool_name=p use_ipv6=no
tunnel profile modify profile_name=default auth_mode=challenge secret=tunnelsecret
user create user_name=bob password=hunter2
";

fn lac(port: u16) -> String {
    format!(
        "tunnel create tunnel_name=t dest_ipaddr=127.0.0.1 peer_udp_port={port} auth_mode=challenge secret=tunnelsecret
session create tunnel_name=t session_name=s user_name=bob user_password=hunter2
"
    )
}

#[test]
fn a_configured_session_comes_up_and_goes_down_with_the_daemon() {
    let (lns_place, lac_place) = (Place::new(), Place::new());
    let lns = lns_place.start(LNS);
    let lac = lac_place.start(&lac(lns_place.port));
    lac.until(" up: user bob");
    lns.until(" up: user bob");

    let sessions: Vec<SessionStatus> = all(
        &lns_place,
        Request::SessionList(SessionFilter::default(), Range::default()),
    );
    assert_eq!(sessions[0].state, SessionState::Established);
    assert_eq!(sessions[0].datapath, "null");
    let users = Request::UserList(UserFilter::default(), Range::default());
    let users: Vec<UserStatus> = all(&lns_place, users);
    assert_eq!(
        (users[0].user_name.as_str(), users[0].remote.port()),
        ("bob", lac_place.port)
    );
    let name = |name: &str| Selector::Name(name.to_owned());
    let session: SessionStatus = lac_place
        .client()
        .call(&Request::SessionShow(name("t"), name("s")))
        .unwrap();
    assert_eq!(session.remote_ipaddr, Some("10.99.0.1".parse().unwrap()));
    let captured = |session: &str| {
        let client = lac_place.client();
        let of = (&name("t"), &name(session));
        let refused = client.capture(of, |packet| panic!("{packet:?}"));
        refused.unwrap_err().to_string()
    };
    assert!(captured("s").contains("null carries nothing"));
    assert!(captured("x").contains("named x"));
    let statistics: Statistics = lns_place.client().call(&Request::SystemStatistics).unwrap();
    assert_eq!(statistics.0["dropped.backlog"], 0);
    let datapath: DatapathStatus = lns_place.client().call(&Request::SystemDatapath).unwrap();
    assert_eq!(datapath.shared_device, "null");
    let engines: Vec<_> = datapath.engines.iter().map(|e| e.engine.as_str()).collect();
    assert_eq!(engines, ["kernel", "ebpf", "tun"]);

    lac.end();
    lns.until("down: user bob");
    let gone = ["pid", "socket"].map(|name| !lac_place.file(name).exists());
    assert_eq!(gone, [true, true]);
    lns.end();
}

#[test]
fn the_port_of_the_command_line_is_the_one_that_is_served_and_shown() {
    let place = Place::new();
    let daemon = place.start("");
    let parameters: Value = place.client().call(&Request::SystemParameters).unwrap();
    assert_eq!(parameters["udp_port"], place.port);
    let taken = UdpSocket::bind(("0.0.0.0", place.port)).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    daemon.end();
}

#[test]
fn tunnels_and_sessions_are_made_and_ended_on_request() {
    let (lns_place, lac_place, other) = (Place::new(), Place::new(), Place::new());
    let lns = lns_place.start(
        "tunnel profile modify profile_name=default\nuser create user_name=bob password=hunter2\n",
    );
    let lac = lac_place.start("");
    let client = lac_place.client();
    let tunnel: TunnelStatus = client
        .call(&Request::TunnelCreate(parameters([
            ("tunnel_name", json!("by name")),
            ("dest_ipaddr", json!("localhost")),
            ("peer_udp_port", json!(lns_place.port)),
            ("our_udp_port", json!(other.port)),
            ("persist", json!(true)),
        ])))
        .unwrap();
    assert_eq!(tunnel.tunnel_name.as_deref(), Some("by name"));
    lac.until(" up: ");
    let tunnels = Request::TunnelList(TunnelFilter::default(), Range::default());
    let tunnels: Vec<TunnelStatus> = all(&lns_place, tunnels);
    assert_eq!(
        tunnels[0].remote.unwrap().port(),
        other.port,
        "it starts from the port that was asked for"
    );

    let by_name = Selector::Name("by name".to_owned());
    let session = parameters([
        ("user_name", json!("bob")),
        ("user_password", json!("wrong")),
    ]);
    client
        .call::<SessionStatus>(&Request::SessionCreate(by_name.clone(), session))
        .unwrap();
    lns.until("failed to authenticate");

    client
        .call::<()>(&Request::TunnelDelete(by_name.clone()))
        .unwrap();
    lns.until(" down: ");
    let error = client
        .call::<TunnelStatus>(&Request::TunnelShow(by_name))
        .unwrap_err();
    assert!(matches!(error, ClientError::Refused(e) if e.kind == ErrorKind::NotFound));
}

#[test]
fn the_configuration_changes_as_a_whole_and_shows_no_secret() {
    let place = Place::new();
    let daemon = place.start(LNS);
    let client = place.client();
    let users = Collection::Users;
    let user = || parameters([("user_name", json!("al")), ("password", json!("sesame"))]);
    client
        .call::<()>(&Request::ObjectCreate(users, user()))
        .unwrap();
    let shown: Parameters = client
        .call(&Request::ObjectShow(users, "al".to_owned()))
        .unwrap();
    assert_eq!(shown["password"], json!(config::MASK));
    let profiles = Request::ObjectList(Collection::TunnelProfiles, Range::default());
    let profiles: Vec<Parameters> = all(&place, profiles);
    assert!(!format!("{profiles:?}").contains("tunnelsecret"));

    let profile = || (Collection::PppProfiles, "default".to_owned());
    let change = parameters([("mtu", json!(1400)), ("ip_pool_name", Value::Null)]);
    client
        .call::<()>(&Request::ObjectModify(profile().0, profile().1, change))
        .unwrap();
    let changed: Parameters = client
        .call(&Request::ObjectShow(profile().0, profile().1))
        .unwrap();
    assert_eq!(
        (&changed["mtu"], &changed["ip_pool_name"]),
        (&json!(1400), &Value::Null)
    );

    let tunnel = [
        ("tunnel_name", json!("a")),
        ("persist", json!(true)),
        ("dest_ipaddr", json!("192.0.2.9")),
    ];
    client
        .call::<Value>(&Request::TunnelCreate(parameters(tunnel)))
        .unwrap();
    let renamed = |name| {
        Request::TunnelModify(
            Selector::Name("a".to_owned()),
            parameters([("tunnel_name", name)]),
        )
    };
    // The second half is wrong, so the first does not happen.
    let change = parameters([("mtu", json!(1300)), ("mru", json!("large"))]);
    for (request, kind) in [
        (
            Request::ObjectModify(profile().0, profile().1, change),
            ErrorKind::Invalid,
        ),
        (Request::ObjectCreate(users, user()), ErrorKind::Exists),
        (
            Request::ObjectDelete(users, "nobody".to_owned()),
            ErrorKind::NotFound,
        ),
        (
            Request::ObjectModify(users, "nobody".to_owned(), Parameters::new()),
            ErrorKind::NotFound,
        ),
        (
            Request::ObjectModify(
                users,
                "al".to_owned(),
                parameters([("user_name", json!("eve"))]),
            ),
            ErrorKind::Invalid,
        ),
        (
            Request::ObjectDelete(profile().0, profile().1),
            ErrorKind::Invalid,
        ),
        (
            Request::TunnelCreate(parameters([("x\" y", json!(1))])),
            ErrorKind::Invalid,
        ),
        (
            Request::TunnelCreate(parameters([("dest_ipaddr", json!("a\nb"))])),
            ErrorKind::Invalid,
        ),
        (renamed(json!(7.5)), ErrorKind::Invalid),
        (renamed(json!(["b"])), ErrorKind::Invalid),
        (renamed(Value::Null), ErrorKind::Invalid),
    ] {
        let error = client
            .call::<Value>(&request)
            .expect_err(&format!("{request:?}"));
        assert!(
            matches!(&error, ClientError::Refused(e) if e.kind == kind),
            "{request:?}: {error}"
        );
    }
    let unchanged: Parameters = client
        .call(&Request::ObjectShow(profile().0, profile().1))
        .unwrap();
    assert_eq!(unchanged["mtu"], json!(1400));
    client.call::<Value>(&renamed(json!("b"))).unwrap();
    let show = Request::TunnelShow(Selector::Name("b".to_owned()));
    client.call::<Value>(&show).unwrap();
    daemon.end();
}

#[test]
fn values_have_the_types_of_json_and_names_are_written_out() {
    let place = Place::new();
    let daemon = place.start("");
    let client = place.client();
    let make = |given: Parameters| {
        let request = Request::ObjectCreate(Collection::PppProfiles, given);
        client.call::<()>(&request)
    };
    let mut name = 0;
    let mut with = |parameter: &str, value: Value| {
        name += 1;
        let name = json!(format!("p{name}"));
        make(parameters([("profile_name", name), (parameter, value)]))
    };
    for (parameter, value) in [
        ("mtu", json!(1400)),
        ("mtu", json!("1400")),
        ("mtu", Value::Null),
        ("use_ipv6", json!(false)),
        ("use_ipv6", json!("no")),
        ("trace_flags", json!(1)),
        ("local_name", json!("17")),
    ] {
        let taken = with(parameter, value.clone());
        assert!(taken.is_ok(), "{parameter} {value}: {taken:?}");
    }
    for (parameter, value) in [
        ("mtu", json!(1400.5)),
        ("mtu", json!(true)),
        ("mtu", json!([1400])),
        ("use_ipv6", json!(0)),
        ("local_name", json!(17)),
        ("local_name", json!({ "a": 1 })),
        ("sync_mode", json!(["sync"])),
        ("local_n", json!("me")),
    ] {
        let refused = with(parameter, value.clone()).unwrap_err();
        assert!(
            matches!(&refused, ClientError::Refused(e) if e.kind == ErrorKind::Invalid),
            "{parameter} {value}: {refused}"
        );
    }
    daemon.end();
}

#[test]
fn what_is_saved_is_what_was_opened_here_as_it_is_now() {
    let place = Place::new();
    let daemon = place.start(
        "tunnel create tunnel_name=file dest_ipaddr=127.0.0.9 persist=yes secret=s3cret\n\
         tunnel create tunnel_name=gone dest_ipaddr=127.0.0.9 persist=yes\n\
         session create tunnel_name=file session_name=kept\n\
         session create tunnel_name=file session_name=lost\n",
    );
    let client = place.client();
    let call = |request| client.call::<Value>(&request).unwrap();
    let named = |name: &str| Selector::Name(name.to_owned());
    let persist = ("persist", json!(true));
    let listed = Request::SessionList(SessionFilter::default(), Range::default());
    // The file's are opened one after the other.
    while all::<SessionStatus>(&place, listed.clone()).len() < 2 {}
    let name = ("tunnel_name", json!("a b"));
    let peer = ("dest_ipaddr", json!("127.0.0.8"));
    call(Request::TunnelCreate(parameters([
        name,
        peer.clone(),
        persist.clone(),
    ])));
    let nameless = call(Request::TunnelCreate(parameters([peer, persist])));
    let id = Selector::Id(nameless["tunnel_id"].as_u64().unwrap() as u16);
    let password = ("user_password", json!("hidden"));
    call(Request::SessionCreate(named("a b"), parameters([password])));
    call(Request::SessionCreate(id, parameters([])));
    let hello = parameters([("hello_timeout", json!(77))]);
    call(Request::TunnelModify(named("file"), hello));
    let numbers = parameters([("reorder_timeout", json!(55))]);
    call(Request::SessionModify(
        named("file"),
        named("kept"),
        numbers,
    ));
    call(Request::SessionDelete(named("file"), named("lost")));
    call(Request::TunnelDelete(named("gone")));
    // More than a shard tells at once.
    for number in 0..300 {
        let name = ("session_name", json!(format!("s{number}")));
        call(Request::SessionCreate(named("a b"), parameters([name])));
    }
    let saved = client.ask(Method::GET, "/v1/config/file", None).unwrap();
    daemon.end();
    assert!(saved.contains("secret=\"s3cret\"") && saved.contains("user_password=\"hidden\""));
    let model = config::Model::load("saved", &saved).unwrap().model;
    let names: Vec<_> = model.tunnels.iter().map(|t| t.tunnel_name()).collect();
    assert_eq!(names, [Some("file"), Some("a b"), Some("tunnel-1")]);
    assert!(model.tunnels.iter().all(|t| t.config_id.is_none()));
    let file = &model.tunnels[0].params;
    assert_eq!(
        (file.secret().is_some(), file.hello_timeout),
        (true, Some(77))
    );
    assert_eq!(model.sessions.len(), 303);
    let (kept, hidden) = (&model.sessions[0], &model.sessions[1]);
    assert_eq!(
        (kept.session_name(), kept.params.reorder_timeout),
        (Some("kept"), Some(55))
    );
    assert_eq!(
        (
            hidden.tunnel_name(),
            hidden.params.user_password().is_some()
        ),
        (Some("a b"), true)
    );
    assert_eq!(model.sessions[302].tunnel_name(), Some("tunnel-1"));
    // Another daemon is by it as this one was.
    let daemon = place.start(&saved);
    while all::<SessionStatus>(&place, listed.clone()).len() < 303 {}
    let again = place.client().ask(Method::GET, "/v1/config/file", None);
    assert_eq!(again.unwrap(), saved);
    daemon.end();
}

#[test]
fn an_address_that_is_taken_or_not_ours_is_the_fault_of_who_asks_for_it() {
    let place = Place::new();
    let daemon = place.start("");
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (address, kind) in [
        ("0.0.0.0", ErrorKind::Exists),
        ("192.0.2.1", ErrorKind::Invalid),
    ] {
        let listener = [
            ("listener_name", json!("l")),
            ("ipaddr", json!(address)),
            ("udp_port", json!(port)),
        ];
        let request = Request::ObjectCreate(Collection::Listeners, parameters(listener));
        let refused = place.client().call::<()>(&request).unwrap_err();
        assert!(
            matches!(&refused, ClientError::Refused(e) if e.kind == kind),
            "{address}: {refused}"
        );
    }
    daemon.end();
}

#[test]
fn reset_statistics_of_the_system_counts_from_zero_again() {
    let place = Place::new();
    let daemon = place.start(LNS);
    let client = place.client();
    let stray = UdpSocket::bind("127.0.0.1:0").unwrap();
    stray
        .send_to(
            &[0xc8, 2, 0, 12, 0, 9, 0, 0, 0, 0, 0, 0],
            ("127.0.0.1", place.port),
        )
        .unwrap();
    let counted = || {
        let all: Statistics = client.call(&Request::SystemStatistics).unwrap();
        all.0["datagrams.unknown_tunnel"]
    };
    while counted() == 0 {}
    let reset = |value: bool| {
        let change = parameters([("reset_statistics", json!(value))]);
        client.call::<()>(&Request::SystemModify(change)).unwrap();
    };
    reset(false);
    assert_eq!(counted(), 1);
    reset(true);
    assert_eq!(counted(), 0);
    daemon.end();
}

/// The head and the body of an answer to `GET /metrics`.
fn metrics(place: &Place, socket: &str, accept: &str) -> (String, String) {
    let mut stream = UnixStream::connect(place.file(socket)).unwrap();
    let request = format!(
        "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: {accept}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    (head.to_owned(), body.to_owned())
}

#[test]
fn metrics_are_on_both_sockets_and_go_on_whatever_is_reset() {
    let (lns_place, lac_place) = (Place::new(), Place::new());
    let mut command = lns_place.command(LNS);
    command.args(["--read-only-socket", "look"]);
    let lns = Place::run(command);
    let lac = lac_place.start(&lac(lns_place.port));
    lac.until(" up: user bob");
    lns.until(" up: user bob");

    let secret = ["tunnelsecret", "hunter2", "bob"];
    let counters = |body: &str| -> BTreeMap<String, f64> {
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        let pairs = samples.map(|line| line.rsplit_once(' ').unwrap());
        let counters =
            pairs.filter(|(name, _)| name.split('{').next().unwrap().ends_with("_total"));
        counters
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    };
    let (head, before) = metrics(
        &lns_place,
        "look",
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
    );
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(before.ends_with("# EOF\n"));
    assert!(secret.iter().all(|word| !before.contains(word)));
    for line in [
        "openl2tp_tunnels{state=\"established\"} 1",
        "openl2tp_sessions{state=\"established\"} 1",
        "openl2tp_authentications_total{result=\"accepted\"} 1",
        "openl2tp_control_messages_total{type=\"iccn\",direction=\"received\"} 1",
        "openl2tp_session_setups_total{result=\"established\"} 1",
    ] {
        assert!(before.lines().any(|l| l == line), "{line}\n{before}");
    }
    lns_place
        .client()
        .call::<()>(&Request::StatisticsReset)
        .unwrap();
    let (head, after) = metrics(&lns_place, "socket", "text/plain;version=0.0.4");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    let (before, after) = (counters(&before), counters(&after));
    assert!(before.len() > 100 && before.keys().eq(after.keys()));
    for (name, value) in &before {
        assert!(after[name] >= *value, "{name}");
    }
    lac.end();
    lns.end();
}

#[test]
fn a_hang_up_does_not_end_it() {
    let place = Place::new();
    let daemon = place.start("");
    daemon.signal(Signal::HUP);
    daemon.until("SIGHUP");
    daemon.end();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (lns_place, lac_place) = (Place::new(), Place::new());
    let lns = lns_place.start(LNS);
    let mut daemon = lac_place.start(&lac(lns_place.port));
    daemon.until(" up: user bob");
    lns.fall_silent();
    daemon.signal(Signal::TERM);
    daemon.until("closing every tunnel");
    daemon.signal(Signal::INT);
    daemon.until("ended at once");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(1));
}

#[test]
fn in_the_background_it_serves_when_the_start_returns() {
    let place = Place::new();
    fs::write(place.file("pid"), "1\n").unwrap();
    let start = || {
        place
            .command("")
            .arg("--log")
            .arg(place.file("log"))
            .output()
            .unwrap()
    };
    let first = start();
    assert!(first.status.success(), "{}", stderr(&first));
    place.client().call::<Value>(&Request::SystemShow).unwrap();

    let pid: i32 = fs::read_to_string(place.file("pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let second = start();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr(&second).starts_with(&format!("openl2tpd: already running as process {pid}")),
        "{}",
        stderr(&second)
    );

    let pid = Pid::from_raw(pid).unwrap();
    let ended = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let mut events = [rustix::event::PollFd::new(
        &ended,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut events, Some(&PATIENCE.try_into().unwrap())).unwrap();
    assert!(!place.file("pid").exists() && !place.file("socket").exists());
    assert!(
        fs::read_to_string(place.file("log"))
            .unwrap()
            .contains("serves UDP port")
    );
}

#[test]
fn it_takes_all_the_descriptors_that_it_may_have() {
    let place = Place::new();
    let daemon = place.command("");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -n 64; exec \"$0\" \"$@\""]);
    command.arg(daemon.get_program()).args(daemon.get_args());
    command.current_dir(place.directory.path());
    let daemon = Place::run(command);
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.child.id())).unwrap();
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    let mut limits = files.split_whitespace();
    assert_eq!(limits.next(), limits.next(), "{files}");
    daemon.end();
}

#[test]
fn a_wrong_configuration_is_said_with_its_place_and_starts_nothing() {
    let place = Place::new();
    for detached in [false, true] {
        let mut command = place.command("system modify max_tunels=1\n");
        let output = if detached {
            command.output()
        } else {
            command.arg("-f").output()
        }
        .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).contains("conf:1:15: "),
            "{}",
            stderr(&output)
        );
        assert!(!place.file("pid").exists());
    }
    let missing = Command::new(env!("CARGO_BIN_EXE_openl2tpd"))
        .args(["-f", "-c", "/nonexistent"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn checking_a_file_starts_nothing() {
    let place = Place::new();
    let check = |text: &str| {
        fs::write(place.file("conf"), text).unwrap();
        Command::new(env!("CARGO_BIN_EXE_openl2tpd"))
            .arg("--check")
            .arg(place.file("conf"))
            .output()
            .unwrap()
    };
    let right = check(LNS);
    assert!(right.status.success() && right.stderr.is_empty());
    let odd = check("system modify tunnel_persist_pend_timeout=0\n");
    assert!(odd.status.success());
    assert!(
        stderr(&odd).contains(
            "conf:1:43: warning: tunnel_persist_pend_timeout takes 1 to 86400: 1 is taken for 0"
        ),
        "{}",
        stderr(&odd)
    );
    let wrong = check("user create user_name=bob\nppp profile modify profile_name=x\n");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        stderr(&wrong).contains("conf:1:1: ") && stderr(&wrong).contains("conf:2:"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn files_are_included_from_where_the_including_one_is() {
    let place = Place::new();
    let folder = place.file("conf.d");
    fs::create_dir_all(folder.join("sub.conf")).unwrap();
    let write = |name: &str, text: &str| fs::write(place.file(name), text).unwrap();
    let check = || {
        Command::new(env!("CARGO_BIN_EXE_openl2tpd"))
            .arg("--check")
            .arg(place.file("conf"))
            .output()
            .unwrap()
    };
    write("conf", "include \"conf.d/*.conf\"\n");
    assert!(check().status.success(), "nothing matches");
    write("conf.d/.hidden.conf", "bogus");
    write(
        "conf.d/b.conf",
        "tunnel profile modify profile_name=isp mtu=1400",
    );
    write("conf.d/a.conf", "include ../isp\n");
    write("isp", "tunnel profile create profile_name=isp");
    let sorted = check();
    assert!(sorted.status.success(), "{}", stderr(&sorted));
    write("isp", "bogus");
    assert!(stderr(&check()).contains("/isp:1:1: "));
    write("isp", "include conf.d/a.conf");
    let circle = check();
    assert_eq!(circle.status.code(), Some(2));
    assert!(
        stderr(&circle).contains("a.conf includes itself: "),
        "{}",
        stderr(&circle)
    );
    fs::remove_file(place.file("isp")).unwrap();
    let missing = check();
    assert!(
        stderr(&missing).contains("a.conf:1:9: cannot read "),
        "{}",
        stderr(&missing)
    );
    // It has no blocks: only its length is large.
    fs::File::create(place.file("isp"))
        .unwrap()
        .set_len((64 << 20) + 1)
        .unwrap();
    assert!(stderr(&check()).contains("it is larger than 64 MiB"));
}

#[test]
fn a_port_that_somebody_has_is_an_error() {
    let place = Place::new();
    let _somebody = UdpSocket::bind(("0.0.0.0", place.port)).unwrap();
    let mut child = place
        .command("")
        .arg("-f")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(
        said.contains(&place.port.to_string())
            && said.contains("in use")
            && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn sockets_are_their_owners_or_a_groups_and_one_may_be_read_only() {
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let place = Place::new();
    place
        .start("")
        .end_after(|| assert_eq!(mode(place.file("socket")), 0o600));

    let group = rustix::process::getegid().as_raw().to_string();
    let mut command = place.command("");
    command.args(["--socket-group", &group]);
    command.args(["--read-only-socket", "readers/socket"]);
    command.args(["--read-only-group", &group]);
    Place::run(command).end_after(|| {
        assert_eq!(mode(place.file("socket")), 0o660);
        assert_eq!(mode(place.file("readers/socket")), 0o660);
        assert_eq!(mode(place.file("readers")), 0o755);
        let readers = Client::new(&place.file("readers/socket")).unwrap();
        readers.call::<Value>(&Request::SystemShow).unwrap();
        for refused in [Request::StatisticsReset, Request::ConfigFile] {
            let error = readers.call::<Value>(&refused).unwrap_err();
            let ClientError::Refused(error) = error else {
                panic!("{error}");
            };
            assert_eq!(error.kind, ErrorKind::Forbidden);
        }
        place
            .client()
            .call::<Value>(&Request::StatisticsReset)
            .unwrap();
    });
    assert!(!place.file("socket").exists() && !place.file("readers/socket").exists());
}

/// Starts with a pppd at such a path; what the log says of it.
fn said_of_pppd(configuration: &str, options: &[&str]) -> Vec<String> {
    let place = Place::new();
    let mut command = place.command(configuration);
    command.args(options).arg("-f").stderr(Stdio::piped());
    let mut daemon = command.spawn().unwrap();
    let log = BufReader::new(daemon.stderr.take().unwrap());
    let lines = log.lines().map_while(Result::ok);
    let start = lines.take_while(|line| !line.contains("serves UDP port"));
    let said = start
        .filter(|line| line.contains("pppd"))
        .collect::<Vec<_>>();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    said
}

#[test]
fn a_pppd_that_is_not_there_or_of_no_use_is_said_at_start_to_who_wants_it() {
    const WANTED: &str = "ppp profile create profile_name=outside ppp_engine=pppd\n";
    let absent = ["--pppd", "/nonexistent/pppd"];
    let named = said_of_pppd("", &absent);
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(
        named[0].contains("WARN") && named[0].contains("cannot run /nonexistent/pppd"),
        "{named:?}"
    );
    let wanted = said_of_pppd(WANTED, &absent);
    assert!(
        wanted[0].contains("ERROR") && wanted[0].contains("ppp profile outside"),
        "{wanted:?}"
    );
    let no_plugins = ["--pppd", "/bin/true", "--pppd-plugins", "/nonexistent"];
    let said = said_of_pppd(WANTED, &no_plugins);
    assert!(
        said[0].contains("cannot load /nonexistent/pppol2tp.so"),
        "{said:?}"
    );
    assert!(said_of_pppd("", &[]).is_empty());
}
