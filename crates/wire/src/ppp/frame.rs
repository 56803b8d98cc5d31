use crate::ppp::Protocol;
use crate::{BufferFull, DecodeError, Reader, Writer};

/// The address and control fields of HDLC-like framing, as they are when not compressed (RFC 1662 section 3.1).
pub const ADDRESS_CONTROL: [u8; 2] = [0xff, 0x03];

/// What may be left out of the frames that one end sends, as the other end's LCP allowed (RFC 1661 sections 6.5 and 6.6).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Compression {
    /// The address and control fields (ACFC).
    pub address_control: bool,
    /// The first octet of the protocol field, where it is zero (PFC).
    pub protocol: bool,
}

/// A PPP frame as L2TP carries it: without flags, transparency and check sequence (RFC 2661 section 3.1).
///
/// ```text
/// FF 03   PP PP   payload      the address and control fields may be absent, and a
/// FF 03   PP      payload      protocol below 0x100 may have one octet
///         PP PP   payload
///         PP      payload
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// The protocol field, uncompressed.
    pub protocol: Protocol,
    /// What follows it.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Splits a frame, whichever of its fields are compressed.
    ///
    /// A protocol number that the rules of RFC 1661 section 2 forbid (even, or an odd first octet) comes out as it is, and is no
    /// protocol that anyone knows.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] when the protocol field is missing or cut.
    pub fn decode(octets: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(octets.strip_prefix(&ADDRESS_CONTROL).unwrap_or(octets));
        // The least significant bit ends the field: set in the first octet, it is the only one.
        let compressed = r.peek().first().is_some_and(|first| first & 1 == 1);
        let protocol = if compressed {
            r.u8("PPP protocol")?.into()
        } else {
            r.u16("PPP protocol")?
        };
        Ok(Self {
            protocol: Protocol(protocol),
            payload: r.rest(),
        })
    }

    /// Writes the frame. LCP is never compressed, whatever `compression` allows.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room.
    pub fn encode(&self, compression: Compression, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        Self::encode_header(self.protocol, compression, w)?;
        w.bytes(self.payload)
    }

    /// Writes what precedes the payload: one to four octets.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room.
    pub fn encode_header(
        protocol: Protocol,
        compression: Compression,
        w: &mut Writer<'_>,
    ) -> Result<(), BufferFull> {
        let lcp = protocol == Protocol::LCP;
        if lcp || !compression.address_control {
            w.bytes(&ADDRESS_CONTROL)?;
        }
        match u8::try_from(protocol.0) {
            // An even octet would be taken for the first of two, and 0xFF for an address field.
            Ok(short) if compression.protocol && short & 1 == 1 && short != ADDRESS_CONTROL[0] => {
                w.u8(short)
            }
            _ => w.u16(protocol.0),
        }
    }
}
