//! The LNS's half of an outgoing call (RFC 2661 section 7.5.2).

use sansio::{Rng, Time};
use wire::l2tp::{Attribute, BearerTypes, MessageType};

use crate::call::session_ds;
use crate::call_setup::octets;
use crate::messages::{Body, Builder};
use crate::{
    Call, CallKind, CallParams, CallState, Disconnect, EndedBy, Refused, SessionId, Tunnel,
};

impl Tunnel {
    /// Asks the peer, as LAC, to place a call (OCRQ). While the tunnel comes up, the call waits for it.
    ///
    /// # Errors
    ///
    /// The tunnel is closing, or has no room for another call.
    pub fn place_outgoing_call(
        &mut self,
        params: CallParams,
        now: Time,
        rng: &mut dyn Rng,
    ) -> Result<SessionId, Refused> {
        self.place_call(CallKind::LnsOutgoing, params, now, rng)
    }

    pub(crate) fn ocrq(
        &self,
        id: SessionId,
        params: &CallParams,
        rng: &mut dyn Rng,
    ) -> Result<Vec<u8>, Disconnect> {
        let bearer = self.bearer(params.bearer_type.unwrap_or_default())?;
        Ok(Builder::new(MessageType::OCRQ, self.hiding(rng))
            .put(Attribute::AssignedSessionId(id))
            .put(Attribute::CallSerialNumber(params.serial_number))
            .put(Attribute::MinimumBps(params.minimum_bps.unwrap_or(0)))
            .put(Attribute::MaximumBps(
                params.maximum_bps.unwrap_or(u32::MAX),
            ))
            .put(Attribute::BearerType(bearer))
            .put(Attribute::FramingType(self.framing(params.framing_type)))
            .put(Attribute::CalledNumber(
                octets(&params.called_number).unwrap_or_default(),
            ))
            .put_some(octets(&params.sub_address).map(Attribute::SubAddress))
            .put_some(session_ds(params.session_ds))
            .finish())
    }

    /// Of the bearers that a call allows (any, if it names none), those that the peer said it has (section 4.4.3).
    fn bearer(&self, allowed: BearerTypes) -> Result<BearerTypes, Disconnect> {
        let offered = self.peer().and_then(|peer| peer.bearer_capabilities);
        let offered = offered.unwrap_or_default();
        if offered.is_empty() {
            return Err(Disconnect::not_supported(
                "the peer places no outgoing calls",
            ));
        }
        let allowed = if allowed.is_empty() { offered } else { allowed };
        match offered & allowed {
            common if common.is_empty() => Err(Disconnect::not_supported(
                "the peer does not have the bearer that the call wants",
            )),
            common => Ok(common),
        }
    }

    /// A message, other than CDN, for an outgoing call that we placed.
    pub(crate) fn lns_outgoing_receive(
        &mut self,
        id: SessionId,
        state: CallState,
        message_type: MessageType,
        body: &Body<'_>,
    ) {
        let taken = match (state, message_type) {
            (CallState::WaitReply, MessageType::OCRP) => self.take_ocrp(id, body),
            (CallState::WaitConnect, MessageType::OCCN) => {
                self.take_connected(id, message_type, body)
            }
            _ => return self.unexpected_in_call(id, message_type),
        };
        match taken {
            Ok(()) if state == CallState::WaitConnect => self.call_established(id),
            Ok(()) => {}
            Err(reason) => self.end_call(id, EndedBy::PeerFault, reason),
        }
    }

    fn take_ocrp(&mut self, id: SessionId, body: &Body<'_>) -> Result<(), Disconnect> {
        self.take_reply(id, MessageType::OCRP, body)?;
        self.calls.set_state(id, CallState::WaitConnect);
        if let Some(params) = self.calls.get_mut(id).and_then(Call::params_mut) {
            params.physical_channel_id = body.physical_channel_id;
        }
        Ok(())
    }
}
