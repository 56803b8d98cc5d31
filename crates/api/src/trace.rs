use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wire::l2tp::Header;
use wire::readable;

use crate::Selector;

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The peer sent it.
    Received,
    /// We did.
    Sent,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// Whose messages are followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TraceOf {
    /// A tunnel's and its sessions'. One that has a name need not be there yet.
    Tunnel(Selector),
    /// A session's, which need not be there yet.
    Session(Selector, Selector),
    /// A peer's, be they of a tunnel or of none.
    Peer(IpAddr),
}

/// A request to follow messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceRequest {
    /// Whose.
    pub of: TraceOf,
    /// PPP's control frames, too.
    pub ppp: bool,
}

impl TraceRequest {
    /// `GET /v1/tunnels/{tunnel}/trace`, `/v1/tunnels/{tunnel}/sessions/{session}/trace` or `/v1/trace?peer=ADDRESS`; each may have `ppp=yes`.
    /// `segment` writes a text as one segment of a path.
    pub fn path(&self, segment: impl Fn(&str) -> String) -> String {
        let part = |selector: &Selector| segment(&selector.to_string());
        let (path, mut query) = match &self.of {
            TraceOf::Tunnel(tunnel) => (format!("/v1/tunnels/{}/trace", part(tunnel)), Vec::new()),
            TraceOf::Session(tunnel, session) => {
                let (tunnel, session) = (part(tunnel), part(session));
                let path = format!("/v1/tunnels/{tunnel}/sessions/{session}/trace");
                (path, Vec::new())
            }
            TraceOf::Peer(peer) => ("/v1/trace".to_owned(), vec![format!("peer={peer}")]),
        };
        if self.ppp {
            query.push("ppp=yes".to_owned());
        }
        match query.is_empty() {
            true => path,
            false => format!("{path}?{}", query.join("&")),
        }
    }
}

/// A message that was seen: a control message, or a PPP frame.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TraceEvent {
    /// Microseconds since 1970 began.
    pub time: u64,
    /// Whether it came or went.
    pub direction: Direction,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// Our Tunnel ID, if it is of a tunnel.
    pub tunnel_id: Option<u16>,
    /// The tunnel's name.
    pub tunnel_name: Option<String>,
    /// Our Session ID, if it is of a session.
    pub session_id: Option<u16>,
    /// The session's name.
    pub session_name: Option<String>,
    /// What it is called: `SCCRQ`, `ZLB`, `LCP Configure-Request`.
    pub name: String,
    /// It was sent or received before.
    pub repeated: bool,
    /// A control message's header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<TraceHeader>,
    /// A control message's AVPs, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avps: Vec<TraceAvp>,
    /// What a PPP frame says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppp: Option<TracePpp>,
    /// A control message's UDP payload in hexadecimal digits, for those who may read everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub octets: Option<String>,
    /// How many messages before it this reader has missed, because it read too slowly.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

/// The header of a control message: the ids are those of its receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TraceHeader {
    /// Tunnel ID.
    pub tunnel_id: u16,
    /// Session ID.
    pub session_id: u16,
    /// Its number.
    pub ns: u16,
    /// The number that its sender expects next.
    pub nr: u16,
}

/// An AVP.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TraceAvp {
    /// What it is called.
    pub name: String,
    /// What it says; of what is hidden or secret only how long it is.
    pub value: String,
    /// Whether it is hidden.
    pub hidden: bool,
}

/// What a PPP frame says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TracePpp {
    /// Matches replies to requests.
    pub identifier: Option<u8>,
    /// On one line, without passwords.
    pub text: String,
}

/// Octets in hexadecimal digits.
pub(crate) fn hexadecimal(octets: &[u8]) -> String {
    let mut digits = String::with_capacity(octets.len() * 2);
    for octet in octets {
        // Writing to a String does not fail.
        let _ = write!(digits, "{octet:02x}");
    }
    digits
}

pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl TraceEvent {
    /// A control message, at `time` microseconds since 1970 began, between our address and the peer's.
    pub fn message(
        time: u64,
        direction: Direction,
        (local, remote): (SocketAddr, SocketAddr),
        payload: &[u8],
    ) -> Self {
        let mut event = Self::new(time, direction, local, remote);
        event.octets = Some(hexadecimal(payload));
        match Header::decode(payload) {
            Ok((Header::Control(header), avps)) => {
                event.name = readable::message_name(avps);
                event.header = Some(TraceHeader {
                    tunnel_id: header.tunnel_id,
                    session_id: header.session_id,
                    ns: header.ns,
                    nr: header.nr,
                });
                event.avps = readable::avps(avps).map(Into::into).collect();
            }
            Ok((Header::Data(_), _)) => "a data message".clone_into(&mut event.name),
            Err(error) => event.name = format!("no L2TP: {error}"),
        }
        event
    }

    /// A PPP frame.
    pub fn frame(
        time: u64,
        direction: Direction,
        (local, remote): (SocketAddr, SocketAddr),
        frame: &[u8],
    ) -> Self {
        let readable = readable::frame(frame);
        Self {
            name: readable.name,
            ppp: Some(TracePpp {
                identifier: readable.identifier,
                text: readable.text,
            }),
            ..Self::new(time, direction, local, remote)
        }
    }

    fn new(time: u64, direction: Direction, local: SocketAddr, remote: SocketAddr) -> Self {
        let (from, to) = match direction {
            Direction::Sent => (local, remote),
            Direction::Received => (remote, local),
        };
        Self {
            time,
            direction,
            from,
            to,
            tunnel_id: None,
            tunnel_name: None,
            session_id: None,
            session_name: None,
            name: String::new(),
            repeated: false,
            header: None,
            avps: Vec::new(),
            ppp: None,
            octets: None,
            lost: 0,
        }
    }

    /// The UDP payload, where the event has it.
    pub fn payload(&self) -> Option<Vec<u8>> {
        let digits = self.octets.as_deref()?;
        let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.as_bytes().chunks(2).map(octet).collect()
    }

    /// Whether it is an acknowledgement alone.
    pub fn is_zlb(&self) -> bool {
        self.header.is_some() && self.avps.is_empty()
    }
}

impl From<Result<readable::ReadableAvp, wire::DecodeError>> for TraceAvp {
    fn from(avp: Result<readable::ReadableAvp, wire::DecodeError>) -> Self {
        match avp {
            Ok(avp) => Self {
                name: avp.name,
                value: avp.value,
                hidden: avp.hidden,
            },
            Err(error) => Self {
                name: "malformed".to_owned(),
                value: error.to_string(),
                hidden: false,
            },
        }
    }
}
