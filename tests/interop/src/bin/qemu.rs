//! The kernel's datapath where the `l2tp` netlink family is too, in Debian's kernel: `cargo xtask test --qemu`.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use interop::kernel::{self, Case, PATIENCE, World, comes_back, said};
use interop::netns::Namespace;
use interop::ours::Ours;
use interop::traffic::transfer;
use interop::{INNER_LNS, Role, Side, Suite, until};
use serde_json::Value;

/// Octets sent each way.
const OCTETS: usize = 256 << 10;

/// The kernel's datapath where the l2tp netlink family is too. Run it in QEMU.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    suite: Suite,
}

const CASES: &[(&str, Case)] = &[
    ("what the kernel lists and counts is what we say", listed),
    (
        "a session that somebody deletes in the kernel comes back",
        deleted_session,
    ),
    (
        "a session whose tunnel somebody deletes in the kernel comes back",
        deleted_tunnel,
    ),
    (
        "a session whose interface is removed comes back",
        kernel::removed_interface,
    ),
    (
        "a daemon that is killed leaves nothing behind",
        kernel::killed,
    ),
    (
        "tunnels that are there already are pointed out",
        others_tunnel,
    ),
    (
        "the kernel loads its module for us, unless that is blacklisted",
        loaded,
    ),
];

/// Forbids the kernel to load the module for whoever opens a socket of its.
const BLACKLIST: &str = "/etc/modprobe.d/l2tp-ppp.conf";

fn main() -> Result<ExitCode> {
    let Options { suite } = Options::parse();
    let netlink = fs::exists("/sys/module/l2tp_netlink")?;
    ensure!(netlink, "run this where the kernel has l2tp_netlink");
    let programs = suite.programs()?;
    let mut report = suite.report();
    for (name, case) in CASES {
        report.case(name, || {
            let world = World::new(&programs)?;
            let before = contexts(&world)?;
            let remark = case(&world)?;
            // The kernel takes its time to forget a tunnel.
            until(PATIENCE, "no context is left in the kernel", || {
                Ok((contexts(&world)? == before).then_some(()))
            })?;
            Ok(remark)
        });
    }
    Ok(report.conclude())
}

/// What `ip l2tp` lists there: tunnels or sessions.
fn list(place: &Namespace, what: &str) -> Result<Vec<Value>> {
    let output = Command::new("ip")
        .args(["-n", place.name(), "-json", "l2tp", "show", what])
        .output()
        .context("cannot run ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip l2tp: {}", said.trim());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text).with_context(|| format!("ip l2tp: not JSON: {text}"))
}

/// All that both ends have.
fn contexts(world: &World) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for place in [&world.bed.lac, &world.bed.lns] {
        all.extend(list(place, "tunnel")?);
        all.extend(list(place, "session")?);
    }
    Ok(all)
}

/// Packets sent and received by a session, as the kernel counts them, PPP's own among them.
fn counted(place: &Namespace) -> Result<(u64, u64)> {
    let table = kernel::table(place)?;
    let mut lines = table.lines();
    lines
        .position(kernel::is_session)
        .with_context(|| table.clone())?;
    let counts = lines.nth(1).with_context(|| table.clone())?;
    let field = |at| {
        let field = counts.split_whitespace().nth(at)?;
        field.split('/').next()?.parse().ok()
    };
    field(1).zip(field(2)).with_context(|| table.clone())
}

fn listed(world: &World) -> Result<String> {
    let before = world.state()?;
    let mut lns = world.start(Role::Lns, "kernel")?;
    let mut lac = world.start(Role::Lac, "kernel")?;
    said(&lac, "what `ip l2tp` deletes is noticed")?;
    lac.established(PATIENCE)
        .with_context(|| format!("LAC:\n{}LNS:\n{}", lac.log(), lns.log()))?;
    world.is_through()?;
    transfer(&world.bed, INNER_LNS, OCTETS)?;
    for (role, daemon) in [(Role::Lac, &lac), (Role::Lns, &lns)] {
        let place = world.bed.side(role);
        let session = daemon.established(PATIENCE)?;
        ensure!(session["datapath"] == "kernel", "{session}");
        let tunnels = list(place, "tunnel")?.len();
        ensure!(tunnels == 1, "the kernel has {tunnels} tunnels");
        let mut sessions = list(place, "session")?;
        // A tunnel has a session 0 that is only its own.
        sessions.retain(|session| session["session_id"] != 0);
        ensure!(sessions.len() == 1, "the kernel has {sessions:?}");
        for id in ["tunnel_id", "session_id"] {
            ensure!(
                sessions[0][id] == session[id],
                "{} is not {session}",
                sessions[0]
            );
        }
        same_counts(place, daemon)?;
    }
    lac.shut_down()?;
    lns.shut_down()?;
    world.is_as(&before)?;
    Ok(String::new())
}

/// A daemon's counters are the kernel's, but for a few frames of PPP's own.
fn same_counts(place: &Namespace, daemon: &Ours) -> Result<()> {
    let traffic = daemon
        .traffic()?
        .context("no traffic is said of the session")?;
    let (sent, received) = counted(place)?;
    for (name, all) in [("tx_packets", sent), ("rx_packets", received)] {
        let ours = traffic[name]
            .as_u64()
            .with_context(|| traffic.to_string())?;
        ensure!(
            ours > 100 && (ours..ours + 30).contains(&all),
            "{name}: we say {ours}, the kernel {all}"
        );
    }
    Ok(())
}

fn deleted_session(world: &World) -> Result<String> {
    comes_back(world, "somebody deleted it there", |place, session| {
        let (tunnel, session) = (&session["tunnel_id"], &session["session_id"]);
        place.ip(&format!(
            "l2tp del session tunnel_id {tunnel} session_id {session}\n"
        ))
    })?;
    Ok(String::new())
}

fn deleted_tunnel(world: &World) -> Result<String> {
    comes_back(world, "somebody deleted its tunnel", |place, session| {
        place.ip(&format!(
            "l2tp del tunnel tunnel_id {}\n",
            session["tunnel_id"]
        ))
    })?;
    Ok(String::new())
}

fn others_tunnel(world: &World) -> Result<String> {
    world.bed.lac.ip(
        "l2tp add tunnel tunnel_id 5 peer_tunnel_id 6 encap udp local 127.0.0.1 remote 127.0.0.2 udp_sport 1702 udp_dport 1703\n",
    )?;
    let mut lac = world.start(Role::Lac, "kernel")?;
    said(&lac, "the kernel has tunnels that are not ours: 5")?;
    lac.shut_down()?;
    world.bed.lac.ip("l2tp del tunnel tunnel_id 5\n")?;
    Ok(String::new())
}

fn loaded(world: &World) -> Result<String> {
    unload()?;
    let mut lac = world.start(Role::Lac, "kernel")?;
    said(&lac, "datapath: the kernel's L2TP for sessions")?;
    lac.shut_down()?;
    drop(lac);
    unload()?;
    fs::write(BLACKLIST, "blacklist l2tp_ppp\n")?;
    let mut lac = world.start(Role::Lac, "kernel")?;
    said(&lac, "TUN devices, as the kernel's L2TP is not to be had")?;
    said(&lac, "no module l2tp_ppp")?;
    lac.shut_down()?;
    fs::remove_file(BLACKLIST)?;
    Ok(String::new())
}

/// A tunnel that is gone keeps its module for a moment.
fn unload() -> Result<()> {
    until(PATIENCE, "l2tp_ppp can be unloaded", || {
        let done = Command::new("rmmod").arg("l2tp_ppp").output()?;
        Ok(done.status.success().then_some(()))
    })
}
