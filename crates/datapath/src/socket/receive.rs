//! How datagrams are received, many at a time.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef};

use super::Socket;
use crate::{Ecn, Listener};

/// Octets of one receive buffer: what the kernel merges at most into one read (UDP GRO).
const MERGED_MAX: usize = 1 << 16;

/// Datagrams of a batch after one of more octets than a buffer has: they may be as large as that each, and others wait.
const LARGE_MAX: usize = 4;

/// A received datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    /// Whose socket it came to.
    pub(crate) listener: &'a Listener,
    /// The address and port that it was sent to.
    pub(crate) local: SocketAddr,
    /// The address and port that it came from.
    pub(crate) remote: SocketAddr,
    /// The ECN field of its packet.
    pub(crate) ecn: Ecn,
    /// The UDP payload.
    pub(crate) payload: &'a [u8],
}

/// Memory for one batch of datagrams, used again for the next.
pub(crate) struct ReceiveBuffers {
    octets: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
    /// Datagrams of the next batch, at most.
    room: usize,
}

impl ReceiveBuffers {
    pub(crate) fn new() -> Self {
        Self {
            octets: vec![0; MERGED_MAX * BATCH_SIZE],
            meta: [RecvMeta::default(); BATCH_SIZE],
            room: BATCH_SIZE,
        }
    }

    /// Takes what waits at `socket`, one batch at most. What the kernel merged comes apart here: each segment is a datagram of its own.
    pub(crate) fn receive<'a>(
        &'a mut self,
        socket: &'a Socket,
    ) -> io::Result<impl Iterator<Item = Datagram<'a>>> {
        let mut buffers = self.octets.chunks_exact_mut(MERGED_MAX);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        let (io, room) = (UdpSockRef::from(&socket.io), self.room);
        let received = socket.state.recv(io, &mut slices[..room], &mut self.meta)?;
        let came: usize = self.meta[..received].iter().map(|meta| meta.len).sum();
        self.room = match came > MERGED_MAX {
            true => LARGE_MAX,
            false => BATCH_SIZE,
        };
        let merged = self.octets.chunks_exact(MERGED_MAX).zip(&self.meta);
        Ok(merged.take(received).flat_map(move |(octets, meta)| {
            let ecn = Ecn::of(meta.ecn.map_or(0, |codepoint| codepoint as u8));
            let local = local_address(socket.local, meta);
            segments(&octets[..meta.len], meta.stride).map(move |payload| Datagram {
                listener: socket.listener(),
                local,
                remote: meta.addr,
                ecn,
                payload,
            })
        }))
    }
}

/// Cuts `octets` every `stride`; an empty datagram is a datagram too.
fn segments(octets: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let empty = octets.is_empty().then_some(octets);
    empty.into_iter().chain(octets.chunks(stride.max(1)))
}

fn local_address(bound: SocketAddr, meta: &RecvMeta) -> SocketAddr {
    match meta.dst_ip {
        // Answers from a link-local address need the link that it is on.
        Some(IpAddr::V6(ip)) if ip.is_unicast_link_local() => {
            let scope = meta.interface_index.unwrap_or_default();
            SocketAddrV6::new(ip, bound.port(), 0, scope).into()
        }
        Some(ip) => SocketAddr::new(ip, bound.port()),
        None => bound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_datagrams_come_apart() {
        let cut = |octets, stride| segments(octets, stride).collect::<Vec<_>>();
        assert_eq!(cut(b"aabbc", 2), [&b"aa"[..], b"bb", b"c"]);
        assert_eq!(cut(b"aa", 2), [b"aa"]);
        assert_eq!(cut(b"", 0), [b""]);
    }
}
