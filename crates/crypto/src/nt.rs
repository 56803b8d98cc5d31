//! What both versions of MS-CHAP make of a password.

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use md4::{Digest, Md4};
use zeroize::Zeroizing;

/// NtPasswordHash (RFC 2433 section A.6, RFC 2759 section 8.3): MD4 over the password as UTF-16, low octet first.
pub(crate) fn password_hash(password: &str) -> Zeroizing<[u8; 16]> {
    let mut hash = Md4::new();
    for unit in password.encode_utf16() {
        hash.update(unit.to_le_bytes());
    }
    Zeroizing::new(hash.finalize().into())
}

/// ChallengeResponse (RFC 2433 section A.7, RFC 2759 section 8.5): the challenge encrypted under three DES keys cut from the zero-padded hash.
pub(crate) fn challenge_response(challenge: &[u8; 8], password_hash: &[u8; 16]) -> [u8; 24] {
    let mut keys = Zeroizing::new([0; 21]);
    keys[..16].copy_from_slice(password_hash);
    let mut response = [0; 24];
    for (key, block) in keys
        .as_chunks::<7>()
        .0
        .iter()
        .zip(response.as_chunks_mut::<8>().0)
    {
        *block = *challenge;
        Des::new((&*expand_key(key)).into()).encrypt_block(block.into());
    }
    response
}

/// Spreads 56 bits of key over 8 octets, seven a octet; the low bit, the parity, stays 0 because DES ignores it.
fn expand_key(key: &[u8; 7]) -> Zeroizing<[u8; 8]> {
    let bits = key
        .iter()
        .fold(0u64, |bits, &octet| bits << 8 | u64::from(octet));
    Zeroizing::new(std::array::from_fn(|i| ((bits >> (49 - 7 * i)) as u8) << 1))
}
