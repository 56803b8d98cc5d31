//! What a session's two ends tell each other of its line: the LAC what goes wrong on it (WEN), the LNS what LCP agreed on (SLI).

use std::time::Duration;

use api::Role;
use datapath::{Request, Stats};
use l2tp::{CallParams, LinkInfo};
use sansio::Time;
use serde::{Deserialize, Serialize};
use wire::l2tp::{CallErrors, FramingTypes, TransmissionMaps};

use crate::sessions::{Pending, Session};
use crate::{Engine, Output};

/// How often the datapath is asked for the errors of a session: as often as a WEN may go out (RFC 2661 section 6.13).
const ERRORS_INTERVAL: Duration = Duration::from_secs(60);

/// The map of characters of a line on which nothing else was agreed (RFC 2661 section 4.4.6).
const ALL_ESCAPED: u32 = u32::MAX;

/// When the errors of a session's line are asked for, and what they were. Only a LAC reports them, while its session is up.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    ask_at: Option<Time>,
    errors: u64,
}

impl Session {
    /// It carries traffic from now on.
    pub(crate) fn watch_line(&mut self, now: Time) {
        self.line.ask_at = (self.role == Role::Lac).then_some(now + ERRORS_INTERVAL);
    }

    /// When its line is to be looked at.
    pub(crate) fn line_timeout(&self) -> Option<Time> {
        self.line.ask_at
    }

    /// The LNS says what LCP agreed on: our PPP follows its maps. What the LAC sends on its line is what our PPP receives.
    pub(crate) fn heard_link_info(&mut self, info: LinkInfo) {
        if let Some(maps) = info.maps {
            self.link.set_accm(maps.send, maps.receive);
        }
        self.link_info = Some(Box::new(info));
    }

    /// The characters that the LAC escapes when it sends on its line, and those that are escaped for it; at the LAC, as PPP has them now.
    pub(crate) fn told_maps(&self) -> Option<(u32, u32)> {
        let told = self.link_info.as_ref().and_then(|told| told.maps);
        told.map(|maps| match self.role {
            Role::Lac => (self.link.own_accm(), self.link.peer_accm()),
            Role::Lns => (maps.send, maps.receive),
        })
    }

    /// What the LAC of a call that we serve is told of the link: the characters that LCP agreed to escape, of an asynchronous line and if not
    /// all are; and LCP's last requests, where the LAC guided it (RFC 3437 section 2.3).
    fn told_to_lac(&self) -> Option<LinkInfo> {
        let params = &self.call.params;
        if let Some(pppd) = &self.pppd {
            let maps = pppd.maps.filter(|_| self.role == Role::Lns)?;
            return self.news_of_maps(maps);
        }
        let (ours, theirs) = self
            .link
            .lcp_requests()
            .filter(|_| self.role == Role::Lns)?;
        let maps = TransmissionMaps {
            send: self.link.peer_accm(),
            receive: self.link.own_accm(),
        };
        if is_guided(params) {
            return Some(LinkInfo {
                maps: Some(maps),
                lns_last_sent: Some(ours),
                lns_last_received: Some(theirs),
            });
        }
        self.news_of_maps(maps)
    }

    fn news_of_maps(&self, maps: TransmissionMaps) -> Option<LinkInfo> {
        let before = self.link_info.as_ref().and_then(|told| told.maps);
        let is_async = self.call.params.framing_type.contains(FramingTypes::ASYNC);
        let news = before.is_some() || (maps.send, maps.receive) != (ALL_ESCAPED, ALL_ESCAPED);
        (is_async && news).then_some(LinkInfo {
            maps: Some(maps),
            ..LinkInfo::default()
        })
    }
}

/// Whether the LAC of a call says what its line wants of LCP.
pub(crate) fn is_guided(call: &CallParams) -> bool {
    call.lcp_want_options.is_some() || call.lcp_allow_options.is_some()
}

impl Engine {
    /// Tells the LAC of a call that we serve what it does not know of the link yet.
    pub(crate) fn tell_link_info(&mut self, tunnel: u16, id: u16) {
        let Some(t) = self.tunnels.get_mut(&tunnel) else {
            return;
        };
        let Some(session) = t.sessions.get_mut(&id) else {
            return;
        };
        let told = session.told_to_lac();
        if let Some(info) = told.filter(|info| session.link_info.as_deref() != Some(info)) {
            t.control.set_link_info(id, &info, &mut self.rng);
            session.link_info = Some(Box::new(info));
        }
    }

    /// Asks the datapath for a session's errors, if it is time to.
    pub(crate) fn look_at_line(&mut self, tunnel: u16, id: u16, now: Time) {
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        if session.line.ask_at.is_none_or(|at| at > now) {
            return;
        }
        session.line.ask_at = session.up.then_some(now + ERRORS_INTERVAL);
        let handle = session.handle;
        if session.up {
            let token = self.expect(Pending::Errors(handle, tunnel, id));
            self.outputs
                .push_back(Output::Datapath(Request::Stats { token, handle }));
        }
    }

    /// The datapath has read a session's counters: what is new of its errors, its LNS hears. A datapath tells none apart: what it can't take is
    /// framed improperly.
    pub(crate) fn line_errors(&mut self, tunnel: u16, id: u16, stats: &Stats, now: Time) {
        let count = stats.rx_errors;
        let Some(t) = self.tunnels.get_mut(&tunnel) else {
            return;
        };
        let Some(session) = t.sessions.get_mut(&id) else {
            return;
        };
        let errors = CallErrors {
            framing: u32::try_from(count).unwrap_or(u32::MAX),
            ..CallErrors::default()
        };
        if session.line.errors != count && t.control.report_errors(id, errors, now, &mut self.rng) {
            session.line.errors = count;
            session.call_errors = Some(errors);
        }
        self.settle(tunnel, now);
    }
}
