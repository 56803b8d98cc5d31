//! What the halves of a call's set-up share: being placed, the request, the reply, and the word that the call is connected.

use sansio::{Rng, Time};
use wire::l2tp::{Attribute, AttributeType, Extension, FramingTypes, MessageType};

use crate::call::{framing_fits, narrowed, session_ds};
use crate::diffserv::{NotGranted, agreed, per_hop_behavior};
use crate::messages::{Body, Builder, Fault, required, required_id};
use crate::reason::{MAX_STRING_LEN, cut};
use crate::{
    Call, CallInfo, CallKind, CallParams, CallState, Disconnect, EndedBy, Event, Refused,
    SessionId, Tunnel, TunnelState,
};

impl Tunnel {
    /// Takes a call to place, and requests it if the tunnel is up.
    pub(crate) fn place_call(
        &mut self,
        kind: CallKind,
        params: CallParams,
        now: Time,
        rng: &mut dyn Rng,
    ) -> Result<SessionId, Refused> {
        if matches!(self.state, TunnelState::Closing | TunnelState::Released) {
            return Err(Refused::Closing);
        }
        if self.calls.len() >= self.config.max_calls {
            return Err(Refused::TooManyCalls);
        }
        let session_id = self.calls.free_id(rng).ok_or(Refused::NoSessionId)?;
        self.calls.insert(Call {
            session_id,
            peer_session_id: 0,
            kind,
            state: CallState::WaitTunnel,
            serial_number: params.serial_number,
            info: Some(Box::new(CallInfo {
                params,
                ..CallInfo::default()
            })),
            deadline: self.call_deadline(now),
            speeds: None,
            wen_at: None,
        });
        if self.state == TunnelState::Established {
            self.request_call(session_id, kind, rng);
        }
        Ok(session_id)
    }

    /// The tunnel is up: the calls that waited for it may go on.
    pub(crate) fn request_waiting_calls(&mut self, rng: &mut dyn Rng) {
        let waiting = self
            .calls
            .iter()
            .filter(|call| call.state == CallState::WaitTunnel);
        let waiting: Vec<_> = waiting.map(|call| (call.session_id, call.kind)).collect();
        for (id, kind) in waiting {
            self.request_call(id, kind, rng);
        }
    }

    /// Sends ICRQ or OCRQ, unless the peer does not do what the call wants: then it must not be asked (section 4.4.3).
    fn request_call(&mut self, id: SessionId, kind: CallKind, rng: &mut dyn Rng) {
        let Some(params) = self.calls.get(id).and_then(Call::params) else {
            return;
        };
        let asked = self
            .check_framing(params)
            .and_then(|()| match kind.is_incoming() {
                true => Ok(self.icrq(id, params, rng)),
                false => self.ocrq(id, params, rng),
            });
        let avps = match asked {
            Ok(avps) => avps,
            Err(reason) => return self.end_call(id, EndedBy::Local, reason),
        };
        self.calls.set_state(id, CallState::WaitReply);
        self.send(0, avps);
    }

    fn check_framing(&self, params: &CallParams) -> Result<(), Disconnect> {
        let fits = |offered| framing_fits(offered, params.framing_type);
        match &self.peer {
            Some(peer) if !fits(peer.framing_capabilities) => Err(Disconnect::not_supported(
                "the peer does not do the framing that the call wants",
            )),
            _ => Ok(()),
        }
    }

    /// ICRQ or OCRQ: the peer wants a call, of which we are the other half.
    pub(crate) fn receive_request(
        &mut self,
        kind: CallKind,
        body: &Body<'_>,
        now: Time,
        rng: &mut dyn Rng,
    ) {
        let message_type = match kind.is_incoming() {
            true => MessageType::ICRQ,
            false => MessageType::OCRQ,
        };
        let info = match self.take_request(kind, message_type, body) {
            Ok(info) => info,
            Err(reason) => return self.refuse_bad_request(body.assigned_session_id, &reason, rng),
        };
        let peer_session_id = info.peer_session_id;
        if let Some(id) = self.calls.find_by_peer(peer_session_id) {
            return self.unexpected_in_call(id, message_type);
        }
        let has_room = self.calls.len() < self.config.max_calls;
        let Some(session_id) = has_room.then(|| self.calls.free_id(rng)).flatten() else {
            self.counters.troubles.refused_calls += 1;
            let reason = Disconnect::no_facilities("the tunnel has as many calls as it may");
            return self.refuse_request(Some(peer_session_id), &reason, rng);
        };
        self.calls.insert(Call {
            session_id,
            peer_session_id,
            kind,
            state: CallState::Requested,
            serial_number: info.params.serial_number,
            info: Some(Box::new(info)),
            deadline: self.call_deadline(now),
            speeds: None,
            wen_at: None,
        });
        self.event(Event::CallRequested {
            session: session_id,
        });
    }

    fn take_request(
        &mut self,
        kind: CallKind,
        message_type: MessageType,
        body: &Body<'_>,
    ) -> Result<CallInfo, Disconnect> {
        if !kind.is_incoming() {
            self.check_outgoing(body)?;
        }
        let read = || -> Result<CallInfo, Fault> {
            let id = required_id(body.assigned_session_id, AttributeType::ASSIGNED_SESSION_ID)?;
            Ok(CallInfo {
                peer_session_id: id,
                params: match kind.is_incoming() {
                    true => CallParams::of_icrq(body)?,
                    false => CallParams::of_ocrq(body)?,
                },
                ..CallInfo::default()
            })
        };
        read().map_err(|fault| self.faulty(message_type, &fault))
    }

    /// Sends ICRP or OCRP. Nothing happens if the call is no longer requested.
    pub(crate) fn reply(
        &mut self,
        id: SessionId,
        kind: CallKind,
        physical_channel_id: Option<u32>,
        rng: &mut dyn Rng,
    ) {
        let hiding = self.hiding(rng);
        let (message_type, next) = match kind.is_incoming() {
            true => (MessageType::ICRP, CallState::WaitConnect),
            false => (MessageType::OCRP, CallState::WaitCsAnswer),
        };
        if self.calls.requested(id, kind).is_none() {
            return;
        }
        self.calls.set_state(id, next);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let peer_id = call.peer_session_id;
        let mut granted = None;
        if let Some(info) = &mut call.info {
            // What we grant to who asked: the same, or our own instead.
            granted = info.params.session_ds.and(self.config.session_dscp);
            info.dscp = self.config.session_dscp;
            let channel = &mut info.params.physical_channel_id;
            *channel = physical_channel_id.or(*channel);
        }
        let avps = Builder::new(message_type, hiding)
            .put(Attribute::AssignedSessionId(id))
            .put_some(physical_channel_id.map(Attribute::PhysicalChannelId))
            .put_some(session_ds(granted.map(per_hop_behavior)))
            .finish();
        self.send(peer_id, avps);
    }

    /// A message, other than CDN, WEN and SLI, for a call that there is.
    pub(crate) fn receive_for_call(
        &mut self,
        id: SessionId,
        (kind, state): (CallKind, CallState),
        message_type: MessageType,
        body: &Body<'_>,
        rng: &mut dyn Rng,
    ) {
        match kind {
            CallKind::LacIncoming => {
                self.lac_incoming_receive(id, state, message_type, body, rng);
            }
            CallKind::LnsIncoming => self.lns_incoming_receive(id, state, message_type, body),
            CallKind::LnsOutgoing => self.lns_outgoing_receive(id, state, message_type, body),
            CallKind::LacOutgoing => self.lac_outgoing_receive(id, message_type),
        }
    }

    /// What an ICRP or OCRP says: the peer's Session ID, and what it grants.
    pub(crate) fn take_reply(
        &mut self,
        id: SessionId,
        message_type: MessageType,
        body: &Body<'_>,
    ) -> Result<(), Disconnect> {
        let peer_id = required_id(body.assigned_session_id, AttributeType::ASSIGNED_SESSION_ID)
            .map_err(|fault| self.faulty(message_type, &fault))?;
        if self.calls.find_by_peer(peer_id).is_some() {
            return Err(Disconnect::session_id_in_use());
        }
        if let Some(info) = self.calls.get_mut(id).and_then(|call| call.info.as_mut()) {
            let (asked, required) = (info.params.session_ds, self.config.require_dscp);
            info.dscp = agreed(asked, body.session_ds, required)
                .map_err(|NotGranted| Disconnect::ds_refused())?;
        }
        self.calls.set_peer_id(id, peer_id);
        self.event(Event::CallAnswered { session: id });
        Ok(())
    }

    /// Sends ICCN or OCCN: the call is established. Our owner learns it when the peer knows it too, which may be much later where messages
    /// are lost or many calls wait for the window: before, the peer takes no data.
    pub(crate) fn send_connected(
        &mut self,
        id: SessionId,
        message_type: MessageType,
        rng: &mut dyn Rng,
    ) {
        let hiding = self.hiding(rng);
        let Some(call) = self.calls.get(id) else {
            return;
        };
        let (peer_id, Some(params)) = (call.peer_session_id, call.params()) else {
            return;
        };
        let group = params
            .private_group_id
            .as_deref()
            .filter(|_| message_type == MessageType::ICCN)
            .map(|group| &group[..group.len().min(MAX_STRING_LEN)]);
        let avps = Builder::new(message_type, hiding)
            .put(Attribute::TxConnectSpeed(params.tx_connect_speed))
            .put(Attribute::FramingType(self.framing(params.framing_type)))
            .put_some(params.rx_connect_speed.map(Attribute::RxConnectSpeed))
            .put_some(group.map(Attribute::PrivateGroupId))
            .put_some(lcp_options(
                &params.lcp_want_options,
                Extension::LcpWantOptions,
            ))
            .put_some(lcp_options(
                &params.lcp_allow_options,
                Extension::LcpAllowOptions,
            ))
            .put_some(
                params
                    .sequencing_required
                    .then_some(Attribute::SequencingRequired),
            )
            .finish();
        self.calls.set_state(id, CallState::Established);
        self.transport.send(peer_id, avps, id);
    }

    /// What an ICCN or OCCN says.
    pub(crate) fn take_connected(
        &mut self,
        id: SessionId,
        message_type: MessageType,
        body: &Body<'_>,
    ) -> Result<(), Disconnect> {
        let speed = required(body.tx_connect_speed, AttributeType::TX_CONNECT_SPEED);
        let framing = required(body.framing_type, AttributeType::FRAMING_TYPE);
        let (speed, framing) = speed
            .and_then(|speed| Ok((speed, framing?)))
            .map_err(|fault| self.faulty(message_type, &fault))?;
        if !framing_fits(self.config.framing_capabilities, framing) {
            return Err(Disconnect::not_supported(
                "we do not do the framing that the call wants",
            ));
        }
        if let Some(params) = self.calls.get_mut(id).and_then(Call::params_mut) {
            params.tx_connect_speed = speed;
            params.framing_type = framing;
            params.rx_connect_speed = body.rx_connect_speed;
            params.sequencing_required |= body.sequencing_required;
            params.lcp_want_options = body.lcp_want_options.map(<[u8]>::to_vec);
            params.lcp_allow_options = body.lcp_allow_options.map(<[u8]>::to_vec);
            if let Some(group) = body.private_group_id {
                params.private_group_id = Some(group.to_vec());
            }
        }
        Ok(())
    }

    /// A message in which something is wrong, as the reason for the end of its call.
    fn faulty(&mut self, message_type: MessageType, fault: &Fault) -> Disconnect {
        self.counters.malformed(message_type);
        Disconnect::from(fault)
    }

    /// Of the framing that a call allows, what the peer does; all of it with a peer that did not say.
    pub(crate) fn framing(&self, allowed: FramingTypes) -> FramingTypes {
        self.peer()
            .map_or(allowed, |peer| narrowed(allowed, peer.framing_capabilities))
    }
}

/// The longest list of LCP options that fits into an AVP, hidden or not.
const MAX_OPTIONS_LEN: usize = 1000;

/// An AVP with a list of LCP options, where there is one that fits.
pub(crate) fn lcp_options<'a>(
    list: &'a Option<Vec<u8>>,
    extension: fn(&'a [u8]) -> Extension<'a>,
) -> Option<Attribute<'a>> {
    let list = list
        .as_deref()
        .filter(|list| list.len() <= MAX_OPTIONS_LEN)?;
    Some(Attribute::Extension(extension(list)))
}

/// As much of a string as we send.
pub(crate) fn octets(text: &Option<String>) -> Option<&[u8]> {
    text.as_deref().map(|text| cut(text).as_bytes())
}
