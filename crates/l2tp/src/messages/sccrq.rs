use crypto::Secret;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wire::DecodeError;
use wire::l2tp::{
    Attribute, AttributeType, Avps, BearerTypes, ControlHeader, FramingTypes, Header, MessageType,
};
use zeroize::Zeroizing;

use super::build::stop_ccn;
use super::hidden::open_hidden;
use super::parse::{Body, Fault, parse, required};
use crate::transport::{DEFAULT_WINDOW, encode};
use crate::unproven::{allowance, fingerprint};
use crate::{Counters, StopReason, TunnelId};

/// What a peer says about itself in its SCCRQ or SCCRP (RFC 2661 sections 6.1 and 6.2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Host Name.
    pub host_name: String,
    /// Vendor Name; empty if it did not say.
    pub vendor_name: String,
    /// Firmware Revision.
    pub firmware_revision: Option<u16>,
    /// Protocol Version: version and revision.
    pub protocol_version: (u8, u8),
    /// Framing Capabilities: what calls it accepts.
    pub framing_capabilities: FramingTypes,
    /// Bearer Capabilities: what outgoing calls it can place, if it can.
    pub bearer_capabilities: Option<BearerTypes>,
    /// Tie Breaker of its SCCRQ, if it sent one.
    pub tie_breaker: Option<u64>,
    /// Receive Window Size; 4 if it did not say.
    pub rx_window: u16,
    /// Control Connection DS: the code of the per-hop behavior that it asks for or grants (RFC 3308).
    pub control_ds: Option<u16>,
    /// ECN Capability: it carries ECN between inner and outer headers (RFC 9601).
    pub ecn: bool,
}

impl PeerInfo {
    /// Checks and takes what SCCRQ and SCCRP have in common.
    pub(crate) fn from_body(body: &Body<'_>) -> Result<Self, StopReason> {
        use AttributeType as T;
        let checked = || -> Result<Self, Fault> {
            let rx_window = body.receive_window_size.unwrap_or(DEFAULT_WINDOW);
            if rx_window == 0 {
                return Err(Fault::BadValue(T::RECEIVE_WINDOW_SIZE));
            }
            Ok(Self {
                host_name: text(required(body.host_name, T::HOST_NAME)?),
                vendor_name: body.vendor_name.map(text).unwrap_or_default(),
                firmware_revision: body.firmware_revision,
                tie_breaker: body.tie_breaker,
                protocol_version: required(body.protocol_version, T::PROTOCOL_VERSION)?,
                framing_capabilities: required(body.framing_capabilities, T::FRAMING_CAPABILITIES)?,
                bearer_capabilities: body.bearer_capabilities,
                rx_window,
                control_ds: body.control_connection_ds,
                ecn: body.ecn_capability,
            })
        };
        let peer = checked().map_err(|fault| StopReason::from(&fault))?;
        match peer.protocol_version {
            (1, _) => Ok(peer),
            _ => Err(StopReason::bad_version()),
        }
    }
}

/// A received SCCRQ: what its receiver needs to choose how to answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sccrq {
    /// Host Name; empty if it is missing.
    pub host_name: String,
    /// Assigned Tunnel ID: the peer's, never 0.
    pub assigned_tunnel_id: TunnelId,
    /// Tie Breaker.
    pub tie_breaker: Option<u64>,
    /// Challenge.
    pub challenge: Option<Vec<u8>>,
    /// The rest of what the peer says about itself, or what is wrong with it: then [`Tunnel::accept`](crate::Tunnel::accept) does not take it.
    pub peer: Result<PeerInfo, StopReason>,
    /// The message's own number.
    pub(crate) ns: u16,
    /// The datagram's length.
    pub(crate) octets: usize,
    pub(crate) fingerprint: u64,
    pub(crate) counters: Counters,
}

impl Sccrq {
    /// The StopCCN that refuses it, and what was counted on the way. No tunnel is needed for that: a peer that misses it asks again, and is
    /// told again. `local_id` is the Tunnel ID that the peer acknowledges it to, and that no tunnel should have.
    ///
    /// Like all that goes to who may be somebody else, it has at most three times the octets of what it answers: what does not fit is its text.
    pub fn refuse(&self, local_id: TunnelId, reason: &StopReason) -> (Vec<u8>, Counters) {
        let header = ControlHeader {
            tunnel_id: self.assigned_tunnel_id,
            session_id: 0,
            ns: 0,
            nr: self.ns.wrapping_add(1),
        };
        let mut datagram = Vec::new();
        encode(&header, &stop_ccn(local_id, reason), &mut datagram);
        if datagram.len() > allowance(self.octets) {
            let reason = StopReason {
                message: String::new(),
                ..reason.clone()
            };
            encode(&header, &stop_ccn(local_id, &reason), &mut datagram);
        }
        let mut counters = self.counters.clone();
        counters.sent.count(MessageType::STOP_CCN);
        counters.datagrams.sent_datagrams += 1;
        counters.datagrams.sent_octets += datagram.len() as u64;
        (datagram, counters)
    }
}

/// Why a datagram is no SCCRQ that can be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum SccrqError {
    /// The header is malformed, or of another version.
    #[error(transparent)]
    Header(#[from] DecodeError),
    /// It is a data message, or a control message of another type.
    #[error("not an SCCRQ")]
    NotSccrq,
    /// It does not say an Assigned Tunnel ID that could be answered: none, a malformed one, one that does not open, or 0.
    #[error("no Assigned Tunnel ID that could be answered")]
    NoTunnelId,
}

/// Reads an SCCRQ of a peer that we share no secret with: its hidden AVPs stay closed.
///
/// # Errors
///
/// As [`open_sccrq`].
pub fn decode_sccrq(datagram: &[u8]) -> Result<Sccrq, SccrqError> {
    open_sccrq(datagram, |_| None)
}

/// Reads an SCCRQ. `secret_of` tells the secret that we share with the peer of a Host Name, which is never hidden; it is asked only where
/// there is something to open with it.
///
/// # Errors
///
/// Where there is nothing to answer. An SCCRQ that is wrong in another way is one to [refuse](Sccrq::refuse).
pub fn open_sccrq(
    datagram: &[u8],
    secret_of: impl FnOnce(&str) -> Option<Secret>,
) -> Result<Sccrq, SccrqError> {
    let (Header::Control(header), payload) = Header::decode(datagram)? else {
        return Err(SccrqError::NotSccrq);
    };
    let mut scratch = Zeroizing::default();
    let hides = Avps::new(payload).flatten().any(|avp| avp.hidden);
    let secret = if hides {
        let closed = parse(payload, &mut Counters::default());
        secret_of(&closed.body.host_name.map(text).unwrap_or_default())
    } else {
        None
    };
    let opened = open_hidden(payload, secret.as_ref(), &mut scratch);
    let mut counters = Counters::default();
    let parsed = parse(opened, &mut counters);
    if parsed.message_type != MessageType::SCCRQ {
        return Err(SccrqError::NotSccrq);
    }
    counters.received.count(MessageType::SCCRQ);
    counters.datagrams.received_datagrams += 1;
    counters.datagrams.received_octets += datagram.len() as u64;
    let body = &parsed.body;
    let peer = match &parsed.fault {
        Some(fault) => Err(StopReason::from(fault)),
        None => PeerInfo::from_body(body),
    };
    if peer.is_err() {
        counters.malformed(MessageType::SCCRQ);
    }
    Ok(Sccrq {
        host_name: body.host_name.map(text).unwrap_or_default(),
        assigned_tunnel_id: body
            .assigned_tunnel_id
            .filter(|&id| id != 0)
            .ok_or(SccrqError::NoTunnelId)?,
        tie_breaker: body.tie_breaker,
        challenge: body.challenge.map(<[u8]>::to_vec),
        peer,
        ns: header.ns,
        octets: datagram.len(),
        fingerprint: fingerprint(header.ns, payload),
        counters,
    })
}

/// The Assigned Tunnel ID of a message that may be to tunnel 0, if it says one that is not hidden: what tells which tunnel that is about (RFC
/// 2661 section 4.4.3). It is an SCCRQ that was sent again or the StopCCN of a peer that never learned our id; whoever has anything else to
/// say knows our id, or has no business with the tunnel.
pub fn assigned_tunnel_id(datagram: &[u8]) -> Option<TunnelId> {
    let Ok((Header::Control(_), payload)) = Header::decode(datagram) else {
        return None;
    };
    let message_type = parse(payload, &mut Counters::default()).message_type;
    if !matches!(message_type, MessageType::SCCRQ | MessageType::STOP_CCN) {
        return None;
    }
    // The one that the tunnel itself would take: of several, the last that can be read.
    let avps = Avps::new(payload).flatten().filter(|avp| !avp.hidden);
    let values = avps.filter(|avp| avp.attribute_type() == Some(AttributeType::ASSIGNED_TUNNEL_ID));
    let decoded = values.map(|avp| Attribute::decode(AttributeType::ASSIGNED_TUNNEL_ID, avp.value));
    let ids = decoded.filter_map(|attribute| match attribute {
        Ok(Some(Attribute::AssignedTunnelId(id))) => Some(id),
        _ => None,
    });
    ids.last()
}

/// Octets that people are to read. Peers send other character sets than they should.
pub(crate) fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
