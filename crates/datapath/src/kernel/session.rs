//! A session of the kernel: its PPPoL2TP socket and its PPP channel.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use wire::ppp::Protocol;

use super::genl::{Family, session_id};
use super::ppp::{Channel, Unit};
use super::pppox::PppoxSocket;
use super::{FRAME_MAX, own};
use crate::socket::Socket;
use crate::{
    DatapathError, Device, Encapsulation, Event, Handle, Ids, Sequencing, SequencingStats,
    SessionSpec, Stats,
};

/// The address and control field of a frame (RFC 1661 section 3.1 and RFC 1662 section 3.1).
const ADDRESS_CONTROL: [u8; 2] = [0xff, 0x03];

/// Frames and their octets behind the protocol field.
#[derive(Debug, Default)]
struct Control {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Control {
    fn count(&self, octets: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(octets as u64, Ordering::Relaxed);
    }
}

/// A session that lives as long as this does.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) handle: Handle,
    pub(super) spec: SessionSpec,
    socket: PppoxSocket,
    pub(super) channel: Channel,
    /// The name of its interface, once it has one.
    pub(super) interface: OnceLock<String>,
    /// That, while it is there.
    unit: OnceLock<Weak<Unit>>,
    /// We say that there are sequence numbers, and the peer may not have heard it yet.
    announces: AtomicBool,
    /// Frames of the unit that are no packets, though its interface counts them: those received and those sent.
    control: [Control; 2],
}

impl Session {
    /// Makes the session and its channel. Nothing that comes meanwhile is lost: it waits in the socket, whose events are returned in their order, then
    /// in the channel.
    pub(super) fn open(
        handle: Handle,
        spec: SessionSpec,
        tunnel: &Socket,
    ) -> Result<(Self, Vec<Event>), DatapathError> {
        let Encapsulation::V2 {
            local, sequencing, ..
        } = spec.encapsulation;
        let failed = |error: io::Error| DatapathError::system(what(local), &error);
        let socket = connect(&spec, tunnel)?;
        let mut early = Vec::new();
        let mut frame = [0; FRAME_MAX];
        while let Ok(len) = socket.receive(&mut frame) {
            early.push(frame_event(&spec, local, &frame[..len]));
        }
        let channel = socket.channel().and_then(Channel::attach);
        let session = Self {
            handle,
            channel: channel.map_err(failed)?,
            spec,
            socket,
            interface: OnceLock::new(),
            unit: OnceLock::new(),
            announces: AtomicBool::new(sequencing == Sequencing::Own(true)),
            control: Default::default(),
        };
        Ok((session, early))
    }

    /// The device to make for it.
    pub(super) fn own_device(&self) -> Device {
        own(&self.spec.device)
    }

    /// Our ids of it.
    pub(super) fn local(&self) -> Ids {
        let Encapsulation::V2 { local, .. } = self.spec.encapsulation;
        local
    }

    /// The event of a frame that came, from its protocol field on.
    pub(super) fn frame(&self, frame: &[u8]) -> Event {
        frame_event(&self.spec, self.local(), frame)
    }

    /// Sends a frame; one that the kernel does not take is lost, as on the way.
    pub(super) fn send(&self, frame: &[u8]) {
        let frame = frame.strip_prefix(&ADDRESS_CONTROL).unwrap_or(frame);
        // What came without a number has switched ours off.
        if self.announces.load(Ordering::Relaxed) {
            self.number(true);
        }
        let unit = self.unit.get().and_then(Weak::upgrade);
        let sent = match unit.filter(|_| frame.starts_with(&Protocol::CCP.0.to_be_bytes())) {
            // The kernel has to see it.
            Some(unit) => {
                self.control[1].count(frame.len().saturating_sub(2));
                unit.write(frame)
            }
            None => self.channel.write(frame),
        };
        if let Err(error) = sent {
            tracing::debug!("send a frame of {:?}: {error}", self.local());
        }
    }

    /// Its interface is there.
    pub(super) fn has_unit(&self, unit: &Arc<Unit>) {
        let _ = self.unit.set(Arc::downgrade(unit));
    }

    /// Says anew whether its messages have sequence numbers.
    pub(super) fn set_sequencing(&self, sequencing: Sequencing, family: Option<&mut Family>) {
        if sequencing != Sequencing::Own(true) {
            self.announces.store(false, Ordering::Relaxed);
        }
        number(&self.socket, self.local(), sequencing, family);
    }

    /// The peer has negotiated its network layer with us, so that it has heard of sequence numbers.
    pub(super) fn settle(&self) {
        if self.announces.swap(false, Ordering::Relaxed) {
            if let Err(error) = self.socket.set_lns_mode(true) {
                tracing::warn!("LNS mode of {:?}: {error}", self.local());
            }
            self.number(true);
        }
    }

    fn number(&self, send: bool) {
        if let Err(error) = self.socket.set_sending_sequence(send) {
            tracing::warn!("sequence numbers of {:?}: {error}", self.local());
        }
    }

    /// No packet goes to its interface or comes from there any more.
    pub(super) fn stop(&self) {
        // It fails where there is no unit.
        let _ = self.channel.disconnect();
    }

    /// A frame of the unit that is no packet was read.
    pub(super) fn count_control(&self, octets: usize) {
        self.control[0].count(octets);
    }

    /// How many frames the interface counted that are no packets, and their octets behind the protocol field: received, and sent.
    pub(super) fn control(&self) -> [(u64, u64); 2] {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.control
            .each_ref()
            .map(|control| (read(&control.frames), read(&control.bytes)))
    }

    /// What the L2TP session counts: all but packets, which are the interface's.
    pub(super) fn stats(&self, family: Option<&mut Family>) -> Stats {
        let counted = counts(&self.spec, &self.socket, family);
        Stats {
            rx_errors: counted.rx_errors,
            tx_errors: counted.tx_errors,
            sequencing: counted.sequencing,
            using_ipsec: counted.using_ipsec,
            ..Stats::default()
        }
    }
}

/// All that an L2TP session counts: as packets all data messages, those of PPP's control frames included. The family is asked, and where there is none the socket.
pub(super) fn counts(
    spec: &SessionSpec,
    socket: &PppoxSocket,
    family: Option<&mut Family>,
) -> Stats {
    let Encapsulation::V2 { local, .. } = spec.encapsulation;
    let by_socket = || {
        let sent = socket.sends_sequence().unwrap_or(false);
        Some((socket.stats().ok()?, sent))
    };
    let said = family.and_then(|family| family.counters(session_id(local)));
    let Some((counts, sent)) = said.or_else(by_socket) else {
        return Stats::default();
    };
    Stats {
        rx_packets: counts.rx_packets,
        rx_bytes: counts.rx_bytes,
        rx_errors: counts.rx_errors,
        tx_packets: counts.tx_packets,
        tx_bytes: counts.tx_bytes,
        tx_errors: counts.tx_errors,
        sequencing: SequencingStats {
            tx_sequenced: sent,
            // The kernel does not say. One of the two ends follows the other, though.
            rx_sequenced: sent,
            rx_out_of_order: counts.rx_oos_packets,
            rx_lost: 0,
            rx_discarded: counts.rx_seq_discards,
            rx_unnumbered: 0,
        },
        using_ipsec: counts.using_ipsec & 1 != 0,
        ..Stats::default()
    }
}

/// Makes the session in the kernel. What comes for it waits in its socket.
pub(super) fn connect(spec: &SessionSpec, tunnel: &Socket) -> Result<PppoxSocket, DatapathError> {
    let Encapsulation::V2 {
        local,
        peer,
        sequencing,
        reorder_timeout,
    } = spec.encapsulation;
    let make = || {
        let socket = PppoxSocket::connect(tunnel.as_fd(), spec.transport.remote, local, peer)?;
        match sequencing {
            // An LNS of the kernel drops what has no number while it sends them, such as all that a LAC sends before it gets the first.
            Sequencing::Own(true) => socket.set_lns_mode(false)?,
            sequencing => number_by_socket(&socket, sequencing)?,
        }
        if !reorder_timeout.is_zero() {
            socket.set_reorder_timeout(reorder_timeout)?;
        }
        Ok(socket)
    };
    make().map_err(|e| DatapathError::system(what(local), &e))
}

/// Says anew whether the messages of a session have sequence numbers. The family is asked, and where there is none the socket.
pub(super) fn number(
    socket: &PppoxSocket,
    local: Ids,
    sequencing: Sequencing,
    family: Option<&mut Family>,
) {
    if let (Sequencing::Own(send), Some(family)) = (sequencing, family)
        && family.number(session_id(local), send).is_ok()
    {
        return;
    }
    if let Err(error) = number_by_socket(socket, sequencing) {
        tracing::warn!("sequence numbers of {local:?}: {error}");
    }
}

fn number_by_socket(socket: &PppoxSocket, sequencing: Sequencing) -> io::Result<()> {
    match sequencing {
        Sequencing::Required => {
            socket.set_lns_mode(true)?;
            socket.set_sending_sequence(true)?;
            socket.require_sequence()
        }
        Sequencing::AsPeer => socket.set_lns_mode(false),
        Sequencing::Own(send) => {
            socket.set_lns_mode(true)?;
            // What came with a number before has switched ours on.
            socket.set_sending_sequence(send)
        }
    }
}

fn what(ids: Ids) -> String {
    format!("make session {}/{} of the kernel", ids.tunnel, ids.session)
}

fn frame_event(spec: &SessionSpec, ids: Ids, frame: &[u8]) -> Event {
    Event::Frame {
        listener: spec.transport.listener.clone(),
        local: spec.transport.local,
        remote: spec.transport.remote,
        ids,
        ns: None,
        frame: frame.to_vec(),
    }
}
