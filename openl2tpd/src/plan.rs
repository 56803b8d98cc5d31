//! What a configuration file that is read again does to the tunnels and sessions of the file, and what is told of all that is different in it.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use api::ReloadReport;
use config::{Change, Listener, Model, Object, Parameters, Session, Touches, Tunnel};

/// What is to be done with tunnels and sessions, in this order, and the report of it and all else.
#[derive(Default)]
pub(crate) struct Plan {
    /// By the names of tunnel and session.
    pub(crate) close_sessions: Vec<(String, String)>,
    pub(crate) close_tunnels: Vec<String>,
    /// Listeners that are elsewhere now.
    move_listeners: Vec<String>,
    /// By name, with what changes.
    pub(crate) modify_tunnels: Vec<(String, Tunnel)>,
    /// By the names of tunnel and session.
    pub(crate) modify_sessions: Vec<(String, String, Session)>,
    pub(crate) open_tunnels: Vec<Tunnel>,
    pub(crate) open_sessions: Vec<Session>,
    pub(crate) report: ReloadReport,
}

impl Plan {
    /// What follows from the file's having said `old` and saying `new`.
    pub(crate) fn new(old: &Model, new: &Model) -> Self {
        let mut plan = Self::default();
        let report = &mut plan.report;
        let changes = new.system.changes(&old.system, Object::System);
        if !changes.is_empty() {
            report
                .changed
                .push(described(Object::System.to_string(), &changes));
        }
        compare(
            Object::PeerProfile,
            &old.peer_profiles,
            &new.peer_profiles,
            report,
        );
        compare(
            Object::TunnelProfile,
            &old.tunnel_profiles,
            &new.tunnel_profiles,
            report,
        );
        compare(
            Object::SessionProfile,
            &old.session_profiles,
            &new.session_profiles,
            report,
        );
        compare(
            Object::PppProfile,
            &old.ppp_profiles,
            &new.ppp_profiles,
            report,
        );
        compare(Object::User, &old.users, &new.users, report);
        compare(Object::IpPool, &old.ip_pools, &new.ip_pools, report);
        compare(Object::Listener, &old.listeners, &new.listeners, report);
        let moved = |(name, was): (&String, &Listener)| {
            let now = new.listeners.get(name)?;
            (now != was).then(|| name.clone())
        };
        plan.move_listeners
            .extend(old.listeners.iter().filter_map(moved));
        plan.tunnels(old, new);
        plan.sessions(old, new);
        plan
    }

    fn tunnels(&mut self, old: &Model, new: &Model) {
        let (before, after) = (
            keyed(&old.tunnels, name_of_tunnel),
            keyed(&new.tunnels, name_of_tunnel),
        );
        compare::<Tunnel, _>(Object::Tunnel, &before, &after, &mut self.report);
        for (key, tunnel) in &before {
            let stays = after.get(key);
            let moves = stays.is_some_and(|tunnel| self.moves(tunnel, new));
            if stays == Some(tunnel) && !moves {
                continue;
            }
            let in_place = stays.filter(|_| !moves);
            let change = in_place.and_then(|after| {
                let now = Tunnel {
                    params: new.tunnel_params(after),
                    ..Tunnel::clone(after)
                };
                alive(*after, *tunnel, &now, Object::Tunnel)
            });
            if let (Some(name), Some(change)) = (&tunnel.tunnel_name, change) {
                self.affect(format!("tunnel {name}: changed, and stays up"));
                self.modify_tunnels.push((name.clone(), change));
                continue;
            }
            match (&tunnel.tunnel_name, stays) {
                (Some(name), Some(_)) => self.affect(format!(
                    "tunnel {name}: closed and opened again, with its sessions"
                )),
                (Some(name), None) => {
                    self.affect(format!("tunnel {name}: closed, with its sessions"))
                }
                // Nothing tells it from others.
                (None, _) => {
                    self.affect(format!("tunnel {key}: stays as it is, as it has no name"));
                    continue;
                }
            }
            self.close_tunnels.extend(tunnel.tunnel_name.clone());
        }
        for tunnel in &new.tunnels {
            let key = name_of_tunnel(tunnel);
            let is_new = !before.contains_key(&key);
            if is_new || self.reopens(tunnel.tunnel_name.as_deref()) {
                self.open_tunnels.push(tunnel.clone());
            }
            if is_new {
                self.affect(format!("tunnel {key}: opened"));
            }
        }
    }

    fn sessions(&mut self, old: &Model, new: &Model) {
        let (before, after) = (
            keyed(&old.sessions, name_of_session),
            keyed(&new.sessions, name_of_session),
        );
        compare::<Session, _>(Object::Session, &before, &after, &mut self.report);
        for (key, session) in &before {
            let stays = after.get(key);
            if stays == Some(session) || self.reopens(session.tunnel_name.as_deref()) {
                continue;
            }
            let Some(name) = &session.session_name else {
                self.affect(format!("session {key}: stays as it is, as it has no name"));
                continue;
            };
            if let Some(change) = stays.and_then(|after| alive_session(after, session, new)) {
                self.affect(format!("session {key}: changed, and stays up"));
                self.modify_sessions
                    .push((tunnel_of(session), name.clone(), change));
                continue;
            }
            let what = if stays.is_some() {
                "closed and opened again"
            } else {
                "closed"
            };
            self.affect(format!("session {key}: {what}"));
            self.close_sessions.push((tunnel_of(session), name.clone()));
        }
        for session in &new.sessions {
            let key = name_of_session(session);
            let changed = before.get(&key).map(|before| *before != session);
            let unnamed = session.session_name.is_none() && changed.is_some();
            let before = before.get(&key).filter(|before| **before != session);
            let lives = before.is_some_and(|b| alive_session(session, b, new).is_some());
            let wanted = changed != Some(false) && !unnamed && !lives;
            if wanted || self.reopens(session.tunnel_name.as_deref()) {
                self.open_sessions.push(session.clone());
            }
            if changed.is_none() {
                self.affect(format!("session {key}: opened"));
            }
        }
    }

    /// Whether a tunnel starts from a listener that is elsewhere now.
    fn moves(&self, tunnel: &Tunnel, new: &Model) -> bool {
        let moved = &self.move_listeners;
        let params = (!moved.is_empty()).then(|| new.tunnel_params(tunnel));
        let listener = params.as_ref().and_then(|params| params.listener_name());
        listener.is_some_and(|name| moved.iter().any(|moved| moved == name))
    }

    /// Whether the tunnel of this name is closed, so that its sessions go with it.
    fn reopens(&self, tunnel: Option<&str>) -> bool {
        tunnel.is_some_and(|name| self.close_tunnels.iter().any(|closed| closed == name))
    }

    fn affect(&mut self, what: String) {
        self.report.affected.push(what);
    }
}

/// What a live tunnel or session is told where all that has changed of it can be changed while it lives. What the file no longer says is from then on
/// what it says `now`: its profile's word, or the default. Of what has neither nobody could tell it, and it is made anew.
fn alive<T: Parameters>(after: &T, before: &T, now: &T, object: Object) -> Option<T> {
    let mut change = T::default();
    for Change { name, touches, .. } in after.changes(before, object) {
        let set = |one: &T| one.get(name).ok().flatten();
        let default = || object.parameter(name).ok()?.default.clone();
        let text = set(after).or_else(|| set(now)).or_else(default);
        let text = text.filter(|_| touches != Touches::Restart)?;
        change.set(name, &text).ok()?;
    }
    Some(change)
}

fn alive_session(after: &Session, before: &Session, model: &Model) -> Option<Session> {
    let is_its = |tunnel: &&Tunnel| tunnel.tunnel_name == after.tunnel_name;
    let tunnel = model.tunnels.iter().find(is_its)?;
    let now = Session {
        params: model.session_params(after, &model.tunnel_params(tunnel)),
        ..after.clone()
    };
    alive(after, before, &now, Object::Session)
}

/// An object and what has changed of it.
fn described(what: String, changes: &[Change]) -> String {
    let changes: Vec<_> = changes.iter().map(Change::to_string).collect();
    format!("{what}: {}", changes.join(", "))
}

/// Adds what two collections of one class differ in.
fn compare<T: Parameters + PartialEq, V: Borrow<T>>(
    object: Object,
    old: &BTreeMap<String, V>,
    new: &BTreeMap<String, V>,
    report: &mut ReloadReport,
) {
    let of = |name: &str| format!("{object} {name}");
    for (name, value) in new {
        let Some(before) = old.get(name) else {
            report.added.push(of(name));
            continue;
        };
        let (value, before) = (value.borrow(), before.borrow());
        if value != before {
            let changes = value.changes(before, object);
            report.changed.push(described(of(name), &changes));
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        report.removed.push(of(name));
    }
}

fn keyed<T>(all: &[T], name: fn(&T) -> String) -> BTreeMap<String, &T> {
    all.iter().map(|one| (name(one), one)).collect()
}

/// What a tunnel is told from others by.
pub(crate) fn name_of_tunnel(tunnel: &Tunnel) -> String {
    let peer = || tunnel.params.dest_ipaddr().map(|peer| format!("to {peer}"));
    let name = tunnel.tunnel_name().map(str::to_owned).or_else(peer);
    name.unwrap_or_else(|| format!("of profile {}", tunnel.profile_name()))
}

pub(crate) fn name_of_session(session: &Session) -> String {
    format!(
        "{}/{}",
        tunnel_of(session),
        session.session_name().unwrap_or("without a name")
    )
}

/// The tunnel that a session is of: its name, else its number.
fn tunnel_of(session: &Session) -> String {
    let id = || session.tunnel_id.map(|id| id.to_string());
    session.tunnel_name.clone().or_else(id).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> Model {
        Model::load("test", text).unwrap().model
    }

    #[test]
    fn what_can_change_while_it_lives_ends_nothing() {
        let file = |tunnel: &str, session: &str| {
            model(&format!(
                "tunnel create tunnel_name=a dest_ipaddr=1.1.1.1 {tunnel}\n\
                 session create tunnel_name=a session_name=s {session}\n"
            ))
        };
        let said = file("hello_timeout=61", "");
        let plan = Plan::new(&said, &file("hello_timeout=20", "use_sequence_numbers=yes"));
        assert!(plan.close_tunnels.is_empty() && plan.open_tunnels.is_empty());
        assert!(plan.close_sessions.is_empty() && plan.open_sessions.is_empty());
        let (name, change) = &plan.modify_tunnels[0];
        assert_eq!(
            (name.as_str(), change.params.hello_timeout),
            ("a", Some(20))
        );
        let (_, session, change) = &plan.modify_sessions[0];
        assert_eq!(
            (session.as_str(), change.params.use_sequence_numbers),
            ("s", Some(true))
        );
        assert_eq!(
            plan.report.changed.first[0],
            "tunnel a: hello_timeout 61 -> 20"
        );
        // What is left to the profile again, or to its default.
        let with_profile = |text| {
            model(&format!(
                "tunnel profile modify profile_name=default hello_timeout=7\n{text}"
            ))
        };
        for (says, now) in [
            (file("", ""), 60),
            (with_profile(&file("", "").to_commands()), 7),
        ] {
            let plan = Plan::new(&said, &says);
            assert!(plan.close_tunnels.is_empty() && plan.open_tunnels.is_empty());
            assert_eq!(plan.modify_tunnels[0].1.params.hello_timeout, Some(now));
        }
        // What only a new tunnel takes makes one.
        let plan = Plan::new(&said, &file("hello_timeout=20 secret=x", ""));
        assert_eq!(plan.close_tunnels, ["a"]);
        assert_eq!((plan.open_tunnels.len(), plan.open_sessions.len()), (1, 1));
        assert!(plan.modify_tunnels.is_empty());
    }

    #[test]
    fn tunnels_that_are_the_same_are_in_no_plan() {
        let said = model(
            "tunnel create tunnel_name=a dest_ipaddr=1.1.1.1\ntunnel create tunnel_name=b dest_ipaddr=1.1.1.2\n\
             session create tunnel_name=a session_name=s\nsession create tunnel_name=b session_name=s\n",
        );
        let says = model(
            "tunnel create tunnel_name=a dest_ipaddr=1.1.1.1\ntunnel create tunnel_name=b dest_ipaddr=1.1.1.3\n\
             session create tunnel_name=a session_name=s\nsession create tunnel_name=b session_name=s\n",
        );
        let plan = Plan::new(&said, &says);
        assert_eq!(plan.close_tunnels, ["b"]);
        assert_eq!(plan.open_tunnels, [says.tunnels[1].clone()]);
        assert_eq!(plan.open_sessions, [says.sessions[1].clone()]);
        assert!(plan.close_sessions.is_empty());
        assert_eq!(plan.report.affected.count, 1);
        let nothing = Plan::new(&says, &says);
        assert_eq!(nothing.report, ReloadReport::default());
        assert!(nothing.open_tunnels.is_empty() && nothing.open_sessions.is_empty());
    }
}
