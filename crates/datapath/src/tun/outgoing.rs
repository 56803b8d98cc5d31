//! Datagrams for one peer that leave together: one call of the kernel for as many as it takes.

use std::sync::Arc;

use super::table::Slot;
use crate::socket::{DATAGRAMS_MAX, Path, Socket};

/// The most octets of datagrams that leave together: what one of IPv4 has room for.
const OCTETS_MAX: usize = 65_507;

/// The largest packet that a path without room for it gets in fragments: what every link of IPv6 carries (RFC 8200 section 5). Whoever tells lies of
/// the path's MTU cannot take that away.
const ALWAYS_CARRIED: usize = 1280;

/// Where, and through which socket.
struct Way {
    socket: Arc<Socket>,
    path: Path,
}

impl Way {
    fn is(&self, socket: &Arc<Socket>, path: Path) -> bool {
        Arc::ptr_eq(&self.socket, socket) && self.path == path
    }

    /// What has no checksum the kernel sends one by one.
    fn may_be_merged(&self) -> bool {
        !self.path.headers.no_checksum
    }

    /// Sends datagrams of this length, the last of which may be shorter; says whether it did. What is larger than the path, or goes through IPsec,
    /// does not go so.
    fn send_merged(&self, octets: &[u8], segment: usize) -> bool {
        let Ok(segment) = u16::try_from(segment) else {
            return false;
        };
        self.socket.send_merged(self.path, octets, segment).is_ok()
    }

    /// Sends datagrams up to the first that can't be, and says how many that were.
    fn send_each(&self, datagrams: &[&[u8]]) -> usize {
        self.socket.send_each(self.path, datagrams).unwrap_or(0)
    }

    /// Sends one datagram with a packet of so many octets. Whatever hinders it (no route, too large, refused by a filter) hinders it alone.
    fn send(&self, datagram: &[u8], packet: usize) -> bool {
        let Path {
            local,
            remote,
            mut headers,
        } = self.path;
        let mut sent = self.socket.send(local, remote, headers, datagram);
        if let Err(error) = &sent
            && error.raw_os_error() == Some(libc::EMSGSIZE)
            && packet <= ALWAYS_CARRIED
        {
            headers.dont_fragment = false;
            sent = self.socket.send(local, remote, headers, datagram);
        }
        sent.is_ok()
    }
}

/// A datagram that waits.
struct Waiting {
    slot: Slot,
    /// Where it ends in the octets that wait.
    end: usize,
    /// Octets of the IP packet in it.
    packet: usize,
}

/// What became of datagrams of a session.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub(super) slot: Slot,
    pub(super) datagrams: u64,
    /// IP packets in them: a frame of the control plane has none.
    pub(super) packets: u64,
    /// Octets of those.
    pub(super) octets: u64,
    /// Whether the kernel took it.
    pub(super) taken: bool,
}

/// Datagrams that wait for others of their way.
#[derive(Default)]
pub(super) struct Outgoing {
    way: Option<Way>,
    octets: Vec<u8>,
    datagrams: Vec<Waiting>,
    sent: Vec<Sent>,
}

impl Outgoing {
    /// Where to write a datagram that goes this way, behind what is there. It leaves after [`commit`](Self::commit).
    pub(super) fn begin(&mut self, socket: &Arc<Socket>, path: Path) -> &mut Vec<u8> {
        if !self.way.as_ref().is_some_and(|way| way.is(socket, path)) {
            self.send();
            let socket = Arc::clone(socket);
            self.way = Some(Way { socket, path });
        }
        &mut self.octets
    }

    /// The datagram is written: it is of a session, and has a packet of so many octets.
    pub(super) fn commit(&mut self, slot: Slot, packet: usize) {
        let at = self.datagrams.last().map_or(0, |last| last.end);
        if !self.goes_with_the_others(at) {
            self.send();
        }
        self.datagrams.push(Waiting {
            slot,
            end: self.octets.len(),
            packet,
        });
    }

    /// There will be no datagram.
    pub(super) fn abandon(&mut self) {
        let end = self.datagrams.last().map_or(0, |last| last.end);
        self.octets.truncate(end);
    }

    /// Sends everything, and says what became of all that was put since the last time.
    pub(super) fn flush(&mut self) -> impl Iterator<Item = Sent> {
        self.send();
        self.sent.drain(..)
    }

    /// Whether the datagram that begins at `at` may leave with those before it: all have one length, and the last may be shorter.
    fn goes_with_the_others(&self, at: usize) -> bool {
        let (len, count) = (self.octets.len() - at, self.datagrams.len());
        let first = self.datagrams.first().map_or(len, |first| first.end);
        let alike = len <= first && at == first * count;
        let merged = self.way.as_ref().is_some_and(Way::may_be_merged);
        (alike || !merged) && count < DATAGRAMS_MAX && self.octets.len() <= OCTETS_MAX
    }

    /// Sends the datagrams that are complete.
    fn send(&mut self) {
        let Some((way, last)) = self.way.as_ref().zip(self.datagrams.last()) else {
            return;
        };
        let (end, first) = (last.end, self.datagrams[0].end);
        let several = self.datagrams.len() > 1;
        if several && way.may_be_merged() && way.send_merged(&self.octets[..end], first) {
            let all = self.datagrams.iter();
            all.for_each(|waiting| record(&mut self.sent, waiting, true));
        } else {
            self.send_apart();
        }
        self.datagrams.clear();
        self.octets.drain(..end);
    }

    /// Sends them in as few calls as what hinders some of them leaves.
    fn send_apart(&mut self) {
        let Some(way) = &self.way else {
            return;
        };
        if let [waiting] = self.datagrams.as_slice() {
            let taken = way.send(&self.octets[..waiting.end], waiting.packet);
            return record(&mut self.sent, waiting, taken);
        }
        let mut datagrams: [&[u8]; DATAGRAMS_MAX] = [&[]; DATAGRAMS_MAX];
        let mut begin = 0;
        for (datagram, waiting) in datagrams.iter_mut().zip(&self.datagrams) {
            *datagram = &self.octets[begin..waiting.end];
            begin = waiting.end;
        }
        let datagrams = &datagrams[..self.datagrams.len()];
        let mut together = 0;
        for (at, waiting) in self.datagrams.iter().enumerate() {
            if at == together {
                together += way.send_each(&datagrams[at..]);
            }
            let taken = at < together || way.send(datagrams[at], waiting.packet);
            record(&mut self.sent, waiting, taken);
            together = together.max(at + 1);
        }
    }
}

/// Adds what became of a datagram to what became of those of its session before it.
fn record(sent: &mut Vec<Sent>, waiting: &Waiting, taken: bool) {
    let &Waiting { slot, packet, .. } = waiting;
    let (packets, octets) = (u64::from(packet > 0), packet as u64);
    match sent.last_mut() {
        Some(last) if (last.slot, last.taken) == (slot, taken) => {
            last.datagrams += 1;
            last.packets += packets;
            last.octets += octets;
        }
        _ => sent.push(Sent {
            slot,
            datagrams: 1,
            packets,
            octets,
            taken,
        }),
    }
}
