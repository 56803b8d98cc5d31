//! The PPP control packets between the two nodes, and when they were sent.

use std::time::Duration;

use sansio::Time;
use sim::NodeId;
use wire::l2tp::Header;
use wire::ppp::{Frame, Options, Packet, Protocol};

use crate::common::{Pair, address};

/// Who says which packet: the node, the protocol and the code.
pub(crate) type Kind = (NodeId, Protocol, u8);

/// A PPP control packet that a node sent.
pub(crate) struct Said {
    pub at: Time,
    pub kind: Kind,
    pub data: Vec<u8>,
}

impl Said {
    fn of(sent: &sim::Sent, lac: NodeId, lns: NodeId) -> Option<Self> {
        let Ok((Header::Data(_), frame)) = Header::decode(&sent.payload) else {
            return None;
        };
        let Frame { protocol, payload } = Frame::decode(frame).unwrap();
        let packet = Packet::decode(payload).unwrap();
        let from = if sent.from.ip() == address(1) {
            lac
        } else {
            lns
        };
        Some(Self {
            at: sent.at,
            kind: (from, protocol, packet.code),
            data: packet.data.to_vec(),
        })
    }

    /// The value of an option, if the packet has it.
    pub(crate) fn option(&self, kind: u8) -> Option<&[u8]> {
        let packet = Packet {
            code: self.kind.2,
            identifier: 0,
            data: &self.data,
        };
        let mut options: Options<'_> = packet.options();
        let option = options.find(|option| option.unwrap().kind == kind)?;
        Some(option.unwrap().data)
    }
}

impl Pair {
    /// What was said of PPP since this was called last; from the first call on it is kept.
    pub(crate) fn said(&mut self) -> Vec<Said> {
        let (lac, lns) = (self.lac, self.lns);
        let sent = self.world.record();
        sent.iter()
            .filter_map(|sent| Said::of(sent, lac, lns))
            .collect()
    }

    /// Runs for so many seconds, and gives what was said of that kind.
    pub(crate) fn listen(&mut self, kind: Kind, seconds: u64) -> Vec<Said> {
        self.said();
        self.run(seconds);
        let mut said = self.said();
        said.retain(|said| said.kind == kind);
        said
    }

    /// Lets no packet reach the other node once one of this kind was sent, and gives the times of all of them, in seconds after the first,
    /// that were sent in so many seconds.
    pub(crate) fn unanswered(&mut self, kind: Kind, seconds: u64) -> Vec<u64> {
        const MILLISECOND: Duration = Duration::from_millis(1);
        let mut first = Vec::new();
        while first.is_empty() {
            self.said();
            self.world.run_for(MILLISECOND);
            first.extend(self.said().into_iter().filter(|said| said.kind == kind));
        }
        let other = self.lac + self.lns - kind.0;
        self.world.cut_off(other, true);
        let start = first[0].at;
        first.extend(self.listen(kind, seconds));
        first
            .iter()
            .map(|said| said.at.saturating_since(start).as_secs())
            .collect()
    }
}
