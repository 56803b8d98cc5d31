use std::fmt;

use md4::{Digest, Md4};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use zeroize::Zeroizing;

use super::key::{PAD1, PAD2};
use crate::nt::password_hash;

/// The first constant of RFC 3079 section 3.4.
const MASTER_KEY: &[u8] = b"This is the MPPE Master Key";
/// The second one: of what the authenticated end sends.
const TO_SERVER: &[u8] =
    b"On the client side, this is the send key; on the server side, it is the receive key.";
/// The third one: of what it receives.
const TO_CLIENT: &[u8] =
    b"On the client side, this is the receive key; on the server side, it is the send key.";

/// What the session keys of one direction are derived from: the start key, or master session key, of RFC 3079. A shorter one is the beginning
/// of this. Wiped when dropped, compared in constant time and never printed; serde sees it as it is.
#[derive(Clone, Serialize, Deserialize)]
pub struct StartKey(Zeroizing<[u8; 16]>);

impl StartKey {
    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for StartKey {
    fn from(octets: [u8; 16]) -> Self {
        Self(Zeroizing::new(octets))
    }
}

impl PartialEq for StartKey {
    fn eq(&self, other: &Self) -> bool {
        crate::eq(&*self.0, &*other.0)
    }
}

impl Eq for StartKey {}

impl fmt::Debug for StartKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartKey(..)")
    }
}

/// The start keys of both directions, as one end has them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StartKeys {
    /// Of what it sends.
    pub send: StartKey,
    /// Of what it receives.
    pub receive: StartKey,
}

impl StartKeys {
    /// The authenticator's, of a peer that proved itself by MS-CHAPv2 with this password and response (RFC 3079 section 3).
    #[must_use]
    pub fn of_ms_chap_v2(password: &str, nt_response: &[u8; 24]) -> Self {
        let master = first16(
            Sha1::new()
                .chain_update(*hash_of_hash(password))
                .chain_update(nt_response)
                .chain_update(MASTER_KEY),
        );
        let key = |direction: &[u8]| {
            let hash = Sha1::new()
                .chain_update(*master)
                .chain_update(PAD1)
                .chain_update(direction)
                .chain_update(PAD2);
            StartKey(first16(hash))
        };
        Self {
            send: key(TO_CLIENT),
            receive: key(TO_SERVER),
        }
    }

    /// Either end's, of a peer that proved itself by MS-CHAPv1 with this password (RFC 3079 section 2.3). They are for 128 bits alone: shorter ones come of the
    /// LAN Manager's hash, and are the same in every session.
    #[must_use]
    pub fn of_ms_chap_v1(password: &str, challenge: &[u8; 8]) -> Self {
        let hash = hash_of_hash(password);
        let both = StartKey(first16(
            Sha1::new()
                .chain_update(*hash)
                .chain_update(*hash)
                .chain_update(challenge),
        ));
        Self {
            send: both.clone(),
            receive: both,
        }
    }

    /// Those of the other end.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            send: self.receive,
            receive: self.send,
        }
    }
}

/// MD4 over the password's hash: PasswordHashHash.
fn hash_of_hash(password: &str) -> Zeroizing<[u8; 16]> {
    Zeroizing::new(Md4::digest(*password_hash(password)).into())
}

fn first16(hash: Sha1) -> Zeroizing<[u8; 16]> {
    let digest = Zeroizing::new(<[u8; 20]>::from(hash.finalize()));
    let mut key = Zeroizing::new([0; 16]);
    key.copy_from_slice(&digest[..16]);
    key
}
