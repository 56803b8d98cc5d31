use super::iana::lcp_option as kind;
use super::{Protocol, RawOption};
use crate::{BufferFull, DecodeError, Reader, Writer};

/// An option of LCP (RFC 1661 section 6). Those that nobody here negotiates are [`Other`](Self::Other).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LcpOption<'a> {
    /// Maximum-Receive-Unit: the largest payload of a frame that its sender wants to receive, in octets.
    Mru(u16),
    /// Async-Control-Character-Map (RFC 1662 section 7.1).
    Accm(u32),
    /// Authentication-Protocol: its sender demands that the other end authenticate itself by it.
    Authentication {
        /// The protocol.
        protocol: Protocol,
        /// What it needs to say more: CHAP's algorithm, in one octet.
        data: &'a [u8],
    },
    /// Magic-Number: never 0 in use.
    MagicNumber(u32),
    /// Protocol-Field-Compression: its sender can receive it.
    ProtocolFieldCompression,
    /// Address-and-Control-Field-Compression: its sender can receive it.
    AddressControlFieldCompression,
    /// Any other option.
    Other(RawOption<'a>),
}

impl<'a> LcpOption<'a> {
    /// Interprets an option.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when a known option has a wrong length.
    pub fn decode(raw: RawOption<'a>) -> Result<Self, DecodeError> {
        Ok(match raw.kind {
            kind::MRU => Self::Mru(u16::from_be_bytes(raw.array("Maximum-Receive-Unit")?)),
            kind::ACCM => Self::Accm(u32::from_be_bytes(
                raw.array("Async-Control-Character-Map")?,
            )),
            kind::AUTHENTICATION => {
                let mut r = Reader::new(raw.data);
                let protocol = Protocol(r.u16("Authentication-Protocol")?);
                Self::Authentication {
                    protocol,
                    data: r.rest(),
                }
            }
            kind::MAGIC_NUMBER => Self::MagicNumber(u32::from_be_bytes(raw.array("Magic-Number")?)),
            kind::PFC => {
                let [] = raw.array("Protocol-Field-Compression")?;
                Self::ProtocolFieldCompression
            }
            kind::ACFC => {
                let [] = raw.array("Address-and-Control-Field-Compression")?;
                Self::AddressControlFieldCompression
            }
            _ => Self::Other(raw),
        })
    }

    /// Writes the option.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room or the length field can't hold the length.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let mut put = |kind, data: &[u8]| RawOption { kind, data }.encode(w);
        match *self {
            Self::Mru(octets) => put(kind::MRU, &octets.to_be_bytes()),
            Self::Accm(map) => put(kind::ACCM, &map.to_be_bytes()),
            Self::Authentication { protocol, data } => {
                w.u8(kind::AUTHENTICATION)?;
                w.u8(u8::try_from(data.len() + 4).map_err(|_| BufferFull)?)?;
                w.u16(protocol.0)?;
                w.bytes(data)
            }
            Self::MagicNumber(number) => put(kind::MAGIC_NUMBER, &number.to_be_bytes()),
            Self::ProtocolFieldCompression => put(kind::PFC, &[]),
            Self::AddressControlFieldCompression => put(kind::ACFC, &[]),
            Self::Other(raw) => raw.encode(w),
        }
    }
}

/// The data of an Echo-Request, Echo-Reply or Discard-Request (RFC 1661 sections 5.8 and 5.9).
///
/// ```text
/// magic number (4)   data
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo<'a> {
    /// The sender's magic number, 0 where it negotiated none.
    pub magic_number: u32,
    /// Anything; a reply repeats the request's.
    pub data: &'a [u8],
}

impl<'a> Echo<'a> {
    /// Reads a packet's data.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] when there is no magic number.
    pub fn decode(data: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(data);
        Ok(Self {
            magic_number: r.u32("Magic-Number")?,
            data: r.rest(),
        })
    }

    /// Writes a packet's data.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u32(self.magic_number)?;
        w.bytes(self.data)
    }
}

/// The data of a Protocol-Reject (RFC 1661 section 5.7).
///
/// ```text
/// rejected protocol (2)   the rejected frame's payload, cut to the receiver's MRU
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProtocolReject<'a> {
    /// The protocol that its sender does not speak.
    pub protocol: Protocol,
    /// What came with it.
    pub information: &'a [u8],
}

impl<'a> ProtocolReject<'a> {
    /// Reads a packet's data.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] when there is no protocol.
    pub fn decode(data: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(data);
        Ok(Self {
            protocol: Protocol(r.u16("Rejected-Protocol")?),
            information: r.rest(),
        })
    }

    /// Writes a packet's data.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u16(self.protocol.0)?;
        w.bytes(self.information)
    }
}
