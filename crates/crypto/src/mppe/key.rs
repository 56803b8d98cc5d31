use rc4::{KeyInit, Rc4, StreamCipher};
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use super::{KeyLength, StartKey};

/// The pads of RFC 3079 section 3.4.
pub(super) const PAD1: [u8; 40] = [0; 40];
pub(super) const PAD2: [u8; 40] = [0xf2; 40];

/// The session key of one direction, and what it is changed by.
#[derive(Clone)]
pub(super) struct SessionKey {
    start: StartKey,
    length: KeyLength,
    /// As many octets as the length has.
    key: Zeroizing<[u8; 16]>,
}

impl SessionKey {
    /// The initial one (RFC 3079 sections 3.1 to 3.3).
    pub(super) fn initial(start: StartKey, length: KeyLength) -> Self {
        let key = Zeroizing::new(*start.as_bytes());
        let mut first = Self { start, length, key };
        first.key = first.interim();
        first.weaken();
        first
    }

    /// The next one (RFC 3078 section 7.3).
    pub(super) fn change(&mut self) {
        let interim = self.interim();
        let octets = self.length.octets();
        let mut cipher = cipher(&interim[..octets]);
        self.key = interim;
        cipher.apply_keystream(&mut self.key[..octets]);
        self.weaken();
    }

    /// The tables of RC4 as this key makes them.
    pub(super) fn cipher(&self) -> Rc4 {
        cipher(&self.key[..self.length.octets()])
    }

    /// GetNewKeyFromSHA.
    fn interim(&self) -> Zeroizing<[u8; 16]> {
        let octets = self.length.octets();
        let digest = Sha1::new()
            .chain_update(&self.start.as_bytes()[..octets])
            .chain_update(PAD1)
            .chain_update(&self.key[..octets])
            .chain_update(PAD2)
            .finalize();
        let digest = Zeroizing::new(<[u8; 20]>::from(digest));
        let mut key = Zeroizing::new([0; 16]);
        key[..octets].copy_from_slice(&digest[..octets]);
        key
    }

    fn weaken(&mut self) {
        let known = self.length.known_octets();
        self.key[..known.len()].copy_from_slice(known);
    }
}

/// RC4 with a key of at most 32 octets.
fn cipher(key: &[u8]) -> Rc4 {
    // It goes round and round its key, so a repeated one is the same.
    let repeated = Zeroizing::new(std::array::from_fn::<_, 32, _>(|i| key[i % key.len()]));
    Rc4::new((&*repeated).into())
}
