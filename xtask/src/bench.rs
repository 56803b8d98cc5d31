//! `cargo xtask bench`: the programs of the `bench` package, in release, their JSON line last.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::test::cargo;

/// What can be measured.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Subject {
    /// Nanoseconds, instructions and allocations of decoding one control message.
    Decode,
    /// PPP sessions a second between two engines in memory.
    Setup,
    /// Octets that an open session costs an LNS.
    Memory,
    /// What forged and endless SCCRQs cost the daemon and others, over loopback; takes two minutes.
    Abuse,
    /// Seconds until a thousand tunnels with twenty thousand sessions are back after a restart, over loopback.
    Reconnect,
    /// Lists, shows and deletions with twenty thousand sessions up, what a shard takes for a Hello meanwhile, and reloads of a large file.
    Api,
}

impl Subject {
    /// Whether it measures the daemon itself, as a child.
    fn wants_daemon(self) -> bool {
        matches!(self, Self::Abuse | Self::Reconnect | Self::Api)
    }
}

/// Builds and runs one benchmark; its exit status is ours.
pub(crate) fn run(subject: Subject) -> Result<ExitCode> {
    let bin = subject
        .to_possible_value()
        .context("every subject has a name")?;
    if subject.wants_daemon() {
        let built = cargo(&["build", "--quiet", "--release", "--package", "openl2tpd"]).status()?;
        if !built.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    let status = cargo(&[
        "run",
        "--quiet",
        "--release",
        "--package",
        "bench",
        "--bin",
        bin.get_name(),
    ])
    .status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
