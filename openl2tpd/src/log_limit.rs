//! Strangers write so many lines of our log and no more: what peers cause that came to nothing is limited a source.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::Source;
use sansio::Time;

/// The lines that a source gets in a minute.
const LINES: u32 = 20;
/// The sources that have lines of their own in a minute; all others share those of one. Source addresses can be forged.
const SOURCES: usize = 256;
const MINUTE: Duration = Duration::from_secs(60);

/// Who wrote how much in the minute that runs.
#[derive(Default)]
pub(crate) struct LogLimit {
    ends: Option<Time>,
    /// None stands for those that share.
    lines: BTreeMap<Option<Source>, Lines>,
}

#[derive(Default)]
struct Lines {
    written: u32,
    left_out: u64,
}

impl LogLimit {
    /// Whether a line about `source` is written. A minute begins with the first that is asked about.
    pub(crate) fn admit(&mut self, source: Source, now: Time) -> bool {
        self.ends.get_or_insert(now + MINUTE);
        let known = self.lines.contains_key(&Some(source)) || self.lines.len() < SOURCES;
        let lines = self.lines.entry(known.then_some(source)).or_default();
        let admitted = lines.written < LINES;
        if admitted {
            lines.written += 1;
        } else {
            lines.left_out += 1;
        }
        admitted
    }

    /// When [`Self::left_out`] has something to say, or to forget.
    pub(crate) fn next(&self) -> Option<Time> {
        self.ends
    }

    /// If the minute is over: how many lines were left out of each source (of the others together, if none), and everybody begins anew.
    pub(crate) fn left_out(&mut self, now: Time) -> Vec<(Option<Source>, u64)> {
        if self.ends.is_none_or(|ends| ends > now) {
            return Vec::new();
        }
        self.ends = None;
        let all = std::mem::take(&mut self.lines).into_iter();
        all.map(|(source, lines)| (source, lines.left_out))
            .filter(|&(_, left_out)| left_out > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn admitted(limit: &mut LogLimit, source: Source, now: Time) -> usize {
        (0..1_000).filter(|_| limit.admit(source, now)).count()
    }

    #[test]
    fn a_source_gets_its_lines_in_a_minute_and_the_rest_is_counted() {
        let (one, two) = (
            Source::V4(Ipv4Addr::new(192, 0, 2, 1)),
            Source::V4(Ipv4Addr::new(192, 0, 2, 2)),
        );
        let (mut limit, now) = (LogLimit::default(), Time::from_secs(100));
        assert_eq!(limit.next(), None);
        assert_eq!(admitted(&mut limit, one, now), LINES as usize);
        assert!(limit.admit(two, now + MINUTE / 2));
        assert_eq!(limit.left_out(now + MINUTE / 2), []);
        assert_eq!(limit.next(), Some(now + MINUTE));
        let left_out = 1_000 - u64::from(LINES);
        assert_eq!(limit.left_out(now + MINUTE), [(Some(one), left_out)]);
        assert_eq!(limit.next(), None);
        assert_eq!(admitted(&mut limit, one, now + MINUTE), LINES as usize);
    }

    #[test]
    fn sources_beyond_measure_share_the_lines_of_one() {
        let (mut limit, now) = (LogLimit::default(), Time::from_secs(100));
        let sources = (0..100_000).map(|n| Source::V4(Ipv4Addr::from(n)));
        let admitted = sources.filter(|&source| limit.admit(source, now)).count();
        assert_eq!(admitted, SOURCES + LINES as usize);
        let left_out = limit.left_out(now + MINUTE);
        assert_eq!(left_out, [(None, 100_000 - admitted as u64)]);
    }
}
