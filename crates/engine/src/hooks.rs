//! What a program is told that is run for events: all that there is to know of a tunnel or session. There is nothing of this where no such program is
//! configured.
//!
//! What a session carried is known only when the datapath has answered, and what comes after it of the same tunnel waits for that, so that hooks come
//! in the order of the events.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use api::Role;
use datapath::{Completion, DatapathError, Stats, Token};
use sansio::Time;
use serde::Serialize;

use crate::clients::Client;
use crate::created::CreatedSession;
use crate::sessions::Session;
use crate::{Engine, Output};

/// Something that a program is to be run for.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Hook {
    /// What happened.
    pub event: HookEvent,
    /// The tunnel that it is about, or that the session is of.
    pub tunnel: HookTunnel,
    /// The session that it is about.
    pub session: Option<HookSession>,
}

/// What happened.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub enum HookEvent {
    /// A control connection is up.
    TunnelUp,
    /// One that was up has ended.
    TunnelDown(HookEnd),
    /// A session carries traffic for the first time.
    SessionUp,
    /// One that carried traffic has ended.
    SessionDown(HookEnd),
    /// A network layer of a session carries traffic: our address and the peer's.
    PppUp(IpAddr, IpAddr),
    /// One that did went down.
    PppDown(IpAddr, IpAddr, HookEnd),
}

/// How something ended.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct HookEnd {
    /// Why; nothing where PPP negotiates anew.
    pub reason: Option<String>,
    /// How long it was up, a session where it is a network layer.
    pub lasted: Duration,
    /// What the session has carried so far, if the datapath knows it.
    pub carried: Option<Stats>,
}

/// A tunnel.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct HookTunnel {
    /// Our Tunnel ID.
    pub id: u16,
    /// Its name, if it is one of ours that has one.
    pub name: Option<String>,
    /// The peer.
    pub remote: SocketAddr,
    /// The peer's Host Name.
    pub host_name: String,
    /// The peer's profile.
    pub peer_profile: String,
}

/// A session.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct HookSession {
    /// Our Session ID.
    pub id: u16,
    /// Its name, if it is one of ours that has one.
    pub name: Option<String>,
    /// What we are in it: as the LNS we serve the user.
    pub role: Role,
    /// Who proved to be the peer, or who we claimed to be.
    pub user: Option<String>,
    /// The device.
    pub device: String,
    /// The speed towards the client, as its call said, bits/s.
    pub speed: u32,
    /// Our address and the peer's, of IPv4 and of IPv6, where they are up, or were until now.
    pub networks: [Option<(IpAddr, IpAddr)>; 2],
    /// Name servers that the peer told us of.
    pub dns: [Option<Ipv4Addr>; 2],
}

/// Those that wait for an answer of the datapath, and those behind them, by tunnel.
pub(crate) type HeldHooks = BTreeMap<u16, VecDeque<(Option<Token>, Box<Hook>)>>;

impl Hook {
    fn end(&mut self) -> Option<&mut HookEnd> {
        match &mut self.event {
            HookEvent::TunnelDown(end)
            | HookEvent::SessionDown(end)
            | HookEvent::PppDown(_, _, end) => Some(end),
            HookEvent::TunnelUp | HookEvent::SessionUp | HookEvent::PppUp(..) => None,
        }
    }
}

impl HookEnd {
    pub(crate) fn new(reason: Option<&str>, since: Time, now: Time) -> Self {
        Self {
            reason: reason.map(str::to_owned),
            lasted: now.saturating_since(since),
            carried: None,
        }
    }
}

impl Engine {
    /// Whether somebody is to be told.
    pub(crate) fn has_hooks(&self) -> bool {
        self.policy.model().system.event_script().is_some()
    }

    /// Has a program run for what happened to a tunnel.
    pub(crate) fn hook_tunnel(&mut self, id: u16, event: HookEvent) {
        if self.has_hooks()
            && let Some(tunnel) = self.hooked_tunnel(id)
        {
            let session = None;
            self.hook(
                None,
                Hook {
                    event,
                    tunnel,
                    session,
                },
            );
        }
    }

    /// Has a program run for what happened to a session, once the datapath has completed a request that reads its counters, if there is one.
    pub(crate) fn hook_session(
        &mut self,
        tunnel: u16,
        session: HookSession,
        event: HookEvent,
        counters: Option<Token>,
    ) {
        if let Some(tunnel) = self.hooked_tunnel(tunnel) {
            let session = Some(session);
            self.hook(
                counters,
                Hook {
                    event,
                    tunnel,
                    session,
                },
            );
        }
    }

    fn hook(&mut self, counters: Option<Token>, hook: Hook) {
        let tunnel = hook.tunnel.id;
        let hook = Box::new(hook);
        match self.held_hooks.get_mut(&tunnel) {
            Some(held) => held.push_back((counters, hook)),
            None if counters.is_some() => {
                self.held_hooks.insert(tunnel, [(counters, hook)].into());
            }
            None => self.outputs.push_back(Output::Hook(hook)),
        }
    }

    /// A request that hooks of a tunnel may wait for is completed.
    pub(crate) fn counted_for_hooks(
        &mut self,
        tunnel: u16,
        token: Token,
        result: &Result<Completion, DatapathError>,
    ) {
        let carried = match result {
            Ok(Completion::Stats(stats)) => Some(*stats),
            _ => None,
        };
        let Some(held) = self.held_hooks.get_mut(&tunnel) else {
            return;
        };
        for (waits_for, hook) in held
            .iter_mut()
            .filter(|(waits_for, _)| *waits_for == Some(token))
        {
            *waits_for = None;
            if let Some(end) = hook.end() {
                end.carried = carried;
            }
        }
        while let Some((_, hook)) = held.pop_front_if(|(waits_for, _)| waits_for.is_none()) {
            self.outputs.push_back(Output::Hook(hook));
        }
        if held.is_empty() {
            self.held_hooks.remove(&tunnel);
        }
    }

    fn hooked_tunnel(&self, id: u16) -> Option<HookTunnel> {
        let tunnel = self.tunnels.get(&id)?;
        let client = tunnel.client().and_then(|id| self.clients.get(&id));
        let peer = tunnel.control.peer();
        Some(HookTunnel {
            id,
            name: client.map_or_else(
                || tunnel.last_name.clone(),
                |client| client.config.tunnel_name.clone(),
            ),
            remote: tunnel.remote,
            host_name: peer.map_or_else(String::new, |peer| peer.host_name.clone()),
            peer_profile: tunnel
                .setup
                .params
                .peer_profile_name()
                .unwrap_or_default()
                .to_owned(),
        })
    }

    /// Remembers the name of a session that is not to be there any more, for what is told of its end.
    pub(crate) fn remember_session(&mut self, tunnel: u16, of: &CreatedSession) {
        if self.has_hooks()
            && let Some(call) = of.call
            && let Some(session) = self.session_mut(tunnel, call)
        {
            session.last_name.clone_from(&of.config.session_name);
        }
    }

    /// The same of a tunnel with all its sessions.
    pub(crate) fn remember_client(&mut self, tunnel: u16, client: &Client) {
        if let Some(tunnel) = self.tunnels.get_mut(&tunnel) {
            tunnel.last_name.clone_from(&client.config.tunnel_name);
        }
        for session in client.sessions.iter() {
            self.remember_session(tunnel, session);
        }
    }

    /// A session, if somebody is to be told.
    pub(crate) fn hooked(&self, tunnel: u16, id: u16) -> Option<HookSession> {
        let session = self.tunnels.get(&tunnel)?.sessions.get(&id)?;
        self.has_hooks()
            .then(|| self.hooked_session(tunnel, id, session))
    }

    /// A session, which may be no more in its tunnel.
    pub(crate) fn hooked_session(&self, tunnel: u16, id: u16, session: &Session) -> HookSession {
        let created = self.created_session(tunnel, id);
        let text = |text: Option<&str>| text.map(str::to_owned);
        HookSession {
            id,
            name: created.map_or_else(
                || session.last_name.clone(),
                |created| created.config.session_name.clone(),
            ),
            role: session.role,
            user: text(session.user.as_deref()),
            device: text(session.device.as_deref()).unwrap_or_default(),
            speed: session.call.params.tx_connect_speed,
            networks: session.networks(),
            dns: session.dns,
        }
    }
}
