//! Tunnels that peers asked for and that were never established: who has how many, and which is the oldest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::source::Source;

/// A tunnel's place among those that are not established; it counts up with their age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct Place(u64);

/// The tunnels that count against the limits of what is not proven.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct HalfOpen {
    by_age: BTreeMap<Place, (Source, u16)>,
    by_source: BTreeSet<(Source, Place)>,
    #[serde(with = "crate::snapshot::pairs")]
    counts: BTreeMap<Source, usize>,
    last: u64,
}

impl HalfOpen {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_age.len()
    }

    /// How many `source` has.
    pub(crate) fn len_of(&self, source: Source) -> usize {
        self.counts.get(&source).copied().unwrap_or(0)
    }

    pub(crate) fn insert(&mut self, source: Source, tunnel: u16) -> Place {
        self.last += 1;
        let place = Place(self.last);
        self.by_age.insert(place, (source, tunnel));
        self.by_source.insert((source, place));
        *self.counts.entry(source).or_default() += 1;
        place
    }

    pub(crate) fn remove(&mut self, place: Place) {
        let Some((source, _)) = self.by_age.remove(&place) else {
            return;
        };
        self.by_source.remove(&(source, place));
        if let Some(count) = self.counts.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&source);
            }
        }
    }

    /// The oldest of all.
    pub(crate) fn oldest(&self) -> Option<u16> {
        self.by_age
            .first_key_value()
            .map(|(_, &(_, tunnel))| tunnel)
    }

    /// The oldest of `source`'s.
    pub(crate) fn oldest_of(&self, source: Source) -> Option<u16> {
        let mut of_source = self
            .by_source
            .range((source, Place(0))..=(source, Place(u64::MAX)));
        let (_, place) = of_source.next()?;
        self.by_age.get(place).map(|&(_, tunnel)| tunnel)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(last: u8) -> Source {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)).into()
    }

    #[test]
    fn each_source_has_its_count_and_its_oldest() {
        let mut all = HalfOpen::default();
        let first = all.insert(source(1), 10);
        all.insert(source(2), 20);
        let third = all.insert(source(1), 11);
        assert_eq!((all.len(), all.len_of(source(1))), (3, 2));
        assert_eq!(
            (all.oldest(), all.oldest_of(source(2))),
            (Some(10), Some(20))
        );
        all.remove(first);
        all.remove(first);
        assert_eq!(
            (all.oldest(), all.oldest_of(source(1))),
            (Some(20), Some(11))
        );
        all.remove(third);
        assert_eq!((all.len_of(source(1)), all.oldest_of(source(1))), (0, None));
        assert_eq!(all.len(), 1);
    }
}
