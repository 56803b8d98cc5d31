//! The Password Authentication Protocol's packets (RFC 1334 section 2.2).

use super::Packet;
use super::iana::pap_code;
use crate::{BufferFull, DecodeError, Reader, Writer};

/// A packet of PAP, without its identifier.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PapPacket<'a> {
    /// Authenticate-Request: `peer-id length (1), peer-id, password length (1), password`.
    Request {
        /// Who it is.
        peer_id: &'a [u8],
        /// In clear.
        password: &'a [u8],
    },
    /// Authenticate-Ack, with a message for people: `length (1), message`.
    Ack(&'a [u8]),
    /// Authenticate-Nak, with a message for people, as in the Ack.
    Nak(&'a [u8]),
}

impl<'a> PapPacket<'a> {
    /// Interprets a packet. An answer without the message's length octet has an empty message: old peers leave it out.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for fields that end too early or an unknown code.
    pub fn decode(packet: &Packet<'a>) -> Result<Self, DecodeError> {
        let mut r = Reader::new(packet.data);
        let mut field = |what| {
            let length = r.u8(what)?.into();
            r.take(length, what)
        };
        match packet.code {
            pap_code::REQUEST => Ok(Self::Request {
                peer_id: field("PAP Peer-ID")?,
                password: field("PAP Password")?,
            }),
            pap_code::ACK if packet.data.is_empty() => Ok(Self::Ack(&[])),
            pap_code::NAK if packet.data.is_empty() => Ok(Self::Nak(&[])),
            pap_code::ACK => field("PAP Message").map(Self::Ack),
            pap_code::NAK => field("PAP Message").map(Self::Nak),
            code => Err(DecodeError::BadValue {
                what: "PAP code",
                value: code.into(),
            }),
        }
    }

    /// Writes the packet with its header.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room or a field has more than 255 octets.
    pub fn encode(&self, identifier: u8, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let (code, first, second) = match *self {
            Self::Request { peer_id, password } => (pap_code::REQUEST, peer_id, Some(password)),
            Self::Ack(message) => (pap_code::ACK, message, None),
            Self::Nak(message) => (pap_code::NAK, message, None),
        };
        Packet::encode_with(code, identifier, w, |w| {
            [Some(first), second]
                .into_iter()
                .flatten()
                .try_for_each(|field| {
                    w.u8(u8::try_from(field.len()).map_err(|_| BufferFull)?)?;
                    w.bytes(field)
                })
        })
    }
}

impl std::fmt::Debug for PapPacket<'_> {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request { peer_id, .. } => {
                write!(f, "Request({:?}, ..)", String::from_utf8_lossy(peer_id))
            }
            Self::Ack(message) => write!(f, "Ack({:?})", String::from_utf8_lossy(message)),
            Self::Nak(message) => write!(f, "Nak({:?})", String::from_utf8_lossy(message)),
        }
    }
}
