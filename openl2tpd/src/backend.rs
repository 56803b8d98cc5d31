//! Answers the requests of management: commands go to the shard, what is configured is kept here.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::server::{Backend, Captured, EventLog};
use api::{CommandError, ErrorKind, Request, Response, Selector, TraceEvent, TraceRequest};
use config::{
    Command as Change, ConfigError, Kind, Model, Object, Parameters, TraceFlags, Value as _, Verb,
    parse_command, quoted,
};
use engine::Command;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tracing::{error, info};

use crate::events;
use crate::hooks::Hooks;
use crate::listeners;
use crate::logging::Log;
use crate::mailbox::{Answer, Mail, Mailbox};
use crate::objects;
use crate::reload::File;
use crate::sockets::Sockets;
use crate::statistics::Counting;
use crate::survey::Survey;
use crate::trace::{self, API, FOLLOWERS, Follower};

/// The daemon as management sees it.
pub(crate) struct Daemon {
    model: Mutex<Arc<Model>>,
    /// Held while the configuration is changed, as that takes a while where listeners come and go.
    pub(crate) changing: tokio::sync::Mutex<()>,
    pub(crate) mailbox: Mailbox,
    pub(crate) sockets: Sockets,
    pub(crate) log: Log,
    /// What happened, for those who follow.
    pub(crate) happened: Arc<EventLog>,
    /// Where the configuration came from.
    pub(crate) file: File,
    /// What is run for events.
    pub(crate) hooks: Hooks,
    /// Those who may follow messages beside those who do.
    followers: Arc<Semaphore>,
    pub(crate) counting: Counting,
    survey: Survey,
}

/// The configuration at the start.
pub(crate) struct Configuration {
    pub(crate) model: Arc<Model>,
    /// Where it came from.
    pub(crate) file: File,
}

/// What of the datapath is shown.
pub(crate) struct Seen {
    pub(crate) counting: Counting,
    pub(crate) survey: Survey,
}

impl Backend for Daemon {
    async fn call(&self, request: Request) -> Result<Response, CommandError> {
        if trace::everywhere().meets(TraceFlags::API) {
            tracing::trace!(target: API, "{}", name_of(&request));
        }
        match request {
            Request::TunnelList(filter, range) => {
                self.ask(Command::TunnelList(filter, range)).await
            }
            Request::TunnelCreate(parameters) => {
                let command = command(Object::Tunnel, Verb::Create, &parameters)?;
                self.open_tunnel(command.build().map_err(refused)?).await
            }
            Request::TunnelShow(tunnel) => {
                self.read_traffic(Some(&tunnel)).await?;
                self.ask(Command::TunnelShow(tunnel)).await
            }
            Request::TunnelModify(tunnel, mut parameters) => {
                // The tunnel is found already: a name is a new one.
                let is_renamed = parameters.contains_key("tunnel_name");
                if !is_renamed {
                    select(&mut parameters, "tunnel", &tunnel);
                }
                let change = command(Object::Tunnel, Verb::Modify, &parameters)?;
                let mut change: config::Tunnel = change.build().map_err(refused)?;
                change.tunnel_name = change.tunnel_name.filter(|_| is_renamed);
                self.ask(Command::TunnelModify(tunnel, Box::new(change)))
                    .await
            }
            Request::TunnelDelete(tunnel) => self.ask(Command::TunnelDelete(tunnel)).await,
            Request::SessionList(filter, range) => {
                self.ask(Command::SessionList(filter, range)).await
            }
            Request::SessionCreate(tunnel, mut parameters) => {
                select(&mut parameters, "tunnel", &tunnel);
                let command = command(Object::Session, Verb::Create, &parameters)?;
                self.open_session(command.build().map_err(refused)?).await
            }
            Request::SessionShow(tunnel, session) => {
                self.ask(Command::SessionShow(tunnel, session)).await
            }
            Request::SessionModify(tunnel, session, mut parameters) => {
                let is_renamed = parameters.contains_key("session_name");
                select(&mut parameters, "tunnel", &tunnel);
                if !is_renamed {
                    select(&mut parameters, "session", &session);
                }
                let command = command(Object::Session, Verb::Modify, &parameters)?;
                let mut change: config::Session = command.build().map_err(refused)?;
                change.session_name = change.session_name.filter(|_| is_renamed);
                let change = Box::new(change);
                self.ask(Command::SessionModify(tunnel, session, change))
                    .await
            }
            Request::SessionDelete(tunnel, session) => {
                self.ask(Command::SessionDelete(tunnel, session)).await
            }
            Request::UserList(filter, range) => self.ask(Command::UserList(filter, range)).await,
            Request::PeerList(range) => self.ask(Command::PeerList(range)).await,
            Request::PeerShow(local, peer) => self.ask(Command::PeerShow(local, peer)).await,
            Request::SystemShow => self.ask(Command::SystemShow).await,
            Request::SystemStatistics => self.statistics().await,
            Request::SystemDatapath => self.survey.answer().await,
            Request::Metrics(format) => self.metrics(format).await,
            Request::ConfigReload(parameters) => self.reload(dry_run(&parameters)?).await,
            Request::ConfigFile => self.saved().await,
            Request::StatisticsReset => self.reset_statistics().await,
            configuration => self.configuration(configuration).await,
        }
    }

    fn events(&self) -> Arc<EventLog> {
        Arc::clone(&self.happened)
    }

    fn trace(&self, request: TraceRequest) -> Result<mpsc::Receiver<TraceEvent>, CommandError> {
        if trace::everywhere().meets(TraceFlags::API) {
            tracing::trace!(target: API, "trace {:?}", request.of);
        }
        let permit = self.place_to_follow()?;
        let (follower, events) = Follower::new(request);
        let gone = follower.gone();
        // The shard may have nothing to do for long: it is not who finds out.
        tokio::spawn(async move {
            gone.await;
            drop(permit);
        });
        self.mail(Mail::Follow(follower));
        Ok(events)
    }

    async fn capture(&self, tunnel: Selector, session: Selector) -> Result<Captured, CommandError> {
        if trace::everywhere().meets(TraceFlags::API) {
            tracing::trace!(target: API, "capture session {session} of tunnel {tunnel}");
        }
        self.begin_capture(tunnel, session).await
    }
}

impl Daemon {
    /// One of the places of those who may follow messages or packets.
    pub(crate) fn place_to_follow(&self) -> Result<OwnedSemaphorePermit, CommandError> {
        let permit = Arc::clone(&self.followers).try_acquire_owned();
        permit.map_err(|_| {
            let message = format!("{FOLLOWERS} follow messages or packets already");
            CommandError::new(ErrorKind::Resources, message)
        })
    }

    /// The daemon with this configuration, whose tunnels and sessions are not opened yet.
    pub(crate) fn new(
        Configuration { model, file }: Configuration,
        mailbox: Mailbox,
        sockets: Sockets,
        log: Log,
        happened: Arc<EventLog>,
        hooks: Hooks,
        Seen { counting, survey }: Seen,
    ) -> Self {
        log.trace(model.system.trace_flags());
        hooks.configure(&model);
        Self {
            model: Mutex::new(model),
            changing: tokio::sync::Mutex::default(),
            mailbox,
            sockets,
            log,
            happened,
            file,
            hooks,
            followers: Arc::new(Semaphore::new(FOLLOWERS)),
            counting,
            survey,
        }
    }

    /// Opens the tunnels and sessions of the configuration. One that is refused does not stop the others.
    pub(crate) async fn open_configured(&self) {
        let model = Arc::clone(&self.model());
        for tunnel in numbered_first(model.tunnels.clone()) {
            let name = tunnel
                .tunnel_name()
                .or(tunnel.params.dest_ipaddr())
                .unwrap_or("without a name")
                .to_owned();
            if let Err(error) = self.open_tunnel(tunnel).await {
                error!("tunnel {name} of the configuration is refused: {error}");
            }
        }
        for session in &model.sessions {
            let name = session
                .session_name()
                .unwrap_or("without a name")
                .to_owned();
            if let Err(error) = self.open_session(session.clone()).await {
                error!("session {name} of the configuration is refused: {error}");
            }
        }
    }

    /// Turns the detailed log and every trace category on, or off again.
    pub(crate) fn toggle_debug(&self) {
        let on = self.log.toggle_debug();
        info!("SIGUSR1: debug is {}", if on { "on" } else { "off" });
    }

    /// Closes everything; returns when the peers know, or have not answered.
    pub(crate) async fn shut_down(&self) {
        // A shard that is gone has closed all that it can.
        let _ = self.ask(Command::Shutdown).await;
    }

    pub(crate) async fn open_tunnel(
        &self,
        tunnel: config::Tunnel,
    ) -> Result<Response, CommandError> {
        let model = Arc::clone(&self.model());
        let params = model.tunnel_params(&tunnel);
        let named = params.listener_name();
        let listener = named.and_then(|name| model.listeners.get(name));
        // The shard refuses a tunnel of a listener that is not there.
        if named.is_none() || listener.is_some() {
            self.open_sockets(listener, params.our_udp_port())?;
        }
        self.ask(Command::TunnelCreate(Box::new(tunnel))).await
    }

    /// Opens the sockets of a listener, or the daemon's own, on this port or on theirs, unless they are open.
    pub(crate) fn open_sockets(
        &self,
        listener: Option<&config::Listener>,
        port: u16,
    ) -> Result<(), CommandError> {
        let sockets = self
            .sockets
            .bind(listener, port)
            .map_err(|error| listeners::unbound(&error))?;
        sockets
            .into_iter()
            .for_each(|socket| self.mail(Mail::Socket(socket)));
        Ok(())
    }

    pub(crate) async fn open_session(
        &self,
        session: config::Session,
    ) -> Result<Response, CommandError> {
        self.ask(Command::SessionCreate(Box::new(session))).await
    }

    /// How many follow messages.
    pub(crate) fn trace_followers(&self) -> usize {
        FOLLOWERS - self.followers.available_permits()
    }

    /// Asks the shard.
    pub(crate) async fn ask(&self, command: Command) -> Result<Response, CommandError> {
        self.send(command).await.map_err(shut_down)?
    }

    /// Sends a command; the answer may be waited for or not.
    fn send(&self, command: Command) -> oneshot::Receiver<Answer> {
        let (caller, answer) = oneshot::channel();
        self.mail(Mail::Command(command, caller));
        answer
    }

    pub(crate) fn mail(&self, mail: Mail) {
        // A shard that is gone drops the caller with its command, and the answer says so.
        self.mailbox.send(mail);
    }

    fn model(&self) -> MutexGuard<'_, Arc<Model>> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request about what is configured.
    async fn configuration(&self, request: Request) -> Result<Response, CommandError> {
        match request {
            Request::SystemParameters => {
                let mut shown = self.model().system.shown_json();
                shown.insert("udp_port".to_owned(), self.sockets.port().into());
                Ok(Response::Object(shown))
            }
            Request::ObjectList(collection, range) => {
                objects::list(&self.model(), collection, &range).map(Response::Objects)
            }
            Request::ObjectShow(collection, name) => {
                let found = objects::find(&self.model(), collection, &name);
                found
                    .map(Response::Object)
                    .ok_or_else(|| no_object(collection.object(), &name))
            }
            Request::SystemModify(parameters) => {
                self.modify(Object::System, None, &parameters).await
            }
            Request::ObjectModify(collection, name, parameters) => {
                let object = collection.object();
                if !object.verbs().contains(&Verb::Modify) {
                    let message =
                        format!("a {object} cannot be changed: delete it, and make another");
                    let is_there = objects::find(&self.model(), collection, &name).is_some();
                    return Err(match is_there {
                        true => CommandError::new(ErrorKind::Invalid, message),
                        false => no_object(object, &name),
                    });
                }
                self.modify(object, Some(name), &parameters).await
            }
            Request::ObjectCreate(collection, parameters) => {
                let object = collection.object();
                let name = parameters.get(key(object)).and_then(Value::as_str);
                // The rules of the file take the creation of a profile that is there for a change of it.
                if let Some(name) = name.filter(|_| object.is_profile())
                    && objects::find(&self.model(), collection, name).is_some()
                {
                    let name = name.to_owned();
                    return Err(refused(ConfigError::Exists { object, name }));
                }
                self.change(&[command(object, Verb::Create, &parameters)?])
                    .await
            }
            Request::ObjectDelete(collection, name) => {
                let object = collection.object();
                let selector = [(key(object).to_owned(), Value::from(name))]
                    .into_iter()
                    .collect();
                self.change(&[command(object, Verb::Delete, &selector)?])
                    .await
            }
            // Everything else is the shard's.
            other => Err(CommandError::new(
                ErrorKind::Invalid,
                format!("{} is no configuration", name_of(&other)),
            )),
        }
    }

    /// Sets the parameters that have a value, and unsets those that are null.
    async fn modify(
        &self,
        object: Object,
        name: Option<String>,
        parameters: &api::Parameters,
    ) -> Result<Response, CommandError> {
        if let (Some(name), Some(new)) = (&name, parameters.get(key(object)))
            && new != name
        {
            let message = format!("the name of a {object} cannot be changed");
            return Err(CommandError::new(ErrorKind::Invalid, message));
        }
        let (unset, set): (api::Parameters, api::Parameters) = parameters
            .clone()
            .into_iter()
            .partition(|(_, value)| value.is_null());
        let changes = [(Verb::Modify, set), (Verb::Unset, unset)];
        let changes = changes
            .into_iter()
            // To modify nothing, too, what is not modified has to be there.
            .filter(|(verb, given)| {
                !given.is_empty() || (parameters.is_empty() && *verb == Verb::Modify)
            })
            .map(|(verb, mut given)| {
                if let Some(name) = &name {
                    given.insert(key(object).to_owned(), Value::from(name.as_str()));
                }
                command(object, verb, &given)
            });
        self.change(&changes.collect::<Result<Vec<_>, _>>()?).await
    }

    /// Changes the configuration, wholly or not at all.
    async fn change(&self, changes: &[Change]) -> Result<Response, CommandError> {
        let changed = |model: &Model| {
            let mut changed = model.clone();
            changes
                .iter()
                .try_for_each(|change| changed.apply(change))
                .map_err(refused)?;
            Ok(changed)
        };
        let response = self.replace(changed).await?;
        let reset = |change: &Change| {
            let given = change.value("reset_statistics").and_then(bool::parse);
            change.verb == Verb::Modify && given == Some(true)
        };
        if changes.iter().any(reset) {
            self.reset_statistics().await?;
        }
        for change in changes {
            info!("configuration: {} {}", change.object, change.verb);
            let event = api::Event::ConfigChanged {
                object: change.object.to_string(),
                operation: change.verb.to_string(),
                name: change.value(key(change.object)).map(str::to_owned),
            };
            events::push(&self.happened, event);
        }
        Ok(response)
    }

    /// The configuration as it is now.
    pub(crate) fn present(&self) -> Arc<Model> {
        Arc::clone(&self.model())
    }

    /// Puts another configuration, made of the present one, in its place; after an error everything is as before.
    async fn replace(
        &self,
        change: impl FnOnce(&Model) -> Result<Model, CommandError>,
    ) -> Result<Response, CommandError> {
        let _alone = self.changing.lock().await;
        let old = self.present();
        let changed = change(&old)?;
        let shift = self.shift(&old, &changed).await?;
        let answer = self.install(changed).await;
        let answer = answer.map_err(shut_down)?;
        let failed = self.carry_out_shift(shift, &old).await;
        failed
            .into_iter()
            .next()
            .map_or(answer, |(_, why)| Err(why))
    }

    /// Has a configuration hold from now on; the shard's answer may be waited for or not. The sockets are the caller's to see to.
    pub(crate) fn install(&self, changed: Model) -> oneshot::Receiver<Answer> {
        let mut model = self.model();
        *model = Arc::new(changed);
        self.log.trace(model.system.trace_flags());
        self.hooks.configure(&model);
        // Sent under the lock: the shard sees the models in our order. The client may be gone before the answer.
        self.send(Command::SetModel(Arc::clone(&model)))
    }
}

/// Tunnels in an order in which they can be opened: those that have a number to a peer before those that take what is free.
pub(crate) fn numbered_first(mut tunnels: Vec<config::Tunnel>) -> Vec<config::Tunnel> {
    tunnels.sort_by_key(|tunnel| tunnel.config_id.is_none());
    tunnels
}

/// What is answered in place of a shard that is gone.
pub(crate) fn shut_down(_: oneshot::error::RecvError) -> CommandError {
    CommandError::new(ErrorKind::Shutdown, "the daemon is shutting down")
}

/// The one parameter of a reload.
fn dry_run(parameters: &api::Parameters) -> Result<bool, CommandError> {
    let invalid = |message| CommandError::new(ErrorKind::Invalid, message);
    parameters.iter().try_fold(false, |_, given| match given {
        (name, Value::Bool(value)) if name == "dry_run" => Ok(*value),
        (name, _) if name == "dry_run" => Err(invalid("dry_run is true or false".to_owned())),
        (name, _) => Err(invalid(format!(
            "a reload has no parameter {name}, only dry_run"
        ))),
    })
}

/// Adds the parameter that selects a tunnel or a session, which is said of `what`.
fn select(parameters: &mut api::Parameters, what: &str, selector: &Selector) {
    match selector {
        Selector::Id(id) => parameters.insert(format!("{what}_id"), (*id).into()),
        Selector::Name(name) => parameters.insert(format!("{what}_name"), name.as_str().into()),
    };
}

/// The name of the parameter that names objects of a class in a collection.
fn key(object: Object) -> &'static str {
    object.key().map_or("", |key| key.name)
}

/// The command of the configuration's grammar that a request comes to: the same rules hold for both.
fn command(
    object: Object,
    verb: Verb,
    parameters: &api::Parameters,
) -> Result<Change, CommandError> {
    let mut text = format!("{object} {verb}");
    for (given, value) in parameters {
        let parameter = object.parameter(given).map_err(refused)?;
        let name = parameter.name;
        // The beginning of a name is for people: it may be that of two when there are more.
        if given != name && !parameter.aliases.contains(&given.as_str()) {
            let message = format!("`{given}` is to be written out: {name}");
            return Err(CommandError::new(ErrorKind::Invalid, message));
        }
        let _ = match value {
            // What is made without a value is as if it were not named.
            Value::Null if verb == Verb::Create => Ok(()),
            Value::Null
                if verb == Verb::Modify && matches!(object, Object::Tunnel | Object::Session) =>
            {
                let message =
                    format!("{name} of a {object} that lives cannot be unset: give its value");
                return Err(CommandError::new(ErrorKind::Invalid, message));
            }
            Value::Null => write!(text, " {name}"),
            Value::Bool(value) if parameter.kind == Kind::Boolean => {
                write!(text, " {name}={}", bool::print(*value))
            }
            Value::Number(value) if parameter.kind.takes_numbers() => {
                write!(text, " {name}={}", quoted(&value.to_string()))
            }
            Value::String(value) => write!(text, " {name}={}", quoted(value)),
            _ => {
                let takes = parameter.expects();
                let message = match parameter.is_secret() {
                    true => format!("{name} takes {takes}, in a string"),
                    false => format!("{name} takes {takes}, not {value}"),
                };
                return Err(CommandError::new(ErrorKind::Invalid, message));
            }
        };
    }
    parse_command(&text)
        .map_err(|diagnostic| CommandError::new(ErrorKind::Invalid, diagnostic.message))
}

fn no_object(object: Object, name: &str) -> CommandError {
    CommandError::new(
        ErrorKind::NotFound,
        format!("there is no {object} `{name}`"),
    )
}

fn refused(error: ConfigError) -> CommandError {
    let kind = match error {
        ConfigError::NotFound { .. } => ErrorKind::NotFound,
        ConfigError::Exists { .. } => ErrorKind::Exists,
        _ => ErrorKind::Invalid,
    };
    CommandError::new(kind, error.to_string())
}

/// A request without its parameters, some of which are secret.
fn name_of(request: &Request) -> String {
    let text = format!("{request:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}
