//! Carries commands out.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use api::{Client, ClientError, CommandError, ErrorKind, Method, Range, ReloadReport, Request};
use config::{Command, Piece, Statement, command_line, parse_command, statements};
use serde_json::{Value, json};

use crate::vocabulary::{Action, Entry, Given, find};
use crate::{
    Failure, Flags, capture, complete, debug, explain, files, help, monitor, print, request, show,
    trace,
};

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    On,
    Leave,
}

/// The arguments of the program as a line: `;` by itself separates commands, and one argument with blanks in it is a line already.
pub(crate) fn joined(words: &[String]) -> String {
    match words {
        [line] if line.contains(char::is_whitespace) => line.clone(),
        _ => words
            .split(|word| word == ";")
            .map(command_line)
            .collect::<Vec<_>>()
            .join(";"),
    }
}

/// Carries out the commands of a line, up to one that fails.
pub(crate) fn line(flags: &mut Flags, text: &str) -> Result<Flow, Failure> {
    for Statement { pieces, span, .. } in statements(text) {
        if !pieces.is_empty()
            && command(flags, &text[span.start..span.end], &pieces)? == Flow::Leave
        {
            return Ok(Flow::Leave);
        }
    }
    Ok(Flow::On)
}

/// Prints the help on a command.
pub(crate) fn helped(words: &[String]) -> Result<(), Failure> {
    let text = help::help(words).map_err(|unknown| Failure::Usage(unknown.to_string()))?;
    print(&text)
}

pub(crate) fn command(flags: &mut Flags, text: &str, pieces: &[Piece]) -> Result<Flow, Failure> {
    if pieces[0].text.eq_ignore_ascii_case("help") {
        let words: Vec<_> = pieces[1..].iter().map(|piece| piece.text.clone()).collect();
        helped(&words)?;
        return Ok(Flow::On);
    }
    let (entry, rest) = find(pieces).map_err(|unknown| Failure::Usage(unknown.to_string()))?;
    if flags.pcap.is_some() && entry.action != Action::Trace {
        return Err(Failure::Usage("--pcap goes with `tunnel trace`".to_owned()));
    }
    if flags.write.is_some() && entry.action != Action::Capture {
        return Err(Failure::Usage("-w goes with `session capture`".to_owned()));
    }
    match entry.action {
        Action::Exit => {
            Given::read(&entry, rest).map_err(Failure::Usage)?;
            return Ok(Flow::Leave);
        }
        Action::Model(..) => model(flags, text)?,
        _ => fixed(flags, &entry, rest)?,
    }
    Ok(Flow::On)
}

/// A command of this program and the daemon as a whole.
fn fixed(flags: &mut Flags, entry: &Entry, rest: &[Piece]) -> Result<(), Failure> {
    let given = Given::read(entry, rest).map_err(Failure::Usage)?;
    let needed = |name: &str| {
        let missing = || Failure::Usage(format!("{} needs {name}=", entry.words.join(" ")));
        given.get(name).map(str::to_owned).ok_or_else(missing)
    };
    match entry.action {
        Action::Model(..) | Action::Help | Action::Exit => Ok(()),
        Action::ConfigSave => files::save(flags, given.get("file").map(Path::new)),
        Action::ConfigRestore => files::restore(flags, &PathBuf::from(needed("file")?)),
        Action::ConfigReload => reload(flags, flags.dry_run || given.get("dry_run").is_some()),
        Action::ServerShow => {
            let socket = flags.socket.display().to_string();
            let text = format!("Connected to server: {socket}\n");
            output(flags, &json!({ "server": socket }), text)
        }
        Action::ServerModify => {
            flags.socket = needed("name")?.into();
            Ok(())
        }
        Action::PeerShow => peer(flags, &given),
        Action::PeerList => {
            let peers = peers(flags)?;
            output(flags, &peers, show::peers(&peers))
        }
        Action::DebugShow => debug::show(flags, &given),
        Action::DebugModify => debug::modify(flags, &given),
        Action::Trace => traced(flags, &given),
        Action::Capture => capture::run(flags, &given),
        Action::Monitor => monitor::run(flags, given.get("type")),
        Action::Completions => {
            let shell = given.iter().next().map(|(name, _)| name);
            let shell = shell
                .ok_or_else(|| Failure::Usage("completions needs bash, zsh or fish".to_owned()))?;
            print(complete::script(shell))
        }
    }
}

fn traced(flags: &Flags, given: &Given) -> Result<(), Failure> {
    let words = given.iter().map(|(name, value)| format!("{name}={value}"));
    let words: Vec<_> = ["tunnel", "trace"]
        .map(str::to_owned)
        .into_iter()
        .chain(words)
        .collect();
    match trace::parse(&words) {
        Some(trace) => trace.map_err(Failure::Usage)?.run(flags),
        None => Ok(()),
    }
}

/// A command of the declared objects.
pub(crate) fn model(flags: &Flags, text: &str) -> Result<(), Failure> {
    let command = parse_command(text).map_err(|diagnostic| Failure::Usage(explain(&diagnostic)))?;
    let request = request::request(&command).map_err(Failure::Usage)?;
    let client = Client::new(&flags.socket)?;
    let mut answer = whole(&client, request)?;
    show::narrow(&command, &mut answer);
    if let Some(text) = structured(flags, &answer)? {
        return print(&text);
    }
    if !request::is_change(&command) {
        return print(&show::answer(&command, answer).map_err(misunderstood)?);
    }
    done(flags, &command, answer)
}

/// The answer to a request; of a list, all pages.
pub(crate) fn whole(client: &Client, mut request: Request) -> Result<Value, ClientError> {
    match request.range_mut() {
        Some(_) => Ok(Value::Array(
            client.list(request).collect::<Result<_, _>>()?,
        )),
        None => client.call(&request),
    }
}

/// Says what a command has done. As ever in OpenL2TP, what was made is said on standard error.
fn done(flags: &Flags, command: &Command, answer: Value) -> Result<(), Failure> {
    if flags.quiet {
        return Ok(());
    }
    let text = show::done(command, answer).map_err(misunderstood)?;
    if command.verb == config::Verb::Create {
        return Ok(io::stderr().write_all(text.as_bytes())?);
    }
    print(&text)
}

fn misunderstood(error: serde_json::Error) -> Failure {
    ClientError::Protocol(error.to_string()).into()
}

/// An answer in the form that the options ask for, if they do.
fn structured(flags: &Flags, answer: &Value) -> Result<Option<String>, Failure> {
    if flags.json {
        return Ok(Some(format!("{answer:#}\n")));
    }
    if flags.yaml {
        let text = serde_saphyr::to_string(answer).map_err(io::Error::other)?;
        return Ok(Some(format!("{}\n", text.trim_end())));
    }
    Ok(None)
}

/// Prints an answer in the form that the options ask for, or else `text`.
pub(crate) fn output(flags: &Flags, answer: &Value, text: String) -> Result<(), Failure> {
    print(&structured(flags, answer)?.unwrap_or(text))
}

fn reload(flags: &Flags, dry_run: bool) -> Result<(), Failure> {
    let body = json!({ "dry_run": dry_run }).as_object().cloned();
    let client = Client::new(&flags.socket)?;
    let text = client.ask(Method::POST, "/v1/config/reload", body.as_ref())?;
    let answer: Value = serde_json::from_str(&text).map_err(misunderstood)?;
    let report: ReloadReport = serde_json::from_value(answer.clone()).map_err(misunderstood)?;
    output(flags, &answer, show::difference(&report))?;
    match report.failed.count {
        0 => Ok(()),
        _ => Err(Failure::Reported(1)),
    }
}

/// The pairs of addresses that have tunnels.
fn peers(flags: &Flags) -> Result<Value, Failure> {
    let client = Client::new(&flags.socket)?;
    Ok(whole(&client, Request::PeerList(Range::default()))?)
}

fn peer(flags: &Flags, given: &Given) -> Result<(), Failure> {
    let Some(address) = given.get("peer_ipaddr") else {
        return Err(Failure::Usage("peer show needs peer_ipaddr=".to_owned()));
    };
    let peers = peers(flags)?;
    let is_it = |peer: &&Value| given.iter().all(|(name, value)| peer[name] == value);
    let found = peers.as_array().and_then(|peers| peers.iter().find(is_it));
    let missing = || {
        CommandError::new(
            ErrorKind::NotFound,
            format!("there is no peer {address} that has tunnels"),
        )
    };
    let found = found.ok_or_else(|| ClientError::Refused(missing()))?;
    output(flags, found, show::peer(found))
}
