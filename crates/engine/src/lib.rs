//! One shard of the daemon without I/O: tunnels and sessions composed with PPP, users, pools and one timer wheel.

mod io;

pub use io::{Command, Event, Input, Output, Reply, SessionSelector, Token, TunnelSelector};
