//! The command line: one command of OpenL2TP's vocabulary, asked of the daemon.
//!
//! Exit statuses: 0 done, 1 refused, 2 not understood, 3 no such object, 4 no daemon.

mod capture;
mod complete;
mod debug;
mod files;
mod help;
mod manual;
mod monitor;
mod pcap;
mod request;
mod run;
mod shell;
mod show;
mod trace;
mod vocabulary;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use api::{ClientError, ErrorKind};
use clap::Parser;
use config::Diagnostic;

/// Asks the L2TP daemon to do or to show something.
#[derive(Parser, Debug)]
// An alias may hold options, which a command line overrides.
#[command(
    name = "l2tpconfig",
    version,
    disable_help_flag = true,
    args_override_self = true
)]
struct Flags {
    /// The daemon's Unix socket
    #[arg(long, value_name = "PATH", default_value = "/run/openl2tpd/api.sock")]
    socket: PathBuf,
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
    /// Print the daemon's answer as YAML
    #[arg(long, conflicts_with = "json")]
    yaml: bool,
    /// Do not say what was done
    #[arg(short)]
    quiet: bool,
    /// OpenL2TP's choice of a server on the network, which there is no more: refused
    #[arg(short = 'R', value_name = "HOST")]
    host: Option<String>,
    /// OpenL2TP's choice of TCP, of no effect: answers have no limit of size
    #[arg(short = 't')]
    tcp: bool,
    /// With `config reload`: say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// With `tunnel trace`: write the messages to this file, which Wireshark opens
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// With `session capture`: write the packets to this file, which Wireshark opens, in place of standard output
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Print the commands, or what a command takes
    #[arg(short, long)]
    help: bool,
    /// Print the manual page, as roff source
    #[arg(long, hide = true)]
    print_manual: bool,
    /// The command, as in: tunnel create dest_ipaddr=192.0.2.1 tunnel_name=office
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

/// Why the exit status is not 0.
enum Failure {
    /// The command is not understood, or this program does not know how to carry it out.
    Usage(String),
    /// It is, but its answer is not what was wanted.
    Client(ClientError),
    /// It is, but the configuration would be wrong by it.
    Refused(String),
    /// The answer can't be printed.
    Output(io::Error),
    /// What is to be carried out can't be read.
    Input(io::Error),
    /// A file can't be read or written.
    File(PathBuf, io::Error),
    /// One of many commands failed, at this place.
    At(String, Box<Self>),
    /// It has been said, and this is the status.
    Reported(u8),
}

impl Failure {
    fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Client(ClientError::Refused(error)) if error.kind == ErrorKind::NotFound => 3,
            Self::Client(
                ClientError::NoDaemon { .. } | ClientError::Gone(_) | ClientError::Late(_),
            ) => 4,
            Self::File(_, error) if error.kind() == io::ErrorKind::NotFound => 3,
            Self::Input(error) if error.kind() == io::ErrorKind::InvalidData => 2,
            Self::Client(_)
            | Self::Refused(_)
            | Self::Input(_)
            | Self::Output(_)
            | Self::File(..) => 1,
            Self::At(_, failure) => failure.status(),
            Self::Reported(status) => *status,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Refused(message) => f.write_str(message),
            Self::Client(error) => write!(f, "{error}"),
            Self::Input(error) if error.kind() == io::ErrorKind::InvalidData => {
                f.write_str("standard input: a line is not UTF-8")
            }
            Self::Input(error) => write!(f, "standard input: {error}"),
            Self::Output(error) => write!(f, "cannot print the answer: {error}"),
            Self::File(file, error) => write!(f, "{}: {error}", file.display()),
            Self::At(place, failure) => write!(f, "{place}: {failure}"),
            Self::Reported(_) => Ok(()),
        }
    }
}

fn main() -> ExitCode {
    match run(&mut Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has enough of it.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            report(&failure);
            ExitCode::from(failure.status())
        }
    }
}

/// Says what went wrong, unless that has been said.
fn report(failure: &Failure) {
    if !matches!(failure, Failure::Reported(_)) {
        eprintln!("l2tpconfig: {failure}");
    }
}

fn run(flags: &mut Flags) -> Result<(), Failure> {
    if let Some(host) = &flags.host {
        return Err(Failure::Usage(format!(
            "-R {host}: the daemon is not asked over the network any more; run l2tpconfig on its machine, as in `ssh {host} l2tpconfig ...`, \
             or name its socket with --socket"
        )));
    }
    if flags.print_manual {
        return print(&manual::page()?);
    }
    if flags.help {
        return run::helped(&flags.words);
    }
    match flags.words.as_slice() {
        [] if io::stdin().is_terminal() => return shell::interactive(flags),
        [] => return shell::script(flags),
        // What the scripts of shells ask.
        [word, form, text] if word == "complete" => {
            let text = text.trim_start();
            return print(&complete::lines(&flags.socket, text, form == "token"));
        }
        _ => (),
    }
    let line = run::joined(&flags.words);
    run::line(flags, &line).map(drop)
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// What is wrong with the command, and a mark below the place.
fn explain(diagnostic: &Diagnostic) -> String {
    let Diagnostic {
        message,
        source_line,
        column,
        width,
        ..
    } = diagnostic;
    format!(
        "{message}\n    {source_line}\n    {}{}",
        " ".repeat(column - 1),
        "^".repeat(*width)
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_daemon_that_does_not_answer_in_time_is_as_none() {
        let late = ClientError::Late(Duration::from_secs(30));
        let failure = Failure::At("line 1".to_owned(), Box::new(late.into()));
        assert_eq!(failure.status(), 4);
    }
}
