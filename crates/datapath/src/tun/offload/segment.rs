//! A packet that stands for many, cut into those: TCP (RFC 9293) at the places where its sequence numbers are, UDP into datagrams.

use super::super::packet::Layer;
use super::checksum::{self, finish, finish_transport, word};
use super::{PacketHeader, Transport};

/// TCP's flags in octet 13 that only the last segment has: FIN and PSH.
const ONLY_LAST: u8 = 0x01 | 0x08;
/// The flag that only the first has: CWR (RFC 3168 section 6.1.2).
const ONLY_FIRST: u8 = 0x80;

/// The segments of a packet.
pub(in super::super) struct Segments<'a> {
    layer: Layer,
    transport: Transport,
    headers: &'a [u8],
    /// Where the transport header is.
    start: usize,
    payload: &'a [u8],
    size: usize,
    /// The sum of the pseudo header without a length.
    pseudo: u64,
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
        let of_transport = packet.get(start..)?;
        let headers = start + oversized.transport.header_len(of_transport)?;
        let place = oversized.transport.checksum_offset();
        if start < least || least < 20 || size == 0 || usize::from(partial.offset) != place {
            return None;
        }
        let said = of_transport.get(place..place + 2)?;
        let (headers, payload) = packet.split_at(headers);
        Some(Self {
            layer,
            transport: oversized.transport,
            headers,
            start,
            payload,
            size,
            // The kernel's part has the length of all; taking one's complement away is adding what is not there.
            pseudo: checksum::sum(said)
                + (0xffff - u64::from(checksum::fold(word(of_transport.len() as u16)))),
            index: 0,
        })
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        if self.payload.is_empty() {
            return None;
        }
        let (payload, rest) = self.payload.split_at(self.size.min(self.payload.len()));
        self.payload = rest;
        let index = self.index;
        self.index += 1;
        Some(Segment {
            layer: self.layer,
            transport: self.transport,
            headers: self.headers,
            start: self.start,
            payload,
            pseudo: self.pseudo,
            index,
            before: index * self.size,
            last: rest.is_empty(),
        })
    }
}

/// One packet of those.
pub(in super::super) struct Segment<'a> {
    layer: Layer,
    transport: Transport,
    headers: &'a [u8],
    start: usize,
    payload: &'a [u8],
    pseudo: u64,
    index: usize,
    /// Octets of payload before it.
    before: usize,
    last: bool,
}

impl Segment<'_> {
    /// Octets of the packet.
    pub(in super::super) fn len(&self) -> usize {
        self.headers.len() + self.payload.len()
    }

    /// Writes the packet behind what `out` has.
    pub(in super::super) fn write(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(self.headers);
        out.extend_from_slice(self.payload);
        let (ip, transport) = out[at..].split_at_mut(self.start);
        self.number(ip);
        let len = transport.len() as u16;
        match self.transport {
            Transport::Tcp => {
                let field = [transport[4], transport[5], transport[6], transport[7]];
                let sequence = u32::from_be_bytes(field).wrapping_add(self.before as u32);
                transport[4..8].copy_from_slice(&sequence.to_be_bytes());
                transport[13] &= !if self.last { 0 } else { ONLY_LAST };
                transport[13] &= !if self.index == 0 { 0 } else { ONLY_FIRST };
            }
            Transport::Udp => transport[4..6].copy_from_slice(&len.to_be_bytes()),
        }
        let place = self.transport.checksum_offset();
        transport[place..place + 2].fill(0);
        let sum = self.pseudo + word(len) + checksum::sum(transport);
        transport[place..place + 2].copy_from_slice(&finish_transport(sum));
    }

    /// Writes lengths, an IPv4 packet's number and its header's checksum.
    fn number(&self, ip: &mut [u8]) {
        let len = self.len() as u16;
        match self.layer {
            Layer::Ipv4 => {
                ip[2..4].copy_from_slice(&len.to_be_bytes());
                let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(self.index as u16);
                ip[4..6].copy_from_slice(&id.to_be_bytes());
                ip[10..12].fill(0);
                let checksum = finish(checksum::sum(ip));
                ip[10..12].copy_from_slice(&checksum);
            }
            Layer::Ipv6 => ip[4..6].copy_from_slice(&(len - 40).to_be_bytes()),
        }
    }
}
