//! What goes wrong with the kernel's datapath, in User-Mode Linux: `cargo xtask test --only kernel`.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

mod pppd;

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use interop::kernel::{self, Case, PATIENCE, World, said};
use interop::ours::{self, Ours};
use interop::process::Process;
use interop::{Mppe, PASSWORD, Role, Side, Suite, USER, until};
use rustix::process::Signal;

/// The program that the kernel has load its modules.
const LOADER: &str = "/proc/sys/kernel/modprobe";

/// How many sessions are set up where there are many.
const MANY: usize = 16;

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
        "daemons that are killed while they set up sessions leave nothing behind and start again",
        killed_in_set_up,
    ),
    ("a pppd that is killed comes back", pppd::comes_back),
    (
        "daemons that are killed take their pppds with them",
        pppd::killed,
    ),
    (
        "a pppd that is not there, or of no use, is said to be",
        pppd::unfit,
    ),
    ("no more pppds set up at once than may", pppd::throttled),
    ("no secret is among pppd's arguments", pppd::without_secrets),
    (
        "without the kernel's module there are TUN devices",
        without_module,
    ),
    ("without /dev/ppp there are TUN devices", without_device),
    (
        "without the kernel's MPPE encrypted sessions are in user space",
        without_mppe,
    ),
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
    let before = world.state()?;
    world
        .bed
        .lac
        .ip("link add ppp0 type veth peer name other\n")?;
    let mut lns = world.start(Role::Lns, "auto")?;
    let mut lac = world.start(Role::Lac, "auto")?;
    said(&lac, "create device ppp0")?;
    said(&lac, "exists")?;
    world.bed.lac.ip("link del ppp0\n")?;
    lac.established(PATIENCE)?;
    world.is_through()?;
    lac.shut_down()?;
    lns.shut_down()?;
    world.is_as(&before)?;
    Ok(String::new())
}

/// What makes many sessions of one, and a peer that is gone missed soon.
fn many(role: Role) -> String {
    let soon = "tunnel profile modify profile_name=default hello_timeout=2 max_retries=2 retry_timeout=1\n\
        system modify tunnel_persist_pend_timeout=1\n";
    let more: String = match role {
        Role::Lac => (1..MANY)
            .map(|number| {
                format!("session create tunnel_name=office session_name=s{number} user_name={USER} user_password={PASSWORD} interface_name=ppp{number}\n")
            })
            .collect(),
        Role::Lns => "ip_pool create pool_name=large range=10.0.0.100-10.0.0.200\n\
            ppp profile modify profile_name=default ip_pool_name=large\n"
            .to_owned(),
    };
    soon.to_owned() + &more
}

/// Starts an end that has many sessions.
fn start_many(world: &World, role: Role) -> Result<Ours> {
    world.start_with(role, "kernel", &many(role))
}

fn killed_in_set_up(world: &World) -> Result<String> {
    let before = world.state()?;
    for (role, count) in [(Role::Lac, 1), (Role::Lns, MANY / 2)] {
        let mut lns = start_many(world, Role::Lns)?;
        let mut lac = start_many(world, Role::Lac)?;
        let place = world.bed.side(role);
        until(PATIENCE, "sessions in the kernel", || {
            let sessions = kernel::table(place)?
                .lines()
                .filter(|line| kernel::is_session(line))
                .count();
            Ok((sessions >= count).then_some(()))
        })?;
        let victim = match role {
            Role::Lac => &mut lac,
            Role::Lns => &mut lns,
        };
        victim.process().signal(Signal::KILL)?;
        victim.process().wait(PATIENCE)?;
        *victim = start_many(world, role)?;
        until(PATIENCE, "every session is established", || {
            let sessions = lac.sessions()?;
            let up = sessions
                .iter()
                .filter(|s| s["state"] == "established")
                .count();
            Ok((up == MANY).then_some(()))
        })
        .with_context(|| format!("LAC:\n{}LNS:\n{}", lac.log(), lns.log()))?;
        world.is_through()?;
        lac.shut_down()?;
        lns.shut_down()?;
        world.is_as(&before)?;
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

fn without_mppe(world: &World) -> Result<String> {
    // It is loaded when somebody asks for it, which nobody can who loads nothing.
    let _ = Command::new("rmmod").arg("ppp_mppe").output()?;
    let loader = fs::read_to_string(LOADER)?;
    fs::write(LOADER, "/bin/false")?;
    let result = encrypted_without_kernel(world);
    fs::write(LOADER, loader)?;
    result.map(|()| String::new())
}

fn encrypted_without_kernel(world: &World) -> Result<()> {
    let encrypted = ours::encrypted(Mppe {
        bits: 128,
        stateful: false,
    });
    let ms_chap = "ppp profile modify profile_name=default auth_mschapv2=yes\n";
    let start = |role, datapath| world.start_with(role, datapath, &(encrypted.clone() + ms_chap));
    let mut lns = start(Role::Lns, "tun")?;
    let mut lac = start(Role::Lac, "auto")?;
    let session = lac.established(PATIENCE)?;
    ensure!(session["datapath"] == "tun", "{session}");
    ensure!(session["mppe"] == "128 stateless", "{session}");
    said(&lac, "the kernel has no MPPE")?;
    world.is_through()?;
    lac.shut_down()?;

    let mut lac = start(Role::Lac, "kernel")?;
    let why = "the datapath has none of the allowed key lengths";
    said(&lac, why)?;
    lac.shut_down()?;
    lns.shut_down()
}
