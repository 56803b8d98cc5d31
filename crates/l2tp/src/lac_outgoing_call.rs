//! The LAC's half of an outgoing call (RFC 2661 section 7.5.1).

use sansio::Rng;
use serde::{Deserialize, Serialize};
use wire::l2tp::{AttributeType, FramingTypes, MessageType};

use crate::call::{framing_fits, narrowed};
use crate::messages::{Body, Fault, required, text};
use crate::{Call, CallKind, CallParams, CallState, Disconnect, SessionId, Tunnel};

/// What a LAC says of the bearer of an outgoing call once that is up (RFC 2661 section 6.11).
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Bearer {
    /// The framing that was found, of which the LNS is told what it asked for.
    pub framing_type: FramingTypes,
    /// (Tx) Connect Speed: bits a second to the remote system.
    pub tx_connect_speed: u32,
    /// Rx Connect Speed: bits a second from the remote system; the same as to it if `None`.
    pub rx_connect_speed: Option<u32>,
    /// Sequencing Required: data messages must always have sequence numbers.
    pub sequencing_required: bool,
}

impl Tunnel {
    /// Takes the outgoing call of an [`Event::CallRequested`](crate::Event::CallRequested): the bearer is being opened (OCRP), on the channel
    /// of this id if that means anything. [`bearer_up`](Self::bearer_up) is to follow, or [`close_call`](Self::close_call). Nothing
    /// happens if the call is no longer requested.
    pub fn accept_outgoing_call(
        &mut self,
        id: SessionId,
        physical_channel_id: Option<u32>,
        rng: &mut dyn Rng,
    ) {
        self.reply(id, CallKind::LacOutgoing, physical_channel_id, rng);
    }

    /// The bearer of an outgoing call is up, and its framing known (OCCN). Nothing happens unless the call waits for that.
    pub fn bearer_up(&mut self, id: SessionId, bearer: &Bearer, rng: &mut dyn Rng) {
        let waits = |call: &&mut Call| call.state == CallState::WaitCsAnswer;
        let call = self.calls.get_mut(id).filter(waits);
        let Some(params) = call.and_then(Call::params_mut) else {
            return;
        };
        params.framing_type = narrowed(bearer.framing_type, params.framing_type);
        params.tx_connect_speed = bearer.tx_connect_speed;
        params.rx_connect_speed = bearer.rx_connect_speed;
        params.sequencing_required = bearer.sequencing_required;
        self.send_connected(id, MessageType::OCCN, rng);
    }

    /// Whether an OCRQ wants what we can do. That outgoing calls are no business of ours matters more than what is wrong with it.
    pub(crate) fn check_outgoing(&self, body: &Body<'_>) -> Result<(), Disconnect> {
        let ours = self.config.bearer_capabilities;
        let bearer = body.bearer_type.unwrap_or_default();
        let framing = body.framing_type.unwrap_or_default();
        if ours.is_empty() {
            return Err(Disconnect::not_supported(
                "outgoing calls are not supported",
            ));
        }
        if !bearer.is_empty() && !ours.intersects(bearer) {
            return Err(Disconnect::not_supported(
                "we do not have the bearer that the call wants",
            ));
        }
        if !framing_fits(self.config.framing_capabilities, framing) {
            return Err(Disconnect::not_supported(
                "we do not do the framing that the call wants",
            ));
        }
        Ok(())
    }

    /// A message, other than CDN, for an outgoing call that the peer placed: there is none that its LNS may send.
    pub(crate) fn lac_outgoing_receive(&mut self, id: SessionId, message_type: MessageType) {
        self.unexpected_in_call(id, message_type);
    }
}

impl CallParams {
    /// What an OCRQ says.
    pub(crate) fn of_ocrq(body: &Body<'_>) -> Result<Self, Fault> {
        use AttributeType as T;
        Ok(Self {
            serial_number: required(body.call_serial_number, T::CALL_SERIAL_NUMBER)?,
            minimum_bps: Some(required(body.minimum_bps, T::MINIMUM_BPS)?),
            maximum_bps: Some(required(body.maximum_bps, T::MAXIMUM_BPS)?),
            bearer_type: Some(required(body.bearer_type, T::BEARER_TYPE)?),
            framing_type: required(body.framing_type, T::FRAMING_TYPE)?,
            called_number: Some(text(required(body.called_number, T::CALLED_NUMBER)?)),
            sub_address: body.sub_address.map(text),
            session_ds: body.session_ds,
            ..Self::default()
        })
    }
}
