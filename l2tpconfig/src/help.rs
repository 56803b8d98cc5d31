//! Help, from the vocabulary.

use std::io::{self, IsTerminal};

use config::statements;

use crate::vocabulary::{self, Action, Entry, Takes, Unknown};

/// The columns of what is no terminal.
const WIDTH: usize = 100;
/// Where help begins behind a name.
const INDENT: usize = 31;

/// What the words can be about: all commands, those that begin so, or the arguments of one.
pub(crate) fn help(words: &[String]) -> Result<String, Unknown> {
    let text = words.join(" ");
    let pieces = statements(&text).pop().unwrap_or_default().pieces;
    match vocabulary::narrow(vocabulary::entries(), &pieces) {
        _ if pieces.is_empty() => Ok(overview()),
        Err(unknown) => Err(unknown),
        Ok((entries, depth)) => Ok(match entries.as_slice() {
            [entry] if entry.words.len() <= depth => command(entry),
            several => class(several, depth),
        }),
    }
}

fn overview() -> String {
    let mut text = String::from(
        "Usage: l2tpconfig [OPTIONS] COMMAND [NAME=VALUE...]\n       \
         l2tpconfig [OPTIONS]\n       \
         l2tpconfig --help [COMMAND]\n\n  \
         --socket PATH  the daemon's Unix socket [/run/openl2tpd/api.sock]\n  \
         --json         print the daemon's answer as JSON\n  \
         --yaml         print the daemon's answer as YAML\n  \
         -q             do not say what was done\n  \
         --dry-run      with `config reload`: say what would be done, and do nothing\n  \
         --pcap FILE    write the messages of `tunnel trace` to a file that Wireshark opens\n  \
         -V, --version  print the version\n\n\
         Without a command they are read from standard input; at a terminal TAB completes and ? helps.\n\
         Commands, of which any unique beginning will do, are separated by `;`:\n",
    );
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    let all = vocabulary::entries();
    for entry in &all {
        let (last, first) = entry.words.split_last().unwrap_or((&"", &[]));
        let class = first.join(" ");
        match groups.iter_mut().find(|(name, _)| *name == class) {
            Some((_, verbs)) => verbs.push(last),
            None => groups.push((class, vec![last])),
        }
    }
    for (class, verbs) in groups {
        text += &match class.as_str() {
            "" => format!("  {}\n", verbs.join(", ")),
            class => format!("  {class:<16} {}\n", verbs.join("|")),
        };
    }
    text + "\nExit status: 0 done, 1 refused, 2 not understood, 3 no such object, 4 no daemon\n"
}

/// Commands that begin alike.
fn class(entries: &[Entry], depth: usize) -> String {
    let common = entries[0].words[..depth].join(" ");
    let mut text = format!(
        "Usage: l2tpconfig {common} {}\n\n",
        vocabulary::next(entries, depth).join("|")
    );
    for entry in entries {
        text += &row(&entry.words[depth..].join(" "), &entry.help, width());
    }
    text
}

fn command(entry: &Entry) -> String {
    if entry.action == Action::Trace {
        return crate::trace::HELP.to_owned();
    }
    let width = width();
    let mut text = format!(
        "{}\nUsage: l2tpconfig {}",
        wrapped(&entry.help, width),
        entry.words.join(" ")
    );
    let is_flag = |takes: &Takes| *takes == Takes::Nothing;
    for flag in entry.arguments.iter().filter(|a| is_flag(&a.takes)) {
        text += &format!(" [{}]", flag.name);
    }
    if entry.arguments.iter().any(|a| !is_flag(&a.takes)) {
        text += " NAME=VALUE...";
    }
    text += "\n\n";
    for argument in &entry.arguments {
        text += &row(argument.name, &argument.help, width);
    }
    text
}

/// The columns there are.
pub(crate) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|&n| n > 0);
    columns
        .filter(|_| io::stdout().is_terminal())
        .unwrap_or(WIDTH)
}

/// Text in lines no wider than that.
pub(crate) fn wrapped(text: &str, width: usize) -> String {
    textwrap::fill(text, width.max(20)) + "\n"
}

/// A name and what it is, no wider than `width` columns where that has room for both.
pub(crate) fn row(name: &str, help: &str, width: usize) -> String {
    let room = width.max(60) - INDENT;
    let mut lines = textwrap::wrap(help, room).into_iter();
    let first = lines.next().unwrap_or_default();
    let mut text = format!("  {name:<28} {first}").trim_end().to_owned() + "\n";
    for line in lines {
        text += &format!("{:INDENT$}{line}\n", "");
    }
    text
}
