use std::collections::{BTreeMap, BTreeSet};

use sansio::Time;
use serde::{Deserialize, Serialize};

use crate::source::Source;

/// Parts of a token.
const WHOLE: u64 = 1_000_000;
/// The most sources that a table knows of; of others it forgets the one that it has not heard of for longest.
const MOST_SOURCES: usize = 4_096;

/// How much a source may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Allowance {
    /// At once.
    pub(crate) burst: u32,
    /// Each second from then on.
    pub(crate) per_second: u32,
}

/// What is left to each source of something that it may do only so often: a token bucket for each. A source that is not in the table has all of it.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Buckets {
    #[serde(with = "crate::snapshot::pairs")]
    by_source: BTreeMap<Source, Bucket>,
    by_use: BTreeSet<(Time, Source)>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Bucket {
    /// Spent, in parts of a token: so that a configuration with another burst can come at any time.
    spent: u64,
    at: Time,
}

impl Bucket {
    fn spent_at(&self, allowance: Allowance, now: Time) -> u64 {
        let micros = now.saturating_since(self.at).as_micros();
        let refilled = micros.saturating_mul(allowance.per_second.into());
        // A second's microseconds are a token's parts.
        self.spent
            .saturating_sub(u64::try_from(refilled).unwrap_or(u64::MAX))
    }
}

impl Buckets {
    /// Whether `source` has a whole token left.
    pub(crate) fn has(&self, source: Source, allowance: Allowance, now: Time) -> bool {
        let spent = self
            .by_source
            .get(&source)
            .map_or(0, |bucket| bucket.spent_at(allowance, now));
        spent + WHOLE <= u64::from(allowance.burst) * WHOLE
    }

    /// Takes a token of `source`, if it has one left; whether it had.
    pub(crate) fn take(&mut self, source: Source, allowance: Allowance, now: Time) -> bool {
        let has = self.has(source, allowance, now);
        if has {
            self.spend(source, allowance, 1, now);
        }
        has
    }

    /// Takes the `share`th part of a token, down to none.
    pub(crate) fn spend(&mut self, source: Source, allowance: Allowance, share: u32, now: Time) {
        self.change(source, allowance, now, |spent| {
            let most = u64::from(allowance.burst) * WHOLE;
            (spent + WHOLE / u64::from(share.max(1))).min(most)
        });
    }

    /// Gives a token back.
    pub(crate) fn refund(&mut self, source: Source, allowance: Allowance, now: Time) {
        if self.by_source.contains_key(&source) {
            self.change(source, allowance, now, |spent| spent.saturating_sub(WHOLE));
        }
    }

    fn change(
        &mut self,
        source: Source,
        allowance: Allowance,
        now: Time,
        change: impl FnOnce(u64) -> u64,
    ) {
        let old = self.by_source.remove(&source);
        if let Some(old) = old {
            self.by_use.remove(&(old.at, source));
        }
        let spent = change(old.map_or(0, |bucket| bucket.spent_at(allowance, now)));
        if spent == 0 {
            return;
        }
        if self.by_source.len() >= MOST_SOURCES
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.by_source.remove(&oldest);
        }
        self.by_source.insert(source, Bucket { spent, at: now });
        self.by_use.insert((now, source));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;

    const ALLOWANCE: Allowance = Allowance {
        burst: 3,
        per_second: 2,
    };

    fn source(number: u32) -> Source {
        IpAddr::V4(Ipv4Addr::from(number)).into()
    }

    #[test]
    fn a_source_that_has_spent_its_burst_gets_more_with_time_and_harms_no_other() {
        let mut buckets = Buckets::default();
        let now = Time::from_secs(10);
        let taken = (0..10).filter(|_| buckets.take(source(1), ALLOWANCE, now));
        assert_eq!(taken.count(), 3);
        assert!(buckets.has(source(2), ALLOWANCE, now));
        assert!(!buckets.has(source(1), ALLOWANCE, now + Duration::from_millis(499)));
        assert!(buckets.has(source(1), ALLOWANCE, now + Duration::from_millis(500)));
        let later = now + Duration::from_secs(1_000);
        let taken = (0..10).filter(|_| buckets.take(source(1), ALLOWANCE, later));
        assert_eq!(taken.count(), 3, "no more than the burst");
    }

    #[test]
    fn a_token_comes_back_and_parts_of_one_add_up() {
        let mut buckets = Buckets::default();
        let now = Time::from_secs(10);
        while buckets.take(source(1), ALLOWANCE, now) {}
        buckets.refund(source(1), ALLOWANCE, now);
        assert!(buckets.has(source(1), ALLOWANCE, now));
        for _ in 0..=80 {
            assert!(buckets.has(source(2), ALLOWANCE, now));
            buckets.spend(source(2), ALLOWANCE, 40, now);
        }
        assert!(!buckets.has(source(2), ALLOWANCE, now));
        buckets.refund(source(3), ALLOWANCE, now);
        let taken = (0..10).filter(|_| buckets.take(source(3), ALLOWANCE, now));
        assert_eq!(taken.count(), 3, "nothing to give back");
    }

    #[test]
    fn the_table_forgets_who_was_silent_for_longest() {
        let mut buckets = Buckets::default();
        let most = MOST_SOURCES as u32;
        for number in 0..=most {
            let now = Time::from_millis(u64::from(number));
            while buckets.take(source(number), ALLOWANCE, now) {}
        }
        assert_eq!(buckets.by_source.len(), MOST_SOURCES);
        assert_eq!(buckets.by_use.len(), MOST_SOURCES);
        let now = Time::from_millis(u64::from(most));
        assert!(buckets.has(source(0), ALLOWANCE, now), "forgotten");
        assert!(!buckets.has(source(most), ALLOWANCE, now));
    }
}
