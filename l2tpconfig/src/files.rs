//! `config save` and `config restore`: the daemon's configuration as a file of commands.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use api::{Client, Method};
use config::{Argument, Command, Model, Role, Statement, Verb, parse_command, statements};
use tempfile::NamedTempFile;

use crate::run::{command, model};
use crate::vocabulary::{Action, Given, find};
use crate::{Failure, Flags, explain, print, request};

/// How many links a name may lead through, as in the kernel.
const MOST_LINKS: usize = 40;

/// The daemon's configuration as commands, secrets in clear.
fn present(flags: &Flags) -> Result<String, Failure> {
    Ok(Client::new(&flags.socket)?.ask(Method::GET, "/v1/config/file", None)?)
}

/// Writes the configuration to a file, or prints it.
pub(crate) fn save(flags: &Flags, file: Option<&Path>) -> Result<(), Failure> {
    let text = present(flags)?;
    let Some(file) = file else {
        return print(&text);
    };
    write(file, text.as_bytes()).map_err(|error| Failure::File(file.to_owned(), error))
}

/// Puts a text in a file, whole or not at all, and nobody else's to read; what fails leaves nothing behind. Links are followed, and what is no regular
/// file, as a terminal or a pipe, is written to as it stands.
fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let Some(target) = target(file)? else {
        return fs::OpenOptions::new()
            .write(true)
            .open(file)?
            .write_all(text);
    };
    let folder = target
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut new = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    new.write_all(text)?;
    new.as_file().sync_all()?;
    new.persist(&target)?;
    Ok(())
}

/// The file that a name leads to, which need not be there yet. None of what is no regular file, or one that is open already, as `/dev/stdout` may be.
fn target(file: &Path) -> io::Result<Option<PathBuf>> {
    let mut target = file.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(next) = fs::read_link(&target) else {
            let is_other = fs::metadata(&target).is_ok_and(|there| !there.is_file());
            return Ok(Some(target).filter(|_| !is_other));
        };
        if ["/dev", "/proc"]
            .iter()
            .any(|of_kernel| target.starts_with(of_kernel))
        {
            return Ok(None);
        }
        target = target.parent().unwrap_or(Path::new("")).join(next);
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// Carries out the commands of a file. Where something of it is not understood, nothing is done.
///
/// A file that only makes and changes objects, as `config save` writes it, is taken as the daemon takes one at its start: the order of its statements does
/// not matter, and where it cannot be added to what the daemon has, nothing is done. Of any other, one command is carried out after the other.
pub(crate) fn restore(flags: &mut Flags, file: &Path) -> Result<(), Failure> {
    let text = fs::read_to_string(file).map_err(|error| Failure::File(file.to_owned(), error))?;
    let at = |statement: &Statement, failure| {
        let line = text[..statement.span.start].matches('\n').count() + 1;
        Failure::At(format!("{}:{line}", file.display()), Box::new(failure))
    };
    let mut all = statements(&text);
    all.retain(|statement| !statement.pieces.is_empty());
    let mut only_defines = true;
    for statement in &all {
        let Statement { span, .. } = statement;
        let defines = defines(&text[span.start..span.end], statement);
        only_defines &= defines.map_err(|failure| at(statement, failure))?;
    }
    if only_defines && let Ok(has) = Model::load("", &present(flags)?) {
        return add(flags, file, &has.model, &text);
    }
    for statement in &all {
        let Statement { pieces, span, .. } = statement;
        command(flags, &text[span.start..span.end], pieces)
            .map_err(|failure| at(statement, failure))?;
    }
    Ok(())
}

/// Whether a statement makes or changes an object and does nothing else; an error where it is not understood.
fn defines(text: &str, Statement { pieces, .. }: &Statement) -> Result<bool, Failure> {
    if pieces[0].text.eq_ignore_ascii_case("help") {
        return Ok(false);
    }
    let (entry, rest) = find(pieces).map_err(|unknown| Failure::Usage(unknown.to_string()))?;
    let Action::Model(..) = entry.action else {
        Given::read(&entry, rest).map_err(Failure::Usage)?;
        return Ok(false);
    };
    let command = parse_command(text).map_err(|diagnostic| Failure::Usage(explain(&diagnostic)))?;
    request::request(&command).map_err(Failure::Usage)?;
    // Ids are of what lives, and what is only done is not kept.
    let is_kept = |argument: &Argument| {
        let parameter = command.object.parameter(argument.name);
        parameter.is_ok_and(|p| !matches!(p.role, Role::Id | Role::Action))
    };
    let makes = matches!(command.verb, Verb::Create | Verb::Modify | Verb::Unset);
    Ok(makes && command.arguments.iter().all(is_kept))
}

/// Adds to what the daemon has what a file says.
fn add(flags: &Flags, file: &Path, has: &Model, text: &str) -> Result<(), Failure> {
    let name = file.display().to_string();
    let commands = has.commands_for(&name, text).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Failure::Refused(lines.join("\n"))
    })?;
    for text in commands {
        model(flags, &text).map_err(|failure| {
            let what = parse_command(&text).map_or_else(|_| String::new(), |c| described(&c));
            Failure::At(format!("{name}: {what}"), Box::new(failure))
        })?;
    }
    Ok(())
}

/// A command for people, without what it gives.
fn described(command: &Command) -> String {
    let key = command.object.key().map_or("", |key| key.name);
    let mut said = format!("{} {}", command.object, command.verb);
    for name in [key, "tunnel_name", "session_name"] {
        if let Some(value) = command.value(name) {
            said.push_str(&format!(" {name}={value}"));
        }
    }
    said
}
