//! The Challenge Handshake Authentication Protocol's packets (RFC 1994 section 4), and what MS-CHAP puts into
//! them (RFC 2433, RFC 2759).

use super::Packet;
use super::iana::chap_code;
use crate::{BufferFull, DecodeError, Reader, Writer};

/// A packet of CHAP, without its identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChapPacket<'a> {
    /// Challenge.
    Challenge(ChapValue<'a>),
    /// Response.
    Response(ChapValue<'a>),
    /// Success, with a message: for people, or [`MsChapV2Success`].
    Success(&'a [u8]),
    /// Failure, with a message: for people, or [`MsChapFailure`].
    Failure(&'a [u8]),
}

/// What a Challenge and a Response carry: `value size (1), value, name`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChapValue<'a> {
    /// The challenge or the response, 1 to 255 octets.
    pub value: &'a [u8],
    /// The sender's name; may be empty.
    pub name: &'a [u8],
}

impl<'a> ChapPacket<'a> {
    /// Interprets a packet.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] for a value that is empty or ends too early, or an unknown code.
    pub fn decode(packet: &Packet<'a>) -> Result<Self, DecodeError> {
        match packet.code {
            chap_code::CHALLENGE => ChapValue::decode(packet.data).map(Self::Challenge),
            chap_code::RESPONSE => ChapValue::decode(packet.data).map(Self::Response),
            chap_code::SUCCESS => Ok(Self::Success(packet.data)),
            chap_code::FAILURE => Ok(Self::Failure(packet.data)),
            code => Err(DecodeError::BadValue {
                what: "CHAP code",
                value: code.into(),
            }),
        }
    }

    /// Writes the packet with its header.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room or a value has more than 255 octets.
    pub fn encode(&self, identifier: u8, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let (code, size, first, second): (_, _, _, &[u8]) = match self {
            Self::Challenge(v) => (chap_code::CHALLENGE, Some(v.value.len()), v.value, v.name),
            Self::Response(v) => (chap_code::RESPONSE, Some(v.value.len()), v.value, v.name),
            Self::Success(message) => (chap_code::SUCCESS, None, message, &[]),
            Self::Failure(message) => (chap_code::FAILURE, None, message, &[]),
        };
        Packet::encode_with(code, identifier, w, |w| {
            if let Some(size) = size {
                w.u8(u8::try_from(size).map_err(|_| BufferFull)?)?;
            }
            w.bytes(first)?;
            w.bytes(second)
        })
    }
}

impl<'a> ChapValue<'a> {
    fn decode(data: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(data);
        let size = r.u8("CHAP Value-Size")?.into();
        if size == 0 {
            return Err(DecodeError::BadLength {
                what: "CHAP Value",
                length: size,
            });
        }
        Ok(Self {
            value: r.take(size, "CHAP Value")?,
            name: r.rest(),
        })
    }
}

/// The value of an MS-CHAPv1 Response: 49 octets (RFC 2433 section 6).
///
/// ```text
/// LAN Manager response (24)   NT response (24)   use NT response (1)
/// ```
///
/// The LAN Manager response gives the password away: it is neither read nor written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsChapV1Response {
    /// The proof.
    pub nt_response: [u8; 24],
    /// Whether it is the proof; if not, the peer wants its LAN Manager response to be taken for it.
    pub use_nt: bool,
}

impl MsChapV1Response {
    /// Octets of the value.
    pub const LENGTH: usize = 49;

    /// Reads a Response's value.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BadLength`] when it has not 49 octets.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "MS-CHAPv1 Response";
        if value.len() != Self::LENGTH {
            return Err(DecodeError::BadLength {
                what: WHAT,
                length: value.len(),
            });
        }
        let mut r = Reader::new(value);
        r.take(24, WHAT)?;
        Ok(Self {
            nt_response: r.array(WHAT)?,
            use_nt: r.u8(WHAT)? == 1,
        })
    }

    /// The Response's value, the LAN Manager response zeros.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut value = [0; Self::LENGTH];
        value[24..48].copy_from_slice(&self.nt_response);
        value[48] = self.use_nt.into();
        value
    }
}

/// The value of an MS-CHAPv2 Response: 49 octets (RFC 2759 section 4).
///
/// ```text
/// peer challenge (16)   reserved (8)   NT response (24)   flags (1)
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsChapV2Response {
    /// The peer's own challenge.
    pub peer_challenge: [u8; 16],
    /// The proof.
    pub nt_response: [u8; 24],
}

impl MsChapV2Response {
    /// Octets of the value.
    pub const LENGTH: usize = 49;

    /// Reads a Response's value; the reserved octets and the flags say nothing.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BadLength`] when it has not 49 octets.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "MS-CHAPv2 Response";
        if value.len() != Self::LENGTH {
            return Err(DecodeError::BadLength {
                what: WHAT,
                length: value.len(),
            });
        }
        let mut r = Reader::new(value);
        let peer_challenge = r.array(WHAT)?;
        r.take(8, WHAT)?;
        Ok(Self {
            peer_challenge,
            nt_response: r.array(WHAT)?,
        })
    }

    /// The Response's value.
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut value = [0; Self::LENGTH];
        value[..16].copy_from_slice(&self.peer_challenge);
        value[24..48].copy_from_slice(&self.nt_response);
        value
    }
}

/// The message of an MS-CHAPv2 Success: `S=` and 40 hexadecimal digits, ` M=` and text (RFC 2759 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsChapV2Success<'a> {
    /// The authenticator's own proof.
    pub authenticator_response: [u8; 20],
    /// For people.
    pub message: &'a [u8],
}

impl<'a> MsChapV2Success<'a> {
    /// Reads a Success's message.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] when there is no authenticator response.
    pub fn decode(message: &'a [u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "MS-CHAPv2 Success";
        let digits = field(message, b"S=").unwrap_or_default();
        let authenticator_response =
            digits
                .get(..40)
                .and_then(from_hex)
                .ok_or(DecodeError::BadLength {
                    what: WHAT,
                    length: digits.len(),
                })?;
        Ok(Self {
            authenticator_response,
            message: field(message, b"M=").unwrap_or_default(),
        })
    }

    /// Writes a Success's message.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.bytes(b"S=")?;
        put_hex(&self.authenticator_response, w)?;
        w.bytes(b" M=")?;
        w.bytes(self.message)
    }
}

/// The message of an MS-CHAP Failure: `E=error R=retry C=challenge V=version M=text` (RFC 2433 section 8, RFC 2759 section 6). The challenge
/// has `N` octets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsChapFailure<'a, const N: usize> {
    /// Why: 646 restricted hours, 647 disabled, 648 password expired, 649 no dial-in, 691 failed, 709 changing the password failed.
    pub error: u32,
    /// Another try is allowed.
    pub retry: bool,
    /// The challenge to use for another try; MS-CHAPv1 may leave it out.
    pub challenge: Option<[u8; N]>,
    /// In which form the password may be changed: 3 is that of MS-CHAPv2, 1 what MS-CHAPv1 means that says nothing.
    pub version: u32,
    /// For people. RFC 2433 has none, but says that what is not known is to be ignored.
    pub message: &'a [u8],
}

/// The message of an MS-CHAPv1 Failure.
pub type MsChapV1Failure<'a> = MsChapFailure<'a, 8>;
/// The message of an MS-CHAPv2 Failure.
pub type MsChapV2Failure<'a> = MsChapFailure<'a, 16>;

impl MsChapV1Failure<'_> {
    /// The version that goes with it: the least that RFC 2433 does not discourage.
    pub const VERSION: u32 = 2;
}

impl MsChapV2Failure<'_> {
    /// The version that goes with it.
    pub const VERSION: u32 = 3;
}

impl<'a, const N: usize> MsChapFailure<'a, N> {
    /// The name or the password is wrong: ERROR_AUTHENTICATION_FAILURE.
    pub const AUTHENTICATION_FAILURE: u32 = 691;

    /// Reads a Failure's message. Nothing is demanded of it: what it does not say is 0, false or empty, and the version 1.
    pub fn decode(message: &'a [u8]) -> Self {
        let number = |key| {
            let digits = field(message, key)?
                .iter()
                .take_while(|b| b.is_ascii_digit());
            digits.fold(None, |n: Option<u32>, b| {
                let tens = n.unwrap_or(0).saturating_mul(10);
                Some(tens.saturating_add(u32::from(b - b'0')))
            })
        };
        Self {
            error: number(b"E=").unwrap_or(0),
            retry: number(b"R=") == Some(1),
            challenge: field(message, b"C=")
                .and_then(|digits| digits.get(..2 * N))
                .and_then(from_hex),
            version: number(b"V=").unwrap_or(1),
            message: field(message, b"M=").unwrap_or_default(),
        }
    }

    /// Writes a Failure's message.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        w.bytes(format!("E={} R={}", self.error, u8::from(self.retry)).as_bytes())?;
        if let Some(challenge) = &self.challenge {
            w.bytes(b" C=")?;
            put_hex(challenge, w)?;
        }
        w.bytes(format!(" V={} M=", self.version).as_bytes())?;
        w.bytes(self.message)
    }
}

/// What follows `key` where it stands at the start of a word. `M=` is the last field and runs to the end.
fn field<'a>(message: &'a [u8], key: &[u8; 2]) -> Option<&'a [u8]> {
    let mut rest = message;
    loop {
        if let Some(value) = rest.strip_prefix(key) {
            return Some(value);
        }
        if rest.starts_with(b"M=") {
            return None;
        }
        let space = rest.iter().position(|&b| b == b' ')?;
        rest = &rest[space + 1..];
    }
}

fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut octets = [0; N];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |b: u8| char::from(b).to_digit(16);
        *octet = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(octets)
}

fn put_hex(octets: &[u8], w: &mut Writer<'_>) -> Result<(), BufferFull> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    octets
        .iter()
        .try_for_each(|b| w.bytes(&[DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]))
}
