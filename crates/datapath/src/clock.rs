use std::time::Instant;

use sansio::Time;

/// The time since it was started.
pub(crate) struct Clock(Instant);

impl Clock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the engine owns its threads, and their clock"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.0.elapsed()
    }
}
