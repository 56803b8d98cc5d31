//! What is sent, and what arrives.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use interop::until;
use serde_json::Value;

use crate::contender::Way;

/// Who echoes there.
const ECHO: u16 = 7;
/// How long a server that is busy still is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Whatever takes longer is lost.
const LOST: Duration = Duration::from_millis(200);
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the client.
    Up,
    /// To the client.
    Down,
}

impl Direction {
    pub(crate) const ALL: [Self; 2] = [Self::Up, Self::Down];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What TCP carried.
pub(crate) struct Tcp {
    pub(crate) gbit: f64,
    /// Of a second of either CPU's time, whoever used it.
    pub(crate) gbit_a_cpu: f64,
}

pub(crate) fn tcp(way: &Way<'_>, streams: u32, direction: Direction, seconds: u32) -> Result<Tcp> {
    until(PATIENCE, "iperf3 ends well", || {
        let before = busy()?;
        let result = iperf(way, streams, direction, seconds)?;
        let busy = busy()? - before;
        let received = &result["end"]["sum_received"];
        let Some(rate) = received["bits_per_second"].as_f64() else {
            // Busy with the test before, or a packet of its own connection was lost.
            eprintln!("again, as iperf3 says: {}", result["error"]);
            return Ok(None);
        };
        let octets = received["bytes"].as_f64().unwrap_or_default();
        Ok(Some(Tcp {
            gbit: rate / 1e9,
            gbit_a_cpu: octets * 8e-9 / busy.max(0.01),
        }))
    })
}

fn iperf(way: &Way<'_>, streams: u32, direction: Direction, seconds: u32) -> Result<Value> {
    let mut iperf = Command::new("iperf3");
    iperf.args(["--json", "--connect-timeout", "5000"]);
    iperf.args(["--client", &way.address.to_string()]);
    iperf.args(["--time", &seconds.to_string()]);
    iperf.args(["--parallel", &streams.to_string()]);
    if direction == Direction::Down {
        iperf.arg("--reverse");
    }
    let output = way
        .from
        .enter(|| iperf.output().context("cannot run iperf3"))?;
    serde_json::from_slice(&output.stdout).context("iperf3 answers no JSON")
}

/// Seconds that the CPUs have worked.
pub(crate) fn busy() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .map_while(|t| t.parse().ok())
        .collect();
    // User, nice, system; interrupts, soft interrupts.
    Ok([0, 1, 2, 5, 6]
        .iter()
        .filter_map(|&i| ticks.get(i))
        .sum::<f64>()
        / 100.0)
}

/// How long a small packet takes there and back; [`LOST`] where it does not come back.
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// While one TCP stream fills the way.
pub(crate) fn latency_under_load(way: &Way<'_>, seconds: u32) -> Result<Latency> {
    let echo = way.to.enter(|| Ok(UdpSocket::bind(("0.0.0.0", ECHO))?))?;
    echo.set_read_timeout(Some(Duration::from_millis(100)))?;
    let probe = way.from.enter(|| Ok(UdpSocket::bind("0.0.0.0:0")?))?;
    probe.connect(SocketAddr::from((way.address, ECHO)))?;
    probe.set_read_timeout(Some(LOST))?;
    let over = AtomicBool::new(false);
    let mut times = thread::scope(|scope| {
        scope.spawn(|| {
            let mut room = [0; 64];
            while !over.load(Ordering::Relaxed) {
                if let Ok((len, from)) = echo.recv_from(&mut room) {
                    let _ = echo.send_to(&room[..len], from);
                }
            }
        });
        let load = scope.spawn(|| tcp(way, 1, Direction::Up, seconds));
        thread::sleep(Duration::from_millis(300));
        let mut times = Vec::new();
        while !load.is_finished() {
            let (began, mut room) = (Instant::now(), [0; 64]);
            probe.send(&[0; 36])?;
            // One that is lost counts as one that took so long.
            let _ = probe.recv(&mut room);
            times.push(began.elapsed().as_secs_f64() * 1e6);
            thread::sleep(Duration::from_millis(2));
        }
        over.store(true, Ordering::Relaxed);
        Ok::<_, anyhow::Error>(times)
    })?;
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied();
    Ok(Latency {
        p50_us: at(0.5).context("no packet was sent")?,
        p99_us: at(0.99).context("no packet was sent")?,
    })
}
