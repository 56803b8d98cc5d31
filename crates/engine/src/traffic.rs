//! What goes through a session: its counters, which the datapath keeps, and its sequence numbers.

use api::{
    CommandError, Cursor, ErrorKind, Page, Response, Selector, SessionStatus, SessionTraffic,
};
use datapath::{Completion, DatapathError, Handle, Request, Sequencing, Stats};
use l2tp::CallKind;
use sansio::Time;

use crate::commands::{WhichSession, no_session};
use crate::sessions::{Pending, Session, place_of};
use crate::tally::Counted;
use crate::{Engine, Output, Token};

/// The counters of a page of sessions that a command waits for.
#[derive(Clone)]
pub(crate) struct Reading {
    outstanding: usize,
    /// Where the next page begins.
    next: Option<Cursor>,
}

impl Engine {
    /// Answers a command with a session's status: when the datapath has read the counters, if it knows the session.
    pub(crate) fn begin_show_session(&mut self, token: Token, which: WhichSession, now: Time) {
        let call = self.call_of(which);
        let known = call.and_then(|(tunnel, id)| Some(self.session_mut(tunnel, id)?.handle));
        let Some(handle) = known else {
            let result = self.shown_session(which, now).map(Response::Session);
            self.outputs.push_back(Output::Reply { token, result });
            return;
        };
        let token = self.expect(Pending::Show(token, handle, which));
        self.outputs
            .push_back(Output::Datapath(Request::Stats { token, handle }));
    }

    /// The datapath has read the counters of the call that a session had then, by this handle, or has none.
    pub(crate) fn show_session(
        &mut self,
        token: Token,
        which: WhichSession,
        read: Option<Handle>,
        now: Time,
    ) {
        let shown = self.shown_session(which, now);
        let result = shown.map(|mut status| {
            let read = self
                .live(which)
                .filter(|session| Some(session.handle) == read);
            status.traffic = read.map(|session| traffic(&self.counted_traffic(session)));
            Response::Session(status)
        });
        self.outputs.push_back(Output::Reply { token, result });
    }

    /// All of a session but its traffic.
    fn shown_session(
        &self,
        which: WhichSession,
        now: Time,
    ) -> Result<Box<SessionStatus>, CommandError> {
        let mut status = self.session_status(which, now).ok_or_else(no_session)?;
        status.parameters = self.session_parameters(which);
        Ok(Box::new(status))
    }

    /// The datapath has read a session's counters for the sums, or has none.
    pub(crate) fn traffic_read(
        &mut self,
        handle: Handle,
        result: &Result<Completion, DatapathError>,
    ) {
        let (tunnel, id) = place_of(handle);
        let session = self.session_mut(tunnel, id);
        let known = session.is_some_and(|session| session.handle == handle);
        if let (true, Ok(Completion::Stats(stats))) = (known, result) {
            self.recount_traffic(tunnel, id, stats);
        }
    }

    /// A session is gone from the datapath: its last counters are kept in the sums.
    pub(crate) fn traffic_ended(
        &mut self,
        result: Result<Completion, DatapathError>,
        counted: &Counted,
    ) {
        if let Ok(Completion::Stats(stats)) = result {
            self.retire_traffic(&stats, counted);
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
        self.recount_traffic(tunnel, id, stats);
        match why {
            Pending::Errors(..) => self.line_errors(tunnel, id, stats, now),
            Pending::Activity(..) => self.traffic_seen(tunnel, id, stats, now),
            _ => {}
        }
    }

    /// Asks the datapath for the counters of as many sessions as are looked at for one page of a list.
    pub(crate) fn read_traffic(
        &mut self,
        token: Token,
        of: Option<&Selector>,
        after: Option<Cursor>,
    ) -> Result<(), CommandError> {
        let which = of.map(|of| self.find_tunnel(of)).transpose()?;
        let tunnel = which.map(|which| self.tunnel_id(which));
        let page = match tunnel {
            // It has no sessions while it has no tunnel.
            Some(None) => Page {
                items: Vec::new(),
                next: None,
            },
            of => self.list_carried(of.flatten(), after)?,
        };
        let Page { items, next } = page;
        let reading = Reading {
            outstanding: items.len() + 1,
            next,
        };
        self.readings.insert(token, reading);
        for handle in items {
            let token = self.expect(Pending::Traffic(token, handle));
            let request = Request::Stats { token, handle };
            self.outputs.push_back(Output::Datapath(request));
        }
        self.one_more_read(token);
        Ok(())
    }

    /// Answers the command when nothing more is to be read for it.
    pub(crate) fn one_more_read(&mut self, token: Token) {
        let Some(reading) = self.readings.get_mut(&token) else {
            return;
        };
        reading.outstanding -= 1;
        if reading.outstanding == 0
            && let Some(Reading { next, .. }) = self.readings.remove(&token)
        {
            let result = Ok(Response::TrafficRead(next));
            self.outputs.push_back(Output::Reply { token, result });
        }
    }

    /// Counts from zero again, for those who look. The machines' own counters go on: some of what they do depends on them. Tunnels and sessions find
    /// out when something happens to them.
    pub(crate) fn reset_statistics(&mut self) {
        self.counters.reset();
    }

    /// Whether we may choose if what we send in a session has sequence numbers, as an LNS may (RFC 2661 section 5.4).
    pub(crate) fn chooses_numbers(&self, which: WhichSession) -> Result<(), CommandError> {
        let live = self.live(which).map(|session| session.sequencing);
        let why = match (live, self.created_kind(which)) {
            (Some(Sequencing::Own(_)), _) => return Ok(()),
            (None, Some(kind)) if !kind.is_lac() => return Ok(()),
            (Some(Sequencing::Required), _) => "sequence numbers are required in this session",
            (Some(Sequencing::AsPeer), _) | (None, Some(_)) => {
                "in this session the peer decides, as the LNS"
            }
            (None, None) => "the session is not established",
        };
        Err(CommandError::new(ErrorKind::Invalid, why))
    }

    /// The kind of a session that we were told to make.
    fn created_kind(&self, which: WhichSession) -> Option<CallKind> {
        let WhichSession::Created(holder, number) = which else {
            return None;
        };
        Some(self.created(holder)?.get(number)?.kind)
    }

    /// A session whose call is established.
    pub(crate) fn live(&self, which: WhichSession) -> Option<&Session> {
        let (tunnel, id) = self.call_of(which)?;
        let session = self.tunnels.get(&tunnel)?.sessions.get(&id)?;
        Some(session)
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
        using_ipsec: stats.using_ipsec,
    }
}
