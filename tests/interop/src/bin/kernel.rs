//! What goes wrong with the kernel's datapath, in User-Mode Linux: `cargo xtask test --only kernel`.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use interop::kernel::{self, Case, PATIENCE, World, said};
use interop::ours::Ours;
use interop::process::Process;
use interop::{Role, Side, Suite, until};

/// The program that the kernel has load its modules.
const LOADER: &str = "/proc/sys/kernel/modprobe";

/// What goes wrong with the kernel's datapath. Run it in User-Mode Linux.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    suite: Suite,
}

const CASES: &[(&str, Case)] = &[
    (
        "a session whose interface is removed comes back",
        kernel::removed_interface,
    ),
    ("an interface whose name is taken is said to be", name_taken),
    (
        "a daemon that is killed leaves nothing behind",
        kernel::killed,
    ),
    (
        "without the kernel's module there are TUN devices",
        without_module,
    ),
    ("without /dev/ppp there are TUN devices", without_device),
];

fn main() -> Result<ExitCode> {
    let Options { suite } = Options::parse();
    let machine = fs::read_to_string("/proc/cpuinfo")?;
    ensure!(
        machine.contains("User Mode Linux"),
        "run this in User-Mode Linux: it unloads modules"
    );
    let programs = suite.programs()?;
    let mut report = suite.report();
    for (name, case) in CASES {
        report.case(name, || case(&World::new(&programs)?));
    }
    Ok(report.conclude())
}

fn name_taken(world: &World) -> Result<String> {
    world
        .bed
        .lac
        .ip("link add ppp0 type veth peer name other\n")?;
    let _lns = world.start(Role::Lns, "auto")?;
    let lac = world.start(Role::Lac, "auto")?;
    said(&lac, "create device ppp0")?;
    said(&lac, "exists")?;
    world.bed.lac.ip("link del ppp0\n")?;
    lac.established(PATIENCE)?;
    world.is_through()?;
    Ok(String::new())
}

/// The kernel's engine is not to be had for this reason: the usual way goes on without it, and who wants it alone hears why.
fn lacking(world: &World, reason: &str) -> Result<()> {
    let _lns = world.start(Role::Lns, "auto")?;
    let mut lac = world.start(Role::Lac, "auto")?;
    said(&lac, "TUN devices, as the kernel's L2TP is not to be had")?;
    said(&lac, reason)?;
    let session = lac.established(PATIENCE)?;
    ensure!(session["datapath"] == "tun", "{session}");
    world.is_through()?;
    lac.shut_down()?;

    let mut lac = world.start(Role::Lac, "kernel")?;
    let refused = || {
        let sessions = lac.sessions()?.into_iter();
        let mut errors = sessions.map(|s| s["last_error"].to_string());
        Ok(errors.find(|error| error.contains(reason)))
    };
    until(PATIENCE, "the session's error says why", refused)
        .with_context(|| format!("the log:\n{}", lac.log()))?;
    lac.shut_down()?;

    let folder = world.folder.path();
    let mut command = Ours::command(&world.programs, folder, "only", "")?;
    command.args(["--datapath", "kernel"]);
    let mut only = Process::spawn(&world.bed.lac, command, &folder.join("only.log"))?;
    let status = only.wait(PATIENCE)?;
    ensure!(!status.success(), "it started: {}", only.log());
    ensure!(only.log().contains(reason), "{}", only.log());
    Ok(())
}

fn without_module(world: &World) -> Result<String> {
    // A tunnel that is gone keeps its module for a moment.
    until(PATIENCE, "l2tp_ppp can be unloaded", || {
        let done = Command::new("rmmod").arg("l2tp_ppp").output()?;
        Ok(done.status.success().then_some(()))
    })?;
    let loader = fs::read_to_string(LOADER)?;
    fs::write(LOADER, "/bin/false")?;
    let result = lacking(world, "no module l2tp_ppp");
    fs::write(LOADER, loader)?;
    let loaded = Command::new("modprobe")
        .args(["-d", "/run/m", "l2tp_ppp"])
        .status()?;
    ensure!(loaded.success(), "l2tp_ppp can't be loaded again");
    result.map(|()| String::new())
}

fn without_device(world: &World) -> Result<String> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    ensure!(
        mounts.contains("devtmpfs /dev devtmpfs"),
        "/dev is not the machine's own"
    );
    fs::rename("/dev/ppp", "/dev/ppp.away")?;
    let result = lacking(world, "open /dev/ppp");
    fs::rename("/dev/ppp.away", "/dev/ppp")?;
    result.map(|()| String::new())
}
