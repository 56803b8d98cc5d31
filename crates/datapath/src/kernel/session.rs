//! A session of the kernel: its PPPoL2TP socket and its PPP channel.

use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::ppp::Channel;
use super::pppox::PppoxSocket;
use super::{FRAME_MAX, own};
use crate::socket::Socket;
use crate::{
    DatapathError, Device, Encapsulation, Event, Handle, Ids, Sequencing, SequencingStats,
    SessionSpec, Stats,
};

/// The address and control field of a frame (RFC 1661 section 3.1 and RFC 1662 section 3.1).
const ADDRESS_CONTROL: [u8; 2] = [0xff, 0x03];

/// A session that lives as long as this does.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) handle: Handle,
    pub(super) spec: SessionSpec,
    socket: PppoxSocket,
    pub(super) channel: Channel,
    /// The name of its interface, once it has one.
    pub(super) interface: OnceLock<String>,
    /// We say that there are sequence numbers, and the peer may not have heard it yet.
    announces: AtomicBool,
    /// Frames of the unit that are no packets, though its interface counts them, and their octets.
    control_frames: AtomicU64,
    control_bytes: AtomicU64,
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
            local,
            peer,
            sequencing,
            reorder_timeout,
        } = spec.encapsulation;
        let what = || {
            format!(
                "make session {}/{} of the kernel",
                local.tunnel, local.session
            )
        };
        let failed = |error: io::Error| DatapathError::system(what(), &error);
        let remote = spec.transport.remote;
        let socket = PppoxSocket::connect(tunnel.as_fd(), remote, local, peer).map_err(failed)?;
        let set_up = || {
            match sequencing {
                Sequencing::Required => {
                    socket.set_lns_mode(true)?;
                    socket.set_sending_sequence(true)?;
                    socket.require_sequence()?;
                }
                Sequencing::AsPeer => socket.set_lns_mode(false)?,
                // An LNS of the kernel drops what has no number while it sends them, such as all that a LAC sends before it gets the first.
                Sequencing::Own(true) => socket.set_lns_mode(false)?,
                Sequencing::Own(false) => socket.set_lns_mode(true)?,
            }
            socket.set_reorder_timeout(reorder_timeout)
        };
        set_up().map_err(failed)?;
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
            announces: AtomicBool::new(sequencing == Sequencing::Own(true)),
            control_frames: AtomicU64::new(0),
            control_bytes: AtomicU64::new(0),
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
        if let Err(error) = self.channel.write(frame) {
            tracing::debug!("send a frame of {:?}: {error}", self.local());
        }
    }

    /// Lets what we send have sequence numbers, or none, where that is ours to say.
    pub(super) fn set_sequencing(&self, send: bool) {
        let Encapsulation::V2 { sequencing, .. } = self.spec.encapsulation;
        if !matches!(sequencing, Sequencing::Own(_)) {
            return;
        }
        if !send {
            self.announces.store(false, Ordering::Relaxed);
        }
        self.number(send);
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
        self.control_frames.fetch_add(1, Ordering::Relaxed);
        self.control_bytes
            .fetch_add(octets as u64, Ordering::Relaxed);
    }

    /// How many frames the interface counted that are no packets, and their octets behind the protocol field.
    pub(super) fn control(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.control_frames), read(&self.control_bytes))
    }

    /// What the L2TP session counts: all but packets, which are the interface's.
    pub(super) fn stats(&self) -> Stats {
        let Ok(counts) = self.socket.stats() else {
            return Stats::default();
        };
        let Encapsulation::V2 { sequencing, .. } = self.spec.encapsulation;
        let sent = self.socket.sends_sequence().unwrap_or(false);
        Stats {
            rx_errors: counts.rx_errors,
            tx_errors: counts.tx_errors,
            sequencing: SequencingStats {
                tx_sequenced: sent,
                // The kernel does not say. One of the two ends follows the other, though.
                rx_sequenced: sent || sequencing == Sequencing::Required,
                rx_out_of_order: counts.rx_oos_packets,
                rx_lost: 0,
                rx_discarded: counts.rx_seq_discards,
                rx_unnumbered: 0,
            },
            ..Stats::default()
        }
    }
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
