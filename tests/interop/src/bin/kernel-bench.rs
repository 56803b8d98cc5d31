//! Figures of the kernel's datapath in one machine: `cargo xtask bench kernel` runs it in User-Mode Linux and prints its JSON line.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that measures reads the clock"
)]

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use interop::netns::{self, Bed};
use interop::ours::{self, Ours};
use interop::traffic::{has_address, transfer};
use interop::xl2tpd::Xl2tpd;
use interop::{Auth, INNER_LAC, INNER_LNS, PASSWORD, Side, USER, until};
use rustix::mount::{MountFlags, mount};
use serde_json::{Value, json};

/// How long all sessions of a measurement may take to come up.
const PATIENCE: Duration = Duration::from_secs(400);

/// Octets that each TCP transfer sends each way.
const TRANSFER: usize = 50_000_000;

/// Sessions a second, what one costs, and what goes through one. Run it in User-Mode Linux.
#[derive(Debug, Parser)]
struct Options {
    /// How many sessions come up at a time.
    #[arg(long, default_values_t = [50, 200, 500])]
    sessions: Vec<u32>,
    /// Measure those with pppd up to so many sessions.
    #[arg(long, default_value_t = 50)]
    pppd: u32,
    /// Where openl2tpd and l2tpconfig are; by default beside this program.
    #[arg(long)]
    programs: Option<PathBuf>,
}

/// Who serves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    Kernel,
    Tun,
    /// The kernel's datapath, with pppd.
    Pppd,
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
    let mut setup = serde_json::Map::new();
    for server in Server::ALL {
        let limit = if matches!(server, Server::Pppd | Server::Xl2tpd) {
            options.pppd
        } else {
            u32::MAX
        };
        for &count in options.sessions.iter().filter(|&&count| count <= limit) {
            let figures = come_up(server, count, programs)
                .with_context(|| format!("{count} sessions with {}", server.name()))?;
            eprintln!("{} {count}: {figures}", server.name());
            setup.insert(format!("{}_{count}", server.name()), figures);
        }
    }
    let tcp = throughput(programs)?;
    println!("{}", json!({ "setup": setup, "tcp_to_veth": tcp }));
    Ok(())
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
fn come_up(who: Server, count: u32, programs: &Path) -> Result<Value> {
    let bed = Bed::new()?;
    let folder = tempfile::tempdir_in("/run")?;
    let mut lns = server(who, &bed, folder.path(), programs)?;
    let pid = lns.pid();
    let before = Costs::of(pid)?;
    let sessions: String = (0..count)
        .map(|i| {
            format!(
                "session create tunnel_name=t session_name=s{i} user_name={USER} user_password={PASSWORD}\n"
            )
        })
        .collect();
    let configuration = format!(
        "tunnel create tunnel_name=t dest_ipaddr={}\n{sessions}",
        netns::LNS
    );
    let mut command = Ours::command(programs, folder.path(), "lac", &configuration)?;
    command.args(["--datapath", "null"]);
    let began = Instant::now();
    let mut lac = Ours::run(command, programs, &bed.lac, folder.path(), "lac")?;
    let up = until(PATIENCE, "every session is up", || {
        std::thread::sleep(Duration::from_millis(100));
        let status = lac.query(&["system", "show"])?;
        let up = status["sessions_established"].as_u64() == Some(count.into());
        Ok(up.then(|| began.elapsed().as_secs_f64()))
    })
    .with_context(|| format!("LAC:\n{}LNS:\n{}", last(&lac.log()), last(&lns.log())))?;
    let after = Costs::of(pid)?;
    let count = f64::from(count);
    let figures = json!({
        "a_second": (count / up).round(),
        "cpu_ms_a_session": ((after.cpu_ms - before.cpu_ms) / count * 10.0).round() / 10.0,
        "private_kib_a_session": ((after.private_kib - before.private_kib) / count * 10.0).round() / 10.0,
        "kernel_kib_a_session": ((after.kernel_kib - before.kernel_kib) / count * 10.0).round() / 10.0,
    });
    lac.shut_down()?;
    lns.shut_down()?;
    Ok(figures)
}

fn last(log: &str) -> String {
    let lines: Vec<_> = log.lines().rev().take(20).collect();
    lines
        .into_iter()
        .rev()
        .flat_map(|line| [line, "\n"])
        .collect()
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

/// TCP through one session, as a part of what goes through the wire without one.
fn throughput(programs: &Path) -> Result<Value> {
    let mut ratios = serde_json::Map::new();
    for who in Server::ALL {
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
        // The machine is one process of a host that does other things too: what it can do is its best of three.
        let mut best = [0.0_f64; 2];
        for _ in 0..3 {
            for (rate, target) in best.iter_mut().zip([netns::LNS, INNER_LNS]) {
                *rate = rate.max(transfer(&bed, target, TRANSFER)?);
            }
        }
        let [plain, through] = best;
        eprintln!("{}: {through:.0} of {plain:.0} Mbit/s", who.name());
        ratios.insert(
            who.name().to_owned(),
            json!((through / plain * 100.0).round() / 100.0),
        );
        lac.shut_down()?;
        lns.shut_down()?;
    }
    Ok(ratios.into())
}
