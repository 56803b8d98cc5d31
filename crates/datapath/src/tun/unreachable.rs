//! What the host is told of a packet that goes to no session: its sender would try on, and a router before us may send it round.

use std::io;
use std::net::{IpAddr, SocketAddr};

use sansio::Time;
use socket2::{Domain, Protocol, Socket, Type};

use super::offload::checksum;
use super::packet::{IpHeader, Layer};
use crate::socket::hear_no_icmp;

/// Destination Unreachable, Host Unreachable (RFC 792).
const HOST_UNREACHABLE: [u8; 2] = [3, 1];
/// Destination Unreachable, no route to destination (RFC 4443 section 3.1).
const NO_ROUTE: [u8; 2] = [1, 0];
/// The first error message's number after the last of ICMPv6 (RFC 4443 section 2.1).
const FIRST_INFORMATION: u8 = 128;
/// Errors of ICMP (RFC 792).
const ERRORS: [u8; 5] = [3, 4, 5, 11, 12];

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Octets of the packet that are told: all that an answer has room for that goes through everywhere (RFC 1812 section 4.3.2.3, RFC 4443 section 3.1).
const QUOTED_IPV4: usize = 576 - 28;
const QUOTED_IPV6: usize = 1280 - 48;

/// Microseconds to the next answer, and how many may be given at once: 1000 a second and 50, as Linux has them.
const MICROS: u64 = 1000;
const BURST: u64 = 50;

/// Gives such answers, no more than so many a second.
pub(super) struct Unreachable {
    /// None without CAP_NET_RAW.
    ipv4: Option<Socket>,
    ipv6: Option<Socket>,
    left: u64,
    counted: Time,
}

impl Unreachable {
    /// In the network namespace of the calling thread.
    pub(super) fn open() -> Self {
        let ipv4 = raw(Domain::IPV4, Protocol::ICMPV4);
        if let Err(error) = &ipv4 {
            tracing::info!(
                "who sends to an address that no session has is not told so: {error}; CAP_NET_RAW is needed"
            );
        }
        Self {
            ipv4: ipv4.ok(),
            // A machine without IPv6 has none.
            ipv6: raw(Domain::IPV6, Protocol::ICMPV6).ok(),
            left: BURST,
            counted: Time::ZERO,
        }
    }

    /// Tells the sender of a packet that there is nobody at its destination, if that may be told.
    pub(super) fn tell(&mut self, packet: &[u8], now: Time) {
        let Ok(header) = IpHeader::decode(packet) else {
            return;
        };
        if !may_be_told(&header, packet) || !self.has_one_left(now) {
            return;
        }
        let (socket, kind, room) = match header.layer {
            Layer::Ipv4 => (&self.ipv4, HOST_UNREACHABLE, QUOTED_IPV4),
            Layer::Ipv6 => (&self.ipv6, NO_ROUTE, QUOTED_IPV6),
        };
        let quoted = &packet[..packet.len().min(room)];
        let mut message = [&kind[..], &[0; 6], quoted].concat();
        // That of ICMPv6 is the kernel's to make, as it has the source in it.
        let sum = checksum::finish(checksum::sum(&message));
        message[2..4].copy_from_slice(&sum);
        if let Some(socket) = socket {
            // Nobody waits for it.
            let _ = socket.send_to(&message, &SocketAddr::new(header.source, 0).into());
        }
    }

    fn has_one_left(&mut self, now: Time) -> bool {
        let passed = now.as_micros().saturating_sub(self.counted.as_micros());
        let more = passed / MICROS;
        self.left = self.left.saturating_add(more).min(BURST);
        self.counted = Time::from_micros(self.counted.as_micros() + more * MICROS);
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has
    }
}

fn raw(domain: Domain, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    hear_no_icmp(&socket, domain == Domain::IPV6)?;
    Ok(socket)
}

/// Whether an error about a packet may be sent to its source (RFC 1122 section 3.2.2, RFC 4443 section 2.4): no error about an error, nor about what many get or a
/// later fragment.
fn may_be_told(header: &IpHeader, packet: &[u8]) -> bool {
    let (source, destination) = (header.source, header.destination);
    let one = |address: IpAddr| !address.is_multicast() && !address.is_unspecified();
    let broadcast = IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    if !one(source) || source.is_loopback() || !one(destination) || destination == broadcast {
        return false;
    }
    match (header.layer, packet) {
        (Layer::Ipv4, [length, _, _, _, _, _, high, low, _, protocol, ..]) => {
            let later = u16::from_be_bytes([*high, *low]) & 0x1fff != 0;
            let kind = packet.get(usize::from(length & 0xf) * 4);
            let error = *protocol == ICMP && kind.is_none_or(|kind| ERRORS.contains(kind));
            !later && !error
        }
        (Layer::Ipv6, [_, _, _, _, _, _, next, ..]) => {
            let kind = packet.get(40);
            *next != ICMPV6 || kind.is_some_and(|kind| *kind >= FIRST_INFORMATION)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn told(packet: &[u8]) -> bool {
        may_be_told(&IpHeader::decode(packet).unwrap(), packet)
    }

    fn ipv4(protocol: u8, fragment: u16, addresses: [[u8; 4]; 2], kind: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet.extend(addresses.concat());
        packet.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
        packet
    }

    #[test]
    fn errors_and_what_many_get_are_not_answered() {
        let (one, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        assert!(told(&ipv4(17, 0x2000, [one, other], 0)));
        assert!(told(&ipv4(ICMP, 0, [one, other], 8)));
        for error in ERRORS {
            assert!(!told(&ipv4(ICMP, 0, [one, other], error)), "{error}");
        }
        assert!(!told(&ipv4(17, 1, [one, other], 0)));
        for (from, to) in [
            ([0; 4], other),
            ([127, 0, 0, 1], other),
            ([224, 0, 0, 1], other),
            (one, [224, 0, 0, 1]),
            (one, [255; 4]),
        ] {
            assert!(!told(&ipv4(17, 0, [from, to], 0)), "{from:?} {to:?}");
        }
        let ipv6 = |next: u8, kind: u8, to: u8| {
            let mut packet = vec![0x60, 0, 0, 0, 0, 8, next, 64];
            packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            packet.extend([to, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
            packet.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
            packet
        };
        assert!(told(&ipv6(17, 0, 0x20)));
        assert!(told(&ipv6(ICMPV6, 128, 0x20)));
        assert!(!told(&ipv6(ICMPV6, 1, 0x20)));
        assert!(!told(&ipv6(17, 0, 0xff)));
    }

    #[test]
    fn there_are_no_more_answers_than_so_many_a_second() {
        let mut unreachable = Unreachable {
            ipv4: None,
            ipv6: None,
            left: BURST,
            counted: Time::ZERO,
        };
        let mut given = |micros: u64| {
            let now = Time::ZERO + Duration::from_micros(micros);
            (0..1000).filter(|_| unreachable.has_one_left(now)).count()
        };
        assert_eq!(given(0), 50);
        assert_eq!(given(999), 0);
        assert_eq!(given(10_000), 10);
        assert_eq!(given(10_000_000), 50);
        // A second of one question a tenth of a millisecond.
        let mut asked = |micros: u64| {
            let now = Time::ZERO + Duration::from_micros(micros);
            unreachable.has_one_left(now)
        };
        let micros = (10_000_100..=11_000_000).step_by(100);
        assert_eq!(micros.filter(|&micros| asked(micros)).count(), 1000);
    }
}
