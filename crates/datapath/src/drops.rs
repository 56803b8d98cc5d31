//! Why packets go no further: a sum for each reason, which one thread adds to and any other reads.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a packet, or a datagram with one, goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// From the host, to a destination that no session has.
    NoSession,
    /// Of a network layer that is not open on its session.
    LayerClosed,
    /// The session has no device at the moment.
    NoDevice,
    /// From the host, and larger than the session's MTU.
    TooLarge,
    /// No packet of IP, or not of the protocol that its frame says, or with an offload that it can't have.
    Malformed,
    /// From the host, and a datagram of the tunnel itself, which would go round for ever.
    Loop,
    /// A data message from an address or port that is not the peer's.
    WrongPeer,
    /// From the peer, with a source that is not behind it.
    SpoofedSource,
    /// From the peer, in clear where packets are encrypted.
    Unencrypted,
    /// From the peer, and not to be decrypted.
    Undecryptable,
    /// A data message whose sequence number came too late, or twice.
    Late,
    /// A data message without a sequence number where one is required.
    Unnumbered,
    /// The network marked the outside, and the packet has no way to tell (RFC 6040 section 4.2).
    Congestion,
    /// The device did not take it.
    DeviceRefused,
    /// The kernel did not send it.
    SendRefused,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::NoSession,
        Self::LayerClosed,
        Self::NoDevice,
        Self::TooLarge,
        Self::Malformed,
        Self::Loop,
        Self::WrongPeer,
        Self::SpoofedSource,
        Self::Unencrypted,
        Self::Undecryptable,
        Self::Late,
        Self::Unnumbered,
        Self::Congestion,
        Self::DeviceRefused,
        Self::SendRefused,
    ];

    /// Its name as statistics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSession => "no_session",
            Self::LayerClosed => "layer_closed",
            Self::NoDevice => "no_device",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Loop => "loop",
            Self::WrongPeer => "wrong_peer",
            Self::SpoofedSource => "spoofed_source",
            Self::Unencrypted => "unencrypted",
            Self::Undecryptable => "undecryptable",
            Self::Late => "late",
            Self::Unnumbered => "unnumbered",
            Self::Congestion => "congestion",
            Self::DeviceRefused => "device_refused",
            Self::SendRefused => "send_refused",
        }
    }
}

/// Why a packet of a session is not carried by programs in the kernel, as statistics have it (`enum reason` of `l2tp.bpf.c`): what is `left` is `tun`'s to
/// carry or to drop.
pub const UNCARRIED: [&str; 15] = [
    "left.layer_closed",
    "left.no_packet",
    "left.too_large",
    "left.large_mss",
    "left.loop",
    "left.checksum",
    "left.no_path",
    "left.near_end",
    "left.wrong_peer",
    "left.spoofed_source",
    "left.merged",
    "left.congestion",
    "left.no_room",
    "dropped.unfinished",
    "dropped.stranger",
];

/// The sums of an engine since its start.
#[derive(Debug)]
pub struct Drops([AtomicU64; DropReason::ALL.len()]);

impl Default for Drops {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Drops {
    /// Packets that went no further for this reason.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }

    /// All reasons, and how many packets each has stopped.
    pub fn all(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL
            .into_iter()
            .map(|reason| (reason, self.of(reason)))
    }

    pub(crate) fn count(&self, reason: DropReason, packets: u64) {
        self.0[reason as usize].fetch_add(packets, Ordering::Relaxed);
    }
}
