//! What the log says: events in the words of an operator, and the traces. No secrets: see [`wire::readable`].

use config::TraceFlags;
use datapath::Request;
use engine::{Engine, Event, Source, Trace, Traced};
use tracing::{debug, info, warn};
use wire::l2tp::Header;
use wire::readable::{self, Plain, ReadableAvp};

use crate::trace::{
    AVP_DATA, AVP_HIDE, AVP_INFO, DATA, FSM, FUNC, PPP_CONTROL, PROTOCOL, TRANSPORT, line,
};

/// One line for an event.
pub(crate) fn event(event: &Event) {
    match event {
        Event::TunnelUp {
            tunnel,
            remote,
            host_name,
        } => {
            info!("tunnel {tunnel} up: {} at {remote}", plain(host_name));
        }
        Event::TunnelDown {
            tunnel,
            remote,
            reason,
            ..
        } => {
            info!("tunnel {tunnel} down: {remote}: {}", plain(reason));
        }
        Event::TunnelFailed {
            name,
            reason,
            retry_seconds: Some(seconds),
        } => {
            warn!(
                "tunnel {name} failed: {}; next attempt in {seconds} s",
                plain(reason)
            );
        }
        Event::TunnelFailed {
            name,
            reason,
            retry_seconds: None,
        } => {
            warn!("tunnel {name} failed: {}", plain(reason));
        }
        Event::TunnelRefused {
            remote,
            host_name,
            reason,
        } => {
            warn!(
                "tunnel refused: {} at {remote}: {}",
                plain(host_name),
                plain(reason)
            );
        }
        Event::SessionUp {
            tunnel,
            session,
            user,
            device,
            addresses,
        } => {
            let user = user.as_deref().unwrap_or("-");
            let addresses = addresses
                .map(|(local, peer)| format!(", local {local}, peer {peer}"))
                .unwrap_or_default();
            info!(
                "session {tunnel}/{session} up: user {} on {device}{addresses}",
                plain(user)
            );
        }
        Event::SessionDown {
            tunnel,
            session,
            user,
            reason,
            fault,
            ..
        } => {
            let (user, reason) = (plain(user.as_deref().unwrap_or("-")), plain(reason));
            match fault {
                // Somebody here has to see to it.
                true => warn!("session {tunnel}/{session} down: user {user}: {reason}"),
                false => info!("session {tunnel}/{session} down: user {user}: {reason}"),
            }
        }
        Event::PppUp {
            tunnel,
            session,
            local,
            peer,
        } => debug!("session {tunnel}/{session}: {local} to {peer} is up"),
        Event::PppDown {
            tunnel,
            session,
            local,
            peer,
        } => debug!("session {tunnel}/{session}: {local} to {peer} is down"),
        Event::Authentication {
            tunnel,
            session,
            user,
            failure: None,
            ..
        } => {
            info!(
                "session {tunnel}/{session}: user {} authenticated",
                plain(user)
            );
        }
        Event::Authentication {
            tunnel,
            session,
            user,
            failure: Some(failure),
            ..
        } => {
            warn!(
                "session {tunnel}/{session}: user {} failed to authenticate: {failure}",
                plain(user)
            );
        }
    }
}

/// One line for those that were left out.
pub(crate) fn left_out(source: Option<Source>, lines: u64) {
    match source {
        Some(source) => warn!("{source}: {lines} more lines about it were left out in a minute"),
        None => warn!("other sources: {lines} more lines about them were left out in a minute"),
    }
}

/// Text from outside as a part of one line.
fn plain(text: &str) -> Plain<'_> {
    Plain(text.as_bytes())
}

/// Logs what the datapath reports of the network.
pub(crate) fn received(event: &datapath::Event) {
    match event {
        datapath::Event::PathMtu { remote, mtu, .. } => {
            debug!("the path to {remote} takes packets of {mtu} octets");
        }
        datapath::Event::Unreachable { remote, reason, .. } => {
            debug!("the network says of {remote}: {reason}");
        }
        datapath::Event::Failed { handle, error } => {
            let (tunnel, session) = Engine::place_of_handle(*handle);
            warn!("the datapath lost session {tunnel}/{session}: {error}");
        }
        datapath::Event::Moved { handle, engine } => {
            let (tunnel, session) = Engine::place_of_handle(*handle);
            debug!(
                "session {tunnel}/{session} is on the datapath {} now",
                engine.name()
            );
        }
        datapath::Event::NoFaster { handle, why } => {
            let (tunnel, session) = Engine::place_of_handle(*handle);
            debug!("no faster datapath carries session {tunnel}/{session}: {why}");
        }
        datapath::Event::Control { .. }
        | datapath::Event::Frame { .. }
        | datapath::Event::Completed { .. } => {}
    }
}

/// Traces that the datapath has done, or could not do, what it was asked.
pub(crate) fn completed(event: &datapath::Event, engine: &Engine) {
    let datapath::Event::Completed { token, result } = event else {
        return;
    };
    let place = engine.place_of_request(*token).unwrap_or_default();
    if engine.trace_flags(place.0, place.1).meets(TraceFlags::DATA) {
        line!(DATA, place, "request {}: {result:?}", token.0);
    }
}

/// Traces a request to the datapath.
pub(crate) fn request(request: &Request, engine: &Engine) {
    let handle = match request {
        Request::Create { handle, .. }
        | Request::Configure { handle, .. }
        | Request::Remove { handle, .. }
        | Request::SetSequencing { handle, .. }
        | Request::SetChecksums { handle, .. }
        | Request::Join { handle, .. } => handle,
        // Frames are PPP's, and counters say nothing new.
        _ => return,
    };
    let place = Engine::place_of_handle(*handle);
    if engine.trace_flags(place.0, place.1).meets(TraceFlags::DATA) {
        line!(DATA, place, "{request:?}");
    }
}

/// Traces what the engine shows, in the categories that are on for it.
pub(crate) fn traced(trace: &Trace) {
    let place = (trace.tunnel, trace.session);
    let on = |category: TraceFlags| trace.flags.meets(category);
    match &trace.what {
        Traced::Message { .. } => message(trace),
        Traced::Frame {
            direction, frame, ..
        } if on(TraceFlags::PPP_CONTROL) => {
            let frame = readable::frame(frame);
            let id = frame.identifier.unwrap_or_default();
            line!(
                PPP_CONTROL,
                place,
                "{direction} {} id {id}: {}",
                frame.name,
                frame.text
            );
        }
        Traced::State { from, to } if on(TraceFlags::FSM) => match (from, to) {
            (None, Some(to)) => line!(FSM, place, "begins: {to}"),
            (Some(from), Some(to)) => line!(FSM, place, "{from} -> {to}"),
            (Some(from), None) => line!(FSM, place, "ends: {from}"),
            (None, None) => {}
        },
        Traced::Decision(text) if on(TraceFlags::FUNC) => line!(FUNC, place, "{text}"),
        _ => {}
    }
}

/// Traces a control message: what it is, what it acknowledges, what is in it.
fn message(trace: &Trace) {
    let Traced::Message {
        direction,
        local,
        remote,
        again,
        payload,
    } = &trace.what
    else {
        return;
    };
    let place = (trace.tunnel, trace.session);
    let on = |category: TraceFlags| trace.flags.meets(category);
    let (header, avps) = match Header::decode(payload) {
        Ok((Header::Control(header), avps)) => (header, avps),
        Ok((Header::Data(_), _)) if on(TraceFlags::PROTOCOL) => {
            return line!(
                PROTOCOL,
                place,
                "{direction} {local} {remote} a data message"
            );
        }
        Err(error) if on(TraceFlags::PROTOCOL) => {
            return line!(
                PROTOCOL,
                place,
                "{direction} {local} {remote} what is no L2TP: {error}"
            );
        }
        _ => return,
    };
    let (name, fields) = (readable::message_name(avps), readable::header(&header));
    if avps.is_empty() {
        if on(TraceFlags::TRANSPORT) {
            line!(
                TRANSPORT,
                place,
                "{direction} {local} {remote} ZLB {fields}"
            );
        }
        return;
    }
    if on(TraceFlags::PROTOCOL) {
        line!(
            PROTOCOL,
            place,
            "{direction} {local} {remote} {name} {fields}"
        );
    }
    if *again && on(TraceFlags::TRANSPORT) {
        line!(
            TRANSPORT,
            place,
            "{direction} {name} Ns {} again",
            header.ns
        );
    }
    if on(TraceFlags::AVP_INFO) {
        line!(
            AVP_INFO,
            place,
            "{direction} {name}: {}",
            listed(avps, |avp| {
                let hidden = if avp.hidden { " hidden" } else { "" };
                Some(format!("{} ({}{hidden})", avp.name, avp.octets))
            })
        );
    }
    if on(TraceFlags::AVP_HIDE) {
        let hidden = listed(avps, |avp| {
            avp.hidden
                .then(|| format!("{} ({} octets)", avp.name, avp.octets))
        });
        if !hidden.is_empty() {
            line!(AVP_HIDE, place, "{direction} {name} hides {hidden}");
        }
    }
    if on(TraceFlags::AVP_DATA) {
        line!(
            AVP_DATA,
            place,
            "{direction} {name}: {}",
            listed(avps, |avp| {
                Some(match avp.value.is_empty() {
                    true => avp.name.clone(),
                    false => format!("{}: {}", avp.name, avp.value),
                })
            })
        );
    }
}

/// What is to be said of AVPs, in a row.
fn listed(avps: &[u8], say: impl Fn(&ReadableAvp) -> Option<String>) -> String {
    let said = readable::avps(avps).filter_map(|avp| match avp {
        Ok(avp) => say(&avp),
        Err(error) => Some(error.to_string()),
    });
    said.collect::<Vec<_>>().join("; ")
}
