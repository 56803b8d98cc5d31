//! Hidden AVP values (RFC 2661 section 4.3).
//!
//! What is hidden is a subformat: two octets of original length in network order, the original value, and padding that
//! conceals its size. It is encrypted by a chain of MD5 blocks of 16 octets, of which the last may be short.

use md5::{Digest, Md5};
use thiserror::Error;
use zeroize::Zeroizing;

/// The octets of the chain's blocks.
const BLOCK: usize = 16;
/// The octets of the subformat's length field.
const LENGTH: usize = 2;

/// A hidden value that does not open: it is malformed, or the secrets differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum HidingError {
    /// Fewer octets than the length field of the subformat has.
    #[error("a hidden value of {0} octets has no room for its original length")]
    TooShort(usize),
    /// The original length is more than what is there: most often a sign of different secrets.
    #[error("a hidden value claims {claimed} octets and has {present}: the secrets may differ")]
    BadLength {
        /// The original length that the subformat claims.
        claimed: usize,
        /// The octets that follow it.
        present: usize,
    },
}

/// Appends the hidden form of an AVP's `value` to `out`: two octets more than `value` and `padding` together.
///
/// `attribute` is the AVP's type, `random_vector` the value of the Random Vector AVP that precedes it. An AVP has room
/// for 1017 octets; a value past 65535 is cut there and won't fit into any.
pub fn hide(
    attribute: u16,
    secret: &[u8],
    random_vector: &[u8],
    value: &[u8],
    padding: &[u8],
    out: &mut Vec<u8>,
) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    let start = out.len();
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&value[..usize::from(length)]);
    out.extend_from_slice(padding);
    let mut key = first_key(attribute, secret, random_vector);
    for block in out[start..].chunks_mut(BLOCK) {
        xor(block, key);
        key = next_key(secret, block);
    }
}

/// Opens the hidden `value` of an AVP of type `attribute`, and returns the original value.
///
/// `out` is scratch: what it held is lost, and the result lives in it.
pub fn unhide<'a>(
    attribute: u16,
    secret: &[u8],
    random_vector: &[u8],
    value: &[u8],
    out: &'a mut Vec<u8>,
) -> Result<&'a [u8], HidingError> {
    out.clear();
    out.extend_from_slice(value);
    let mut key = first_key(attribute, secret, random_vector);
    for (block, hidden) in out.chunks_mut(BLOCK).zip(value.chunks(BLOCK)) {
        xor(block, key);
        key = next_key(secret, hidden);
    }
    let (length, rest) = out
        .split_first_chunk::<LENGTH>()
        .ok_or(HidingError::TooShort(value.len()))?;
    let claimed = usize::from(u16::from_be_bytes(*length));
    rest.get(..claimed).ok_or(HidingError::BadLength {
        claimed,
        present: rest.len(),
    })
}

/// A block of the chain. With what it hides and what went out it is as good as the value itself.
type Key = Zeroizing<[u8; BLOCK]>;

fn first_key(attribute: u16, secret: &[u8], random_vector: &[u8]) -> Key {
    let hash = Md5::new()
        .chain_update(attribute.to_be_bytes())
        .chain_update(secret)
        .chain_update(random_vector)
        .finalize();
    Zeroizing::new(hash.into())
}

fn next_key(secret: &[u8], hidden: &[u8]) -> Key {
    let hash = Md5::new()
        .chain_update(secret)
        .chain_update(hidden)
        .finalize();
    Zeroizing::new(hash.into())
}

fn xor(block: &mut [u8], key: Key) {
    for (octet, key) in block.iter_mut().zip(key.iter()) {
        *octet ^= key;
    }
}
