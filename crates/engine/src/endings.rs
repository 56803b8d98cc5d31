//! How sessions end: PPP first, then the call, then all that the session held.

use datapath::Request;
use l2tp::Disconnect;
use ppp::Cause;
use sansio::Time;

use crate::hooks::{HookEnd, HookEvent};
use crate::networks::Networks;
use crate::reasons::{Why, disconnect};
use crate::sessions::Pending;
use crate::{Engine, Event, Output};

impl Engine {
    /// PPP is over, and with it its call.
    pub(crate) fn link_closed(&mut self, tunnel: u16, id: u16, cause: &Cause) {
        self.counters.ppp.links_closed += 1;
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        if let Cause::NoResources(lacking) = cause {
            session.fault = Some(lacking.clone());
        }
        let has_ipv4 = session.setup.profile.use_ipv4();
        let said = disconnect(cause, &session.link, has_ipv4);
        self.close_call(tunnel, id, said);
    }

    /// Begins the orderly end of a session's PPP, which ends its call; false when it has no PPP.
    pub(crate) fn end_link(&mut self, tunnel: u16, id: u16, cause: Cause, now: Time) -> bool {
        let session = self
            .tunnels
            .get_mut(&tunnel)
            .and_then(|tunnel| tunnel.sessions.get_mut(&id))
            .filter(|session| !session.no_ppp);
        let Some(session) = session else {
            return false;
        };
        session.ending = Some(cause.to_string());
        if session.pppd.is_none() {
            session.link.close(cause, now, &mut self.rng);
        } else if !self.stop_pppd(tunnel, id, &cause) {
            self.link_closed(tunnel, id, &cause);
        }
        true
    }

    /// Sends CDN; what follows from it comes as the tunnel's events.
    pub(crate) fn close_call(&mut self, tunnel: u16, id: u16, reason: Disconnect) {
        if let Some(tunnel) = self.tunnels.get_mut(&tunnel) {
            tunnel.control.close_call(id, reason);
        }
    }

    /// Forgets a session whose call is over, and gives back what it held.
    pub(crate) fn end_session(&mut self, tunnel_id: u16, id: u16, reason: &Why, now: Time) {
        let Some(tunnel) = self.tunnels.get_mut(&tunnel_id) else {
            return;
        };
        let (remote, source) = (tunnel.remote, tunnel.source());
        let session = tunnel.sessions.remove(&id);
        self.abandon_prepared(tunnel_id, id);
        let was_up = session.as_ref().is_some_and(|session| session.was_up);
        self.counters.setup.session_failures += u64::from(!was_up);
        let lacking = session
            .as_ref()
            .and_then(|session| session.fault.as_deref());
        let (told, fault) = (reason.with_fault(lacking), lacking.is_some());
        let reason = &told;
        if let Some(mut session) = session {
            if session.was_up {
                self.limits.session_down(source);
            }
            let handle = session.handle;
            if let Some(pppd) = session.pppd.take() {
                self.drop_pppd(handle, &pppd);
            }
            let counted = self.retire_session(&session);
            let token = self.expect(Pending::Remove(tunnel_id, counted));
            self.outputs
                .push_back(Output::Datapath(Request::Remove { token, handle }));
            self.wheel.remove(session.entry);
            if let Some(address) = session.lent {
                self.addresses.give_back(address);
            }
            let user = session.user.as_deref().map(str::to_owned);
            let end = HookEnd::new(Some(&reason.text), session.since, now);
            let about = self
                .has_hooks()
                .then(|| self.hooked_session(tunnel_id, id, &session));
            let more = about.map(|about| (about, end, token));
            let gone = session.networks_gone(session.networks(), Networks::default());
            self.tell_networks_down((tunnel_id, id), gone, more.clone());
            self.event(Event::SessionDown {
                tunnel: tunnel_id,
                session: id,
                remote,
                user,
                reason: reason.text.clone(),
                was_up: session.was_up,
                fault,
            });
            if let Some((about, end, token)) = more.filter(|_| session.was_up) {
                self.hook_session(tunnel_id, about, HookEvent::SessionDown(end), Some(token));
            }
        } else if self.created_session(tunnel_id, id).is_some() {
            // What an operator asked for and never came up, which nothing else may tell.
            self.event(Event::SessionDown {
                tunnel: tunnel_id,
                session: id,
                remote,
                user: None,
                reason: reason.text.clone(),
                was_up: false,
                fault,
            });
        }
        self.created_call_ended(tunnel_id, id, reason, now);
    }
}
