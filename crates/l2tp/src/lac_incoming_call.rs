//! The LAC's half of an incoming call (RFC 2661 section 7.4.1).

use sansio::{Rng, Time};
use wire::l2tp::{Attribute, AttributeType, Extension, FramingTypes, MessageType};

use crate::call::{framing_fits, session_ds};
use crate::diffserv::{NotGranted, agreed};
use crate::messages::{Body, Builder, Fault, required};
use crate::reason::{MAX_STRING_LEN, cut};
use crate::{
    Call, CallInfo, CallParams, CallRole, CallState, Disconnect, EndedBy, Refused, SessionId,
    Tunnel, TunnelState,
};

impl Tunnel {
    /// Asks the peer, as LNS, to take a call (ICRQ). While the tunnel comes up, the call waits for it.
    ///
    /// # Errors
    ///
    /// The tunnel is closing, or has no room for another call.
    pub fn place_incoming_call(
        &mut self,
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
            role: CallRole::Lac,
            state: CallState::WaitTunnel,
            serial_number: params.serial_number,
            info: Some(Box::new(CallInfo {
                params,
                ..CallInfo::default()
            })),
            deadline: self.call_deadline(now),
        });
        if self.state == TunnelState::Established {
            self.request_call(session_id, rng);
        }
        Ok(session_id)
    }

    /// The tunnel is up: the calls that waited for it may go on.
    pub(crate) fn request_waiting_calls(&mut self, rng: &mut dyn Rng) {
        let waiting = self
            .calls
            .iter()
            .filter(|call| call.state == CallState::WaitTunnel);
        let waiting: Vec<_> = waiting.map(|call| call.session_id).collect();
        for id in waiting {
            self.request_call(id, rng);
        }
    }

    /// Sends ICRQ, unless the peer does not do the call's framing: then it must not be asked (section 4.4.3).
    fn request_call(&mut self, id: SessionId, rng: &mut dyn Rng) {
        let hiding = self.hiding(rng);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let Some(info) = &call.info else { return };
        let params = &info.params;
        if self
            .peer
            .as_ref()
            .is_some_and(|peer| !framing_fits(peer.framing_capabilities, params.framing_type))
        {
            let reason =
                Disconnect::not_supported("the peer does not do the framing that the call wants");
            return self.end_call(id, EndedBy::Local, reason);
        }
        let mut message = Builder::new(MessageType::ICRQ, hiding);
        message
            .put(Attribute::AssignedSessionId(id))
            .put(Attribute::CallSerialNumber(params.serial_number))
            .put_some(params.bearer_type.map(Attribute::BearerType))
            .put_some(params.physical_channel_id.map(Attribute::PhysicalChannelId))
            .put_some(octets(&params.calling_number).map(Attribute::CallingNumber))
            .put_some(octets(&params.called_number).map(Attribute::CalledNumber))
            .put_some(octets(&params.sub_address).map(Attribute::SubAddress))
            .put_some(session_ds(params.session_ds))
            .put_some(
                params
                    .speed_updates
                    .then_some(Attribute::Extension(Extension::ConnectSpeedUpdateEnable)),
            );
        for attribute in params.access_line.iter().flat_map(|line| line.attributes()) {
            message.put_access_line(attribute);
        }
        let avps = message.finish();
        call.state = CallState::WaitReply;
        self.send(0, avps);
    }

    /// A message, other than CDN, for a call that we placed.
    pub(crate) fn lac_receive(
        &mut self,
        id: SessionId,
        state: CallState,
        message_type: MessageType,
        body: &Body<'_>,
        rng: &mut dyn Rng,
    ) {
        match (state, message_type) {
            (CallState::WaitReply, MessageType::ICRP) => match self.check_icrp(id, body) {
                Ok(peer_id) => self.connect_call(id, peer_id, rng),
                Err(reason) => self.end_call(id, EndedBy::PeerFault, reason),
            },
            // The one case in which the state table sends no CDN.
            (CallState::WaitReply, MessageType::ICCN) => {
                self.counters.troubles.unexpected_messages += 1;
                self.forget_call(id, EndedBy::PeerFault, Disconnect::unexpected(message_type));
            }
            _ => self.unexpected_in_call(id, message_type),
        }
    }

    fn check_icrp(&mut self, id: SessionId, body: &Body<'_>) -> Result<SessionId, Disconnect> {
        let peer_id = required(body.assigned_session_id, AttributeType::ASSIGNED_SESSION_ID)
            .and_then(|id| {
                if id == 0 {
                    Err(Fault::BadValue(AttributeType::ASSIGNED_SESSION_ID))
                } else {
                    Ok(id)
                }
            });
        let peer_id = peer_id.map_err(|fault| {
            self.counters.troubles.malformed_messages += 1;
            Disconnect::from(&fault)
        })?;
        if self.calls.find_by_peer(peer_id).is_some() {
            return Err(Disconnect::session_id_in_use());
        }
        if let Some(info) = self.calls.get_mut(id).and_then(|call| call.info.as_mut()) {
            let (asked, required) = (info.params.session_ds, self.config.require_dscp);
            info.dscp = agreed(asked, body.session_ds, required)
                .map_err(|NotGranted| Disconnect::ds_refused())?;
        }
        Ok(peer_id)
    }

    /// Sends ICCN: the call is established. Our owner learns it when the peer knows it too, which may be much later where messages are lost
    /// or many calls wait for the window: before, the peer takes no data.
    fn connect_call(&mut self, id: SessionId, peer_id: SessionId, rng: &mut dyn Rng) {
        self.calls.set_peer_id(id, peer_id);
        let hiding = self.hiding(rng);
        let Some(info) = self.calls.get(id).and_then(|call| call.info.as_ref()) else {
            return;
        };
        let params = &info.params;
        let group = params
            .private_group_id
            .as_deref()
            .map(|group| &group[..group.len().min(MAX_STRING_LEN)]);
        let avps = Builder::new(MessageType::ICCN, hiding)
            .put(Attribute::TxConnectSpeed(params.tx_connect_speed))
            .put(Attribute::FramingType(self.framing(params.framing_type)))
            .put_some(params.rx_connect_speed.map(Attribute::RxConnectSpeed))
            .put_some(group.map(Attribute::PrivateGroupId))
            .put_some(
                params
                    .sequencing_required
                    .then_some(Attribute::SequencingRequired),
            )
            .finish();
        if let Some(call) = self.calls.get_mut(id) {
            call.state = CallState::Established;
        }
        self.transport.send(peer_id, avps, id);
    }

    /// Of the framing that a call allows, what the peer does; all of it with a peer that did not say.
    fn framing(&self, allowed: FramingTypes) -> FramingTypes {
        let offered = self.peer().map(|peer| peer.framing_capabilities);
        let common = offered.map(|offered| offered & allowed);
        common
            .filter(|common| !common.is_empty())
            .unwrap_or(allowed)
    }
}

fn octets(text: &Option<String>) -> Option<&[u8]> {
    text.as_deref().map(|text| cut(text).as_bytes())
}
