//! From a command to the request that it is.

use api::{
    Collection, Parameters, Range, Request, Selector, SessionFilter, TunnelFilter, UserFilter,
};
use config::{Argument, Command, Object, Verb};
use serde_json::Value;

/// The request that carries a command out, or why there is none.
pub(crate) fn request(command: &Command) -> Result<Request, String> {
    let parameters = parameters(command);
    Ok(match (command.object, command.verb) {
        (Object::System, Verb::Show) => system_show(command),
        (Object::System, _) => Request::SystemModify(parameters),
        (Object::Tunnel, Verb::Create) => Request::TunnelCreate(parameters),
        (Object::Tunnel, Verb::Delete) => Request::TunnelDelete(tunnel(command)?),
        (Object::Tunnel, Verb::Modify) => tunnel_modify(command, parameters)?,
        (Object::Tunnel, Verb::Show) => Request::TunnelShow(tunnel(command)?),
        (Object::Tunnel, Verb::List) => {
            Request::TunnelList(TunnelFilter::default(), Range::default())
        }
        (Object::Session, Verb::Create) => session_create(command, parameters)?,
        (Object::Session, Verb::Delete) => {
            Request::SessionDelete(tunnel(command)?, session(command)?)
        }
        (Object::Session, Verb::Modify) => session_modify(command, parameters)?,
        (Object::Session, Verb::Show) => Request::SessionShow(tunnel(command)?, session(command)?),
        (Object::Session, Verb::List) => {
            let filter = tunnel(command).map(SessionFilter::of_tunnel);
            let filter = filter.unwrap_or_default();
            Request::SessionList(filter, Range::default())
        }
        // Those who are logged in: who may log in is for the configuration to say.
        (Object::User, Verb::List) => Request::UserList(UserFilter::default(), Range::default()),
        (object, verb) => match Collection::of(object) {
            Some(collection) => kept(command, collection, parameters)?,
            None => {
                return Err(format!(
                    "a {object} cannot be changed while it is open: {verb} it in the configuration"
                ));
            }
        },
    })
}

/// Whether the command changes something, rather than ask.
pub(crate) fn is_change(command: &Command) -> bool {
    !matches!(command.verb, Verb::Show | Verb::List)
}

/// The value of the parameter that names objects of the command's class.
pub(crate) fn name(command: &Command) -> Option<&str> {
    command.value(command.object.key()?.name)
}

fn system_show(command: &Command) -> Request {
    if command.has_flag("statistics") {
        Request::SystemStatistics
    } else if command.has_flag("datapath") {
        Request::SystemDatapath
    } else if command.has_flag("configuration") {
        Request::SystemParameters
    } else {
        Request::SystemShow
    }
}

fn session_create(command: &Command, mut parameters: Parameters) -> Result<Request, String> {
    let tunnel = tunnel(command)?;
    parameters.remove("tunnel_id");
    parameters.remove("tunnel_name");
    Ok(Request::SessionCreate(tunnel, parameters))
}

/// With an id to select the tunnel by, a name is its new one.
fn tunnel_modify(command: &Command, mut parameters: Parameters) -> Result<Request, String> {
    let by_id = parameters.remove("tunnel_id");
    let tunnel = match by_id.as_ref().and_then(Value::as_str) {
        Some(id) => Selector::Id(id.parse().map_err(|_| "tunnel_id is no number")?),
        None => {
            parameters.remove("tunnel_name");
            tunnel(command)?
        }
    };
    Ok(Request::TunnelModify(tunnel, parameters))
}

fn session_modify(command: &Command, mut parameters: Parameters) -> Result<Request, String> {
    let (tunnel, session) = (tunnel(command)?, session(command)?);
    for selector in ["tunnel_id", "tunnel_name"] {
        parameters.remove(selector);
    }
    // With an id to select the session by, a name is its new one.
    if parameters.remove("session_id").is_none() {
        parameters.remove("session_name");
    }
    Ok(Request::SessionModify(tunnel, session, parameters))
}

fn kept(
    command: &Command,
    collection: Collection,
    mut parameters: Parameters,
) -> Result<Request, String> {
    let mut named = || {
        let name = name(command)
            .map(str::to_owned)
            .ok_or_else(|| format!("which {}?", command.object))?;
        if let Some(key) = command.object.key() {
            parameters.remove(key.name);
        }
        Ok::<_, String>(name)
    };
    Ok(match command.verb {
        Verb::Create => Request::ObjectCreate(collection, parameters),
        Verb::Modify | Verb::Unset => Request::ObjectModify(collection, named()?, parameters),
        Verb::Delete => Request::ObjectDelete(collection, named()?),
        Verb::Show => Request::ObjectShow(collection, named()?),
        Verb::List => Request::ObjectList(collection, Range::default()),
    })
}

/// What the command gives; what it only names, to be unset, is null.
fn parameters(command: &Command) -> Parameters {
    let value = |Argument { name, value, .. }: &Argument| {
        (
            (*name).to_owned(),
            value.as_deref().map_or(Value::Null, Value::from),
        )
    };
    command.arguments.iter().map(value).collect()
}

fn tunnel(command: &Command) -> Result<Selector, String> {
    selector(command, "tunnel_id", "tunnel_name")
}

fn session(command: &Command) -> Result<Selector, String> {
    selector(command, "session_id", "session_name")
}

fn selector(command: &Command, id: &str, name: &str) -> Result<Selector, String> {
    match (command.value(id), command.value(name)) {
        (None, None) => Err(format!("{id} or {name} is needed")),
        (None, Some(name)) => Ok(Selector::Name(name.to_owned())),
        (Some(text), None) => text
            .parse()
            .map(Selector::Id)
            .map_err(|_| format!("{id} is no number")),
        (Some(_), Some(_)) => Err(format!("{id} or {name} is enough")),
    }
}
