//! What is done with each datagram from a peer and each packet from the host.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crypto::mppe::Lost;
use sansio::Time;
use wire::BufferFull;
use wire::l2tp::Header;
use wire::ppp::{Frame, Protocol};

use super::clock::Clock;
use super::packet::{HEADROOM, IpHeader, Layer, put_before, set_ecn};
use super::table::{HeldFrame, Network, Session, Slot, Table};
use crate::message::{MPPE_OVERHEAD, classify, encapsulate};
use crate::socket::{Datagram, Headers};
use crate::{Device, Ecn, Event, Handle, Ids, NetworkSpec, Transport, Verdict};

/// The largest packet that a path without room for it gets in fragments: what every link of IPv6 carries (RFC 8200 section 5). Whoever tells lies of
/// the path's MTU cannot take that away.
const ALWAYS_CARRIED: usize = 1280;

/// The sessions, and the events that their traffic makes.
pub(super) struct Traffic {
    pub(super) table: Table,
    pub(super) events: Vec<Event>,
    datagram: Vec<u8>,
    clock: Clock,
    /// The sessions that hold frames back for what is missing before them, and some that did.
    holding: BTreeSet<Slot>,
    /// No frame has been held for long enough before.
    wake: Option<Time>,
}

/// Why a frame or a packet goes no further; it is counted with its session.
struct Dropped;

impl Traffic {
    /// Nothing yet.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            table: Table::default(),
            events: Vec::new(),
            datagram: Vec::new(),
            clock,
            holding: BTreeSet::new(),
            wake: None,
        }
    }

    /// Takes a datagram from a peer: a packet to the host, or an event to the control plane.
    pub(super) fn inbound(&mut self, datagram: Datagram<'_>) {
        let Datagram {
            listener,
            local,
            remote,
            ecn,
            payload,
        } = datagram;
        if let Ok((Header::Data(header), frame)) = Header::decode(payload) {
            let ids = Ids {
                tunnel: header.tunnel_id,
                session: header.session_id,
            };
            let slot = self.table.by_ids(ids);
            if let Some(slot) = slot
                && let Some(session) = self.table.get_mut(slot)
            {
                let path = session.transport();
                if (&path.listener, path.remote) != (listener, remote) {
                    session.stats.rx_errors += 1;
                    return;
                }
                let ns = header.sequence.map(|sequence| sequence.ns);
                match session.sequencer.receive(ns) {
                    Verdict::Deliver => session.take(local, ns, ecn, frame, &mut self.events),
                    Verdict::Hold(ns) => {
                        let held = HeldFrame {
                            local,
                            ns,
                            ecn,
                            frame: frame.to_vec(),
                        };
                        let now = self.clock.now();
                        let until = session.sequencer.hold(ns, held, frame.len(), now);
                        self.holding.insert(slot);
                        self.wake = Some(self.wake.map_or(until, |wake| wake.min(until)));
                    }
                    Verdict::Drop => {}
                }
                while let Some(held) = session.sequencer.pop() {
                    session.take_held(&held, &mut self.events);
                }
                return;
            }
        }
        let path = Transport {
            listener: listener.clone(),
            local,
            remote,
        };
        self.events.push(classify(path, payload));
    }

    /// How long until [`release_overdue`](Self::release_overdue) has something to do, or may.
    pub(super) fn until_overdue(&self) -> Option<std::time::Duration> {
        self.wake.map(|wake| wake - self.clock.now())
    }

    /// Takes the frames that have waited long enough for those before them, if it is time.
    pub(super) fn release_overdue(&mut self) {
        let Some(wake) = self.wake else {
            return;
        };
        let now = self.clock.now();
        if now < wake {
            return;
        }
        self.wake = None;
        let (table, events) = (&mut self.table, &mut self.events);
        self.holding.retain(|&slot| {
            // Another session may have the slot by now.
            let Some(session) = table.get_mut(slot) else {
                return false;
            };
            while let Some(held) = session.sequencer.pop_overdue(now) {
                session.take_held(&held, events);
            }
            let next = session.sequencer.next_timeout();
            self.wake = [self.wake, next].into_iter().flatten().min();
            next.is_some()
        });
    }

    /// Takes a packet that the host sent into a device: into that of session `owner`, or into the shared one. It starts after [`HEADROOM`]
    /// octets of `buffer`.
    pub(super) fn outbound(&mut self, owner: Option<Slot>, buffer: &mut [u8]) {
        let Ok(header) = IpHeader::decode(buffer.get(HEADROOM..).unwrap_or_default()) else {
            return;
        };
        let slot = owner.or_else(|| self.table.toward(header.destination));
        let Some(session) = slot.and_then(|slot| self.table.get_mut(slot)) else {
            return;
        };
        // What the kernel says of its own accord on a layer that is not open (IPv6 listener reports, say) is nothing lost.
        if !session.carried.has(header.layer) {
            return;
        }
        // The tunnel's own datagrams, when the path to the peer is lost and a route of the session is what is left: in the tunnel each
        // would come back here, longer, for ever.
        if header.destination == session.transport().remote.ip() {
            session.stats.tx_errors += 1;
            return;
        }
        let len = buffer.len() - HEADROOM;
        match session.prepare(header.layer, buffer) {
            Ok(start) if session.transmit(&buffer[start..], header.ecn, len).is_ok() => {
                session.stats.tx_packets += 1;
                session.stats.tx_bytes += len as u64;
            }
            _ => session.stats.tx_errors += 1,
        }
    }

    /// Sends a PPP frame of the control plane.
    pub(super) fn send(&mut self, handle: Handle, frame: &[u8]) {
        let slot = self.table.by_handle(handle);
        let Some(session) = slot.and_then(|slot| self.table.get_mut(slot)) else {
            return;
        };
        if let Some(cipher) = &mut session.cipher {
            cipher.look_at(frame);
        }
        let ns = session.sequencer.next_ns();
        encapsulate(&session.spec.encapsulation, ns, frame, &mut self.datagram);
        // It knows no ECN, and has to arrive whatever the path is like.
        if session.transmit(&self.datagram, Ecn::NotEct, 0).is_err() {
            session.stats.tx_errors += 1;
        }
    }
}

impl Session {
    /// Takes a frame from the peer whose turn it is: for the host, or for the control plane.
    fn take(
        &mut self,
        local: SocketAddr,
        ns: Option<u16>,
        ecn: Ecn,
        frame: &[u8],
        events: &mut Vec<Event>,
    ) {
        if !self.carry(frame, ecn) {
            events.push(Event::Frame {
                listener: self.transport().listener.clone(),
                local,
                remote: self.transport().remote,
                ids: self.local_ids(),
                ns,
                frame: frame.to_vec(),
            });
        }
    }

    fn take_held(&mut self, held: &HeldFrame, events: &mut Vec<Event>) {
        self.take(held.local, Some(held.ns), held.ecn, &held.frame, events);
    }

    /// Takes a frame from the peer if it is of a network layer that is open; says whether it did.
    fn carry(&mut self, frame: &[u8], ecn: Ecn) -> bool {
        let Ok(frame) = Frame::decode(frame) else {
            return false;
        };
        if frame.protocol == Protocol::COMPRESSED && self.cipher.is_some() {
            return self.carry_encrypted(frame.payload, ecn);
        }
        let Some(layer) = Layer::of(frame.protocol).filter(|&layer| self.carried.has(layer)) else {
            return false;
        };
        // Whoever is on the way could have made it.
        if self.cipher.is_some() {
            self.stats.rx_errors += 1;
        } else {
            self.count_in(layer, frame.payload, ecn);
        }
        true
    }

    /// Takes the payload of an encrypted frame; says whether the control plane has nothing to do with it.
    fn carry_encrypted(&mut self, payload: &[u8], ecn: Ecn) -> bool {
        let Some(mut cipher) = self.cipher.take() else {
            return false;
        };
        let opened = cipher.open(payload, |layer, packet| {
            if self.carried.has(layer) {
                self.count_in(layer, packet, ecn);
            }
        });
        self.cipher = Some(cipher);
        self.stats.rx_errors += u64::from(opened.is_err());
        opened != Err(Lost::Synchronization)
    }

    fn count_in(&mut self, layer: Layer, packet: &[u8], ecn: Ecn) {
        if self.deliver(layer, packet, ecn).is_ok() {
            self.stats.rx_packets += 1;
            self.stats.rx_bytes += packet.len() as u64;
        } else {
            self.stats.rx_errors += 1;
        }
    }

    /// Gives a packet that came in one with the ECN field `outer` to the host.
    fn deliver(&self, layer: Layer, packet: &[u8], outer: Ecn) -> Result<(), Dropped> {
        let network = self.network.as_ref().ok_or(Dropped)?;
        let header = IpHeader::decode(packet).map_err(|_| Dropped)?;
        let spoofed = self.spec.device == Device::Shared && !may_be_source(&header, &network.spec);
        if header.layer != layer || spoofed {
            return Err(Dropped);
        }
        let ecn = match self.spec.outer.ecn {
            true => header.ecn.merge(outer).ok_or(Dropped)?,
            false => header.ecn,
        };
        let written = if ecn == header.ecn {
            network.device.write(packet)
        } else {
            let mut marked = packet.to_vec();
            set_ecn(&mut marked, layer, ecn);
            network.device.write(&marked)
        };
        written.map_err(|_| Dropped)
    }

    /// Makes a datagram of the packet after [`HEADROOM`] octets of `buffer`, and says where it starts.
    fn prepare(&mut self, layer: Layer, buffer: &mut [u8]) -> Result<usize, Dropped> {
        let Network { spec, .. } = self.network.as_ref().ok_or(Dropped)?;
        if buffer.len() - HEADROOM > spec.mtu.into() {
            return Err(Dropped);
        }
        let (mut at, mut protocol) = (HEADROOM, layer.protocol());
        if let Some(cipher) = &mut self.cipher {
            (at, protocol) = (HEADROOM - usize::from(MPPE_OVERHEAD), Protocol::COMPRESSED);
            let sealed = cipher.seal(layer, &mut buffer[at..]);
            sealed.map_err(|BufferFull| Dropped)?;
        }
        let encapsulation = &self.spec.encapsulation;
        let ns = self.sequencer.next_ns();
        let (room, payload) = buffer.split_at_mut(at);
        let len = payload.len();
        put_before(room, protocol, len, spec.framing, encapsulation, ns)
            .map_err(|BufferFull| Dropped)
    }

    /// Sends a datagram to the peer, with a packet of `len` octets and this ECN field in it. Whatever hinders it (no route, too large, refused by a
    /// filter) hinders it alone.
    fn transmit(&self, datagram: &[u8], ecn: Ecn, len: usize) -> Result<(), Dropped> {
        let outer = &self.spec.outer;
        let ecn = if outer.ecn { ecn } else { Ecn::NotEct };
        let mut headers = Headers {
            tos: outer.dscp << 2 | ecn as u8,
            dont_fragment: outer.dont_fragment,
            no_checksum: outer.no_checksum,
        };
        let path = self.transport();
        let mut sent = self.socket.send(path.local, path.remote, headers, datagram);
        if let Err(error) = &sent
            && error.raw_os_error() == Some(libc::EMSGSIZE)
            && len <= ALWAYS_CARRIED
        {
            headers.dont_fragment = false;
            sent = self.socket.send(path.local, path.remote, headers, datagram);
        }
        sent.map_err(|_| Dropped)
    }
}

/// Whether a packet from the peer has a source that is the peer's own or behind it.
fn may_be_source(header: &IpHeader, spec: &NetworkSpec) -> bool {
    let source = header.source;
    let peers = match header.layer {
        Layer::Ipv4 => spec.ipv4.is_some_and(|link| source == link.peer),
        Layer::Ipv6 => spec.ipv6.is_some_and(|link| source == link.peer),
    };
    peers || spec.open_routes().any(|route| route.to.contains(&source))
}
