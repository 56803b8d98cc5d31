//! What all families of netlink have in common (RFC 3549 section 2): a request, and the answers to it.

use std::cell::Cell;
use std::io;

use netlink_packet_core::{
    NLM_F_REQUEST, NetlinkDeserializable, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

/// Octets of answers taken at a time; the kernel fills no more than this of a dump.
const BUFFER: usize = 1 << 15;

/// A socket that asks the kernel, in the network namespace of the thread that made it. One thread uses it at a time.
pub(crate) struct Conversation {
    socket: Socket,
    sequence: Cell<u32>,
}

impl Conversation {
    /// Begins one with a family (`netlink_sys::protocols`).
    pub(crate) fn open(family: isize) -> io::Result<Self> {
        let mut socket = Socket::new(family)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: Cell::new(0),
        })
    }

    /// Sends one request, which has `NLM_F_ACK` or `NLM_F_DUMP` among its flags, and collects the answers to it. The kernel has them before it returns.
    pub(crate) fn ask<I>(
        &self,
        message: impl Into<NetlinkMessage<I>>,
        flags: u16,
    ) -> io::Result<Vec<I>>
    where
        I: NetlinkSerializable + NetlinkDeserializable,
    {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let mut request = message.into();
        request.header.sequence_number = sequence;
        request.header.flags = NLM_F_REQUEST | flags;
        request.finalize();
        let mut octets = vec![0; request.buffer_len()];
        request.serialize(&mut octets);
        self.socket.send(&octets, 0)?;
        let mut answers = Vec::new();
        loop {
            for answer in receive(&self.socket)? {
                // What a request left that failed halfway.
                if answer.header.sequence_number != sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }
}

/// The messages of one datagram.
pub(crate) fn receive<I: NetlinkDeserializable>(
    socket: &Socket,
) -> io::Result<Vec<NetlinkMessage<I>>> {
    let mut octets = Vec::with_capacity(BUFFER);
    socket.recv(&mut octets, 0)?;
    let mut messages = Vec::new();
    let mut rest = octets.as_slice();
    while !rest.is_empty() {
        let message = NetlinkMessage::<I>::deserialize(rest).map_err(io::Error::other)?;
        let length = (message.header.length as usize).next_multiple_of(4).max(4);
        rest = rest.get(length..).unwrap_or_default();
        messages.push(message);
    }
    Ok(messages)
}
