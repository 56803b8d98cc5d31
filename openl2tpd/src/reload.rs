//! Reading the configuration file again: the difference to what it said before, and what that does.
//!
//! What was made or changed through the API and is not in the file is no difference, and stays.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{CommandError, ErrorKind, Few, ReloadReport, Response, Selector};
use config::{
    Change, Diagnostic, Loaded, Model, Object, Parameters, Session, Source, Touches, Tunnel,
};
use engine::Command;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::backend::Daemon;
use crate::events;
use crate::files;
use crate::flags::DEFAULT_CONFIG;

/// The configuration file, and what it said when it was read last. Locked while it is read again.
pub(crate) struct File {
    path: PathBuf,
    said: Mutex<Arc<Model>>,
}

impl File {
    /// The file of this name or the default one, which said `model`. Our working directory may change.
    pub(crate) fn new(path: Option<&Path>, model: Arc<Model>) -> std::io::Result<Self> {
        Ok(Self {
            path: std::path::absolute(path.unwrap_or(Path::new(DEFAULT_CONFIG)))?,
            said: Mutex::new(model),
        })
    }
}

/// Reads a configuration at the start; without a name the default file, which need not be there. An error is all that is wrong, a line or more each.
pub(crate) fn load(file: Option<&Path>) -> Result<Loaded, String> {
    let path = file.unwrap_or(Path::new(DEFAULT_CONFIG));
    match files::read(path) {
        Ok(text) => parse(path, text),
        Err(error) if file.is_none() && error.kind() == NotFound => Ok(Loaded {
            model: Model::default(),
            warnings: Vec::new(),
        }),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Reads a configuration again: a file that is gone is a fault, and no empty file.
fn load_again(path: &Path) -> Result<Loaded, String> {
    let text = files::read(path).map_err(|error| unreadable(path, &error))?;
    parse(path, text)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("openl2tpd: cannot read {}: {error}", path.display())
}

fn parse(path: &Path, text: String) -> Result<Loaded, String> {
    let name = path.display().to_string();
    Model::load_with(Source { name, text }, &mut files::find).map_err(|errors| in_lines(&errors))
}

fn in_lines(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<_> = diagnostics.iter().map(Diagnostic::to_string).collect();
    lines.join("\n")
}

/// Tells the log of what is not as it stands in the file.
pub(crate) fn log_warnings(warnings: &[Diagnostic]) {
    warnings.iter().for_each(|warning| {
        let Diagnostic {
            file,
            line,
            column,
            message,
            ..
        } = warning;
        warn!("{file}:{line}:{column}: {message}");
    });
}

impl Daemon {
    /// Reads the file again and applies the difference, wholly or, where the file is wrong, not at all; with `dry_run` only says what would be done.
    pub(crate) async fn reload(&self, dry_run: bool) -> Result<Response, CommandError> {
        let reloaded = self.reload_file(dry_run).await;
        match &reloaded {
            Ok(report) => {
                log(report);
                if !dry_run {
                    let event = api::Event::ConfigChanged {
                        object: "configuration file".to_owned(),
                        operation: "reload".to_owned(),
                        name: None,
                    };
                    events::push(&self.happened, event);
                }
            }
            Err(error) => error!("the configuration stays as it is: {error}"),
        }
        reloaded.map(Box::new).map(Response::Reload)
    }

    async fn reload_file(&self, dry_run: bool) -> Result<ReloadReport, CommandError> {
        // One after the other; and a file that is being read is read whole.
        let mut said = self.file.said.lock().await;
        let path = self.file.path.clone();
        let invalid = |message| CommandError::new(ErrorKind::Invalid, message);
        let read = spawn_blocking(move || load_again(&path)).await;
        let read = read.map_err(|bug| invalid(bug.to_string()))?;
        let Loaded { model, warnings } = read.map_err(invalid)?;
        log_warnings(&warnings);
        let says = Arc::new(model);

        let plan = Plan::new(&said, &says);
        let mut report = plan.report.clone();
        report.dry_run = dry_run;
        let (before, after) = (Arc::clone(&said), Arc::clone(&says));
        if dry_run {
            let present = self.present();
            merged(&present, &before, &after).map_err(invalid)?;
            return Ok(report);
        }
        // The shard takes the model as one pointer, and tunnels and sessions one by one: it is never busy for long.
        self.replace(|present| merged(present, &before, &after).map_err(invalid))
            .await?;
        *said = says;
        self.carry_out(plan, &mut report.failed).await;
        Ok(report)
    }

    async fn carry_out(&self, plan: Plan, failed: &mut Few) {
        let mut note = |what: String, result: Result<Response, CommandError>| {
            if let Err(error) = result {
                failed.push(format!("{what}: {error}"));
            }
        };
        for (tunnel, session) in plan.close_sessions {
            let what = format!("session {tunnel}/{session}");
            let (tunnel, session) = (selector(&tunnel), Selector::Name(session));
            // One that is gone already is as it is to be.
            match self.ask(Command::SessionDelete(tunnel, session)).await {
                Err(error) if error.kind == ErrorKind::NotFound => {}
                other => note(what, other),
            }
        }
        for tunnel in plan.close_tunnels {
            match self
                .ask(Command::TunnelDelete(Selector::Name(tunnel.clone())))
                .await
            {
                Err(error) if error.kind == ErrorKind::NotFound => {}
                other => note(format!("tunnel {tunnel}"), other),
            }
        }
        for (tunnel, change) in plan.modify_tunnels {
            let what = format!("tunnel {tunnel}");
            let selector = Selector::Name(tunnel);
            note(
                what,
                self.ask(Command::TunnelModify(selector, Box::new(change)))
                    .await,
            );
        }
        for (tunnel, session, change) in plan.modify_sessions {
            let what = format!("session {tunnel}/{session}");
            let (tunnel, session) = (selector(&tunnel), Selector::Name(session));
            let change = Box::new(change);
            note(
                what,
                self.ask(Command::SessionModify(tunnel, session, change))
                    .await,
            );
        }
        for tunnel in plan.open_tunnels {
            let what = format!("tunnel {}", name_of_tunnel(&tunnel));
            note(what, self.open_tunnel(tunnel).await);
        }
        for session in plan.open_sessions {
            let what = format!("session {}", name_of_session(&session));
            note(what, self.open_session(session).await);
        }
    }
}

/// What is to be done with tunnels and sessions, in this order, and the report of it and all else.
#[derive(Default)]
struct Plan {
    /// By the names of tunnel and session.
    close_sessions: Vec<(String, String)>,
    close_tunnels: Vec<String>,
    /// By name, with what changes.
    modify_tunnels: Vec<(String, Tunnel)>,
    /// By the names of tunnel and session.
    modify_sessions: Vec<(String, String, Session)>,
    open_tunnels: Vec<Tunnel>,
    open_sessions: Vec<Session>,
    report: ReloadReport,
}

impl Plan {
    fn new(old: &Model, new: &Model) -> Self {
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
            if stays == Some(tunnel) {
                continue;
            }
            let change = stays.and_then(|after| alive(*after, *tunnel, Object::Tunnel));
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
            if let Some(change) = stays.and_then(|after| alive(*after, *session, Object::Session)) {
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
            let lives = before.is_some_and(|b| alive(session, *b, Object::Session).is_some());
            let wanted = changed != Some(false) && !unnamed && !lives;
            if wanted || self.reopens(session.tunnel_name.as_deref()) {
                self.open_sessions.push(session.clone());
            }
            if changed.is_none() {
                self.affect(format!("session {key}: opened"));
            }
        }
    }

    /// Whether the tunnel of this name is closed, so that its sessions go with it.
    fn reopens(&self, tunnel: Option<&str>) -> bool {
        tunnel.is_some_and(|name| self.close_tunnels.iter().any(|closed| closed == name))
    }

    fn affect(&mut self, what: String) {
        self.report.affected.push(what);
    }
}

/// What a live tunnel or session is told where all that has changed of it can be changed while it lives. What the file no longer says
/// can't: only an object that is made anew takes its profile's word for it.
fn alive<T: Parameters>(after: &T, before: &T, object: Object) -> Option<T> {
    let mut change = T::default();
    for Change {
        name,
        touches,
        after,
        ..
    } in after.changes(before, object)
    {
        let text = after.filter(|_| touches == Touches::Live)?;
        change.set(name, &text).ok()?;
    }
    Some(change)
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

/// The present configuration with the difference between what the file said and what it says, checked as a whole.
fn merged(present: &Model, said: &Model, says: &Model) -> Result<Model, String> {
    if present == said {
        return Ok(says.clone());
    }
    let mut model = present.clone();
    if said.system != says.system {
        model.system = says.system.clone();
    }
    merge(
        &mut model.peer_profiles,
        &said.peer_profiles,
        &says.peer_profiles,
    );
    merge(
        &mut model.tunnel_profiles,
        &said.tunnel_profiles,
        &says.tunnel_profiles,
    );
    merge(
        &mut model.session_profiles,
        &said.session_profiles,
        &says.session_profiles,
    );
    merge(
        &mut model.ppp_profiles,
        &said.ppp_profiles,
        &says.ppp_profiles,
    );
    merge(&mut model.users, &said.users, &says.users);
    merge(&mut model.ip_pools, &said.ip_pools, &says.ip_pools);
    merge(&mut model.listeners, &said.listeners, &says.listeners);
    // Those that the API made are the shard's alone.
    model.tunnels.clone_from(&says.tunnels);
    model.sessions.clone_from(&says.sessions);
    // What was made through the API may name what the file has no more.
    Model::load("with what the API changed", &model.to_commands())
        .map(|loaded| loaded.model)
        .map_err(|errors| in_lines(&errors))
}

fn merge<T: Clone + PartialEq>(
    present: &mut BTreeMap<String, T>,
    said: &BTreeMap<String, T>,
    says: &BTreeMap<String, T>,
) {
    for name in said.keys().filter(|name| !says.contains_key(*name)) {
        present.remove(name);
    }
    for (name, value) in says {
        if said.get(name) != Some(value) {
            present.insert(name.clone(), value.clone());
        }
    }
}

fn keyed<T>(all: &[T], name: fn(&T) -> String) -> BTreeMap<String, &T> {
    all.iter().map(|one| (name(one), one)).collect()
}

/// What a tunnel is told from others by.
fn name_of_tunnel(tunnel: &Tunnel) -> String {
    let peer = || tunnel.params.dest_ipaddr().map(|peer| format!("to {peer}"));
    let name = tunnel.tunnel_name().map(str::to_owned).or_else(peer);
    name.unwrap_or_else(|| format!("of profile {}", tunnel.profile_name()))
}

fn name_of_session(session: &Session) -> String {
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

fn selector(text: &str) -> Selector {
    let Ok(selector) = text.parse();
    selector
}

fn log(report: &ReloadReport) {
    let parts = [
        ("added", &report.added),
        ("changed", &report.changed),
        ("removed", &report.removed),
    ];
    let counts: Vec<_> = parts
        .iter()
        .map(|(what, few)| format!("{} {what}", few.count))
        .collect();
    let would = if report.dry_run {
        "the configuration file has"
    } else {
        "configuration reloaded:"
    };
    info!("{would} {}", counts.join(", "));
    if !report.dry_run {
        report
            .affected
            .first
            .iter()
            .for_each(|what| info!("{what}"));
        report
            .failed
            .first
            .iter()
            .for_each(|what| warn!("not as configured: {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(text: &str) -> Model {
        Model::load("test", text).unwrap().model
    }

    #[test]
    fn only_what_the_file_says_otherwise_changes() {
        let said =
            model("user create user_name=a password=a\nuser create user_name=b password=b\n");
        let says =
            model("user create user_name=a password=new\nuser create user_name=c password=c\n");
        let present = model(
            "user create user_name=a password=api\nuser create user_name=b password=b\nuser create user_name=d password=d\n",
        );
        let merged = merged(&present, &said, &says).unwrap();
        let names: Vec<_> = merged.users.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "c", "d"]);
        assert_eq!(merged.users["a"], says.users["a"]);
        let report = Plan::new(&said, &says).report;
        assert_eq!(report.added.first, ["user c"]);
        assert_eq!(report.changed.first, ["user a: password"]);
        assert_eq!(report.removed.first, ["user b"]);
        assert_eq!(report.affected.count, 0);
    }

    #[test]
    fn what_the_api_made_must_not_lose_what_it_names() {
        let said = model("tunnel profile create profile_name=p\n");
        let present = model(
            "tunnel profile create profile_name=p\npeer profile create profile_name=x tunnel_profile_name=p\n",
        );
        let error = merged(&present, &said, &Model::default()).unwrap_err();
        assert!(error.contains('p'), "{error}");
    }

    #[test]
    fn what_can_change_while_it_lives_ends_nothing() {
        let file = |tunnel: &str, session: &str| {
            model(&format!(
                "tunnel create tunnel_name=a dest_ipaddr=1.1.1.1 {tunnel}\n\
                 session create tunnel_name=a session_name=s {session}\n"
            ))
        };
        let said = file("hello_timeout=60", "");
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
            "tunnel a: hello_timeout 60 -> 20"
        );
        // What only a new tunnel takes, and what is left to the profile again, makes one.
        for other in ["hello_timeout=20 secret=x", ""] {
            let plan = Plan::new(&said, &file(other, ""));
            assert_eq!(plan.close_tunnels, ["a"], "{other}");
            assert_eq!((plan.open_tunnels.len(), plan.open_sessions.len()), (1, 1));
            assert!(plan.modify_tunnels.is_empty());
        }
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
