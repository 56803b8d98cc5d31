//! What goes through a session: pings and a TCP transfer.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::netns::{Bed, Namespace};
use crate::until;

/// Nothing may move for so long in a transfer.
const STALL: Duration = Duration::from_secs(20);

/// Whether `address` belongs to a device of `namespace` now.
///
/// # Errors
/// The namespace cannot be entered.
pub fn has_address(namespace: &Namespace, address: Ipv4Addr) -> Result<bool> {
    // Only an address of ours can be bound; this costs no process.
    namespace.enter(|| Ok(UdpSocket::bind((address, 0)).is_ok()))
}

/// What `ping` reports.
#[derive(Clone, Debug)]
pub struct Pings {
    /// How many answers came.
    pub received: u32,
    /// All that it printed.
    pub text: String,
}

/// Sends `count` pings from `namespace`.
///
/// # Errors
/// ping cannot be run.
pub fn ping(namespace: &Namespace, target: &str, count: u32) -> Result<Pings> {
    let count = count.to_string();
    let output = namespace.enter(|| {
        let mut ping = Command::new("ping");
        ping.args(["-n", "-i", "0.2", "-W", "5", "-c", &count, target]);
        ping.output().context("cannot run ping")
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let received = text
        .split(", ")
        .find_map(|part| part.strip_suffix(" received"))
        .and_then(|n| n.parse().ok());
    let received = received.with_context(|| {
        format!(
            "ping says: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    Ok(Pings { received, text })
}

/// Sends `octets` from the LAC's side to `target` on the LNS's side, and as many back, and checks each of them.
/// Returns the rate of both in Mbit/s.
///
/// # Errors
/// The connection failed, stalled, or changed what it carried.
pub fn transfer(bed: &Bed, target: Ipv4Addr, octets: usize) -> Result<f64> {
    let listener = bed
        .lns
        .enter(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    let target = SocketAddr::new(target.into(), listener.local_addr()?.port());
    let start = Instant::now();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut stream = accept(&listener)?;
            receive(&mut stream, octets).context("from the LAC to the LNS")?;
            send(&mut stream, octets)
        });
        let client = bed.lac.enter(|| {
            let mut stream = connect(target)?;
            limit(&stream)?;
            send(&mut stream, octets)?;
            receive(&mut stream, octets).context("from the LNS to the LAC")
        });
        let server = server
            .join()
            .unwrap_or_else(|_| bail!("the server panicked"));
        server.and(client)
    })
    .context("the TCP transfer")?;
    Ok(octets as f64 * 16.0 / 1e6 / start.elapsed().as_secs_f64())
}

/// pppd gives a device its address before it brings it up: until then there is no way to the other end.
fn connect(target: SocketAddr) -> Result<TcpStream> {
    until(
        STALL,
        "a way to the other end",
        || match TcpStream::connect_timeout(&target, STALL) {
            Ok(stream) => Ok(Some(stream)),
            Err(error) if error.kind() == ErrorKind::NetworkUnreachable => Ok(None),
            Err(error) => Err(error.into()),
        },
    )
}

/// A listener has no time limit of its own; one that is asked again and again has.
fn accept(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let stream = until(STALL, "a TCP connection", || Ok(listener.accept().ok()))?.0;
    stream.set_nonblocking(false)?;
    limit(&stream)?;
    Ok(stream)
}

fn limit(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(STALL))?;
    stream.set_write_timeout(Some(STALL))?;
    Ok(())
}

/// The octet at a place of the stream. The period is prime to every segment size, so that a piece that is lost, doubled
/// or moved shows.
fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

fn send(stream: &mut TcpStream, octets: usize) -> Result<()> {
    let data: Vec<u8> = (0..octets).map(pattern).collect();
    stream.write_all(&data)?;
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}

fn receive(stream: &mut TcpStream, octets: usize) -> Result<()> {
    let mut data = Vec::new();
    stream.read_to_end(&mut data)?;
    ensure!(
        data.len() == octets,
        "{} octets of {octets} came",
        data.len()
    );
    let wrong = data
        .iter()
        .enumerate()
        .find(|&(at, &octet)| octet != pattern(at));
    ensure!(
        wrong.is_none(),
        "the octet at {} is not the one that was sent",
        wrong.map_or(0, |(at, _)| at)
    );
    Ok(())
}
