use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{BufferFull, DecodeError, Reader, Writer};

/// T: a control message.
const TYPE: u16 = 0x8000;
/// L: the Length field is present.
const LENGTH: u16 = 0x4000;
/// S: Ns and Nr are present.
const SEQUENCE: u16 = 0x0800;
/// O: the Offset Size field is present.
const OFFSET: u16 = 0x0200;
/// P: local queues should prefer this data message.
const PRIORITY: u16 = 0x0100;
/// The Ver field; the bits between are reserved and ignored.
const VERSION: u16 = 0x000f;
const V2: u16 = 2;

/// The version of the protocol that a datagram's header says (RFC 2661 section 3.1, RFC 3931 section 4.1.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Version {
    /// 1: L2F (RFC 2341), which shares the port.
    L2f,
    /// 2: L2TPv2, the only one that this module decodes further.
    V2,
    /// 3: L2TPv3.
    V3,
    /// What no document assigns.
    Unknown(u8),
}

impl Version {
    /// Reads the version of a datagram; an error if it has fewer than two octets.
    pub fn of(datagram: &[u8]) -> Result<Self, DecodeError> {
        let flags = Reader::new(datagram).u16("L2TP flags and version")?;
        Ok(match (flags & VERSION) as u8 {
            1 => Self::L2f,
            2 => Self::V2,
            3 => Self::V3,
            other => Self::Unknown(other),
        })
    }
}

/// The header of a message, of either kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header {
    /// T is 1.
    Control(ControlHeader),
    /// T is 0.
    Data(DataHeader),
}

impl Header {
    /// Splits a datagram into header and payload: AVPs of a control message, a PPP frame of a data message.
    ///
    /// Octets past the Length field's end are not part of the payload. Errors: a version other than 2 (`BadValue`; see [`Version::of`] for
    /// which), a Length longer than the datagram or shorter than the header, a header or offset that is cut short, and a control
    /// message without L and S or with O or P (RFC 2661 section 3.1).
    pub fn decode(datagram: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        if Reader::new(datagram).u16("L2TP flags and version")? & TYPE != 0 {
            ControlHeader::decode(datagram)
                .map(|(header, payload)| (Self::Control(header), payload))
        } else {
            DataHeader::decode(datagram)
                .map(|(header, payload)| (Self::Data(header), &datagram[payload]))
        }
    }
}

/// The header of a control message: 12 octets (flags and version, Length, Tunnel ID, Session ID, Ns, Nr), each field 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlHeader {
    /// The receiver's id of the tunnel; 0 while the sender does not know it.
    pub tunnel_id: u16,
    /// The receiver's id of the session; 0 for the tunnel's own messages, and while the sender does not know it.
    pub session_id: u16,
    /// The number of this message; of the next one, in a ZLB.
    pub ns: u16,
    /// The Ns that the sender expects next.
    pub nr: u16,
}

impl ControlHeader {
    /// Octets of an encoded header.
    pub const LEN: usize = 12;

    const FLAGS: u16 = TYPE | LENGTH | SEQUENCE | V2;

    fn decode(datagram: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut r = Reader::new(datagram);
        let flags = r.u16("L2TP flags and version")?;
        check_version(flags)?;
        if flags & (LENGTH | SEQUENCE | OFFSET | PRIORITY) != LENGTH | SEQUENCE {
            return Err(DecodeError::BadValue {
                what: "the flags of an L2TP control message",
                value: flags.into(),
            });
        }
        let end = message_end(r.u16("L2TP Length")?, Self::LEN, datagram.len())?;
        let header = Self {
            tunnel_id: r.u16("L2TP Tunnel ID")?,
            session_id: r.u16("L2TP Session ID")?,
            ns: r.u16("L2TP Ns")?,
            nr: r.u16("L2TP Nr")?,
        };
        Ok((header, &datagram[Self::LEN..end]))
    }

    /// Writes the header of a message whose AVPs take `payload_len` octets; an error if they are too many for the Length field.
    pub fn encode(&self, payload_len: usize, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let length = length_field(Self::LEN, payload_len)?;
        for field in [
            Self::FLAGS,
            length,
            self.tunnel_id,
            self.session_id,
            self.ns,
            self.nr,
        ] {
            w.u16(field)?;
        }
        Ok(())
    }
}

/// The sequence numbers of a data message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sequence {
    /// The number of this message in its session.
    pub ns: u16,
    /// Reserved: sent as 0, ignored when received.
    pub nr: u16,
}

/// The header of a data message: 6 to 14 octets and the offset's padding.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DataHeader {
    /// The receiver's id of the tunnel.
    pub tunnel_id: u16,
    /// The receiver's id of the session.
    pub session_id: u16,
    /// Ns and Nr, if S is 1.
    pub sequence: Option<Sequence>,
    /// Offset Size, if O is 1: octets of padding between header and payload.
    pub offset: Option<u16>,
    /// L: the message says its own length.
    pub has_length: bool,
    /// P: local queues should prefer this message (LCP echo requests, say).
    pub priority: bool,
}

impl DataHeader {
    /// Octets of the longest header, its offset padding not counted.
    pub const MAX_LEN: usize = 14;

    /// Splits a data message: the header, and where in `datagram` the payload is. Errors as [`Header::decode`], and a control message.
    pub fn decode(datagram: &[u8]) -> Result<(Self, Range<usize>), DecodeError> {
        let mut r = Reader::new(datagram);
        let flags = r.u16("L2TP flags and version")?;
        if flags & (TYPE | VERSION) != V2 {
            check_version(flags)?;
            return Err(DecodeError::BadValue {
                what: "the flags of an L2TP data message",
                value: flags.into(),
            });
        }
        let length = if flags & LENGTH != 0 {
            Some(r.u16("L2TP Length")?)
        } else {
            None
        };
        let mut header = Self {
            tunnel_id: r.u16("L2TP Tunnel ID")?,
            session_id: r.u16("L2TP Session ID")?,
            has_length: length.is_some(),
            priority: flags & PRIORITY != 0,
            ..Self::default()
        };
        if flags & SEQUENCE != 0 {
            header.sequence = Some(Sequence {
                ns: r.u16("L2TP Ns")?,
                nr: r.u16("L2TP Nr")?,
            });
        }
        if flags & OFFSET != 0 {
            let offset = r.u16("L2TP Offset Size")?;
            r.take(offset.into(), "the offset padding of an L2TP message")?;
            header.offset = Some(offset);
        }
        let start = datagram.len() - r.len();
        let end = length.map_or(Ok(datagram.len()), |length| {
            message_end(length, start, datagram.len())
        })?;
        Ok((header, start..end))
    }

    /// Octets that [`encode`](Self::encode) writes, offset padding included.
    pub fn encoded_len(&self) -> usize {
        let fixed = 6 + 2 * usize::from(self.has_length) + 4 * usize::from(self.sequence.is_some());
        fixed + self.offset.map_or(0, |offset| 2 + usize::from(offset))
    }

    /// Writes the header of a message that carries `payload_len` octets, with zeros for offset padding; an error if L is set and they
    /// are too many for it.
    pub fn encode(&self, payload_len: usize, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let flag = |set: bool, bit: u16| if set { bit } else { 0 };
        let flags = V2
            | flag(self.has_length, LENGTH)
            | flag(self.sequence.is_some(), SEQUENCE)
            | flag(self.offset.is_some(), OFFSET)
            | flag(self.priority, PRIORITY);
        w.u16(flags)?;
        if self.has_length {
            w.u16(length_field(self.encoded_len(), payload_len)?)?;
        }
        w.u16(self.tunnel_id)?;
        w.u16(self.session_id)?;
        if let Some(sequence) = self.sequence {
            w.u16(sequence.ns)?;
            w.u16(sequence.nr)?;
        }
        if let Some(offset) = self.offset {
            w.u16(offset)?;
            for _ in 0..offset {
                w.u8(0)?;
            }
        }
        Ok(())
    }
}

fn check_version(flags: u16) -> Result<(), DecodeError> {
    match flags & VERSION {
        V2 => Ok(()),
        other => Err(DecodeError::BadValue {
            what: "the version of an L2TP header",
            value: other.into(),
        }),
    }
}

/// Where the message ends that says to be `length` octets long.
fn message_end(length: u16, header_len: usize, datagram_len: usize) -> Result<usize, DecodeError> {
    let end = usize::from(length);
    if end < header_len || end > datagram_len {
        return Err(DecodeError::BadLength {
            what: "an L2TP message",
            length: end,
        });
    }
    Ok(end)
}

fn length_field(header_len: usize, payload_len: usize) -> Result<u16, BufferFull> {
    u16::try_from(header_len.saturating_add(payload_len)).map_err(|_| BufferFull)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(header: &DataHeader, payload: &[u8]) -> Vec<u8> {
        let mut buf = [0; 64];
        let mut w = Writer::new(&mut buf);
        header.encode(payload.len(), &mut w).unwrap();
        assert_eq!(w.len(), header.encoded_len());
        w.bytes(payload).unwrap();
        w.written().to_vec()
    }

    #[test]
    fn every_combination_of_the_data_flags_comes_back() {
        for bits in 0..16 {
            let header = DataHeader {
                tunnel_id: 0x1234,
                session_id: 0xfedc,
                has_length: bits & 1 != 0,
                sequence: (bits & 2 != 0).then_some(Sequence { ns: 0xffff, nr: 0 }),
                offset: (bits & 4 != 0).then_some(5),
                priority: bits & 8 != 0,
            };
            let mut datagram = encoded(&header, b"frame");
            assert_eq!(
                Header::decode(&datagram),
                Ok((Header::Data(header), &b"frame"[..]))
            );
            for len in 0..header.encoded_len() {
                assert!(
                    Header::decode(&datagram[..len]).is_err(),
                    "{len} octets of {bits:04b}"
                );
            }
            datagram.push(0xee);
            let payload: &[u8] = if header.has_length {
                b"frame"
            } else {
                b"frame\xee"
            };
            assert_eq!(
                Header::decode(&datagram),
                Ok((Header::Data(header), payload))
            );
        }
    }

    #[test]
    fn a_control_header_has_length_and_sequence_and_nothing_else() {
        let header = ControlHeader {
            tunnel_id: 1,
            session_id: 2,
            ns: 3,
            nr: 4,
        };
        let mut buf = [0; 16];
        let mut w = Writer::new(&mut buf);
        header.encode(2, &mut w).unwrap();
        w.bytes(b"ab").unwrap();
        let datagram = w.written().to_vec();
        assert_eq!(
            datagram,
            [0xc8, 2, 0, 14, 0, 1, 0, 2, 0, 3, 0, 4, b'a', b'b']
        );
        assert_eq!(
            Header::decode(&datagram),
            Ok((Header::Control(header), &b"ab"[..]))
        );
        for flags in 0..=0xff_u8 {
            let mut changed = datagram.clone();
            changed[0] = flags | 0x80;
            let legal = flags & 0b0100_1011 == 0b0100_1000;
            assert_eq!(Header::decode(&changed).is_ok(), legal, "{flags:08b}");
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused() {
        let datagram = |length: u8| [0xc8, 2, 0, length, 0, 1, 0, 2, 0, 3, 0, 4];
        for length in 0..=255 {
            assert_eq!(
                Header::decode(&datagram(length)).is_ok(),
                length == 12,
                "{length}"
            );
        }
    }

    #[test]
    fn other_versions_are_recognised_and_not_decoded() {
        for (version, is) in [
            (1, Version::L2f),
            (2, Version::V2),
            (3, Version::V3),
            (15, Version::Unknown(15)),
        ] {
            let datagram = [0xc8, version, 0, 12, 0, 1, 0, 2, 0, 3, 0, 4];
            assert_eq!(Version::of(&datagram), Ok(is));
            assert_eq!(Header::decode(&datagram).is_ok(), is == Version::V2);
        }
        assert!(Version::of(&[0xc8]).is_err());
    }
}
