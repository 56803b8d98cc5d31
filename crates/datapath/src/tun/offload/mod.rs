//! Packets larger than a link: a device hands over in one piece what TCP or UDP has for one destination, and takes it so.
//!
//! What a device's queue holds is a [`PacketHeader`] and an IP packet. One that stands for many is *segmented* into packets for the wire
//! ([`segment`]); those that belong together are *coalesced* on their way in ([`coalesce`]). Checksums are made, and looked at, here.

pub(super) mod checksum;
pub(super) mod coalesce;
pub(super) mod segment;

use wire::DecodeError;

use super::packet::Layer;

/// What precedes a packet in a device's queue: `struct virtio_net_hdr` (Virtual I/O Device 1.2, section 5.1.6), 10 octets, numbers in the machine's
/// byte order: flags (1), how the packet is larger (1), octets of headers (2), octets of a segment (2), where a checksum's octets begin (2), where
/// it is from there (2).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct PacketHeader {
    /// Where the checksum is that has still to be made, where one has.
    pub(super) partial: Option<Partial>,
    /// How the packet stands for many, where it does.
    pub(super) oversized: Option<Oversized>,
}

/// A checksum of which only the pseudo header's part is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Partial {
    /// Where the octets begin that it covers: the transport header, from the packet's first.
    pub(super) start: u16,
    /// Where it is, from there.
    pub(super) offset: u16,
}

/// A packet that stands for many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Oversized {
    pub(super) transport: Transport,
    /// Octets of the headers that each segment repeats; a hint.
    pub(super) headers: u16,
    /// Octets of payload in each segment but the last.
    pub(super) segment: u16,
}

/// What large packets are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// Of a protocol number of IP.
    fn of(protocol: u8) -> Option<Self> {
        match protocol {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    fn protocol(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Where its header has the checksum.
    fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }

    /// Octets of its header at the start of `octets`; none if that is cut short.
    fn header_len(self, octets: &[u8]) -> Option<usize> {
        let len = match self {
            Self::Tcp => usize::from(octets.get(12)? >> 4) * 4,
            Self::Udp => 8,
        };
        let least = match self {
            Self::Tcp => 20,
            Self::Udp => 8,
        };
        (least..=octets.len()).contains(&len).then_some(len)
    }
}

const NEEDS_CHECKSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP: u8 = 5;
/// Beside the kind: only the first segment says CWR.
const GSO_ECN: u8 = 0x80;

impl PacketHeader {
    /// Its octets.
    pub(super) const LEN: usize = 10;

    /// Reads it, and gives back where the packet is.
    pub(super) fn decode(octets: &mut [u8]) -> Result<(Self, &mut [u8]), DecodeError> {
        let length = octets.len();
        let Some((header, packet)) = octets.split_first_chunk_mut::<{ Self::LEN }>() else {
            return Err(DecodeError::BadLength {
                what: "a packet of a device",
                length,
            });
        };
        let field = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let transport = match header[1] & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCPV4 | GSO_TCPV6 => Some(Transport::Tcp),
            GSO_UDP => Some(Transport::Udp),
            other => {
                return Err(DecodeError::BadValue {
                    what: "how a packet of a device is larger",
                    value: other.into(),
                });
            }
        };
        let this = Self {
            partial: (header[0] & NEEDS_CHECKSUM != 0).then(|| Partial {
                start: field(6),
                offset: field(8),
            }),
            oversized: transport.map(|transport| Oversized {
                transport,
                headers: field(2),
                segment: field(4),
            }),
        };
        Ok((this, packet))
    }

    /// Its octets before a packet of this layer.
    pub(super) fn encode(self, layer: Layer) -> [u8; Self::LEN] {
        let mut octets = [0; Self::LEN];
        let mut put = |at: usize, field: u16| {
            octets[at..at + 2].copy_from_slice(&field.to_ne_bytes());
        };
        if let Some(Oversized {
            headers, segment, ..
        }) = self.oversized
        {
            put(2, headers);
            put(4, segment);
        }
        if let Some(Partial { start, offset }) = self.partial {
            put(6, start);
            put(8, offset);
            octets[0] = NEEDS_CHECKSUM;
        }
        octets[1] = match (self.oversized.map(|o| o.transport), layer) {
            (None, _) => GSO_NONE,
            (Some(Transport::Tcp), Layer::Ipv4) => GSO_TCPV4,
            (Some(Transport::Tcp), Layer::Ipv6) => GSO_TCPV6,
            (Some(Transport::Udp), _) => GSO_UDP,
        };
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let partial = Some(Partial {
            start: 40,
            offset: 16,
        });
        for (layer, transport) in [
            (Layer::Ipv4, Transport::Tcp),
            (Layer::Ipv6, Transport::Tcp),
            (Layer::Ipv4, Transport::Udp),
        ] {
            let oversized = Some(Oversized {
                transport,
                headers: 60,
                segment: 1300,
            });
            for header in [
                PacketHeader::default(),
                PacketHeader {
                    partial,
                    oversized: None,
                },
                PacketHeader { partial, oversized },
            ] {
                let mut octets = header.encode(layer).to_vec();
                octets.push(7);
                assert_eq!(
                    PacketHeader::decode(&mut octets).unwrap(),
                    (header, &mut [7][..])
                );
            }
        }
        assert!(PacketHeader::decode(&mut [0; 9]).is_err());
        assert!(PacketHeader::decode(&mut [0, 3, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
