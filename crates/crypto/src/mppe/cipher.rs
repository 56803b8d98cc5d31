use std::fmt;

use rc4::{Rc4, StreamCipher};

use super::key::SessionKey;
use super::{Mode, StartKey};

/// The coherency count goes from 0 to this less one, and again from 0.
pub const COUNTS: u16 = 1 << 12;

/// Packets further behind than this are late.
const HALF: u16 = COUNTS / 2;

/// Key changes tried beyond those that the count tells of. The RFC re-initializes the tables with the present key when it is asked to begin anew;
/// the Linux kernel changes the key, also for what is lost then.
const UNTOLD_CHANGES: u8 = 4;

/// After so many packets in a row of which none could be read, more may be lost than the count can tell.
const HOPELESS: u8 = 32;

/// What goes into the header of an encrypted packet (RFC 3078 section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The tables were initialized for it.
    pub flushed: bool,
    /// The coherency count.
    pub count: u16,
}

/// One that encrypts what is sent.
pub struct Encryptor {
    key: SessionKey,
    stateful: bool,
    tables: Rc4,
    /// Of the last packet.
    count: u16,
    /// The peer lost something.
    flush: bool,
}

impl Encryptor {
    /// At the beginning.
    #[must_use]
    pub fn new(start: StartKey, mode: Mode) -> Self {
        let key = SessionKey::initial(start, mode.length);
        Self {
            tables: key.cipher(),
            key,
            stateful: mode.stateful,
            count: COUNTS - 1,
            flush: false,
        }
    }

    /// Begins anew with the next packet, because the peer lost one and asked for it (RFC 3078 section 8.2).
    pub fn flush(&mut self) {
        self.flush = self.stateful;
    }

    /// Encrypts the octets of the next packet in their place.
    pub fn seal(&mut self, octets: &mut [u8]) -> Sealed {
        self.count = (self.count + 1) % COUNTS;
        if std::mem::take(&mut self.flush) {
            // There are two opinions of whether beginning anew changes the key, and none that the flag packet does. What is between counts as lost.
            self.count |= 0xff;
        }
        let flushed = !self.stateful || is_flag(self.count);
        if flushed {
            self.key.change();
            self.tables = self.key.cipher();
        }
        self.tables.apply_keystream(octets);
        Sealed {
            flushed,
            count: self.count,
        }
    }
}

/// Why a packet could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// One before it is missing: the peer must be asked to begin anew.
    Synchronization,
    /// It is late, comes twice or is made up. The next one can be read.
    Packet,
}

/// One that decrypts what is received.
pub struct Decryptor {
    key: SessionKey,
    stateful: bool,
    tables: Rc4,
    /// Of the last packet that could be read.
    count: u16,
    /// In stateful mode: nothing can be read until the peer begins anew.
    lost: bool,
    /// Packets in a row that could not be read.
    misses: u8,
}

impl Decryptor {
    /// At the beginning.
    #[must_use]
    pub fn new(start: StartKey, mode: Mode) -> Self {
        let key = SessionKey::initial(start, mode.length);
        Self {
            tables: key.cipher(),
            key,
            stateful: mode.stateful,
            count: COUNTS - 1,
            lost: false,
            misses: 0,
        }
    }

    /// Puts the octets of a packet into `out`, decrypted, in place of what was there. What is not `plausible` was not encrypted with this key: there is no other way to
    /// tell what somebody made up, and the key does not follow it.
    ///
    /// # Errors
    ///
    /// [`Lost`]: nothing that is to be used is in `out`.
    pub fn open(
        &mut self,
        sealed: Sealed,
        octets: &[u8],
        out: &mut Vec<u8>,
        plausible: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Lost> {
        let read = if self.stateful {
            self.open_stateful(sealed, octets, out, plausible)
        } else {
            self.open_stateless(sealed, octets, out, plausible)
        };
        self.misses = match read {
            Ok(()) => 0,
            Err(_) if self.misses == HOPELESS => 0,
            Err(_) => self.misses + 1,
        };
        read
    }

    fn open_stateless(
        &mut self,
        sealed: Sealed,
        octets: &[u8],
        out: &mut Vec<u8>,
        plausible: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Lost> {
        let ahead = self.ahead(sealed.count);
        let hopeless = self.misses == HOPELESS;
        if ahead == 0 || (ahead > HALF && !hopeless) {
            return Err(Lost::Packet);
        }
        let mut key = self.key.clone();
        (0..ahead).for_each(|_| key.change());
        // Once around more, where that may be why.
        for round in 0..=u8::from(hopeless) {
            if round > 0 {
                (0..COUNTS).for_each(|_| key.change());
            }
            decrypt(&mut key.cipher(), octets, out);
            if plausible(out) {
                (self.key, self.count) = (key, sealed.count);
                return Ok(());
            }
        }
        Err(Lost::Packet)
    }

    fn open_stateful(
        &mut self,
        sealed: Sealed,
        octets: &[u8],
        out: &mut Vec<u8>,
        plausible: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Lost> {
        let ahead = self.ahead(sealed.count);
        if !self.lost && (ahead == 0 || ahead > HALF) {
            return Err(Lost::Packet);
        }
        self.lost |= ahead != 1;
        if !sealed.flushed && (self.lost || is_flag(sealed.count)) {
            self.lost = true;
            return Err(Lost::Synchronization);
        }
        if !sealed.flushed {
            decrypt(&mut self.tables, octets, out);
            self.lost = !plausible(out);
            self.count = sealed.count;
            return match self.lost {
                true => Err(Lost::Synchronization),
                false => Ok(()),
            };
        }
        let mut key = self.key.clone();
        (0..flags_between(self.count, sealed.count)).for_each(|_| key.change());
        for _ in 0..=UNTOLD_CHANGES {
            let mut tables = key.cipher();
            decrypt(&mut tables, octets, out);
            if plausible(out) {
                (self.key, self.tables, self.count) = (key, tables, sealed.count);
                self.lost = false;
                return Ok(());
            }
            key.change();
        }
        self.lost = true;
        Err(Lost::Synchronization)
    }

    /// How far a count is ahead of the last one.
    fn ahead(&self, count: u16) -> u16 {
        (count % COUNTS + COUNTS - self.count) % COUNTS
    }
}

/// Whether the key of stateful mode changes with the packet of this count.
const fn is_flag(count: u16) -> bool {
    count & 0xff == 0xff
}

/// How many packets after that of count `from` are flag packets, until that of count `to`, which may be one.
const fn flags_between(from: u16, to: u16) -> u16 {
    ((to + 1) / 0x100 + COUNTS / 0x100 - (from + 1) / 0x100) % (COUNTS / 0x100)
}

fn decrypt(tables: &mut Rc4, octets: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(octets);
    tables.apply_keystream(out);
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryptor")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decryptor")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
