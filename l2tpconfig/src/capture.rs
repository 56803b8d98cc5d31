//! `session capture`: the packets of a session as they pass, for Wireshark, or as JSON.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use api::{CapturedPacket, Client, Followed, Selector};

use crate::pcap::Packets;
use crate::vocabulary::Given;
use crate::{Failure, Flags};

/// Where packets go.
enum To {
    File(Packets<Box<dyn Write>>),
    Json,
}

impl To {
    /// Begins a file in place of what was there.
    fn open(flags: &Flags) -> Result<Self, Failure> {
        let out: Box<dyn Write> = match &flags.write {
            Some(path) => Box::new(File::create(path).map_err(|e| Failure::File(path.clone(), e))?),
            None if flags.json => return Ok(Self::Json),
            None => Box::new(io::stdout()),
        };
        Ok(Self::File(Packets::begin(out)?))
    }

    fn add(&mut self, packet: &CapturedPacket) -> io::Result<()> {
        match self {
            Self::File(file) => file.add(packet),
            Self::Json => {
                let mut out = io::stdout().lock();
                writeln!(out, "{}", serde_json::to_string(packet)?)?;
                out.flush()
            }
        }
    }
}

/// Follows until there were enough, the session ends, or it is interrupted; says how many there were.
pub(crate) fn run(flags: &Flags, given: &Given) -> Result<(), Failure> {
    let tunnel = selector(given, "tunnel_id", "tunnel_name")?;
    let session = selector(given, "session_id", "session_name")?;
    let mut left = match given.get("count").map(str::parse::<u64>) {
        None => u64::MAX,
        Some(Ok(count)) if count > 0 => count,
        Some(_) => return Err(Failure::Usage("count is a number from 1".to_owned())),
    };
    if flags.write.is_none() && !flags.json && io::stdout().is_terminal() {
        let instead = "-w FILE is needed, or a program that reads: | wireshark -k -i -";
        return Err(Failure::Usage(instead.to_owned()));
    }
    let client = Client::new(&flags.socket)?;
    let (mut captured, mut lost) = (0_u64, 0_u64);
    let (mut to, mut result) = (None, Ok(()));
    client.capture((&tunnel, &session), |followed| {
        match followed {
            // What the daemon refuses leaves the file as it was.
            Followed::Begun => match To::open(flags) {
                Ok(opened) => to = Some(opened),
                Err(failure) => result = Err(failure),
            },
            Followed::Item(packet) => {
                let added = to.as_mut().map_or(Ok(()), |to| to.add(&packet));
                result = added.map_err(Failure::from);
                captured += 1;
                lost += packet.lost;
                left -= 1;
            }
        }
        match result.is_err() || left == 0 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    match result {
        // Who reads has had enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    if !flags.quiet {
        eprintln!("{captured} packets captured, {lost} lost");
    }
    Ok(())
}

fn selector(given: &Given, id: &str, name: &str) -> Result<Selector, Failure> {
    let wrong = |what: String| Err(Failure::Usage(what));
    match (given.get(id), given.get(name)) {
        (Some(_), Some(_)) => wrong(format!("{id} or {name} is enough")),
        (None, None) => wrong(format!("{id} or {name} is needed")),
        (None, Some(name)) => Ok(Selector::Name(name.to_owned())),
        (Some(text), None) => match text.parse() {
            Ok(number) => Ok(Selector::Id(number)),
            Err(_) => wrong(format!("{id} is a number from 1 to 65535")),
        },
    }
}
