use crate::{BufferFull, DecodeError, Reader, Writer};

use super::{AccessLineType, AttributeType};

/// M: the message can't be understood without this AVP.
const MANDATORY: u16 = 0x8000;
/// H: the value is hidden.
const HIDDEN: u16 = 0x4000;
/// The Length field, which counts the header too.
const LENGTH: u16 = 0x03ff;

/// One AVP as it is on the wire (RFC 2661 section 4.1): 16 bits of M, H, four reserved bits and a 10-bit length, Vendor ID, Attribute
/// Type, value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Avp<'a> {
    /// M: a receiver that does not recognize the AVP ends the session or tunnel.
    pub mandatory: bool,
    /// H: the value is hidden (section 4.3).
    pub hidden: bool,
    /// The four reserved bits, as a number of 0 to 15. Anything but 0 makes the AVP an unrecognized one.
    pub reserved: u8,
    /// SMI enterprise number whose attributes these are; 0 for the IETF's.
    pub vendor_id: u16,
    /// Attribute Type, which has its registry's meaning only when `vendor_id` is 0.
    pub attribute: u16,
    /// The value, 0 to 1017 octets.
    pub value: &'a [u8],
}

impl<'a> Avp<'a> {
    /// Octets of the header.
    pub const HEADER_LEN: usize = 6;
    /// The most octets that a value can have.
    pub const MAX_VALUE_LEN: usize = LENGTH as usize - Self::HEADER_LEN;

    /// The attribute's type, if the AVP is one of the IETF's and no reserved bit forbids to recognize it.
    pub const fn attribute_type(&self) -> Option<AttributeType> {
        match (self.vendor_id, self.reserved) {
            (0, 0) => Some(AttributeType(self.attribute)),
            _ => None,
        }
    }

    /// The attribute's type, if the AVP is one of the access line's (RFC 5515) and no reserved bit forbids to recognize it.
    pub const fn access_line_type(&self) -> Option<AccessLineType> {
        match (self.vendor_id, self.reserved) {
            (AccessLineType::VENDOR_ID, 0) => Some(AccessLineType(self.attribute)),
            _ => None,
        }
    }

    /// What the attribute is called, if it is one that we support.
    pub fn name(&self) -> Option<&'static str> {
        let ietf = self.attribute_type().filter(|t| t.is_supported());
        ietf.and_then(AttributeType::text)
            .or(self.access_line_type().and_then(AccessLineType::text))
    }

    /// Whether its definition allows the AVP to be hidden.
    pub fn may_be_hidden(&self) -> bool {
        self.attribute_type()
            .is_some_and(AttributeType::may_be_hidden)
            || self
                .access_line_type()
                .and_then(AccessLineType::text)
                .is_some()
    }

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let [f0, f1, v0, v1, a0, a1] = r.array("an AVP's header")?;
        let flags = u16::from_be_bytes([f0, f1]);
        let length = usize::from(flags & LENGTH);
        let value_len = length
            .checked_sub(Self::HEADER_LEN)
            .ok_or(DecodeError::BadLength {
                what: "an AVP",
                length,
            })?;
        Ok(Self {
            mandatory: flags & MANDATORY != 0,
            hidden: flags & HIDDEN != 0,
            reserved: ((flags & !(MANDATORY | HIDDEN | LENGTH)) >> 10) as u8,
            vendor_id: u16::from_be_bytes([v0, v1]),
            attribute: u16::from_be_bytes([a0, a1]),
            value: r.take(value_len, "an AVP's value")?,
        })
    }

    /// Writes the AVP; an error too if its value is longer than [`Avp::MAX_VALUE_LEN`].
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        self.encode_with(w, |w| w.bytes(self.value))
    }

    /// Writes the AVP with the value that `value` writes, in place of its own.
    pub(super) fn encode_with(
        &self,
        w: &mut Writer<'_>,
        value: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>,
    ) -> Result<(), BufferFull> {
        let start = w.len();
        w.u16(0)?;
        w.u16(self.vendor_id)?;
        w.u16(self.attribute)?;
        value(w)?;
        let length = u16::try_from(w.len() - start)
            .ok()
            .filter(|&length| length <= LENGTH)
            .ok_or(BufferFull)?;
        let flag = |set: bool, bit: u16| if set { bit } else { 0 };
        let reserved = u16::from(self.reserved & 0x0f) << 10;
        w.patch_u16(
            start,
            flag(self.mandatory, MANDATORY) | flag(self.hidden, HIDDEN) | reserved | length,
        )
    }
}

/// Iterates over the AVPs of a control message's payload, in order.
///
/// Ends after the first AVP that is cut short or whose length is impossible, with its error. Zeros that fill up the end of a message (some
/// senders' habit) are skipped.
#[derive(Clone, Debug)]
pub struct Avps<'a> {
    rest: Reader<'a>,
}

impl<'a> Avps<'a> {
    /// The AVPs in `payload`.
    pub const fn new(payload: &'a [u8]) -> Self {
        Self {
            rest: Reader::new(payload),
        }
    }
}

impl<'a> Iterator for Avps<'a> {
    type Item = Result<Avp<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let before = self.rest;
        let avp = Avp::decode(&mut self.rest);
        if avp.is_err() {
            self.rest = Reader::new(&[]);
            if before.peek().iter().all(|&octet| octet == 0) {
                return None;
            }
        }
        Some(avp)
    }
}

impl std::iter::FusedIterator for Avps<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: [u8; 8] = [0x80, 8, 0, 0, 0, 7, b'a', b'b'];

    #[test]
    fn every_bit_of_the_header_has_its_field() {
        let avp = Avp {
            mandatory: true,
            hidden: true,
            reserved: 0b1010,
            vendor_id: 3561,
            attribute: 1,
            value: b"x",
        };
        let mut buf = [0; 7];
        avp.encode(&mut Writer::new(&mut buf)).unwrap();
        assert_eq!(buf, [0b1110_1000, 7, 0x0d, 0xe9, 0, 1, b'x']);
        assert_eq!(Avps::new(&buf).collect::<Vec<_>>(), [Ok(avp)]);
        assert_eq!(avp.attribute_type(), None);
    }

    #[test]
    fn an_impossible_length_ends_the_iteration_with_an_error() {
        for length in 0..6 {
            let mut payload = HOST.to_vec();
            payload.extend([0x80, length, 0, 9, 0, 1, 0, 0]);
            let avps: Vec<_> = Avps::new(&payload).collect();
            assert_eq!(avps.len(), 2, "{length}");
            assert!(avps[0].is_ok() && avps[1].is_err(), "{length}");
        }
    }

    #[test]
    fn an_avp_never_reaches_past_its_message() {
        for len in 1..HOST.len() {
            let avps: Vec<_> = Avps::new(&HOST[..len]).collect();
            assert!(matches!(avps[..], [Err(_)]), "{len}");
        }
    }

    #[test]
    fn zeros_at_the_end_are_padding() {
        for zeros in 0..20 {
            let mut payload = HOST.to_vec();
            payload.resize(HOST.len() + zeros, 0);
            assert_eq!(Avps::new(&payload).filter_map(Result::ok).count(), 1);
            assert_eq!(Avps::new(&payload).count(), 1);
        }
    }

    #[test]
    fn a_value_may_have_1017_octets_and_no_more() {
        let value = [7; Avp::MAX_VALUE_LEN + 1];
        let mut buf = [0; 2000];
        let mut avp = Avp {
            mandatory: false,
            hidden: false,
            reserved: 0,
            vendor_id: 0,
            attribute: 8,
            value: &value,
        };
        assert_eq!(avp.encode(&mut Writer::new(&mut buf)), Err(BufferFull));
        avp.value = &value[1..];
        let mut w = Writer::new(&mut buf);
        avp.encode(&mut w).unwrap();
        assert_eq!(Avps::new(w.written()).collect::<Vec<_>>(), [Ok(avp)]);
    }
}
