//! What is asked for over the interface: what is refused, and what is saved.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use api::{
    ClientError, Collection, ErrorKind, Method, Parameters, Range, Request, Selector,
    SessionFilter, SessionStatus, TunnelFilter, TunnelStatus,
};
use common::{Place, all, parameters};
use config::Model;
use serde_json::{Value, json};

fn tunnels() -> Request {
    Request::TunnelList(TunnelFilter::default(), Range::default())
}

#[test]
fn what_is_saved_loads_though_profiles_are_gone_and_is_as_it_was_with_them() {
    let place = Place::new();
    let daemon = place.start("");
    let client = place.client();
    let call = |request| client.call::<Value>(&request).unwrap();
    let profile = |collection, more: Parameters| {
        let mut all = parameters([("profile_name", json!("p"))]);
        all.extend(more);
        call(Request::ObjectCreate(collection, all));
    };
    let secret = [("secret", json!("s3cret")), ("hello_timeout", json!(77))];
    profile(Collection::TunnelProfiles, parameters(secret));
    profile(Collection::SessionProfiles, parameters([]));
    profile(Collection::PeerProfiles, parameters([]));
    let name = parameters([
        ("listener_name", json!("l")),
        ("udp_port", json!(common::free_port())),
    ]);
    call(Request::ObjectCreate(Collection::Listeners, name));
    let tunnel = |name: &str| {
        [
            ("tunnel_name", json!(name)),
            ("dest_ipaddr", json!("127.0.0.9")),
            ("persist", json!(true)),
        ]
    };
    let mut hidden = parameters(tunnel("hidden"));
    hidden.extend(parameters([
        ("profile_name", json!("p")),
        ("hide_avps", json!(true)),
        ("peer_profile_name", json!("p")),
    ]));
    call(Request::TunnelCreate(hidden));
    let mut listens = parameters(tunnel("listens"));
    listens.extend(parameters([("listener_name", json!("l"))]));
    call(Request::TunnelCreate(listens));
    let session = parameters([("session_name", json!("s")), ("profile_name", json!("p"))]);
    let hidden = Selector::Name("hidden".to_owned());
    call(Request::SessionCreate(hidden, session));
    for collection in [
        Collection::TunnelProfiles,
        Collection::SessionProfiles,
        Collection::PeerProfiles,
    ] {
        call(Request::ObjectDelete(collection, "p".to_owned()));
    }
    call(Request::ObjectDelete(Collection::Listeners, "l".to_owned()));
    let saved = client.ask(Method::GET, "/v1/config/file", None).unwrap();
    daemon.end();

    let model = Model::load("saved", &saved).unwrap().model;
    let hidden = model.tunnel_params(&model.tunnels[0]);
    assert_eq!(
        (
            hidden.secret().is_some(),
            hidden.hello_timeout(),
            hidden.hide_avps()
        ),
        (true, 77, true)
    );
    assert_eq!(hidden.peer_profile_name(), Some("default"));
    assert_eq!(model.sessions[0].profile_name(), Some("default"));
    let daemon = place.start(&saved);
    let sessions = Request::SessionList(SessionFilter::default(), Range::default());
    while all::<SessionStatus>(&place, sessions.clone()).is_empty() {}
    let again = place.client().ask(Method::GET, "/v1/config/file", None);
    assert_eq!(again.unwrap(), saved);
    daemon.end();
}

#[test]
fn a_tunnel_that_a_file_could_not_have_is_refused_with_the_reason() {
    let place = Place::new();
    let daemon = place.start("");
    let tunnel = |more: &[(&'static str, &str)]| {
        let all = [("dest_ipaddr", "192.0.2.1"), ("persist", "yes")]
            .into_iter()
            .chain(more.iter().copied());
        let all: Parameters = all
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        place.client().call::<Value>(&Request::TunnelCreate(all))
    };
    for (wrong, kind, why) in [
        (
            [("dest_ipaddr", "255.255.255.255")],
            ErrorKind::Invalid,
            "the broadcast address",
        ),
        ([("src_ipaddr", "::1")], ErrorKind::Invalid, "no way"),
        (
            [("hide_avps", "yes")],
            ErrorKind::Invalid,
            "hide_avps=yes needs a secret",
        ),
        (
            [("peer_profile_name", "nope")],
            ErrorKind::NotFound,
            "no peer profile `nope`",
        ),
    ] {
        let refused = tunnel(&wrong).unwrap_err();
        assert!(
            matches!(&refused, ClientError::Refused(e) if e.kind == kind && e.message.contains(why)),
            "{refused}"
        );
    }
    tunnel(&[("config_id", "5")]).unwrap();
    let refused = tunnel(&[("config_id", "5")]).unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused(e) if e.kind == ErrorKind::Exists),
        "{refused}"
    );
    assert_eq!(all::<TunnelStatus>(&place, tunnels()).len(), 1);
    daemon.end();
}

#[test]
fn a_tunnel_without_a_number_takes_none_that_another_of_the_file_has() {
    let place = Place::new();
    let tunnel = "tunnel create dest_ipaddr=192.0.2.1 persist=yes";
    let daemon = place.start(&format!(
        "{tunnel} tunnel_name=any\n{tunnel} tunnel_name=first config_id=1\n"
    ));
    let listed = loop {
        let listed: Vec<TunnelStatus> = all(&place, tunnels());
        if listed.len() == 2 {
            break listed;
        }
    };
    let names: Vec<_> = listed
        .iter()
        .map(|tunnel| tunnel.tunnel_name.as_deref())
        .collect();
    assert_eq!(names, [Some("first"), Some("any")]);
    daemon.end();
}

#[test]
fn what_is_not_there_is_not_found_and_what_cannot_change_says_so() {
    let place = Place::new();
    let port = common::free_port();
    let daemon = place.start(&format!(
        "listener create listener_name=l udp_port={port}\n"
    ));
    let change = |name: &str| {
        let port = parameters([("udp_port", json!(1))]);
        let request = Request::ObjectModify(Collection::Listeners, name.to_owned(), port);
        place.client().call::<Value>(&request).unwrap_err()
    };
    for (name, kind, why) in [
        ("l", ErrorKind::Invalid, "delete it"),
        ("nope", ErrorKind::NotFound, "no listener `nope`"),
    ] {
        let refused = change(name);
        assert!(
            matches!(&refused, ClientError::Refused(e) if e.kind == kind && e.message.contains(why)),
            "{refused}"
        );
    }
    daemon.end();
}
