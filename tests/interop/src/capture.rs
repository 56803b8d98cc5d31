//! What crosses the underlay: recorded by tcpdump, read back here.

use std::fmt;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use pcap_file::pcap::PcapReader;
use rustix::process::Signal;

use crate::netns::{Namespace, UNDERLAY};
use crate::process::Process;
use crate::until;

/// The UDP port of L2TP (RFC 2661 section 8.1).
pub const L2TP_PORT: u16 = 1701;

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Process,
    file: PathBuf,
}

impl Capture {
    /// Starts recording all that crosses the underlay of `namespace` into `file`; returns when it listens.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn start(namespace: &Namespace, file: &Path) -> Result<Self> {
        let mut command = Command::new("tcpdump");
        // -Z root: it would otherwise give up its privilege, and with it the right to write the file.
        command
            .args([
                "-n",
                "-i",
                UNDERLAY,
                "-U",
                "--immediate-mode",
                "-B",
                "8192",
                "-Z",
                "root",
                "-w",
            ])
            .arg(file);
        let tcpdump = Process::spawn(namespace, command, &file.with_extension("tcpdump.log"))?;
        until(Duration::from_secs(20), "tcpdump listens", || {
            Ok(tcpdump.log().contains("listening on").then_some(()))
        })?;
        Ok(Self {
            tcpdump,
            file: file.to_owned(),
        })
    }

    /// Ends the capture and reads it.
    ///
    /// # Errors
    /// tcpdump does not end, or its file cannot be read.
    pub fn finish(mut self) -> Result<Vec<Packet>> {
        self.tcpdump.signal(Signal::INT)?;
        self.tcpdump.wait(Duration::from_secs(20))?;
        read(&self.file)
    }

    /// What was recorded so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn so_far(&self) -> Result<Vec<Packet>> {
        read(&self.file)
    }
}

/// One frame seen on the underlay.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When, since the epoch.
    pub at: Duration,
    /// Its length on the wire in octets, Ethernet header included.
    pub length: u64,
    /// What it is.
    pub kind: Kind,
}

/// What a frame on the underlay is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Address resolution (RFC 826).
    Arp,
    /// A UDP datagram from or to port 1701.
    L2tp {
        /// Who sent it.
        from: SocketAddrV4,
        /// Who was to have it.
        to: SocketAddrV4,
        /// The message, when it is a control message.
        control: Option<Control>,
    },
    /// Anything else: it does not belong there. A fragment after the first is of this kind too, for it says no ports:
    /// an MTU that makes them is a fault to be found.
    Other,
}

/// The fields of a control message that tell what it is (RFC 2661 sections 3.1 and 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// Message Type AVP; none in a ZLB acknowledgement.
    pub message: Option<u16>,
    /// The receiver's tunnel id.
    pub tunnel: u16,
    /// The receiver's session id.
    pub session: u16,
    /// Sequence number of this message.
    pub ns: u16,
    /// Sequence number that its sender expects next.
    pub nr: u16,
}

/// Stop-Control-Connection-Notification.
pub const STOP_CCN: u16 = 4;
/// Call-Disconnect-Notify.
pub const CDN: u16 = 14;

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 17] = [
            "?", "SCCRQ", "SCCRP", "SCCCN", "StopCCN", "?", "HELLO", "OCRQ", "OCRP", "OCCN",
            "ICRQ", "ICRP", "ICCN", "?", "CDN", "WEN", "SLI",
        ];
        let name = self
            .message
            .map_or("ZLB", |m| NAMES.get(usize::from(m)).copied().unwrap_or("?"));
        write!(
            f,
            "{name} tunnel {} session {} Ns {} Nr {}",
            self.tunnel, self.session, self.ns, self.nr
        )
    }
}

/// Who sent a control message, and what it said.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When, since the epoch.
    pub at: Duration,
    /// The sender's address.
    pub from: SocketAddrV4,
    /// The message.
    pub control: Control,
}

/// The control messages among `packets`, in order.
pub fn controls(packets: &[Packet]) -> impl Iterator<Item = Sent> + '_ {
    packets.iter().filter_map(|packet| match packet.kind {
        Kind::L2tp {
            from,
            control: Some(control),
            ..
        } => Some(Sent {
            at: packet.at,
            from,
            control,
        }),
        _ => None,
    })
}

/// Whether `from` sent a `message` and the other side acknowledged it (RFC 2661 section 5.8).
pub fn acknowledged(packets: &[Packet], from: Ipv4Addr, message: u16) -> bool {
    let mut sent = None;
    for Sent {
        from: sender,
        control,
        ..
    } in controls(packets)
    {
        if *sender.ip() == from {
            if control.message == Some(message) {
                sent = Some(control.ns);
            }
        } else if sent.is_some_and(|ns| control.nr == ns.wrapping_add(1)) {
            return true;
        }
    }
    false
}

/// Octets of the frames that crossed the underlay outside UDP port 1701, ARP aside.
pub fn octets_outside(packets: &[Packet]) -> u64 {
    packets
        .iter()
        .filter(|packet| packet.kind == Kind::Other)
        .map(|packet| packet.length)
        .sum()
}

/// The control messages as a person reads them, for the report of a failure.
pub fn ladder(packets: &[Packet]) -> String {
    let start = packets.first().map_or(Duration::ZERO, |packet| packet.at);
    controls(packets)
        .map(|sent| {
            format!(
                "{:8.3}  {:<16} {}\n",
                (sent.at - start).as_secs_f64(),
                sent.from.to_string(),
                sent.control
            )
        })
        .collect()
}

fn read(file: &Path) -> Result<Vec<Packet>> {
    let mut reader = PcapReader::new(File::open(file)?)?;
    let mut packets = Vec::new();
    // A capture that is still being written may end in the middle of a packet.
    while let Some(Ok(packet)) = reader.next_packet() {
        packets.push(Packet {
            at: packet.timestamp,
            length: packet.orig_len.into(),
            kind: classify(&packet.data).unwrap_or(Kind::Other),
        });
    }
    Ok(packets)
}

/// Looks into an Ethernet frame; none when it is too short for what it says to be.
fn classify(frame: &[u8]) -> Option<Kind> {
    const ETHERNET: usize = 14;
    const UDP: u8 = 17;
    match u16_at(frame, 12)? {
        0x0806 => return Some(Kind::Arp),
        0x0800 => {}
        _ => return None,
    }
    let ip = frame.get(ETHERNET..)?;
    let header = usize::from(ip.first()? & 0x0f) * 4;
    let fragment_offset = u16_at(ip, 6)? & 0x1fff;
    let udp = ip.get(header..)?;
    let address = |at: usize| {
        Some(Ipv4Addr::from(
            <[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?,
        ))
    };
    let from = SocketAddrV4::new(address(12)?, u16_at(udp, 0)?);
    let to = SocketAddrV4::new(address(16)?, u16_at(udp, 2)?);
    if *ip.get(9)? != UDP || fragment_offset != 0 || ![from.port(), to.port()].contains(&L2TP_PORT)
    {
        return None;
    }
    Some(Kind::L2tp {
        from,
        to,
        control: control(udp.get(8..)?),
    })
}

/// Reads a control message's header and its Message Type, which is always the first AVP. This reads the bytes itself
/// rather than with the project's codecs: it is to judge them too.
fn control(message: &[u8]) -> Option<Control> {
    // Type, length and sequence bits set, version 2: every control message has them so.
    if u16_at(message, 0)? & 0xc80f != 0xc802 {
        return None;
    }
    Some(Control {
        message: u16_at(message, 18),
        tunnel: u16_at(message, 4)?,
        session: u16_at(message, 6)?,
        ns: u16_at(message, 8)?,
        nr: u16_at(message, 10)?,
    })
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(octets.get(at..at + 2)?.try_into().ok()?))
}
