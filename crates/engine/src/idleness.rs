//! Sessions that end when nothing goes through them: the datapath is asked now and then what went.

use std::time::Duration;

use datapath::{Request, Stats};
use ppp::Cause;
use sansio::Time;
use serde::{Deserialize, Serialize};

use crate::policy::unless_zero;
use crate::sessions::{Pending, Session};
use crate::{Engine, Output};

/// How often the counters are read within the time that a session may be idle for: it ends late by as much at most.
const READINGS: u32 = 8;

/// When a session's traffic is looked at, and what it was.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Idleness {
    look_at: Option<Time>,
    packets: u64,
    /// When there was some last.
    since: Time,
}

impl Idleness {
    /// When the traffic is to be looked at.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.look_at
    }
}

impl Session {
    fn may_idle(&self) -> Option<Duration> {
        unless_zero(self.setup.profile.idle_timeout()).filter(|_| self.up)
    }

    /// It carries traffic from now on.
    pub(crate) fn watch_traffic(&mut self, now: Time) {
        self.idleness.since = now;
        self.idleness.look_at = self.may_idle().map(|most| now + most / READINGS);
    }
}

impl Engine {
    /// Asks the datapath for a session's traffic, if it is time to.
    pub(crate) fn look_for_traffic(&mut self, tunnel: u16, id: u16, now: Time) {
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        if session.idleness.look_at.is_none_or(|at| at > now) {
            return;
        }
        let most = session.may_idle();
        session.idleness.look_at = most.map(|most| now + most / READINGS);
        let handle = session.handle;
        if most.is_some() {
            let token = self.expect(Pending::Activity(handle, tunnel, id));
            let request = Request::Stats { token, handle };
            self.outputs.push_back(Output::Datapath(request));
        }
    }

    /// Ends a session through which nothing went for too long.
    pub(crate) fn traffic_seen(&mut self, tunnel: u16, id: u16, stats: &Stats, now: Time) {
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        let packets = stats.rx_packets + stats.tx_packets;
        let idleness = &mut session.idleness;
        if idleness.packets != packets {
            (idleness.packets, idleness.since) = (packets, now);
        }
        let idle = now.saturating_since(idleness.since);
        if session.may_idle().is_some_and(|most| idle >= most) {
            session.idleness.look_at = None;
            self.end_link(tunnel, id, Cause::IdleTimeout, now);
            self.settle_session(tunnel, id, now);
            self.settle(tunnel, now);
        }
    }
}
