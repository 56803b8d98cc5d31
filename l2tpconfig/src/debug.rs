//! `debug`: which categories of the detailed log are on, for the daemon, a tunnel, a session or a profile.

use api::{Client, ClientError, Collection, Method, Parameters, Request, Selector};
use config::TraceFlags;
use serde_json::{Value, json};

use crate::run::output;
use crate::vocabulary::{Given, boolean};
use crate::{Failure, Flags, print};

/// Whose categories.
enum Target {
    System,
    Profile(Collection, String),
    Tunnel(Selector),
    Session(Selector, Selector),
}

impl Target {
    fn of(given: &Given) -> Result<Self, Failure> {
        let wrong = |text: &str| Failure::Usage(text.to_owned());
        let selector = |what: &str| {
            let (id, name) = (format!("{what}_id"), format!("{what}_name"));
            match (given.get(&id), given.get(&name)) {
                (Some(_), Some(_)) => Err(Failure::Usage(format!("{id} or {name} is enough"))),
                (None, None) => Ok(None),
                (None, Some(name)) => Ok(Some(Selector::Name(name.to_owned()))),
                (Some(text), None) => text
                    .parse()
                    .map(|number| Some(Selector::Id(number)))
                    .map_err(|_| {
                        Failure::Usage(format!("{id} is a number from 1 to 65535, not `{text}`"))
                    }),
            }
        };
        let profiles = [
            ("tunnel_profile_name", Collection::TunnelProfiles),
            ("session_profile_name", Collection::SessionProfiles),
            ("ppp_profile_name", Collection::PppProfiles),
        ];
        let mut all = Vec::new();
        if given.get("app").is_some() {
            all.push(Self::System);
        }
        for (name, collection) in profiles {
            all.extend(
                given
                    .get(name)
                    .map(|name| Self::Profile(collection, name.to_owned())),
            );
        }
        match (selector("tunnel")?, selector("session")?) {
            (None, None) => (),
            (Some(tunnel), None) => all.push(Self::Tunnel(tunnel)),
            (Some(tunnel), Some(session)) => all.push(Self::Session(tunnel, session)),
            (None, Some(_)) => return Err(wrong("the tunnel of the session is needed, too")),
        }
        match (all.pop(), all.is_empty()) {
            (Some(target), true) => Ok(target),
            (None, _) => Err(wrong(
                "whose? app, tunnel_name, tunnel_id or a profile is needed",
            )),
            (Some(_), false) => Err(wrong(
                "one of app, a tunnel, a session or a profile is enough",
            )),
        }
    }

    fn flags(&self, client: &Client) -> Result<TraceFlags, Failure> {
        let request = match self {
            Self::System => Request::SystemParameters,
            Self::Profile(collection, name) => Request::ObjectShow(*collection, name.clone()),
            Self::Tunnel(tunnel) => Request::TunnelShow(tunnel.clone()),
            Self::Session(tunnel, session) => Request::SessionShow(tunnel.clone(), session.clone()),
        };
        let object: Value = client.call(&request)?;
        let text = match &object["trace_flags"] {
            Value::Null => "0".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        TraceFlags::parse(&text)
            .ok_or_else(|| ClientError::Protocol(format!("trace_flags are `{text}`")).into())
    }

    fn set(&self, client: &Client, bits: u32) -> Result<(), Failure> {
        let parameters =
            Parameters::from_iter([("trace_flags".to_owned(), json!(bits.to_string()))]);
        let request = match self {
            Self::System => Request::SystemModify(parameters),
            Self::Profile(collection, name) => {
                Request::ObjectModify(*collection, name.clone(), parameters)
            }
            Self::Session(tunnel, session) => {
                Request::SessionModify(tunnel.clone(), session.clone(), parameters)
            }
            Self::Tunnel(tunnel) => {
                client.ask(
                    Method::PATCH,
                    &Client::tunnel_path(tunnel),
                    Some(&parameters),
                )?;
                return Ok(());
            }
        };
        Ok(client.call::<()>(&request)?)
    }
}

/// `debug show`.
pub(crate) fn show(flags: &Flags, given: &Given) -> Result<(), Failure> {
    let on = Target::of(given)?.flags(&Client::new(&flags.socket)?)?;
    let names = names(on);
    let text = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(",")
    };
    output(
        flags,
        &json!({ "trace_flags": names }),
        format!("trace_flags: {text}\n"),
    )
}

/// `debug modify`.
pub(crate) fn modify(flags: &Flags, given: &Given) -> Result<(), Failure> {
    let target = Target::of(given)?;
    let mut changes = Vec::new();
    for (name, value) in given.iter() {
        let mask = TraceFlags::CATEGORIES
            .iter()
            .filter(|(n, _)| *n == name || name == "all")
            .map(|(_, bit)| bit);
        let mask: u32 = mask.sum();
        if mask != 0 {
            let on = boolean(value)
                .ok_or_else(|| Failure::Usage(format!("{name} takes yes or no, not `{value}`")))?;
            changes.push((mask, on));
        }
    }
    if changes.is_empty() {
        return Err(Failure::Usage(
            "debug modify needs a category, as in protocol=yes".to_owned(),
        ));
    }
    let client = Client::new(&flags.socket)?;
    let bits = target.flags(&client)?.bits();
    let bits = changes.iter().fold(
        bits,
        |bits, (mask, on)| if *on { bits | mask } else { bits & !mask },
    );
    target.set(&client, bits)?;
    if flags.quiet {
        Ok(())
    } else {
        print("Modified debug\n")
    }
}

fn names(flags: TraceFlags) -> Vec<&'static str> {
    TraceFlags::CATEGORIES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| flags.has(name))
        .collect()
}
