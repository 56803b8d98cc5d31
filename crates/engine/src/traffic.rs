//! What goes through a session: its counters, which the datapath keeps, and its sequence numbers.

use api::{CommandError, ErrorKind, Response, SessionTraffic};
use datapath::{Completion, DatapathError, Request, Sequencing, Stats};
use sansio::Time;

use crate::commands::{WhichSession, no_session};
use crate::sessions::Pending;
use crate::{Engine, Output, Token};

impl Engine {
    /// Answers a command with a session's status: when the datapath has read the counters, if it knows the session.
    pub(crate) fn begin_show_session(&mut self, token: Token, which: WhichSession, now: Time) {
        let call = self.call_of(which);
        let known = call.and_then(|(tunnel, id)| {
            let handle = self.session_mut(tunnel, id)?.handle;
            Some((handle, tunnel, id))
        });
        let Some((handle, tunnel, id)) = known else {
            let status = self.session_status(which, now).ok_or_else(no_session);
            let result = status.map(Box::new).map(Response::Session);
            self.outputs.push_back(Output::Reply { token, result });
            return;
        };
        let token = self.expect(Pending::Show(token, tunnel, id));
        self.outputs
            .push_back(Output::Datapath(Request::Stats { token, handle }));
    }

    /// The datapath has read a session's counters, or has none.
    pub(crate) fn show_session(
        &mut self,
        token: Token,
        (tunnel, id): (u16, u16),
        read: Option<Completion>,
        now: Time,
    ) {
        let status = self.session_status(WhichSession::Call(tunnel, id), now);
        let result = status.ok_or_else(no_session).map(|mut status| {
            if let Some(Completion::Stats(stats)) = read {
                let before = self.session_mut(tunnel, id).map(|s| s.traffic_before);
                status.traffic = Some(traffic(&stats.since(&before.unwrap_or_default())));
            }
            Response::Session(Box::new(status))
        });
        self.outputs.push_back(Output::Reply { token, result });
    }

    /// A session is gone from the datapath: its last counters are kept in the sums.
    pub(crate) fn traffic_ended(
        &mut self,
        result: Result<Completion, DatapathError>,
        before: &Stats,
    ) {
        if let Ok(Completion::Stats(stats)) = result {
            self.counters.data.add(&stats.since(before));
        }
    }

    /// The datapath has read a session's counters for one of us.
    pub(crate) fn counters_read(
        &mut self,
        why: Pending,
        (tunnel, id): (u16, u16),
        stats: &Stats,
        now: Time,
    ) {
        match why {
            Pending::Errors(..) => self.line_errors(tunnel, id, stats, now),
            Pending::Activity(..) => self.traffic_seen(tunnel, id, stats, now),
            Pending::Reset(..) => {
                if let Some(session) = self.session_mut(tunnel, id) {
                    session.traffic_before = *stats;
                }
            }
            _ => {}
        }
    }

    /// Counts from zero again, for those who look. The machines' own counters go on: some of what they do depends on them.
    pub(crate) fn reset_statistics(&mut self) {
        let all = self.total();
        self.counters.before = all.0;
        let mut sessions = Vec::new();
        for (&tunnel, t) in &mut self.tunnels {
            t.counted_before = t.control.counters().clone();
            let of_tunnel = t.sessions.iter();
            sessions.extend(of_tunnel.map(|(&id, session)| (session.handle, tunnel, id)));
        }
        for (handle, tunnel, id) in sessions {
            let token = self.expect(Pending::Reset(handle, tunnel, id));
            let request = Request::Stats { token, handle };
            self.outputs.push_back(Output::Datapath(request));
        }
    }

    /// Lets what we send in a session have sequence numbers or not, where an LNS may choose (RFC 2661 section 5.4).
    pub(crate) fn use_sequence_numbers(
        &mut self,
        which: WhichSession,
        send: bool,
    ) -> Result<(), CommandError> {
        let refused = |why: &str| CommandError::new(ErrorKind::Invalid, why);
        let session = match self.call_of(which) {
            Some((tunnel, id)) => self.session_mut(tunnel, id),
            None => None,
        };
        let session = session.ok_or_else(|| refused("the session is not established"))?;
        match session.sequencing {
            Sequencing::Required => Err(refused("sequence numbers are required in this session")),
            Sequencing::AsPeer => Err(refused("in this session the peer decides, as the LNS")),
            Sequencing::Own(_) => {
                session.sequencing = Sequencing::Own(send);
                let handle = session.handle;
                let request = Request::SetSequencing { handle, send };
                self.outputs.push_back(Output::Datapath(request));
                Ok(())
            }
        }
    }

    /// Our ids of a session that has a call.
    pub(crate) fn call_of(&self, which: WhichSession) -> Option<(u16, u16)> {
        match which {
            WhichSession::Call(tunnel, id) => Some((tunnel, id)),
            WhichSession::Created(which, number) => {
                let call = self.created(which)?.get(number)?.call?;
                Some((self.tunnel_id(which)?, call))
            }
        }
    }
}

fn traffic(stats: &Stats) -> SessionTraffic {
    let sequencing = &stats.sequencing;
    SessionTraffic {
        rx_packets: stats.rx_packets,
        rx_bytes: stats.rx_bytes,
        rx_errors: stats.rx_errors,
        tx_packets: stats.tx_packets,
        tx_bytes: stats.tx_bytes,
        tx_errors: stats.tx_errors,
        tx_sequenced: sequencing.tx_sequenced,
        rx_sequenced: sequencing.rx_sequenced,
        rx_out_of_order: sequencing.rx_out_of_order,
        rx_lost: sequencing.rx_lost,
        rx_discarded: sequencing.rx_discarded,
        rx_unnumbered: sequencing.rx_unnumbered,
    }
}
