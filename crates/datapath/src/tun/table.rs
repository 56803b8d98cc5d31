//! The session table: {tunnel id, session id} to session on the way in, inner destination to session on the way out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::cipher::Cipher;
use super::packet::Layer;
use crate::capture::Tap;
use crate::device::{Interface, TunDevice};
use crate::socket::Socket;
use crate::{
    DatapathError, Device, Ecn, Encapsulation, Handle, Ids, NetworkSpec, Sequencer, Sequencing,
    SessionSpec, Stats, Transport,
};

/// Where a session stands in the table, for as long as it is there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Slot(usize);

#[cfg(test)]
impl Slot {
    pub(super) fn of(number: usize) -> Self {
        Self(number)
    }
}

/// What the engine knows of one session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) handle: Handle,
    pub(super) spec: SessionSpec,
    /// The socket that its datagrams leave through.
    pub(super) socket: Arc<Socket>,
    pub(super) sequencer: Sequencer<HeldFrame>,
    /// Without those of the sequencer.
    pub(super) stats: Stats,
    /// The network layers that are ours to carry; until the device is ready their packets are dropped.
    pub(super) carried: Carried,
    /// Set when the device is ready.
    pub(super) network: Option<Network>,
    /// Specifications that the host works on.
    pub(super) configuring: usize,
    /// What the peer sent meanwhile: it knows nothing of devices.
    pub(super) early: Vec<EarlyPacket>,
    /// Who sees its packets.
    pub(super) taps: Vec<Arc<dyn Tap>>,
    /// What is encrypted with, where packets are.
    pub(super) cipher: Option<Box<Cipher>>,
    /// Programs in the kernel carry its common packets, so what comes for it is not merged.
    pub(super) accelerated: bool,
    /// Why they do not, as it was last said.
    pub(super) slower: Option<String>,
}

/// A frame that waits for those before it.
#[derive(Debug)]
pub(super) struct HeldFrame {
    /// The address and port that it was sent to.
    pub(super) local: SocketAddr,
    pub(super) ns: u16,
    pub(super) ecn: Ecn,
    pub(super) frame: Vec<u8>,
}

/// A packet that came before the host had its layer open.
#[derive(Debug)]
pub(super) struct EarlyPacket {
    pub(super) layer: Layer,
    pub(super) ecn: Ecn,
    pub(super) octets: Vec<u8>,
}

/// Which network layers a session's latest specification opens.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Carried {
    ipv4: bool,
    ipv6: bool,
}

impl Carried {
    pub(super) fn by(spec: &NetworkSpec) -> Self {
        // While it is negotiated how packets are encrypted there are none.
        if spec.encryption.as_ref().is_some_and(|e| e.mode.is_none()) {
            return Self::default();
        }
        Self {
            ipv4: spec.ipv4.is_some(),
            ipv6: spec.ipv6.is_some(),
        }
    }

    pub(super) fn has(self, layer: Layer) -> bool {
        match layer {
            Layer::Ipv4 => self.ipv4,
            Layer::Ipv6 => self.ipv6,
        }
    }
}

/// The open network side of a session.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) spec: Arc<NetworkSpec>,
    pub(super) device: Arc<TunDevice>,
}

impl Session {
    /// A session without network side.
    pub(super) fn new(handle: Handle, spec: SessionSpec, socket: Arc<Socket>) -> Self {
        let Encapsulation::V2 {
            sequencing,
            reorder_timeout,
            ..
        } = spec.encapsulation;
        Self {
            handle,
            spec,
            socket,
            sequencer: Sequencer::new(sequencing, reorder_timeout),
            stats: Stats::default(),
            carried: Carried::default(),
            network: None,
            configuring: 0,
            early: Vec::new(),
            taps: Vec::new(),
            cipher: None,
            accelerated: false,
            slower: None,
        }
    }

    /// Says anew whether its messages have sequence numbers.
    pub(super) fn set_sequencing(&mut self, sequencing: Sequencing) {
        self.sequencer.set(sequencing);
        self.spec.set_sequencing(sequencing);
    }

    /// Opens and closes network layers as a specification says, and encrypts as it says.
    pub(super) fn carry_by(&mut self, spec: &NetworkSpec) {
        self.carried = Carried::by(spec);
        self.cipher = Cipher::renew(self.cipher.take(), spec.encryption.as_ref());
    }

    /// The host is done with one specification. What it has open counts once no later one is on the way, which may open more.
    pub(super) fn settle(&mut self) {
        self.configuring = self.configuring.saturating_sub(1);
        if self.configuring == 0 {
            let network = self.network.as_ref();
            self.carried = network.map_or_else(Carried::default, |n| Carried::by(&n.spec));
        }
    }

    /// Whether the host has a network layer open.
    pub(super) fn is_open(&self, layer: Layer) -> bool {
        let network = self.network.as_ref();
        network.is_some_and(|network| Carried::by(&network.spec).has(layer))
    }

    /// The ids in what the peer sends us.
    pub(super) fn local_ids(&self) -> Ids {
        let Encapsulation::V2 { local, .. } = self.spec.encapsulation;
        local
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.spec.transport
    }

    /// Everything that was counted.
    pub(super) fn stats(&self) -> Stats {
        Stats {
            sequencing: self.sequencer.stats(),
            ..self.stats
        }
    }
}

/// All sessions of the engine.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Option<Session>>,
    free: Vec<usize>,
    by_handle: HashMap<Handle, Slot>,
    by_ids: HashMap<Ids, Slot, BuildHasherDefault<IdsHasher>>,
    destinations: Destinations,
}

impl Table {
    /// Adds a session; an error if its handle or its ids are another's.
    pub(super) fn insert(&mut self, session: Session) -> Result<Slot, DatapathError> {
        let (handle, ids) = (session.handle, session.local_ids());
        if self.by_handle.contains_key(&handle) || self.by_ids.contains_key(&ids) {
            return Err(DatapathError::InUse);
        }
        let slot = match self.free.pop() {
            Some(index) => {
                self.slots[index] = Some(session);
                Slot(index)
            }
            None => {
                self.slots.push(Some(session));
                Slot(self.slots.len() - 1)
            }
        };
        self.by_handle.insert(handle, slot);
        self.by_ids.insert(ids, slot);
        Ok(slot)
    }

    pub(super) fn by_handle(&self, handle: Handle) -> Option<Slot> {
        self.by_handle.get(&handle).copied()
    }

    pub(super) fn by_ids(&self, ids: Ids) -> Option<Slot> {
        self.by_ids.get(&ids).copied()
    }

    /// The session that a packet to `destination` in the shared device belongs to: the one with the longest matching prefix.
    pub(super) fn toward(&self, destination: IpAddr) -> Option<Slot> {
        self.destinations.longest_match(destination)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Session> {
        self.slots.get_mut(slot.0)?.as_mut()
    }

    /// Opens a session's network side, in place of what it was: packets in the shared device to what is behind it are its.
    pub(super) fn open(&mut self, slot: Slot, network: Network) {
        self.close(slot);
        let Some(session) = self.get_mut(slot) else {
            return;
        };
        let shared = session.spec.device == Device::Shared;
        let spec = Arc::clone(&network.spec);
        session.network = Some(network);
        if shared {
            self.claim(slot, &spec);
        }
    }

    /// Undoes [`open`](Self::open).
    pub(super) fn close(&mut self, slot: Slot) {
        if let Some(network) = self
            .get_mut(slot)
            .and_then(|session| session.network.take())
        {
            self.release(slot, &network.spec);
        }
    }

    fn claim(&mut self, slot: Slot, spec: &NetworkSpec) {
        for destination in spec.inner_destinations() {
            self.destinations.insert(destination, slot);
        }
    }

    fn release(&mut self, slot: Slot, spec: &NetworkSpec) {
        for destination in spec.inner_destinations() {
            self.destinations.remove(destination, slot);
        }
    }

    /// Takes a session out, with everything that leads to it.
    pub(super) fn remove(&mut self, handle: Handle) -> Option<Session> {
        let slot = self.by_handle.remove(&handle)?;
        let session = self.slots[slot.0].take()?;
        self.free.push(slot.0);
        self.by_ids.remove(&session.local_ids());
        if let Some(network) = &session.network {
            self.release(slot, &network.spec);
        }
        Some(session)
    }

    /// The slots of all sessions.
    pub(super) fn all(&self) -> Vec<Slot> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, session)| session.is_some())
            .map(|(index, _)| Slot(index))
            .collect()
    }

    /// The slots of the sessions whose device has this index.
    pub(super) fn on_device(&self, index: u32) -> Vec<Slot> {
        let on_it = |session: &Session| {
            let network = session.network.as_ref();
            network.is_some_and(|network| network.device.index() == index)
        };
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, session)| session.as_ref().is_some_and(on_it))
            .map(|(index, _)| Slot(index))
            .collect()
    }
}

/// A hash for each datagram that comes, cheaper than the standard one: the ids in the table are ours, so nobody else chooses which fall together.
#[derive(Default)]
struct IdsHasher(u64);

impl Hasher for IdsHasher {
    fn write(&mut self, octets: &[u8]) {
        octets
            .iter()
            .for_each(|&octet| self.0 = self.0 << 8 | u64::from(octet));
    }

    fn write_u16(&mut self, id: u16) {
        self.0 = self.0 << 16 | u64::from(id);
    }

    fn finish(&self) -> u64 {
        // The golden ratio; the product's upper half is the better one, and tables look at both ends.
        let product = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ product >> 32
    }
}

/// Prefixes and the sessions behind them, the longest first.
#[derive(Default)]
struct Destinations {
    by_length: BTreeMap<Reverse<u8>, HashMap<IpNet, Slot>>,
}

impl Destinations {
    fn insert(&mut self, destination: IpNet, slot: Slot) {
        let length = Reverse(destination.prefix_len());
        let same_length = self.by_length.entry(length).or_default();
        same_length.insert(destination, slot);
    }

    fn remove(&mut self, destination: IpNet, slot: Slot) {
        let length = Reverse(destination.prefix_len());
        let Some(same_length) = self.by_length.get_mut(&length) else {
            return;
        };
        if same_length.get(&destination) == Some(&slot) {
            same_length.remove(&destination);
        }
        if same_length.is_empty() {
            self.by_length.remove(&length);
        }
    }

    fn longest_match(&self, address: IpAddr) -> Option<Slot> {
        self.by_length.iter().find_map(|(&Reverse(length), nets)| {
            let net = IpNet::new(address, length).ok()?.trunc();
            nets.get(&net).copied()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Choice, Framing, Ipv4Link, Ipv6Link, Outer, Route, Sequencing};

    fn session(socket: &Arc<Socket>, number: u16) -> Session {
        let ids = Ids {
            tunnel: 1,
            session: number,
        };
        let address = socket.local_addr();
        let spec = SessionSpec {
            transport: Transport {
                listener: None,
                local: address,
                remote: address,
            },
            encapsulation: Encapsulation::V2 {
                local: ids,
                peer: ids,
                sequencing: Sequencing::AsPeer,
                reorder_timeout: Duration::ZERO,
            },
            outer: Outer::default(),
            device: Device::Shared,
            choice: Choice::Tun,
            mppe: Vec::new(),
            lent: false,
        };
        Session::new(Handle(number.into()), spec, Arc::clone(socket))
    }

    fn socket() -> Arc<Socket> {
        Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    fn spec(peer: &str, routes: &[&str]) -> NetworkSpec {
        let route = |to: &&str| Route {
            to: to.parse().unwrap(),
            metric: None,
        };
        NetworkSpec {
            ipv4: Some(Ipv4Link {
                local: "10.0.0.1".parse().unwrap(),
                peer: peer.parse().unwrap(),
            }),
            ipv6: Some(Ipv6Link {
                local: "fe80::1".parse().unwrap(),
                peer: "fe80::2".parse().unwrap(),
            }),
            mtu: 1400,
            framing: Framing::default(),
            routes: routes.iter().map(route).collect(),
            encryption: None,
            proxy_arp: false,
        }
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_session_is_found_by_handle_and_by_ids_until_it_is_removed() {
        let (socket, mut table) = (socket(), Table::default());
        let first = table.insert(session(&socket, 7)).unwrap();
        let ids = table.get_mut(first).unwrap().local_ids();
        assert_eq!(table.by_handle(Handle(7)), Some(first));
        assert_eq!(table.by_ids(ids), Some(first));

        assert_eq!(table.remove(Handle(7)).unwrap().handle, Handle(7));
        assert_eq!(table.by_handle(Handle(7)), None);
        assert_eq!(table.by_ids(ids), None);
        assert!(table.get_mut(first).is_none());
        assert!(table.remove(Handle(7)).is_none());
    }

    #[test]
    fn a_handle_or_ids_in_use_are_refused() {
        let (socket, mut table) = (socket(), Table::default());
        table.insert(session(&socket, 7)).unwrap();
        let mut same_ids = session(&socket, 7);
        same_ids.handle = Handle(8);
        assert_eq!(table.insert(same_ids), Err(DatapathError::InUse));
        let mut same_handle = session(&socket, 9);
        same_handle.handle = Handle(7);
        assert_eq!(table.insert(same_handle), Err(DatapathError::InUse));
    }

    #[test]
    fn the_longest_matching_prefix_wins() {
        let (socket, mut table) = (socket(), Table::default());
        let one = table.insert(session(&socket, 1)).unwrap();
        let two = table.insert(session(&socket, 2)).unwrap();
        table.claim(one, &spec("10.0.0.2", &["10.0.0.0/8", "::/0"]));
        table.claim(two, &spec("10.0.0.3", &["10.1.0.0/16", "2001:db8::/32"]));
        for (destination, expected) in [
            ("10.0.0.2", Some(one)),
            ("10.0.0.3", Some(two)),
            ("10.0.0.4", Some(one)),
            ("10.1.2.3", Some(two)),
            ("11.0.0.0", None),
            ("2001:db8::9", Some(two)),
            ("2001:db9::9", Some(one)),
        ] {
            assert_eq!(table.toward(ip(destination)), expected, "{destination}");
        }
    }

    #[test]
    fn releasing_leaves_what_another_session_took_over() {
        let (socket, mut table) = (socket(), Table::default());
        let one = table.insert(session(&socket, 1)).unwrap();
        let two = table.insert(session(&socket, 2)).unwrap();
        let same = spec("10.0.0.2", &[]);
        table.claim(one, &same);
        table.claim(two, &same);
        table.release(one, &same);
        assert_eq!(table.toward(ip("10.0.0.2")), Some(two));
        table.release(two, &same);
        assert_eq!(table.toward(ip("10.0.0.2")), None);
    }

    #[test]
    fn a_freed_slot_is_used_again() {
        let (socket, mut table) = (socket(), Table::default());
        let first = table.insert(session(&socket, 1)).unwrap();
        table.insert(session(&socket, 2)).unwrap();
        table.remove(Handle(1)).unwrap();
        assert_eq!(table.insert(session(&socket, 3)), Ok(first));
        assert_eq!(table.by_handle(Handle(2)), Some(Slot(1)));
    }
}
