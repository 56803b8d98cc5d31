//! The one place that reads the clocks.

use rustix::time::{ClockId, clock_gettime};
use sansio::Time;

/// Microseconds since 1970 began, for people and other machines.
pub(crate) fn since_1970() -> u64 {
    micros(ClockId::Realtime)
}

/// The time since the machine started, time spent suspended included: a peer's timers do not stop while we sleep.
/// It goes on from one process to the next, as `engine::Snapshot` needs it.
pub(crate) fn now() -> Time {
    Time::from_micros(micros(ClockId::Boottime))
}

fn micros(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let micros = u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000;
    seconds * 1_000_000 + micros
}
