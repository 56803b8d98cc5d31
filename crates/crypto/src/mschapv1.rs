//! MS-CHAPv1 (RFC 2433). Of its two responses only that of Windows NT: the LAN Manager's gives the password away.

use crate::nt::{challenge_response, password_hash};

/// The response that proves that the peer knows `password` (RFC 2433 section A.5, NtChallengeResponse).
pub fn nt_response(challenge: &[u8; 8], password: &str) -> [u8; 24] {
    challenge_response(challenge, &password_hash(password))
}
