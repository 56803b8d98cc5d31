//! Our LAC calls an LNS of others that needs no kernel driver: l2tpns, which asks FreeRADIUS about its users.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use interop::capture::{CDN, Capture, Extent, STOP_CCN};
use interop::l2tpns::L2tpns;
use interop::netns::{self, Bed};
use interop::ours::{self, Ours};
use interop::traffic::{has_address, ping, transfer};
use interop::{Auth, INNER_LAC, INNER_LNS, PASSWORD, Role, Side, Suite, until};
use tempfile::TempDir;

/// Octets that a TCP transfer sends each way.
const TRANSFER: usize = 2_000_000;
/// How long anything may take that needs no lost packet to be noticed.
const PROMPT: Duration = Duration::from_secs(20);

/// Our LAC against l2tpns in network namespaces. Needs root.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    suite: Suite,
}

/// What a case has: l2tpns at its side of a bed, and a folder for files.
struct World {
    bed: Bed,
    folder: TempDir,
    programs: PathBuf,
    l2tpns: L2tpns,
}

impl World {
    fn new(programs: &Path, auth: Auth) -> Result<Self> {
        let (bed, folder) = (Bed::new()?, tempfile::tempdir()?);
        let l2tpns = L2tpns::start(&bed, folder.path(), auth)?;
        Ok(Self {
            bed,
            folder,
            programs: programs.to_owned(),
            l2tpns,
        })
    }

    /// Our LAC, which dials and keeps its tunnel.
    fn dial(&self, secret: bool, password: &str) -> Result<Ours> {
        let configuration = ours::lac(secret, &format!("{} persist=yes", netns::LNS), password);
        let (programs, folder) = (&self.programs, self.folder.path());
        Ours::start(
            programs,
            self.bed.side(Role::Lac),
            folder,
            "lac",
            &configuration,
        )
    }

    fn capture(&self) -> Result<Capture> {
        let file = self.folder.path().join("underlay.pcap");
        Capture::start(&self.bed.lns, &file, Extent::Control)
    }

    /// What they all wrote, for the report of a failure.
    fn story(&self) -> String {
        let log = |name: &str| {
            let file = self.folder.path().join(name).with_extension("log");
            format!(
                "\n-- {name}:\n{}",
                fs::read_to_string(file).unwrap_or_default()
            )
        };
        ["lac", "l2tpns", "radius"].map(log).concat()
    }
}

fn main() -> Result<ExitCode> {
    let Options { suite } = Options::parse();
    let programs = suite.programs()?;
    let mut report = suite.report();
    let mut case = |name: &str, auth, run: &dyn Fn(&mut World) -> Result<String>| {
        report.case(name, || {
            let mut world = World::new(&programs, auth)?;
            run(&mut world).with_context(|| world.story())
        });
    };
    for auth in [Auth::Pap, Auth::Chap] {
        for (secret, with) in [(false, "no secret"), (true, "a tunnel secret")] {
            let name = format!("{auth}, {with}: traffic crosses, and the LAC ends it");
            case(&name, auth, &|world| traffic(world, secret));
        }
    }
    case("l2tpns ends it", Auth::Chap, &ended_by_l2tpns);
    for auth in [Auth::Pap, Auth::Chap] {
        let name = format!("{auth}: a wrong password is refused");
        case(&name, auth, &wrong_password);
    }
    Ok(report.conclude())
}

/// The session is up, and pings cross it.
fn connected(world: &World, secret: bool) -> Result<Ours> {
    let lac = world.dial(secret, PASSWORD)?;
    let session = lac.established(PROMPT)?;
    for (what, address) in [("local_ipaddr", INNER_LAC), ("remote_ipaddr", INNER_LNS)] {
        ensure!(session[what] == address.to_string(), "{what}: {session}");
    }
    let received = ping(&world.bed.lac, &INNER_LNS.to_string(), 5)?.received;
    ensure!(received == 5, "{received} of 5 pings were answered");
    Ok(lac)
}

fn traffic(world: &World, secret: bool) -> Result<String> {
    let before = world.bed.lac.state()?;
    let capture = world.capture()?;
    let mut lac = connected(world, secret)?;
    let rate = transfer(&world.bed, INNER_LNS, TRANSFER)?;
    lac.shut_down()?;
    let after = world.bed.lac.state()?;
    ensure!(after == before, "before:\n{before}after:\n{after}");
    capture.wait_for("an acknowledged StopCCN", |seen| {
        seen.acknowledged(netns::LAC, STOP_CCN)
    })?;
    Ok(format!("{rate:.0} Mbit/s"))
}

fn ended_by_l2tpns(world: &mut World) -> Result<String> {
    let capture = world.capture()?;
    let lac = connected(world, true)?;
    world.l2tpns.shut_down()?;
    capture.wait_for("an acknowledged StopCCN", |seen| {
        seen.acknowledged(netns::LNS, STOP_CCN)
    })?;
    // Its last error is there when it is over; by then it may be on its way again, to nobody.
    let reason = last_error(&lac)?;
    // The host takes its time over devices.
    until(
        Duration::from_secs(5),
        "the LAC's address inside is gone",
        || Ok((!has_address(&world.bed.lac, INNER_LAC)?).then_some(())),
    )?;
    Ok(reason)
}

fn wrong_password(world: &mut World) -> Result<String> {
    let capture = world.capture()?;
    let lac = world.dial(true, "wrong")?;
    let reason = last_error(&lac)?;
    // It says no more than this: neither PPP's failure nor an error code.
    ensure!(
        reason.contains("closed by the peer"),
        "the LAC's reason: {reason}"
    );
    capture.wait_for("a CDN", |seen| seen.has(CDN))?;
    Ok(reason)
}

/// Waits for the reason that the session gives for its last end.
fn last_error(lac: &Ours) -> Result<String> {
    until(PROMPT, "a last_error", || {
        let sessions = lac.sessions()?;
        let reason = sessions
            .iter()
            .find_map(|session| session["last_error"].as_str());
        Ok(reason.map(str::to_owned))
    })
}
