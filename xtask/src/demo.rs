//! `cargo xtask demo`: a LAC and an LNS in two network namespaces, and what crosses between them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use interop::capture::{Capture, Extent, Kind, Recording};
use interop::netns::{self, Bed};
use interop::ours::Ours;
use interop::process::Process;
use interop::{INNER_LAC, INNER_LNS, traffic, until};
use serde_json::{Value, json};

use crate::apt;
use crate::signals::Interrupt;
use crate::test::{cargo, programs};

/// What the LNS serves with.
const LNS: &str = "\
ip_pool create pool_name=home range=10.0.0.2-10.0.0.9
user create user_name=alice password=wonderland
tunnel profile modify profile_name=default secret=s3cret auth_mode=challenge
ppp profile modify profile_name=default local_ipaddr=10.0.0.1 ip_pool_name=home
";

/// What the LAC dials with.
const LAC: &str = "\
tunnel profile modify profile_name=default secret=s3cret auth_mode=challenge
tunnel create tunnel_name=office dest_ipaddr=10.99.0.2 persist=yes
session create tunnel_name=office session_name=me interface_name=ppp0 user_name=alice user_password=wonderland
";

/// Pings that are sent across.
const PINGS: u32 = 5;

/// Seconds that the TCP transfer takes.
const SECONDS: u64 = 5;

/// How long tunnel and session may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the last line says.
#[derive(Debug, Default)]
struct Outcome {
    tunnel_up: bool,
    session_up: bool,
    pings_received: u32,
    tcp_mbit_s: f64,
    seen: Option<Seen>,
}

/// What the capture of the underlay says.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Octets of frames of UDP port 1701.
    inside: u64,
    /// Octets of all other frames, ARP aside.
    outside: u64,
    /// Frames that were not captured, for tcpdump was too slow.
    missed: u64,
}

impl Outcome {
    fn json(&self) -> Value {
        json!({
            "tunnel_up": self.tunnel_up,
            "session_up": self.session_up,
            "pings_sent": PINGS,
            "pings_received": self.pings_received,
            "tcp_mbit_s": (self.tcp_mbit_s * 10.0).round() / 10.0,
            "bytes_inside_tunnel": self.seen.map(|seen| seen.inside),
            "bytes_outside_tunnel": self.seen.map(|seen| seen.outside),
            "frames_not_captured": self.seen.map(|seen| seen.missed),
        })
    }

    /// Whether everything is as it has to be.
    fn check(&self) -> Result<()> {
        ensure!(
            self.pings_received == PINGS,
            "{} of {PINGS} pings were answered",
            self.pings_received
        );
        ensure!(self.tcp_mbit_s > 0.0, "the TCP transfer moved nothing");
        let outside = self.seen.map(|seen| seen.outside);
        ensure!(
            outside == Some(0),
            "{outside:?} octets crossed outside the tunnel"
        );
        Ok(())
    }
}

/// Runs the demo; with `keep` it leaves everything up.
pub(crate) fn run(keep: bool) -> Result<ExitCode> {
    if !rustix::process::getuid().is_root() {
        bail!("the demo needs root: it makes network namespaces and devices");
    }
    apt::ensure(&[apt::IP, apt::PING, apt::TCPDUMP, apt::IPERF3])?;
    eprintln!("building openl2tpd and l2tpconfig");
    let built = cargo(&[
        "build",
        "--release",
        "--package",
        "openl2tpd",
        "--package",
        "l2tpconfig",
    ])
    .stdout(Stdio::null())
    .status()?;
    ensure!(built.success(), "the programs do not build");
    let interrupt = Interrupt::catch()?;
    let mut outcome = Outcome::default();
    let result = Stage::set(interrupt).and_then(|mut stage| {
        let result = stage.play(&mut outcome).and_then(|()| outcome.check());
        if result.is_err() {
            stage.show_logs();
        }
        if keep && result.is_ok() {
            stage.leave();
        } else {
            stage.clear();
        }
        result
    });
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    };
    println!("{}", outcome.json());
    Ok(code)
}

/// Everything that the demo makes. Dropping it takes it down.
struct Stage {
    // In this order: the programs end before the namespaces go.
    lac: Option<Ours>,
    lns: Option<Ours>,
    underlay: Option<Capture>,
    /// The control messages, to be shown as they cross.
    ladder: Capture,
    bed: Bed,
    folder: tempfile::TempDir,
    programs: PathBuf,
    interrupt: Interrupt,
}

impl Stage {
    fn set(interrupt: Interrupt) -> Result<Self> {
        let bed = Bed::new()?;
        let folder = tempfile::Builder::new()
            .prefix("openl2tp-demo-")
            .tempdir()?;
        let capture = |name, extent| Capture::start(&bed.lns, &folder.path().join(name), extent);
        let underlay = capture("underlay.pcap", Extent::All)?;
        let ladder = capture("control.pcap", Extent::Control)?;
        println!("two network namespaces joined by a veth pair:");
        println!("  {}  {}", bed.lac.name(), netns::LAC);
        println!("  {}  {}", bed.lns.name(), netns::LNS);
        let programs = programs("release")?;
        Ok(Self {
            lac: None,
            lns: None,
            underlay: Some(underlay),
            ladder,
            bed,
            folder,
            programs,
            interrupt,
        })
    }

    fn play(&mut self, outcome: &mut Outcome) -> Result<()> {
        title("the LNS starts", LNS);
        self.lns = Some(Ours::start(
            &self.programs,
            &self.bed.lns,
            self.folder.path(),
            "lns",
            LNS,
        )?);
        title("the LAC starts", LAC);
        self.lac = Some(Ours::start(
            &self.programs,
            &self.bed.lac,
            self.folder.path(),
            "lac",
            LAC,
        )?);
        self.watch(outcome)?;

        title("pings across the session", "");
        let pings = traffic::ping(&self.bed.lac, &INNER_LNS.to_string(), PINGS)?;
        outcome.pings_received = pings.received;
        print!("{}", indent(&pings.text));
        self.interrupt.check()?;

        title("a TCP transfer across the session (iperf3)", "");
        outcome.tcp_mbit_s = self.iperf()?;
        println!(
            "  {:.0} Mbit/s for {SECONDS} seconds, both ends and the capture on this machine",
            outcome.tcp_mbit_s
        );
        self.interrupt.check()?;

        for (name, daemon) in [("LAC", &self.lac), ("LNS", &self.lns)] {
            for words in [["tunnel", "list"], ["session", "list"]] {
                title(
                    &format!("at the {name}: l2tpconfig {}", words.join(" ")),
                    "",
                );
                let daemon = daemon.as_ref().context("the daemon is up")?;
                print!("{}", indent(&stdout(daemon.l2tpconfig(&words))?));
            }
        }
        if let Some(underlay) = self.underlay.take() {
            outcome.seen = Some(judge(&underlay.finish()?));
        }
        Ok(())
    }

    /// Shows the control messages as they cross, and the states as they change, until the session is established.
    fn watch(&self, outcome: &mut Outcome) -> Result<()> {
        title("tunnel and session come up", "");
        let lac = self.lac.as_ref().context("the LAC is up")?;
        let (mut shown, mut tunnel, mut session) = (0, String::new(), String::new());
        until(PATIENCE, "the session is established", || {
            self.interrupt.check()?;
            let (sessions, tunnels) = (lac.sessions()?, lac.tunnels()?);
            shown = show_messages(&self.ladder.so_far()?, shown);
            show_change("tunnel", &mut tunnel, tunnels.first());
            show_change("session", &mut session, sessions.first());
            outcome.tunnel_up = tunnel == "established";
            outcome.session_up = session == "established";
            Ok((outcome.tunnel_up && outcome.session_up).then_some(()))
        })?;
        println!("  the LAC is {INNER_LAC} inside, the LNS is {INNER_LNS}");
        Ok(())
    }

    /// Runs iperf3 from the LAC to the LNS; Mbit/s that arrived.
    fn iperf(&self) -> Result<f64> {
        let mut server = Command::new("iperf3");
        server.args([
            "--server",
            "--one-off",
            "--forceflush",
            "--bind",
            &INNER_LNS.to_string(),
        ]);
        let log = self.folder.path().join("iperf3.log");
        let server = Process::spawn(&self.bed.lns, server, &log)?;
        until(PATIENCE, "iperf3 listens", || {
            Ok(server.log().contains("Server listening").then_some(()))
        })?;
        let mut client = Command::new("iperf3");
        client.args([
            "--json",
            "--time",
            &SECONDS.to_string(),
            "--client",
            &INNER_LNS.to_string(),
        ]);
        let output = self.bed.lac.enter(|| Ok(client.output()?))?;
        let report: Value = serde_json::from_slice(&output.stdout).context("iperf3")?;
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
        rate.map(|rate| rate / 1e6)
            .with_context(|| format!("iperf3: {}", report["error"]))
    }

    /// What the daemons wrote: the way to the cause of a failure.
    fn show_logs(&self) {
        for (name, daemon) in [("LAC", &self.lac), ("LNS", &self.lns)] {
            if let Some(daemon) = daemon {
                title(&format!("the {name}'s log"), &interop::Side::log(daemon));
            }
        }
    }

    /// Ends the daemons as a person would, the LAC first, and removes the rest.
    fn clear(mut self) {
        println!("\n== cleaning up");
        for (name, daemon) in [("LAC", self.lac.take()), ("LNS", self.lns.take())] {
            let Some(mut daemon) = daemon else { continue };
            match interop::Side::shut_down(&mut daemon) {
                Ok(()) => println!("  the {name} has ended"),
                Err(error) => println!("  the {name} did not end well: {error:#}"),
            }
        }
    }

    /// Leaves everything up, and says how to use it and how to remove it.
    fn leave(mut self) {
        // One after the other, so that each finds the other there to take its leave of.
        let mut kill = String::new();
        for daemon in [&mut self.lac, &mut self.lns].into_iter().flatten() {
            daemon.process().keep();
            // Writing to a string cannot fail.
            write!(kill, "kill {}; sleep 1; ", daemon.process().id()).ok();
        }
        self.bed.keep();
        let (lac, lns) = (self.bed.lac.name(), self.bed.lns.name());
        let l2tpconfig = self.programs.join("l2tpconfig");
        let folder = self.folder.keep();
        println!("\n== everything is left up. To play with it:");
        println!("  ip netns exec {lac} ping {INNER_LNS}");
        println!("  ip netns exec {lns} tcpdump -n -i {}", netns::UNDERLAY);
        for name in ["lac", "lns"] {
            println!(
                "  {} --socket {} session list",
                l2tpconfig.display(),
                socket(&folder, name).display()
            );
        }
        println!("To remove it:");
        println!(
            "  {kill}ip netns del {lac}; ip netns del {lns}; rm -r {}",
            folder.display()
        );
    }
}

fn socket(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.socket"))
}

fn title(text: &str, configuration: &str) {
    println!("\n== {text}");
    print!("{}", indent(configuration));
}

fn indent(text: &str) -> String {
    text.lines()
        .filter(|line| !line.is_empty())
        .map(|line| format!("  {line}\n"))
        .collect()
}

/// Prints the control messages after the first `shown`; how many there are now.
fn show_messages(recording: &Recording, shown: usize) -> usize {
    let start = recording
        .controls()
        .next()
        .map_or(Duration::ZERO, |first| first.at);
    for sent in recording.controls().skip(shown) {
        let way = if *sent.from.ip() == netns::LAC {
            "LAC -> LNS"
        } else {
            "LNS -> LAC"
        };
        println!(
            "  {:8.3} ms  {way}  {}",
            (sent.at - start).as_secs_f64() * 1e3,
            sent.control
        );
    }
    recording.controls().count()
}

/// Prints the state of a tunnel or session when it is not the one known.
fn show_change(what: &str, known: &mut String, object: Option<&Value>) {
    let state = object
        .and_then(|object| object["state"].as_str())
        .unwrap_or("absent");
    if state != known {
        println!("               the LAC's {what} is {state}");
        state.clone_into(known);
    }
}

/// Runs a program that is to end well; what it printed.
fn stdout(mut command: Command) -> Result<String> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let name = command.get_program().display();
    ensure!(
        output.status.success(),
        "{name}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// Sorts what was captured on the underlay by whether it was inside UDP port 1701, and shows it.
fn judge(recording: &Recording) -> Seen {
    title("what the capture of the underlay shows", "");
    let octets = |which: fn(&Kind) -> bool| -> (usize, u64) {
        let of_kind = || {
            recording
                .packets
                .iter()
                .filter(|packet| which(&packet.kind))
        };
        (
            of_kind().count(),
            of_kind().map(|packet| packet.length).sum(),
        )
    };
    let inside = octets(|kind| matches!(kind, Kind::L2tp { .. }));
    let arp = octets(|kind| *kind == Kind::Arp);
    let outside = octets(|kind| *kind == Kind::Other);
    for (what, (frames, octets)) in [
        ("UDP port 1701", inside),
        ("ARP", arp),
        ("anything else", outside),
    ] {
        println!("  {what:<14} {frames:>9} frames {octets:>12} octets");
    }
    if recording.missed > 0 {
        println!(
            "  not captured   {:>9} frames: tcpdump was too slow",
            recording.missed
        );
    }
    Seen {
        inside: inside.1,
        outside: outside.1,
        missed: recording.missed,
    }
}
