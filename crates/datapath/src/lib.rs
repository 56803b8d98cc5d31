//! The datapath's trait and plain types, and one module an engine.
//!
//! A datapath carries the packets of established sessions between the peer (L2TP data messages on UDP) and the
//! host (IP on a device). It knows encapsulations and PPP's protocol field; it knows no AVP and no negotiation: every PPP frame that is
//! not a network-layer packet of an open session goes up as [`Event::Frame`], and every control message as [`Event::Control`].
//!
//! No call blocks. A [`Request`] that can fail carries a [`Token`], and its completion comes back as
//! [`Event::Completed`] through the [`EventSink`] that the engine was made with, from whatever thread.
//! Requests of one caller take effect in the order of submission, so a frame sent after [`Request::Create`] finds its session.

#[cfg(feature = "tun")]
pub mod auto;
#[cfg(feature = "tun")]
pub mod capture;
#[cfg(feature = "tun")]
mod clock;
#[cfg(feature = "tun")]
pub mod device;
#[cfg(feature = "tun")]
mod drops;
#[cfg(feature = "ebpf")]
pub mod ebpf;
#[cfg(all(feature = "tun", not(feature = "ebpf")))]
#[path = "ebpf/absent.rs"]
pub mod ebpf;
#[cfg(feature = "tun")]
mod ecn;
#[cfg(feature = "ebpf")]
mod ethtool;
#[cfg(feature = "tun")]
mod host;
#[cfg(feature = "tun")]
pub mod kernel;
#[cfg(feature = "tun")]
pub mod netlink;
pub mod null;
#[cfg(feature = "tun")]
pub mod socket;
#[cfg(feature = "tun")]
pub mod survey;
#[cfg(feature = "tun")]
mod thread;
#[cfg(feature = "tun")]
pub mod tun;

pub mod message;
mod sequencing;
mod spec;

use std::net::{IpAddr, SocketAddr};

use crypto::mppe::KeyLength;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

#[cfg(feature = "tun")]
pub use drops::{DropReason, Drops, UNCARRIED};
#[cfg(feature = "tun")]
pub(crate) use ecn::Ecn;
pub use sequencing::{Sequencer, Sequencing, SequencingStats, Verdict};
pub use spec::{
    Choice, Device, Encapsulation, Encryption, Framing, Ids, Ipv4Link, Ipv6Link, Listener,
    NetworkSpec, Outer, Route, SessionSpec, Share, Stats, Transport,
};

/// Names one request; the caller chooses it and gets it back in [`Event::Completed`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Token(pub u64);

/// Names one session; the caller chooses it and never reuses it while the session exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Handle(pub u64);

/// What is asked of a datapath.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Makes a session known, with no network-layer traffic yet: PPP frames flow both ways as [`Request::Send`] and [`Event::Frame`].
    Create {
        /// Completed with [`Completion::Created`].
        token: Token,
        /// The new session's name.
        handle: Handle,
        /// Where its packets go and come from.
        spec: SessionSpec,
    },
    /// Lets network-layer traffic of a session flow as `network` says, in place of what was said before; that stays when this fails.
    Configure {
        /// Completed with [`Completion::Device`].
        token: Token,
        /// An existing session.
        handle: Handle,
        /// Addresses, routes, MTU, framing.
        network: NetworkSpec,
    },
    /// Ends a session: its traffic stops at once, its device, addresses and routes are gone when this is completed.
    Remove {
        /// Completed with [`Completion::Stats`], the last reading.
        token: Token,
        /// An existing session.
        handle: Handle,
    },
    /// Reads a session's counters.
    Stats {
        /// Completed with [`Completion::Stats`].
        token: Token,
        /// An existing session.
        handle: Handle,
    },
    /// Joins two sessions that no network-layer traffic flows in: each PPP frame of the one goes to the peer of the other from now on, and none comes
    /// up, until one of them is removed. What is left then is as before.
    Join {
        /// Completed with [`Completion::Joined`].
        token: Token,
        /// An existing session.
        handle: Handle,
        /// Another.
        with: Handle,
    },
    /// Says anew whether a session's data messages have sequence numbers; the count of those that had some goes on. Never completed.
    SetSequencing {
        /// An existing session; nothing for any other.
        handle: Handle,
        /// From now on.
        sequencing: Sequencing,
    },
    /// Leaves the UDP checksum of a session's datagrams out from now on, or puts it in. Never completed.
    SetChecksums {
        /// An existing session; nothing for any other.
        handle: Handle,
        /// Whether to leave it out.
        no_checksum: bool,
    },
    /// Sends one PPP frame of a session to the peer. Never completed; a frame that can't be sent is counted and dropped.
    Send {
        /// An existing session; a frame for any other is dropped.
        handle: Handle,
        /// The PPP frame from its protocol field on (or from `FF 03`): the L2TP header is the datapath's.
        frame: Vec<u8>,
    },
    /// Keeps these addresses for sessions on the shared device, in place of those before: what is for one that no session has is answered as
    /// unreachable. By the route that it would take otherwise it could come back, for ever. Never completed.
    Reserve {
        /// The addresses; none gives them all up.
        nets: Vec<IpNet>,
    },
}

impl Request {
    /// The session that it is about, where it is about one.
    #[must_use]
    pub const fn handle(&self) -> Option<Handle> {
        match self {
            Self::Create { handle, .. }
            | Self::Configure { handle, .. }
            | Self::Remove { handle, .. }
            | Self::Stats { handle, .. }
            | Self::Join { handle, .. }
            | Self::SetSequencing { handle, .. }
            | Self::SetChecksums { handle, .. }
            | Self::Send { handle, .. } => Some(*handle),
            Self::Reserve { .. } => None,
        }
    }
}

/// An engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Engine {
    /// [`null`].
    Null,
    /// `tun`.
    Tun,
    /// `tun`, with programs in the kernel that carry the common packets.
    Ebpf,
    /// `kernel`.
    Kernel,
}

impl Engine {
    /// Its name as configuration and `show` have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Tun => "tun",
            Self::Ebpf => "ebpf",
            Self::Kernel => "kernel",
        }
    }

    /// Whether MPPE goes on when a Configure-Request of CCP passes: Linux stops to encrypt, and can't go on from where it was.
    #[must_use]
    pub const fn outlives_requests(self) -> bool {
        match self {
            Self::Null | Self::Tun | Self::Ebpf => true,
            Self::Kernel => false,
        }
    }

    /// The key lengths of MPPE that it has.
    #[must_use]
    pub const fn key_lengths(self) -> &'static [KeyLength] {
        match self {
            Self::Null | Self::Tun | Self::Ebpf => &KeyLength::ALL,
            Self::Kernel => &[KeyLength::Bits128, KeyLength::Bits40],
        }
    }
}

/// How a request ended well.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Completion {
    /// The session is on this engine.
    Created(Engine),
    /// The session's traffic flows through the device of this name.
    Device(String),
    /// The session's counters.
    Stats(Stats),
    /// The sessions are joined.
    Joined,
}

/// Why a request failed: the machine's lack or the configuration, never the peer's fault.
#[derive(Clone, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
pub enum DatapathError {
    /// No session has this handle.
    #[error("no such session in the datapath")]
    NoSuchSession,
    /// Another session has these local ids or this handle.
    #[error("the session's ids are in use")]
    InUse,
    /// Another session of the shared device has this peer address.
    #[error("the peer address {0} is in use by another session")]
    AddressInUse(IpAddr),
    /// This engine can't do what the specification asks.
    #[error("not supported by this datapath: {0}")]
    Unsupported(String),
    /// The kernel refused.
    #[error("{what}: {reason}")]
    System {
        /// What was tried, with its object: `create device ppp0`.
        what: String,
        /// The kernel's words.
        reason: String,
    },
}

impl DatapathError {
    pub(crate) fn cannot_join() -> Self {
        Self::Unsupported("joining sessions, which is the kernel's".to_owned())
    }
}

#[cfg(feature = "tun")]
impl DatapathError {
    /// The kernel's refusal of `what`.
    pub(crate) fn system(what: impl Into<String>, error: &std::io::Error) -> Self {
        let reason = match error.kind() {
            std::io::ErrorKind::PermissionDenied => format!("{error}; CAP_NET_ADMIN is needed"),
            _ => error.to_string(),
        };
        Self::System {
            what: what.into(),
            reason,
        }
    }
}

/// What a datapath reports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A request ended.
    Completed {
        /// The request's token.
        token: Token,
        /// How.
        result: Result<Completion, DatapathError>,
    },
    /// A datagram with the T bit set, or one that can't be read as L2TP at all: its meaning is the control plane's to find.
    Control {
        /// Whose socket it came to: answers leave through that.
        listener: Listener,
        /// The address and port that it was sent to: answers leave from there.
        local: SocketAddr,
        /// The address and port that it came from.
        remote: SocketAddr,
        /// The whole UDP payload.
        payload: Vec<u8>,
    },
    /// A data message that no open session's network layer takes: PPP control, or any frame of a session not (yet) known here.
    Frame {
        /// Whose socket it came to.
        listener: Listener,
        /// The address and port that it was sent to.
        local: SocketAddr,
        /// The address and port that it came from.
        remote: SocketAddr,
        /// The ids of its header, ours.
        ids: Ids,
        /// Its sequence number, when it has one.
        ns: Option<u16>,
        /// The PPP frame: from `FF 03` or the protocol field on.
        frame: Vec<u8>,
    },
    /// The path to a peer of sessions with [`Outer::dont_fragment`]: each time that one is created, and when it changes.
    PathMtu {
        /// Whose sockets take it.
        listener: Listener,
        /// The peer's address.
        remote: IpAddr,
        /// The largest IP packet that goes through whole.
        mtu: u16,
    },
    /// The network says that a datagram did not reach a peer. Anybody can say so: it is a hint.
    Unreachable {
        /// Whose socket it left through.
        listener: Listener,
        /// Where it was to go.
        remote: SocketAddr,
        /// The kernel's words for what was said.
        reason: String,
    },
    /// A session has another engine from now on. Its counters go on.
    Moved {
        /// The session.
        handle: Handle,
        /// The new one.
        engine: Engine,
    },
    /// Why no faster engine carries a session than the one that does; said when it is known, and when it changes.
    NoFaster {
        /// The session.
        handle: Handle,
        /// In a few words: "its messages have sequence numbers".
        why: String,
    },
    /// A session's device is gone or broken through no request of ours.
    Failed {
        /// The session.
        handle: Handle,
        /// Why.
        error: DatapathError,
    },
}

/// Where a datapath puts its events. Called from the engine's own threads, with many events at a time when there are many.
pub trait EventSink: Send + Sync {
    /// Takes `events` out of the vector, leaving its capacity to the caller. Must not block.
    fn deliver(&self, events: &mut Vec<Event>);
}

/// A datapath engine.
pub trait Datapath: Send {
    /// The engine's name as configuration and `show` have it: `tun`, `null`.
    fn name(&self) -> &'static str;

    /// Takes every request out of `requests`, in order. Does not block.
    fn submit(&mut self, requests: &mut Vec<Request>);
}
