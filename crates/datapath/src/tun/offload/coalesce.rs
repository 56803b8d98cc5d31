//! Packets from peers that belong together, made one for the host: those of a TCP stream whose sequence numbers follow one another, those of a UDP
//! flow that are equally long.
//!
//! Only what the host would have taken anyway is put together: the checksums of each packet are right, and it says nothing that the others do
//! not. What can't be put together goes by itself, after what came before it in its flow.

use std::io;
use std::sync::Arc;

use super::super::packet::Layer;
use super::super::table::Slot;
use super::checksum::{self, finish, fold};
use super::{Oversized, PacketHeader, Partial, Transport};
use crate::device::{Interface, TunDevice};

/// Flows that are put together at a time.
const FLOWS_MAX: usize = 32;
/// The largest packet of IP that is made.
const PACKET_MAX: usize = 65_535;
/// The most packets that are made one: what a kernel takes apart at once (`UDP_MAX_SEGMENTS`).
const PACKETS_MAX: u32 = 64;

/// TCP's flags, octet 13: what may be put together says ACK, and the last PSH.
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// What packets go to.
pub(in super::super) trait Queue {
    /// Tells it from others.
    fn index(&self) -> u32;
    /// Whether it takes UDP datagrams of a flow in one packet, as it always takes TCP's.
    fn takes_large_udp(&self) -> bool;
    /// Gives it a packet.
    fn write(&self, header: &[u8], packet: &[u8]) -> io::Result<()>;
}

impl Queue for TunDevice {
    fn index(&self) -> u32 {
        Interface::index(self)
    }

    fn takes_large_udp(&self) -> bool {
        self.takes_large_udp()
    }

    fn write(&self, header: &[u8], packet: &[u8]) -> io::Result<()> {
        self.write(header, packet)
    }
}

/// What became of packets of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Delivered {
    pub(in super::super) slot: Slot,
    pub(in super::super) packets: u64,
    pub(in super::super) octets: u64,
    /// Whether the device took them.
    pub(in super::super) taken: bool,
}

/// Packets on their way to devices.
pub(in super::super) struct Coalescer<Q> {
    flows: Vec<Flow<Q>>,
    /// Buffers of flows that are over.
    spare: Vec<Vec<u8>>,
    delivered: Vec<Delivered>,
}

impl<Q> Default for Coalescer<Q> {
    fn default() -> Self {
        Self {
            flows: Vec::new(),
            spare: Vec::new(),
            delivered: Vec::new(),
        }
    }
}

impl<Q: Queue> Coalescer<Q> {
    /// Takes a packet that goes to `device`, of a session.
    pub(in super::super) fn take(
        &mut self,
        device: &Arc<Q>,
        slot: Slot,
        layer: Layer,
        packet: &[u8],
    ) {
        let Some(parts) = Parts::of(layer, packet) else {
            return self.write(device, slot, layer, packet);
        };
        let known =
            |flow: &Flow<Q>| flow.device.index() == device.index() && flow.is_of(&parts, packet);
        let flow = self.flows.iter().position(known);
        let large = parts.transport == Transport::Tcp || device.takes_large_udp();
        let fits = large && parts.may_be_put_together(packet);
        if let Some(at) = flow {
            if fits && self.flows[at].append(&parts, packet) {
                if self.flows[at].full {
                    self.end(at);
                }
                return;
            }
            self.end(at);
        }
        if !fits {
            return self.write(device, slot, layer, packet);
        }
        if self.flows.len() == FLOWS_MAX {
            self.end(0);
        }
        let buffer = self.spare.pop().unwrap_or_default();
        let flow = Flow::begin(Arc::clone(device), slot, parts, packet, buffer);
        self.flows.push(flow);
        if self.flows.last().is_some_and(|flow| flow.full) {
            self.end(self.flows.len() - 1);
        }
    }

    /// Gives everything to the devices, and says what became of all that was taken since the last time.
    pub(in super::super) fn flush(&mut self) -> impl Iterator<Item = Delivered> {
        while !self.flows.is_empty() {
            self.end(0);
        }
        self.delivered.drain(..)
    }

    fn write(&mut self, device: &Q, slot: Slot, layer: Layer, packet: &[u8]) {
        let header = PacketHeader::default().encode(layer);
        self.delivered.push(Delivered {
            slot,
            packets: 1,
            octets: packet.len() as u64,
            taken: device.write(&header, packet).is_ok(),
        });
    }

    fn end(&mut self, at: usize) {
        let mut flow = self.flows.remove(at);
        let header = flow.finish().encode(flow.parts.layer);
        self.delivered.push(Delivered {
            slot: flow.slot,
            packets: flow.packets.into(),
            octets: flow.taken as u64,
            taken: flow.device.write(&header, &flow.octets).is_ok(),
        });
        flow.octets.clear();
        self.spare.push(flow.octets);
    }
}

/// Where the parts of a packet are.
#[derive(Clone, Copy, Debug)]
struct Parts {
    layer: Layer,
    transport: Transport,
    /// Where the transport header begins.
    start: usize,
    /// Where the payload begins.
    payload: usize,
}

impl Parts {
    /// None of what has no flow: neither TCP nor UDP, a fragment, cut short, or with padding behind it.
    fn of(layer: Layer, packet: &[u8]) -> Option<Self> {
        let (protocol, start, said) = match layer {
            Layer::Ipv4 => {
                let said = u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]);
                let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
                if fragment != 0 {
                    return None;
                }
                (
                    *packet.get(9)?,
                    usize::from(packet[0] & 15) * 4,
                    usize::from(said),
                )
            }
            Layer::Ipv6 => {
                let said = u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]);
                (*packet.get(6)?, 40, 40 + usize::from(said))
            }
        };
        let transport = Transport::of(protocol)?;
        if said != packet.len() || start < 20 {
            return None;
        }
        let payload = start + transport.header_len(packet.get(start..)?)?;
        Some(Self {
            layer,
            transport,
            start,
            payload,
        })
    }

    /// Whether a packet may be one of many.
    fn may_be_put_together(&self, packet: &[u8]) -> bool {
        let transport = &packet[self.start..];
        let plain = match self.transport {
            Transport::Tcp => transport[13] & !PSH == ACK,
            Transport::Udp => {
                let len = u16::from_be_bytes([transport[4], transport[5]]);
                usize::from(len) == transport.len() && transport[6..8] != [0, 0]
            }
        };
        let options = self.layer == Layer::Ipv4 && self.start != 20;
        plain && !options && packet.len() > self.payload && self.sums_are_right(packet)
    }

    fn sums_are_right(&self, packet: &[u8]) -> bool {
        let (ip, transport) = packet.split_at(self.start);
        let header = self.layer == Layer::Ipv6 || fold(checksum::sum(ip)) == 0xffff;
        header && fold(self.pseudo_header(ip, transport.len()) + checksum::sum(transport)) == 0xffff
    }

    fn pseudo_header(&self, ip: &[u8], len: usize) -> u64 {
        checksum::pseudo_header(ip, self.layer, self.transport, len)
    }
}

/// Packets that are one by now.
struct Flow<Q> {
    device: Arc<Q>,
    slot: Slot,
    parts: Parts,
    /// The headers of the first and the payload of all.
    octets: Vec<u8>,
    /// Octets of the first's payload.
    segment: usize,
    packets: u32,
    /// Octets of all the packets.
    taken: usize,
    /// Nothing may follow.
    full: bool,
}

impl<Q: Queue> Flow<Q> {
    fn begin(device: Arc<Q>, slot: Slot, parts: Parts, packet: &[u8], mut octets: Vec<u8>) -> Self {
        octets.extend_from_slice(packet);
        Self {
            device,
            slot,
            parts,
            octets,
            segment: packet.len() - parts.payload,
            packets: 1,
            taken: packet.len(),
            full: pushes(&parts, packet),
        }
    }

    /// Whether a packet is of this flow: addresses and ports are the same.
    fn is_of(&self, parts: &Parts, packet: &[u8]) -> bool {
        let addresses = match parts.layer {
            Layer::Ipv4 => 12..20,
            Layer::Ipv6 => 8..40,
        };
        let ports = |start: usize| start..start + 4;
        self.parts.layer == parts.layer
            && self.parts.transport == parts.transport
            && self.octets[addresses.clone()] == packet[addresses]
            && self.octets[ports(self.parts.start)] == packet[ports(parts.start)]
    }

    /// Puts a packet of this flow behind the others, if it may stand there.
    fn append(&mut self, parts: &Parts, packet: &[u8]) -> bool {
        let payload = &packet[parts.payload..];
        let fits = payload.len() <= self.segment
            && self.octets.len() + payload.len() <= PACKET_MAX
            && parts.payload == self.parts.payload
            && self.follows(packet);
        if !fits {
            return false;
        }
        self.octets.extend_from_slice(payload);
        self.packets += 1;
        self.taken += packet.len();
        self.full = payload.len() < self.segment || self.packets == PACKETS_MAX;
        if pushes(parts, packet) {
            self.octets[self.parts.start + 13] |= PSH;
            self.full = true;
        }
        true
    }

    /// Whether a packet's headers are the first's, but for what its place makes different.
    fn follows(&self, packet: &[u8]) -> bool {
        let (first, start) = (&self.octets, self.parts.start);
        let same = |range: std::ops::Range<usize>| first[range.clone()] == packet[range];
        let ip = match self.parts.layer {
            Layer::Ipv4 => same(0..2) && same(6..9) && self.is_numbered_next(packet),
            // The traffic class, the flow label, the hop limit.
            Layer::Ipv6 => same(0..4) && same(7..8),
        };
        let transport = match self.parts.transport {
            Transport::Tcp => {
                let number = |octets: &[u8]| {
                    let field = octets[start + 4..start + 8].try_into();
                    field.map_or(0, u32::from_be_bytes)
                };
                let sent = (first.len() - self.parts.payload) as u32;
                let next = number(first).wrapping_add(sent);
                // The acknowledgement, the header's length, the flags, the window; the urgent pointer and the options.
                number(packet) == next
                    && same(start + 8..start + 13)
                    && same(start + 14..start + 16)
                    && same(start + 18..self.parts.payload)
            }
            Transport::Udp => true,
        };
        ip && transport
    }

    /// Whether IPv4's Identification is what the host would give it when it takes the packets apart. Where nothing may be fragmented it means
    /// nothing (RFC 6864 section 4.1).
    fn is_numbered_next(&self, packet: &[u8]) -> bool {
        let id = |octets: &[u8]| u16::from_be_bytes([octets[4], octets[5]]);
        packet[6] & 0x40 != 0 || id(packet) == id(&self.octets).wrapping_add(self.packets as u16)
    }

    /// Makes the headers those of the whole.
    fn finish(&mut self) -> PacketHeader {
        let Parts {
            layer,
            transport,
            start,
            payload,
        } = self.parts;
        let place = transport.checksum_offset();
        let partial = Some(Partial {
            start: start as u16,
            offset: place as u16,
        });
        let len = self.octets.len();
        let (ip, of_transport) = self.octets.split_at_mut(start);
        match layer {
            Layer::Ipv4 => {
                ip[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                ip[10..12].fill(0);
                let checksum = finish(checksum::sum(ip));
                ip[10..12].copy_from_slice(&checksum);
            }
            Layer::Ipv6 => ip[4..6].copy_from_slice(&((len - start) as u16).to_be_bytes()),
        }
        if transport == Transport::Udp {
            of_transport[4..6].copy_from_slice(&((len - start) as u16).to_be_bytes());
        }
        let pseudo = fold(self.parts.pseudo_header(ip, len - start));
        of_transport[place..place + 2].copy_from_slice(&pseudo.to_ne_bytes());
        let oversized = (self.packets > 1).then_some(Oversized {
            transport,
            headers: payload as u16,
            segment: self.segment as u16,
        });
        PacketHeader { partial, oversized }
    }
}

/// Whether a packet's sender wants it to be read at once.
fn pushes(parts: &Parts, packet: &[u8]) -> bool {
    parts.transport == Transport::Tcp && packet[parts.start + 13] & PSH != 0
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::super::checksum::{complete, finish_transport};
    use super::super::segment::Segments;
    use super::*;

    /// A queue that keeps what it gets.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Vec<u8>>>);

    impl Queue for Kept {
        fn index(&self) -> u32 {
            1
        }

        fn takes_large_udp(&self) -> bool {
            true
        }

        fn write(&self, header: &[u8], packet: &[u8]) -> io::Result<()> {
            self.0.lock().unwrap().push([header, packet].concat());
            Ok(())
        }
    }

    /// A packet as its sender would make it.
    #[derive(Clone, Debug)]
    struct Made {
        layer: Layer,
        transport: Transport,
        port: u16,
        sequence: u32,
        flags: u8,
        dont_fragment: bool,
        id: u16,
        tos: u8,
        payload: usize,
        damaged: bool,
    }

    impl Made {
        fn octets(&self) -> Vec<u8> {
            let mut segment = [self.port.to_be_bytes(), 80u16.to_be_bytes()].concat();
            let payload: Vec<u8> = (0..self.payload)
                .map(|i| (i as u32 + self.sequence) as u8)
                .collect();
            match self.transport {
                Transport::Tcp => {
                    segment.extend(self.sequence.to_be_bytes());
                    segment.extend([0, 0, 0, 9, 0x80, self.flags, 1, 0, 0, 0, 0, 0]);
                    segment.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
                }
                Transport::Udp => {
                    segment.extend((8 + self.payload as u16).to_be_bytes());
                    segment.extend([0, 0]);
                }
            }
            segment.extend(payload);
            let len = segment.len() as u16;
            let mut ip = match self.layer {
                Layer::Ipv4 => {
                    let mut ip = vec![0x45, self.tos];
                    ip.extend((20 + len).to_be_bytes());
                    ip.extend(self.id.to_be_bytes());
                    ip.extend([
                        if self.dont_fragment { 0x40 } else { 0 },
                        0,
                        64,
                        self.transport.protocol(),
                        0,
                        0,
                    ]);
                    ip.extend([10, 0, 0, 1, 10, 0, 0, 2]);
                    let checksum = finish(checksum::sum(&ip));
                    ip[10..12].copy_from_slice(&checksum);
                    ip
                }
                Layer::Ipv6 => {
                    let mut ip = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 7];
                    ip.extend(len.to_be_bytes());
                    ip.extend([self.transport.protocol(), 64]);
                    ip.extend([0xfd; 32]);
                    ip
                }
            };
            let pseudo = checksum::pseudo_header(&ip, self.layer, self.transport, segment.len());
            let place = self.transport.checksum_offset();
            let checksum = finish_transport(pseudo + checksum::sum(&segment));
            segment[place..place + 2].copy_from_slice(&checksum);
            segment[place] ^= u8::from(self.damaged);
            ip.extend(segment);
            ip
        }
    }

    fn layer_of(packet: &[u8]) -> Layer {
        if packet[0] >> 4 == 4 {
            Layer::Ipv4
        } else {
            Layer::Ipv6
        }
    }

    /// What the host makes of what it was given: each packet as it would leave by a link.
    fn taken_apart(given: &Kept) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for mut octets in given.0.lock().unwrap().drain(..) {
            let (header, packet) = PacketHeader::decode(&mut octets).unwrap();
            let layer = layer_of(packet);
            if header.oversized.is_some() {
                packets.extend(Segments::of(header, layer, packet).unwrap().map(|segment| {
                    let mut out = Vec::new();
                    segment.write(&mut out);
                    assert_eq!(out.len(), segment.len());
                    out
                }));
                continue;
            }
            assert!(
                header
                    .partial
                    .is_none_or(|partial| complete(packet, partial))
            );
            packets.push(packet.to_vec());
        }
        packets
    }

    /// What may change on the way: the number of an IPv4 packet that may not be fragmented, and the checksum over it.
    fn without_number(mut packet: Vec<u8>) -> Vec<u8> {
        if layer_of(&packet) == Layer::Ipv4 && packet[6] & 0x40 != 0 {
            assert_eq!(fold(checksum::sum(&packet[..20])), 0xffff);
            packet[4..6].fill(0);
            packet[10..12].fill(0);
        }
        packet
    }

    fn put_together(packets: &[Vec<u8>]) -> Arc<Kept> {
        let (queue, mut coalescer) = (Arc::new(Kept::default()), Coalescer::default());
        for packet in packets {
            coalescer.take(&queue, Slot::of(3), layer_of(packet), packet);
        }
        let delivered: Vec<_> = coalescer.flush().collect();
        assert!(delivered.iter().all(|d| d.taken && d.slot == Slot::of(3)));
        let octets: u64 = delivered.iter().map(|d| d.octets).sum();
        assert_eq!(octets, packets.iter().map(|p| p.len() as u64).sum::<u64>());
        let count: u64 = delivered.iter().map(|d| d.packets).sum();
        assert_eq!(count, packets.len() as u64);
        queue
    }

    /// Packets of a few streams, most of which follow one another.
    fn traffic() -> impl Strategy<Value = Vec<Made>> {
        let step = (
            (0..4u16, 0..12u8, 0..40u8),
            prop_oneof![6 => Just(100), 1 => 1..100usize, 1 => Just(0)],
            any::<u16>(),
        );
        prop::collection::vec(step, 1..200).prop_map(|steps| {
            let mut streams = [(1u32, 65_530u16); 4];
            let make = |((stream, odd, odder), payload, number): ((u16, u8, u8), usize, u16)| {
                let (sequence, id) = &mut streams[usize::from(stream)];
                let transport = if stream == 3 {
                    Transport::Udp
                } else {
                    Transport::Tcp
                };
                let dont_fragment = stream == 1;
                let made = Made {
                    layer: if stream == 2 {
                        Layer::Ipv6
                    } else {
                        Layer::Ipv4
                    },
                    transport,
                    port: 1000 + stream,
                    sequence: if odder == 0 { number.into() } else { *sequence },
                    flags: match odd {
                        0 => ACK | PSH,
                        1 => ACK | 1,
                        _ => ACK,
                    },
                    dont_fragment,
                    id: if dont_fragment || odder == 1 {
                        number
                    } else {
                        *id
                    },
                    tos: if odder == 2 { 3 } else { 0 },
                    payload,
                    damaged: odder == 3,
                };
                *sequence = sequence.wrapping_add(payload as u32);
                *id = id.wrapping_add(1);
                made
            };
            steps.into_iter().map(make).collect()
        })
    }

    proptest! {
        #[test]
        fn nothing_is_different_when_it_is_taken_apart_again(traffic in traffic()) {
            let packets: Vec<_> = traffic.iter().map(Made::octets).collect();
            let apart = taken_apart(&put_together(&packets));
            let stream = |packet: &Vec<u8>| (packet[0] >> 4, {
                let start = if packet[0] >> 4 == 4 { 20 } else { 40 };
                [packet[start], packet[start + 1]]
            });
            for port in 0..4u16 {
                let of = |all: &[Vec<u8>]| -> Vec<_> {
                    let its = all.iter().filter(|p| stream(p).1 == (1000 + port).to_be_bytes());
                    its.cloned().map(without_number).collect()
                };
                prop_assert_eq!(of(&apart), of(&packets));
            }
        }

        #[test]
        fn no_octets_make_it_panic(
            octets in prop::collection::vec(any::<u8>(), 20..80),
            protocol in prop_oneof![Just(6u8), Just(17)],
            v6: bool,
        ) {
            let mut packet = octets;
            let len = packet.len() as u16;
            if v6 {
                packet.resize(packet.len().max(40), 0);
                packet[0] = 0x60;
                let len = packet.len() as u16 - 40;
                packet[4..6].copy_from_slice(&len.to_be_bytes());
                packet[6] = protocol;
            } else {
                packet[0] = 0x40 | packet[0] & 15;
                packet[2..4].copy_from_slice(&len.to_be_bytes());
                packet[6..8].fill(0);
                packet[9] = protocol;
            }
            let apart = taken_apart(&put_together(&[packet.clone(), packet.clone()]));
            prop_assert_eq!(apart, [packet.clone(), packet]);
        }

        #[test]
        fn no_header_makes_the_cutting_panic(mut octets in prop::collection::vec(any::<u8>(), 10..120)) {
            octets[1] %= 6;
            if let Ok((header, packet)) = PacketHeader::decode(&mut octets)
                && !packet.is_empty()
            {
                let layer = layer_of(packet);
                for segment in Segments::of(header, layer, packet).into_iter().flatten() {
                    segment.write(&mut Vec::new());
                }
            }
        }
    }

    #[test]
    fn a_stream_becomes_one_packet_up_to_what_ends_it() {
        let made = |sequence, payload, flags| {
            let made = Made {
                layer: Layer::Ipv4,
                transport: Transport::Tcp,
                port: 1000,
                sequence,
                flags,
                dont_fragment: true,
                id: 0,
                tos: 0,
                payload,
                damaged: false,
            };
            made.octets()
        };
        let count = |packets: &[Vec<u8>]| put_together(packets).0.lock().unwrap().len();
        let follow = |n: u32| made(1 + n * 100, 100, ACK);
        assert_eq!(count(&[follow(0), follow(1), follow(2)]), 1);
        // A gap; less than the others; what is to be read at once; the end of a stream; nothing in it.
        assert_eq!(count(&[follow(0), follow(2)]), 2);
        assert_eq!(
            count(&[follow(0), made(101, 50, ACK), made(151, 100, ACK)]),
            2
        );
        assert_eq!(count(&[follow(0), made(101, 100, ACK | PSH), follow(2)]), 2);
        assert_eq!(count(&[follow(0), made(101, 100, ACK | 1)]), 2);
        assert_eq!(count(&[follow(0), made(101, 0, ACK)]), 2);
        let many: Vec<_> = (0..130).map(follow).collect();
        assert_eq!(count(&many), 3);
    }
}
