//! Messages as a ladder: time, an arrow between the two ends, and what matters in each. A pure function of the events.

use std::net::SocketAddr;

use crate::{Direction, TraceAvp, TraceEvent};

/// Octets of the time at the left.
const TIME: usize = 9;
/// Octets between the two ends.
const SPAN: usize = 36;
/// The least that is left for what the messages say.
const TEXT: usize = 24;

/// AVPs that say nothing which helps to see what goes on.
const DULL: [&str; 8] = [
    "Message Type",
    "Protocol Version",
    "Framing Capabilities",
    "Bearer Capabilities",
    "Firmware Revision",
    "Vendor Name",
    "Random Vector",
    "Call Serial Number",
];
/// AVPs of which it is enough to know that they are there.
const NAME_ONLY: [&str; 2] = ["Challenge", "Challenge Response"];

/// How a ladder looks.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Columns of the paper or the terminal.
    pub width: usize,
    /// Whether escape sequences may be used: acknowledgements dim, repetitions marked.
    pub colour: bool,
}

/// A ladder that grows.
#[derive(Clone, Debug)]
pub struct Ladder {
    style: Style,
    start: Option<u64>,
    ends: Option<(SocketAddr, SocketAddr)>,
}

impl Ladder {
    /// An empty one.
    pub const fn new(style: Style) -> Self {
        Self {
            style,
            start: None,
            ends: None,
        }
    }

    /// The lines for one more event; before the first, and where the ends are others, who they are.
    pub fn add(&mut self, event: &TraceEvent) -> String {
        let (ours, peers) = match event.direction {
            Direction::Sent => (event.from, event.to),
            Direction::Received => (event.to, event.from),
        };
        let mut text = String::new();
        // Which address of ours a message takes is not known before one has come.
        let known = self.ends.is_some_and(|(our, peer)| {
            peer == peers && (our == ours || ours.ip().is_unspecified())
        });
        if !known {
            self.ends = Some((ours, peers));
            text += &head(ours, peers);
        }
        if event.lost > 0 {
            text += &format!("{:TIME$}  ... {} messages were lost here\n", "", event.lost);
        }
        let start = *self.start.get_or_insert(event.time);
        let since = event.time.saturating_sub(start);
        let time = format!("{}.{:03}", since / 1_000_000, since / 1_000 % 1_000);
        let dim = event.is_zlb();
        let arrow = arrow(event);
        let mut lines = wrapped(&says(event), self.room()).into_iter();
        let first = lines.next().unwrap_or_default();
        let line = format!("{time:>TIME$}  |{arrow}|  {first}");
        text += &self.painted(line.trim_end(), dim, event.repeated);
        for more in lines {
            let line = format!("{:TIME$}  |{:SPAN$}|  {more}", "", "");
            text += &self.painted(&line, dim, event.repeated);
        }
        text
    }

    fn room(&self) -> usize {
        self.style.width.saturating_sub(TIME + SPAN + 6).max(TEXT)
    }

    fn painted(&self, line: &str, dim: bool, bold: bool) -> String {
        match (self.style.colour, dim, bold) {
            (true, true, _) => format!("\u{1b}[2m{line}\u{1b}[0m\n"),
            (true, false, true) => format!("\u{1b}[33m{line}\u{1b}[0m\n"),
            _ => format!("{line}\n"),
        }
    }
}

/// Who the two ends are.
fn head(ours: SocketAddr, peers: SocketAddr) -> String {
    let (ours, peers) = (ours.to_string(), peers.to_string());
    // Centred on the two lines, as far as there is room.
    let between = (SPAN + 2).saturating_sub(ours.len() + peers.len()).max(2);
    format!("{:>TIME$}  {ours}{:between$}{peers}\n", "s", "")
}

/// The arrow, with the message's name and numbers in it.
fn arrow(event: &TraceEvent) -> String {
    let numbers = event
        .header
        .map(|header| format!(" {}/{}", header.ns, header.nr))
        .unwrap_or_default();
    let again = if event.repeated { " again" } else { "" };
    let label = format!(" {}{numbers}{again} ", event.name);
    let line = if event.is_zlb() {
        '.'
    } else if event.ppp.is_some() {
        '='
    } else {
        '-'
    };
    let label: String = label.chars().take(SPAN - 4).collect();
    let rest = SPAN - 2 - label.chars().count();
    let stroke = |n: usize| line.to_string().repeat(n);
    match event.direction {
        Direction::Sent => format!("{}{label}{}>", stroke(1), stroke(rest)),
        Direction::Received => format!("<{}{label}{}", stroke(rest), stroke(1)),
    }
}

/// What a message says, as far as it matters.
fn says(event: &TraceEvent) -> String {
    if let Some(ppp) = &event.ppp {
        let id = ppp.identifier.map(|id| format!("id {id}"));
        let text = Some(ppp.text.clone()).filter(|text| !text.is_empty());
        let of = event.session_id.map(|session| format!("session {session}"));
        return [of, id, text]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ");
    }
    let of_session = event.header.filter(|header| header.session_id != 0);
    let session = of_session.map(|header| format!("Session ID {}", header.session_id));
    let avps = event
        .avps
        .iter()
        .filter(|avp| !DULL.contains(&avp.name.as_str()))
        .map(shown);
    session
        .into_iter()
        .chain(avps)
        .collect::<Vec<_>>()
        .join("; ")
}

fn shown(avp: &TraceAvp) -> String {
    let name_only = !avp.hidden && NAME_ONLY.contains(&avp.name.as_str());
    match avp.value.is_empty() || name_only {
        true => avp.name.clone(),
        false => format!("{} {}", avp.name, avp.value),
    }
}

/// Lines of at most `width` characters, broken at blanks where there are any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ICRQ with a Called Number of many words.
    fn icrq(time: u64, direction: Direction, ends: [&str; 2]) -> TraceEvent {
        let number = b"one two three four five six seven";
        let mut datagram = vec![0xc8, 2, 0, 0, 0, 9, 0, 0, 0, 3, 0, 4];
        datagram.extend([0x80, 8, 0, 0, 0, 0, 0, 10]);
        datagram.extend([0x80, 6 + number.len() as u8, 0, 0, 0, 21]);
        datagram.extend(number);
        datagram[3] = datagram.len() as u8;
        let ends = ends.map(|end| end.parse().unwrap());
        TraceEvent::message(time, direction, (ends[0], ends[1]), &datagram)
    }

    fn ladder(width: usize, colour: bool, events: &[TraceEvent]) -> String {
        let mut ladder = Ladder::new(Style { width, colour });
        events.iter().map(|event| ladder.add(event)).collect()
    }

    #[test]
    fn what_messages_say_fits_beside_the_arrows() {
        let ends = ["192.0.2.1:1701", "192.0.2.2:1701"];
        let event = icrq(0, Direction::Sent, ends);
        let text = ladder(80, false, &[event]);
        assert_eq!(
            text,
            "        s  192.0.2.1:1701          192.0.2.2:1701
    0.000  |- ICRQ 3/4 ------------------------>|  Called Number one two three
           |                                    |  four five six seven
"
        );
        assert!(text.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn other_ends_and_what_was_lost_are_said() {
        let first = icrq(0, Direction::Sent, ["0.0.0.0:1701", "192.0.2.2:1701"]);
        let mut second = icrq(
            2_500_000,
            Direction::Received,
            ["192.0.2.1:1701", "192.0.2.2:1702"],
        );
        second.lost = 3;
        let third = icrq(
            2_501_000,
            Direction::Received,
            ["192.0.2.1:1701", "192.0.2.2:1702"],
        );
        let text = ladder(1_000, false, &[first, second, third]);
        let heads = text.lines().filter(|line| line.contains(":170"));
        assert_eq!(heads.count(), 2);
        assert!(text.contains("... 3 messages were lost here"));
        assert!(text.contains("\n    2.501  |<"));
    }

    #[test]
    fn colours_are_for_those_who_asked() {
        let zlb = [0xc8, 2, 0, 12, 0, 9, 0, 0, 0, 3, 0, 4];
        let ends = (
            "192.0.2.1:1".parse().unwrap(),
            "192.0.2.2:2".parse().unwrap(),
        );
        let zlb = TraceEvent::message(0, Direction::Sent, ends, &zlb);
        assert!(ladder(80, true, std::slice::from_ref(&zlb)).contains("\u{1b}[2m"));
        assert!(!ladder(80, false, &[zlb]).contains('\u{1b}'));
    }
}
