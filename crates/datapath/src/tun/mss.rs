//! The largest segment that a TCP announces (MSS, RFC 9293 section 3.7.1), lowered to what a session carries: whoever sends more would have to be
//! told so (RFC 4821 section 1 has why that fails), and a session is smaller than the links that it joins.

use super::offload::checksum;
use super::packet::Layer;

const TCP: u8 = 6;
const SYN: u8 = 0x02;
/// Octets of a TCP header without options.
const TCP_LEN: usize = 20;
/// Options (RFC 9293 section 3.1): the end of them, one octet of nothing, the MSS with its length.
const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: [u8; 2] = [2, 4];

/// A packet that announces more than a session carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Excess {
    /// Where TCP begins.
    tcp: usize,
    /// Where the MSS is, from there.
    at: usize,
    /// What it may be.
    most: u16,
}

impl Excess {
    /// None if a packet announces nothing, or no more than fits through a session of this MTU.
    pub(super) fn of(packet: &[u8], layer: Layer, mtu: u16) -> Option<Self> {
        let (fixed, tcp) = match (layer, packet) {
            // A fragment may have no header.
            (Layer::Ipv4, [length, _, _, _, _, _, high, low, _, TCP, ..])
                if [high & 0x3f, *low] == [0, 0] =>
            {
                (20, usize::from(length & 15) * 4)
            }
            (Layer::Ipv6, [_, _, _, _, _, _, TCP, ..]) => (40, 40),
            _ => return None,
        };
        let header = packet.get(tcp..)?;
        if header.get(13)? & SYN == 0 {
            return None;
        }
        let options = header.get(..usize::from(header[12] >> 4) * 4)?;
        let mut at = TCP_LEN;
        loop {
            match *options.get(at..)? {
                [NOTHING, ..] => at += 1,
                [kind, length, high, low, ..] if [kind, length] == MSS => {
                    let most = mtu.saturating_sub(fixed + TCP_LEN as u16);
                    let excess = u16::from_be_bytes([high, low]) > most;
                    let at = at + 2;
                    return excess.then_some(Self { tcp, at, most });
                }
                [kind, length, ..] if kind != END && length >= 2 => at += usize::from(length),
                _ => return None,
            }
        }
    }

    /// Lowers it in that packet. A checksum that is `made` stays as right as it was (RFC 1624); one that has still to be made covers it anyway.
    pub(super) fn lower(self, packet: &mut [u8], made: bool) {
        let Some(header) = packet.get_mut(self.tcp..) else {
            return;
        };
        let mut sum = u32::from(!u16::from_be_bytes([header[16], header[17]]));
        for (index, now) in self.most.to_be_bytes().into_iter().enumerate() {
            let at = self.at + index;
            let before = std::mem::replace(&mut header[at], now);
            // It may be at an odd place.
            let weight = |octet: u8| u32::from(octet) << if at.is_multiple_of(2) { 8 } else { 0 };
            sum += (0xffff - weight(before)) + weight(now);
        }
        if made {
            let checksum = !checksum::fold(sum.into());
            header[16..18].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet of TCP with these flags and options, whose checksum is right.
    fn packet(layer: Layer, flags: u8, options: &[u8]) -> Vec<u8> {
        let len = TCP_LEN + options.len().next_multiple_of(4);
        let mut packet = match layer {
            Layer::Ipv4 => vec![0x45, 0, 0, 20 + len as u8, 0, 0, 0, 0, 64, TCP, 0, 0],
            Layer::Ipv6 => vec![0x60, 0, 0, 0, 0, len as u8, TCP, 64],
        };
        let tcp = match layer {
            Layer::Ipv4 => 20,
            Layer::Ipv6 => 40,
        };
        packet.resize(tcp + len, 7);
        packet[tcp + 12] = (len as u8 / 4) << 4;
        packet[tcp + 13] = flags;
        packet[tcp + 20..].fill(END);
        packet[tcp + 20..tcp + 20 + options.len()].copy_from_slice(options);
        packet[tcp + 16..tcp + 18].fill(0);
        let checksum = !total(&packet[tcp..]);
        packet[tcp + 16..tcp + 18].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    fn total(octets: &[u8]) -> u16 {
        let words = octets
            .chunks(2)
            .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        ((folded & 0xffff) + (folded >> 16)) as u16
    }

    fn most(packet: &[u8], layer: Layer, mtu: u16) -> Option<u16> {
        Excess::of(packet, layer, mtu).map(|excess| excess.most)
    }

    #[test]
    fn what_fits_and_what_announces_nothing_stays() {
        let large = [2, 4, 0x05, 0xb4];
        for (layer, expected) in [(Layer::Ipv4, 1360), (Layer::Ipv6, 1340)] {
            let of = |flags, options: &[u8], mtu| most(&packet(layer, flags, options), layer, mtu);
            assert_eq!(of(SYN, &large, 1400), Some(expected));
            assert_eq!(of(SYN | 0x10, &large, 1400), Some(expected));
            assert_eq!(
                of(SYN, &[1, 3, 3, 7, 4, 2, 2, 4, 0x05, 0xb4], 1400),
                Some(expected)
            );
            assert_eq!(of(0x10, &large, 1400), None, "no SYN");
            assert_eq!(of(SYN, &large, 1520), None, "it fits");
            assert_eq!(of(SYN, &[], 1400), None, "nothing");
            assert_eq!(of(SYN, &[0, 2, 4, 5, 0xb4], 1400), None, "behind the end");
            assert_eq!(of(SYN, &[2, 3, 5, 0xb4], 1400), None, "another length");
            assert_eq!(
                of(SYN, &[9, 0, 2, 4, 5, 0xb4], 1400),
                None,
                "a length of nothing"
            );
            assert_eq!(of(SYN, &large, 20), Some(0), "less than headers");
        }
        let whole = packet(Layer::Ipv4, SYN, &large);
        for len in 0..whole.len() {
            assert_eq!(most(&whole[..len], Layer::Ipv4, 1400), None, "cut at {len}");
        }
        let mut fragment = whole;
        fragment[6] = 0x20;
        assert_eq!(most(&fragment, Layer::Ipv4, 1400), None);
    }

    proptest! {
        #[test]
        fn the_checksum_stays_right_wherever_it_is(
            ipv6 in any::<bool>(), before in 0..20_usize, mss in 1361..=u16::MAX, mtu in 68..1400_u16
        ) {
            let layer = if ipv6 { Layer::Ipv6 } else { Layer::Ipv4 };
            let [high, low] = mss.to_be_bytes();
            let options = [&vec![NOTHING; before][..], &[2, 4, high, low]].concat();
            let mut packet = packet(layer, SYN, &options);
            let excess = Excess::of(&packet, layer, mtu).unwrap();
            excess.lower(&mut packet, true);
            prop_assert_eq!(total(&packet[excess.tcp..]), 0xffff);
            prop_assert_eq!(Excess::of(&packet, layer, mtu), None);
            let at = excess.tcp + excess.at;
            prop_assert_eq!(&packet[at..at + 2], &excess.most.to_be_bytes()[..]);
        }
    }
}
