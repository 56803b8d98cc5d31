//! What the log says: events in the words of an operator, and the traces. No secrets: neither values of AVPs nor contents of PPP frames.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use datapath::{Ids, Request};
use engine::{Event, Source};
use tracing::{Level, debug, enabled, info, trace, warn};
use wire::l2tp::{Attribute, Avps, ControlHeader, Header};
use wire::ppp::{Frame, Packet};

use crate::trace::{AVP, DATA, PPP, PROTOCOL, TRANSPORT};

/// One line for an event.
pub(crate) fn event(event: &Event) {
    match event {
        Event::TunnelUp {
            tunnel,
            remote,
            host_name,
        } => {
            info!("tunnel {tunnel} up: {} at {remote}", Plain(host_name));
        }
        Event::TunnelDown {
            tunnel,
            remote,
            reason,
            ..
        } => {
            info!("tunnel {tunnel} down: {remote}: {}", Plain(reason));
        }
        Event::TunnelFailed {
            name,
            reason,
            retry_seconds: Some(seconds),
        } => {
            warn!(
                "tunnel {name} failed: {}; next attempt in {seconds} s",
                Plain(reason)
            );
        }
        Event::TunnelFailed {
            name,
            reason,
            retry_seconds: None,
        } => {
            warn!("tunnel {name} failed: {}", Plain(reason));
        }
        Event::TunnelRefused {
            remote,
            host_name,
            reason,
        } => {
            warn!(
                "tunnel refused: {} at {remote}: {}",
                Plain(host_name),
                Plain(reason)
            );
        }
        Event::SessionUp {
            tunnel,
            session,
            user,
            device,
            ipv4,
        } => {
            let user = user.as_deref().unwrap_or("-");
            let addresses = ipv4
                .map(|(local, peer)| format!(", local {local}, peer {peer}"))
                .unwrap_or_default();
            info!(
                "session {tunnel}/{session} up: user {} on {device}{addresses}",
                Plain(user)
            );
        }
        Event::SessionDown {
            tunnel,
            session,
            user,
            reason,
            ..
        } => {
            let user = user.as_deref().unwrap_or("-");
            info!(
                "session {tunnel}/{session} down: user {}: {}",
                Plain(user),
                Plain(reason)
            );
        }
        Event::Authentication {
            tunnel,
            session,
            user,
            accepted: true,
            ..
        } => {
            info!(
                "session {tunnel}/{session}: user {} authenticated",
                Plain(user)
            );
        }
        Event::Authentication {
            tunnel,
            session,
            user,
            accepted: false,
            ..
        } => {
            warn!(
                "session {tunnel}/{session}: user {} failed to authenticate",
                Plain(user)
            );
        }
    }
}

/// One line for those that were left out.
pub(crate) fn left_out(source: Option<Source>, lines: u64) {
    match source {
        Some(source) => warn!("{source}: {lines} more lines about it were left out in a minute"),
        None => warn!("other sources: {lines} more lines about them were left out in a minute"),
    }
}

/// Text from outside as a part of one line: what would break the line or command a terminal is escaped.
struct Plain<'a>(&'a str);

impl Plain<'_> {
    /// The most characters: a CHAP name can have tens of thousands, and nobody's real name has more.
    const MOST: usize = 255;
}

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
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

/// Traces what the datapath reports.
pub(crate) fn received(event: &datapath::Event) {
    match event {
        datapath::Event::Control {
            local,
            remote,
            payload,
            ..
        } => message("received", *local, *remote, payload),
        datapath::Event::Frame { ids, frame, .. } => {
            trace!(target: PPP, "received in {}: {}", session(*ids), describe_frame(frame));
        }
        datapath::Event::Completed { token, result } => {
            trace!(target: DATA, "request {}: {result:?}", token.0)
        }
        datapath::Event::PathMtu { remote, mtu, .. } => {
            debug!("the path to {remote} takes packets of {mtu} octets");
        }
        datapath::Event::Unreachable { remote, reason, .. } => {
            debug!("the network says of {remote}: {reason}");
        }
        datapath::Event::Failed { handle, error } => {
            warn!("the datapath lost session {}: {error}", handle.0)
        }
    }
}

/// Traces a request to the datapath.
pub(crate) fn request(request: &Request) {
    match request {
        Request::Send { handle, frame } => {
            trace!(target: PPP, "sent in handle {}: {}", handle.0, describe_frame(frame));
        }
        other => trace!(target: DATA, "{other:?}"),
    }
}

/// Traces a control message.
pub(crate) fn message(direction: &str, local: SocketAddr, remote: SocketAddr, datagram: &[u8]) {
    if !enabled!(target: PROTOCOL, Level::TRACE)
        && !enabled!(target: TRANSPORT, Level::TRACE)
        && !enabled!(target: AVP, Level::TRACE)
    {
        return;
    }
    match Header::decode(datagram) {
        Ok((Header::Control(header), [])) => {
            trace!(target: TRANSPORT, "{direction} {local} {remote} ZLB {}", fields(&header));
        }
        Ok((Header::Control(header), avps)) => {
            trace!(target: PROTOCOL, "{direction} {local} {remote} {} {}", message_type(avps), fields(&header));
            trace!(target: AVP, "{direction} {}", names(avps));
        }
        Ok((Header::Data(_), _)) => {
            trace!(target: PROTOCOL, "{direction} {local} {remote} a data message")
        }
        Err(error) => {
            trace!(target: PROTOCOL, "{direction} {local} {remote} what is no L2TP: {error}")
        }
    }
}

fn fields(header: &ControlHeader) -> String {
    let ControlHeader {
        tunnel_id,
        session_id,
        ns,
        nr,
    } = header;
    format!("tunnel {tunnel_id} session {session_id} Ns {ns} Nr {nr}")
}

/// The first AVP says what the message is (RFC 2661 section 4.4.1).
fn message_type(avps: &[u8]) -> String {
    let first = Avps::new(avps).next().and_then(Result::ok);
    let decoded = first.and_then(|avp| Attribute::decode(avp.attribute_type()?, avp.value).ok()?);
    match decoded {
        Some(Attribute::MessageType(message)) => message.to_string(),
        _ => "a message of no type".to_owned(),
    }
}

fn names(avps: &[u8]) -> String {
    let name = |avp: Result<wire::l2tp::Avp<'_>, wire::DecodeError>| match avp {
        Ok(avp) => {
            let name = avp.attribute_type().map(|t| t.to_string());
            let name = name
                .unwrap_or_else(|| format!("vendor {} attribute {}", avp.vendor_id, avp.attribute));
            let hidden = if avp.hidden { " hidden" } else { "" };
            format!("{name} ({}{hidden})", avp.value.len())
        }
        Err(error) => error.to_string(),
    };
    Avps::new(avps).map(name).collect::<Vec<_>>().join(", ")
}

fn session(ids: Ids) -> String {
    format!("{}/{}", ids.tunnel, ids.session)
}

fn describe_frame(octets: &[u8]) -> String {
    let Ok(frame) = Frame::decode(octets) else {
        return "no PPP frame".to_owned();
    };
    match Packet::decode(frame.payload) {
        Ok(packet) => {
            format!(
                "{} code {} id {} ({} octets)",
                frame.protocol,
                packet.code,
                packet.identifier,
                packet.data.len()
            )
        }
        Err(_) => format!("{} ({} octets)", frame.protocol, frame.payload.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_say_fits_on_a_line() {
        assert_eq!(
            Plain("al\r\n\u{1b}[31mü").to_string(),
            "al\\r\\n\\u{1b}[31mü"
        );
        assert_eq!(Plain(&"x".repeat(255)).to_string(), "x".repeat(255));
        let long = Plain(&"x".repeat(60_000)).to_string();
        assert_eq!(long, "x".repeat(255) + "...");
    }
}
