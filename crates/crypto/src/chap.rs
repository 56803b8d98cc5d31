//! The MD5 challenge response, of PPP's CHAP and of L2TP tunnels.

use md5::{Digest, Md5};

/// The response to `challenge`: MD5 over the identifier, the secret and the challenge (RFC 1994 section 4.1).
///
/// L2TP tunnel authentication is the same with the message type that carries the response as `id`: 2 in an SCCRP, 3 in
/// an SCCCN (RFC 2661 section 4.4.3, Challenge Response).
pub fn response(id: u8, secret: &[u8], challenge: &[u8]) -> [u8; 16] {
    Md5::new()
        .chain_update([id])
        .chain_update(secret)
        .chain_update(challenge)
        .finalize()
        .into()
}
