//! The LNS's half of an incoming call (RFC 2661 section 7.4.2).

use sansio::{Rng, Time};
use wire::l2tp::{Attribute, AttributeType, MessageType};

use crate::call::{framing_fits, session_ds};
use crate::diffserv::per_hop_behavior;
use crate::messages::{Body, Builder, Fault, required, text};
use crate::{
    AccessLine, Call, CallInfo, CallParams, CallRole, CallState, Disconnect, EndedBy, Event,
    SessionId, Tunnel,
};

impl Tunnel {
    /// Takes the call of an [`Event::CallRequested`] (ICRP). Nothing happens if it is no longer requested.
    pub fn accept_call(&mut self, id: SessionId, rng: &mut dyn Rng) {
        let hiding = self.hiding(rng);
        let Some(call) = self
            .calls
            .get_mut(id)
            .filter(|call| call.state == CallState::Requested)
        else {
            return;
        };
        call.state = CallState::WaitConnect;
        let peer_id = call.peer_session_id;
        // What we grant to who asked: the same, or our own instead.
        let asked = call.info.as_ref().and_then(|info| info.params.session_ds);
        let granted = asked.and(self.config.session_dscp);
        if let Some(info) = &mut call.info {
            info.dscp = self.config.session_dscp;
        }
        let avps = Builder::new(MessageType::ICRP, hiding)
            .put(Attribute::AssignedSessionId(id))
            .put_some(session_ds(granted.map(per_hop_behavior)))
            .finish();
        self.send(peer_id, avps);
    }

    /// Declines the call of an [`Event::CallRequested`] (CDN). Nothing happens if it is no longer requested.
    pub fn refuse_call(&mut self, id: SessionId, reason: Disconnect) {
        if self
            .calls
            .get(id)
            .is_some_and(|call| call.state == CallState::Requested)
        {
            self.end_call(id, EndedBy::Local, reason);
        }
    }

    /// ICRQ: the peer wants a call.
    pub(crate) fn receive_icrq(&mut self, body: &Body<'_>, now: Time, rng: &mut dyn Rng) {
        let info = match icrq_info(body) {
            Ok(info) => info,
            Err(fault) => {
                self.counters.troubles.malformed_messages += 1;
                return self.refuse_request(
                    body.assigned_session_id,
                    &Disconnect::from(&fault),
                    rng,
                );
            }
        };
        let peer_session_id = info.peer_session_id;
        if let Some(id) = self.calls.find_by_peer(peer_session_id) {
            return self.unexpected_in_call(id, MessageType::ICRQ);
        }
        let has_room = self.calls.len() < self.config.max_calls;
        let Some(session_id) = has_room.then(|| self.calls.free_id(rng)).flatten() else {
            let reason = Disconnect::no_facilities("the tunnel has as many calls as it may");
            return self.refuse_request(Some(peer_session_id), &reason, rng);
        };
        self.calls.insert(Call {
            session_id,
            peer_session_id,
            role: CallRole::Lns,
            state: CallState::Requested,
            serial_number: info.params.serial_number,
            info: Some(Box::new(info)),
            deadline: self.call_deadline(now),
        });
        self.event(Event::CallRequested {
            session: session_id,
        });
    }

    /// A message, other than CDN, for a call that the peer placed.
    pub(crate) fn lns_receive(
        &mut self,
        id: SessionId,
        state: CallState,
        message_type: MessageType,
        body: &Body<'_>,
    ) {
        match (state, message_type) {
            (CallState::WaitConnect, MessageType::ICCN) => match self.take_iccn(id, body) {
                Ok(()) => self.call_established(id),
                Err(reason) => self.end_call(id, EndedBy::PeerFault, reason),
            },
            _ => self.unexpected_in_call(id, message_type),
        }
    }

    fn take_iccn(&mut self, id: SessionId, body: &Body<'_>) -> Result<(), Disconnect> {
        let speed = required(body.tx_connect_speed, AttributeType::TX_CONNECT_SPEED);
        let framing = required(body.framing_type, AttributeType::FRAMING_TYPE);
        let (speed, framing) = speed
            .and_then(|speed| Ok((speed, framing?)))
            .map_err(|fault| {
                self.counters.troubles.malformed_messages += 1;
                Disconnect::from(&fault)
            })?;
        if !framing_fits(self.config.framing_capabilities, framing) {
            return Err(Disconnect::not_supported(
                "we do not do the framing that the call wants",
            ));
        }
        if let Some(info) = self.calls.get_mut(id).and_then(|call| call.info.as_mut()) {
            let params = &mut info.params;
            params.tx_connect_speed = speed;
            params.framing_type = framing;
            params.rx_connect_speed = body.rx_connect_speed;
            params.private_group_id = body.private_group_id.map(<[u8]>::to_vec);
            params.sequencing_required = body.sequencing_required;
        }
        Ok(())
    }
}

fn icrq_info(body: &Body<'_>) -> Result<CallInfo, Fault> {
    let peer_session_id =
        match required(body.assigned_session_id, AttributeType::ASSIGNED_SESSION_ID)? {
            0 => return Err(Fault::BadValue(AttributeType::ASSIGNED_SESSION_ID)),
            id => id,
        };
    let params = CallParams {
        serial_number: required(body.call_serial_number, AttributeType::CALL_SERIAL_NUMBER)?,
        bearer_type: body.bearer_type,
        physical_channel_id: body.physical_channel_id,
        called_number: body.called_number.map(text),
        calling_number: body.calling_number.map(text),
        sub_address: body.sub_address.map(text),
        session_ds: body.session_ds,
        access_line: (!body.access_line.is_empty())
            .then(|| Box::new(AccessLine::from_attributes(&body.access_line))),
        speed_updates: body.speed_update_enable,
        ..CallParams::default()
    };
    Ok(CallInfo {
        peer_session_id,
        params,
        ..CallInfo::default()
    })
}
