//! Options of the Compression Control Protocol (RFC 1962), of which one alone is interpreted: Microsoft's (RFC 3078, RFC 2118).

use bitflags::bitflags;

use super::RawOption;
use super::iana::ccp_option;
use crate::{BufferFull, DecodeError, Reader, Writer};

bitflags! {
    /// What the sender of an MPPE option wants (RFC 3078 section 2). Bits without a name are kept.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct MppeBits: u32 {
        /// H: stateless mode.
        const STATELESS = 0x0100_0000;
        /// M: 56-bit keys.
        const KEYS_56 = 0x80;
        /// S: 128-bit keys.
        const KEYS_128 = 0x40;
        /// L: 40-bit keys.
        const KEYS_40 = 0x20;
        /// C: MPPC, Microsoft's compression (RFC 2118).
        const COMPRESSION = 0x01;

        const _ = !0;
    }
}

/// An option of CCP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CcpOption<'a> {
    /// Microsoft's encryption and compression.
    Mppe(MppeBits),
    /// Any other option.
    Other(RawOption<'a>),
}

impl<'a> CcpOption<'a> {
    /// Interprets an option.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BadLength`] when a known option has a wrong length.
    pub fn decode(raw: RawOption<'a>) -> Result<Self, DecodeError> {
        match raw.kind {
            ccp_option::MPPE => {
                let bits = u32::from_be_bytes(raw.array("MPPE")?);
                Ok(Self::Mppe(MppeBits::from_bits_retain(bits)))
            }
            _ => Ok(Self::Other(raw)),
        }
    }

    /// Writes the option.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room or the length field can't hold the length.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        match self {
            Self::Mppe(bits) => RawOption {
                kind: ccp_option::MPPE,
                data: &bits.bits().to_be_bytes(),
            }
            .encode(w),
            Self::Other(raw) => raw.encode(w),
        }
    }
}

/// What precedes the encrypted octets in a frame of protocol [`COMPRESSED`](super::Protocol::COMPRESSED) (RFC 3078 section 3.1). These are the original
/// protocol field and payload.
///
/// ```text
/// A B C D (1 bit each)   coherency count (12 bits)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MppeHeader {
    /// A, FLUSHED: the encryption tables were initialized before the packet.
    pub flushed: bool,
    /// D: the packet is encrypted.
    pub encrypted: bool,
    /// The coherency count, below 4096.
    pub count: u16,
}

impl MppeHeader {
    /// Octets on the wire.
    pub const LENGTH: usize = 2;

    const FLUSHED: u16 = 0x8000;
    const ENCRYPTED: u16 = 0x1000;
    const COUNT: u16 = 0x0fff;

    /// Splits a frame's payload.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] when there is no header.
    pub fn decode(payload: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut r = Reader::new(payload);
        let bits = r.u16("MPPE header")?;
        let header = Self {
            flushed: bits & Self::FLUSHED != 0,
            encrypted: bits & Self::ENCRYPTED != 0,
            count: bits & Self::COUNT,
        };
        Ok((header, r.rest()))
    }

    /// Writes the header.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        let bits = bit(self.flushed, Self::FLUSHED) | bit(self.encrypted, Self::ENCRYPTED);
        w.u16(bits | self.count & Self::COUNT)
    }
}
