//! What is said about a call that is up: errors on its line (WEN), its link (SLI), its speed (CSUN and CSURQ of RFC 5515).

use std::time::Duration;

use sansio::{Rng, Time};
use serde::{Deserialize, Serialize};
use wire::l2tp::{Attribute, CallErrors, Extension, MessageType, SpeedUpdate, TransmissionMaps};

use crate::call_setup::lcp_options;
use crate::messages::{Body, Builder};
use crate::{CallState, Event, SessionId, Tunnel};

/// A WEN goes out at most once in so long (RFC 2661 section 6.13).
const WEN_INTERVAL: Duration = Duration::from_secs(60);
/// So many sessions' speeds fit into one message that no network has to cut.
const SPEEDS_A_MESSAGE: usize = 50;

/// What an LNS tells the LAC of a call about its link, as its LCP agreed on it (RFC 2661 section 6.14, RFC 3437 section 2.3).
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct LinkInfo {
    /// ACCM: the characters that the LAC has to escape when it sends to the remote system, and those that are escaped for it.
    pub maps: Option<TransmissionMaps>,
    /// LNS Last Sent LCP Confreq: the options of the last Configure-Request that the LNS sent.
    pub lns_last_sent: Option<Vec<u8>>,
    /// LNS Last Received LCP Confreq: the options of the last one that it received.
    pub lns_last_received: Option<Vec<u8>>,
}

impl Tunnel {
    /// Tells the LNS of an established call what went wrong on its line so far (WEN). False if nothing is sent: there is no such call of
    /// which we are the LAC, or its last WEN is less than a minute old.
    pub fn report_errors(
        &mut self,
        id: SessionId,
        errors: CallErrors,
        now: Time,
        rng: &mut dyn Rng,
    ) -> bool {
        let hiding = self.hiding(rng);
        let due = |last: Option<Time>| last.is_none_or(|last| last + WEN_INTERVAL <= now);
        let Some(call) = self.calls.get_mut(id).filter(|call| {
            call.state == CallState::Established && call.kind.is_lac() && due(call.wen_at)
        }) else {
            return false;
        };
        call.wen_at = Some(now);
        let peer_id = call.peer_session_id;
        let avps = Builder::new(MessageType::WEN, hiding)
            .put(Attribute::CallErrors(errors))
            .finish();
        self.send(peer_id, avps);
        true
    }

    /// Tells the LAC of an established call what LCP agreed on (SLI). Nothing happens if there is no such call of which we are the LNS.
    pub fn set_link_info(&mut self, id: SessionId, info: &LinkInfo, rng: &mut dyn Rng) {
        let Some(call) = self
            .calls
            .get(id)
            .filter(|call| call.state == CallState::Established && !call.kind.is_lac())
        else {
            return;
        };
        let peer_id = call.peer_session_id;
        let avps = Builder::new(MessageType::SLI, self.hiding(rng))
            .put_some(info.maps.map(Attribute::Accm))
            .put_some(lcp_options(
                &info.lns_last_sent,
                Extension::LnsLastSentLcpConfReq,
            ))
            .put_some(lcp_options(
                &info.lns_last_received,
                Extension::LnsLastReceivedLcpConfReq,
            ))
            .finish();
        self.send(peer_id, avps);
    }

    /// Takes the present speeds of a call of which we are the LAC, in bits a second to and from the remote system, and tells its LNS
    /// (CSUN). False if that was not promised in the call's ICRQ.
    pub fn update_speed(&mut self, id: SessionId, tx: u32, rx: u32, rng: &mut dyn Rng) -> bool {
        let Some(call) = self.calls.get_mut(id).filter(|call| call.kind.is_lac()) else {
            return false;
        };
        let Some(speeds) = &mut call.speeds else {
            return false;
        };
        *speeds = (tx, rx);
        let session_id = call.peer_session_id;
        self.send_speeds(
            MessageType::CSUN,
            &[SpeedUpdate { session_id, tx, rx }],
            rng,
        );
        true
    }

    /// Asks the LAC for the present speeds of all calls that it promised to tell them of (CSURQ).
    pub fn request_speeds(&mut self, rng: &mut dyn Rng) {
        let promised = self
            .calls
            .iter()
            .filter(|call| call.speeds.is_some() && !call.kind.is_lac());
        let updates: Vec<_> = promised
            .map(|call| SpeedUpdate {
                session_id: call.peer_session_id,
                tx: 0,
                rx: 0,
            })
            .collect();
        self.send_speeds(MessageType::CSURQ, &updates, rng);
    }

    fn send_speeds(&mut self, message_type: MessageType, all: &[SpeedUpdate], rng: &mut dyn Rng) {
        for some in all.chunks(SPEEDS_A_MESSAGE) {
            let mut message = Builder::new(message_type, self.hiding(rng));
            for update in some {
                message.put(Attribute::Extension(Extension::ConnectSpeedUpdate(*update)));
            }
            self.send(0, message.finish());
        }
    }

    /// CSUN: sessions have other speeds now. Those that are not known or promised none are passed over.
    pub(crate) fn receive_csun(&mut self, body: &Body<'_>) {
        for &SpeedUpdate { session_id, tx, rx } in &body.speed_updates {
            let call = self.calls.get_mut(session_id);
            match call.filter(|call| call.speeds.is_some() && !call.kind.is_lac()) {
                Some(call) => {
                    call.speeds = Some((tx, rx));
                    self.event(Event::SpeedChanged {
                        session: session_id,
                        tx,
                        rx,
                    });
                }
                None => self.counters.troubles.unknown_sessions += 1,
            }
        }
    }

    /// CSURQ: the LNS wants to know the speeds of sessions. It hears of those only that were promised.
    pub(crate) fn receive_csurq(&mut self, body: &Body<'_>, rng: &mut dyn Rng) {
        let mut answer = Vec::new();
        for update in &body.speed_updates {
            let call = self.calls.get(update.session_id);
            let ours = call.filter(|call| call.kind.is_lac());
            match ours.and_then(|call| Some((call.peer_session_id, call.speeds?))) {
                Some((session_id, (tx, rx))) => answer.push(SpeedUpdate { session_id, tx, rx }),
                None => self.counters.troubles.unknown_sessions += 1,
            }
        }
        self.send_speeds(MessageType::CSUN, &answer, rng);
    }

    /// WEN, SLI or MDMST of a call. One that says nothing, or that the call's other end or state does not send, changes nothing.
    pub(crate) fn receive_status(
        &mut self,
        session: SessionId,
        message_type: MessageType,
        body: &Body<'_>,
    ) {
        use MessageType as M;
        let Some(call) = self.calls.get(session) else {
            self.counters.unknown_session(message_type);
            return;
        };
        let is_lac = call.kind.is_lac();
        let from_lac = message_type != M::SLI;
        if call.state != CallState::Established || from_lac == is_lac {
            self.counters.unexpected(message_type);
            return;
        }
        // Who speaks of a call has our ICCN or OCCN, be that acknowledged or not.
        self.call_established(session);
        let info = LinkInfo {
            maps: body.accm,
            lns_last_sent: body.lns_last_sent_lcp_confreq.map(<[u8]>::to_vec),
            lns_last_received: body.lns_last_received_lcp_confreq.map(<[u8]>::to_vec),
        };
        match (message_type, body.call_errors) {
            (M::WEN, Some(errors)) => self.event(Event::CallErrors { session, errors }),
            (M::SLI, _) if info != LinkInfo::default() => {
                self.event(Event::LinkInfo { session, info });
            }
            // That a modem is on hold is of no use to us: we did not say that we wanted to know.
            (M::MDMST, ..) => {}
            _ => self.counters.malformed(message_type),
        }
    }
}
