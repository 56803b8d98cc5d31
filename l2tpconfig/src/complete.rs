//! What can be typed next: candidates for TAB and for shells, and the help that `?` prints.

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{Client, Collection, Range, Request, SessionFilter, TunnelFilter};
use clap::{Arg, CommandFactory};
use config::{Kind, Object, Piece, PieceKind, Role, Statement, statements, written};
use serde_json::Value;

use crate::Flags;
use crate::vocabulary::{self, Action, Argument, Entry, Takes};

/// How long the daemon may take to name its objects while somebody types.
const PATIENCE: Duration = Duration::from_millis(500);

/// More names than these are nothing to choose from.
const MANY: usize = 1_000;

/// What can stand where something is typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Candidate {
    /// What it is, with what has to follow it: `=` or a space.
    pub(crate) text: String,
    pub(crate) help: String,
}

/// What is typed at the end of a text.
struct Place {
    /// What stands before, of the same statement.
    before: Vec<Piece>,
    /// What has been typed of it, and where that begins.
    typed: String,
    start: usize,
    is_quoted: bool,
}

fn place(text: &str) -> Place {
    let mut all = statements(text);
    let Statement {
        mut pieces,
        is_broken,
        ..
    } = all.pop().unwrap_or_default();
    let is_typed = |p: &Piece| p.span.end == text.len() && (p.kind == PieceKind::Word || is_broken);
    match pieces.pop_if(|piece| is_typed(piece)) {
        Some(piece) => Place {
            before: pieces,
            typed: piece.text,
            start: piece.span.start,
            is_quoted: is_broken,
        },
        None => Place {
            before: pieces,
            typed: String::new(),
            start: text.len(),
            is_quoted: false,
        },
    }
}

/// Whether what is typed at the end of `text` is within quotes.
pub(crate) fn is_quoted(text: &str) -> bool {
    statements(text).last().is_some_and(|last| last.is_broken)
}

/// Where what is typed at the end of `text` begins, and what it can become.
pub(crate) fn candidates(socket: &Path, text: &str) -> (usize, Vec<Candidate>) {
    let place = place(text);
    let Ok((entries, depth)) = vocabulary::narrow(vocabulary::entries(), &place.before) else {
        return (place.start, Vec::new());
    };
    if entries.iter().any(|entry| entry.words.len() > depth) {
        let typed = place.typed.to_ascii_lowercase();
        let fits = vocabulary::next(&entries, depth)
            .into_iter()
            .filter(|word| word.starts_with(&typed));
        let all = fits.map(|word| Candidate {
            text: format!("{word} "),
            help: word_help(&entries, depth, word),
        });
        return (place.start, all.collect());
    }
    let Some(entry) = entries.first() else {
        return (place.start, Vec::new());
    };
    match value_of(entry, &place.before) {
        Some(argument) => values(socket, entry, argument, &place),
        None => (place.start, arguments(entry, &place, depth)),
    }
}

fn word_help(entries: &[Entry], depth: usize, word: &str) -> String {
    let mut those = entries
        .iter()
        .filter(|entry| entry.words.get(depth) == Some(&word));
    match (those.next(), those.next()) {
        (Some(entry), None) => entry.help.clone(),
        (Some(first), Some(second)) => {
            let rest = [first, second].into_iter().chain(those);
            let mut verbs: Vec<_> = rest
                .filter_map(|entry| entry.words.get(depth + 1))
                .copied()
                .collect();
            verbs.dedup();
            verbs.join("|")
        }
        _ => String::new(),
    }
}

/// The argument whose value is typed, if one is.
fn value_of<'a>(entry: &'a Entry, before: &[Piece]) -> Option<&'a Argument> {
    match before {
        [.., name, equals] if equals.kind == PieceKind::Equals => entry.argument(name).ok(),
        _ => None,
    }
}

fn arguments(entry: &Entry, place: &Place, depth: usize) -> Vec<Candidate> {
    let typed = place.typed.to_ascii_lowercase();
    let given: Vec<_> = place.before[depth..]
        .iter()
        .filter_map(|p| entry.argument(p).ok())
        .collect();
    let fits = entry
        .arguments
        .iter()
        .filter(|a| a.name.starts_with(&typed) && !given.contains(a));
    fits.map(|a| {
        let end = if a.takes == Takes::Nothing { " " } else { "=" };
        Candidate {
            text: format!("{}{end}", a.name),
            help: a.help.clone(),
        }
    })
    .collect()
}

fn values(
    socket: &Path,
    entry: &Entry,
    argument: &Argument,
    place: &Place,
) -> (usize, Vec<Candidate>) {
    let Takes::Value(kind) = argument.takes else {
        return (place.start, Vec::new());
    };
    let (done, typed) = match (kind, place.typed.rfind(',')) {
        (Kind::Flags(_), Some(comma)) => place.typed.split_at(comma + 1),
        _ => ("", place.typed.as_str()),
    };
    let fixed = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let names = match kind {
        Kind::Boolean => fixed(vec!["yes", "no"]),
        Kind::Choice(words) => fixed(words.to_vec()),
        Kind::Flags(flags) => fixed(flags.iter().map(|(name, _)| *name).chain(["all"]).collect()),
        _ => live(socket, entry, argument.name, kind, place).unwrap_or_default(),
    };
    let fits = names
        .into_iter()
        .filter(|name| name.to_lowercase().starts_with(&typed.to_lowercase()));
    let text = |name: String| match place.is_quoted {
        true => format!("{} ", config::quoted(&name)),
        false => format!("{done}{} ", written(&name)),
    };
    (
        place.start,
        fits.map(|name| Candidate {
            text: text(name),
            help: String::new(),
        })
        .collect(),
    )
}

/// The names of objects that the daemon has, where one of them is wanted.
fn live(
    socket: &Path,
    entry: &Entry,
    name: &str,
    kind: Kind,
    place: &Place,
) -> Option<Vec<String>> {
    let client = Client::new(socket).ok()?.with_patience(PATIENCE);
    let ask = |request| {
        let items = client.list::<Value>(request).take(MANY);
        items.collect::<Result<Value, _>>().ok()
    };
    let key = match entry.action {
        Action::Model(object, verb) if verb != config::Verb::Create => object
            .key()
            .filter(|key| key.name == name && key.role == Role::Key)
            .map(|_| object),
        _ => None,
    };
    let (list, member) = match (kind, name) {
        (_, "tunnel_name" | "tunnel_id")
            if entry.action != Action::Model(Object::Tunnel, config::Verb::Create) =>
        {
            (
                ask(Request::TunnelList(
                    TunnelFilter::default(),
                    Range::default(),
                ))?,
                name,
            )
        }
        (_, "session_name" | "session_id")
            if entry.action != Action::Model(Object::Session, config::Verb::Create) =>
        {
            (
                ask(Request::SessionList(
                    SessionFilter::default(),
                    Range::default(),
                ))?,
                name,
            )
        }
        (Kind::Name(object), _) => (
            ask(Request::ObjectList(
                Collection::of(object)?,
                Range::default(),
            ))?,
            object.key()?.name,
        ),
        _ => (
            ask(Request::ObjectList(Collection::of(key?)?, Range::default()))?,
            name,
        ),
    };
    let of_tunnel = tunnel_filter(entry, &place.before);
    let wanted = |item: &&Value| match &of_tunnel {
        Some((key, value)) if name.starts_with("session") => {
            text_of(&item[*key]).as_ref() == Some(value)
        }
        _ => true,
    };
    let mut names: Vec<_> = list
        .as_array()?
        .iter()
        .filter(wanted)
        .filter_map(|item| text_of(&item[member]))
        .collect();
    names.sort();
    names.dedup();
    Some(names)
}

/// The tunnel that has been named before a session.
fn tunnel_filter(entry: &Entry, before: &[Piece]) -> Option<(&'static str, String)> {
    before.windows(3).find_map(|window| {
        let argument = entry.argument(&window[0]).ok()?;
        let is_tunnel = window[1].kind == PieceKind::Equals
            && ["tunnel_id", "tunnel_name"].contains(&argument.name);
        is_tunnel.then(|| (argument.name, window[2].text.clone()))
    })
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Help on what can be typed at the end of `text`, no wider than `width` columns.
pub(crate) fn help(socket: &Path, text: &str, width: usize) -> String {
    let place = place(text);
    let narrowed = vocabulary::narrow(vocabulary::entries(), &place.before);
    let argument = match &narrowed {
        Err(unknown) => return crate::help::wrapped(&unknown.to_string(), width),
        Ok((entries, depth)) => entries
            .first()
            .filter(|entry| entry.words.len() <= *depth)
            .and_then(|entry| value_of(entry, &place.before)),
    };
    let (_, candidates) = candidates(socket, text);
    let mut out = argument.map_or(String::new(), |a| crate::help::row(a.name, &a.help, width));
    if candidates.is_empty() && argument.is_none() {
        out += match place.typed.is_empty() {
            true => "Enter: carry the command out\n",
            false => "nothing that begins like this can stand here\n",
        };
    }
    for candidate in candidates {
        out += &crate::help::row(candidate.text.trim_end(), &candidate.help, width);
    }
    out
}

/// Where the command begins behind the options of a shell's line, and the socket that they name; nothing while one of them is typed.
fn behind_options(text: &str) -> Option<(usize, Option<PathBuf>)> {
    let first = statements(text).into_iter().next().unwrap_or_default();
    let mut pieces = first.pieces.into_iter().peekable();
    let mut socket = None;
    while let Some(option) = pieces.next_if(|piece| piece.text.starts_with('-')) {
        let mut end = option.span.end;
        if takes_value(&option.text) {
            pieces.next_if(|piece| piece.kind == PieceKind::Equals);
            let value = pieces.next()?;
            end = value.span.end;
            if option.text == "--socket" {
                socket = Some(value.text.into());
            }
        }
        if end == text.len() {
            return None;
        }
    }
    let start = pieces.peek().map_or(text.len(), |piece| piece.span.start);
    Some((start, socket))
}

/// Whether an option of the program, as it is written, has a value behind it.
fn takes_value(option: &str) -> bool {
    let is_it = |a: &&Arg| {
        let long = a
            .get_long()
            .is_some_and(|long| option.strip_prefix("--") == Some(long));
        let short = a
            .get_short()
            .is_some_and(|short| option.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4])));
        long || short
    };
    let command = Flags::command();
    let found = command.get_arguments().find(is_it);
    found.is_some_and(|a| a.get_action().takes_values())
}

/// The options of the program that begin with what is typed.
fn options(typed: &str) -> Vec<Candidate> {
    let command = Flags::command();
    let shown = command.get_arguments().filter(|a| !a.is_hide_set());
    let candidate = |a: &Arg| {
        let end = if a.get_action().takes_values() {
            "="
        } else {
            " "
        };
        Some(Candidate {
            text: format!("--{}{end}", a.get_long()?),
            help: a.get_help().map(ToString::to_string).unwrap_or_default(),
        })
    };
    let all = shown.filter_map(candidate);
    all.filter(|c| c.text.starts_with(typed)).collect()
}

/// For shells: a candidate a line. `token` prints what stands before it in the same word of the shell, too, as zsh and fish want it.
pub(crate) fn lines(socket: &Path, text: &str, token: bool) -> String {
    let (text, start, candidates) = match behind_options(text) {
        Some((at, other)) => {
            let text = &text[at..];
            let socket = other.as_deref().unwrap_or(socket);
            let (start, candidates) = candidates(socket, text);
            (text, start, candidates)
        }
        None => {
            let start = text.rfind([' ', '\t']).map_or(0, |blank| blank + 1);
            let typed = &text[start..];
            let option = typed.starts_with('-').then(|| options(typed));
            (text, start, option.unwrap_or_default())
        }
    };
    let before = &text[..start];
    let prefix = before
        .rfind([' ', '\t'])
        .map_or(before, |at| &before[at + 1..]);
    let prefix = if token { prefix } else { "" };
    let first = |help: &str| {
        help.split_inclusive(". ")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    candidates
        .into_iter()
        .map(|c| match (token, c.help.is_empty()) {
            (true, false) => format!("{prefix}{}\t{}\n", c.text.trim_end(), first(&c.help)),
            _ => format!("{prefix}{}\n", c.text.trim_end()),
        })
        .collect()
}

/// What a shell evaluates to complete our commands.
pub(crate) fn script(shell: &str) -> &'static str {
    match shell {
        "bash" => include_str!("completions/l2tpconfig.bash"),
        "zsh" => include_str!("completions/l2tpconfig.zsh"),
        _ => include_str!("completions/l2tpconfig.fish"),
    }
}
