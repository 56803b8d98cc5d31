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
}

/// Builds and runs one benchmark; its exit status is ours.
pub(crate) fn run(subject: Subject) -> Result<ExitCode> {
    let bin = subject
        .to_possible_value()
        .context("every subject has a name")?;
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
