//! The peers that there are tunnels with: how many, by our address and the peer's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;

use api::PeerStatus;

/// A peer: our address, and its own.
pub(crate) type Ends = (IpAddr, IpAddr);

/// Tunnels by their peer.
#[derive(Clone, Default)]
pub(crate) struct Peers(BTreeMap<Ends, u32>);

impl Peers {
    pub(crate) fn insert(&mut self, ends: Ends) {
        *self.0.entry(ends).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, ends: Ends) {
        if let Some(tunnels) = self.0.get_mut(&ends) {
            *tunnels -= 1;
            if *tunnels == 0 {
                self.0.remove(&ends);
            }
        }
    }

    pub(crate) fn get(&self, ends: Ends) -> Option<PeerStatus> {
        self.0.get(&ends).map(|&tunnels| status(ends, tunnels))
    }

    /// Those after `ends`.
    pub(crate) fn after(&self, ends: Option<Ends>) -> impl Iterator<Item = PeerStatus> {
        let start = ends.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.0.range((start, Bound::Unbounded));
        later.map(|(&ends, &tunnels)| status(ends, tunnels))
    }
}

fn status((local_ipaddr, peer_ipaddr): Ends, tunnels: u32) -> PeerStatus {
    PeerStatus {
        local_ipaddr,
        peer_ipaddr,
        tunnels,
    }
}
