//! Control messages and PPP frames as people read them, in logs and traces. What is secret is in none: neither hidden values, nor passwords of
//! PAP, nor what authenticated a subscriber at the LAC. Challenges and responses are not: nothing but a guess turns them into a secret.

mod avp;
mod ppp;

use std::fmt::{self, Write};

use crate::l2tp::{Attribute, Avps, ControlHeader, MessageType};

pub use avp::{ReadableAvp, avps};
pub use ppp::{ReadableFrame, frame};

/// The type that a control message's AVPs begin with (RFC 2661 section 4.4.1); none if they begin with something else.
pub fn message_type(avps: &[u8]) -> Option<MessageType> {
    let first = Avps::new(avps).next()?.ok()?;
    match Attribute::decode(first.attribute_type()?, first.value) {
        Ok(Some(Attribute::MessageType(message))) => Some(message),
        _ => None,
    }
}

/// What a control message is called: its type, `ZLB` if it has no AVPs, or what is wrong with it.
pub fn message_name(avps: &[u8]) -> String {
    match message_type(avps) {
        _ if avps.is_empty() => "ZLB".to_owned(),
        Some(message) if message.text().is_none() => format!("message {message}"),
        Some(message) => message.to_string(),
        None => "a message of no type".to_owned(),
    }
}

/// The fields of a control message's header, in a row.
pub fn header(header: &ControlHeader) -> String {
    let ControlHeader {
        tunnel_id,
        session_id,
        ns,
        nr,
    } = header;
    format!("tunnel {tunnel_id} session {session_id} Ns {ns} Nr {nr}")
}

/// Octets as text that stays on its line: what is no text, would break the line or command a terminal is escaped, and what is too long is cut.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a [u8]);

impl Plain<'_> {
    /// The most characters: a CHAP name can have tens of thousands, and nobody's real name has more.
    pub const MOST: usize = 255;
}

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(self.0);
        let mut chars = text.chars();
        chars
            .by_ref()
            .take(Self::MOST)
            .try_for_each(|c| match c.is_control() {
                true => write!(f, "{}", c.escape_default()),
                false => f.write_char(c),
            })?;
        if chars.next().is_some() {
            f.write_str("...")?;
        }
        Ok(())
    }
}

/// Octets as hexadecimal digits, cut where they are too many.
struct Hex<'a>(&'a [u8]);

impl Hex<'_> {
    const MOST: usize = 64;
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(Self::MOST)
            .try_for_each(|octet| write!(f, "{octet:02x}"))?;
        if self.0.len() > Self::MOST {
            write!(f, "... ({} octets)", self.0.len())?;
        }
        Ok(())
    }
}

/// What stands for octets that are not shown.
fn masked(octets: &[u8]) -> String {
    format!("not shown ({} octets)", octets.len())
}

/// A number, and its meaning if that is known.
fn meaning(number: u16, text: Option<&str>) -> String {
    text.map_or(number.to_string(), |text| format!("{number} ({text})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_say_fits_on_a_line() {
        assert_eq!(
            Plain("al\r\n\u{1b}[31mü".as_bytes()).to_string(),
            "al\\r\\n\\u{1b}[31mü"
        );
        assert_eq!(
            Plain("x".repeat(255).as_bytes()).to_string(),
            "x".repeat(255)
        );
        let long = Plain("x".repeat(60_000).as_bytes()).to_string();
        assert_eq!(long, "x".repeat(255) + "...");
        assert_eq!(
            Hex(&[0xab; 65]).to_string(),
            "ab".repeat(64) + "... (65 octets)"
        );
    }

    #[test]
    fn messages_have_names() {
        let message = |kind: u8| [0x80, 8, 0, 0, 0, 0, 0, kind];
        assert_eq!(message_name(&message(1)), "SCCRQ");
        assert_eq!(message_name(&message(200)), "message 200");
        assert_eq!(message_name(&[]), "ZLB");
        assert_eq!(message_name(&message(1)[2..]), "a message of no type");
    }
}
