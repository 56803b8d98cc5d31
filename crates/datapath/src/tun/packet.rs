//! IP packets: the little that the engine reads of them, and what it puts before them on the wire.

use std::net::IpAddr;

use wire::l2tp::DataHeader;
use wire::ppp::{Compression, Frame, Protocol};
use wire::{BufferFull, DecodeError, Reader, Writer};

use crate::message;
use crate::{Ecn, Encapsulation, Framing};

/// A network layer that the engine carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Layer {
    Ipv4,
    Ipv6,
}

impl Layer {
    /// The layer whose packets PPP frames of this protocol carry.
    pub(super) fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::IPV4 => Some(Self::Ipv4),
            Protocol::IPV6 => Some(Self::Ipv6),
            _ => None,
        }
    }

    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Ipv4 => Protocol::IPV4,
            Self::Ipv6 => Protocol::IPV6,
        }
    }
}

/// What the engine reads of an IP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IpHeader {
    pub(super) layer: Layer,
    pub(super) ecn: Ecn,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
}

impl IpHeader {
    /// Reads the header of a packet: RFC 791 section 3.1, RFC 8200 section 3.
    ///
    /// An error if it is cut short or of another version, or if its length fields say that the packet is or can't be.
    pub(super) fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(packet);
        let first = r.u8("the version of an IP packet")?;
        let version = first >> 4;
        let (header, least, said) = match version {
            4 => {
                let tos = r.u8("IPv4 type of service")?;
                let total = r.u16("IPv4 Total Length")?;
                r.take(8, "the IPv4 header")?;
                let header = Self {
                    layer: Layer::Ipv4,
                    ecn: Ecn::of(tos),
                    source: IpAddr::from(r.array::<4>("IPv4 source address")?),
                    destination: IpAddr::from(r.array::<4>("IPv4 destination address")?),
                };
                // A length of its header that no header has is more than any packet.
                let least = match usize::from(first & 15) * 4 {
                    0..20 => usize::MAX,
                    len => len,
                };
                (header, least, usize::from(total))
            }
            6 => {
                let class = r.u8("IPv6 traffic class")? >> 4;
                r.take(2, "the IPv6 flow label")?;
                let payload = r.u16("IPv6 Payload Length")?;
                r.take(2, "the IPv6 header")?;
                let header = Self {
                    layer: Layer::Ipv6,
                    ecn: Ecn::of(class),
                    source: IpAddr::from(r.array::<16>("IPv6 source address")?),
                    destination: IpAddr::from(r.array::<16>("IPv6 destination address")?),
                };
                (header, 40, 40 + usize::from(payload))
            }
            _ => {
                return Err(DecodeError::BadValue {
                    what: "the version of an IP packet",
                    value: version.into(),
                });
            }
        };
        // More octets than said are PPP padding (RFC 1661 section 2); fewer, a packet that was cut.
        if said > packet.len() || said < least {
            return Err(DecodeError::BadLength {
                what: "an IP packet",
                length: said,
            });
        }
        Ok(header)
    }
}

/// Sets the ECN field of a packet whose header was read, and keeps an IPv4 header's checksum right (RFC 1624).
pub(super) fn set_ecn(packet: &mut [u8], layer: Layer, ecn: Ecn) {
    match (layer, packet) {
        (Layer::Ipv4, [version, tos, rest @ ..]) => {
            let before = u16::from_be_bytes([*version, *tos]);
            *tos = *tos & !3 | ecn as u8;
            let after = u16::from_be_bytes([*version, *tos]);
            if let [.., high, low] = rest.get_mut(..10).unwrap_or_default() {
                let sum = u32::from(!u16::from_be_bytes([*high, *low]))
                    + u32::from(!before)
                    + u32::from(after);
                let folded = (sum & 0xffff) + (sum >> 16);
                let folded = (folded & 0xffff) + (folded >> 16);
                [*high, *low] = (!(folded as u16)).to_be_bytes();
            }
        }
        (Layer::Ipv6, [_, class, ..]) => *class = *class & !0x30 | (ecn as u8) << 4,
        _ => {}
    }
}

/// Writes what precedes the payload of a frame, behind what `out` has.
pub(super) fn put_header(
    out: &mut Vec<u8>,
    protocol: Protocol,
    payload_len: usize,
    framing: Framing,
    encapsulation: &Encapsulation,
    ns: Option<u16>,
) -> Result<(), BufferFull> {
    let mut octets = [0; DataHeader::MAX_LEN + 4];
    let mut w = Writer::new(&mut octets);
    // No Length field, so nothing limits the payload.
    message::header(encapsulation, ns).encode(payload_len, &mut w)?;
    let compression = Compression {
        address_control: framing.address_control_compression,
        protocol: framing.protocol_compression,
    };
    Frame::encode_header(protocol, compression, &mut w)?;
    out.extend_from_slice(w.written());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Ids, Sequencing};

    fn ipv4(total: u16, len: usize) -> Vec<u8> {
        let mut packet = vec![0; len];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&total.to_be_bytes());
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet
    }

    #[test]
    fn addresses_of_both_versions_are_read() {
        let header = IpHeader::decode(&ipv4(28, 28)).unwrap();
        assert_eq!(header.layer, Layer::Ipv4);
        assert_eq!(header.source, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(header.destination, IpAddr::from([10, 0, 0, 2]));

        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[8..10].copy_from_slice(&[0xfe, 0x80]);
        packet[39] = 7;
        let header = IpHeader::decode(&packet).unwrap();
        assert_eq!(header.layer, Layer::Ipv6);
        assert_eq!(header.source, "fe80::".parse::<IpAddr>().unwrap());
        assert_eq!(header.destination, "::7".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn the_ecn_field_is_read_and_set_and_the_checksum_stays_right() {
        let sum = |packet: &[u8]| {
            let words = packet[..20].chunks(2);
            let sum: u32 = words
                .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
                .sum();
            (sum & 0xffff) + (sum >> 16)
        };
        let mut packet = ipv4(28, 28);
        packet[1] = 0xb8;
        let checksum = !(sum(&packet) as u16);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        for ecn in [Ecn::Ce, Ecn::Ect0, Ecn::Ect1, Ecn::NotEct] {
            set_ecn(&mut packet, Layer::Ipv4, ecn);
            assert_eq!(IpHeader::decode(&packet).unwrap().ecn, ecn);
            assert_eq!((packet[1] & !3, sum(&packet)), (0xb8, 0xffff), "{ecn:?}");
        }

        let mut packet = vec![0; 40];
        (packet[0], packet[1]) = (0x6b, 0x8f);
        for ecn in [Ecn::Ce, Ecn::Ect0, Ecn::Ect1, Ecn::NotEct] {
            set_ecn(&mut packet, Layer::Ipv6, ecn);
            assert_eq!(IpHeader::decode(&packet).unwrap().ecn, ecn);
            assert_eq!((packet[0], packet[1] & !0x30), (0x6b, 0x8f));
        }
    }

    #[test]
    fn a_cut_packet_is_refused_and_a_padded_one_is_not() {
        let whole = ipv4(28, 28);
        for len in 0..28 {
            assert!(IpHeader::decode(&whole[..len]).is_err(), "{len} octets");
        }
        assert!(IpHeader::decode(&ipv4(28, 40)).is_ok());
        assert!(IpHeader::decode(&[0x55; 40]).is_err());
    }

    #[test]
    fn what_precedes_a_packet_is_as_long_as_the_peer_wants() {
        let ids = Ids {
            tunnel: 0x0102,
            session: 0x0304,
        };
        for (protocol, address_control, ns, expected) in [
            (
                false,
                false,
                None,
                &[0, 2, 1, 2, 3, 4, 0xff, 3, 0, 0x21][..],
            ),
            (true, false, None, &[0, 2, 1, 2, 3, 4, 0xff, 3, 0x21]),
            (true, true, None, &[0, 2, 1, 2, 3, 4, 0x21]),
            (
                false,
                true,
                Some(9),
                &[8, 2, 1, 2, 3, 4, 0, 9, 0, 0, 0, 0x21],
            ),
        ] {
            let framing = Framing {
                protocol_compression: protocol,
                address_control_compression: address_control,
            };
            let encapsulation = Encapsulation::V2 {
                local: ids,
                peer: ids,
                sequencing: Sequencing::AsPeer,
                reorder_timeout: Duration::ZERO,
            };
            let mut out = vec![7];
            put_header(&mut out, Protocol::IPV4, 28, framing, &encapsulation, ns).unwrap();
            assert_eq!(out, [&[7], expected].concat());
        }
    }
}
