//! A shard's state as plain data, so that its tunnels and sessions can outlive the process.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sansio::Time;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::peers::Peers;
use crate::policy::Policy;
use crate::{Engine, EngineConfig};

/// Everything of a shard that a peer, a user or an operator could miss: tunnels, links, timers, clients, addresses, counters, and the state
/// of its randomness.
///
/// Serde makes it octets and back; there is no promise about them but that a program which does not know their version says
/// so. It holds passwords and tunnel secrets in clear, and what the next challenges will be: keep it as secret as the
/// configuration, and restore it once. It is believed as the configuration is.
///
/// What only the datapath knows is not in it: the sequence numbers of data messages and the counters of their packets begin anew, and sessions whose packets are
/// encrypted end.
#[derive(Serialize, Deserialize)]
pub struct Snapshot<'a> {
    version: Version,
    taken: Time,
    engine: Cow<'a, Engine>,
}

/// What a snapshot looks like. It comes first, so that nothing else is read of one that looks otherwise.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
struct Version;

impl Version {
    /// Goes up with every change of the state's structs.
    const NUMBER: u32 = 16;
}

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        Version::NUMBER
    }
}

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number == Self::NUMBER {
            Ok(Self)
        } else {
            Err(format!(
                "the snapshot is of version {number}, this program reads {}",
                Self::NUMBER
            ))
        }
    }
}

/// Why a snapshot can't be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RestoreError {
    /// It is earlier now than when the snapshot was taken: the clock is another one, as after a start of the machine.
    #[error("the snapshot was taken by another clock")]
    OtherClock,
}

impl Engine {
    /// The shard's state at `now`. Take it when [`Engine::poll_output`] has nothing left: what was polled is the caller's to
    /// carry out, and what was not is lost.
    pub fn snapshot(&self, now: Time) -> Snapshot<'_> {
        Snapshot {
            version: Version,
            taken: now,
            engine: Cow::Borrowed(self),
        }
    }

    /// A shard that goes on where a snapshot was taken, with timers that run on: `now` is of the same clock. Its datapath has no session:
    /// the first outputs recreate them there.
    ///
    /// `config` is for what begins from now on, as in [`Command::SetModel`](crate::Command::SetModel): live tunnels and sessions keep what they
    /// have. The seed is not used: the snapshot's randomness goes on.
    ///
    /// # Errors
    ///
    /// `now` is earlier than the snapshot.
    pub fn restore(
        config: EngineConfig,
        snapshot: Snapshot<'_>,
        now: Time,
    ) -> Result<Self, RestoreError> {
        if now < snapshot.taken {
            return Err(RestoreError::OtherClock);
        }
        let state = snapshot.engine.into_owned();
        let mut engine = Self {
            policy: Policy::new(config.model, config.host_name, &config.version),
            udp_port: config.udp_port,
            version: config.version,
            datapath: config.datapath,
            peers: Peers::default(),
            pending: BTreeMap::new(),
            readings: BTreeMap::new(),
            outputs: VecDeque::new(),
            ..state
        };
        engine.addresses.set_model(engine.policy.model());
        engine.reserve_pools(&[]);
        engine
            .tunnels
            .values()
            .for_each(|tunnel| engine.peers.insert(tunnel.peer()));
        engine.share_setups();
        engine.recreate_sessions(now);
        engine.resolve_again();
        Ok(engine)
    }

    /// Lets those that had one setup have one again: each was written with its own.
    fn share_setups(&mut self) {
        let (mut of_tunnels, mut of_sessions) = (Vec::new(), Vec::new());
        for client in self.clients.values_mut() {
            share(&mut client.setup, &mut of_tunnels);
        }
        for tunnel in self.tunnels.values_mut() {
            share(&mut tunnel.setup, &mut of_tunnels);
            tunnel.control.share_config(&tunnel.setup.tunnel);
            for session in tunnel.sessions.values_mut() {
                share(&mut session.setup, &mut of_sessions);
                session.link.share_config(&session.setup.link);
            }
        }
    }

    /// Puts every session into a datapath that has none.
    fn recreate_sessions(&mut self, now: Time) {
        self.prepare_again();
        let all = self.tunnels.iter_mut().flat_map(|(&tunnel, t)| {
            t.sessions.iter_mut().map(move |(&id, session)| {
                let encrypted = session.encryption.is_some();
                (tunnel, id, session.lose_datapath(), encrypted)
            })
        });
        let all: Vec<_> = all.collect();
        for (tunnel, id, carries, encrypted) in all {
            self.create_in_datapath(tunnel, id);
            if encrypted {
                self.encryption_lost(tunnel, id, now);
                self.settle_session(tunnel, id, now);
                self.settle(tunnel, now);
            } else if carries {
                self.configure_in_datapath(tunnel, id);
            }
        }
    }
}

/// Takes the equal one of those that are known, or makes it known.
fn share<T: PartialEq>(setup: &mut Arc<T>, known: &mut Vec<Arc<T>>) {
    match known.iter().find(|other| *other == setup) {
        Some(other) => *setup = Arc::clone(other),
        None => known.push(Arc::clone(setup)),
    }
}

/// A map as a list of its entries: JSON, for one, has only text for keys.
pub(crate) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(d: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::deserialize(d)?.into_iter().collect())
    }
}
