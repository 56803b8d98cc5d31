//! Tunnels that we were told to make: name resolution, and attempts with backoff.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::{CommandError, ErrorKind};
use datapath::Transport;
use l2tp::StopReason;
use rand_core::Rng;
use sansio::Time;
use serde::{Deserialize, Serialize};

use crate::commands::Which;
use crate::created::CreatedSessions;
use crate::policy::TunnelSetup;
use crate::reasons::Why;
use crate::tally::States;
use crate::tunnels::Origin;
use crate::wheel::Entry;
use crate::{Engine, Event, Key, Output, Shutdown, Token};

/// Names a client for as long as the shard lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct ClientId(pub(crate) u64);

/// A tunnel that we were told to make; each attempt to bring it up is an [`l2tp::Tunnel`] of its own.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Client {
    pub(crate) config: config::Tunnel,
    pub(crate) setup: Arc<TunnelSetup>,
    pub(crate) state: State,
    pub(crate) sessions: CreatedSessions,
    /// Attempts since it was up last.
    pub(crate) failures: u32,
    pub(crate) last_error: Option<Why>,
    /// The peer whose tunnel is to come instead of ours.
    pub(crate) gave_way_to: Option<Transport>,
    pub(crate) made: Time,
    pub(crate) since: Time,
    /// What of it is in the sums.
    pub(crate) tally: States,
    entry: Entry,
}

/// Where a client is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum State {
    /// Waits for the peer's addresses.
    Resolving(Token),
    /// Has a tunnel under way or up.
    Tunnel(u16),
    /// Waits for the next attempt.
    Retry(Time),
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

    /// Whether it gave way to a tunnel that the peer opens by this path. The peer reaches an address of ours, where we may have left ours open.
    pub(crate) fn waits_for(&self, path: &Transport) -> bool {
        let same = |to: &Transport| to.remote == path.remote && to.listener == path.listener;
        self.gave_way_to.as_ref().is_some_and(same)
    }

    /// The host that its peer is.
    fn host(&self) -> String {
        self.setup
            .params
            .dest_ipaddr()
            .unwrap_or_default()
            .to_owned()
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
        if self.tunnel_room() <= 0 {
            return Err(CommandError::new(
                ErrorKind::Resources,
                "the limit of tunnels is reached",
            ));
        }
        let name = config.tunnel_name.clone();
        if name
            .as_ref()
            .is_some_and(|name| self.client_names.contains_key(name))
        {
            return Err(CommandError::new(
                ErrorKind::Exists,
                "a tunnel of this name exists",
            ));
        }
        self.policy.check_tunnel(&config)?;
        let setup = self.policy.for_client(&config)?;
        let mut config = config;
        let peer = setup.params.dest_ipaddr().unwrap_or_default();
        config.config_id = Some(self.take_config_id(peer, config.config_id)?);
        let id = ClientId(self.next_number());
        let client = Client {
            config,
            setup,
            state: State::Retry(now),
            sessions: CreatedSessions::default(),
            failures: 0,
            last_error: None,
            gave_way_to: None,
            made: now,
            since: now,
            tally: States::default(),
            entry: self.wheel.insert(Key::Client(id)),
        };
        self.clients.insert(id, client);
        if let Some(name) = name {
            self.client_names.insert(name, id);
        }
        self.attempt(id, now);
        Ok(id)
    }

    /// Takes the number of a tunnel among those that we open to a peer: the wanted one, or the first that is free.
    fn take_config_id(&mut self, peer: &str, wanted: Option<u16>) -> Result<u16, CommandError> {
        let taken = self.config_ids.entry(peer.to_owned()).or_default();
        // In the order of the numbers, one that is missing is where the count is first behind.
        let free = || (1..).zip(taken.iter()).find(|(count, id)| count != *id);
        let first = || match free() {
            Some((count, _)) => Some(count),
            None => u16::try_from(taken.len() + 1).ok(),
        };
        let id = wanted.or_else(first).ok_or_else(|| {
            CommandError::new(
                ErrorKind::Resources,
                "this peer has all the tunnels that have numbers",
            )
        })?;
        if taken.insert(id) {
            Ok(id)
        } else {
            let message = format!("another tunnel to {peer} has the config_id {id}");
            Err(CommandError::new(ErrorKind::Exists, message))
        }
    }

    /// Forgets a client and closes its tunnel.
    pub(crate) fn remove_client(&mut self, id: ClientId, now: Time) {
        let Some(client) = self.forget_client(id) else {
            return;
        };
        if let State::Tunnel(tunnel) = client.state {
            self.remember_client(tunnel, &client);
            self.close_tunnel(
                tunnel,
                StopReason::clear("closed by the administrator"),
                now,
            );
        }
    }

    fn forget_client(&mut self, id: ClientId) -> Option<Client> {
        let client = self.clients.remove(&id)?;
        if let Some(name) = &client.config.tunnel_name {
            self.client_names.remove(name);
        }
        if let (Some(of_peer), Some(number)) = (
            self.config_ids.get_mut(&client.host()),
            client.config.config_id,
        ) {
            of_peer.remove(&number);
            if of_peer.is_empty() {
                self.config_ids.remove(&client.host());
            }
        }
        self.wheel.remove(client.entry);
        self.retire_client(&client);
        Some(client)
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
            State::Tunnel(_) => self.place_calls(Which::Client(id), now),
            _ => self.set_client_timer(id),
        }
    }

    /// Begins an attempt: finds the peer's address anew each time, as it may have changed.
    fn attempt(&mut self, id: ClientId, now: Time) {
        let token = Token(self.next_number());
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        // The profiles may have changed since. Where they no longer serve, those serve that it began with.
        if let Ok(setup) = self.policy.for_client(&client.config) {
            client.setup = setup;
        }
        (client.state, client.since) = (State::Resolving(token), now);
        client.gave_way_to = None;
        let host = client.host();
        self.set_client_timer(id);
        match host.parse::<IpAddr>() {
            Ok(address) => self.addresses_known(id, Ok(vec![address]), now),
            Err(_) => self.outputs.push_back(Output::Resolve { token, host }),
        }
    }

    /// Asks again for the addresses that nobody is looking for any more.
    pub(crate) fn resolve_again(&mut self) {
        let asked = self
            .clients
            .values()
            .filter_map(|client| match client.state {
                State::Resolving(token) => Some(Output::Resolve {
                    token,
                    host: client.host(),
                }),
                _ => None,
            });
        self.outputs.extend(asked);
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
        if let Some((&id, _)) = waiting {
            self.addresses_known(id, result, now);
        }
    }

    fn addresses_known(&mut self, id: ClientId, result: Result<Vec<IpAddr>, String>, now: Time) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        if self.shutdown != Shutdown::No {
            return;
        }
        let source = self.policy.source(&client.setup.params);
        let wanted = source.ok().and_then(|(_, address, _)| address);
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
            Ok(_) => self.attempt_failed(id, &"the host has no usable address".into(), now),
            Err(reason) => self.attempt_failed(id, &reason.as_str().into(), now),
        }
    }

    fn connect(&mut self, id: ClientId, address: IpAddr, now: Time) {
        let Some(tunnel_id) = self.free_tunnel_id() else {
            return self.attempt_failed(id, &"no tunnel id is free".into(), now);
        };
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let setup = client.setup.clone();
        let params = &setup.params;
        let (listener, source, port) = match self.policy.source(params) {
            Ok(source) => source,
            Err(error) => return self.attempt_failed(id, &error.message.as_str().into(), now),
        };
        let any = if address.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let local = SocketAddr::new(source.unwrap_or(any), port.unwrap_or(self.udp_port));
        let remote = SocketAddr::new(address, params.peer_udp_port());
        (client.state, client.since) = (State::Tunnel(tunnel_id), now);
        self.recount_client(id);
        let control = l2tp::Tunnel::originate(setup.tunnel.clone(), tunnel_id, now, &mut self.rng);
        self.add_tunnel(
            tunnel_id,
            control,
            setup,
            Transport {
                listener,
                local,
                remote,
            },
            Origin::Client(id),
            now,
        );
        self.dialing.insert((address, tunnel_id));
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
        (client.state, client.gave_way_to) = (State::Tunnel(tunnel), None);
        (client.failures, client.since, client.last_error) = (0, now, None);
        self.place_calls(Which::Client(id), now);
    }

    /// The client's tunnel ended, or could not be made.
    pub(crate) fn client_tunnel_down(
        &mut self,
        id: ClientId,
        tunnel: u16,
        reason: &Why,
        now: Time,
    ) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        if client.state != State::Tunnel(tunnel) {
            return;
        }
        client.sessions.tunnel_down();
        self.attempt_failed(id, reason, now);
    }

    fn attempt_failed(&mut self, id: ClientId, reason: &Why, now: Time) {
        let longest = self.policy.model().system.tunnel_persist_pend_timeout();
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        // The end of a tunnel is counted with that.
        let no_tunnel = !matches!(client.state, State::Tunnel(_));
        self.counters.setup.tunnel_failures += u64::from(no_tunnel);
        let name = client.name();
        let persist = client.config.persist() && self.shutdown == Shutdown::No;
        client.failures = client.failures.saturating_add(1);
        let wait = backoff(client.failures, longest, &mut self.rng);
        (client.state, client.since) = (State::Retry(now + wait), now);
        client.last_error = Some(reason.clone());
        if persist {
            self.set_client_timer(id);
        } else {
            self.forget_client(id);
        }
        if self.shutdown == Shutdown::No {
            let retry_seconds = persist.then_some(wait.as_secs().max(1));
            self.event(Event::TunnelFailed {
                name,
                reason: reason.text.clone(),
                retry_seconds,
            });
        }
    }

    pub(crate) fn set_client_timer(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let at = match client.state {
            State::Resolving(_) => None,
            State::Retry(at) => Some(at),
            State::Tunnel(_) => client.sessions.next_retry(),
        };
        self.wheel.set(client.entry, at);
        self.recount_client(id);
    }
}

/// One second, doubling to `longest` seconds, and up to a quarter more, so that many clients do not come back in step.
pub(crate) fn backoff(failures: u32, longest: u32, rng: &mut dyn Rng) -> Duration {
    let seconds = 1_u64 << failures.saturating_sub(1).min(20);
    let millis = seconds.min(u64::from(longest.max(1))) * 1000;
    Duration::from_millis(millis + u64::from(rng.next_u32()) % (millis / 4 + 1))
}
