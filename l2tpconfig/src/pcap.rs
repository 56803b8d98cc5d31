//! Files that Wireshark opens: pcapng of control messages, each in the Ethernet, IP and UDP headers that it may have had, and of packets of sessions.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use api::{CapturedPacket, Direction, TraceEvent};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapError};

/// Ethernet types.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// IP's number of UDP.
const UDP: u8 = 17;
/// Octets of a UDP header.
const UDP_HEADER: usize = 8;

/// A file that grows by whole packets: it can be read at any time.
pub(crate) struct Capture {
    writer: PcapNgWriter<File>,
}

impl Capture {
    /// An empty file, in place of what was there.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        let mut writer = PcapNgWriter::new(file).map_err(io::Error::other)?;
        let interface = interface(DataLink::ETHERNET);
        writer
            .write_pcapng_block(interface)
            .map_err(io::Error::other)?;
        Ok(Self { writer })
    }

    /// One more packet, if the event is a control message.
    pub(crate) fn add(&mut self, event: &TraceEvent) -> io::Result<()> {
        let Some(payload) = event.payload() else {
            return Ok(());
        };
        let Some(packet) = packet(event.from, event.to, &payload) else {
            return Ok(());
        };
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_micros(event.time),
            original_len: length,
            data: Cow::Owned(packet),
            options: vec![],
        };
        self.writer
            .write_pcapng_block(block)
            .map(drop)
            .map_err(io::Error::other)
    }
}

/// Packets of a session as pcapng, each as raw IP with its direction.
pub(crate) struct Packets<W: Write> {
    writer: PcapNgWriter<W>,
}

/// Directions in the flags of a packet (draft-ietf-opsawg-pcapng section 4.3.1).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

impl<W: Write> Packets<W> {
    /// No packets yet.
    pub(crate) fn begin(out: W) -> io::Result<Self> {
        let mut writer = PcapNgWriter::new(out).map_err(io::Error::other)?;
        let interface = interface(DataLink::RAW);
        writer
            .write_pcapng_block(interface)
            .map_err(io::Error::other)?;
        writer.get_mut().flush()?;
        Ok(Self { writer })
    }

    /// One more packet; whoever reads has it at once.
    pub(crate) fn add(&mut self, packet: &CapturedPacket) -> io::Result<()> {
        let octets = packet.packet();
        let octets = octets.ok_or_else(|| io::Error::other("octets are no digits"))?;
        let direction = match packet.direction {
            Direction::Received => INBOUND,
            Direction::Sent => OUTBOUND,
        };
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_micros(packet.time),
            original_len: u32::try_from(octets.len()).unwrap_or(u32::MAX),
            data: Cow::Owned(octets),
            options: vec![
                EnhancedPacketOption::Flags(direction),
                EnhancedPacketOption::DropCount(packet.lost),
            ],
        };
        match self.writer.write_pcapng_block(block) {
            Ok(_) => self.writer.get_mut().flush(),
            Err(PcapError::IoError(error)) => Err(error),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// What packets of this kind come from. Their times are nanoseconds, as the writer of blocks writes them whatever is said here.
fn interface(linktype: DataLink) -> InterfaceDescriptionBlock<'static> {
    InterfaceDescriptionBlock {
        linktype,
        snaplen: 0,
        options: vec![InterfaceDescriptionOption::IfTsResol(9)],
    }
}

/// A datagram in its headers; none if it is too long for them.
fn packet(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let (kind, ip, pseudo) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let addresses = [from.octets(), to.octets()].concat();
            (IPV4, ipv4_header(&addresses, length)?, addresses)
        }
        (from, to) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            let addresses = [octets(from), octets(to)].concat();
            (IPV6, ipv6_header(&addresses, length), addresses)
        }
    };
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    let mut udp = [&ports[..], &length.to_be_bytes(), &[0, 0], payload].concat();
    // RFC 768: a zero would mean that there is none. RFC 8200 section 8.1 has the same sum.
    let pseudo = [&pseudo[..], &[0, UDP], &length.to_be_bytes()].concat();
    let sum = match checksum(&[&pseudo, &udp]) {
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    let ethernet = [&mac(to.ip())[..], &mac(from.ip()), &kind.to_be_bytes()].concat();
    Some([ethernet, ip, udp].concat())
}

/// RFC 791 section 3.1.
fn ipv4_header(addresses: &[u8], length: u16) -> Option<Vec<u8>> {
    let total = length.checked_add(20)?.to_be_bytes();
    let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, UDP, 0, 0];
    header.extend_from_slice(addresses);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    Some(header)
}

/// RFC 8200 section 3.
fn ipv6_header(addresses: &[u8], length: u16) -> Vec<u8> {
    let length = length.to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, length[0], length[1], UDP, 64];
    header.extend_from_slice(addresses);
    header
}

/// A locally administered address that tells the two ends apart.
fn mac(ip: IpAddr) -> [u8; 6] {
    let last = match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            [a, b, c, d]
        }
    };
    [2, 0, last[0], last[1], last[2], last[3]]
}

/// The Internet checksum (RFC 1071) of parts of which all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Of 16 bits by now.
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_sum_up() {
        for (from, to) in [
            ("192.0.2.1:1701", "192.0.2.2:40000"),
            ("[2001:db8::1]:1701", "[2001:db8::2]:1"),
        ] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let packet = packet(from, to, b"odd").unwrap();
            let (ip, addresses) = match from.ip() {
                IpAddr::V4(_) => (20, 26..34),
                IpAddr::V6(_) => (40, 22..54),
            };
            if ip == 20 {
                assert_eq!(checksum(&[&packet[14..34]]), 0);
            }
            let udp = &packet[14 + ip..];
            let pseudo = [&packet[addresses], &[0, UDP, 0, 11]].concat();
            assert_eq!(checksum(&[&pseudo, udp]), 0);
            assert_eq!(&udp[8..], b"odd");
        }
    }

    #[test]
    fn what_no_datagram_can_be_is_left_out() {
        let address = "192.0.2.1:1701".parse().unwrap();
        assert!(packet(address, address, &[0; 65_535 - 28]).is_some());
        assert!(packet(address, address, &[0; 65_536 - 28]).is_none());
    }
}
