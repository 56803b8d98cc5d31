//! What happened, as those who follow the management interface see it.

use api::Event;
use api::server::EventLog;

use crate::clock;

/// Events that are kept for those who come back.
pub(crate) const KEPT: usize = 16_384;

/// Adds an event that happens now.
pub(crate) fn push(log: &EventLog, event: Event) {
    log.push(clock::since_1970() / 1_000, event);
}

/// An event of the engine. One line a field: each is named as the rest of the interface names it.
pub(crate) fn shown(event: &engine::Event) -> Event {
    use engine::Event as E;
    match event.clone() {
        E::TunnelUp {
            tunnel: tunnel_id,
            remote,
            host_name,
        } => Event::TunnelUp {
            tunnel_id,
            remote,
            host_name,
        },
        E::TunnelDown {
            tunnel: tunnel_id,
            remote,
            reason,
            was_up,
        } => Event::TunnelDown {
            tunnel_id,
            remote,
            reason,
            was_up,
        },
        E::TunnelFailed {
            name: tunnel_name,
            reason,
            retry_seconds,
        } => Event::TunnelFailed {
            tunnel_name,
            reason,
            retry_seconds,
        },
        E::TunnelRefused {
            remote,
            host_name,
            reason,
        } => Event::TunnelRefused {
            remote,
            host_name,
            reason,
        },
        E::Authentication {
            tunnel: tunnel_id,
            session: session_id,
            remote,
            user: user_name,
            failure,
        } => Event::Authentication {
            tunnel_id,
            session_id,
            remote,
            user_name,
            accepted: failure.is_none(),
            failure: failure.map(str::to_owned),
        },
        E::SessionUp {
            tunnel: tunnel_id,
            session: session_id,
            user: user_name,
            device: interface_name,
            addresses,
        } => Event::SessionUp {
            tunnel_id,
            session_id,
            user_name,
            interface_name,
            local_ipaddr: addresses.map(|(local, _)| local),
            remote_ipaddr: addresses.map(|(_, peer)| peer),
        },
        E::SessionDown {
            tunnel: tunnel_id,
            session: session_id,
            remote,
            user: user_name,
            reason,
            was_up,
            fault: _,
        } => Event::SessionDown {
            tunnel_id,
            session_id,
            remote,
            user_name,
            reason,
            was_up,
        },
        E::PppUp {
            tunnel: tunnel_id,
            session: session_id,
            local: local_ipaddr,
            peer: remote_ipaddr,
        } => Event::PppUp {
            tunnel_id,
            session_id,
            local_ipaddr,
            remote_ipaddr,
        },
        E::PppDown {
            tunnel: tunnel_id,
            session: session_id,
            local: local_ipaddr,
            peer: remote_ipaddr,
        } => Event::PppDown {
            tunnel_id,
            session_id,
            local_ipaddr,
            remote_ipaddr,
        },
    }
}
