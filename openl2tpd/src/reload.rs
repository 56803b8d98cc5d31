//! Reading the configuration file again: the difference to what it said before, and what that does.
//!
//! What was made or changed through the API and is not in the file is no difference, and stays.

use std::collections::BTreeMap;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{
    CommandError, ErrorKind, Few, Range, ReloadReport, Response, Selector, SessionFilter,
    SessionState, SessionStatus,
};
use config::{Diagnostic, Loaded, Model, Source};
use engine::Command;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::backend::{Daemon, numbered_first, shut_down};
use crate::events;
use crate::files;
use crate::flags::DEFAULT_CONFIG;
use crate::listeners::put_back;
use crate::plan::{Plan, name_of_session, name_of_tunnel};

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
        Ok(text) => parse(path, text, files::read),
        Err(error) if file.is_none() && error.kind() == NotFound => Ok(Loaded {
            model: Model::default(),
            warnings: Vec::new(),
        }),
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// Reads a configuration again: a file that is gone is a fault, and no empty file. What is no file, such as a pipe, could keep us waiting for ever.
fn load_again(path: &Path) -> Result<Loaded, String> {
    let text = files::read_regular(path).map_err(|error| unreadable(path, &error))?;
    parse(path, text, files::read_regular)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("openl2tpd: cannot read {}: {error}", path.display())
}

fn parse(
    path: &Path,
    text: String,
    read: fn(&Path) -> std::io::Result<String>,
) -> Result<Loaded, String> {
    let name = path.display().to_string();
    let mut find = |pattern: &str, from: &str| files::find(pattern, from, read);
    Model::load_with(Source { name, text }, &mut find).map_err(|errors| in_lines(&errors))
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
        for tunnel in &plan.close_tunnels {
            self.tell_sessions(tunnel, &said, &mut report.affected)
                .await;
        }
        let _alone = self.changing.lock().await;
        let present = self.present();
        let model = merged(&present, &said, &says).map_err(invalid)?;
        let shift = self.shift(&present, &model).await?;
        for name in &shift.leaves {
            report
                .affected
                .extend(self.ends_with(name.as_deref()).await);
        }
        if dry_run {
            return Ok(report);
        }
        // The shard takes the model as one pointer, and tunnels and sessions one by one: it is never busy for long.
        self.install(model).await.map_err(shut_down)??;
        self.close(&plan, &mut report.failed).await;
        let mut now_said = Model::clone(&says);
        for (name, why) in self.carry_out_shift(shift, &present).await {
            let name = name.unwrap_or_default();
            // The next reload tries again.
            put_back(&mut now_said, &said, &name);
            report.failed.push(format!("listener {name}: {why}"));
        }
        *said = Arc::new(now_said);
        self.carry_out(plan, &mut report.failed).await;
        Ok(report)
    }

    /// The tunnels of peers that end with a listener, or with the daemon's own port.
    async fn ends_with(&self, listener: Option<&str>) -> Vec<String> {
        let whose = match listener {
            Some(name) => format!("its listener {name}"),
            None => format!("the daemon's own port {}", self.sockets.port()),
        };
        let tunnels = self.tunnels_of_peers(listener).await.into_iter();
        let named = tunnels.filter_map(|tunnel| {
            let (id, peer) = tunnel.tunnel_id.zip(tunnel.remote)?;
            Some(format!("tunnel {id} of {peer}: closed with {whose}"))
        });
        named.collect()
    }

    /// Adds the sessions that end with a tunnel and that the file does not make anew: the peer's, and those of the API.
    async fn tell_sessions(&self, tunnel: &str, said: &Model, affected: &mut Few) {
        let filter = SessionFilter::of_tunnel(Selector::Name(tunnel.to_owned()));
        let mut range = Range::default();
        loop {
            let list = Command::SessionList(filter.clone(), range);
            // One that is not there has none.
            let Ok(Response::Sessions(page)) = self.ask(list).await else {
                return;
            };
            let of_file = |status: &&SessionStatus| {
                let name = &status.session_name;
                let mut file = said.sessions.iter();
                name.is_some()
                    && file.any(|s| {
                        s.session_name == *name && s.tunnel_name.as_deref() == Some(tunnel)
                    })
            };
            let ends =
                |status: &&SessionStatus| status.state != SessionState::Closing && !of_file(status);
            for status in page.items.iter().filter(ends) {
                affected.push(format!("{}: closed with its tunnel", described(status)));
            }
            range = Range {
                after: page.next,
                limit: None,
            };
            if range.after.is_none() {
                return;
            }
        }
    }

    /// Closes what is to end or to be made anew.
    async fn close(&self, plan: &Plan, failed: &mut Few) {
        let mut note = |what: String, result: Result<Response, CommandError>| match result {
            // One that is gone already is as it is to be.
            Err(error) if error.kind != ErrorKind::NotFound => {
                failed.push(format!("{what}: {error}"));
            }
            _ => {}
        };
        for (tunnel, session) in &plan.close_sessions {
            let what = format!("session {tunnel}/{session}");
            let (tunnel, session) = (selector(tunnel), Selector::Name(session.clone()));
            note(
                what,
                self.ask(Command::SessionDelete(tunnel, session)).await,
            );
        }
        for tunnel in &plan.close_tunnels {
            let selector = Selector::Name(tunnel.clone());
            let closed = self.ask(Command::TunnelDelete(selector)).await;
            note(format!("tunnel {tunnel}"), closed);
        }
    }

    /// Changes what lives on, and opens what is new.
    async fn carry_out(&self, plan: Plan, failed: &mut Few) {
        let mut note = |what: String, result: Result<Response, CommandError>| {
            if let Err(error) = result {
                failed.push(format!("{what}: {error}"));
            }
        };
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
        for tunnel in numbered_first(plan.open_tunnels) {
            let what = format!("tunnel {}", name_of_tunnel(&tunnel));
            note(what, self.open_tunnel(tunnel).await);
        }
        for session in plan.open_sessions {
            let what = format!("session {}", name_of_session(&session));
            note(what, self.open_session(session).await);
        }
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

/// A live session, for people.
fn described(status: &SessionStatus) -> String {
    let id = |id: Option<u16>| id.map_or_else(|| "without an id".to_owned(), |id| id.to_string());
    let tunnel = status.tunnel_name.clone();
    let name = status.session_name.clone();
    let user = status.user_name.as_ref();
    format!(
        "session {}/{}{}",
        tunnel.unwrap_or_else(|| id(status.tunnel_id)),
        name.unwrap_or_else(|| id(status.session_id)),
        user.map_or_else(String::new, |user| format!(" of user {user}"))
    )
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
}
