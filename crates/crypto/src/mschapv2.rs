//! MS-CHAPv2 (RFC 2759), both ends: what proves the peer to the authenticator, and the authenticator to the peer.
//!
//! Of a user name only what follows the last backslash counts: a `DOMAIN\` prefix is no part of the hash (section 8.2).

use md4::{Digest, Md4};
use sha1::Sha1;
use zeroize::Zeroizing;

use crate::nt::{challenge_response, password_hash};

/// The first constant of section 8.7.
const SIGNING: &[u8] = b"Magic server to client signing constant";
/// The second constant of section 8.7.
const ITERATION: &[u8] = b"Pad to make it do more than one iteration";

/// The response that proves that the peer knows `password` (RFC 2759 section 8.1, GenerateNTResponse).
pub fn nt_response(
    authenticator_challenge: &[u8; 16],
    peer_challenge: &[u8; 16],
    user_name: &[u8],
    password: &str,
) -> [u8; 24] {
    let challenge = challenge_hash(peer_challenge, authenticator_challenge, user_name);
    challenge_response(&challenge, &password_hash(password))
}

/// What proves that the authenticator knows `password` too (RFC 2759 section 8.7, GenerateAuthenticatorResponse).
///
/// These are the raw 20 octets; in a Success packet they stand as `S=` and 40 hexadecimal digits.
pub fn authenticator_response(
    password: &str,
    nt_response: &[u8; 24],
    peer_challenge: &[u8; 16],
    authenticator_challenge: &[u8; 16],
    user_name: &[u8],
) -> [u8; 20] {
    let hash_of_hash = Zeroizing::new(<[u8; 16]>::from(Md4::digest(*password_hash(password))));
    let signed = Sha1::new()
        .chain_update(*hash_of_hash)
        .chain_update(nt_response)
        .chain_update(SIGNING)
        .finalize();
    Sha1::new()
        .chain_update(signed)
        .chain_update(challenge_hash(
            peer_challenge,
            authenticator_challenge,
            user_name,
        ))
        .chain_update(ITERATION)
        .finalize()
        .into()
}

/// Section 8.2, ChallengeHash: the first 8 octets of a SHA-1.
fn challenge_hash(
    peer_challenge: &[u8; 16],
    authenticator_challenge: &[u8; 16],
    user_name: &[u8],
) -> [u8; 8] {
    let account = user_name
        .rsplit(|&octet| octet == b'\\')
        .next()
        .unwrap_or(user_name);
    let [a, b, c, d, e, f, g, h, ..]: [u8; 20] = Sha1::new()
        .chain_update(peer_challenge)
        .chain_update(authenticator_challenge)
        .chain_update(account)
        .finalize()
        .into();
    [a, b, c, d, e, f, g, h]
}
