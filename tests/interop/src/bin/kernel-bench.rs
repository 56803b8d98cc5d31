//! Figures of the kernel's datapath in one machine: `cargo xtask bench kernel` runs it in User-Mode Linux and prints its JSON line.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that measures reads the clock"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use interop::flood::{Rates, SMALL, flood};
use interop::netns::{self, Bed};
use interop::ours::{self, Ours};
use interop::spread::Spread;
use interop::traffic::{has_address, transfer};
use interop::xl2tpd::Xl2tpd;
use interop::{Auth, INNER_LAC, INNER_LNS, PASSWORD, Side, USER, until};
use rustix::mount::{MountFlags, mount};
use serde_json::{Map, Value, json};

/// How long all sessions of a measurement may take to come up.
const PATIENCE: Duration = Duration::from_secs(400);

/// Octets that each TCP transfer sends each way.
const TRANSFER: usize = 60_000_000;

/// What the kernel's datapath does and costs, beside `tun`, our LNS with pppd, and xl2tpd with pppd, all in one boot of User-Mode Linux.
///
/// Of each server: PPP sessions that come up a second when a LAC asks for all of them at once; of each session the processor time (the LAC's beside it) and the private
/// memory of the server and what it started, and the kernel's own memory; and through one session TCP, and IP packets of 64 octets, as parts of what the plain veth
/// pair under it carries. Of packets there are two figures: what comes out while as many are sent as can be (`delivered`), and the highest
/// rate of which none is lost (`loss_free`). What is done on the way is told on standard error; the last line is one JSON object, where each figure
/// is a median with the lowest and the highest of its runs.
#[derive(Debug, Parser)]
struct Options {
    /// How many sessions come up at a time.
    #[arg(long, default_values_t = [50, 200, 500], value_delimiter = ',')]
    sessions: Vec<u32>,
    /// Measure those with pppd up to so many sessions: they take minutes for 500.
    #[arg(long, default_value_t = 500)]
    pppd: u32,
    /// How often each is measured; what comes up with pppd is measured once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Measure only these servers.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Server::ALL)]
    servers: Vec<Server>,
    /// Where openl2tpd and l2tpconfig are; by default beside this program.
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Server {
    /// openl2tpd with the kernel's datapath.
    Kernel,
    /// openl2tpd with TUN devices.
    Tun,
    /// openl2tpd with the kernel's datapath and pppd.
    Pppd,
    /// xl2tpd with pppd.
    Xl2tpd,
}

impl Server {
    const ALL: [Self; 4] = [Self::Kernel, Self::Tun, Self::Pppd, Self::Xl2tpd];

    fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Tun => "tun",
            Self::Pppd => "pppd",
            Self::Xl2tpd => "xl2tpd",
        }
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let machine = fs::read_to_string("/proc/cpuinfo")?;
    ensure!(
        machine.contains("User Mode Linux"),
        "run this in User-Mode Linux: it covers /etc/ppp and /etc/xl2tpd"
    );
    for folder in ["/etc/ppp", "/etc/xl2tpd"] {
        mount("tmpfs", folder, "tmpfs", MountFlags::empty(), None)?;
    }
    let program = std::env::current_exe()?;
    let beside = program.parent().context("no folder")?;
    let programs = options.programs.as_deref().unwrap_or(beside);
    let mut setup = Map::new();
    for &server in &options.servers {
        let with_pppd = matches!(server, Server::Pppd | Server::Xl2tpd);
        let (limit, runs) = match with_pppd {
            true => (options.pppd, 1),
            false => (u32::MAX, options.runs),
        };
        for &count in options.sessions.iter().filter(|&&count| count <= limit) {
            let name = format!("{}_{count}", server.name());
            setup.insert(name, come_up_often(server, count, runs, programs)?);
        }
    }
    let mut through = Map::new();
    for &server in &options.servers {
        let figures = throughput(server, options.runs, programs)
            .with_context(|| format!("through one session of {}", server.name()))?;
        through.insert(server.name().to_owned(), figures);
    }
    println!(
        "{}",
        json!({ "setup": setup, "through_one_session_to_veth": through })
    );
    Ok(())
}

/// Runs of one kind: each figure by its name.
#[derive(Default)]
struct Runs(BTreeMap<&'static str, Vec<f64>>);

impl Runs {
    fn add<const N: usize>(&mut self, figures: [(&'static str, f64); N]) {
        for (name, value) in figures {
            self.0.entry(name).or_default().push(value);
        }
    }

    /// Each figure's median, lowest and highest, rounded to so many places.
    fn figures(self, places: i32) -> Value {
        let unit = 10_f64.powi(places);
        let round = |value: f64| (value * unit).round() / unit;
        let figures = self.0.into_iter().map(|(name, values)| {
            let spread = Spread::of(values);
            let figures = json!({
                "median": spread.map(|s| round(s.median)),
                "min": spread.map(|s| round(s.least)),
                "max": spread.map(|s| round(s.most)),
            });
            (name.to_owned(), figures)
        });
        Value::Object(figures.collect())
    }
}

/// Measures one server; what others' servers fail in is a figure too.
fn come_up_often(server: Server, count: u32, runs: u32, programs: &Path) -> Result<Value> {
    let name = server.name();
    let mut all = Runs::default();
    for run in 1..=runs {
        let figures = match come_up(server, count, programs) {
            Ok(figures) => figures,
            Err(error) if server == Server::Xl2tpd => {
                eprintln!("{name}, {count} sessions: {error:#}");
                return Ok(json!({ "failed": format!("{error}") }));
            }
            Err(error) => {
                return Err(error.context(format!("{count} sessions with {name}")));
            }
        };
        let said: Vec<_> = figures
            .iter()
            .map(|(name, value)| format!("{name} {value:.1}"))
            .collect();
        eprintln!(
            "{name}, {count} sessions, run {run} of {runs}: {}",
            said.join(", ")
        );
        all.add(figures);
    }
    Ok(all.figures(1))
}

fn server(server: Server, bed: &Bed, folder: &Path, programs: &Path) -> Result<Box<dyn Measured>> {
    if server == Server::Xl2tpd {
        let (auth, last) = (Auth::Chap, Ipv4Addr::new(10, 0, 3, 250));
        return Ok(Box::new(Xl2tpd::serve(bed, folder, auth, last)?));
    }
    let configuration = format!(
        "session profile modify profile_name=default datapath={}\n\
         ppp profile modify profile_name=default local_ipaddr={INNER_LNS} ip_pool_name=pool auth_pap=no auth_mschapv2=no\n\
         ip_pool create pool_name=pool range={INNER_LAC}-10.0.3.250\n\
         user create user_name={USER} password={PASSWORD}\n",
        if server == Server::Tun {
            "tun"
        } else {
            "kernel"
        }
    );
    let configuration = match server {
        Server::Pppd => configuration + "ppp profile modify profile_name=default ppp_engine=pppd\n",
        _ => configuration,
    };
    let started = Ours::start(programs, &bed.lns, folder, "lns", &configuration)?;
    Ok(Box::new(started))
}

/// A server whose processes can be looked at.
trait Measured: Side {
    fn pid(&mut self) -> u32;
}

impl Measured for Ours {
    fn pid(&mut self) -> u32 {
        self.process().id()
    }
}

impl Measured for Xl2tpd {
    fn pid(&mut self) -> u32 {
        self.id()
    }
}

/// Has so many sessions come up; a LAC of ours that carries no traffic asks for all at once.
fn come_up(who: Server, count: u32, programs: &Path) -> Result<[(&'static str, f64); 5]> {
    let bed = Bed::new()?;
    let folder = tempfile::tempdir_in("/run")?;
    let mut lns = server(who, &bed, folder.path(), programs)?;
    let pid = lns.pid();
    let before = Costs::of(pid)?;
    // Of hundreds of pppds on one processor the last begin after half a minute.
    let configuration = format!(
        "ppp profile modify profile_name=default lcp_max_config_requests=100\n{}",
        calls(who, count)
    );
    let mut command = Ours::command(programs, folder.path(), "lac", &configuration)?;
    command.args(["--datapath", "null"]);
    let began = Instant::now();
    let mut lac = Ours::run(command, programs, &bed.lac, folder.path(), "lac")?;
    let up = until(PATIENCE, "every session is up", || {
        std::thread::sleep(Duration::from_millis(50));
        let status = lac.get("/v1/system")?;
        let up = status["sessions_established"].as_u64() == Some(count.into());
        Ok(up.then(|| began.elapsed().as_secs_f64()))
    })
    .with_context(|| format!("LAC:\n{}LNS:\n{}", told(&lac.log()), told(&lns.log())))?;
    let after = Costs::of(pid)?;
    let client = Costs::of(lac.process().id())?;
    let count = f64::from(count);
    let figures = [
        ("a_second", count / up),
        ("cpu_ms_a_session", (after.cpu_ms - before.cpu_ms) / count),
        // It has the same processor.
        ("client_cpu_ms_a_session", client.cpu_ms / count),
        (
            "private_kib_a_session",
            (after.private_kib - before.private_kib) / count,
        ),
        (
            "kernel_kib_a_session",
            (after.kernel_kib - before.kernel_kib) / count,
        ),
    ];
    lac.shut_down()?;
    lns.shut_down()?;
    Ok(figures)
}

/// The LAC's tunnels and sessions. xl2tpd gives calls Session IDs by chance, of hundreds in one tunnel two the same, and a CDN for one of those ends its whole
/// tunnel: it is asked in several, which come again if that happens.
fn calls(who: Server, count: u32) -> String {
    let (a_tunnel, persist) = match who {
        Server::Xl2tpd => (25, "yes"),
        _ => (count, "no"),
    };
    let tunnels = (0..count.div_ceil(a_tunnel)).map(|t| {
        let port = 1701 + t;
        format!(
            "tunnel create tunnel_name=t{t} persist={persist} our_udp_port={port} dest_ipaddr={}\n",
            netns::LNS
        )
    });
    let sessions = (0..count).map(|s| {
        format!(
            "session create tunnel_name=t{} session_name=s{s} user_name={USER} user_password={PASSWORD}\n",
            s / a_tunnel
        )
    });
    tunnels.chain(sessions).collect()
}

/// What went wrong first, or else what was last.
fn told(log: &str) -> String {
    let wrong = |line: &&str| {
        [" WARN ", "ERROR", " down: "]
            .iter()
            .any(|sign| line.contains(sign))
    };
    let mut lines: Vec<_> = log.lines().filter(wrong).take(20).collect();
    if lines.is_empty() {
        lines = log.lines().rev().take(20).collect();
        lines.reverse();
    }
    lines.into_iter().flat_map(|line| [line, "\n"]).collect()
}

/// What a process and those that it started have cost so far, and what the kernel holds beside the memory of processes.
struct Costs {
    cpu_ms: f64,
    private_kib: f64,
    kernel_kib: f64,
}

impl Costs {
    fn of(pid: u32) -> Result<Self> {
        let mut costs = Self {
            cpu_ms: 0.0,
            private_kib: 0.0,
            kernel_kib: 0.0,
        };
        for pid in interop::process::children(pid).into_iter().chain([pid]) {
            // One of the children may have ended.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
                continue;
            };
            let fields = stat
                .rsplit(')')
                .next()
                .unwrap_or_default()
                .split_whitespace();
            let ticks: Vec<f64> = fields
                .skip(11)
                .take(4)
                .map_while(|t| t.parse().ok())
                .collect();
            costs.cpu_ms += ticks.iter().sum::<f64>() * 10.0;
            let memory =
                fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            costs.private_kib += sum(&memory, &["Private_Dirty:"]);
        }
        let machine = fs::read_to_string("/proc/meminfo")?;
        costs.kernel_kib = sum(&machine, &["Slab:", "Percpu:", "VmallocUsed:"]);
        Ok(costs)
    }
}

/// The sum of these lines of a table in kB.
fn sum(table: &str, names: &[&str]) -> f64 {
    let its = |line: &str| {
        let mut words = line.split_whitespace();
        names
            .contains(&words.next()?)
            .then(|| words.next()?.parse::<f64>().ok())?
    };
    table.lines().filter_map(its).sum()
}

/// What goes through one session, as parts of what goes through the wire without one.
fn throughput(who: Server, runs: u32, programs: &Path) -> Result<Value> {
    let bed = Bed::new()?;
    let folder = tempfile::tempdir_in("/run")?;
    let mut lns = server(who, &bed, folder.path(), programs)?;
    let datapath = if who == Server::Tun { "tun" } else { "kernel" };
    let configuration = ours::lac(false, &netns::LNS.to_string(), PASSWORD)
        + &format!("session profile modify profile_name=default datapath={datapath}\n");
    let mut lac = Ours::start(programs, &bed.lac, folder.path(), "lac", &configuration)?;
    until(Duration::from_secs(40), "the LAC has its address", || {
        Ok(has_address(&bed.lac, INNER_LAC)?.then_some(()))
    })?;
    let mut all = Runs::default();
    for run in 1..=runs {
        let tcp = [netns::LNS, INNER_LNS].map(|target| transfer(&bed, target, TRANSFER));
        let [plain, through] = tcp;
        let (plain, through) = (plain?, through?);
        let Rates {
            delivered,
            loss_free,
        } = flood(&bed.lac, &bed.lns, INNER_LNS, SMALL)?;
        let veth = flood(&bed.lac, &bed.lns, netns::LNS, SMALL)?;
        eprintln!(
            "{}, run {run} of {runs}: TCP {through:.0} of {plain:.0} Mbit/s; packets of 64 octets a second: delivered {delivered:.0} of {:.0}, \
             loss-free {loss_free:.0} of {:.0}",
            who.name(),
            veth.delivered,
            veth.loss_free
        );
        all.add([
            ("tcp", through / plain),
            ("packets_delivered", delivered / veth.delivered),
            ("packets_loss_free", loss_free / veth.loss_free),
        ]);
    }
    lac.shut_down()?;
    lns.shut_down()?;
    Ok(all.figures(2))
}
