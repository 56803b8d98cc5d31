use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Time;

/// The timers that one kind of object has: a field-less enum whose variants count up from zero.
pub trait Timers: Copy + fmt::Debug + 'static {
    /// Every timer, in the order of the enum's discriminants.
    const ALL: &'static [Self];

    /// The position of this timer in [`Timers::ALL`].
    fn index(self) -> usize;
}

/// A deadline and the timer that set it: why the machine wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadline<K> {
    /// When.
    pub at: Time,
    /// Why.
    pub timer: K,
}

/// The deadlines of one object: a table indexed by its timers' enum.
///
/// `N` is the number of timers (`K::ALL.len()`). An unset entry costs the same as a set one: eight octets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Deadlines<K, const N: usize> {
    #[serde(with = "entries")]
    at: [Time; N],
    #[serde(skip)]
    timers: std::marker::PhantomData<K>,
}

impl<K: Timers, const N: usize> Deadlines<K, N> {
    const COUNT_MATCHES: () = assert!(K::ALL.len() == N, "N is the number of timers");

    /// A table with nothing set.
    pub fn new() -> Self {
        let () = Self::COUNT_MATCHES;
        Self {
            at: [Time::MAX; N],
            timers: std::marker::PhantomData,
        }
    }

    /// Sets `timer` to fire at `at`, in place of any earlier setting.
    pub fn set(&mut self, timer: K, at: Time) {
        self.at[timer.index()] = at;
    }

    /// Unsets `timer`.
    pub fn clear(&mut self, timer: K) {
        self.at[timer.index()] = Time::MAX;
    }

    /// Unsets every timer.
    pub fn clear_all(&mut self) {
        self.at = [Time::MAX; N];
    }

    /// When `timer` will fire, if it is set.
    pub fn get(&self, timer: K) -> Option<Time> {
        let at = self.at[timer.index()];
        (at != Time::MAX).then_some(at)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Deadline<K>> {
        K::ALL
            .iter()
            .map(|&timer| Deadline {
                at: self.at[timer.index()],
                timer,
            })
            .min_by_key(|d| d.at)
            .filter(|d| d.at != Time::MAX)
    }

    /// Takes out the earliest timer whose deadline is not after `now`.
    pub fn pop(&mut self, now: Time) -> Option<K> {
        let due = self.next().filter(|d| d.at <= now)?;
        self.clear(due.timer);
        Some(due.timer)
    }
}

impl<K: Timers, const N: usize> Default for Deadlines<K, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Timers, const N: usize> fmt::Debug for Deadlines<K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = K::ALL.iter().filter_map(|&k| Some((k, self.get(k)?)));
        f.debug_map().entries(set).finish()
    }
}

/// Serde knows arrays of up to 32 entries only for fixed lengths; a generic one goes as a sequence.
mod entries {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::Time;

    pub(super) fn serialize<S: Serializer, const N: usize>(
        at: &[Time; N],
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.collect_seq(at)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        d: D,
    ) -> Result<[Time; N], D::Error> {
        let all = Vec::<Time>::deserialize(d)?;
        all.try_into()
            .map_err(|all: Vec<_>| D::Error::invalid_length(all.len(), &"one entry a timer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Timer {
        Hello,
        Retransmit,
    }

    impl Timers for Timer {
        const ALL: &'static [Self] = &[Self::Hello, Self::Retransmit];

        fn index(self) -> usize {
            self as usize
        }
    }

    #[test]
    fn the_earliest_fires_first_and_only_when_due() {
        let mut table = Deadlines::<Timer, 2>::new();
        table.set(Timer::Hello, Time::from_secs(60));
        table.set(Timer::Retransmit, Time::from_secs(1));
        assert_eq!(
            table.next().map(|d| (d.at, d.timer)),
            Some((Time::from_secs(1), Timer::Retransmit))
        );
        assert_eq!(table.pop(Time::from_millis(999)), None);
        assert_eq!(table.pop(Time::from_secs(100)), Some(Timer::Retransmit));
        assert_eq!(table.pop(Time::from_secs(100)), Some(Timer::Hello));
        assert_eq!(table.pop(Time::MAX), None);
    }

    #[test]
    fn clearing_leaves_nothing() {
        let mut table = Deadlines::<Timer, 2>::new();
        table.set(Timer::Hello, Time::ZERO);
        table.clear(Timer::Hello);
        assert_eq!(table.get(Timer::Hello), None);
        assert_eq!(table.next(), None);
    }
}
