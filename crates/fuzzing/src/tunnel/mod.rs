//! A whole control connection: octets choose what its peer says, what its owner wants and how time passes.
//!
//! ```text
//! message   the messages that a peer can make: right ones, and ones that are wrong in some way
//! model     what the tunnel may do: a reference of its transport and of its calls
//! ```

mod message;
mod model;

use std::sync::Arc;
use std::time::Duration;

use l2tp::{Disconnect, SessionId, StopReason, Tunnel, TunnelConfig, TunnelState, decode_sccrq};
use sansio::Time;
use wire::l2tp::{BearerTypes, ControlHeader, MessageType};

use crate::choices::{Choices, rng};
use message::{Message, SECRET};
use model::Model;

const START: Time = Time::from_secs(1000);
/// Our Tunnel ID.
const TUNNEL: u16 = 100;
/// The Tunnel ID of the peer that the choices play.
const PEER: u16 = 77;

/// Any datagram as an SCCRQ: read, answered and left alone until nothing remains of it.
pub(crate) fn sccrq(octets: &[u8]) {
    let Ok(sccrq) = decode_sccrq(octets) else {
        return;
    };
    assert_ne!(sccrq.assigned_tunnel_id, 0);
    assert_eq!(
        l2tp::assigned_tunnel_id(octets),
        Some(sccrq.assigned_tunnel_id)
    );
    let config = Arc::new(TunnelConfig {
        secret: Some(SECRET.into()),
        ..TunnelConfig::default()
    });
    let number = Message::number_of(octets);
    match Tunnel::accept(config, TUNNEL, &sccrq, START, &mut rng()) {
        Ok(tunnel) => Model::new(tunnel, START, number.wrapping_add(1)).end(),
        Err(reason) => {
            let (datagram, _) = sccrq.refuse(TUNNEL, &reason);
            assert!(datagram.len() <= 3 * octets.len(), "it amplifies");
        }
    }
}

/// A conversation.
pub(crate) fn tunnel(octets: &[u8]) {
    let mut choices = Choices::new(octets);
    if let Some(mut model) = begin(&mut choices) {
        while let Some(()) = step(&mut model, &mut choices) {
            model.check();
        }
        model.end();
    }
}

/// The tunnel as the first octets want it: from either end, with or without a secret, and so on.
fn begin(choices: &mut Choices<'_>) -> Option<Model> {
    let (bits, window) = (choices.octet()?, choices.octet()?);
    let on = |bit: u8| bits & bit != 0;
    let config = Arc::new(TunnelConfig {
        host_name: "tunnel.example".into(),
        secret: on(1).then(|| SECRET.into()),
        challenge: on(2),
        hide_avps: on(4),
        hello_interval: (!on(8)).then_some(Duration::from_secs(60)),
        bearer_capabilities: BearerTypes::from_bits_retain(u32::from(on(16)) * 3),
        max_calls: if on(32) { 2 } else { 40 },
        rx_window: 1 + u16::from(window & 15),
        tx_window: 1 + u16::from(window >> 4),
        ..TunnelConfig::default()
    });
    let mut rng = rng();
    if on(128) {
        let tunnel = Tunnel::originate(config, TUNNEL, START, &mut rng);
        return Some(Model::new(tunnel, START, 0));
    }
    let mut message = Message::assemble(MessageType::SCCRQ, choices, None)?;
    message.spoil(choices, usize::from(on(64)))?;
    let datagram = message.datagram(&ControlHeader {
        tunnel_id: 0,
        session_id: 0,
        ns: 0,
        nr: 0,
    });
    let sccrq = decode_sccrq(&datagram).ok()?;
    let tunnel = Tunnel::accept(config, TUNNEL, &sccrq, START, &mut rng).ok()?;
    Some(Model::new(tunnel, START, 1))
}

/// One thing that happens.
fn step(model: &mut Model, choices: &mut Choices<'_>) -> Option<()> {
    match choices.below(13)? {
        // The likeliest, so that most of a run is conversation.
        0..=2 => say(model, choices)?,
        3 => {
            let header = header(model, choices.octet()?, choices)?;
            model.deliver(&Message::empty().datagram(&header));
        }
        4 => model.deliver(choices.octets()?),
        5 => model.deliver_again(choices.octet()?.into()),
        6 => {
            let seconds = [0, 1, 5, 20, 70, 150];
            model.wait(Duration::from_secs(choices.one_of(&seconds)?) + Duration::from_millis(60));
        }
        7 => model.place_call(choices.octet()?),
        8 => {
            let call = call(model, choices)?;
            model.accept_call(call);
        }
        9 => {
            let (call, refuse) = (call(model, choices)?, choices.octet()? & 1 == 0);
            let reason = Disconnect::administrative("no");
            if refuse {
                model.tunnel.refuse_call(call, reason);
            } else {
                model.tunnel.close_call(call, reason);
            }
        }
        10 => match choices.below(8)? {
            0 => model.tunnel.close(StopReason::clear("enough")),
            _ => model.restore(),
        },
        11 => {
            let (call, now) = (call(model, choices)?, model.now);
            model.tunnel.data_received(call, now);
        }
        _ => {
            let call = call(model, choices)?;
            model.bearer_up(call, choices.octet()?);
        }
    }
    Some(())
}

/// The peer says a message: most often the next one, to the right session and right in itself.
fn say(model: &mut Model, choices: &mut Choices<'_>) -> Option<()> {
    let message_type = message::chosen_type(choices.octet()?);
    let how = choices.octet()?;
    let mut message = Message::assemble(message_type, choices, Some(model))?;
    message.spoil(choices, usize::from(how >> 6))?;
    let mut header = header(model, how, choices)?;
    let asks = matches!(message_type, MessageType::ICRQ | MessageType::OCRQ);
    if how & 0x30 == 0 && (asks || !message_type.is_about_session()) {
        header.session_id = 0;
    }
    model.deliver(&message.datagram(&header));
    Some(())
}

/// A header: `how` says in two bits each whether Ns, Nr and the session are the right ones.
fn header(model: &Model, how: u8, choices: &mut Choices<'_>) -> Option<ControlHeader> {
    let ns = match how & 3 {
        0 | 1 => model.expected,
        2 => model.expected.wrapping_sub(1 + u16::from(choices.octet()?)),
        _ => model.expected.wrapping_add(u16::from(choices.octet()?)),
    };
    let nr = match how >> 2 & 3 {
        0 | 1 => model.sent(),
        2 => model.acknowledged(),
        _ => choices.short()?,
    };
    let session_id = match how >> 4 & 3 {
        0 | 1 => call(model, choices)?,
        2 => 0,
        _ => choices.short()?,
    };
    Some(ControlHeader {
        tunnel_id: TUNNEL,
        session_id,
        ns,
        nr,
    })
}

/// One of the tunnel's calls; 0 if there is none.
fn call(model: &Model, choices: &mut Choices<'_>) -> Option<SessionId> {
    let calls: Vec<_> = model.tunnel.calls().map(|call| call.session_id).collect();
    // The first choice is the youngest, whose id is random like all: the model knows the order.
    let place = usize::from(choices.octet()?);
    Some(model.by_age(place, &calls).unwrap_or(0))
}

/// Whether the tunnel is past saying anything but that it ends.
fn is_over(tunnel: &Tunnel) -> bool {
    matches!(tunnel.state(), TunnelState::Closing | TunnelState::Released)
}
