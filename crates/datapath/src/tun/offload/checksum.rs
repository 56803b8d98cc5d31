//! The Internet checksum (RFC 1071).
//!
//! Sums are of words as the machine loads them; a checksum is stored as the machine stores a word. The one's complement sum does not mind the order of
//! octets (RFC 1071 section 2).

use super::super::packet::Layer;
use super::{Partial, Transport};

/// The sum of 16-bit words, not yet folded. `octets` begins at an even place of what is summed.
pub(in super::super) fn sum(octets: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { sum_with_avx2(octets) };
    }
    sum_of_words(octets)
}

/// The same, for which the compiler may use AVX2: every octet of a session is summed, and that is half the work.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_with_avx2(octets: &[u8]) -> u64 {
    sum_of_words(octets)
}

#[inline(always)]
fn sum_of_words(octets: &[u8]) -> u64 {
    let (blocks, rest) = octets.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // Sums of 64 bits, which lose their carries, and of the upper halves, which have none: the lower halves are the difference.
    let (mut all, mut upper) = (0_u64, 0_u64);
    let mut add = |block: &[u8; 8]| {
        let block = u64::from_ne_bytes(*block);
        all = all.wrapping_add(block);
        upper += block >> 32;
    };
    blocks.iter().for_each(&mut add);
    add(&last);
    all.wrapping_sub(upper << 32) + upper
}

/// A number of a header, as a sum takes it.
pub(super) fn word(number: u16) -> u64 {
    u16::from_ne_bytes(number.to_be_bytes()).into()
}

/// The sum in 16 bits.
pub(in super::super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of what has this sum, as the octets of a header.
pub(in super::super) fn finish(sum: u64) -> [u8; 2] {
    (!fold(sum)).to_ne_bytes()
}

/// The same for TCP and UDP, where a UDP checksum of zero would mean that there is none (RFC 768).
pub(super) fn finish_transport(sum: u64) -> [u8; 2] {
    match finish(sum) {
        [0, 0] => [0xff, 0xff],
        checksum => checksum,
    }
}

/// The sum of a pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1) over `len` octets of transport; `ip` is the packet's fixed header.
pub(super) fn pseudo_header(ip: &[u8], layer: Layer, transport: Transport, len: usize) -> u64 {
    let addresses = match layer {
        Layer::Ipv4 => ip.get(12..20),
        Layer::Ipv6 => ip.get(8..40),
    };
    let len = len as u64;
    let len = word((len & 0xffff) as u16) + word((len >> 16) as u16);
    sum(addresses.unwrap_or_default()) + word(transport.protocol().into()) + len
}

/// Makes the checksum of a packet that has only the pseudo header's part; says whether its place is in the packet.
pub(in super::super) fn complete(packet: &mut [u8], partial: Partial) -> bool {
    let Some(covered) = packet.get_mut(partial.start.into()..) else {
        return false;
    };
    let checksum = finish_transport(sum(covered));
    let at = usize::from(partial.offset);
    let Some(field) = covered.get_mut(at..at + 2) else {
        return false;
    };
    field.copy_from_slice(&checksum);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Word by word, as RFC 1071 section 1 has it.
    fn plainly(octets: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in octets.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn it_is_what_rfc_1071_says(octets in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(finish(sum(&octets)), plainly(&octets).to_be_bytes());
        }
    }

    #[test]
    fn the_example_of_rfc_1071() {
        // Section 3: the sum is ddf2.
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(finish(sum(&octets)), (!0xddf2u16).to_be_bytes());
    }

    #[test]
    fn a_place_outside_the_packet_is_refused() {
        let mut packet = [1; 30];
        assert!(complete(
            &mut packet,
            Partial {
                start: 20,
                offset: 8
            }
        ));
        assert!(!complete(
            &mut packet,
            Partial {
                start: 20,
                offset: 9
            }
        ));
        assert!(!complete(
            &mut packet,
            Partial {
                start: 31,
                offset: 0
            }
        ));
    }
}
