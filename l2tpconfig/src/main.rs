//! The command line: one command of OpenL2TP's vocabulary, asked of the daemon.
//!
//! Exit statuses: 0 done, 1 refused, 2 not understood, 3 no such object, 4 no daemon.

mod help;
mod pcap;
mod request;
mod show;
mod trace;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use api::{Client, ClientError, ErrorKind};
use clap::Parser;
use config::{Command, Diagnostic, command_line, parse_command};
use serde_json::Value;

/// Asks the L2TP daemon to do or to show something.
#[derive(Parser, Debug)]
#[command(name = "l2tpconfig", version, disable_help_flag = true)]
struct Flags {
    /// The daemon's Unix socket
    #[arg(long, value_name = "PATH", default_value = "/run/openl2tpd/api.sock")]
    socket: PathBuf,
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,
    /// Do not say what was done
    #[arg(short)]
    quiet: bool,
    /// With `tunnel trace`: write the messages to this file, which Wireshark opens
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Print the commands, or what a command takes
    #[arg(short, long)]
    help: bool,
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
    /// The answer can't be printed.
    Output(io::Error),
}

impl Failure {
    fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Client(ClientError::Refused(error)) if error.kind == ErrorKind::NotFound => 3,
            Self::Client(ClientError::NoDaemon { .. }) => 4,
            Self::Client(_) | Self::Output(_) => 1,
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

fn main() -> ExitCode {
    let flags = Flags::parse();
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has enough of it.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            match &failure {
                Failure::Usage(message) => eprintln!("l2tpconfig: {message}"),
                Failure::Client(error) => eprintln!("l2tpconfig: {error}"),
                Failure::Output(error) => eprintln!("l2tpconfig: cannot print the answer: {error}"),
            }
            ExitCode::from(failure.status())
        }
    }
}

fn run(flags: &Flags) -> Result<(), Failure> {
    if flags.help {
        return print(&help::help(&flags.words));
    }
    if flags.words.is_empty() {
        return Err(Failure::Usage(
            "which command? `l2tpconfig --help` has them all".to_owned(),
        ));
    }
    if let Some(trace) = trace::parse(&flags.words) {
        return trace.map_err(Failure::Usage)?.run(flags);
    }
    if flags.pcap.is_some() {
        return Err(Failure::Usage("--pcap goes with `tunnel trace`".to_owned()));
    }
    let text = command_line(&flags.words);
    let command =
        parse_command(&text).map_err(|diagnostic| Failure::Usage(explain(&diagnostic)))?;
    let mut request = request::request(&command).map_err(Failure::Usage)?;
    let client = Client::new(&flags.socket)?;
    let answer: Value = match request.range_mut() {
        Some(_) => Value::Array(client.list(request).collect::<Result<_, _>>()?),
        None => client.call(&request)?,
    };
    if flags.json {
        return print(&format!("{answer:#}\n"));
    }
    print(&describe(flags, &command, answer)?)
}

/// The answer in words.
fn describe(flags: &Flags, command: &Command, answer: Value) -> Result<String, Failure> {
    let done = request::is_change(command);
    if done && flags.quiet {
        return Ok(String::new());
    }
    let text = if done {
        show::done(command, answer)
    } else {
        show::answer(command, answer)
    };
    text.map_err(|error| ClientError::Protocol(error.to_string()).into())
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
