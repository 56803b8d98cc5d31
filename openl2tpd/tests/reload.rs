//! What reading the configuration file again touches: of every parameter what the manual's table says, of tunnels and sessions that are up.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;

use api::{
    ClientError, Collection, ReloadReport, Request, Selector, SessionState, SessionStatus,
    TunnelState, TunnelStatus,
};
use common::{Daemon, Place, free_port, parameters};
use config::{Kind, Object, Parameter, Role, Touches};
use serde_json::json;

/// The other end: it serves sessions, and takes calls that are for it to dial.
const PEER: &str = "
    ip_pool create pool_name=p range=10.98.0.2-10.98.255.254
    ppp profile modify profile_name=default ip_pool_name=p
    tunnel profile modify profile_name=default secret=known
    user create user_name=bob password=known
    user create user_name=bobby password=known
    session profile modify profile_name=default user_name=bob user_password=known
    peer profile modify profile_name=default lac_lns=laclns
";

/// What our end has beside its tunnel and its session: of each class one that is in use, and another.
const OURS: &str = "
    ip_pool create pool_name=default range=10.99.0.2-10.99.255.254
    ip_pool create pool_name=other range=10.97.0.2-10.97.255.254
    ppp profile modify profile_name=default ip_pool_name=default
    user create user_name=bob password=known
    peer profile create profile_name=other
    tunnel profile modify profile_name=default secret=known
    tunnel profile create profile_name=other
    session profile create profile_name=other
    ppp profile create profile_name=other
";

/// The parameters of our tunnel or session, by name.
type Given = BTreeMap<&'static str, String>;

/// Two daemons with a tunnel `t` between them and a session `s` in it.
struct Scene {
    daemon: Daemon,
    place: Place,
    _peer: Daemon,
    tunnel: Given,
    session: Given,
    listeners: String,
    /// Ports that nobody has.
    ports: [String; 2],
}

/// What is there: our ids of the tunnel and the session.
type Ids = [Option<u16>; 2];

fn given(parameters: &[(&'static str, &str)]) -> Given {
    let all = parameters.iter();
    all.map(|&(name, value)| (name, value.to_owned())).collect()
}

fn t() -> Selector {
    Selector::Name("t".to_owned())
}

fn s() -> Selector {
    Selector::Name("s".to_owned())
}

impl Scene {
    fn new() -> Self {
        let (there, place) = (Place::new(), Place::new());
        let peer = there.start(PEER);
        let port = there.port.to_string();
        let [first, second, third, fourth] = [(); 4].map(|()| free_port().to_string());
        let mut scene = Self {
            daemon: place.start(""),
            place,
            _peer: peer,
            tunnel: given(&[
                ("tunnel_name", "t"),
                ("dest_ipaddr", "127.0.0.1"),
                ("peer_udp_port", &port),
                ("secret", "known"),
                ("persist", "yes"),
            ]),
            session: given(&[
                ("tunnel_name", "t"),
                ("session_name", "s"),
                ("user_name", "bob"),
                ("user_password", "known"),
            ]),
            listeners: format!(
                "listener create listener_name=first ipaddr=127.0.0.1 udp_port={first}\n\
                 listener create listener_name=second ipaddr=127.0.0.1 udp_port={second}\n"
            ),
            ports: [third, fourth],
        };
        scene.reload("", "", "");
        scene.up();
        scene
    }

    /// The file, with another parameter of the tunnel, of the session, and more lines.
    fn file(&self, tunnel: &str, session: &str, more: &str) -> String {
        let line = |object: &str, given: &Given, other: &str| {
            let name = other.split('=').next().unwrap_or_default();
            let given = given.iter().filter(|(given, _)| **given != name);
            let words: String = given
                .map(|(name, value)| format!(" {name}={value}"))
                .collect();
            format!("{object} create{words} {other}\n")
        };
        let tunnel = line("tunnel", &self.tunnel, tunnel);
        let session = line("session", &self.session, session);
        format!("{OURS}{}{tunnel}{session}{more}\n", self.listeners)
    }

    /// Has the file read again, after a look at what that would do.
    fn reload(&mut self, tunnel: &str, session: &str, more: &str) -> ReloadReport {
        fs::write(self.place.file("conf"), self.file(tunnel, session, more)).unwrap();
        let client = self.place.client();
        let read = |dry_run: bool| {
            let request = Request::ConfigReload(parameters([("dry_run", json!(dry_run))]));
            client.call::<ReloadReport>(&request).unwrap()
        };
        let (would, did) = (read(true), read(false));
        assert_eq!(would.affected, did.affected);
        assert_eq!(did.failed.first, Vec::<String>::new());
        did
    }

    fn show(&self) -> (TunnelStatus, SessionStatus) {
        let client = self.place.client();
        let tunnel = client.call(&Request::TunnelShow(t())).unwrap();
        let session = client.call(&Request::SessionShow(t(), s())).unwrap();
        (tunnel, session)
    }

    /// Waits until tunnel and session are up; their ids.
    fn up(&mut self) -> Ids {
        loop {
            let (tunnel, session) = self.show();
            if tunnel.state == TunnelState::Established
                && session.state == SessionState::Established
            {
                return [tunnel.tunnel_id, session.session_id];
            }
            // Whatever happens has a line.
            self.daemon.until("");
        }
    }

    /// Two values of a parameter, with the first of which the session comes up.
    fn values(&self, parameter: &Parameter) -> [String; 2] {
        let two = |one: &str, other: &str| [one, other].map(str::to_owned);
        let [third, fourth] = &self.ports;
        match (parameter.name, parameter.kind) {
            ("dest_ipaddr" | "src_ipaddr", _) => two("127.0.0.1", "127.0.0.2"),
            ("listener_name", _) => two("first", "second"),
            ("peer_udp_port", _) => two(&self.tunnel["peer_udp_port"], fourth),
            ("our_udp_port", _) => two(third, fourth),
            ("secret" | "user_password", _) => two("known", "unknown"),
            ("user_name", _) => two("bob", "bobby"),
            ("session_type", _) => two("laic", "lnoc"),
            ("auth_mode", _) => two("none", "challenge"),
            (_, Kind::Number) => {
                let (least, most) = parameter.range.unwrap_or((0, 65_535));
                let default = parameter.default.as_ref();
                let default = default.map_or(least, |default| default.parse().unwrap());
                let one = (default + 1).min(most - 1);
                [one, one + 1].map(|value| value.to_string())
            }
            (_, Kind::Boolean) => match parameter.default.as_deref() {
                Some("yes") => two("yes", "no"),
                _ => two("no", "yes"),
            },
            (_, Kind::Choice(words)) => {
                let default = parameter.default.as_deref().unwrap_or(words[0]);
                let other = words.iter().find(|word| **word != default).unwrap();
                two(default, other)
            }
            (_, Kind::Flags(flags)) => two(flags[0].0, flags[1].0),
            (_, Kind::Name(_)) => two("default", "other"),
            (_, Kind::Address | Kind::Ipv4Address | Kind::Host) => two("10.1.1.1", "10.1.1.2"),
            (_, Kind::Netmask) => two("255.0.0.0", "255.255.0.0"),
            (_, Kind::AddressRange) => two("10.1.0.2-10.1.255.254", "10.2.0.2-10.2.255.254"),
            (_, Kind::Speed) => two("1000", "2000:3000"),
            (_, Kind::Octets | Kind::SecretOctets) => two("0206000a0000", "020600000000"),
            (_, Kind::Program) => two("/one", "/two"),
            (_, Kind::Text | Kind::Secret | Kind::Device) => two("one", "two"),
        }
    }

    /// Changes one parameter of the tunnel or the session from its first to its second value while they are up. What is reported, and the ids before.
    fn change(&mut self, object: Object, parameter: &Parameter) -> (String, ReloadReport, Ids) {
        let [first, second] = self.values(parameter);
        // Only an LNS has a say in it.
        let lns = match parameter.name {
            "use_sequence_numbers" => " session_type=lnoc",
            _ => "",
        };
        let take = |scene: &mut Self, value: &str| {
            let set = format!("{}={value}{lns}", parameter.name);
            match object {
                Object::Tunnel => scene.reload(&set, "", ""),
                _ => scene.reload("", &set, ""),
            }
        };
        take(self, &first);
        let before = self.up();
        let report = take(self, &second);
        (second, report, before)
    }
}

/// Those of an object that a file can give it and that are not its name.
fn changeable(object: Object) -> impl Iterator<Item = &'static Parameter> {
    let all = object.parameters().iter();
    all.filter(|parameter| {
        !matches!(
            parameter.role,
            Role::Key | Role::Label | Role::Id | Role::Action | Role::ReadOnly
        )
    })
}

/// The value of a parameter as JSON has it, as a file has it.
fn in_words(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Bool(true) => "yes".to_owned(),
        serde_json::Value::Bool(false) => "no".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[test]
fn a_changed_parameter_of_a_tunnel_touches_what_the_manual_says() {
    let mut scene = Scene::new();
    for parameter in changeable(Object::Tunnel) {
        let name = parameter.name;
        let (value, report, before) = scene.change(Object::Tunnel, parameter);
        let (tunnel, session) = scene.show();
        let after = [tunnel.tunnel_id, session.session_id];
        if parameter.touches(Object::Tunnel) == Touches::Restart {
            let told = "tunnel t: closed and opened again, with its sessions";
            assert_eq!(report.affected.first, [told], "{name}");
            assert_ne!(after[0], before[0], "{name}");
        } else {
            let told = "tunnel t: changed, and stays up";
            assert_eq!(report.affected.first, [told], "{name}");
            assert_eq!(after, before, "{name}");
            assert_eq!(session.state, SessionState::Established, "{name}");
        }
        match name {
            "persist" => assert!(tunnel.persist),
            "profile_name" => assert_eq!(tunnel.profile_name, value),
            "config_id" | "interface_name" => {}
            _ if parameter.is_secret() => {}
            _ => assert_eq!(in_words(&tunnel.parameters[name]), value, "{name}"),
        }
        if parameter.touches(Object::Tunnel) == Touches::Next {
            let shown = |session: &SessionStatus| match name {
                "session_profile_name" => session.profile_name.clone(),
                "ppp_profile_name" => session.ppp_profile_name.clone(),
                "interface_name" => session.interface_name.clone().unwrap(),
                other => panic!("of {other} nobody looks at the next session"),
            };
            assert_ne!(shown(&session), value);
            let client = scene.place.client();
            client
                .call::<()>(&Request::SessionDelete(t(), s()))
                .unwrap();
            let parameters = scene
                .session
                .iter()
                .filter(|given| *given.0 != "tunnel_name");
            let parameters = parameters.map(|(name, value)| ((*name).to_owned(), json!(value)));
            let create = Request::SessionCreate(t(), parameters.collect());
            client.call::<SessionStatus>(&create).unwrap();
            scene.up();
            assert!(shown(&scene.show().1).starts_with(&value), "{name}");
        }
    }
}

#[test]
fn a_changed_parameter_of_a_session_touches_what_the_manual_says() {
    let mut scene = Scene::new();
    for parameter in changeable(Object::Session) {
        let name = parameter.name;
        let (value, report, before) = scene.change(Object::Session, parameter);
        let (tunnel, session) = scene.show();
        assert_eq!(tunnel.tunnel_id, before[0], "{name}");
        match parameter.touches(Object::Session) {
            Touches::Restart => {
                let told = "session t/s: closed and opened again";
                assert_eq!(report.affected.first, [told], "{name}");
                assert_ne!(session.session_id, before[1], "{name}");
            }
            touches => {
                let told = "session t/s: changed, and stays up";
                assert_eq!(report.affected.first, [told], "{name}");
                assert_eq!(session.session_id, before[1], "{name}");
                match name {
                    // Of those that its next attempt takes the simulation looks at the next.
                    "sequencing_required" | "reorder_timeout" => {
                        assert_eq!(touches, Touches::Next, "{name}");
                    }
                    "use_sequence_numbers" => assert!(session.traffic.unwrap().tx_sequenced),
                    "trace_flags" => assert!(report.changed.first[0].ends_with(&value)),
                    other => panic!("of {other} nobody looks at the session"),
                }
            }
        }
    }
}

#[test]
fn all_else_that_changes_leaves_what_is_up_as_it_is() {
    let mut scene = Scene::new();
    let before = scene.up();
    let run_by = scene.show().0.parameters;
    for &object in Object::ALL {
        if matches!(object, Object::Tunnel | Object::Session | Object::Listener) {
            continue;
        }
        let name = match object {
            Object::User => "bob",
            _ => "default",
        };
        let key = object
            .key()
            .map_or(String::new(), |key| format!("{}={name}", key.name));
        for parameter in changeable(object) {
            let [first, second] = scene.values(parameter);
            let set = |value: &str| format!("{object} modify {key} {}={value}", parameter.name);
            scene.reload("", "", &set(&first));
            let report = scene.reload("", "", &set(&second));
            assert_eq!(report.changed.count, 1, "{object} {}", parameter.name);
            assert_eq!(report.affected.count, 0, "{object} {}", parameter.name);
            let (tunnel, session) = scene.show();
            assert_eq!([tunnel.tunnel_id, session.session_id], before);
            assert_eq!(session.state, SessionState::Established);
            assert_eq!(tunnel.parameters, run_by);
            scene.reload("", "", "");
        }
    }
}

#[test]
fn what_has_another_name_is_another() {
    let mut scene = Scene::new();
    let before = scene.up();
    let report = scene.reload("", "session_name=other", "");
    assert_eq!(
        report.affected.first,
        ["session t/s: closed", "session t/other: opened"]
    );
    let report = scene.reload("", "", "");
    assert_eq!(
        report.affected.first,
        ["session t/other: closed", "session t/s: opened"]
    );
    let ids = scene.up();
    assert_eq!(ids[0], before[0]);
    assert_ne!(ids[1], before[1]);
    // The file's session names the tunnel as it was called.
    scene.session.insert("tunnel_name", "u".to_owned());
    let report = scene.reload("tunnel_name=u", "", "");
    for told in [
        "tunnel t: closed, with its sessions",
        "tunnel u: opened",
        "session u/s: opened",
    ] {
        assert!(
            report.affected.first.iter().any(|one| one == told),
            "{report:?}"
        );
    }
}

#[test]
fn the_report_names_the_sessions_of_others_that_end_with_a_tunnel() {
    let mut scene = Scene::new();
    // One that the API made on the tunnel of the file.
    let made = parameters([
        ("session_name", json!("made")),
        ("user_name", json!("bob")),
        ("user_password", json!("known")),
    ]);
    let client = scene.place.client();
    client
        .call::<SessionStatus>(&Request::SessionCreate(t(), made))
        .unwrap();
    let show = Request::SessionShow(t(), Selector::Name("made".to_owned()));
    while client
        .call::<SessionStatus>(&show)
        .unwrap()
        .user_name
        .is_none()
    {
        scene.daemon.until("");
    }
    let report = scene.reload("host_name=another", "", "");
    assert_eq!(
        report.affected.first,
        [
            "tunnel t: closed and opened again, with its sessions",
            "session t/made of user bob: closed with its tunnel",
        ]
    );
}

/// Has a daemon read another file.
fn reload(place: &Place, file: &str, dry_run: bool) -> Result<ReloadReport, ClientError> {
    fs::write(place.file("conf"), file).unwrap();
    let request = Request::ConfigReload(parameters([("dry_run", json!(dry_run))]));
    place.client().call(&request)
}

/// Whether somebody has a UDP port of this machine.
fn is_served(port: u16) -> bool {
    UdpSocket::bind(("127.0.0.1", port)).is_err()
}

/// A daemon with a listener, and a peer that has a tunnel there or comes there again and again.
struct Reached {
    daemon: Daemon,
    place: Place,
    peer: Daemon,
}

impl Reached {
    fn new(listener: &str, to: &str, port: u16) -> Self {
        let (place, there) = (Place::new(), Place::new());
        let daemon = place.start(&format!("listener create listener_name=l {listener}"));
        let peer = there.start(&format!(
            "system modify tunnel_persist_pend_timeout=1\n\
             tunnel create tunnel_name=t dest_ipaddr={to} peer_udp_port={port} persist=yes max_retries=1"
        ));
        Self {
            daemon,
            place,
            peer,
        }
    }

    fn reload(&self, listener: &str) -> ReloadReport {
        reload(
            &self.place,
            &format!("listener create listener_name=l {listener}"),
            false,
        )
        .unwrap()
    }
}

#[test]
fn a_listener_that_changes_tells_its_peers_and_serves_what_it_is_to_serve_now() {
    for parameter in changeable(Object::Listener) {
        assert_eq!(parameter.touches(Object::Listener), Touches::Restart);
    }
    let [port, other] = [(); 2].map(|()| free_port());
    let before = format!("ipaddr=127.0.0.1 udp_port={port}");
    // From the same address and port, too, which its own sockets have.
    for (after, comes_back) in [
        (format!("ipaddr=127.0.0.1 udp_port={other}"), false),
        (format!("ipaddr=127.0.0.2 udp_port={port}"), false),
        (format!("udp_port={port}"), true),
        (format!("{before} interface_name=lo"), true),
    ] {
        let scene = Reached::new(&before, "127.0.0.1", port);
        scene.daemon.until(" up: ");
        let report = scene.reload(&after);
        assert_eq!(report.failed.first, Vec::<String>::new(), "{after}");
        let told = &report.affected.first[0];
        assert!(told.ends_with("closed with its listener l"), "{told}");
        assert_eq!(report.affected.count, 1);
        scene.peer.until(" down: ");
        if comes_back {
            scene.peer.until(" up: ");
        } else {
            scene.peer.until("next attempt");
            scene.peer.until("refused");
        }
    }
}

#[test]
fn a_listener_that_cannot_serve_what_it_is_to_goes_on_with_what_it_served() {
    let port = free_port();
    let before = format!("ipaddr=127.0.0.1 udp_port={port}");
    let scene = Reached::new(&before, "127.0.0.1", port);
    let up = scene.daemon.until(" up: ");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port();
    for (wrong, why) in [
        (format!("ipaddr=192.0.2.1 udp_port={port}"), "192.0.2.1"),
        (format!("{before} interface_name=none-such"), "none-such"),
        (format!("ipaddr=127.0.0.1 udp_port={taken}"), "in use"),
    ] {
        let file = format!("listener create listener_name=l {wrong}");
        for dry_run in [true, false, false] {
            let refused = reload(&scene.place, &file, dry_run).unwrap_err();
            assert!(refused.to_string().contains(why), "{refused}");
        }
        let show = Request::ObjectShow(Collection::Listeners, "l".to_owned());
        let shown: api::Parameters = scene.place.client().call(&show).unwrap();
        assert_eq!(shown["udp_port"].to_string(), port.to_string());
        assert_eq!(shown["ipaddr"], json!("127.0.0.1"));
    }
    let id = up
        .split("tunnel ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let id = Selector::Id(id.parse().unwrap());
    let tunnel: TunnelStatus = scene.place.client().call(&Request::TunnelShow(id)).unwrap();
    assert_eq!(tunnel.state, TunnelState::Established);
}

#[test]
fn the_ports_that_are_served_are_those_of_the_file_whatever_it_said_before() {
    let (place, other) = (Place::new(), free_port());
    let listener = format!("listener create listener_name=l ipaddr=127.0.0.1 udp_port={other}");
    let daemon = place.start("");
    let ports = || [place.port, other].map(is_served);
    assert_eq!(ports(), [true, false]);
    for _ in 0..2 {
        reload(&place, &listener, false).unwrap();
        assert_eq!(ports(), [false, true]);
        reload(&place, "", false).unwrap();
        assert_eq!(ports(), [true, false]);
    }
    let client = place.client();
    let l = [
        ("listener_name", json!("l")),
        ("ipaddr", json!("127.0.0.1")),
        ("udp_port", json!(other)),
    ];
    let create = Request::ObjectCreate(Collection::Listeners, parameters(l));
    client.call::<()>(&create).unwrap();
    assert_eq!(ports(), [false, true]);
    let delete = Request::ObjectDelete(Collection::Listeners, "l".to_owned());
    client.call::<()>(&delete).unwrap();
    assert_eq!(ports(), [true, false]);
    // Of the port that was the daemon's own, and back.
    let own = "listener create listener_name=l";
    reload(&place, own, false).unwrap();
    assert_eq!(ports(), [true, false]);
    reload(&place, "", false).unwrap();
    assert_eq!(ports(), [true, false]);
    // A tunnel of ours that names no listener starts from the daemon's own.
    let tunnel = format!(
        "{listener}\ntunnel create tunnel_name=t dest_ipaddr=127.0.0.1 peer_udp_port=1 persist=yes"
    );
    reload(&place, &tunnel, false).unwrap();
    assert_eq!(ports(), [true, true]);
    reload(&place, &listener, false).unwrap();
    assert_eq!(ports(), [false, true]);
    daemon.end();
}

#[test]
fn a_listener_that_is_called_otherwise_serves_the_same_address() {
    let (place, port) = (Place::new(), free_port());
    let file = |name: &str| {
        format!("listener create listener_name={name} ipaddr=127.0.0.1 udp_port={port}")
    };
    let daemon = place.start(&file("one"));
    assert!(!is_served(place.port), "only its listener's port is served");
    let report = reload(&place, &file("other"), false).unwrap();
    assert_eq!(report.failed.count, 0);
    assert!(is_served(port));
    daemon.end();
}

#[test]
fn the_first_listener_ends_the_tunnels_of_peers_on_the_daemons_own_port() {
    let (place, there) = (Place::new(), Place::new());
    let daemon = place.start("");
    let _peer = there.start(&format!(
        "tunnel create tunnel_name=t dest_ipaddr=127.0.0.1 peer_udp_port={} persist=yes",
        place.port
    ));
    daemon.until(" up: ");
    let other = free_port();
    let file = format!("listener create listener_name=l ipaddr=127.0.0.1 udp_port={other}");
    let would = reload(&place, &file, true).unwrap();
    let did = reload(&place, &file, false).unwrap();
    assert_eq!(would.affected, did.affected);
    let told = &did.affected.first[0];
    let end = format!("closed with the daemon's own port {}", place.port);
    assert!(told.ends_with(&end), "{told}");
    daemon.until(" down: ");
    assert!(!is_served(place.port));
    // It is closing yet, as the peer is not gone: that is no news.
    let back = reload(&place, "", false).unwrap();
    assert_eq!(back.affected.count, 0);
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let place = Place::new();
    let daemon = place.start("");
    let file = place.file("conf");
    fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    let request = Request::ConfigReload(parameters([]));
    for _ in 0..2 {
        let refused = place.client().call::<ReloadReport>(&request).unwrap_err();
        assert!(refused.to_string().contains("no regular file"), "{refused}");
    }
    fs::remove_file(&file).unwrap();
    let included = "include pipe\n";
    let made = std::process::Command::new("mkfifo")
        .arg(place.file("pipe"))
        .status();
    assert!(made.unwrap().success());
    let refused = reload(&place, included, false).unwrap_err();
    assert!(refused.to_string().contains("no regular file"), "{refused}");
    reload(&place, "", false).unwrap();
    daemon.end();
}
