//! Sessions that we were told to make on a tunnel, whoever opened that: which of them have a call, and when the others get one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use api::{CommandError, ErrorKind};
use l2tp::{CallKind, Disconnect};
use rand_core::Rng;
use sansio::Time;
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::clients::{State, backoff};
use crate::commands::Which;
use crate::reasons::Why;

/// A session that is to be on a tunnel; each attempt to bring it up is a call of its own.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct CreatedSession {
    pub(crate) number: u64,
    pub(crate) config: config::Session,
    pub(crate) kind: CallKind,
    /// Our Session ID of the present attempt.
    pub(crate) call: Option<u16>,
    /// Attempts since it was up last.
    failures: u32,
    /// When the next attempt is due; not set, as soon as its tunnel is up.
    pub(crate) retry_at: Option<Time>,
    pub(crate) last_error: Option<Why>,
    pub(crate) made: Time,
    pub(crate) since: Time,
}

/// The sessions that are to be on one tunnel.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct CreatedSessions {
    by_number: BTreeMap<u64, CreatedSession>,
    by_name: BTreeMap<String, u64>,
    by_call: BTreeMap<u16, u64>,
    /// Those without a call, by when they are to have one; at once is zero.
    waiting: BTreeSet<(Time, u64)>,
    /// How many of them wait because their last attempt failed.
    retrying: u32,
    /// Why the last one that was forgotten had failed.
    failure: Option<String>,
}

impl CreatedSession {
    fn due(&self) -> Time {
        self.retry_at.unwrap_or(Time::ZERO)
    }
}

impl CreatedSessions {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CreatedSession> {
        self.by_number.values()
    }

    pub(crate) fn get(&self, number: u64) -> Option<&CreatedSession> {
        self.by_number.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut CreatedSession> {
        self.by_number.get_mut(&number)
    }

    /// The session whose present attempt is this call.
    pub(crate) fn of_call(&self, call: u16) -> Option<&CreatedSession> {
        self.get(*self.by_call.get(&call)?)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&CreatedSession> {
        self.get(*self.by_name.get(name)?)
    }

    /// The one after that number, in the order in which they were made.
    pub(crate) fn after(&self, number: u64) -> Option<&CreatedSession> {
        let later = (Bound::Excluded(number), Bound::Unbounded);
        self.by_number
            .range(later)
            .next()
            .map(|(_, session)| session)
    }

    fn insert(&mut self, session: CreatedSession) {
        let number = session.number;
        if let Some(name) = &session.config.session_name {
            self.by_name.insert(name.clone(), number);
        }
        self.waiting.insert((session.due(), number));
        self.retrying += u32::from(session.retry_at.is_some());
        self.by_number.insert(number, session);
    }

    /// Gives a session another name, which no other of its tunnel may have.
    pub(crate) fn rename(&mut self, number: u64, name: String) -> Result<(), CommandError> {
        if self
            .by_name
            .get(&name)
            .is_some_and(|holder| *holder != number)
        {
            return Err(CommandError::new(
                ErrorKind::Exists,
                "a session of this name exists",
            ));
        }
        if let Some(session) = self.by_number.get_mut(&number) {
            if let Some(old) = session.config.session_name.replace(name.clone()) {
                self.by_name.remove(&old);
            }
            self.by_name.insert(name, number);
        }
        Ok(())
    }

    fn remove(&mut self, number: u64) -> Option<CreatedSession> {
        let session = self.by_number.remove(&number)?;
        self.waiting.remove(&(session.due(), number));
        self.retrying -= u32::from(session.retry_at.is_some());
        if let Some(name) = &session.config.session_name {
            self.by_name.remove(name);
        }
        if let Some(call) = session.call {
            self.by_call.remove(&call);
        }
        Some(session)
    }

    /// Takes over the sessions of another tunnel, none of which has a call yet. One whose name is taken goes on without a name.
    pub(crate) fn take_over(&mut self, others: Self) {
        for mut session in others.by_number.into_values() {
            let name = &mut session.config.session_name;
            name.take_if(|name| self.by_name.contains_key(name));
            self.insert(session);
        }
    }

    /// Takes out a session that is to have a call by `now`.
    fn take_due(&mut self, now: Time) -> Option<u64> {
        let &(at, number) = self.waiting.first().filter(|(at, _)| *at <= now)?;
        self.waiting.remove(&(at, number));
        Some(number)
    }

    /// When the next attempt is due; those that wait for their tunnel are due at no time.
    pub(crate) fn next_retry(&self) -> Option<Time> {
        let later = (Bound::Excluded((Time::ZERO, u64::MAX)), Bound::Unbounded);
        self.waiting.range(later).next().map(|(at, _)| *at)
    }

    /// How many sessions have no call, and how many of these wait because their last attempt failed.
    pub(crate) fn waiting(&self) -> (u32, u32) {
        let without_call = self.by_number.len() - self.by_call.len();
        (without_call as u32, self.retrying)
    }

    /// A session has a call.
    fn placed(&mut self, number: u64, call: u16, now: Time) {
        if let Some(session) = self.by_number.get_mut(&number) {
            self.retrying -= u32::from(session.retry_at.is_some());
            (session.call, session.retry_at, session.since) = (Some(call), None, now);
            self.by_call.insert(call, number);
        }
    }

    /// A session's attempt has failed; the next is at `at`.
    fn postpone(&mut self, number: u64, reason: &Why, at: Time, now: Time) {
        let Some(session) = self.by_number.get_mut(&number) else {
            return;
        };
        if let Some(call) = session.call.take() {
            self.by_call.remove(&call);
        }
        session.failures = session.failures.saturating_add(1);
        self.retrying += u32::from(session.retry_at.is_none());
        (session.retry_at, session.since) = (Some(at), now);
        session.last_error = Some(reason.clone());
        self.waiting.insert((at, number));
    }

    /// A session carries traffic.
    fn up(&mut self, number: u64) {
        if let Some(session) = self.by_number.get_mut(&number) {
            (session.failures, session.last_error) = (0, None);
        }
    }

    /// The tunnel is gone. That was not the sessions' fault: they need not wait once it is back.
    pub(crate) fn tunnel_down(&mut self) {
        self.by_call.clear();
        self.waiting.clear();
        self.retrying = 0;
        for (&number, session) in &mut self.by_number {
            (session.call, session.retry_at) = (None, None);
            self.waiting.insert((Time::ZERO, number));
        }
    }
}

impl Engine {
    /// The sessions that are to be on a tunnel, if there ever were any.
    pub(crate) fn created(&self, which: Which) -> Option<&CreatedSessions> {
        match which {
            Which::Client(id) => Some(&self.clients.get(&id)?.sessions),
            Which::Peer(id) => self.tunnels.get(&id)?.created.as_deref(),
        }
    }

    pub(crate) fn created_mut(&mut self, which: Which) -> Option<&mut CreatedSessions> {
        match which {
            Which::Client(id) => Some(&mut self.clients.get_mut(&id)?.sessions),
            Which::Peer(id) => self.tunnels.get_mut(&id)?.created.as_deref_mut(),
        }
    }

    /// The same, for one that is to be the first perhaps.
    fn created_or_none_yet(&mut self, which: Which) -> Option<&mut CreatedSessions> {
        if let Which::Peer(id) = which {
            self.tunnels.get_mut(&id)?.created.get_or_insert_default();
        }
        self.created_mut(which)
    }

    /// What a tunnel of this id is: its client's present attempt, or a peer's. None when its client has gone on or away.
    pub(crate) fn which(&self, tunnel: u16) -> Option<Which> {
        match self.tunnels.get(&tunnel)?.client() {
            None => Some(Which::Peer(tunnel)),
            Some(id) => {
                let client = self.clients.get(&id)?;
                (client.state == State::Tunnel(tunnel)).then_some(Which::Client(id))
            }
        }
    }

    /// Our Tunnel ID, if there is a tunnel now.
    pub(crate) fn tunnel_id(&self, which: Which) -> Option<u16> {
        match which {
            Which::Peer(id) => Some(id),
            Which::Client(id) => match self.clients.get(&id)?.state {
                State::Tunnel(tunnel) => Some(tunnel),
                State::Resolving(_) | State::Retry(_) => None,
            },
        }
    }

    /// Whether a session whose call has failed gets another.
    fn persists(&self, which: Which) -> bool {
        match which {
            Which::Client(id) => self.clients.get(&id).is_some_and(|c| c.config.persist()),
            Which::Peer(_) => false,
        }
    }

    /// The session that we were told to make of which this call is the present attempt.
    pub(crate) fn created_session(&self, tunnel: u16, call: u16) -> Option<&CreatedSession> {
        self.created(self.which(tunnel)?)?.of_call(call)
    }

    /// Takes a session to make, and makes it if its tunnel is up.
    pub(crate) fn add_session(
        &mut self,
        which: Which,
        kind: CallKind,
        config: config::Session,
        now: Time,
    ) -> Result<u64, CommandError> {
        let number = self.next_number();
        let no_tunnel = || CommandError::new(ErrorKind::NotFound, "the tunnel is gone");
        let created = self.created_or_none_yet(which).ok_or_else(no_tunnel)?;
        let name = config.session_name.as_deref();
        if name.is_some_and(|name| created.named(name).is_some()) {
            return Err(CommandError::new(
                ErrorKind::Exists,
                "a session of this name exists on the tunnel",
            ));
        }
        created.insert(CreatedSession {
            number,
            config,
            kind,
            call: None,
            failures: 0,
            retry_at: None,
            last_error: None,
            made: now,
            since: now,
        });
        self.place_calls(which, now);
        let created = self.created(which).ok_or_else(no_tunnel)?;
        if created.get(number).is_none() {
            let reason = created.failure.as_deref().unwrap_or_default();
            let message = format!("the session failed at once: {reason}");
            return Err(CommandError::new(ErrorKind::Resources, message));
        }
        Ok(number)
    }

    /// Forgets a session that we were told to make, and closes its call.
    pub(crate) fn remove_session(&mut self, which: Which, number: u64, now: Time) {
        let session = self.created_mut(which).and_then(|all| all.remove(number));
        if let (Some(tunnel), Some(session)) = (self.tunnel_id(which), session)
            && let Some(call) = session.call
        {
            self.remember_session(tunnel, &session);
            self.close_session(tunnel, call, now);
        }
        self.set_retry_timer(which);
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

    /// Places the calls of the sessions that have none and need not wait.
    pub(crate) fn place_calls(&mut self, which: Which, now: Time) {
        let ready = |t: &u16| {
            let tunnel = self.tunnels.get(t);
            tunnel.is_some_and(|t| t.control.state() == l2tp::TunnelState::Established)
        };
        if let Some(tunnel) = self.tunnel_id(which).filter(ready) {
            while let Some(number) = self.created_mut(which).and_then(|all| all.take_due(now)) {
                self.place_call(which, tunnel, number, now);
            }
            self.settle(tunnel, now);
        }
        self.set_retry_timer(which);
    }

    fn place_call(&mut self, which: Which, tunnel_id: u16, number: u64, now: Time) {
        let serial = self.rng.next_u32();
        let session = self.created(which).and_then(|all| all.get(number));
        let (Some(session), Some(tunnel)) = (session, self.tunnels.get(&tunnel_id)) else {
            return;
        };
        let params = self.policy.call(&tunnel.setup, &session.config, serial);
        let kind = session.kind;
        let Some(tunnel) = self.tunnels.get_mut(&tunnel_id) else {
            return;
        };
        let (control, rng) = (&mut tunnel.control, &mut self.rng);
        let placed = if kind.is_incoming() {
            control.place_incoming_call(params, now, rng)
        } else {
            control.place_outgoing_call(params, now, rng)
        };
        match placed {
            Ok(call) => {
                tunnel.idle_at = None;
                self.calls += 1;
                if let Some(created) = self.created_mut(which) {
                    created.placed(number, call, now);
                }
            }
            Err(refused) => {
                self.attempt_ended(which, number, &Why::from(refused.to_string().as_str()), now)
            }
        }
    }

    /// A session that we were told to make carries traffic.
    pub(crate) fn created_session_up(&mut self, tunnel: u16, number: Option<u64>) {
        if let (Some(which), Some(number)) = (self.which(tunnel), number)
            && let Some(created) = self.created_mut(which)
        {
            created.up(number);
        }
    }

    /// A call is over: if it was an attempt of a session that we were told to make, that is placed again later or forgotten.
    pub(crate) fn created_call_ended(&mut self, tunnel: u16, call: u16, reason: &Why, now: Time) {
        let Some(which) = self.which(tunnel) else {
            return;
        };
        let session = self.created(which).and_then(|all| all.of_call(call));
        if let Some(number) = session.map(|session| session.number) {
            self.attempt_ended(which, number, reason, now);
            self.set_retry_timer(which);
        }
    }

    fn attempt_ended(&mut self, which: Which, number: u64, reason: &Why, now: Time) {
        let longest = self.policy.model().system.session_persist_pend_timeout();
        let session = self.created(which).and_then(|all| all.get(number));
        let failures = session.map_or(0, |session| session.failures);
        let at = now + backoff(failures.saturating_add(1), longest, &mut self.rng);
        let most = self.most_failures(which, number);
        let persists = self.persists(which) && (most == 0 || failures + 1 < most);
        match self.created_mut(which) {
            Some(created) if persists => created.postpone(number, reason, at, now),
            Some(created) => {
                created.remove(number);
                created.failure = Some(reason.text.clone());
            }
            None => {}
        }
    }

    /// How many attempts of a session may fail before it is given up; 0: any number.
    fn most_failures(&self, which: Which, number: u64) -> u32 {
        let setup = self.setup_of(which);
        let session = self.created(which).and_then(|all| all.get(number));
        let (Some(setup), Some(session)) = (setup, session) else {
            return 0;
        };
        let params = self.policy.session_params(setup, &session.config);
        self.policy.model().ppp_params(&params).max_failure_count()
    }

    fn set_retry_timer(&mut self, which: Which) {
        match which {
            Which::Client(id) => self.set_client_timer(id),
            Which::Peer(id) => self.recount_tunnel(id),
        }
    }
}
