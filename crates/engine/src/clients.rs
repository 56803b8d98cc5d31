//! Tunnels that we were told to make: name resolution, attempts with backoff, and the sessions that are to be on them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::{CommandError, ErrorKind};
use crypto::Secret;
use l2tp::{Disconnect, StopReason};
use ppp::Credentials;
use rand_core::Rng;
use sansio::Time;
use serde::{Deserialize, Serialize};

use crate::policy::TunnelSetup;
use crate::tunnels::Origin;
use crate::wheel::Entry;
use crate::{Engine, Event, Key, Output, Shutdown, Token};

/// Names a client for as long as the shard lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct ClientId(pub(crate) u64);

/// A tunnel that we were told to make; each attempt to bring it up is an [`l2tp::Tunnel`] of its own.
pub(crate) struct Client {
    pub(crate) config: config::Tunnel,
    pub(crate) setup: Arc<TunnelSetup>,
    pub(crate) state: State,
    pub(crate) sessions: Vec<ClientSession>,
    /// Attempts since it was up last.
    failures: u32,
    pub(crate) last_error: Option<String>,
    pub(crate) since: Time,
    entry: Entry,
}

/// Where a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Waits for the peer's addresses.
    Resolving(Token),
    /// Has a tunnel under way or up.
    Tunnel(u16),
    /// Waits for the next attempt.
    Retry(Time),
}

/// A session that is to be on a client's tunnel.
pub(crate) struct ClientSession {
    pub(crate) number: u64,
    pub(crate) config: config::Session,
    pub(crate) credentials: Option<Arc<Credentials>>,
    /// Our Session ID of the present attempt.
    pub(crate) call: Option<u16>,
    /// Attempts since it was up last.
    failures: u32,
    pub(crate) retry_at: Option<Time>,
    pub(crate) last_error: Option<String>,
    pub(crate) since: Time,
}

impl Client {
    /// What its peer is called in messages to people.
    fn name(&self) -> String {
        self.config
            .tunnel_name()
            .or(self.setup.params.dest_ipaddr())
            .unwrap_or_default()
            .to_owned()
    }

    /// The session whose present attempt is this call.
    pub(crate) fn session_of_call(&self, call: u16) -> Option<&ClientSession> {
        self.sessions
            .iter()
            .find(|session| session.call == Some(call))
    }
}

impl Engine {
    /// Takes a tunnel to make, and makes it.
    pub(crate) fn add_client(
        &mut self,
        config: config::Tunnel,
        now: Time,
    ) -> Result<ClientId, CommandError> {
        let system = &self.policy.model().system;
        if system.deny_local_tunnel_creates() {
            return Err(CommandError::new(
                ErrorKind::Invalid,
                "creating tunnels is disabled: deny_local_tunnel_creates",
            ));
        }
        let limit = system.max_tunnels() as usize;
        if limit != 0 && self.tunnels.len() >= limit {
            return Err(CommandError::new(
                ErrorKind::Resources,
                "the limit of tunnels is reached",
            ));
        }
        let name = config.tunnel_name.as_deref();
        if name.is_some()
            && self
                .clients
                .values()
                .any(|c| c.config.tunnel_name.as_deref() == name)
        {
            return Err(CommandError::new(
                ErrorKind::Exists,
                "a tunnel of this name exists",
            ));
        }
        let setup = self.policy.for_client(&config)?;
        if setup.params.dest_ipaddr.is_none() {
            return Err(CommandError::new(
                ErrorKind::Invalid,
                "dest_ipaddr is missing: the peer's address or host name",
            ));
        }
        let id = ClientId(self.next_number());
        let client = Client {
            config,
            setup,
            state: State::Retry(now),
            sessions: Vec::new(),
            failures: 0,
            last_error: None,
            since: now,
            entry: self.wheel.insert(Key::Client(id)),
        };
        self.clients.insert(id, client);
        self.attempt(id, now);
        Ok(id)
    }

    /// Forgets a client and closes its tunnel.
    pub(crate) fn remove_client(&mut self, id: ClientId, now: Time) {
        let Some(client) = self.clients.remove(&id) else {
            return;
        };
        self.wheel.remove(client.entry);
        if let State::Tunnel(tunnel) = client.state {
            self.close_tunnel(
                tunnel,
                StopReason::clear("closed by the administrator"),
                now,
            );
        }
    }

    /// Takes a session to make on a client's tunnel, and makes it if the tunnel is up.
    pub(crate) fn add_client_session(
        &mut self,
        id: ClientId,
        config: config::Session,
        now: Time,
    ) -> Option<u64> {
        let number = self.next_number();
        let credentials = config.user_name.as_ref().map(|user_name| {
            let password = config
                .user_password
                .clone()
                .unwrap_or_else(|| Secret::from(""));
            Arc::new(Credentials {
                user_name: user_name.clone(),
                password,
            })
        });
        let client = self.clients.get_mut(&id)?;
        client.sessions.push(ClientSession {
            number,
            config,
            credentials,
            call: None,
            failures: 0,
            retry_at: None,
            last_error: None,
            since: now,
        });
        self.place_calls(id, now);
        Some(number)
    }

    /// Forgets a session of a client and closes its call.
    pub(crate) fn remove_client_session(&mut self, id: ClientId, number: u64, now: Time) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let Some(position) = client.sessions.iter().position(|s| s.number == number) else {
            return;
        };
        let session = client.sessions.remove(position);
        if let (State::Tunnel(tunnel), Some(call)) = (client.state, session.call) {
            self.close_session(tunnel, call, now);
        }
    }

    /// Ends a session as its operator wishes: PPP first, if it is there, so that the peer's PPP learns it too.
    pub(crate) fn close_session(&mut self, tunnel: u16, call: u16, now: Time) {
        if !self.end_link(tunnel, call, ppp::Cause::Administrative, now) {
            self.close_call(
                tunnel,
                call,
                Disconnect::administrative("closed by the administrator"),
            );
        }
        self.settle_session(tunnel, call, now);
        self.settle(tunnel, now);
    }

    pub(crate) fn close_tunnel(&mut self, tunnel: u16, reason: StopReason, now: Time) {
        if let Some(t) = self.tunnels.get_mut(&tunnel) {
            t.control.close(reason);
            self.settle(tunnel, now);
        }
    }

    pub(crate) fn client_timeout(&mut self, id: ClientId, now: Time) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        match client.state {
            State::Retry(at) if at <= now => self.attempt(id, now),
            State::Tunnel(_) => self.place_calls(id, now),
            _ => self.set_client_timer(id),
        }
    }

    /// Begins an attempt: finds the peer's address anew each time, as it may have changed.
    fn attempt(&mut self, id: ClientId, now: Time) {
        let token = Token(self.next_number());
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        (client.state, client.since) = (State::Resolving(token), now);
        let host = client
            .setup
            .params
            .dest_ipaddr()
            .unwrap_or_default()
            .to_owned();
        self.set_client_timer(id);
        match host.parse::<IpAddr>() {
            Ok(address) => self.resolved(token, Ok(vec![address]), now),
            Err(_) => self.outputs.push_back(Output::Resolve { token, host }),
        }
    }

    pub(crate) fn resolved(
        &mut self,
        token: Token,
        result: Result<Vec<IpAddr>, String>,
        now: Time,
    ) {
        let waiting = self
            .clients
            .iter()
            .find(|(_, client)| client.state == State::Resolving(token));
        let Some((&id, client)) = waiting else { return };
        if self.shutdown != Shutdown::No {
            return;
        }
        let wanted = client.setup.params.src_ipaddr;
        let usable = result.map(|all| {
            all.into_iter()
                .filter(|a| wanted.is_none_or(|w| w.is_ipv4() == a.is_ipv4()))
                .collect::<Vec<_>>()
        });
        match usable {
            // Each attempt takes the next address, so that a dead one does not keep us from the others.
            Ok(all) if !all.is_empty() => {
                let address = all[client.failures as usize % all.len()];
                self.connect(id, address, now);
            }
            Ok(_) => self.attempt_failed(id, "the host has no usable address", now),
            Err(reason) => self.attempt_failed(id, &reason, now),
        }
    }

    fn connect(&mut self, id: ClientId, address: IpAddr, now: Time) {
        let Some(tunnel_id) = self.free_tunnel_id() else {
            return self.attempt_failed(id, "no tunnel id is free", now);
        };
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let setup = client.setup.clone();
        let params = &setup.params;
        let any = if address.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let port = if params.our_udp_port() == 0 {
            self.udp_port
        } else {
            params.our_udp_port()
        };
        let local = SocketAddr::new(params.src_ipaddr.unwrap_or(any), port);
        let remote = SocketAddr::new(address, params.peer_udp_port());
        (client.state, client.since) = (State::Tunnel(tunnel_id), now);
        let control = l2tp::Tunnel::originate(setup.tunnel.clone(), tunnel_id, now, &mut self.rng);
        self.add_tunnel(
            tunnel_id,
            control,
            setup,
            (local, remote),
            Origin::Client(id),
            now,
        );
        self.settle(tunnel_id, now);
    }

    pub(crate) fn client_tunnel_up(&mut self, id: ClientId, tunnel: u16, now: Time) {
        let Some(client) = self.clients.get_mut(&id) else {
            // It was deleted while the tunnel came up.
            return self.close_tunnel(
                tunnel,
                StopReason::clear("closed by the administrator"),
                now,
            );
        };
        (client.failures, client.since, client.last_error) = (0, now, None);
        self.place_calls(id, now);
    }

    /// Places the calls of the sessions that have none and need not wait.
    fn place_calls(&mut self, id: ClientId, now: Time) {
        if let Some(client) = self.clients.get_mut(&id)
            && let State::Tunnel(tunnel_id) = client.state
            && let Some(tunnel) = self.tunnels.get_mut(&tunnel_id).filter(|t| t.was_up)
        {
            let ready =
                |s: &&mut ClientSession| s.call.is_none() && s.retry_at.is_none_or(|at| at <= now);
            for session in client.sessions.iter_mut().filter(ready) {
                let serial = self.rng.next_u32();
                let call = self.policy.call(&tunnel.setup, &session.config, serial);
                session.retry_at = None;
                match tunnel.control.place_incoming_call(call, now, &mut self.rng) {
                    Ok(call) => {
                        (session.call, session.since) = (Some(call), now);
                        self.calls += 1;
                        tunnel.idle_at = None;
                    }
                    Err(refused) => {
                        session.last_error = Some(refused.to_string());
                        session.retry_at = Some(now + Duration::from_secs(1));
                    }
                }
            }
            self.settle(tunnel_id, now);
        }
        self.set_client_timer(id);
    }

    pub(crate) fn client_session_up(&mut self, tunnel: u16, number: Option<u64>) {
        let Some(Origin::Client(id)) = self.tunnels.get(&tunnel).map(|t| t.origin) else {
            return;
        };
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if let Some(session) = client
            .sessions
            .iter_mut()
            .find(|s| Some(s.number) == number)
        {
            (session.failures, session.last_error) = (0, None);
        }
    }

    /// A call of a client is over: it is placed again later, if the tunnel persists.
    pub(crate) fn client_call_ended(&mut self, id: ClientId, call: u16, reason: &str, now: Time) {
        let longest = self.policy.model().system.session_persist_pend_timeout();
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let Some(position) = client.sessions.iter().position(|s| s.call == Some(call)) else {
            return;
        };
        if !client.config.persist() {
            client.sessions.remove(position);
            return;
        }
        let session = &mut client.sessions[position];
        session.failures = session.failures.saturating_add(1);
        (session.call, session.since, session.last_error) = (None, now, Some(reason.to_owned()));
        session.retry_at = Some(now + backoff(session.failures, longest, &mut self.rng));
        self.set_client_timer(id);
    }

    /// The client's tunnel ended, or could not be made.
    pub(crate) fn client_tunnel_down(
        &mut self,
        id: ClientId,
        tunnel: u16,
        reason: &str,
        now: Time,
    ) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.state != State::Tunnel(tunnel) {
            return;
        }
        for session in &mut client.sessions {
            // It was the tunnel's fault: the session need not wait once that is back.
            (session.call, session.retry_at) = (None, None);
        }
        self.attempt_failed(id, reason, now);
    }

    fn attempt_failed(&mut self, id: ClientId, reason: &str, now: Time) {
        let longest = self.policy.model().system.tunnel_persist_pend_timeout();
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let name = client.name();
        let persist = client.config.persist() && self.shutdown == Shutdown::No;
        client.failures = client.failures.saturating_add(1);
        let wait = backoff(client.failures, longest, &mut self.rng);
        (client.state, client.since) = (State::Retry(now + wait), now);
        client.last_error = Some(reason.to_owned());
        if persist {
            self.set_client_timer(id);
        } else if let Some(client) = self.clients.remove(&id) {
            self.wheel.remove(client.entry);
        }
        if self.shutdown == Shutdown::No {
            let retry_seconds = persist.then_some(wait.as_secs().max(1));
            self.event(Event::TunnelFailed {
                name,
                reason: reason.to_owned(),
                retry_seconds,
            });
        }
    }

    fn set_client_timer(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let at = match client.state {
            State::Resolving(_) => None,
            State::Retry(at) => Some(at),
            State::Tunnel(_) => client.sessions.iter().filter_map(|s| s.retry_at).min(),
        };
        self.wheel.set(client.entry, at);
    }
}

/// One second, doubling to `longest` seconds, and up to a quarter more, so that many clients do not come back in step.
fn backoff(failures: u32, longest: u32, rng: &mut dyn Rng) -> Duration {
    let seconds = 1_u64 << failures.saturating_sub(1).min(20);
    let millis = seconds.min(u64::from(longest.max(1))) * 1000;
    Duration::from_millis(millis + u64::from(rng.next_u32()) % (millis / 4 + 1))
}
