use std::collections::VecDeque;

use sansio::{Deadlines, Rng, Time, Timers};
use serde::{Deserialize, Serialize};
use wire::ppp::{Compression, Frame, Protocol};
use wire::{BufferFull, Writer};
use zeroize::{Zeroize, Zeroizing};

use crate::{DEFAULT_MRU, Event, LinkConfig};

/// What a link waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Timer {
    /// LCP's restart timer.
    Lcp,
    /// IPCP's restart timer.
    Ipcp,
    /// IPv6CP's restart timer.
    Ipv6cp,
    /// CCP's restart timer.
    Ccp,
    /// The answer to our challenge, or the time for another one; the peer's password.
    Challenge,
    /// The answer to our proof.
    Proof,
    /// The end of the authentication phase.
    Authentication,
    /// The next Echo-Request.
    Echo,
}

impl Timers for Timer {
    const ALL: &'static [Self] = &[
        Self::Lcp,
        Self::Ipcp,
        Self::Ipv6cp,
        Self::Ccp,
        Self::Challenge,
        Self::Proof,
        Self::Authentication,
        Self::Echo,
    ];

    fn index(self) -> usize {
        self as usize
    }
}

/// Frames, counted since the link was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Counters {
    /// Frames received, network-layer ones that came this way included.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames received that break the format of their protocol.
    pub malformed: u64,
    /// Well-formed frames received in a phase that has no use for them, and replies to nothing.
    pub discarded: u64,
    /// Protocol-Rejects sent: frames of protocols that we do not speak.
    pub protocol_rejects: u64,
    /// Code-Rejects sent: packets of codes that we do not know.
    pub code_rejects: u64,
    /// Times that LCP was negotiated anew on the open link.
    pub renegotiations: u64,
}

impl Counters {
    /// What was counted after `before`, an earlier reading of the same link.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            received: self.received.saturating_sub(before.received),
            sent: self.sent.saturating_sub(before.sent),
            malformed: self.malformed.saturating_sub(before.malformed),
            discarded: self.discarded.saturating_sub(before.discarded),
            protocol_rejects: self
                .protocol_rejects
                .saturating_sub(before.protocol_rejects),
            code_rejects: self.code_rejects.saturating_sub(before.code_rejects),
            renegotiations: self.renegotiations.saturating_sub(before.renegotiations),
        }
    }
}

/// Where the parts of a link put what they want done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Io {
    pub(crate) out: Outbox,
    pub(crate) events: VecDeque<Event>,
    pub(crate) deadlines: Deadlines<Timer, 8>,
    pub(crate) counters: Counters,
    /// The number of the last authentication attempt: none is used twice.
    pub(crate) attempts: u32,
}

impl Io {
    pub(crate) fn new() -> Self {
        Self {
            out: Outbox::new(),
            events: VecDeque::new(),
            deadlines: Deadlines::new(),
            counters: Counters::default(),
            attempts: 0,
        }
    }

    /// Queues the frame that `payload` writes after the protocol field. One that the peer's MRU has no room for is not sent.
    pub(crate) fn send(
        &mut self,
        protocol: Protocol,
        payload: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>,
    ) {
        if self.out.push(protocol, payload).is_ok() {
            self.counters.sent += 1;
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() {
            self.events = VecDeque::new();
        }
        event
    }
}

/// Everything that a part of a link may need besides itself.
pub(crate) struct Context<'a> {
    pub(crate) now: Time,
    pub(crate) rng: &'a mut dyn Rng,
    pub(crate) config: &'a LinkConfig,
    pub(crate) io: &'a mut Io,
    /// What a Terminate-Request says.
    pub(crate) farewell: &'static str,
}

/// Frames to be sent, wiped once they are: PAP's have passwords in them. Holds no memory when empty.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outbox {
    frames: VecDeque<Zeroizing<Vec<u8>>>,
    /// Octets queued.
    queued: usize,
    /// The largest payload that the peer receives.
    mtu: u16,
}

impl Outbox {
    /// Octets queued at most: a link that nobody polls loses frames, as a slow line would.
    const CAPACITY: usize = 16 * 1024;
    /// Octets before the payload.
    const HEADER: usize = 4;

    const fn new() -> Self {
        Self {
            frames: VecDeque::new(),
            queued: 0,
            mtu: DEFAULT_MRU,
        }
    }

    /// Follows the peer's MRU. Nothing that is sent from here needs more than the default one.
    pub(crate) fn set_mtu(&mut self, mtu: u16) {
        self.mtu = mtu.min(DEFAULT_MRU);
    }

    pub(crate) fn mtu(&self) -> usize {
        self.mtu.into()
    }

    fn push(
        &mut self,
        protocol: Protocol,
        payload: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>,
    ) -> Result<(), BufferFull> {
        let mut buf = [0; Self::HEADER + DEFAULT_MRU as usize];
        let room = buf.get_mut(..Self::HEADER + self.mtu()).ok_or(BufferFull)?;
        let mut w = Writer::new(room);
        Frame::encode_header(protocol, Compression::default(), &mut w)?;
        payload(&mut w)?;
        let frame = Zeroizing::new(w.written().to_vec());
        buf[..frame.len()].zeroize();
        if self.queued + frame.len() > Self::CAPACITY {
            return Err(BufferFull);
        }
        self.queued += frame.len();
        self.frames.push_back(frame);
        Ok(())
    }

    /// Puts the oldest frame into `out`, in place of what was there.
    pub(crate) fn pop(&mut self, out: &mut Vec<u8>) -> bool {
        out.clear();
        let Some(frame) = self.frames.pop_front() else {
            self.frames = VecDeque::new();
            return false;
        };
        out.extend_from_slice(&frame);
        self.queued -= frame.len();
        true
    }
}
