//! What a source may still do after what it did: its failures, and the refusals that it is sent. What works is never limited.

use std::collections::BTreeMap;

use sansio::Time;
use serde::{Deserialize, Serialize};

use crate::buckets::{Allowance, Buckets};
use crate::source::Source;

/// Refusals that are sent to a source; what it asks beyond is met with silence. Nobody who is served gets one.
const REFUSALS: Allowance = Allowance {
    burst: 100,
    per_second: 10,
};

/// A source whose sessions work fails that much more often: so many of them make one failure more a cheaper one.
const SESSIONS_A_SHARE: u32 = 100;

/// What peers that get our answers failed at, a source.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Tunnels that ended by the peer's fault before they were established, wrong responses to our challenge above all.
    tunnels: Buckets,
    /// Faulty requests for calls, and PPP peers that failed to prove who they are.
    calls: Buckets,
    refusals: Buckets,
    /// Sessions that carry traffic.
    #[serde(with = "crate::snapshot::pairs")]
    working: BTreeMap<Source, u32>,
}

impl Limits {
    pub(crate) fn may_open_tunnel(&self, source: Source, most: Allowance, now: Time) -> bool {
        self.tunnels.has(source, most, now)
    }

    pub(crate) fn tunnel_failed(&mut self, source: Source, most: Allowance, now: Time) {
        self.tunnels.spend(source, most, 1, now);
    }

    pub(crate) fn tunnel_worked(&mut self, source: Source, most: Allowance, now: Time) {
        self.tunnels.refund(source, most, now);
    }

    pub(crate) fn may_call(&self, source: Source, most: Allowance, now: Time) -> bool {
        self.calls.has(source, most, now)
    }

    /// A LAC with ten thousand subscribers has some at any time whose passwords are wrong and who try for ever; a guesser has no subscribers.
    pub(crate) fn call_failed(&mut self, source: Source, most: Allowance, now: Time) {
        let working = self.working.get(&source).copied().unwrap_or(0);
        let share = 1 + working / SESSIONS_A_SHARE;
        self.calls.spend(source, most, share, now);
    }

    pub(crate) fn call_worked(&mut self, source: Source, most: Allowance, now: Time) {
        self.calls.refund(source, most, now);
    }

    /// Whether one more refusal is sent.
    pub(crate) fn may_be_told(&mut self, source: Source, now: Time) -> bool {
        self.refusals.take(source, REFUSALS, now)
    }

    pub(crate) fn session_up(&mut self, source: Source) {
        *self.working.entry(source).or_default() += 1;
    }

    pub(crate) fn session_down(&mut self, source: Source) {
        if let Some(working) = self.working.get_mut(&source) {
            *working = working.saturating_sub(1);
            if *working == 0 {
                self.working.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const MOST: Allowance = Allowance {
        burst: 100,
        per_second: 2,
    };

    /// How many calls of a source go through in an hour of which each fails, one each 100 ms.
    fn failing_for_an_hour(limits: &mut Limits, source: Source) -> u32 {
        let mut through = 0;
        for tenth in 0..36_000 {
            let now = Time::from_secs(1) + Duration::from_millis(100) * tenth;
            if limits.may_call(source, MOST, now) {
                limits.call_failed(source, MOST, now);
                through += 1;
            }
        }
        through
    }

    #[test]
    fn a_guesser_is_slowed_down_and_a_lac_with_thousands_of_good_subscribers_is_not() {
        let source = Source::V4(Ipv4Addr::LOCALHOST);
        let mut limits = Limits::default();
        assert_eq!(
            failing_for_an_hour(&mut limits, source),
            100 + 2 * 3_600 - 1
        );

        let mut limits = Limits::default();
        (0..1_000).for_each(|_| limits.session_up(source));
        assert_eq!(failing_for_an_hour(&mut limits, source), 36_000);
        (0..1_000).for_each(|_| limits.session_down(source));
        assert!(limits.working.is_empty());
    }

    #[test]
    fn each_success_makes_good_for_a_failure() {
        let source = Source::V4(Ipv4Addr::LOCALHOST);
        let (mut limits, now) = (Limits::default(), Time::from_secs(1));
        for _ in 0..10_000 {
            assert!(
                limits.may_call(source, MOST, now) && limits.may_open_tunnel(source, MOST, now)
            );
            limits.call_failed(source, MOST, now);
            limits.call_worked(source, MOST, now);
            limits.tunnel_failed(source, MOST, now);
            limits.tunnel_worked(source, MOST, now);
        }
        (0..100).for_each(|_| limits.tunnel_failed(source, MOST, now));
        assert!(!limits.may_open_tunnel(source, MOST, now));
        assert!(limits.may_call(source, MOST, now), "each has its own");
    }
}
