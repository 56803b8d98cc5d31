//! The commands that make a model of another.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::Model;
use crate::declare::{Object, Parameter, Role, Verb};
use crate::grammar::quoted;
use crate::value::Kind;

/// The parameters that are set on an object.
type Set = Vec<(&'static Parameter, String)>;

impl Model {
    /// The commands that make this model, secrets in clear: what [`Model::load`] reads as the same model, and what one command after the other makes.
    pub fn to_commands(&self) -> String {
        let commands = Self::default().commands_to(self);
        commands.iter().flat_map(|c| [c.as_str(), "\n"]).collect()
    }

    /// The commands that give this model what `after` has, each of which names only what is there by then. What `after` has no more stays.
    pub(crate) fn commands_to(&self, after: &Self) -> Vec<String> {
        let mut before = BTreeMap::new();
        self.each(|object, which, set| drop(before.insert((object, which), set)));
        let (mut commands, mut tunnels, mut at_last) = (Vec::new(), Vec::new(), Vec::new());
        after.each(|object, which, mut set| {
            if object == Object::TunnelProfile {
                at_last.extend(self.peer_to_come(&mut set, before.get(&(object, which.clone()))));
            }
            let changes = match before.get(&(object, which)) {
                None => vec![command(object, Verb::Create, &set)],
                Some(old) => changes(object, old, &set),
            };
            match object {
                Object::Tunnel | Object::Session => tunnels.extend(changes),
                _ => commands.extend(changes),
            }
        });
        // By now the peer profiles are there.
        commands.append(&mut at_last);
        commands.append(&mut tunnels);
        commands
    }

    /// Takes from a tunnel profile the name of a peer profile that is not there yet, which may name the tunnel profile in turn: the command that
    /// gives it back.
    fn peer_to_come(&self, set: &mut Set, old: Option<&Set>) -> Option<String> {
        let is_to_come = |(parameter, name): &(&Parameter, String)| {
            parameter.kind == Kind::Name(Object::PeerProfile)
                && !self.peer_profiles.contains_key(name)
        };
        let place = set.iter().position(is_to_come)?;
        let (peer, name) = set.remove(place);
        // Until then it has the one that it had.
        let had = old.and_then(|old| old.iter().find(|(p, _)| p.name == peer.name));
        set.extend(had.cloned());
        let mut parts = selectors(set);
        parts.push((peer, name));
        Some(command(Object::TunnelProfile, Verb::Modify, &parts))
    }
}

/// The commands that change an object.
fn changes(object: Object, old: &Set, new: &Set) -> Vec<String> {
    let of = |set: &Set, name| {
        let found = set.iter().find(|(parameter, _)| parameter.name == name);
        found.map(|(_, value)| value.clone())
    };
    let is_given = |(p, value): &&(&Parameter, String)| of(old, p.name).as_ref() != Some(value);
    let given: Set = new.iter().filter(is_given).cloned().collect();
    let is_gone = |(p, _): &&(&Parameter, String)| of(new, p.name).is_none();
    let gone: Set = old.iter().filter(is_gone).cloned().collect();
    let about = |verb, parameters: Set| {
        let all: Set = selectors(old)
            .into_iter()
            .chain(parameters.clone())
            .collect();
        (!parameters.is_empty()).then(|| command(object, verb, &all))
    };
    let commands = [about(Verb::Modify, given), about(Verb::Unset, gone)];
    commands.into_iter().flatten().collect()
}

/// What names the object for a command that changes it.
fn selectors(set: &Set) -> Set {
    let names =
        |(parameter, _): &&(&Parameter, String)| matches!(parameter.role, Role::Key | Role::Label);
    set.iter().filter(names).cloned().collect()
}

fn command(object: Object, verb: Verb, set: &Set) -> String {
    let mut text = format!("{object} {verb}");
    for (parameter, value) in set {
        let is_text = matches!(
            parameter.kind,
            Kind::Text | Kind::Secret | Kind::Device | Kind::Program | Kind::Name(_)
        );
        let name = parameter.name;
        // Writing to a string does not fail.
        let _ = match verb == Verb::Unset && !matches!(parameter.role, Role::Key | Role::Label) {
            true => write!(text, " \\\n    {name}"),
            false if is_text => write!(text, " \\\n    {name}={}", quoted(value)),
            false => write!(text, " \\\n    {name}={value}"),
        };
    }
    text
}
