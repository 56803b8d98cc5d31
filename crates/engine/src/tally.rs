//! Sums over all tunnels, links and sessions, kept as they change: what is new of an object is added when something has happened to it, so nobody
//! has to walk them all to know.

use api::{SessionState, TunnelState};
use datapath::{Engine as Carrier, Handle, Stats};
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::clients::{Client, ClientId, State};
use crate::counters::Data;
use crate::sessions::{Session, place_of};
use crate::status::{call_state, session_state, tunnel_state};
use crate::tunnels::Tunnel;

/// How many tunnels and sessions are in each state.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct States {
    tunnels: [u32; TunnelState::ALL.len()],
    sessions: [u32; SessionState::ALL.len()],
}

/// What of a tunnel is in the sums, and what it counted itself since the last reset.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct TunnelTally {
    states: States,
    pub(crate) own: OwnCounts,
    /// The number of the reset that it has taken part in.
    resets: u32,
}

/// What is shown of a tunnel.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct OwnCounts {
    pub(crate) retransmits: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    pub(crate) out_of_window: u64,
    pub(crate) datagrams: l2tp::Datagrams,
    pub(crate) zlbs: [u64; 2],
    pub(crate) hellos: [u64; 2],
    /// Of its sessions, as far as the datapath was asked.
    pub(crate) data: Data,
}

/// What of a session is in the sums.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct SessionTally {
    state: Option<SessionState>,
    link: ppp::Counters,
    /// As far as the datapath was asked.
    traffic: Stats,
    /// What that was when counters were last reset, or when that was found out: nothing where the session is younger.
    before: Option<Box<Stats>>,
    /// The number of the reset that it has taken part in. It finds out of one when it is read: until then it has nothing to show.
    resets: u32,
}

impl States {
    /// How many tunnels are in a state.
    pub(crate) fn tunnels(&self, state: TunnelState) -> u32 {
        self.tunnels[state as usize]
    }

    /// How many sessions are in a state.
    pub(crate) fn sessions(&self, state: SessionState) -> u32 {
        self.sessions[state as usize]
    }

    fn of_tunnel(tunnel: &Tunnel) -> Self {
        let mut states = Self::default();
        states.tunnels[tunnel_state(tunnel) as usize] = 1;
        let calls = tunnel.control.calls_in_state();
        for (state, &calls) in l2tp::CallState::ALL.into_iter().zip(calls) {
            // Those that have a session are counted with its state.
            let counted = match state {
                l2tp::CallState::Established => tunnel.sessions.len() as u32,
                _ => 0,
            };
            states.sessions[call_state(state) as usize] += calls.saturating_sub(counted);
        }
        if let Some(created) = &tunnel.created {
            states.add_waiting(created.waiting());
        }
        states
    }

    fn of_client(client: &Client) -> Self {
        let mut states = Self::default();
        match client.state {
            State::Resolving(_) => states.tunnels[TunnelState::Resolving as usize] = 1,
            State::Retry(_) => states.tunnels[TunnelState::Retry as usize] = 1,
            State::Tunnel(_) => {}
        }
        states.add_waiting(client.sessions.waiting());
        states
    }

    /// Sessions without a call, and how many of them wait for their next attempt.
    fn add_waiting(&mut self, (all, retrying): (u32, u32)) {
        self.sessions[SessionState::WaitTunnel as usize] += all - retrying;
        self.sessions[SessionState::Retry as usize] += retrying;
    }

    fn change(&mut self, before: &Self, after: &Self) {
        let change = |sums: &mut [u32], before: &[u32], after: &[u32]| {
            for ((sum, before), after) in sums.iter_mut().zip(before).zip(after) {
                *sum = (*sum + after).saturating_sub(*before);
            }
        };
        change(&mut self.tunnels, &before.tunnels, &after.tunnels);
        change(&mut self.sessions, &before.sessions, &after.sessions);
    }
}

impl TunnelTally {
    pub(crate) fn new(resets: u32) -> Self {
        Self {
            resets,
            ..Self::default()
        }
    }

    /// Forgets what was counted before this reset, if that is a new one.
    fn take_part(&mut self, resets: u32) {
        if self.resets != resets {
            (self.own, self.resets) = (OwnCounts::default(), resets);
        }
    }
}

impl OwnCounts {
    fn add(&mut self, new: &l2tp::Counters) {
        let (troubles, received, sent) = (&new.troubles, &new.received, &new.sent);
        self.retransmits += troubles.retransmissions;
        self.duplicates += troubles.duplicates;
        self.out_of_order += troubles.out_of_order;
        self.out_of_window += troubles.out_of_window;
        self.datagrams.add(&new.datagrams);
        for (sums, new) in [
            (&mut self.zlbs, [received.zlb, sent.zlb]),
            (&mut self.hellos, [received.hello, sent.hello]),
        ] {
            sums.iter_mut().zip(new).for_each(|(sum, new)| *sum += new);
        }
    }
}

impl SessionTally {
    pub(crate) fn new(resets: u32) -> Self {
        Self {
            resets,
            ..Self::default()
        }
    }

    /// The datapath counts anew.
    pub(crate) fn lose_datapath(&mut self) {
        (self.traffic, self.before) = (Stats::default(), None);
    }
}

impl Engine {
    /// Adds what is new of a tunnel.
    pub(crate) fn recount_tunnel(&mut self, id: u16) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let states = States::of_tunnel(tunnel);
        let tally = &mut tunnel.tally;
        self.states.change(&tally.states, &states);
        tally.states = states;
        tally.take_part(self.counters.resets);
        let new = tunnel.control.take_counters();
        if new != l2tp::Counters::default() {
            self.counters.add_control(&new);
            tally.own.add(&new);
        }
    }

    /// Adds what is new of a tunnel that is gone, for the last time.
    pub(crate) fn retire_tunnel(&mut self, tunnel: &mut Tunnel) {
        self.states.change(&tunnel.tally.states, &States::default());
        self.counters.add_control(&tunnel.control.take_counters());
    }

    /// Adds what is new of a session.
    pub(crate) fn recount_session(&mut self, tunnel: u16, id: u16) {
        let holder = self.tunnels.get_mut(&tunnel);
        let Some(session) = holder.and_then(|tunnel| tunnel.sessions.get_mut(&id)) else {
            return;
        };
        let (state, link) = (session_state(session), *session.link.counters());
        let tally = &mut session.tally;
        self.counters.ppp.add(&link.since(&tally.link));
        tally.link = link;
        if let Some(before) = tally.state.replace(state) {
            self.states.sessions[before as usize] -= 1;
        }
        self.states.sessions[state as usize] += 1;
    }

    /// Adds what is new of a session that is gone, but for its traffic; returns what of that was counted.
    pub(crate) fn retire_session(&mut self, session: &Session) -> Counted {
        let tally = &session.tally;
        let link = session.link.counters();
        self.counters.ppp.add(&link.since(&tally.link));
        if let Some(state) = tally.state {
            self.states.sessions[state as usize] -= 1;
        }
        Counted {
            handle: session.handle,
            engine: session.engine,
            traffic: tally.traffic,
            resets: tally.resets,
        }
    }

    /// The datapath has read the counters of a session: adds what is new.
    pub(crate) fn recount_traffic(&mut self, tunnel: u16, id: u16, stats: &Stats) {
        let resets = self.counters.resets;
        let holder = self.tunnels.get_mut(&tunnel);
        let Some(session) = holder.and_then(|tunnel| tunnel.sessions.get_mut(&id)) else {
            return;
        };
        let tally = &mut session.tally;
        let new = stats.since(&tally.traffic);
        tally.traffic = *stats;
        let late = tally.resets != resets;
        if late {
            (tally.resets, tally.before) = (resets, Some(Box::new(*stats)));
        }
        let engine = session.engine;
        self.add_traffic(tunnel, engine, &new, late);
    }

    /// The datapath has read the counters of a session that is gone.
    pub(crate) fn retire_traffic(&mut self, stats: &Stats, counted: &Counted) {
        let late = counted.resets != self.counters.resets;
        let (tunnel, _) = place_of(counted.handle);
        let new = stats.since(&counted.traffic);
        self.add_traffic(tunnel, counted.engine, &new, late);
    }

    /// Adds what went through a session of a tunnel, on an engine; before the last reset, if it is known so `late`.
    fn add_traffic(&mut self, tunnel: u16, engine: Option<Carrier>, new: &Stats, late: bool) {
        let resets = self.counters.resets;
        self.counters.add_data(engine, new, late);
        if let Some(tunnel) = self.tunnels.get_mut(&tunnel).filter(|_| !late) {
            tunnel.tally.take_part(resets);
            tunnel.tally.own.data.add(new);
        }
    }

    /// Counts a client in its present state.
    pub(crate) fn recount_client(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            let states = States::of_client(client);
            self.states.change(&client.tally, &states);
            client.tally = states;
        }
    }

    /// Counts a client no more.
    pub(crate) fn retire_client(&mut self, client: &Client) {
        self.states.change(&client.tally, &States::default());
    }

    /// What a tunnel counted since the last reset.
    pub(crate) fn counted_of_tunnel(&self, tunnel: &Tunnel) -> OwnCounts {
        let tally = &tunnel.tally;
        let current = tally.resets == self.counters.resets;
        if current {
            tally.own.clone()
        } else {
            Default::default()
        }
    }

    /// What went through a session since the last reset, as far as the datapath was asked.
    pub(crate) fn counted_traffic(&self, session: &Session) -> Stats {
        let tally = &session.tally;
        let before = match &tally.before {
            _ if tally.resets != self.counters.resets => tally.traffic,
            Some(before) => **before,
            None => Stats::default(),
        };
        tally.traffic.since(&before)
    }
}

/// What of the traffic of a session that is gone is in the sums, and which reset it has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    handle: Handle,
    engine: Option<Carrier>,
    traffic: Stats,
    resets: u32,
}
