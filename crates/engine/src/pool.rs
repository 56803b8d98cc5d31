//! IPv4 address pools.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// A range of addresses and which of them are lent: one bit each.
///
/// The search goes round, so that an address that was just given back is lent last: packets for its former holder die out first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pool {
    first: u32,
    len: u32,
    lent: Vec<u64>,
    cursor: u32,
}

impl Pool {
    /// The addresses from `first` to `last`, both included.
    pub(crate) fn new(first: Ipv4Addr, last: Ipv4Addr) -> Self {
        let (first, last) = (u32::from(first), u32::from(last));
        let len = last.saturating_sub(first).saturating_add(1);
        Self {
            first,
            len,
            lent: vec![0; len.div_ceil(64) as usize],
            cursor: 0,
        }
    }

    /// The first and the last address.
    pub(crate) fn range(&self) -> (Ipv4Addr, Ipv4Addr) {
        let last = self.first + self.len.saturating_sub(1);
        (self.first.into(), last.into())
    }

    /// Whether this is a pool of the same addresses as another.
    pub(crate) fn covers_what(&self, other: &Self) -> bool {
        (self.first, self.len) == (other.first, other.len)
    }

    /// Lends an address; none when all are lent.
    pub(crate) fn lend(&mut self) -> Option<Ipv4Addr> {
        let words = self.lent.len();
        let start = (self.cursor / 64) as usize;
        // The first word comes twice: from the cursor on, and at the end from its beginning.
        for step in 0..=words {
            let word = (start + step) % words;
            let mut free = !self.lent[word];
            if step == 0 {
                free &= u64::MAX << (self.cursor % 64);
            }
            let index = word as u32 * 64 + free.trailing_zeros();
            if free != 0 && index < self.len {
                self.lent[word] |= 1 << (index % 64);
                self.cursor = (index + 1) % self.len;
                return Some(Ipv4Addr::from(self.first + index));
            }
        }
        None
    }

    /// Lends this very address; false when it is outside or already lent.
    pub(crate) fn lend_exactly(&mut self, address: Ipv4Addr) -> bool {
        let Some((word, bit)) = self.place(address) else {
            return false;
        };
        let free = self.lent[word] & bit == 0;
        self.lent[word] |= bit;
        free
    }

    /// Takes an address back; one that is not lent or not of this pool changes nothing.
    pub(crate) fn give_back(&mut self, address: Ipv4Addr) {
        if let Some((word, bit)) = self.place(address) {
            self.lent[word] &= !bit;
        }
    }

    fn place(&self, address: Ipv4Addr) -> Option<(usize, u64)> {
        let index = u32::from(address)
            .checked_sub(self.first)
            .filter(|&i| i < self.len)?;
        Some(((index / 64) as usize, 1 << (index % 64)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn pool(n: u8) -> Pool {
        Pool::new(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, n))
    }

    #[test]
    fn every_address_is_lent_once_and_then_none() {
        for n in [1, 63, 64, 65, 130] {
            let mut pool = pool(n);
            let lent: BTreeSet<_> = (0..n).map(|_| pool.lend().unwrap()).collect();
            assert_eq!(lent.len(), usize::from(n));
            assert_eq!(pool.lend(), None);
            pool.give_back(Ipv4Addr::new(10, 0, 0, n));
            assert_eq!(pool.lend(), Some(Ipv4Addr::new(10, 0, 0, n)));
        }
    }

    #[test]
    fn what_was_given_back_is_lent_last() {
        let mut pool = pool(3);
        let first = pool.lend().unwrap();
        pool.give_back(first);
        assert_ne!(pool.lend().unwrap(), first);
        assert_ne!(pool.lend().unwrap(), first);
        assert_eq!(pool.lend().unwrap(), first);
    }

    #[test]
    fn a_wanted_address_is_lent_only_once_and_foreign_ones_never() {
        let mut pool = pool(3);
        assert!(pool.lend_exactly(Ipv4Addr::new(10, 0, 0, 2)));
        assert!(!pool.lend_exactly(Ipv4Addr::new(10, 0, 0, 2)));
        assert!(!pool.lend_exactly(Ipv4Addr::new(10, 0, 0, 4)));
        pool.give_back(Ipv4Addr::new(9, 9, 9, 9));
        assert_eq!(
            [pool.lend(), pool.lend(), pool.lend()]
                .iter()
                .flatten()
                .count(),
            2
        );
    }
}
