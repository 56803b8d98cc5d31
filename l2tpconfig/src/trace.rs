//! `tunnel trace`: the messages of a tunnel, a session or a peer as they happen, as a ladder, as JSON, into a file for Wireshark.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use api::ladder::{Ladder, Style};
use api::{Client, Followed, Selector, TraceEvent, TraceOf, TraceRequest};

use crate::pcap::Capture;
use crate::{Failure, Flags};

/// What the command takes.
pub(crate) const HELP: &str =
    "Shows the control messages of a tunnel, a session or a peer as they happen.

Usage: l2tpconfig tunnel trace NAME=VALUE... [--pcap FILE] [--json]

  tunnel_name                  the tunnel, which need not be there yet
  tunnel_id                    our Tunnel ID
  session_name                 the session, if one alone is to be shown; it need not be there yet
  session_id                   our Session ID
  peer_ipaddr                  in place of a tunnel: all that comes from an address or goes there
  ppp                          yes: PPP's control frames, too
  count                        how many messages to show; not given: until it is interrupted

  --pcap FILE                  write the control messages to a file that Wireshark opens, too
  --json                       one JSON object a line in place of the ladder
";

/// The columns of what is no terminal.
const WIDTH: usize = 120;

/// A command to follow messages.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Trace {
    request: TraceRequest,
    count: Option<u64>,
}

/// The command, if the words are one; unique prefixes will do.
pub(crate) fn parse(words: &[String]) -> Option<Result<Trace, String>> {
    let (object, verb, rest) = match words {
        [object, verb, rest @ ..] => (object, verb, rest),
        _ => return None,
    };
    let begins =
        |word: &str, whole: &str| !word.is_empty() && whole.starts_with(&word.to_ascii_lowercase());
    (begins(object, "tunnel") && begins(verb, "trace")).then(|| arguments(rest))
}

/// The names of what the command takes.
const NAMES: [&str; 7] = [
    "tunnel_name",
    "tunnel_id",
    "session_name",
    "session_id",
    "peer_ipaddr",
    "ppp",
    "count",
];

fn arguments(words: &[String]) -> Result<Trace, String> {
    let (mut tunnel, mut session, mut peer) = (None, None, None);
    let (mut ppp, mut count) = (false, None);
    for word in words {
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| format!("`{word}` is no NAME=VALUE"))?;
        let number = || {
            value
                .parse::<u16>()
                .ok()
                .filter(|&id| id != 0)
                .ok_or_else(|| format!("{name} is a number from 1 to 65535"))
        };
        match known(name)? {
            "tunnel_name" => tunnel = Some(Selector::Name(value.to_owned())),
            "tunnel_id" => tunnel = Some(Selector::Id(number()?)),
            "session_name" => session = Some(Selector::Name(value.to_owned())),
            "session_id" => session = Some(Selector::Id(number()?)),
            "peer_ipaddr" => {
                let address = value
                    .parse()
                    .map_err(|_| format!("`{value}` is no address"))?;
                peer = Some(address);
            }
            "ppp" => ppp = yes(value).ok_or("ppp is yes or no")?,
            _ => {
                let wanted: u64 = value.parse().map_err(|_| "count is a number".to_owned())?;
                count = Some(wanted);
            }
        }
    }
    let of = match (tunnel, session, peer) {
        (Some(tunnel), None, None) => TraceOf::Tunnel(tunnel),
        (Some(tunnel), Some(session), None) => TraceOf::Session(tunnel, session),
        (None, None, Some(peer)) => TraceOf::Peer(peer),
        (None, ..) => return Err("tunnel_name, tunnel_id or peer_ipaddr is needed".to_owned()),
        (Some(_), _, Some(_)) => return Err("a tunnel or peer_ipaddr is enough".to_owned()),
    };
    Ok(Trace {
        request: TraceRequest { of, ppp },
        count,
    })
}

/// The name that `word` is or alone begins.
fn known(word: &str) -> Result<&'static str, String> {
    let word = word.to_ascii_lowercase();
    let found: Vec<_> = NAMES
        .into_iter()
        .filter(|name| name.starts_with(&word))
        .collect();
    match found[..] {
        [name] => Ok(name),
        _ if NAMES.contains(&word.as_str()) => Ok(NAMES
            .into_iter()
            .find(|name| *name == word)
            .unwrap_or_default()),
        [] => Err(format!("`{word}` is none of {}", NAMES.join(", "))),
        _ => Err(format!("`{word}` may be {}", found.join(" or "))),
    }
}

fn yes(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "true" | "enable" | "1" => Some(true),
        "no" | "off" | "false" | "disable" | "0" => Some(false),
        _ => None,
    }
}

impl Trace {
    /// Follows until there were enough, or it is interrupted.
    pub(crate) fn run(&self, flags: &Flags) -> Result<(), Failure> {
        let client = Client::new(&flags.socket)?;
        let (mut left, mut result) = (self.count.unwrap_or(u64::MAX), Ok(()));
        if left == 0 {
            return Ok(());
        }
        let (mut ladder, mut capture) = (Ladder::new(style()), None);
        client.trace(&self.request, |followed| {
            result = match followed {
                // What the daemon refuses leaves the file as it was.
                Followed::Begun => {
                    let file = flags.pcap.as_deref().map(Capture::create).transpose();
                    file.map(|file| capture = file)
                }
                Followed::Item(event) => {
                    left -= 1;
                    let added = capture.as_mut().map_or(Ok(()), |file| file.add(&event));
                    added.and_then(|()| print(&event, flags.json, &mut ladder))
                }
            };
            match result.is_err() || left == 0 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        Ok(result?)
    }
}

fn print(event: &TraceEvent, json: bool, ladder: &mut Ladder) -> io::Result<()> {
    let text = if json {
        serde_json::to_string(event)? + "\n"
    } else {
        ladder.add(event)
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn style() -> Style {
    let terminal = io::stdout().is_terminal();
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|&n| n > 0);
    Style {
        width: columns.filter(|_| terminal).unwrap_or(WIDTH),
        colour: terminal && std::env::var_os("NO_COLOR").is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Result<Trace, String>> {
        let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    fn trace(of: TraceOf, ppp: bool, count: Option<u64>) -> Option<Result<Trace, String>> {
        Some(Ok(Trace {
            request: TraceRequest { of, ppp },
            count,
        }))
    }

    #[test]
    fn the_command_says_whose_messages_and_how_many() {
        let name = |name: &str| Selector::Name(name.to_owned());
        let tunnel = TraceOf::Tunnel(name("x"));
        assert_eq!(
            parsed("tunnel trace tunnel_name=x"),
            trace(tunnel, false, None)
        );
        let session = TraceOf::Session(Selector::Id(7), name("s"));
        assert_eq!(
            parsed("TUN tr tunnel_id=7 session_n=s ppp=yes c=3"),
            trace(session, true, Some(3))
        );
        let peer = TraceOf::Peer("192.0.2.1".parse().unwrap());
        assert_eq!(
            parsed("tunnel trace peer=192.0.2.1"),
            trace(peer, false, None)
        );
        for other in [
            "tunnel list",
            "tunnel profile list",
            "session trace",
            "tunnel",
        ] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        for (wrong, said) in [
            ("", "is needed"),
            ("session_name=s", "is needed"),
            ("tunnel_name=x peer_ipaddr=192.0.2.1", "is enough"),
            ("t=x", "tunnel_name or tunnel_id"),
            ("tunnel_id=0", "from 1 to 65535"),
            ("tunnel_name=x count=-1", "count"),
            ("tunnel_name=x ppp=perhaps", "ppp"),
            ("peer_ipaddr=example", "no address"),
            ("tunnel_name=x colour=red", "none of"),
            ("x", "NAME=VALUE"),
        ] {
            let error = parsed(&format!("tunnel trace {wrong}"))
                .unwrap()
                .unwrap_err();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }
}
