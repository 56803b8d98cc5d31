//! The network layers of a session's PPP, as they come and go.

use std::net::IpAddr;

use crate::sessions::Session;
use crate::{Engine, Event};

/// Our address and the peer's, of IPv4 and of IPv6, where they are up.
pub(crate) type Networks = [Option<(IpAddr, IpAddr)>; 2];

impl Session {
    /// Those that are up.
    pub(crate) fn networks(&self) -> Networks {
        [
            self.ipv4.map(|link| (link.local.into(), link.peer.into())),
            self.ipv6.map(|link| (link.local.into(), link.peer.into())),
        ]
    }
}

impl Engine {
    /// Says which network layers came up and went down.
    pub(crate) fn tell_networks(
        &mut self,
        tunnel: u16,
        session: u16,
        before: Networks,
        after: Networks,
    ) {
        for (was, is) in before.into_iter().zip(after).filter(|(was, is)| was != is) {
            if let Some((local, peer)) = was {
                self.event(Event::PppDown {
                    tunnel,
                    session,
                    local,
                    peer,
                });
            }
            if let Some((local, peer)) = is {
                self.event(Event::PppUp {
                    tunnel,
                    session,
                    local,
                    peer,
                });
            }
        }
    }
}
