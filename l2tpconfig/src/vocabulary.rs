//! Every command there is: those of the declared objects, and those of this program and the daemon as a whole. Understanding, help and completion
//! have no other list.

use config::{Kind, Object, Parameter, Piece, PieceKind, Role, TraceFlags, Verb};

/// What a command does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Something about objects, as the declaration says.
    Model(Object, Verb),
    ConfigSave,
    ConfigRestore,
    ConfigReload,
    ServerShow,
    ServerModify,
    PeerShow,
    PeerList,
    DebugShow,
    DebugModify,
    Trace,
    Capture,
    Monitor,
    Completions,
    Help,
    Exit,
}

/// What an argument of a command takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Takes {
    /// Nothing: its name alone says it.
    Nothing,
    /// `=` and text of this kind.
    Value(Kind),
}

/// An argument of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Argument {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    pub(crate) help: String,
}

/// A command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) words: Vec<&'static str>,
    pub(crate) action: Action,
    pub(crate) help: String,
    pub(crate) arguments: Vec<Argument>,
}

/// Why words are no command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Unknown {
    /// They begin several; these are the words that could come next.
    Incomplete(Vec<&'static str>),
    /// The word begins several.
    Ambiguous(String, Vec<&'static str>),
    /// The word begins none.
    Error(String, Vec<&'static str>),
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Incomplete(next) => {
                write!(f, "incomplete command: expected one of {}", next.join(", "))
            }
            Self::Ambiguous(word, next) => {
                write!(
                    f,
                    "ambiguous command: `{word}` can be {}",
                    next.join(" or ")
                )
            }
            Self::Error(word, next) => {
                write!(
                    f,
                    "error at or near `{word}`: expected one of {}",
                    next.join(", ")
                )?;
                match config::nearest(word, next.iter().copied()) {
                    Some(near) => write!(f, "; did you mean `{near}`?"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Every command, in the order of the manual.
pub(crate) fn entries() -> Vec<Entry> {
    let mut all = Vec::new();
    for &object in Object::ALL {
        for &verb in object.verbs() {
            all.push(model(object, verb));
        }
    }
    all.extend(fixed());
    all
}

fn model(object: Object, verb: Verb) -> Entry {
    let flags = object.flags(verb).iter().map(|&name| Argument {
        name,
        takes: Takes::Nothing,
        help: format!("the {} part or form alone", name.replace('_', " ")),
    });
    let parameters = object
        .parameters()
        .iter()
        .filter(|p| takes(object, verb, p));
    let parameters = parameters.map(|p| Argument {
        name: p.name,
        takes: if verb == Verb::Unset && p.role != Role::Key {
            Takes::Nothing
        } else {
            Takes::Value(p.kind)
        },
        help: describe(p),
    });
    let did = match verb {
        Verb::Create => "Makes one",
        Verb::Modify => "Changes parameters",
        Verb::Delete => "Ends one",
        Verb::Show => "Prints it in full",
        Verb::List => "Prints all, a line each",
        Verb::Unset => "Returns parameters to their defaults",
    };
    Entry {
        words: object.words().split(' ').chain([verb.word()]).collect(),
        action: Action::Model(object, verb),
        help: format!("{did}. {}", object.help()),
        arguments: flags.chain(parameters).collect(),
    }
}

fn describe(parameter: &Parameter) -> String {
    let default = parameter.default.as_ref();
    let default = default.map(|d| format!(" [{d}]")).unwrap_or_default();
    format!("{} Takes {}{default}.", parameter.help, parameter.expects())
}

/// Whether a command can be given the parameter.
pub(crate) fn takes(object: Object, verb: Verb, parameter: &Parameter) -> bool {
    let selects = matches!(parameter.role, Role::Key | Role::Label | Role::Id);
    let is_instance = matches!(object, Object::Tunnel | Object::Session);
    match verb {
        Verb::Create => !matches!(parameter.role, Role::Id | Role::ReadOnly),
        Verb::Modify if is_instance => selects || parameter.role == Role::Modify,
        Verb::Modify | Verb::Unset => parameter.role != Role::ReadOnly,
        Verb::Delete | Verb::Show => selects,
        Verb::List => object == Object::Session && parameter.name.starts_with("tunnel"),
    }
}

const TEXT: Takes = Takes::Value(Kind::Text);

fn argument(name: &'static str, takes: Takes, help: &str) -> Argument {
    Argument {
        name,
        takes,
        help: help.to_owned(),
    }
}

fn fixed() -> Vec<Entry> {
    let entry = |words: &'static str, action, help: &str, arguments: Vec<Argument>| Entry {
        words: words.split(' ').collect(),
        action,
        help: help.to_owned(),
        arguments,
    };
    let mut debug = targets();
    let switches = TraceFlags::CATEGORIES
        .iter()
        .map(|(name, _)| *name)
        .chain(["all"]);
    debug.extend(switches.map(|name| {
        let what = format!("turns the category {name} on or off");
        argument(name, Takes::Value(Kind::Boolean), &what)
    }));
    vec![
        entry(
            "tunnel trace",
            Action::Trace,
            "Follows the control messages of a tunnel, a session or a peer.",
            trace(),
        ),
        entry(
            "session capture",
            Action::Capture,
            "Writes the packets of a session as they pass, IP in clear, as pcapng: to standard output for `wireshark -k -i -`, or with -w FILE to a file; with --json a \
             line each. A session that programs in the kernel carry is carried by tun meanwhile.",
            capture(),
        ),
        entry(
            "peer show",
            Action::PeerShow,
            "Prints a peer that has tunnels.",
            vec![
                argument(
                    "peer_ipaddr",
                    Takes::Value(Kind::Address),
                    "the peer's address",
                ),
                argument("local_ipaddr", Takes::Value(Kind::Address), "our address"),
            ],
        ),
        entry(
            "peer list",
            Action::PeerList,
            "Prints the peers that have tunnels, a line each.",
            vec![],
        ),
        entry(
            "debug modify",
            Action::DebugModify,
            "Turns categories of the detailed log on or off; the others stay as they are.",
            debug,
        ),
        entry(
            "debug show",
            Action::DebugShow,
            "Prints which categories are on.",
            targets(),
        ),
        entry(
            "config save",
            Action::ConfigSave,
            "Prints the daemon's configuration as commands, or writes it to a file. Secrets are in it. Tunnels and sessions are those that are open or tried \
             again; a tunnel that has ended for good is not in it.",
            vec![argument(
                "file",
                TEXT,
                "the file, readable by its owner only; not given: standard output",
            )],
        ),
        entry(
            "config restore",
            Action::ConfigRestore,
            "Carries out the commands of a file, until one fails.",
            vec![argument("file", TEXT, "the file")],
        ),
        entry(
            "config reload",
            Action::ConfigReload,
            "Has the daemon read its configuration file again and apply what differs.",
            vec![argument(
                "dry_run",
                Takes::Nothing,
                "says what would be done, and does nothing",
            )],
        ),
        entry(
            "server show",
            Action::ServerShow,
            "Prints which daemon is asked.",
            vec![],
        ),
        entry(
            "server modify",
            Action::ServerModify,
            "Asks another daemon from now on.",
            vec![argument("name", TEXT, "the path of its Unix socket")],
        ),
        entry(
            "monitor",
            Action::Monitor,
            "Prints what happens to tunnels, sessions and the configuration, a line each, until it is interrupted.",
            vec![argument(
                "type",
                TEXT,
                "the types of events, separated by commas; not given: all",
            )],
        ),
        entry(
            "completions",
            Action::Completions,
            "Prints what makes a shell complete the commands.",
            ["bash", "zsh", "fish"]
                .map(|shell| argument(shell, Takes::Nothing, "the shell"))
                .to_vec(),
        ),
        entry(
            "help",
            Action::Help,
            "Prints the commands, or what one takes.",
            vec![],
        ),
        entry("exit", Action::Exit, "Leaves.", vec![]),
        entry("quit", Action::Exit, "Leaves.", vec![]),
    ]
}

fn trace() -> Vec<Argument> {
    vec![
        argument(
            "tunnel_name",
            TEXT,
            "the tunnel, which need not be there yet",
        ),
        argument("tunnel_id", Takes::Value(Kind::Number), "our Tunnel ID"),
        argument(
            "session_name",
            TEXT,
            "the session, if one alone is to be shown",
        ),
        argument("session_id", Takes::Value(Kind::Number), "our Session ID"),
        argument(
            "peer_ipaddr",
            Takes::Value(Kind::Address),
            "in place of a tunnel: all that comes from an address or goes there",
        ),
        argument(
            "ppp",
            Takes::Value(Kind::Boolean),
            "PPP's control frames, too",
        ),
        argument(
            "count",
            Takes::Value(Kind::Number),
            "how many messages to show; not given: until it is interrupted",
        ),
    ]
}

fn capture() -> Vec<Argument> {
    vec![
        argument("tunnel_name", TEXT, "its tunnel"),
        argument("tunnel_id", Takes::Value(Kind::Number), "our Tunnel ID"),
        argument("session_name", TEXT, "the session"),
        argument("session_id", Takes::Value(Kind::Number), "our Session ID"),
        argument(
            "count",
            Takes::Value(Kind::Number),
            "how many packets to write; not given: until it is interrupted, or the session ends",
        ),
    ]
}

fn targets() -> Vec<Argument> {
    let profile =
        |name, object| argument(name, Takes::Value(Kind::Name(object)), "those of a profile");
    vec![
        argument("app", Takes::Nothing, "those of the daemon as a whole"),
        argument(
            "tunnel_id",
            Takes::Value(Kind::Number),
            "those of a tunnel, or of its session",
        ),
        argument("tunnel_name", TEXT, "the same, by its name"),
        argument(
            "session_id",
            Takes::Value(Kind::Number),
            "those of a session",
        ),
        argument("session_name", TEXT, "the same, by its name"),
        profile("tunnel_profile_name", Object::TunnelProfile),
        profile("session_profile_name", Object::SessionProfile),
        profile("ppp_profile_name", Object::PppProfile),
    ]
}

/// Those of `all` that the pieces begin with, and how many pieces that takes. Several are left only where the words end before it is clear.
pub(crate) fn narrow(all: Vec<Entry>, pieces: &[Piece]) -> Result<(Vec<Entry>, usize), Unknown> {
    let mut left = all;
    let mut depth = 0;
    while left.iter().any(|entry| entry.words.len() > depth) {
        let Some(piece) = pieces.get(depth) else {
            break;
        };
        let next = next(&left, depth);
        let word = piece.text.to_ascii_lowercase();
        let is_word = piece.kind == PieceKind::Word;
        let fits: Vec<_> = next
            .iter()
            .copied()
            .filter(|n| is_word && n.starts_with(&word))
            .collect();
        let chosen = match (fits.iter().find(|n| **n == word), fits.as_slice()) {
            (Some(exact), _) => *exact,
            (None, [one]) => *one,
            (None, []) => return Err(Unknown::Error(piece.text.clone(), next)),
            (None, _) => return Err(Unknown::Ambiguous(piece.text.clone(), fits)),
        };
        left.retain(|entry| entry.words.get(depth) == Some(&chosen));
        depth += 1;
    }
    Ok((left, depth))
}

/// The words that can stand at this place.
pub(crate) fn next(entries: &[Entry], depth: usize) -> Vec<&'static str> {
    let mut next: Vec<&'static str> = Vec::new();
    for word in entries.iter().filter_map(|entry| entry.words.get(depth)) {
        if !next.contains(word) {
            next.push(word);
        }
    }
    next
}

/// The command that the pieces are, and what is left of them for its arguments.
pub(crate) fn find(pieces: &[Piece]) -> Result<(Entry, &[Piece]), Unknown> {
    let (mut left, depth) = narrow(entries(), pieces)?;
    match (left.len(), left.pop()) {
        (1, Some(entry)) if entry.words.len() <= depth => Ok((entry, &pieces[depth..])),
        (_, Some(entry)) => {
            left.push(entry);
            Err(Unknown::Incomplete(next(&left, depth)))
        }
        (_, None) => Err(Unknown::Incomplete(Vec::new())),
    }
}

/// What the arguments of a command that is no object's say.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Given(Vec<(&'static str, String)>);

impl Given {
    /// Reads the pieces behind the words of `entry`.
    pub(crate) fn read(entry: &Entry, mut pieces: &[Piece]) -> Result<Self, String> {
        let mut given = Vec::new();
        while let [piece, rest @ ..] = pieces {
            let argument = entry.argument(piece)?;
            let is = |at: usize, kind| rest.get(at).is_some_and(|p: &Piece| p.kind == kind);
            let value = rest
                .get(1)
                .filter(|_| is(0, PieceKind::Equals) && !is(1, PieceKind::Equals));
            match (&argument.takes, value) {
                (_, Some(value)) => {
                    given.push((argument.name, value.text.clone()));
                    pieces = &rest[2..];
                }
                (Takes::Nothing, None) if !is(0, PieceKind::Equals) => {
                    given.push((argument.name, "yes".to_owned()));
                    pieces = rest;
                }
                _ => return Err(format!("{} needs `=` and a value", argument.name)),
            }
        }
        Ok(Self(given))
    }

    /// The value of an argument; the last, as it is the one that holds.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

impl Entry {
    /// The argument that a piece is the name of, or alone begins.
    pub(crate) fn argument(&self, piece: &Piece) -> Result<&Argument, String> {
        let word = piece
            .text
            .trim_start_matches("--")
            .replace('-', "_")
            .to_ascii_lowercase();
        let fits: Vec<_> = self
            .arguments
            .iter()
            .filter(|a| a.name.starts_with(&word))
            .collect();
        let exact = fits.iter().find(|a| a.name == word);
        match (exact, fits.as_slice()) {
            (Some(one), _) => Ok(one),
            (None, [one]) if piece.kind == PieceKind::Word => Ok(one),
            (None, []) | (None, [_]) => {
                let command = self.words.join(" ");
                let names: Vec<_> = self.arguments.iter().map(|a| a.name).collect();
                let nothing = format!("error at or near `{}`: {command} takes nothing", piece.text);
                let some = format!(
                    "error at or near `{}`: {command} takes {}",
                    piece.text,
                    names.join(", ")
                );
                Err(if names.is_empty() { nothing } else { some })
            }
            (None, several) => {
                let names: Vec<_> = several.iter().map(|a| a.name).collect();
                Err(format!(
                    "ambiguous name: `{}` can be {}",
                    piece.text,
                    names.join(" or ")
                ))
            }
        }
    }
}

/// What a boolean says.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "true" | "enable" | "1" => Some(true),
        "no" | "off" | "false" | "disable" | "0" => Some(false),
        _ => None,
    }
}
