#[cfg(feature = "tun")]
use std::net::IpAddr;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crypto::mppe::{KeyLength, Mode, StartKeys};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{Sequencing, SequencingStats};

/// The two ids of an L2TPv2 data header (RFC 2661 section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Ids {
    /// Tunnel ID.
    pub tunnel: u16,
    /// Session ID.
    pub session: u16,
}

/// How a session's frames are put on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Encapsulation {
    /// L2TPv2 over UDP (RFC 2661).
    V2 {
        /// The ids that the peer puts into what it sends us.
        local: Ids,
        /// The ids that the peer wants in what we send.
        peer: Ids,
        /// Whether data messages have sequence numbers.
        sequencing: Sequencing,
        /// How long a message waits for those that are missing before it; zero: not at all.
        reorder_timeout: Duration,
    },
}

/// The name of the configured listener that a socket belongs to; none for the daemon's own sockets. Listeners may be in networks that know
/// nothing of each other, so the same addresses on two of them are two peers.
pub type Listener = Option<Arc<str>>;

/// The UDP path of a session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Transport {
    /// Whose socket it is.
    pub listener: Listener,
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

/// What the IP and UDP headers around a session's data messages are like.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Outer {
    /// The DSCP (RFC 2474), 0 to 63.
    pub dscp: u8,
    /// Both ends know RFC 6040 (RFC 9601): the ECN field of packets is copied to the outside in its normal mode, and merged with it where they
    /// come out. Otherwise the outside is Not-ECT, its compatibility mode.
    pub ecn: bool,
    /// The outer packet must not be fragmented: the path's MTU bounds that of the session, and is reported.
    pub dont_fragment: bool,
    /// The UDP checksum is left out. Over IPv6 (RFC 6935) the socket then takes datagrams without one, too.
    pub no_checksum: bool,
}

/// The device that a session's packets leave to the host through.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Device {
    /// The one device that many sessions share.
    Shared,
    /// A device of its own.
    Own {
        /// The name to give it (at most 15 octets), where `%d` at the end stands for the lowest free number; `pppN` with the lowest free N when absent.
        name: Option<String>,
    },
}

/// Which engine is to carry a session.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum Choice {
    /// The kernel's where it can and the session has a device of its own, else `ebpf` where that can carry it, else `tun`.
    #[default]
    Auto,
    /// The kernel's, or none.
    Kernel,
    /// `ebpf`, which leaves what it can't carry to `tun`; none where this machine has no `ebpf`.
    Ebpf,
    /// `tun` alone.
    Tun,
    /// [`null`](crate::null): none, in truth.
    Null,
}

/// Everything a datapath must know to send and receive a session's frames.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionSpec {
    /// Where the session's datagrams go and come from.
    pub transport: Transport,
    /// What they look like.
    pub encapsulation: Encapsulation,
    /// What is around them.
    pub outer: Outer,
    /// Where the packets inside go.
    pub device: Device,
    /// Who carries it.
    pub choice: Choice,
    /// The key lengths of which PPP may agree on one; none if its packets are not to be encrypted.
    pub mppe: Vec<KeyLength>,
    /// Another program speaks PPP in it, over the session's socket of the kernel (`Auto::lend`): it has neither frames nor a device here.
    pub lent: bool,
}

impl SessionSpec {
    /// Says anew whether its data messages have sequence numbers.
    pub fn set_sequencing(&mut self, to: Sequencing) {
        let Encapsulation::V2 { sequencing, .. } = &mut self.encapsulation;
        *sequencing = to;
    }
}

/// What the peer lets us leave out of the PPP frames that we send: its LCP options (RFC 1661 sections 6.5 and 6.6).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Framing {
    /// The protocol field may be one octet.
    pub protocol_compression: bool,
    /// The address and control fields may be left out.
    pub address_control_compression: bool,
}

/// The addresses that IPCP agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ipv4Link {
    /// Ours.
    pub local: Ipv4Addr,
    /// The peer's.
    pub peer: Ipv4Addr,
}

/// The link-local addresses (`fe80::` and the interface identifier) that IPv6CP agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ipv6Link {
    /// Ours.
    pub local: Ipv6Addr,
    /// The peer's.
    pub peer: Ipv6Addr,
}

/// A route through a session, beside the peer's own address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Route {
    /// The destinations.
    pub to: IpNet,
    /// Metric; the kernel's default when absent.
    pub metric: Option<u32>,
}

/// How a session's packets are encrypted: by MPPE (RFC 3078).
///
/// The engine looks at CCP's packets as they pass. It begins anew when it sees our Reset-Ack, and hands a frame up ([`Event::Frame`](crate::Event::Frame)) that it can't decrypt for what
/// is missing before it, so that a Reset-Request is sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Encryption {
    /// Ours. As long as they stay the same, the encryption goes on where it is.
    pub keys: StartKeys,
    /// What CCP agreed on; while it negotiates none, and nothing is carried. The engine needs the keys before that, as the kernel takes the rest from CCP's packets.
    pub mode: Option<Mode>,
    /// The largest payload of a frame that the peer sends, octets.
    pub mru: u16,
}

/// How a session's network-layer traffic flows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// IPv4, when IPCP is open.
    pub ipv4: Option<Ipv4Link>,
    /// IPv6, when IPv6CP is open.
    pub ipv6: Option<Ipv6Link>,
    /// The largest IP packet to send: at most the peer's MRU. IPv6 needs at least 1280 (RFC 8200 section 5).
    pub mtu: u16,
    /// What to leave out of the frames that we send.
    pub framing: Framing,
    /// More routes through the session. With a route to everything (`0.0.0.0/0`), the peer's outer address keeps its present path.
    pub routes: Vec<Route>,
    /// How packets are encrypted; if they are, those in clear are not taken.
    pub encryption: Option<Encryption>,
    /// Answer for the peer's IPv4 address on the network that it is in, if we are in that too: its hosts reach the peer without a route.
    pub proxy_arp: bool,
}

#[cfg(feature = "tun")]
impl NetworkSpec {
    /// The inner addresses that are behind a session: the peer's own and those of its routes.
    pub(crate) fn inner_destinations(&self) -> impl Iterator<Item = IpNet> {
        let ipv4 = self.ipv4.map(|link| IpNet::from(IpAddr::from(link.peer)));
        let ipv6 = self.ipv6.map(|link| IpNet::from(IpAddr::from(link.peer)));
        let peer = ipv4.into_iter().chain(ipv6);
        peer.chain(self.open_routes().map(|route| route.to.trunc()))
    }

    /// The routes of the network layers that are open.
    pub(crate) fn open_routes(&self) -> impl Iterator<Item = &Route> {
        let open = |route: &&Route| match route.to {
            IpNet::V4(_) => self.ipv4.is_some(),
            IpNet::V6(_) => self.ipv6.is_some(),
        };
        self.routes.iter().filter(open)
    }
}

impl std::ops::AddAssign for Stats {
    /// Those of sequence numbers are of the left.
    fn add_assign(&mut self, other: Self) {
        self.rx_packets += other.rx_packets;
        self.rx_bytes += other.rx_bytes;
        self.rx_errors += other.rx_errors;
        self.tx_packets += other.tx_packets;
        self.tx_bytes += other.tx_bytes;
        self.tx_errors += other.tx_errors;
        self.by_programs += other.by_programs;
        self.by_kernel += other.by_kernel;
    }
}

/// What of a session's traffic went by one of several ways.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Share {
    /// Packets given to the host.
    pub rx_packets: u64,
    /// Their octets of IP.
    pub rx_bytes: u64,
    /// Data messages that could not be used.
    pub rx_errors: u64,
    /// Those of them whose sequence number came too late.
    pub rx_late: u64,
    /// Packets sent to the peer.
    pub tx_packets: u64,
    /// Their octets of IP.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
}

impl Share {
    fn combined(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self {
        Self {
            rx_packets: with(self.rx_packets, other.rx_packets),
            rx_bytes: with(self.rx_bytes, other.rx_bytes),
            rx_errors: with(self.rx_errors, other.rx_errors),
            rx_late: with(self.rx_late, other.rx_late),
            tx_packets: with(self.tx_packets, other.tx_packets),
            tx_bytes: with(self.tx_bytes, other.tx_bytes),
            tx_errors: with(self.tx_errors, other.tx_errors),
        }
    }

    /// The rest: what is not in `other`, which is part of this.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combined(other, u64::saturating_sub)
    }
}

impl std::ops::AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        *self = self.combined(&other, u64::wrapping_add);
    }
}

/// Counters of one session since its creation: IP packets carried, both network layers together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Stats {
    /// Packets received from the peer and given to the host.
    pub rx_packets: u64,
    /// Their octets of IP.
    pub rx_bytes: u64,
    /// Data messages of the session that could not be used: malformed, spoofed, refused by the device.
    pub rx_errors: u64,
    /// Packets sent to the peer.
    pub tx_packets: u64,
    /// Their octets of IP.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// What became of sequence numbers.
    pub sequencing: SequencingStats,
    /// The kernel says that the tunnel's socket has IPsec policies of its own; those of the whole host are no socket's.
    pub using_ipsec: bool,
    /// What of it programs in the kernel carried.
    pub by_programs: Share,
    /// What of it the kernel's L2TP driver did. The rest is of the engine in user space.
    pub by_kernel: Share,
}

impl Stats {
    /// All of it.
    #[must_use]
    pub const fn whole(&self) -> Share {
        Share {
            rx_packets: self.rx_packets,
            rx_bytes: self.rx_bytes,
            rx_errors: self.rx_errors,
            rx_late: self.sequencing.rx_discarded,
            tx_packets: self.tx_packets,
            tx_bytes: self.tx_bytes,
            tx_errors: self.tx_errors,
        }
    }

    /// What neither programs in the kernel nor its driver did.
    #[must_use]
    pub fn by_user_space(&self) -> Share {
        self.whole()
            .without(&self.by_programs)
            .without(&self.by_kernel)
    }

    /// What was counted after `before`, an earlier reading of the same session.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            rx_packets: self.rx_packets.saturating_sub(before.rx_packets),
            rx_bytes: self.rx_bytes.saturating_sub(before.rx_bytes),
            rx_errors: self.rx_errors.saturating_sub(before.rx_errors),
            tx_packets: self.tx_packets.saturating_sub(before.tx_packets),
            tx_bytes: self.tx_bytes.saturating_sub(before.tx_bytes),
            tx_errors: self.tx_errors.saturating_sub(before.tx_errors),
            sequencing: self.sequencing.since(&before.sequencing),
            using_ipsec: self.using_ipsec,
            by_programs: self.by_programs.without(&before.by_programs),
            by_kernel: self.by_kernel.without(&before.by_kernel),
        }
    }
}
