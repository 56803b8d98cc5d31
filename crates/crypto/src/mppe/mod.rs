//! Microsoft Point-to-Point Encryption: where its keys come from (RFC 3079), and the cipher (RFC 3078).
//!
//! A packet's two octets of header and the protocol numbers are the caller's: here are octets to encrypt, a coherency count and the FLUSHED bit.

mod cipher;
mod key;
mod start;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use cipher::{COUNTS, Decryptor, Encryptor, Lost, Sealed};
pub use start::{StartKey, StartKeys};

/// How long the keys are, in bits. The two short ones are eight octets of which some are known to everybody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum KeyLength {
    /// 40 bits.
    Bits40,
    /// 56 bits.
    Bits56,
    /// 128 bits.
    Bits128,
}

impl KeyLength {
    /// Every length, the strongest first.
    pub const ALL: [Self; 3] = [Self::Bits128, Self::Bits56, Self::Bits40];

    /// The number of bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Bits40 => 40,
            Self::Bits56 => 56,
            Self::Bits128 => 128,
        }
    }

    /// What the first octets of a session key are, whatever they were derived to be.
    const fn known_octets(self) -> &'static [u8] {
        match self {
            Self::Bits40 => &[0xd1, 0x26, 0x9e],
            Self::Bits56 => &[0xd1],
            Self::Bits128 => &[],
        }
    }

    /// How many octets a key has.
    const fn octets(self) -> usize {
        match self {
            Self::Bits40 | Self::Bits56 => 8,
            Self::Bits128 => 16,
        }
    }
}

/// What the two ends agree on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mode {
    /// The keys' length.
    pub length: KeyLength,
    /// The key changes with every 256th packet, and a lost packet costs a question and what comes until its answer. Otherwise it changes with every packet, and
    /// a lost one costs no other.
    pub stateful: bool,
}

impl fmt::Display for Mode {
    /// `128 stateless`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.stateful {
            "stateful"
        } else {
            "stateless"
        };
        write!(f, "{} {kind}", self.length.bits())
    }
}
