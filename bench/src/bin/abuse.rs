//! What one who forges SCCRQs, or asks for tunnels without end, costs a daemon on its shipped defaults, over real UDP on loopback: octets that its
//! victim is sent, memory, processor time; and how long a legitimate tunnel takes meanwhile.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result};
use bench::daemon::Daemon;
use bench::{sccrq, timed};

const WATCHED: Duration = Duration::from_secs(75);

/// Octets of UDP payload that come back in [`WATCHED`] for one SCCRQ that is never answered, as a multiple of its own.
fn ratio(daemon: &Daemon, host_name: &[u8], more: bool) -> Result<(usize, usize)> {
    let socket = UdpSocket::bind("127.0.0.9:0")?;
    let request = sccrq(77, host_name, more)?;
    socket.send_to(&request, daemon.address())?;
    let mut back = 0;
    let mut buffer = [0; 2048];
    let end = bench::after(WATCHED);
    while let Some(left) = bench::until(end) {
        socket.set_read_timeout(Some(left))?;
        back += socket.recv(&mut buffer).unwrap_or(0);
    }
    Ok((request.len(), back))
}

/// Opens a tunnel properly; how long it took.
fn legitimate(daemon: &Daemon, number: u16) -> Result<Duration> {
    let socket = UdpSocket::bind("127.0.0.77:0")?;
    socket.connect(daemon.address())?;
    socket.set_read_timeout(Some(Duration::from_millis(1000)))?;
    let (took, done) = timed(|| bench::open_tunnel(&socket, 5_000 + number));
    done.map(|_| took)
}

/// What so many SCCRQs from so many ports (of addresses 127.1.x.y, `ports_each` on each) did: memory in octets, processor seconds, and the
/// slowest legitimate tunnel; and the datagrams that were lost, the flood's or others, at the socket and on the way to the engine.
struct Flood {
    grown: i64,
    processor: f64,
    slowest: Duration,
    lost: (u64, u64),
}

fn flood(count: usize, ports: usize, ports_each: usize) -> Result<Flood> {
    let daemon = Daemon::start("127.0.0.1:17091", "")?;
    legitimate(&daemon, 0)?;
    let (memory, processor) = (daemon.memory()?, daemon.processor()?);
    let sockets: Vec<UdpSocket> = (0..ports)
        .map(|n| {
            let host = n / ports_each;
            let host = [127, 1, (host / 250) as u8, (host % 250 + 1) as u8];
            UdpSocket::bind(std::net::SocketAddr::from((host, 0)))
        })
        .collect::<Result<_, _>>()?;
    let mut slowest = Duration::ZERO;
    let mut peak = memory;
    for n in 0..count {
        let request = sccrq((n / ports + 1) as u16, b"flood", true)?;
        sockets[n % ports].send_to(&request, daemon.address())?;
        if n % (count / 10) == count / 10 - 1 {
            slowest = slowest.max(legitimate(&daemon, (n / (count / 10) + 1) as u16)?);
            peak = peak.max(daemon.memory()?);
        }
    }
    bench::pause(Duration::from_secs(2));
    peak = peak.max(daemon.memory()?);
    Ok(Flood {
        grown: peak as i64 - memory as i64,
        processor: daemon.processor()? - processor,
        slowest,
        lost: daemon.lost()?,
    })
}

fn main() -> Result<()> {
    let daemon = Daemon::start("127.0.0.1:17090", "")?;
    let (usual, minimal) = std::thread::scope(|scope| {
        let minimal = scope.spawn(|| ratio(&daemon, b"h", false));
        let usual = ratio(&daemon, b"lac.example.net", true);
        (usual, minimal.join())
    });
    let (usual, minimal) = (usual?, minimal.ok().context("a thread panicked")??);
    drop(daemon);
    let few = flood(5_000, 50, 50)?;
    let many = flood(50_000, 1_000, 10)?;
    let round = |x: f64| (x * 100.0).round() / 100.0;
    let line = serde_json::json!({
        "bench": "abuse",
        "ratio": round(usual.1 as f64 / usual.0 as f64),
        "octets_sent": usual.0,
        "octets_back": usual.1,
        "ratio_of_minimal": round(minimal.1 as f64 / minimal.0 as f64),
        "minimal_octets_sent": minimal.0,
        "minimal_octets_back": minimal.1,
        "seconds_watched": WATCHED.as_secs(),
        "half_open_5000_of_50_ports": report(&few),
        "half_open_50000_of_1000_ports": report(&many),
    });
    println!("{line}");
    Ok(())
}

fn report(flood: &Flood) -> serde_json::Value {
    serde_json::json!({
        "memory_grown_kib": flood.grown / 1024,
        "processor_seconds": (flood.processor * 1000.0).round() / 1000.0,
        "lost_at_socket": flood.lost.0,
        "lost_in_backlog": flood.lost.1,
        "slowest_legitimate_tunnel_ms": (flood.slowest.as_secs_f64() * 10_000.0).round() / 10.0,
    })
}
