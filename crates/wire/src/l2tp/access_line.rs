use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BufferFull, DecodeError, Reader, Writer};

use super::{AccessLineType, Avp};

/// An AVP about the subscriber's access line, in an ICRQ (RFC 5515 section 5), with a value of its type.
///
/// Rates are 64 bits, bits a second; delays 32 bits, milliseconds. "Up" is from the subscriber. All are optional.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessLine<'a> {
    /// Agent-Circuit-Id: the line's port at the access node, 2 to 63 octets.
    AgentCircuitId(&'a [u8]),
    /// Agent-Remote-Id: the subscriber as the operator names it, 2 to 63 octets.
    AgentRemoteId(&'a [u8]),
    /// One of the ten rates, [`ACTUAL_RATE_UPSTREAM`](AccessLineType::ACTUAL_RATE_UPSTREAM) to
    /// [`MINIMUM_RATE_DOWNSTREAM_LOW_POWER`](AccessLineType::MINIMUM_RATE_DOWNSTREAM_LOW_POWER).
    Rate(AccessLineType, u64),
    /// One of the four interleaving delays, [`MAXIMUM_DELAY_UPSTREAM`](AccessLineType::MAXIMUM_DELAY_UPSTREAM) to
    /// [`ACTUAL_DELAY_DOWNSTREAM`](AccessLineType::ACTUAL_DELAY_DOWNSTREAM).
    Delay(AccessLineType, u32),
    /// Access-Loop-Encapsulation.
    LoopEncapsulation(LoopEncapsulation),
    /// ANCP Access Line Type: 8 bits of transmission system, 24 reserved.
    LineType(u8),
    /// IWF-Session: 32 bits, 1 if PPP over ATM was made PPP over Ethernet on the way.
    IwfSession(bool),
}

/// Value of the Access-Loop-Encapsulation AVP (RFC 5515 section 5.17): three octets. The numbers' meaning is the Broadband Forum's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoopEncapsulation {
    /// Data link: 0 ATM AAL5, 1 Ethernet.
    pub data_link: u8,
    /// Encapsulation 1: 0 not available, 1 untagged Ethernet, 2 single-tagged Ethernet.
    pub encapsulation_1: u8,
    /// Encapsulation 2: 0 not available, 1 to 8 kinds of PPP, IP and Ethernet over ATM.
    pub encapsulation_2: u8,
}

impl fmt::Display for LoopEncapsulation {
    /// The three meanings; a number where it has none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.data_link, &["ATM AAL5", "Ethernet"][..]),
            (
                self.encapsulation_1,
                &["-", "untagged Ethernet", "single-tagged Ethernet"],
            ),
            (
                self.encapsulation_2,
                &[
                    "-",
                    "PPPoA LLC",
                    "PPPoA null",
                    "IPoA LLC",
                    "IPoA null",
                    "Ethernet over AAL5 LLC with FCS",
                    "Ethernet over AAL5 LLC without FCS",
                    "Ethernet over AAL5 null with FCS",
                    "Ethernet over AAL5 null without FCS",
                ],
            ),
        ];
        for (place, (number, names)) in kinds.into_iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            match names.get(usize::from(number)) {
                Some(name) => f.write_str(name)?,
                None => write!(f, "{number}")?,
            }
        }
        Ok(())
    }
}

impl<'a> AccessLine<'a> {
    /// Gives a type to a value that is not (or no longer) hidden. `None`: RFC 5515 does not define the attribute.
    ///
    /// Errors: a value of another length than the attribute's definition says.
    pub fn decode(attribute: AccessLineType, value: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        use AccessLineType as T;
        let mut r = Reader::new(value);
        let what = attribute.text().unwrap_or("an AVP");
        let decoded = match attribute {
            T::AGENT_CIRCUIT_ID => Self::AgentCircuitId(identifier(&mut r, what)?),
            T::AGENT_REMOTE_ID => Self::AgentRemoteId(identifier(&mut r, what)?),
            T(129..=138) => Self::Rate(attribute, r.u64(what)?),
            T(139..=142) => Self::Delay(attribute, r.u32(what)?),
            T::ACCESS_LOOP_ENCAPSULATION => {
                let [data_link, encapsulation_1, encapsulation_2] = r.array(what)?;
                Self::LoopEncapsulation(LoopEncapsulation {
                    data_link,
                    encapsulation_1,
                    encapsulation_2,
                })
            }
            T::ACCESS_LINE_TYPE => {
                let [system, _reserved @ ..] = r.array::<4>(what)?;
                Self::LineType(system)
            }
            T::IWF_SESSION => Self::IwfSession(r.u32(what)? != 0),
            _ => return Ok(None),
        };
        if !r.is_empty() {
            return Err(DecodeError::BadLength {
                what,
                length: value.len(),
            });
        }
        Ok(Some(decoded))
    }

    /// The attribute's number, with the vendor [`AccessLineType::VENDOR_ID`].
    pub const fn attribute_type(&self) -> AccessLineType {
        use AccessLineType as T;
        match self {
            Self::AgentCircuitId(_) => T::AGENT_CIRCUIT_ID,
            Self::AgentRemoteId(_) => T::AGENT_REMOTE_ID,
            Self::Rate(attribute, _) | Self::Delay(attribute, _) => *attribute,
            Self::LoopEncapsulation(_) => T::ACCESS_LOOP_ENCAPSULATION,
            Self::LineType(_) => T::ACCESS_LINE_TYPE,
            Self::IwfSession(_) => T::IWF_SESSION,
        }
    }

    /// Writes the whole AVP, not hidden and not mandatory.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let header = Avp {
            mandatory: false,
            hidden: false,
            reserved: 0,
            vendor_id: AccessLineType::VENDOR_ID,
            attribute: self.attribute_type().0,
            value: &[],
        };
        header.encode_with(w, |w| self.encode_value(w))
    }

    /// Writes the value alone: what hiding takes.
    pub fn encode_value(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        match *self {
            Self::AgentCircuitId(v) | Self::AgentRemoteId(v) => w.bytes(v),
            Self::Rate(_, v) => w.u64(v),
            Self::Delay(_, v) => w.u32(v),
            Self::LoopEncapsulation(v) => {
                w.bytes(&[v.data_link, v.encapsulation_1, v.encapsulation_2])
            }
            Self::LineType(v) => w.bytes(&[v, 0, 0, 0]),
            Self::IwfSession(v) => w.u32(v.into()),
        }
    }
}

/// 2 to 63 octets.
fn identifier<'a>(r: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], DecodeError> {
    match r.len() {
        2..=63 => Ok(r.rest()),
        length => Err(DecodeError::BadLength { what, length }),
    }
}
