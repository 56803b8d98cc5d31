//! Small packets through a session: how many of them a second come out at the other end.

use std::fs;
use std::io::IoSlice;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg, setsockopt, sockopt};

use crate::netns::Namespace;

/// Octets of the smallest packets that Ethernet has room for, their IP and UDP headers included.
pub const SMALL: &[usize] = &[64];
/// Of an Internet mix: seven small, four middle, one large, in the order in which they are sent.
pub const IMIX: &[usize] = &[64, 576, 64, 64, 576, 64, 1400, 64, 576, 64, 64, 576];

/// Octets of the IPv4 and the UDP header.
const HEADERS: usize = 28;

/// Packets sent by one system call.
const BATCH: usize = 32;

/// How long packets are sent at one rate.
const SPELL: Duration = Duration::from_millis(700);

/// How long what is on its way may take: it has arrived when nothing came for so long.
const SETTLED: Duration = Duration::from_millis(100);

/// How often the loss-free rate is halved in on.
const STEPS: u32 = 6;

/// Packets a second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// What came out while as many were sent as could be.
    pub delivered: f64,
    /// The highest rate found at which all that were sent came out.
    pub loss_free: f64,
}

/// Sends packets of these lengths in turn, headers included, to `target` in another namespace, and counts those that come to a socket there.
///
/// # Errors
/// A namespace cannot be entered, or a socket not be made.
pub fn flood(
    from: &Namespace,
    to: &Namespace,
    target: Ipv4Addr,
    lengths: &[usize],
) -> Result<Rates> {
    // Nobody reads from it, so that counting costs the machine nothing: what has no room is counted by the kernel.
    let receiver = to.enter(|| Ok(UdpSocket::bind((target, 0))?))?;
    setsockopt(&receiver, sockopt::RcvBuf, &0)?;
    let port = receiver.local_addr()?.port();
    let sender = from.enter(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    sender.connect((target, port))?;
    let arrived = || to.enter(|| drops(port));
    let run = |rate| spell(&sender, lengths, rate, &arrived);
    // Addresses are resolved, and the socket is full.
    run(1000.0)?;
    let (sent, arrived, took) = run(f64::INFINITY)?;
    let delivered = arrived as f64 / took;
    if arrived >= sent {
        let loss_free = delivered;
        return Ok(Rates {
            delivered,
            loss_free,
        });
    }
    let (mut good, mut bad) = (0.0, sent as f64 / took);
    for _ in 0..STEPS {
        let rate = (good + bad) / 2.0;
        let (sent, arrived, took) = run(rate)?;
        if arrived >= sent {
            good = sent as f64 / took;
        } else {
            bad = rate;
        }
        if good >= bad {
            break;
        }
    }
    Ok(Rates {
        delivered,
        loss_free: good,
    })
}

/// Sends for a while: how many packets were sent, how many came, and the seconds of sending.
fn spell(
    sender: &UdpSocket,
    lengths: &[usize],
    rate: f64,
    arrived: &impl Fn() -> Result<u64>,
) -> Result<(u64, u64, f64)> {
    let payload = [0; 1500];
    let in_turn = lengths.iter().cycle().take(BATCH);
    let message = |len: &usize| [IoSlice::new(&payload[..len - HEADERS])];
    let messages: Vec<_> = in_turn.map(message).collect();
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let before = arrived()?;
    let began = Instant::now();
    let mut sent = 0_u64;
    while began.elapsed() < SPELL {
        let due = (began.elapsed().as_secs_f64() * rate) as u64;
        let count = due.saturating_sub(sent).min(BATCH as u64) as usize;
        if count == 0 {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        let (addresses, flags) = (vec![None; count], MsgFlags::empty());
        let descriptor = sender.as_raw_fd();
        match sendmmsg(
            descriptor,
            &mut headers,
            &messages[..count],
            addresses,
            [],
            flags,
        ) {
            Ok(results) => sent += results.count() as u64,
            // The way is full.
            Err(Errno::ENOBUFS | Errno::EAGAIN) => std::thread::yield_now(),
            Err(error) => return Err(error).context("sendmmsg"),
        }
    }
    let took = began.elapsed().as_secs_f64();
    let (mut count, mut since) = (arrived()?, Instant::now());
    while since.elapsed() < SETTLED {
        std::thread::sleep(Duration::from_millis(10));
        let now = arrived()?;
        if now != count {
            (count, since) = (now, Instant::now());
        }
    }
    Ok((sent, count - before, took))
}

/// How many datagrams found no room in the socket at this port (`drops` of `/proc/net/udp`).
fn drops(port: u16) -> Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/udp")?;
    let port = format!(":{port:04X}");
    let its = |line: &&str| {
        let local = line.split_whitespace().nth(1);
        local.is_some_and(|local| local.ends_with(&port))
    };
    let line = table.lines().find(its).context("the socket is gone")?;
    let drops = line.split_whitespace().last().unwrap_or_default();
    drops.parse().context("no number of drops")
}
