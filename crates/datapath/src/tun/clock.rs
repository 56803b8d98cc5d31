use std::time::Instant;

use sansio::Time;

/// The time since the engine started. Only what is held back for its order is measured by it.
pub(super) struct Clock(Instant);

impl Clock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the engine owns its threads, and their clock"
    )]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(&self) -> Time {
        Time::ZERO + self.0.elapsed()
    }
}
