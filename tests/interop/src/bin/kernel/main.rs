//! What goes wrong with the kernel's datapath, in User-Mode Linux: `cargo xtask test --only kernel`.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

mod lacks;
mod pppd;
mod sweep;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use interop::kernel::{self, Case, PATIENCE, World, said};
use interop::ours::Ours;
use interop::{PASSWORD, Role, Side, Suite, USER, until};
use rustix::process::Signal;

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
    (
        "an LAC that is killed at any moment of a set-up leaves nothing behind",
        sweep::of_lac,
    ),
    (
        "an LNS that is killed at any moment of a set-up leaves nothing behind",
        sweep::of_lns,
    ),
    (
        "a pppd that is killed at any moment of a set-up leaves nothing behind",
        sweep::of_pppd,
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
        "names and passwords that are not ASCII pass pppd as they are",
        pppd::not_ascii,
    ),
    (
        "pppd asks for the strongest proof first, takes another, and tells of it and of name servers",
        pppd::strongest_first,
    ),
    (
        "a pppd that is not given encryption says so",
        pppd::unencrypted,
    ),
    (
        "without the kernel's modules there are TUN devices",
        lacks::modules,
    ),
    (
        "with half of the kernel's modules there are TUN devices",
        lacks::half,
    ),
    (
        "a module that is blacklisted is not loaded, and is when it no longer is",
        lacks::blacklisted,
    ),
    ("without /dev/ppp there are TUN devices", lacks::device),
    (
        "without the kernel's MPPE encrypted sessions are in user space",
        lacks::mppe,
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
        report.case(name, || {
            let world = World::new(&programs)?;
            let before = world.state()?;
            let remark = case(&world)?;
            world.is_as(&before)?;
            Ok(remark)
        });
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
