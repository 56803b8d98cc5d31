//! The LNS's half of an incoming call (RFC 2661 section 7.4.2).

use sansio::Rng;
use wire::l2tp::{AttributeType, MessageType};

use crate::messages::{Body, Fault, required, text};
use crate::{AccessLine, CallKind, CallParams, CallState, Disconnect, EndedBy, SessionId, Tunnel};

impl Tunnel {
    /// Takes the incoming call of an [`Event::CallRequested`](crate::Event::CallRequested) (ICRP). Nothing happens if it is no longer
    /// requested.
    pub fn accept_call(&mut self, id: SessionId, rng: &mut dyn Rng) {
        self.reply(id, CallKind::LnsIncoming, None, rng);
    }

    /// Declines the call, be it incoming or outgoing, of an [`Event::CallRequested`](crate::Event::CallRequested) (CDN). Nothing happens
    /// if it is no longer requested.
    pub fn refuse_call(&mut self, id: SessionId, reason: Disconnect) {
        if self
            .calls
            .get(id)
            .is_some_and(|call| call.state == CallState::Requested)
        {
            self.end_call(id, EndedBy::Local, reason);
        }
    }

    /// A message, other than CDN, for an incoming call that the peer placed.
    pub(crate) fn lns_incoming_receive(
        &mut self,
        id: SessionId,
        state: CallState,
        message_type: MessageType,
        body: &Body<'_>,
    ) {
        match (state, message_type) {
            (CallState::WaitConnect, MessageType::ICCN) => {
                match self.take_connected(id, message_type, body) {
                    Ok(()) => self.call_established(id),
                    Err(reason) => self.end_call(id, EndedBy::PeerFault, reason),
                }
            }
            _ => self.unexpected_in_call(id, message_type),
        }
    }
}

impl CallParams {
    /// What an ICRQ says.
    pub(crate) fn of_icrq(body: &Body<'_>) -> Result<Self, Fault> {
        Ok(Self {
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
            ..Self::default()
        })
    }
}
