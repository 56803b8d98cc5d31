use std::hash::{DefaultHasher, Hasher};

use serde::{Deserialize, Serialize};

/// At most so many octets are sent to a peer for each that came from it, while it has not shown that it gets them.
const AMPLIFICATION: usize = 3;

/// What a tunnel knows of a peer that opened it and has not yet sent anything that needs our answer: the SCCRQ may come from somebody else
/// than its source address says, and what we send may hit somebody who never asked.
///
/// Octets are those of UDP payload.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Unproven {
    /// Octets that we may still send.
    credit: usize,
    /// The SCCRQ's fingerprint.
    sccrq: u64,
}

impl Unproven {
    pub(crate) fn new(sccrq_octets: usize, fingerprint: u64) -> Self {
        Self {
            credit: allowance(sccrq_octets),
            sccrq: fingerprint,
        }
    }

    pub(crate) fn earn(&mut self, octets: usize) {
        self.credit = self.credit.saturating_add(allowance(octets));
    }

    pub(crate) fn spend(&mut self, octets: usize) {
        self.credit = self.credit.saturating_sub(octets);
    }

    pub(crate) fn credit(&self) -> usize {
        self.credit
    }

    pub(crate) fn began_with(&self, fingerprint: u64) -> bool {
        self.sccrq == fingerprint
    }
}

/// What may be sent in answer to a datagram of so many octets.
pub(crate) fn allowance(octets: usize) -> usize {
    octets.saturating_mul(AMPLIFICATION)
}

/// Tells whether two SCCRQs are one message: same Ns, same AVPs. Nobody gains by making two of the same fingerprint but who sends both.
pub(crate) fn fingerprint(ns: u16, avps: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u16(ns);
    hasher.write(avps);
    hasher.finish()
}
