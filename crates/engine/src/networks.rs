//! The network layers of a session's PPP, as they come and go.

use std::net::IpAddr;

use datapath::{Request, Token};
use sansio::Time;

use crate::hooks::{HookEnd, HookEvent};
use crate::sessions::{Pending, Session};
use crate::{Engine, Event, HookSession, Output};

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

    /// Takes out those of `before` that were told of and are no more.
    pub(crate) fn networks_gone(&mut self, before: Networks, after: Networks) -> Networks {
        let mut gone = Networks::default();
        for (at, was) in before.into_iter().enumerate() {
            if self.told[at] && was != after[at] {
                (gone[at], self.told[at]) = (was, false);
            }
        }
        gone
    }
}

impl Engine {
    /// Says which network layers carry traffic that did not.
    pub(crate) fn tell_networks_up(&mut self, tunnel: u16, id: u16) {
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        if !session.up || session.configuring != 0 {
            return;
        }
        let networks = session.networks();
        let told = std::mem::replace(&mut session.told, networks.map(|up| up.is_some()));
        let new = networks.into_iter().zip(told).filter(|(_, told)| !told);
        for (local, peer) in new.filter_map(|(network, _)| network) {
            self.event(Event::PppUp {
                tunnel,
                session: id,
                local,
                peer,
            });
            if let Some(session) = self.hooked(tunnel, id) {
                self.hook_session(tunnel, session, HookEvent::PppUp(local, peer), None);
            }
        }
    }

    /// Says which network layers no longer carry what they did `before`, in a session that goes on.
    pub(crate) fn networks_changed(&mut self, tunnel: u16, id: u16, before: Networks, now: Time) {
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        let gone = session.networks_gone(before, session.networks());
        if gone == Networks::default() {
            return;
        }
        let (handle, since) = (session.handle, session.since);
        let reason = session.ending.clone();
        let Some(about) = self.hooked(tunnel, id) else {
            return self.tell_networks_down((tunnel, id), gone, None);
        };
        let about = HookSession {
            networks: before,
            ..about
        };
        let token = self.expect(Pending::Carried(tunnel));
        let end = HookEnd::new(reason.as_deref(), since, now);
        self.tell_networks_down((tunnel, id), gone, Some((about, end, token)));
        self.outputs
            .push_back(Output::Datapath(Request::Stats { token, handle }));
    }

    /// Says that network layers went down; and to those who are to be told more, of which session, how, and which request reads its counters.
    pub(crate) fn tell_networks_down(
        &mut self,
        (tunnel, session): (u16, u16),
        gone: Networks,
        more: Option<(HookSession, HookEnd, Token)>,
    ) {
        for (local, peer) in gone.into_iter().flatten() {
            self.event(Event::PppDown {
                tunnel,
                session,
                local,
                peer,
            });
            if let Some((about, end, token)) = more.clone() {
                let event = HookEvent::PppDown(local, peer, end);
                self.hook_session(tunnel, about, event, Some(token));
            }
        }
    }
}
