//! Which datapath the daemon chooses by itself, and what it says of that: in a bare container, and where it has the whole machine. `cargo xtask test --only
//! places` runs it on this machine, the suites `kernel` and `qemu` in theirs.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use interop::container::{self, Contained, User};
use interop::kernel::{PATIENCE, World};
use interop::netns::{self, Namespace, UNDERLAY};
use interop::ours::Ours;
use interop::process::Process;
use interop::traffic::transfer;
use interop::{INNER_LNS, Role, Side, Suite, until};
use rustix::process::Signal;
use serde_json::Value;

/// Octets sent each way, which an emulated processor gets through, too.
const OCTETS: usize = 1 << 20;

/// What the daemon chooses. Needs root.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    suite: Suite,
    /// Where this runs: it fails elsewhere
    #[arg(long, value_enum, default_value_t = Machine::Host)]
    machine: Machine,
}

/// A machine, and with it what there is to choose from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Machine {
    /// This one: its kernel takes programs, and may have the driver.
    Host,
    /// User-Mode Linux has the driver, and would interpret programs.
    Uml,
    /// Debian's kernel has the driver and compiles programs.
    Debian,
}

impl Machine {
    fn has_driver(self) -> Result<bool> {
        let is_there = || fs::exists("/proc/net/pppol2tp");
        if self == Self::Host && !is_there()? {
            // As the daemon's first socket would have it loaded.
            Command::new("modprobe").args(["-q", "l2tp_ppp"]).status()?;
        }
        let has = is_there()?;
        ensure!(
            has || self == Self::Host,
            "the kernel's driver is not there"
        );
        Ok(has)
    }

    fn compiles(self) -> bool {
        self != Self::Uml
    }
}

/// One case; what it returns is its remark in the report.
type Case = fn(&World, Machine) -> Result<String>;

const CASES: &[(&str, Case)] = &[
    ("a bare container, as root", |world, machine| {
        bare(world, machine, User::Root)
    }),
    ("a bare container, as nobody", |world, machine| {
        bare(world, machine, User::Nobody)
    }),
    (
        "a bare container without the usual places of files",
        placeless,
    ),
    ("the whole machine, without UDP checksums", whole),
    ("the whole machine, with UDP checksums", with_checksums),
    ("the whole machine, whose uplink is a veth", on_veth),
];

fn main() -> Result<ExitCode> {
    let Options { suite, machine } = Options::parse();
    let programs = suite.programs()?;
    let mut report = suite.report();
    for (name, case) in CASES {
        report.case(name, || case(&World::new(&programs)?, machine));
    }
    Ok(report.conclude())
}

/// What a daemon is to choose and to say.
struct Expected {
    /// What is in its line at the start.
    says: Vec<&'static str>,
    /// The engine of the session, and what is said of why no faster one carries it.
    engine: &'static str,
    no_faster: Vec<&'static str>,
    /// The engines of sessions on the shared device, and with one of their own.
    taken: [&'static str; 2],
    /// Parts of engines that are not there, and what is said of why.
    wanting: Vec<(&'static str, &'static str, &'static str)>,
}

impl Expected {
    fn is_met_by(&self, daemon: &Ours) -> Result<()> {
        let log = daemon.log();
        let lines: Vec<_> = log.lines().filter(|l| l.contains(" datapath: ")).collect();
        ensure!(lines.len() == 1, "not one line says what it chose: {log}");
        for part in &self.says {
            ensure!(lines[0].contains(part), "`{part}` is not in: {}", lines[0]);
        }
        self.is_of_session(daemon)?;
        self.is_of_machine(&daemon.query(&["system", "show", "datapath"])?)
    }

    fn is_of_session(&self, daemon: &Ours) -> Result<()> {
        let of = daemon
            .sessions()?
            .into_iter()
            .next()
            .context("no session")?;
        let [tunnel, session] = ["tunnel_id", "session_id"].map(|id| format!("{id}={}", of[id]));
        // That programs carry it, or can't, is known a moment after it is up.
        let mut shown = Value::Null;
        let mut is_met = || {
            shown = daemon.query(&["session", "show", &tunnel, &session])?;
            let why = shown["no_faster_datapath"].as_str();
            let all = self
                .no_faster
                .iter()
                .all(|part| why.is_some_and(|w| w.contains(part)));
            let met = shown["datapath"] == self.engine && all;
            Ok((met && why.is_none() == self.no_faster.is_empty()).then_some(()))
        };
        until(PATIENCE, "the datapath and its reason", &mut is_met)
            .with_context(|| format!("{}, {:?}: {shown}", self.engine, self.no_faster))
    }

    fn is_of_machine(&self, shown: &Value) -> Result<()> {
        ensure!(shown["datapath"] == "auto", "{shown}");
        let taken = [&shown["shared_device"], &shown["own_device"]];
        ensure!(taken == self.taken, "not {:?}: {shown}", self.taken);
        let engines = shown["engines"].as_array().context("no engines")?;
        for engine in engines {
            let name = engine["engine"].as_str().context("no name")?;
            let its = |wanting: &&(&str, _, _)| wanting.0 == name;
            let wanting: Vec<_> = self.wanting.iter().filter(its).collect();
            ensure!(engine["usable"] == wanting.is_empty(), "{engine}");
            for (_, part, why) in wanting {
                let parts = engine["parts"].as_array().context("no parts")?;
                let part = parts
                    .iter()
                    .find(|p| p["part"] == *part)
                    .context("no part")?;
                let detail = part["detail"].as_str().unwrap_or_default();
                ensure!(part["available"] == false && detail.contains(why), "{part}");
            }
        }
        Ok(())
    }
}

/// A session between both ends carries pings and TCP.
fn carries(world: &World, [lns, lac]: [&Ours; 2]) -> Result<()> {
    lac.established(PATIENCE)
        .and_then(|_| lns.established(PATIENCE))
        .with_context(|| format!("LAC:\n{}LNS:\n{}", lac.log(), lns.log()))?;
    world.is_through()?;
    transfer(&world.bed, INNER_LNS, OCTETS)?;
    Ok(())
}

/// Why the driver is of no use in a container.
fn no_driver_in_container(machine: Machine) -> Result<&'static str> {
    Ok(match machine.has_driver()? {
        true => {
            "open /dev/ppp: the kernel has no module ppp_generic, or the container does not show its device"
        }
        false => "the kernel has no module l2tp_ppp",
    })
}

const MAY_NOT: &str = "Operation not permitted (os error 1); CAP_BPF and CAP_PERFMON are needed";

/// Why programs are of no use where the kernel does not compile them.
const INTERPRETED: &str = "this kernel would interpret them";

fn bare(world: &World, machine: Machine, user: User) -> Result<String> {
    let files = [world.programs.as_path(), world.folder.path()];
    let start = |role, name| {
        let daemon = world.command(role, "auto", "")?;
        Contained::start(&daemon, user, world.bed.side(role), files, name)
    };
    let (lns, lac) = (start(Role::Lns, "lns")?, start(Role::Lac, "lac")?);
    carries(world, [&lns, &lac])?;
    let no_driver = no_driver_in_container(machine)?;
    let device = match machine.has_driver()? {
        true => "/dev/ppp",
        false => "PPPoL2TP sockets",
    };
    let expected = |no_faster| Expected {
        says: vec![
            "TUN devices, as the kernel's L2TP is not to be had: ",
            no_driver,
            "no programs in the kernel (ebpf): ",
            MAY_NOT,
        ],
        engine: "tun",
        no_faster,
        taken: ["tun", "tun"],
        wanting: vec![
            ("kernel", device, ""),
            ("ebpf", "programs", MAY_NOT),
            ("ebpf", "self-test", "there are no programs"),
        ],
    };
    expected(vec!["kernel: ", no_driver, "; ebpf: ", MAY_NOT]).is_met_by(&lac)?;
    expected(vec!["ebpf: ", MAY_NOT]).is_met_by(&lns)?;
    for daemon in [&lns, &lac] {
        let log = daemon.log();
        ensure!(log.contains("CAP_NET_RAW is needed"), "{log}");
        let more = log
            .lines()
            .find(|l| l.contains(" ERROR ") || l.contains(" DEBUG "));
        ensure!(more.is_none(), "{log}");
    }
    lac.shut_down()?;
    lns.shut_down()?;
    Ok(String::new())
}

/// Nobody says where its files are to be, and the usual places are not there.
fn placeless(world: &World, _: Machine) -> Result<String> {
    let mut daemon = Command::new(world.programs.join("openl2tpd"));
    daemon.arg("-f");
    let folder = world.folder.path();
    let command = container::inside(&daemon, User::Nobody, [&world.programs, folder], "a")?;
    let mut process = Process::spawn(&world.bed.lns, command, &folder.join("a.log"))?;
    until(PATIENCE, "it serves", || {
        ensure!(process.running()?, "it ended:\n{}", process.log());
        Ok(process.log().contains("serves UDP port 1701").then_some(()))
    })?;
    for said in [
        "no pid file: cannot write /run/openl2tpd.pid: ",
        "-P names another place",
        "nobody can manage this daemon: cannot listen at /run/openl2tpd/api.sock: ",
        "--socket names another place",
    ] {
        ensure!(process.log().contains(said), "{}", process.log());
    }
    process.signal(Signal::KILL)?;
    process.wait(PATIENCE)?;
    Ok(String::new())
}

/// Gives both ends an uplink that is no end of a veth, but a network card's.
fn with_cards(world: &World) -> Result<()> {
    for (end, address) in [(&world.bed.lns, netns::LNS), (&world.bed.lac, netns::LAC)] {
        // What is below answers for no address, or packets would come in there.
        end.ip(&format!(
            "address flush dev {UNDERLAY}\n\
             link set {UNDERLAY} arp off\n\
             link add link {UNDERLAY} name card type macvlan mode private\n\
             address add {address}/24 dev card\nlink set card up\n"
        ))?;
        // No card sends what has a checksum still to be made.
        let mut ethtool = Command::new("ethtool");
        ethtool.args(["-K", UNDERLAY, "tx", "off"]);
        let done = end.enter(|| Ok(ethtool.output()?))?;
        ensure!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(())
}

fn whole(world: &World, machine: Machine) -> Result<String> {
    let driver = machine.has_driver()?;
    if machine.compiles() {
        with_cards(world)?;
    }
    let without = "tunnel profile modify profile_name=default use_udp_checksums=no\n";
    let mut lns = world.start_with(Role::Lns, "auto", without)?;
    let mut lac = world.start_with(Role::Lac, "auto", without)?;
    carries(world, [&lns, &lac])?;
    let shared = if machine.compiles() { "ebpf" } else { "tun" };
    let own = if driver { "kernel" } else { shared };
    let no_driver = "the kernel has no module l2tp_ppp";
    let expected = |engine, mut no_faster: Vec<_>| {
        let mut says = match driver {
            true => vec![
                "the kernel's L2TP for sessions with a device of their own",
                "a TUN device for others",
            ],
            false => vec![
                "TUN devices, as the kernel's L2TP is not to be had: ",
                no_driver,
            ],
        };
        match machine.compiles() {
            true => says.push("programs in the kernel carry what is common on TUN devices"),
            false => says.extend(["no programs in the kernel (ebpf): ", INTERPRETED]),
        }
        if engine == "tun" && !machine.compiles() {
            no_faster.extend(["ebpf: ", INTERPRETED]);
        }
        let wanting = match driver {
            true => vec![],
            false => vec![("kernel", "PPPoL2TP sockets", no_driver)],
        };
        Expected {
            says,
            engine,
            no_faster,
            taken: [shared, own],
            wanting,
        }
    };
    let of_own = match driver {
        true => vec![],
        false => vec!["kernel: ", no_driver],
    };
    expected(own, of_own).is_met_by(&lac)?;
    expected(shared, vec![]).is_met_by(&lns)?;
    for (end, daemon, device, engine) in [
        (&world.bed.lac, &lac, "ppp0", own),
        (&world.bed.lns, &lns, "l2tp0", shared),
    ] {
        if engine == "ebpf" {
            is_carried_by_programs(end, daemon, device)?;
        }
    }
    if shared == "ebpf" {
        for (checksums, engine, no_faster) in [
            ("yes", "tun", vec!["use_udp_checksums"]),
            ("no", "ebpf", vec![]),
        ] {
            with_udp_checksums(&lns, checksums)?;
            expected(engine, no_faster).is_of_session(&lns)?;
            world.is_through()?;
        }
    }
    lac.shut_down()?;
    lns.shut_down()?;
    Ok(format!("own device: {own}, shared: {shared}"))
}

/// Has a daemon's tunnel begin or cease to have UDP checksums.
fn with_udp_checksums(daemon: &Ours, yes_or_no: &str) -> Result<()> {
    let of = daemon
        .sessions()?
        .into_iter()
        .next()
        .context("no session")?;
    let [tunnel, checksums] = [
        format!("tunnel_id={}", of["tunnel_id"]),
        format!("use_udp_checksums={yes_or_no}"),
    ];
    daemon.query(&["tunnel", "modify", &tunnel, &checksums])?;
    Ok(())
}

/// A veth may end in a program on this machine, which programs are not to send to by themselves.
fn on_veth(world: &World, machine: Machine) -> Result<String> {
    is_left_to_tun(
        world,
        machine,
        "uplink may end in a program on this machine",
        "tun",
    )
}

/// With UDP checksums packets by programs would overtake others.
fn with_checksums(world: &World, machine: Machine) -> Result<String> {
    if machine.compiles() {
        with_cards(world)?;
    }
    is_left_to_tun(world, machine, "use_udp_checksums", "ebpf")
}

/// Programs, where there are any, carry nothing, and `why` says so; `ebpf` is what other sessions would have.
fn is_left_to_tun(
    world: &World,
    machine: Machine,
    why: &'static str,
    ebpf: &'static str,
) -> Result<String> {
    let mut lns = world.start(Role::Lns, "auto")?;
    let mut lac = world.start(Role::Lac, "auto")?;
    carries(world, [&lns, &lac])?;
    let (why, shared) = match machine.compiles() {
        true => (why, ebpf),
        false => (INTERPRETED, "tun"),
    };
    let driver = machine.has_driver()?;
    let expected = |engine, no_faster| Expected {
        says: vec![],
        engine,
        no_faster,
        taken: [shared, if driver { "kernel" } else { shared }],
        wanting: match driver {
            true => vec![],
            false => vec![("kernel", "PPPoL2TP sockets", "")],
        },
    };
    match driver {
        true => expected("kernel", vec![]),
        false => expected("tun", vec!["kernel: ", "; ebpf: ", why]),
    }
    .is_met_by(&lac)?;
    expected("tun", vec![why]).is_met_by(&lns)?;
    lac.shut_down()?;
    lns.shut_down()?;
    Ok(String::new())
}

/// What programs carry is not counted on the device.
fn is_carried_by_programs(place: &Namespace, daemon: &Ours, device: &str) -> Result<()> {
    let devices = place.enter(|| Ok(fs::read_to_string("/proc/thread-self/net/dev")?))?;
    let line = devices
        .lines()
        .find_map(|l| l.trim().strip_prefix(device)?.strip_prefix(':'));
    let counts: Vec<u64> = line
        .with_context(|| format!("no {device}: {devices}"))?
        .split_whitespace()
        .filter_map(|count| count.parse().ok())
        .collect();
    let left = counts[0] + counts[8];
    let traffic = daemon.traffic()?.context("no traffic")?;
    let octets = |name: &str| traffic[name].as_u64().unwrap_or_default();
    let all = octets("rx_bytes") + octets("tx_bytes");
    ensure!(
        all > OCTETS as u64 && left < all / 5,
        "{left} of {all} octets were left to tun"
    );
    Ok(())
}
