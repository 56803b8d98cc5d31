use std::net::Ipv4Addr;
use std::time::Duration;

use crypto::mppe::Mode;
use serde::{Deserialize, Serialize};

use super::{Link, Phase};
use crate::automaton::State;
use crate::{AuthProtocol, Cause, Counters};

/// How a link is, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its phase.
    pub phase: Phase,
    /// LCP's state.
    pub lcp: State,
    /// IPCP's state.
    pub ipcp: State,
    /// IPv6CP's state.
    pub ipv6cp: State,
    /// CCP's state, where encryption is wanted.
    pub ccp: Option<State>,
    /// How packets are encrypted, if they are.
    pub mppe: Option<Mode>,
    /// What the peer authenticates itself by.
    pub peer_auth: Option<AuthProtocol>,
    /// What we authenticate ourselves by.
    pub own_auth: Option<AuthProtocol>,
    /// The name that the peer gave.
    pub user: Option<String>,
    /// What we receive, in octets of payload.
    pub mru: u16,
    /// What the peer receives, in octets of payload.
    pub peer_mru: u16,
    /// The peer's async control character map.
    pub peer_accm: u32,
    /// Our magic number; 0 is none.
    pub magic: u32,
    /// The peer's magic number; 0 is none.
    pub peer_magic: u32,
    /// The peer receives compressed protocol fields.
    pub pfc: bool,
    /// The peer receives frames without address and control fields.
    pub acfc: bool,
    /// Our IPv4 address and the peer's.
    pub ipv4: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Our interface identifier and the peer's.
    pub ipv6: Option<([u8; 8], [u8; 8])>,
    /// The last LCP echo's round trip.
    pub round_trip: Option<Duration>,
    /// Echo-Requests in a row without a reply.
    pub echo_failures: u32,
    /// Frames.
    pub counters: Counters,
    /// Why it ended or is ending.
    pub cause: Option<Cause>,
}

impl Link {
    /// How the link is, for people.
    pub fn status(&self) -> Status {
        let lcp = &self.lcp.options;
        Status {
            phase: self.phase,
            lcp: self.lcp.state(),
            ipcp: self.ipv4.layer.state(),
            ipv6cp: self.ipv6.layer.state(),
            ccp: self.encryption.as_ref().map(|e| e.layer.state()),
            mppe: self.mppe(),
            peer_auth: lcp.demand,
            own_auth: lcp.peer.auth,
            user: self.user.as_deref().map(str::to_owned),
            mru: lcp.mru,
            peer_mru: lcp.peer.mru,
            peer_accm: self.peer_accm(),
            magic: lcp.magic,
            peer_magic: lcp.peer.magic,
            pfc: lcp.peer.pfc,
            acfc: lcp.peer.acfc,
            ipv4: self.ipv4_addresses(),
            ipv6: self.ipv6_identifiers(),
            round_trip: self.keepalive.round_trip,
            echo_failures: self.keepalive.failures,
            counters: self.io.counters,
            cause: self.cause.clone(),
        }
    }

    /// How packets are encrypted, if they are.
    pub fn mppe(&self) -> Option<Mode> {
        self.encryption.as_ref().and_then(|e| e.mode())
    }

    /// The link's phase.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The largest payload that the peer receives, in octets (RFC 1661 section 6.1).
    pub const fn peer_mru(&self) -> u16 {
        self.lcp.options.peer.mru
    }

    /// The characters that the peer wants escaped (RFC 1662 section 7.1); all, if it did not say. Or what [`Link::set_accm`] said.
    pub fn peer_accm(&self) -> u32 {
        let lcp = &self.lcp.options;
        lcp.told_maps.map_or(lcp.peer.accm, |(_, peer)| peer)
    }

    /// The characters that we want the peer to escape, as LCP agreed; all, if it did not. Or what [`Link::set_accm`] said.
    pub fn own_accm(&self) -> u32 {
        let lcp = &self.lcp.options;
        let agreed = lcp.accm.unwrap_or(u32::MAX);
        lcp.told_maps.map_or(agreed, |(own, _)| own)
    }

    /// While LCP is open, the options of the Configure-Requests that led there: ours and the peer's.
    pub fn lcp_requests(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let lcp = self.lcp.is_open().then_some(&self.lcp.options)?;
        Some((lcp.own_request(), lcp.peer_request.to_vec()))
    }

    /// Whether the peer receives compressed protocol fields (RFC 1661 section 6.5).
    pub const fn peer_accepts_pfc(&self) -> bool {
        self.lcp.options.peer.pfc
    }

    /// Whether the peer receives frames without address and control fields (RFC 1661 section 6.6).
    pub const fn peer_accepts_acfc(&self) -> bool {
        self.lcp.options.peer.acfc
    }

    /// Whether each network layer is up or has failed: none is being negotiated.
    pub fn network_is_settled(&self) -> bool {
        let pending = self.encryption.as_ref().is_some_and(|e| e.is_pending());
        !pending
            && !self.ipv4.layer.state().is_negotiating()
            && !self.ipv6.layer.state().is_negotiating()
    }

    /// Frames, counted.
    pub const fn counters(&self) -> &Counters {
        &self.io.counters
    }

    fn ipv4_addresses(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let ipcp = &self.ipv4.layer.options;
        if self.ipv4.is_up() {
            Some((ipcp.local()?, ipcp.peer()))
        } else {
            None
        }
    }

    fn ipv6_identifiers(&self) -> Option<([u8; 8], [u8; 8])> {
        let ipv6cp = &self.ipv6.layer.options;
        if self.ipv6.is_up() {
            Some((ipv6cp.id, ipv6cp.peer()?))
        } else {
            None
        }
    }
}
