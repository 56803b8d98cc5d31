//! What every sans-IO state machine here shares: time as a number and a small table of deadlines.
//!
//! A machine is driven by five verbs: handle an input, handle a timeout, poll a transmit, poll an event, poll the next
//! timeout. It never reads a clock and never draws randomness of its own: both are arguments.

mod deadlines;
mod time;

pub use deadlines::{Deadline, Deadlines, Timers};
pub use rand_core::Rng;
pub use time::Time;
