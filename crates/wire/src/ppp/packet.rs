use crate::{BufferFull, DecodeError, Reader, Writer};

/// The packet that LCP, the network control protocols, PAP and CHAP all have (RFC 1661 section 5).
///
/// ```text
/// code (1)   identifier (1)   length (2)   data (length - 4)   padding
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// The kind of packet: [`iana::code`](super::iana::code) and its kin.
    pub code: u8,
    /// Matches replies to requests.
    pub identifier: u8,
    /// What the length field covers, without the four octets of header.
    pub data: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Octets of the header.
    pub const HEADER: usize = 4;

    /// Reads the payload of a frame; octets beyond the length field are padding and ignored.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for less than a header or than the length field says, [`DecodeError::BadLength`] for a length
    /// below four.
    pub fn decode(octets: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(octets);
        let code = r.u8("PPP code")?;
        let identifier = r.u8("PPP identifier")?;
        let length = r.u16("PPP length")?.into();
        let data = usize::checked_sub(length, Self::HEADER).ok_or(DecodeError::BadLength {
            what: "PPP packet",
            length,
        })?;
        Ok(Self {
            code,
            identifier,
            data: r.take(data, "PPP packet")?,
        })
    }

    /// Writes the packet.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room or the length field can't hold the length.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        Self::encode_with(self.code, self.identifier, w, |w| w.bytes(self.data))
    }

    /// Writes a packet whose data `data` writes.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room or the length field can't hold the length.
    pub fn encode_with(
        code: u8,
        identifier: u8,
        w: &mut Writer<'_>,
        data: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>,
    ) -> Result<(), BufferFull> {
        let start = w.len();
        w.u8(code)?;
        w.u8(identifier)?;
        w.u16(0)?;
        data(w)?;
        let length = u16::try_from(w.len() - start).map_err(|_| BufferFull)?;
        w.patch_u16(start + 2, length)
    }

    /// The options of a Configure-Request, -Ack, -Nak or -Reject.
    pub const fn options(&self) -> Options<'a> {
        Options {
            rest: Reader::new(self.data),
        }
    }
}

/// One configuration option, not interpreted (RFC 1661 section 6).
///
/// ```text
/// type (1)   length (1), all of it   data (length - 2)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawOption<'a> {
    /// The option's type, in the numbering of its protocol.
    pub kind: u8,
    /// Its value, at most 253 octets.
    pub data: &'a [u8],
}

impl RawOption<'_> {
    /// Writes the option.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room or the length field can't hold the length.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.u8(self.kind)?;
        w.u8(u8::try_from(self.data.len() + 2).map_err(|_| BufferFull)?)?;
        w.bytes(self.data)
    }

    /// The value, which must have `N` octets.
    pub(super) fn array<const N: usize>(&self, what: &'static str) -> Result<[u8; N], DecodeError> {
        self.data.try_into().map_err(|_| DecodeError::BadLength {
            what,
            length: self.data.len() + 2,
        })
    }
}

/// The options of a packet, in order. After an error it ends: what follows a wrong length has no meaning.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: Reader<'a>,
}

impl<'a> Options<'a> {
    fn read(&mut self) -> Result<RawOption<'a>, DecodeError> {
        let kind = self.rest.u8("PPP option type")?;
        let length = self.rest.u8("PPP option length")?.into();
        let data = usize::checked_sub(length, 2).ok_or(DecodeError::BadLength {
            what: "PPP option",
            length,
        })?;
        Ok(RawOption {
            kind,
            data: self.rest.take(data, "PPP option")?,
        })
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<RawOption<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let option = self.read();
        if option.is_err() {
            self.rest = Reader::new(&[]);
        }
        Some(option)
    }
}

impl std::iter::FusedIterator for Options<'_> {}
