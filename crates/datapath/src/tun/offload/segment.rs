//! A packet that stands for many, cut into those: TCP (RFC 9293) at the places where its sequence numbers are, UDP into datagrams.

use super::super::packet::Layer;
use super::checksum::{self, finish, finish_transport, word};
use super::{PacketHeader, Transport};

/// TCP's flags in octet 13 that only the last segment has: FIN and PSH.
const ONLY_LAST: u8 = 0x01 | 0x08;
/// The flag that only the first has: CWR (RFC 3168 section 6.1.2).
const ONLY_FIRST: u8 = 0x80;

/// What the segments of a packet have in common.
#[derive(Clone, Copy)]
struct Whole<'a> {
    layer: Layer,
    transport: Transport,
    headers: &'a [u8],
    /// Where the transport header is.
    start: usize,
    /// Octets of payload in each but the last.
    size: usize,
    /// The sum of what all their IPv4 headers say alike.
    ip: u64,
    /// The same of the pseudo header and the transport header.
    same: u64,
}

/// The segments of a packet.
pub(in super::super) struct Segments<'a> {
    whole: Whole<'a>,
    payload: &'a [u8],
    /// How many there were.
    index: usize,
}

impl<'a> Segments<'a> {
    /// None if the packet is not what its header says.
    pub(in super::super) fn of(
        header: PacketHeader,
        layer: Layer,
        packet: &'a [u8],
    ) -> Option<Self> {
        let (partial, oversized) = (header.partial?, header.oversized?);
        let (start, size) = (usize::from(partial.start), usize::from(oversized.segment));
        let least = match layer {
            Layer::Ipv4 => usize::from(packet.first()? & 15) * 4,
            Layer::Ipv6 => 40,
        };
        let transport = oversized.transport;
        let of_transport = packet.get(start..)?;
        let headers = start + transport.header_len(of_transport)?;
        let place = transport.checksum_offset();
        if start < least || least < 20 || size == 0 || usize::from(partial.offset) != place {
            return None;
        }
        let said = of_transport.get(place..place + 2)?;
        // The kernel's part has the length of all, too.
        let pseudo = without(checksum::sum(said), word(of_transport.len() as u16));
        let (headers, payload) = packet.split_at(headers);
        let (ip, of_transport) = headers.split_at(start);
        let ip = common(ip, &[2, 4, 10]);
        let differ: &[usize] = match transport {
            Transport::Tcp => &[4, 6, 12, 16],
            Transport::Udp => &[4, 6],
        };
        let whole = Whole {
            layer,
            transport,
            headers,
            start,
            size,
            ip,
            same: pseudo + common(of_transport, differ),
        };
        Some(Self {
            whole,
            payload,
            index: 0,
        })
    }
}

/// A sum without a word that is in it: adding its complement takes it away.
fn without(sum: u64, word: u64) -> u64 {
    sum + (0xffff - u64::from(checksum::fold(word)))
}

/// The sum of a header without the words at these places, in which segments differ.
fn common(header: &[u8], places: &[usize]) -> u64 {
    let differ = places.iter().filter_map(|&at| header.get(at..at + 2));
    differ.fold(checksum::sum(header), |sum, word| {
        without(sum, checksum::sum(word))
    })
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        if self.payload.is_empty() {
            return None;
        }
        let size = self.whole.size.min(self.payload.len());
        let (payload, rest) = self.payload.split_at(size);
        self.payload = rest;
        let index = self.index;
        self.index += 1;
        Some(Segment {
            whole: self.whole,
            payload,
            index,
            last: rest.is_empty(),
        })
    }
}

/// One packet of those.
pub(in super::super) struct Segment<'a> {
    whole: Whole<'a>,
    payload: &'a [u8],
    index: usize,
    last: bool,
}

impl Segment<'_> {
    /// Octets of the packet.
    pub(in super::super) fn len(&self) -> usize {
        self.whole.headers.len() + self.payload.len()
    }

    /// Writes the packet behind what `out` has.
    pub(in super::super) fn write(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(self.whole.headers);
        out.extend_from_slice(self.payload);
        let (ip, transport) = out[at..].split_at_mut(self.whole.start);
        self.number(ip);
        let len = transport.len() as u16;
        let mut sum = self.whole.same + word(len) + checksum::sum(self.payload);
        match self.whole.transport {
            Transport::Tcp => {
                let field = [transport[4], transport[5], transport[6], transport[7]];
                let before = (self.index * self.whole.size) as u32;
                let sequence = u32::from_be_bytes(field).wrapping_add(before);
                transport[4..8].copy_from_slice(&sequence.to_be_bytes());
                transport[13] &= !if self.last { 0 } else { ONLY_LAST };
                transport[13] &= !if self.index == 0 { 0 } else { ONLY_FIRST };
                sum += word((sequence >> 16) as u16) + word(sequence as u16);
                sum += word(u16::from_be_bytes([transport[12], transport[13]]));
            }
            Transport::Udp => {
                transport[4..6].copy_from_slice(&len.to_be_bytes());
                sum += word(len);
            }
        }
        let place = self.whole.transport.checksum_offset();
        transport[place..place + 2].copy_from_slice(&finish_transport(sum));
    }

    /// Writes lengths, an IPv4 packet's number and its header's checksum.
    fn number(&self, ip: &mut [u8]) {
        let len = self.len() as u16;
        match self.whole.layer {
            Layer::Ipv4 => {
                ip[2..4].copy_from_slice(&len.to_be_bytes());
                let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(self.index as u16);
                ip[4..6].copy_from_slice(&id.to_be_bytes());
                let sum = self.whole.ip + word(len) + word(id);
                ip[10..12].copy_from_slice(&finish(sum));
            }
            Layer::Ipv6 => ip[4..6].copy_from_slice(&(len - 40).to_be_bytes()),
        }
    }
}
