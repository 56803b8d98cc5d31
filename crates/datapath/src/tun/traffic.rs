//! What is done with each datagram from a peer and each packet from the host.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crypto::mppe::Lost;
use sansio::Time;
use wire::BufferFull;
use wire::l2tp::Header;
use wire::ppp::{Frame, Protocol};

use super::mss::Excess;
use super::offload::PacketHeader;
use super::offload::checksum;
use super::offload::coalesce::Coalescer;
use super::offload::segment::Segments;
use super::outgoing::Outgoing;
use super::packet::{IpHeader, Layer, put_header, set_ecn};
use super::table::{EarlyPacket, HeldFrame, Network, Session, Slot, Table};
use super::unreachable::Unreachable;
use crate::capture::{Way, show};
use crate::clock::Clock;
use crate::device::TunDevice;
use crate::message::{MPPE_OVERHEAD, classify, encapsulate};
use crate::socket::{Datagram, Headers, Path};
use crate::{Device, DropReason, Drops, Ecn, Event, Handle, Ids, NetworkSpec, Transport, Verdict};

/// The most packets of a session that wait for its device or for a layer there, which takes some milliseconds.
const EARLY_MAX: usize = 32;

/// The sessions, and the events that their traffic makes.
pub(super) struct Traffic {
    pub(super) table: Table,
    pub(super) events: Vec<Event>,
    pub(super) drops: Arc<Drops>,
    /// On the way to the host.
    coalescer: Coalescer<TunDevice>,
    /// On the way to peers.
    outgoing: Outgoing,
    /// The sessions whose messages have sequence numbers from now on, or none.
    pub(super) changed: Vec<Slot>,
    datagram: Vec<u8>,
    clock: Clock,
    unreachable: Unreachable,
    /// The sessions that hold frames back for what is missing before them, and some that did.
    holding: BTreeSet<Slot>,
    /// No frame has been held for long enough before.
    wake: Option<Time>,
}

impl Traffic {
    /// Nothing yet.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            table: Table::default(),
            events: Vec::new(),
            drops: Arc::default(),
            coalescer: Coalescer::default(),
            outgoing: Outgoing::default(),
            changed: Vec::new(),
            datagram: Vec::new(),
            clock,
            unreachable: Unreachable::open(),
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
                    self.drops.count(DropReason::WrongPeer, 1);
                    return;
                }
                let ns = header.sequence.map(|sequence| sequence.ns);
                let before = session.sequencer.sends();
                let verdict = session.sequencer.receive(ns);
                if session.sequencer.sends() != before {
                    self.changed.push(slot);
                }
                let arrived = Arrived {
                    local,
                    ns,
                    ecn,
                    frame,
                };
                let mut onward = Onward {
                    slot,
                    coalescer: &mut self.coalescer,
                    events: &mut self.events,
                    drops: &self.drops,
                };
                match verdict {
                    Verdict::Deliver => session.take(arrived, &mut onward),
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
                    Verdict::Drop => {
                        let reason = ns.map_or(DropReason::Unnumbered, |_| DropReason::Late);
                        self.drops.count(reason, 1);
                    }
                }
                while let Some(held) = session.sequencer.pop() {
                    session.take(Arrived::held(&held), &mut onward);
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

    /// The host has done what one specification of a session says, or could not: what came too early for it has its turn.
    pub(super) fn configured(&mut self, slot: Slot) {
        let Some(session) = self.table.get_mut(slot) else {
            return;
        };
        session.settle();
        let mut onward = Onward {
            slot,
            coalescer: &mut self.coalescer,
            events: &mut self.events,
            drops: &self.drops,
        };
        for EarlyPacket { layer, ecn, octets } in std::mem::take(&mut session.early) {
            if session.carried.has(layer) {
                session.deliver(layer, &octets, ecn, &mut onward);
            }
        }
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
        let Self {
            table,
            events,
            coalescer,
            drops,
            ..
        } = self;
        self.holding.retain(|&slot| {
            // Another session may have the slot by now.
            let Some(session) = table.get_mut(slot) else {
                return false;
            };
            let mut onward = Onward {
                slot,
                coalescer,
                events,
                drops,
            };
            while let Some(held) = session.sequencer.pop_overdue(now) {
                session.take(Arrived::held(&held), &mut onward);
            }
            let next = session.sequencer.next_timeout();
            self.wake = [self.wake, next].into_iter().flatten().min();
            next.is_some()
        });
    }

    /// Takes what the host sent into a device, that of session `owner` or the shared one: a packet behind its [`PacketHeader`].
    pub(super) fn outbound(&mut self, owner: Option<Slot>, octets: &mut [u8]) {
        if let Err(reason) = self.send_packet(owner, octets) {
            self.drops.count(reason, 1);
            if reason == DropReason::NoSession {
                let packet = octets.get(PacketHeader::LEN..).unwrap_or_default();
                self.unreachable.tell(packet, self.clock.now());
            }
        }
    }

    fn send_packet(&mut self, owner: Option<Slot>, octets: &mut [u8]) -> Result<(), DropReason> {
        let (large, packet) = PacketHeader::decode(octets).map_err(|_| DropReason::Malformed)?;
        let header = IpHeader::decode(packet).map_err(|_| DropReason::Malformed)?;
        let slot = owner.or_else(|| self.table.toward(header.destination));
        let slot = slot.ok_or(DropReason::NoSession)?;
        let session = self.table.get_mut(slot).ok_or(DropReason::NoSession)?;
        // What the kernel says of its own accord on a layer that is not open (IPv6 listener reports, say) is no error of the session's.
        if !session.carried.has(header.layer) {
            return Err(DropReason::LayerClosed);
        }
        // The tunnel's own datagrams, when the path to the peer is lost and a route of the session is what is left: in the tunnel each
        // would come back here, longer, for ever.
        if header.destination == session.transport().remote.ip() {
            session.stats.tx_errors += 1;
            return Err(DropReason::Loop);
        }
        if large.oversized.is_some() {
            let Some(segments) = Segments::of(large, header.layer, packet) else {
                session.stats.tx_errors += 1;
                return Err(DropReason::Malformed);
            };
            segments.for_each(|segment| {
                self.encapsulate(slot, &header, segment.len(), |out| segment.write(out));
            });
            return Ok(());
        }
        let network = session.network.as_ref();
        let excess = network.and_then(|n| Excess::of(packet, header.layer, n.spec.mtu));
        if let Some(excess) = excess {
            excess.lower(packet, large.partial.is_none());
        }
        let whole = |partial| checksum::complete(packet, partial);
        if !large.partial.is_none_or(whole) {
            session.stats.tx_errors += 1;
            return Err(DropReason::Malformed);
        }
        self.encapsulate(slot, &header, packet.len(), |out| {
            out.extend_from_slice(packet);
        });
        Ok(())
    }

    /// Has a packet of `len` octets leave to the peer, which `write` appends.
    fn encapsulate(
        &mut self,
        slot: Slot,
        header: &IpHeader,
        len: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(session) = self.table.get_mut(slot) else {
            return;
        };
        let path = session.path(header.ecn);
        let datagram = self.outgoing.begin(&session.socket, path);
        match session.prepare(header.layer, len, write, datagram) {
            Ok(()) => self.outgoing.commit(slot, len),
            Err(reason) => {
                self.outgoing.abandon();
                self.drops.count(reason, 1);
                session.stats.tx_errors += 1;
            }
        }
    }

    /// Sends a PPP frame of the control plane.
    pub(super) fn send(&mut self, handle: Handle, frame: &[u8]) {
        let slot = self.table.by_handle(handle);
        let Some((slot, session)) = slot.and_then(|slot| Some((slot, self.table.get_mut(slot)?)))
        else {
            return;
        };
        if let Some(cipher) = &mut session.cipher {
            cipher.look_at(frame);
        }
        let ns = session.sequencer.next_ns();
        encapsulate(&session.spec.encapsulation, ns, frame, &mut self.datagram);
        // It knows no ECN, and has to arrive whatever the path is like.
        let path = session.path(Ecn::NotEct);
        let datagram = self.outgoing.begin(&session.socket, path);
        datagram.extend_from_slice(&self.datagram);
        self.outgoing.commit(slot, 0);
    }

    /// Lets everything go that was kept for what could go with it.
    pub(super) fn flush(&mut self) {
        for delivered in self.coalescer.flush() {
            if !delivered.taken {
                self.drops
                    .count(DropReason::DeviceRefused, delivered.packets);
            }
            let Some(session) = self.table.get_mut(delivered.slot) else {
                continue;
            };
            if delivered.taken {
                session.stats.rx_packets += delivered.packets;
                session.stats.rx_bytes += delivered.octets;
            } else {
                session.stats.rx_errors += delivered.packets;
            }
        }
        for sent in self.outgoing.flush() {
            if !sent.taken {
                self.drops.count(DropReason::SendRefused, sent.datagrams);
            }
            let Some(session) = self.table.get_mut(sent.slot) else {
                continue;
            };
            if sent.taken {
                session.stats.tx_packets += sent.packets;
                session.stats.tx_bytes += sent.octets;
            } else {
                session.stats.tx_errors += sent.datagrams;
            }
        }
    }
}

/// A frame from the peer.
#[derive(Clone, Copy)]
struct Arrived<'a> {
    /// The address and port that it was sent to.
    local: SocketAddr,
    ns: Option<u16>,
    ecn: Ecn,
    frame: &'a [u8],
}

impl<'a> Arrived<'a> {
    fn held(held: &'a HeldFrame) -> Self {
        Self {
            local: held.local,
            ns: Some(held.ns),
            ecn: held.ecn,
            frame: &held.frame,
        }
    }
}

/// Where frames of a session go.
struct Onward<'a> {
    slot: Slot,
    coalescer: &'a mut Coalescer<TunDevice>,
    events: &'a mut Vec<Event>,
    drops: &'a Drops,
}

impl Onward<'_> {
    fn drop(&self, reason: DropReason) {
        self.drops.count(reason, 1);
    }
}

impl Session {
    /// Takes a frame from the peer whose turn it is: for the host, or for the control plane.
    fn take(&mut self, arrived: Arrived<'_>, onward: &mut Onward<'_>) {
        let Arrived {
            local,
            ns,
            ecn,
            frame,
        } = arrived;
        if !self.carry(frame, ecn, onward) {
            onward.events.push(Event::Frame {
                listener: self.transport().listener.clone(),
                local,
                remote: self.transport().remote,
                ids: self.local_ids(),
                ns,
                frame: frame.to_vec(),
            });
        }
    }

    /// Takes a frame from the peer if it is of a network layer that is open; says whether it did.
    fn carry(&mut self, frame: &[u8], ecn: Ecn, onward: &mut Onward<'_>) -> bool {
        let Ok(frame) = Frame::decode(frame) else {
            return false;
        };
        if frame.protocol == Protocol::COMPRESSED && self.cipher.is_some() {
            return self.carry_encrypted(frame.payload, ecn, onward);
        }
        let Some(layer) = Layer::of(frame.protocol).filter(|&layer| self.carried.has(layer)) else {
            return false;
        };
        // Whoever is on the way could have made it.
        if self.cipher.is_some() {
            self.stats.rx_errors += 1;
            onward.drop(DropReason::Unencrypted);
        } else {
            self.deliver(layer, frame.payload, ecn, onward);
        }
        true
    }

    /// Takes the payload of an encrypted frame; says whether the control plane has nothing to do with it.
    fn carry_encrypted(&mut self, payload: &[u8], ecn: Ecn, onward: &mut Onward<'_>) -> bool {
        let Some(mut cipher) = self.cipher.take() else {
            return false;
        };
        let opened = cipher.open(payload, |layer, packet| {
            if self.carried.has(layer) {
                self.deliver(layer, packet, ecn, onward);
            } else {
                onward.drop(DropReason::LayerClosed);
            }
        });
        self.cipher = Some(cipher);
        if opened.is_err() {
            self.stats.rx_errors += 1;
            onward.drop(DropReason::Undecryptable);
        }
        opened != Err(Lost::Synchronization)
    }

    /// Gives a packet that came in one with the ECN field `outer` to the host. It is counted when that has it.
    fn deliver(&mut self, layer: Layer, packet: &[u8], outer: Ecn, onward: &mut Onward<'_>) {
        if !self.is_open(layer) && self.early.len() < EARLY_MAX {
            return self.early.push(EarlyPacket {
                layer,
                ecn: outer,
                octets: packet.to_vec(),
            });
        }
        let delivered = self.marked(layer, packet, outer).map(|(ecn, network)| {
            let (device, slot) = (&network.device, onward.slot);
            let excess = Excess::of(packet, layer, network.spec.mtu);
            let changed = (ecn.is_some() || excess.is_some()).then(|| {
                let mut changed = packet.to_vec();
                if let Some(ecn) = ecn {
                    set_ecn(&mut changed, layer, ecn);
                }
                if let Some(excess) = excess {
                    excess.lower(&mut changed, true);
                }
                changed
            });
            let packet = changed.as_deref().unwrap_or(packet);
            show(&self.taps, Way::Received, packet);
            onward.coalescer.take(device, slot, layer, packet);
        });
        if let Err(reason) = delivered {
            self.stats.rx_errors += 1;
            onward.drop(reason);
        }
    }

    /// Whether the host may have a packet, and the ECN field that it gets where that is another.
    fn marked(
        &self,
        layer: Layer,
        packet: &[u8],
        outer: Ecn,
    ) -> Result<(Option<Ecn>, &Network), DropReason> {
        let network = self.network.as_ref().ok_or(DropReason::NoDevice)?;
        let header = IpHeader::decode(packet).map_err(|_| DropReason::Malformed)?;
        if header.layer != layer {
            return Err(DropReason::Malformed);
        }
        if self.spec.device == Device::Shared && !may_be_source(&header, &network.spec) {
            return Err(DropReason::SpoofedSource);
        }
        let ecn = match self.spec.outer.ecn {
            true => header.ecn.merge(outer).ok_or(DropReason::Congestion)?,
            false => header.ecn,
        };
        Ok(((ecn != header.ecn).then_some(ecn), network))
    }

    /// Appends a datagram to `out`, of a packet of `len` octets that `write` appends.
    fn prepare(
        &mut self,
        layer: Layer,
        len: usize,
        write: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> Result<(), DropReason> {
        let Network { spec, .. } = self.network.as_ref().ok_or(DropReason::NoDevice)?;
        if len > spec.mtu.into() {
            return Err(DropReason::TooLarge);
        }
        let ns = self.sequencer.next_ns();
        let encapsulation = &self.spec.encapsulation;
        let header = |protocol, len, out: &mut Vec<u8>| {
            put_header(out, protocol, len, spec.framing, encapsulation, ns)
                .map_err(|BufferFull| DropReason::TooLarge)
        };
        let Some(cipher) = &mut self.cipher else {
            header(layer.protocol(), len, out)?;
            let at = out.len();
            write(out);
            show(&self.taps, Way::Sent, &out[at..]);
            return Ok(());
        };
        let overhead = usize::from(MPPE_OVERHEAD);
        header(Protocol::COMPRESSED, overhead + len, out)?;
        let at = out.len();
        out.resize(at + overhead, 0);
        write(out);
        show(&self.taps, Way::Sent, &out[at + overhead..]);
        let sealed = cipher.seal(layer, &mut out[at..]);
        sealed.map_err(|BufferFull| DropReason::TooLarge)
    }

    /// Where its datagrams go that have a packet with this ECN field in them.
    fn path(&self, ecn: Ecn) -> Path {
        let outer = &self.spec.outer;
        let ecn = if outer.ecn { ecn } else { Ecn::NotEct };
        let Transport { local, remote, .. } = *self.transport();
        Path {
            local,
            remote,
            headers: Headers {
                tos: outer.dscp << 2 | ecn as u8,
                dont_fragment: outer.dont_fragment,
                no_checksum: outer.no_checksum,
            },
        }
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
