//! How commands change a model.

use std::collections::BTreeMap;

use crate::check::Which;
use crate::diagnostic::Fault;
use crate::grammar::{Form, Parsed, Unclear, line, parse};
use crate::include::{Files, Find, Source};
use crate::words::nearest;
use crate::{
    Command, ConfigError, DEFAULT_PROFILE, Diagnostic, Model, Object, Parameter, Parameters,
    Session, Severity, Span, Verb,
};

/// What a configuration file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// All of it.
    pub model: Model,
    /// What is not wholly as it stands in the file, in the order of the text.
    pub warnings: Vec<Diagnostic>,
}

/// The errors of a file that are shown: nobody reads more at once.
const MOST_FAULTS: usize = 10_000;
/// How many errors of what is to be added to a model are told; the first is the one to mend.
const MOST_REFUSED: usize = 20;

impl Model {
    /// Reads a configuration file. `file` is its name for the diagnostics, of which there is one for each error, and one for each warning of a file
    /// without errors.
    ///
    /// The order of statements does not matter where one names what another makes. A number out of range is a warning, and the nearest one in range
    /// is taken: files of OpenL2TP 1.8, which let any pass, go on to load.
    ///
    /// Nothing can be included: see [`Model::load_with`].
    pub fn load(file: &str, text: &str) -> Result<Loaded, Vec<Diagnostic>> {
        let source = Source {
            name: file.to_owned(),
            text: text.to_owned(),
        };
        Self::load_with(source, &mut |_, _| {
            Err("no files can be included here".to_owned())
        })
    }

    /// Reads a configuration file as [`Model::load`] does, and those that it includes, which `find` finds. A file that includes itself, by way of
    /// others maybe, is an error, and so are files that lie in each other more than 16 deep, and more than 4096 of them.
    pub fn load_with<'a>(
        source: Source,
        find: &'a mut Find<'a>,
    ) -> Result<Loaded, Vec<Diagnostic>> {
        let (files, parsed) = Files::read(source, find);
        let Parsed {
            commands,
            mut faults,
            mut warnings,
            unclear,
            secrets,
            ..
        } = parsed;
        let mut model = Self::default();
        let applied = model.change_by(&commands, &mut faults);
        faults.extend(model.faults(&applied, &unclear, |_| 0));
        if faults.is_empty() {
            warnings.extend(model.doubts(&applied));
            warnings.sort_by_key(|warning| warning.span.start);
            let said = warnings.into_iter().map(|one| (one.span, one.message));
            let warnings = files.diagnostics(secrets, Severity::Warning, said);
            return Ok(Loaded { model, warnings });
        }
        faults.sort_by_key(|fault| fault.span.start);
        let said = faults.iter().take(MOST_FAULTS);
        let said = said.map(|fault| (fault.span, fault.error.to_string()));
        let more = faults.get(MOST_FAULTS).map(|next| {
            let count = faults.len() - MOST_FAULTS;
            (
                next.span,
                format!("{count} more errors from here on are not shown"),
            )
        });
        Err(files.diagnostics(secrets, Severity::Error, said.chain(more)))
    }

    /// Applies one command; after an error nothing is changed.
    pub fn apply(&mut self, command: &Command) -> Result<(), ConfigError> {
        let mut next = self.clone();
        next.change(command)?;
        if let Some(breach) = next.breaches().into_iter().next() {
            return Err(
                match (
                    command.verb,
                    command.object.key().and_then(|key| command.value(key.name)),
                ) {
                    (Verb::Delete, Some(name)) => ConfigError::InUse {
                        object: command.object,
                        name: name.to_owned(),
                        by: breach.label(&next),
                    },
                    _ => breach.error,
                },
            );
        }
        *self = next;
        Ok(())
    }

    /// What is to be done to a daemon that has this configuration so that it has also what `text` says: commands, to be carried out one by one. As in
    /// a file, the order of its statements does not matter where one names what another makes, and making a profile that is there changes it; but no
    /// number may be out of range. `file` is its name for the diagnostics, of which there is one for each of the first errors.
    pub fn commands_for(&self, file: &str, text: &str) -> Result<Vec<String>, Vec<Diagnostic>> {
        let parsed = parse(text, 0, Form::Command);
        let mut faults = parsed.faults;
        let mut after = self.clone();
        let applied = after.change_by(&parsed.commands, &mut faults);
        let made_before = |object| match object {
            Object::Tunnel => self.tunnels.len(),
            Object::Session => self.sessions.len(),
            _ => 0,
        };
        faults.extend(after.faults(&applied, &parsed.unclear, made_before));
        if faults.is_empty() {
            return Ok(self.commands_to(&after));
        }
        faults.sort_by_key(|fault| fault.span.start);
        let diagnostic = |fault: Fault| {
            let message = fault.error.to_string();
            let (secrets, error) = (&parsed.secrets, Severity::Error);
            let place = line(text, fault.span.start);
            Diagnostic::new((file, text), place, secrets, error, fault.span, message)
        };
        Err(faults
            .into_iter()
            .take(MOST_REFUSED)
            .map(diagnostic)
            .collect())
    }

    /// What is wrong with a model that these commands changed, of whose tunnels and sessions so many were there before. What may come of statements that
    /// were not understood is left out.
    fn faults(
        &self,
        applied: &[&Command],
        unclear: &Unclear,
        made_before: impl Fn(Object) -> usize,
    ) -> Vec<Fault> {
        let mut breaches = self.breaches();
        breaches.retain(|breach| match &breach.error {
            // What such a statement makes is missed by those that name it.
            ConfigError::NotFound { name, .. } => !unclear.may_make(name),
            _ => !unclear.may_change(breach.object),
        });
        let located = breaches.into_iter().map(|mut breach| {
            if let Which::Place(place) = &mut breach.which {
                *place = place.wrapping_sub(made_before(breach.object));
            }
            breach.locate(applied)
        });
        located.collect()
    }

    /// Applies those commands that can be, which it returns; of the others it notes the faults. The result may name what is not there.
    fn change_by<'a>(
        &mut self,
        commands: &'a [Command],
        faults: &mut Vec<Fault>,
    ) -> Vec<&'a Command> {
        let mut applied = Vec::new();
        for command in commands {
            match self.change(command) {
                Ok(()) => applied.push(command),
                Err(error) => faults.push(Fault {
                    span: blame(command, &error),
                    error,
                }),
            }
        }
        applied
    }

    /// Applies one command; the result may name what is not there (yet).
    fn change(&mut self, command: &Command) -> Result<(), ConfigError> {
        match command.object {
            Object::System => match command.verb {
                Verb::Modify => command.fill(&mut self.system),
                Verb::Unset => unset(&mut self.system, command),
                _ => Err(no_change(command)),
            },
            Object::PeerProfile => keyed(&mut self.peer_profiles, command),
            Object::TunnelProfile => keyed(&mut self.tunnel_profiles, command),
            Object::SessionProfile => keyed(&mut self.session_profiles, command),
            Object::PppProfile => keyed(&mut self.ppp_profiles, command),
            Object::User => keyed(&mut self.users, command),
            Object::IpPool => keyed(&mut self.ip_pools, command),
            Object::Listener => keyed(&mut self.listeners, command),
            Object::Tunnel => {
                let name = command.value("tunnel_name");
                listed(&mut self.tunnels, command, name, |tunnel| {
                    name.is_some() && tunnel.tunnel_name() == name
                })
            }
            Object::Session => {
                let (tunnel, name) = (command.value("tunnel_name"), command.value("session_name"));
                listed(&mut self.sessions, command, name, |session: &Session| {
                    name.is_some()
                        && session.session_name() == name
                        && session.tunnel_name() == tunnel
                })
            }
        }
    }

    /// Calls `visit` for each object, with the parameters that are set on it. What others name or inherit from comes before them; only a tunnel
    /// profile's peer profile comes after it.
    pub(crate) fn each(
        &self,
        mut visit: impl FnMut(Object, Which, Vec<(&'static Parameter, String)>),
    ) {
        visit(
            Object::System,
            Which::Place(0),
            self.system.iter().collect(),
        );
        macro_rules! each {
            ($($object:ident $map:ident)+; $($in_list:ident $list:ident)+) => {
                $(let default = self.$map.get_key_value(DEFAULT_PROFILE).into_iter();
                for (name, object) in default.chain(self.$map.iter().filter(|named| *named.0 != DEFAULT_PROFILE)) {
                    visit(Object::$object, Which::Name(name.clone()), object.iter().collect());
                })+
                $(for (place, object) in self.$list.iter().enumerate() {
                    visit(Object::$in_list, Which::Place(place), object.iter().collect());
                })+
            };
        }
        each!(
            IpPool ip_pools
            Listener listeners
            User users
            PppProfile ppp_profiles
            SessionProfile session_profiles
            TunnelProfile tunnel_profiles
            PeerProfile peer_profiles;
            Tunnel tunnels
            Session sessions
        );
    }
}

/// The part of a command that `error` is about.
fn blame(command: &Command, error: &ConfigError) -> Span {
    let (ConfigError::NotFound { name, .. } | ConfigError::Exists { name, .. }) = error else {
        return command.span;
    };
    let argument = command
        .arguments
        .iter()
        .find(|argument| argument.value.as_ref() == Some(name));
    argument.map_or(command.span, |argument| argument.value_span)
}

fn no_change(command: &Command) -> ConfigError {
    ConfigError::NoChange {
        object: command.object,
        verb: command.verb,
    }
}

pub(crate) fn not_found<'a>(
    object: Object,
    name: &str,
    names: impl Iterator<Item = &'a str>,
) -> ConfigError {
    let nearest = nearest(name, names).map(str::to_owned);
    ConfigError::NotFound {
        object,
        name: name.to_owned(),
        nearest,
    }
}

/// Returns to their defaults the parameters that the command names without a value.
fn unset<T: Parameters>(object: &mut T, command: &Command) -> Result<(), ConfigError> {
    command
        .arguments
        .iter()
        .filter(|argument| argument.value.is_none())
        .try_for_each(|a| object.unset(a.name))
}

/// Applies a command to objects that have names. Making a profile that is there changes it, as in OpenL2TP.
fn keyed<T: Parameters>(
    objects: &mut BTreeMap<String, T>,
    command: &Command,
) -> Result<(), ConfigError> {
    let Command { object, verb, .. } = *command;
    let key = object.key().map_or("", |key| key.name);
    let name = command.value(key).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ConfigError::Missing {
        object,
        verb,
        name: key.to_owned(),
    })?;
    let old = objects.get(name).cloned();
    let old = match (verb, old) {
        (Verb::Create, None) => T::default(),
        (Verb::Create, Some(_)) if !object.is_profile() => {
            return Err(ConfigError::Exists {
                object,
                name: name.to_owned(),
            });
        }
        (_, Some(old)) => old,
        (_, None) => return Err(not_found(object, name, objects.keys().map(String::as_str))),
    };
    let mut new = old;
    match verb {
        Verb::Create | Verb::Modify => command.fill(&mut new)?,
        Verb::Unset => unset(&mut new, command)?,
        Verb::Delete if object.is_profile() && name == DEFAULT_PROFILE => {
            return Err(ConfigError::DefaultProfile(object));
        }
        Verb::Delete => {
            objects.remove(name);
            return Ok(());
        }
        Verb::Show | Verb::List => return Err(no_change(command)),
    }
    objects.insert(name.to_owned(), new);
    Ok(())
}

/// Applies a command to objects that may have names; `is_it` knows the one that the command names.
fn listed<T: Parameters>(
    objects: &mut Vec<T>,
    command: &Command,
    name: Option<&str>,
    is_it: impl Fn(&T) -> bool,
) -> Result<(), ConfigError> {
    let Command { object, verb, .. } = *command;
    let name = name.unwrap_or_default();
    match (verb, objects.iter().position(is_it)) {
        (Verb::Create, None) => objects.push(command.build()?),
        (Verb::Create, Some(_)) => {
            return Err(ConfigError::Exists {
                object,
                name: name.to_owned(),
            });
        }
        (Verb::Modify, Some(place)) => {
            let mut new = objects[place].clone();
            command.fill(&mut new)?;
            objects[place] = new;
        }
        (Verb::Delete, Some(place)) => drop(objects.remove(place)),
        (Verb::Modify | Verb::Delete, None) => {
            return Err(not_found(object, name, std::iter::empty()));
        }
        (Verb::Show | Verb::List | Verb::Unset, _) => return Err(no_change(command)),
    }
    Ok(())
}
