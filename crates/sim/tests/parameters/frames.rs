//! The control messages and the PPP control packets between the two nodes, and when they were sent.

use std::time::Duration;

use sansio::Time;
use sim::{NodeId, Quality};
use wire::l2tp::{Header, MessageType};
use wire::ppp::iana::{code, lcp_option};
use wire::ppp::{Frame, Options, Packet, Protocol};

use crate::common::messages::{self, read};
use crate::common::{Pair, address, start};

/// Who says which packet: the node, the protocol and the code.
pub(crate) type Kind = (NodeId, Protocol, u8);

/// A PPP control packet that a node sent.
pub(crate) struct Said {
    pub at: Time,
    pub kind: Kind,
    pub identifier: u8,
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
            identifier: packet.identifier,
            data: packet.data.to_vec(),
        })
    }

    /// The value of an option, if the packet has it.
    pub(crate) fn option(&self, kind: u8) -> Option<&[u8]> {
        let packet = Packet {
            code: self.kind.2,
            identifier: self.identifier,
            data: &self.data,
        };
        let mut options: Options<'_> = packet.options();
        let option = options.find(|option| option.unwrap().kind == kind)?;
        Some(option.unwrap().data)
    }
}

/// A control message that a node sent.
pub(crate) struct Told {
    pub at: Time,
    pub from: NodeId,
    pub message: messages::Sent,
}

impl Pair {
    /// A LAC and an LNS of which everything is kept that they send, from the first request on.
    pub(crate) fn recorded(lac: &str, lns: &str) -> Self {
        let (mut pair, lac) = Self::idle(Quality::PERFECT, lac, lns);
        pair.world.record();
        start(&mut pair.world, pair.lac, &lac);
        pair
    }

    /// The control messages since this was called last; from the first call on they are kept.
    pub(crate) fn told(&mut self) -> Vec<Told> {
        let (lac, lns) = (self.lac, self.lns);
        let sent = self.world.record().into_iter();
        let control = sent
            .filter(|sent| matches!(Header::decode(&sent.payload), Ok((Header::Control(_), _))));
        let told = control.map(|sent| Told {
            at: sent.at,
            from: if sent.from.ip() == address(1) {
                lac
            } else {
                lns
            },
            message: read(&sent.payload),
        });
        told.collect()
    }

    /// The first message of a type of what a node tells within three seconds.
    pub(crate) fn message(&mut self, from: NodeId, message_type: MessageType) -> messages::Sent {
        self.run(3);
        let mut told = self.told().into_iter();
        let wanted =
            |told: &Told| told.from == from && told.message.message_type == Some(message_type);
        told.find(wanted).unwrap().message
    }

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

    /// Cuts the other node off once a packet of this kind was sent, and gives those that were by then.
    pub(crate) fn cut_off_after(&mut self, kind: Kind) -> Vec<Said> {
        const MILLISECOND: Duration = Duration::from_millis(1);
        let mut said = Vec::new();
        while said.is_empty() {
            self.said();
            self.world.run_for(MILLISECOND);
            said.extend(self.said().into_iter().filter(|said| said.kind == kind));
        }
        let other = self.lac + self.lns - kind.0;
        self.world.cut_off(other, true);
        said
    }

    /// The same, and gives the times, in seconds after the first, of all that were sent in so many seconds.
    pub(crate) fn unanswered(&mut self, kind: Kind, seconds: u64) -> Vec<u64> {
        let mut said = self.cut_off_after(kind);
        let start = said[0].at;
        said.extend(self.listen(kind, seconds));
        let since = |said: &Said| said.at.saturating_since(start).as_secs();
        said.iter().map(since).collect()
    }
}

/// The MRUs that a node asks for in LCP, of each of its sessions one.
pub(crate) fn mrus(pair: &mut Pair, node: NodeId) -> Vec<u16> {
    let requests = pair.listen((node, Protocol::LCP, code::CONFIGURE_REQUEST), 3);
    let mru = |said: &Said| {
        let mru = said.option(lcp_option::MRU)?;
        Some(u16::from_be_bytes(mru.try_into().unwrap()))
    };
    let mut mrus: Vec<_> = requests.iter().filter_map(mru).collect();
    mrus.sort_unstable();
    mrus.dedup();
    mrus
}
