//! What goes wrong with the kernel's datapath, in User-Mode Linux: `cargo xtask test --only kernel`.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use interop::netns::{self, Bed, Namespace};
use interop::ours::{self, Ours};
use interop::process::Process;
use interop::traffic::ping;
use interop::{Auth, INNER_LNS, PASSWORD, Role, Side, Suite, until};
use rustix::process::Signal;
use tempfile::TempDir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program that the kernel has load its modules.
const LOADER: &str = "/proc/sys/kernel/modprobe";

/// What goes wrong with the kernel's datapath. Run it in User-Mode Linux.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    suite: Suite,
}

/// One case; what it returns is its remark in the report.
type Case = fn(&World) -> Result<String>;

const CASES: &[(&str, Case)] = &[
    (
        "a session whose interface is removed comes back",
        removed_interface,
    ),
    ("an interface whose name is taken is said to be", name_taken),
    ("a daemon that is killed leaves nothing behind", killed),
    (
        "without the kernel's module there are TUN devices",
        without_module,
    ),
    ("without /dev/ppp there are TUN devices", without_device),
];

/// Where a case happens.
struct World {
    bed: Bed,
    folder: TempDir,
    programs: PathBuf,
}

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
        report.case(name, || {
            let world = World {
                bed: Bed::new()?,
                folder: tempfile::tempdir_in("/run")?,
                programs: programs.clone(),
            };
            case(&world)
        });
    }
    Ok(report.conclude())
}

impl World {
    /// Starts a daemon whose sessions this datapath carries.
    fn start(&self, role: Role, datapath: &str) -> Result<Ours> {
        let mut configuration = match role {
            Role::Lac => ours::lac(false, &format!("{} persist=yes", netns::LNS), PASSWORD),
            Role::Lns => ours::lns(Auth::Chap, false),
        };
        configuration.push_str(&format!(
            "session profile modify profile_name=default datapath={datapath}\n\
             system modify session_persist_pend_timeout=1\n"
        ));
        let name = self.name(role);
        let (place, folder) = (self.bed.side(role), self.folder.path());
        Ours::start(&self.programs, place, folder, name, &configuration)
    }

    fn name(&self, role: Role) -> &'static str {
        match role {
            Role::Lac => "lac",
            Role::Lns => "lns",
        }
    }

    /// Interfaces and routes at both ends, and the kernel's sessions and tunnels.
    fn state(&self) -> Result<[String; 2]> {
        Ok([state(&self.bed.lac)?, state(&self.bed.lns)?])
    }

    fn is_through(&self) -> Result<()> {
        let received = ping(&self.bed.lac, &INNER_LNS.to_string(), 3)?.received;
        ensure!(received == 3, "{received} of 3 pings were answered");
        Ok(())
    }
}

fn state(place: &Namespace) -> Result<String> {
    let sessions = "/proc/thread-self/net/pppol2tp";
    let table = place.enter(|| Ok(fs::read_to_string(sessions).unwrap_or_default()))?;
    Ok(place.state()? + &table)
}

/// Waits until a daemon has said this.
fn said(daemon: &Ours, words: &str) -> Result<()> {
    let said = || Ok(daemon.log().contains(words).then_some(()));
    until(PATIENCE, &format!("`{words}` in the log"), said)
        .with_context(|| format!("the log:\n{}", daemon.log()))
}

fn removed_interface(world: &World) -> Result<String> {
    let before = world.state()?;
    let mut lns = world.start(Role::Lns, "kernel")?;
    let mut lac = world.start(Role::Lac, "kernel")?;
    let first = lac.established(PATIENCE)?;
    ensure!(first["datapath"] == "kernel", "{first}");
    for role in [Role::Lac, Role::Lns] {
        let old = lac.established(PATIENCE)?["session_id"].clone();
        world.bed.side(role).ip("link del ppp0\n")?;
        until(PATIENCE, "another session", || {
            let mut sessions = lac.sessions()?.into_iter();
            let new = sessions.find(|s| s["state"] == "established" && s["session_id"] != old);
            Ok(new.filter(|_| lns.sessions().is_ok_and(|its| its.len() == 1)))
        })
        .with_context(|| format!("LAC:\n{}LNS:\n{}", lac.log(), lns.log()))?;
        world.is_through()?;
    }
    said(&lac, "its interface was removed")?;
    said(&lns, "its interface was removed")?;
    lac.shut_down()?;
    lns.shut_down()?;
    until(PATIENCE, "all is as it was", || {
        Ok((world.state()? == before).then_some(()))
    })?;
    Ok(String::new())
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

fn killed(world: &World) -> Result<String> {
    let before = world.state()?;
    for _ in 0..2 {
        let mut lns = world.start(Role::Lns, "kernel")?;
        let mut lac = world.start(Role::Lac, "kernel")?;
        lac.established(PATIENCE)
            .with_context(|| format!("LAC:\n{}LNS:\n{}", lac.log(), lns.log()))?;
        world.is_through()?;
        for daemon in [&mut lac, &mut lns] {
            daemon.process().signal(Signal::KILL)?;
            daemon.process().wait(PATIENCE)?;
        }
        until(PATIENCE, "all is as it was", || {
            Ok((world.state()? == before).then_some(()))
        })?;
    }
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
