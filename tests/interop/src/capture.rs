//! What crosses the underlay: recorded by tcpdump, read back here.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use pcap_file::pcap::PcapReader;
use rustix::process::Signal;

use crate::netns::{Namespace, UNDERLAY};
use crate::process::Process;
use crate::until;

/// The UDP port of L2TP (RFC 2661 section 8.1).
pub const L2TP_PORT: u16 = 1701;

/// How long the kernel may hold packets back to hand over many at once, and a little more.
const BATCH: Duration = Duration::from_millis(1200);

/// What a capture records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every frame; in the file when the capture has ended, which keeps up with many of them.
    All,
    /// L2TP's control messages only; each is in the file as soon as it was seen.
    Control,
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Process,
    file: PathBuf,
    extent: Extent,
}

impl Capture {
    /// Starts recording what crosses the underlay of `namespace` into `file`; returns when it listens.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn start(namespace: &Namespace, file: &Path, extent: Extent) -> Result<Self> {
        let mut command = Command::new("tcpdump");
        // The headers tell what a frame is; the buffer holds what a fast transfer sends while tcpdump does not run.
        // -Z root: it would otherwise give up its privilege, and with it the right to write the file.
        command
            .args([
                "-n", "-i", UNDERLAY, "-B", "65536", "-s", "96", "-Z", "root", "-w",
            ])
            .arg(file);
        if extent == Extent::Control {
            command.args(["-U", "--immediate-mode"]);
            command.arg(format!("udp port {L2TP_PORT} and udp[8] & 0x80 != 0"));
        }
        let tcpdump = Process::spawn(namespace, command, &file.with_extension("tcpdump.log"))?;
        until(Duration::from_secs(20), "tcpdump listens", || {
            Ok(tcpdump.log().contains("listening on").then_some(()))
        })?;
        Ok(Self {
            tcpdump,
            file: file.to_owned(),
            extent,
        })
    }

    /// Ends the capture and reads it.
    ///
    /// # Errors
    /// tcpdump does not end, or its file cannot be read.
    pub fn finish(mut self) -> Result<Recording> {
        if self.extent == Extent::All {
            std::thread::sleep(BATCH);
        }
        self.tcpdump.signal(Signal::INT)?;
        self.tcpdump.wait(Duration::from_secs(20))?;
        let log = self.tcpdump.log();
        let count = |what: &str| {
            log.lines()
                .find_map(|line| line.strip_suffix(what)?.trim().parse::<u64>().ok())
        };
        let received =
            count("packets received by filter").context("tcpdump does not say what it received")?;
        let recording = self.so_far()?;
        Ok(Recording {
            missed: received.saturating_sub(recording.packets.len() as u64),
            ..recording
        })
    }

    /// Waits until `what` was seen: tcpdump may be behind the daemons.
    ///
    /// # Errors
    /// It was not seen; the control messages that were are in the error.
    pub fn wait_for(&self, what: &str, seen: impl Fn(&Recording) -> bool) -> Result<()> {
        until(Duration::from_secs(10), what, || {
            Ok(seen(&self.so_far()?).then_some(()))
        })
        .with_context(|| format!("control messages on the underlay:\n{}", self.ladder()))
    }

    /// The control messages so far as a person reads them, for the report of a failure.
    pub fn ladder(&self) -> String {
        self.so_far()
            .map_or_else(|error| error.to_string(), |recording| recording.ladder())
    }

    /// What was recorded so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn so_far(&self) -> Result<Recording> {
        let mut reader = PcapReader::new(File::open(&self.file)?)?;
        let mut packets = Vec::new();
        // A capture that is still being written may end in the middle of a packet.
        // The reader's own notion of a packet allows none that was cut short.
        while let Some(Ok(packet)) = reader.next_raw_packet() {
            packets.push(Packet {
                at: Duration::new(packet.ts_sec.into(), packet.ts_frac.saturating_mul(1000)),
                length: packet.orig_len.into(),
                kind: classify(&packet.data).unwrap_or(Kind::Other),
            });
        }
        Ok(Recording { packets, missed: 0 })
    }
}

/// What a capture saw.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Every frame, in order.
    pub packets: Vec<Packet>,
    /// How many more there were, that tcpdump was too slow for. Known when the capture has ended.
    pub missed: u64,
}

impl Recording {
    /// The control messages, in order.
    pub fn controls(&self) -> impl Iterator<Item = Sent> + '_ {
        self.packets.iter().filter_map(|packet| match packet.kind {
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
    pub fn acknowledged(&self, from: Ipv4Addr, message: u16) -> bool {
        let mut sent = None;
        for Sent {
            from: sender,
            control,
            ..
        } in self.controls()
        {
            if *sender.ip() == from {
                if control.message == Some(message) {
                    sent = Some(control.ns);
                }
            } else if sent.is_some_and(|ns| acknowledges(control.nr, ns)) {
                return true;
            }
        }
        false
    }

    /// Whether somebody sent a `message`.
    pub fn has(&self, message: u16) -> bool {
        self.controls()
            .any(|sent| sent.control.message == Some(message))
    }

    /// The sequence numbers of the data messages that `from` sent, in order; none for one without.
    pub fn numbers(&self, from: Ipv4Addr) -> Vec<Option<u16>> {
        let number = |packet: &Packet| match packet.kind {
            Kind::L2tp {
                from: sender,
                data: Some(data),
                ..
            } if *sender.ip() == from => Some(data.ns),
            _ => None,
        };
        self.packets.iter().filter_map(number).collect()
    }

    /// How many data messages that `from` sent carried frames of each PPP protocol.
    pub fn protocols(&self, from: Ipv4Addr) -> BTreeMap<u16, usize> {
        let mut counts = BTreeMap::new();
        for packet in &self.packets {
            if let Kind::L2tp {
                from: sender,
                data: Some(data),
                ..
            } = packet.kind
                && *sender.ip() == from
                && let Some(protocol) = data.protocol
            {
                *counts.entry(protocol).or_default() += 1;
            }
        }
        counts
    }

    /// Octets of the frames that crossed the underlay outside UDP port 1701, ARP aside.
    pub fn octets_outside(&self) -> u64 {
        self.packets
            .iter()
            .filter(|packet| packet.kind == Kind::Other)
            .map(|packet| packet.length)
            .sum()
    }

    fn ladder(&self) -> String {
        let start = self
            .packets
            .first()
            .map_or(Duration::ZERO, |packet| packet.at);
        self.controls()
            .map(|Sent { at, from, control }| {
                format!(
                    "{:8.3}  {:<16} {control}\n",
                    (at - start).as_secs_f64(),
                    from.to_string()
                )
            })
            .collect()
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
        /// The header, when it is a data message.
        data: Option<Data>,
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

/// What is looked at of a data message's header (RFC 2661 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// Its sequence number, when it has one.
    pub ns: Option<u16>,
    /// The protocol of the PPP frame in it, if there is one.
    pub protocol: Option<u16>,
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

/// Whether a message with this Nr says that its sender has the one numbered `ns`, and all before it: sequence numbers
/// are compared modulo 65536 (RFC 2661 section 5.8).
fn acknowledges(nr: u16, ns: u16) -> bool {
    (1..=0x8000).contains(&nr.wrapping_sub(ns))
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
        data: data(udp.get(8..)?),
    })
}

/// Reads a data message's header, like [`control`].
fn data(message: &[u8]) -> Option<Data> {
    const TYPE: u16 = 0x8000;
    const LENGTH: u16 = 0x4000;
    const SEQUENCE: u16 = 0x0800;
    let flags = u16_at(message, 0)?;
    if flags & TYPE != 0 || flags & 0x0f != 2 {
        return None;
    }
    let numbers = if flags & LENGTH != 0 { 8 } else { 6 };
    let (ns, frame) = match flags & SEQUENCE {
        0 => (None, numbers),
        _ => (Some(u16_at(message, numbers)?), numbers + 4),
    };
    let frame = message.get(frame..).unwrap_or_default();
    let frame = frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame);
    let protocol = match frame {
        [short, ..] if short & 1 == 1 => Some(u16::from(*short)),
        _ => u16_at(frame, 0),
    };
    Some(Data { ns, protocol })
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

#[cfg(test)]
mod tests {
    use super::*;

    const LAC: [u8; 4] = [10, 99, 0, 1];
    const LNS: [u8; 4] = [10, 99, 0, 2];

    fn frame(from: [u8; 4], to: [u8; 4], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        frame.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend([from, to].concat());
        frame.extend(ports.map(u16::to_be_bytes).concat());
        frame.extend([0; 4]);
        frame.extend(payload);
        frame
    }

    fn control(from: [u8; 4], to: [u8; 4], message: &[u8], ns: u8, nr: u8) -> Packet {
        let mut payload = vec![0xc8, 0x02, 0, 0, 0, 7, 0, 0, 0, ns, 0, nr];
        payload.extend(message);
        let frame = frame(from, to, [50_000, L2TP_PORT], &payload);
        Packet {
            at: Duration::ZERO,
            length: frame.len() as u64,
            kind: classify(&frame).unwrap(),
        }
    }

    #[test]
    fn frames_are_told_apart() {
        let data = frame(
            LAC,
            LNS,
            [1701, 50_000],
            &[0x00, 0x02, 0, 7, 0, 9, 0xff, 0x03],
        );
        assert!(matches!(
            classify(&data),
            Some(Kind::L2tp { control: None, .. })
        ));
        let mut arp = data.clone();
        arp[13] = 0x06;
        assert_eq!(classify(&arp), Some(Kind::Arp));
        let mut fragment = data.clone();
        fragment[21] = 0x10;
        assert_eq!(classify(&fragment), None);
        assert_eq!(classify(&frame(LAC, LNS, [1702, 50_000], &[])), None);
        for length in 0..data.len() {
            // Too short to say its ports: not inside. Long enough: no control message.
            assert_ne!(classify(&data[..length]), Some(Kind::Arp));
        }
    }

    #[test]
    fn sequence_numbers_of_data_messages_are_found() {
        let with_length = [0x48, 0x02, 0, 14, 0, 7, 0, 9, 1, 2, 0, 0, 0xff, 0x03];
        let without = [0x08, 0x02, 0, 7, 0, 9, 1, 3, 0, 0, 0xff, 0x03];
        let packets = [&[0, 2, 0, 7, 0, 9, 0xff, 3][..], &with_length, &without];
        let packet = |message: &&[u8]| Packet {
            at: Duration::ZERO,
            length: 0,
            kind: classify(&frame(LAC, LNS, [1701, 1701], message)).unwrap(),
        };
        let mut packets: Vec<Packet> = packets.iter().map(packet).collect();
        packets.push(control(LAC, LNS, &[], 2, 4));
        let recording = Recording { packets, missed: 0 };
        let numbers = recording.numbers(LAC.into());
        assert_eq!(numbers, [None, Some(0x0102), Some(0x0103)]);
        assert_eq!(recording.numbers(LNS.into()), []);
    }

    #[test]
    fn the_protocols_of_data_messages_are_counted() {
        let messages = [
            &[0, 2, 0, 7, 0, 9, 0xff, 3, 0, 0x21, 0x45][..],
            &[0x08, 2, 0, 7, 0, 9, 1, 3, 0, 0, 0xff, 3, 0, 0xfd, 0x90],
            &[0, 2, 0, 7, 0, 9, 0xfd, 0x90, 1],
            &[0, 2, 0, 7, 0, 9],
        ];
        let packet = |message: &&[u8]| Packet {
            at: Duration::ZERO,
            length: 0,
            kind: classify(&frame(LAC, LNS, [1701, 1701], message)).unwrap(),
        };
        let packets = messages.iter().map(packet).collect();
        let recording = Recording { packets, missed: 0 };
        let counted = recording.protocols(LAC.into());
        assert_eq!(counted, BTreeMap::from([(0x21, 1), (0xfd, 2)]));
        assert_eq!(recording.protocols(LNS.into()), BTreeMap::new());
    }

    #[test]
    fn an_end_is_orderly_when_the_other_side_acknowledged_it() {
        const STOP: [u8; 8] = [0x80, 8, 0, 0, 0, 0, 0, 4];
        let stop = control(LAC, LNS, &STOP, 4, 2);
        let early = control(LNS, LAC, &[], 2, 4);
        let zlb = control(LNS, LAC, &[], 2, 5);
        let ended = |packets: &[&Packet]| {
            let packets = packets.iter().copied().cloned().collect();
            Recording { packets, missed: 0 }.acknowledged(LAC.into(), STOP_CCN)
        };
        assert!(ended(&[&stop, &early, &zlb]));
        assert!(ended(&[&stop, &control(LNS, LAC, &[], 2, 6)]));
        assert!(!ended(&[&stop, &early]));
        assert!(!ended(&[&zlb, &stop]));
    }
}
