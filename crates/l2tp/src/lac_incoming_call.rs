//! The LAC's half of an incoming call (RFC 2661 section 7.4.1).

use sansio::{Rng, Time};
use wire::l2tp::{Attribute, Extension, MessageType};

use crate::call::session_ds;
use crate::call_setup::octets;
use crate::messages::{Body, Builder};
use crate::{CallKind, CallParams, CallState, Disconnect, EndedBy, Refused, SessionId, Tunnel};

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
        self.place_call(CallKind::LacIncoming, params, now, rng)
    }

    pub(crate) fn icrq(&self, id: SessionId, params: &CallParams, rng: &mut dyn Rng) -> Vec<u8> {
        let mut message = Builder::new(MessageType::ICRQ, self.hiding(rng));
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
        message.finish()
    }

    /// A message, other than CDN, for an incoming call that we placed.
    pub(crate) fn lac_incoming_receive(
        &mut self,
        id: SessionId,
        state: CallState,
        message_type: MessageType,
        body: &Body<'_>,
        rng: &mut dyn Rng,
    ) {
        match (state, message_type) {
            (CallState::WaitReply, MessageType::ICRP) => {
                match self.take_reply(id, message_type, body) {
                    Ok(()) => self.send_connected(id, MessageType::ICCN, rng),
                    Err(reason) => self.end_call(id, EndedBy::PeerFault, reason),
                }
            }
            // The one case in which the state table sends no CDN.
            (CallState::WaitReply, MessageType::ICCN) => {
                self.counters.unexpected(message_type);
                self.forget_call(id, EndedBy::PeerFault, Disconnect::unexpected(message_type));
            }
            _ => self.unexpected_in_call(id, message_type),
        }
    }
}
