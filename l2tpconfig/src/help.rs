//! Help, from the declarations.

use config::{Object, Parameter, Role, Verb};

/// What the words can be about: all commands, those of a class, or the parameters of one.
pub(crate) fn help(words: &[String]) -> String {
    if crate::trace::parse(words).is_some() {
        return crate::trace::HELP.to_owned();
    }
    let Some((object, rest)) = object(words) else {
        return overview();
    };
    let verb = rest.first().and_then(|word| {
        object
            .verbs()
            .iter()
            .find(|verb| verb.word().starts_with(word.as_str()))
    });
    match verb {
        Some(&verb) => command(object, verb),
        None => class(object),
    }
}

/// The class that the words begin with: of `tunnel profile` the profile, not the tunnel.
fn object(words: &[String]) -> Option<(Object, &[String])> {
    let named = |object: &&Object| {
        let mut names = object.words().split(' ').zip(words);
        words.len() >= object.words().split(' ').count() && names.all(|(name, word)| name == word)
    };
    let object = Object::ALL
        .iter()
        .filter(named)
        .max_by_key(|object| object.words().len())?;
    Some((*object, &words[object.words().split(' ').count()..]))
}

fn overview() -> String {
    let mut text = String::from(
        "Usage: l2tpconfig [--socket PATH] [--json] [-q] COMMAND [NAME=VALUE...]\n       \
         l2tpconfig --help [COMMAND]\n\n  \
         --socket PATH  the daemon's Unix socket [/run/openl2tpd/api.sock]\n  \
         --json         print the daemon's answer as JSON\n  \
         -q             do not say what was done\n  \
         --pcap FILE    write the messages of `tunnel trace` to a file that Wireshark opens\n  \
         -V, --version  print the version\n\n\
         Commands:\n",
    );
    for object in Object::ALL {
        text += &format!("  {:<16} {}\n", object.words(), verbs(*object));
    }
    text += "  tunnel trace     [NAME=VALUE...]: follows messages; `l2tpconfig --help tunnel trace` says more\n";
    text + "\nExit status: 0 done, 1 refused, 2 not understood, 3 no such object, 4 no daemon\n"
}

fn class(object: Object) -> String {
    format!(
        "{}\n\nUsage: l2tpconfig {object} {}\n",
        object.help(),
        verbs(object)
    )
}

fn verbs(object: Object) -> String {
    object
        .verbs()
        .iter()
        .map(|verb| verb.word())
        .collect::<Vec<_>>()
        .join("|")
}

fn command(object: Object, verb: Verb) -> String {
    let mut text = format!("{}\n\nUsage: l2tpconfig {object} {verb}", object.help());
    for flag in object.flags(verb) {
        text += &format!(" [{flag}]");
    }
    let taken: Vec<_> = object
        .parameters()
        .iter()
        .filter(|parameter| takes(object, verb, parameter))
        .collect();
    if taken.is_empty() {
        return text + "\n";
    }
    text += " NAME=VALUE...\n\n";
    taken
        .into_iter()
        .map(describe)
        .fold(text, |text, parameter| text + &parameter)
}

/// Whether a command can be given the parameter.
fn takes(object: Object, verb: Verb, parameter: &Parameter) -> bool {
    let selects = matches!(parameter.role, Role::Key | Role::Label | Role::Id);
    let is_instance = matches!(object, Object::Tunnel | Object::Session);
    match verb {
        Verb::Create => !matches!(parameter.role, Role::Id | Role::ReadOnly),
        Verb::Modify if is_instance => selects || parameter.role == Role::Modify,
        Verb::Modify => parameter.role != Role::ReadOnly,
        Verb::Unset => true,
        Verb::Delete | Verb::Show => selects,
        Verb::List => object == Object::Session && parameter.name.starts_with("tunnel"),
    }
}

fn describe(parameter: &Parameter) -> String {
    let default = parameter
        .default
        .as_ref()
        .map(|default| format!(" [{default}]"))
        .unwrap_or_default();
    format!(
        "  {:<28} {}\n{:31}{}{default}\n",
        parameter.name,
        parameter.help,
        "",
        parameter.expects()
    )
}
