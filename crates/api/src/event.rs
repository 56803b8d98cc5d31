use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that happened, with its place among everything that did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EventRecord {
    /// Where it stands: what a reader that comes back hands in. Of the daemon's start, and a number that goes up by one with each event.
    pub id: String,
    /// When, milliseconds since 1970 (UTC).
    pub time: u64,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened. As JSON, `type` says which of these it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A control connection is up.
    TunnelUp {
        /// Our Tunnel ID.
        tunnel_id: u16,
        /// The peer.
        remote: SocketAddr,
        /// Its Host Name.
        host_name: String,
    },
    /// A control connection ended, or could not be made.
    TunnelDown {
        /// Our Tunnel ID.
        tunnel_id: u16,
        /// The peer.
        remote: SocketAddr,
        /// Why.
        reason: String,
        /// Whether it was ever established.
        was_up: bool,
    },
    /// A tunnel that we made can't be tried now.
    TunnelFailed {
        /// Its name or destination.
        tunnel_name: String,
        /// Why.
        reason: String,
        /// Seconds until the next attempt, if there is one.
        retry_seconds: Option<u64>,
    },
    /// A tunnel was asked for and refused.
    TunnelRefused {
        /// The peer.
        remote: SocketAddr,
        /// Its Host Name.
        host_name: String,
        /// Why.
        reason: String,
    },
    /// A session carries traffic.
    SessionUp {
        /// Our Tunnel ID.
        tunnel_id: u16,
        /// Our Session ID.
        session_id: u16,
        /// Who proved to be the peer, or who we proved to be.
        user_name: Option<String>,
        /// The network device.
        interface_name: String,
        /// Our IPv4 address inside.
        local_ipaddr: Option<IpAddr>,
        /// The peer's IPv4 address inside.
        remote_ipaddr: Option<IpAddr>,
    },
    /// A session ended, or could not be made.
    SessionDown {
        /// Our Tunnel ID.
        tunnel_id: u16,
        /// Our Session ID.
        session_id: u16,
        /// The tunnel's peer.
        remote: SocketAddr,
        /// Who it was.
        user_name: Option<String>,
        /// Why.
        reason: String,
        /// Whether it ever carried traffic.
        was_up: bool,
    },
    /// A network layer of PPP came up: IPv4, or IPv6 with link-local addresses.
    PppUp {
        /// Our Tunnel ID.
        tunnel_id: u16,
        /// Our Session ID.
        session_id: u16,
        /// Our address inside.
        local_ipaddr: IpAddr,
        /// The peer's address inside.
        remote_ipaddr: IpAddr,
    },
    /// A network layer of PPP went down.
    PppDown {
        /// Our Tunnel ID.
        tunnel_id: u16,
        /// Our Session ID.
        session_id: u16,
        /// Our address inside, as it was.
        local_ipaddr: IpAddr,
        /// The peer's address inside, as it was.
        remote_ipaddr: IpAddr,
    },
    /// A peer proved who it is, or failed to.
    Authentication {
        /// Our Tunnel ID.
        tunnel_id: u16,
        /// Our Session ID.
        session_id: u16,
        /// The tunnel's peer.
        remote: SocketAddr,
        /// The name given.
        user_name: String,
        /// Whether it was right.
        accepted: bool,
        /// Why not. The peer was not told.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<String>,
    },
    /// The configuration changed.
    ConfigChanged {
        /// The class of the object: `user`, `ppp profile`, `system`; `configuration file` where that was read again.
        object: String,
        /// What was done to it: `create`, `modify`, `unset`, `delete`; `reload`.
        operation: String,
        /// Its name, where it has one.
        name: Option<String>,
    },
    /// The reader missed something, because it was away or slow for too long, or because the daemon was started anew.
    Gap {
        /// How many events; not known where the daemon was started anew.
        lost: Option<u64>,
    },
}

impl Event {
    /// Every type that can be asked for.
    pub const TYPES: [&str; 10] = [
        "tunnel_up",
        "tunnel_down",
        "tunnel_failed",
        "tunnel_refused",
        "session_up",
        "session_down",
        "ppp_up",
        "ppp_down",
        "authentication",
        "config_changed",
    ];

    /// Its `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TunnelUp { .. } => "tunnel_up",
            Self::TunnelDown { .. } => "tunnel_down",
            Self::TunnelFailed { .. } => "tunnel_failed",
            Self::TunnelRefused { .. } => "tunnel_refused",
            Self::SessionUp { .. } => "session_up",
            Self::SessionDown { .. } => "session_down",
            Self::PppUp { .. } => "ppp_up",
            Self::PppDown { .. } => "ppp_down",
            Self::Authentication { .. } => "authentication",
            Self::ConfigChanged { .. } => "config_changed",
            Self::Gap { .. } => "gap",
        }
    }

    /// Our Tunnel ID of the tunnel that it is about, if there is one.
    pub fn tunnel_id(&self) -> Option<u16> {
        match self {
            Self::TunnelUp { tunnel_id, .. }
            | Self::TunnelDown { tunnel_id, .. }
            | Self::SessionUp { tunnel_id, .. }
            | Self::SessionDown { tunnel_id, .. }
            | Self::PppUp { tunnel_id, .. }
            | Self::PppDown { tunnel_id, .. }
            | Self::Authentication { tunnel_id, .. } => Some(*tunnel_id),
            Self::TunnelFailed { .. }
            | Self::TunnelRefused { .. }
            | Self::ConfigChanged { .. }
            | Self::Gap { .. } => None,
        }
    }
}

/// Which events to follow: those for which all that is given holds.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct EventFilter {
    /// Of these types ([`Event::TYPES`]); of any, if there is none.
    pub types: Vec<String>,
    /// About this tunnel, by our Tunnel ID, and its sessions.
    pub tunnel: Option<u16>,
}

impl EventFilter {
    /// Whether it lets an event through.
    pub fn admits(&self, event: &Event) -> bool {
        (self.types.is_empty() || self.types.iter().any(|wanted| wanted == event.kind()))
            && (self.tunnel.is_none() || self.tunnel == event.tunnel_id())
    }
}
