//! `cargo xtask bench`: the programs of the `bench` package, in release, their JSON line last.

use std::ffi::OsString;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::apt;
use crate::test::{PROGRAMS, build_packages, cargo, programs};
use crate::vm;

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
    /// On the kernel's datapath: sessions set up a second, what one costs, and TCP and small packets through one as parts of plain veth; beside
    /// `tun`, pppd and xl2tpd, in User-Mode Linux. Takes a quarter of an hour.
    Kernel,
    /// Throughput, packet rates and latency through a session, beside plain veth, VXLAN and l2tpns, in network namespaces; takes half an hour.
    Datapath,
}

impl Subject {
    /// Whether it measures the daemon itself, as a child.
    fn wants_daemon(self) -> bool {
        matches!(self, Self::Abuse | Self::Reconnect | Self::Api)
    }
}

/// Builds and runs one benchmark; its exit status is ours.
pub(crate) fn run(subject: Subject, options: Vec<OsString>) -> Result<ExitCode> {
    if let Subject::Kernel = subject {
        return kernel(options);
    }
    if let Subject::Datapath = subject {
        return datapath(options);
    }
    ensure!(
        options.is_empty(),
        "only `kernel` and `datapath` have options of their own"
    );
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
    Ok(exit_code(status))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Its machine needs root, and the packages of the suite of the same name.
fn kernel(options: Vec<OsString>) -> Result<ExitCode> {
    apt::ensure(&[apt::UML, apt::MODPROBE, apt::IP, apt::PPPD, apt::XL2TPD])?;
    build_packages(&mut cargo(&["build", "--quiet", "--release"]), &PROGRAMS)?;
    let machine = vm::Machine {
        mem: 2048,
        timeout: Duration::from_secs(3600),
    };
    let mut command = vec![programs("release")?.join("kernel-bench").into()];
    command.extend(options);
    let status = vm::uml::run(machine, &command, std::io::stdout())?;
    Ok(ExitCode::from(status))
}

/// It makes network namespaces, and starts the programs of the release.
fn datapath(options: Vec<OsString>) -> Result<ExitCode> {
    apt::ensure(&[
        apt::IP,
        apt::PING,
        apt::ETHTOOL,
        apt::IPERF3,
        apt::L2TPNS,
        apt::FREERADIUS,
    ])?;
    build_packages(&mut cargo(&["build", "--quiet", "--release"]), &PROGRAMS)?;
    let status = Command::new(programs("release")?.join("datapath-bench"))
        .args(options)
        .status()?;
    Ok(exit_code(status))
}
