//! The one place that reads the clock.

use rustix::time::{ClockId, clock_gettime};
use sansio::Time;

/// The time since the machine started, time spent suspended included: a peer's timers do not stop while we sleep.
/// It goes on from one process to the next, as `engine::Snapshot` needs it.
pub(crate) fn now() -> Time {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let micros = u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000;
    Time::from_micros(seconds * 1_000_000 + micros)
}
