//! The reliable transport of control messages (RFC 2661 section 5.8 and appendix A).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sansio::{Deadline, Deadlines, Time, Timers};
use serde::{Deserialize, Serialize};
use wire::Writer;
use wire::l2tp::{ControlHeader, MessageType};

use crate::{Counters, SessionId, TunnelConfig, TunnelId};

/// The window of a peer that does not say its Receive Window Size.
pub(crate) const DEFAULT_WINDOW: u16 = 4;

/// How long an acknowledgement waits for a message to travel with. Far below the second after which peers repeat themselves.
const ACK_DELAY: Duration = Duration::from_millis(50);

/// Half of the sequence numbers: from here on, a distance is one back and not ahead.
const HALF: u16 = 0x8000;

/// A message that the peer has not acknowledged: its AVPs and its session. Its Ns follows from its place in the queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outgoing {
    session_id: SessionId,
    avps: Box<[u8]>,
    /// Our call that waits for the acknowledgement of this message; 0 for none.
    call: SessionId,
}

/// A message that came before its predecessors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) session_id: SessionId,
    pub(crate) avps: Box<[u8]>,
}

/// What becomes of a received message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Receipt {
    /// It is the next one: process it, then what [`Transport::next_held`] yields.
    Deliver,
    /// It came before, and is to be acknowledged again.
    Duplicate,
    /// It acknowledges what was never sent: nothing in it counts.
    Discredited,
    /// Nothing more is to be done with it.
    Done,
}

/// The peer did not acknowledge a message, however often it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GivenUp;

/// The timers of the reliable transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransportTimer {
    /// The oldest message is to be sent again.
    Retransmit,
    /// An acknowledgement has waited long enough for a message to travel with.
    Acknowledge,
}

impl Timers for TransportTimer {
    const ALL: &'static [Self] = &[Self::Retransmit, Self::Acknowledge];

    fn index(self) -> usize {
        self as usize
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Transport {
    /// What the peer has not acknowledged, then what it was never sent. The front's Ns is `unacknowledged`.
    queue: VecDeque<Outgoing>,
    unacknowledged: u16,
    /// How many of the queue are on the way: fewer than `ever_sent` after a timeout, which sends from the front again.
    in_flight: usize,
    /// How many of the queue were sent at least once.
    ever_sent: usize,
    /// How many messages may be on the way as far as the peer and our configuration go.
    window: u16,
    /// CWND: how many may be as far as the network seems to go.
    congestion_window: u16,
    /// SSTHRESH: where slow start ends.
    slow_start_threshold: u16,
    /// Acknowledgements since the congestion window last grew, in congestion avoidance.
    avoidance_acks: u16,
    /// Retransmissions of the front message.
    retries: u32,
    /// The Ns that we expect next: our Nr.
    expected: u16,
    held: BTreeMap<u16, Held>,
    /// Ns and Nr of the peer's last datagram.
    heard: (u16, u16),
    /// Messages received since we last sent an Nr.
    unanswered: u16,
    /// The next thing to send is an acknowledgement, if there is no message.
    ack_now: bool,
    /// Calls whose messages were acknowledged.
    confirmed: Vec<SessionId>,
    deadlines: Deadlines<TransportTimer, 2>,
}

/// The state of a control connection's transport, for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransportStats {
    /// Ns of the next new message.
    pub ns: u16,
    /// Nr: the Ns that we expect next.
    pub nr: u16,
    /// Ns of the peer's last datagram.
    pub peer_ns: u16,
    /// Nr of the peer's last datagram.
    pub peer_nr: u16,
    /// Messages that wait for the peer's acknowledgement.
    pub unacknowledged: usize,
    /// Messages that were not sent yet.
    pub waiting: usize,
    /// The peer's window, as far as our configuration lets us use it.
    pub window: u16,
    /// Congestion window (CWND).
    pub congestion_window: u16,
    /// Slow start threshold (SSTHRESH).
    pub slow_start_threshold: u16,
    /// Acknowledgements since the congestion window last grew, in congestion avoidance.
    pub avoidance_acks: u16,
    /// Retransmissions of the oldest message.
    pub retries: u32,
}

impl Transport {
    /// A transport whose peer sends `expected` as its next Ns.
    pub(crate) fn new(expected: u16) -> Self {
        Self {
            queue: VecDeque::new(),
            unacknowledged: 0,
            in_flight: 0,
            ever_sent: 0,
            window: DEFAULT_WINDOW,
            congestion_window: 1,
            slow_start_threshold: DEFAULT_WINDOW,
            avoidance_acks: 0,
            retries: 0,
            expected,
            held: BTreeMap::new(),
            heard: (0, 0),
            unanswered: 0,
            ack_now: false,
            confirmed: Vec::new(),
            deadlines: Deadlines::new(),
        }
    }

    /// Takes the peer's window, once it is known.
    pub(crate) fn set_window(&mut self, window: u16) {
        self.window = window.max(1);
        self.slow_start_threshold = self.window;
    }

    /// Queues a message. [`Transport::take_confirmed`] tells `call`, unless it is 0, when it is acknowledged.
    pub(crate) fn send(&mut self, session_id: SessionId, avps: Vec<u8>, call: SessionId) {
        if self.queue.is_empty() {
            // Most wait alone, the SCCRPs of a flood above all.
            self.queue.reserve_exact(1);
        }
        self.queue.push_back(Outgoing {
            session_id,
            avps: avps.into_boxed_slice(),
            call,
        });
    }

    /// The calls whose messages were acknowledged since this was asked last.
    pub(crate) fn take_confirmed(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.confirmed)
    }

    /// How many messages are queued or unacknowledged.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Forgets the messages that were never sent.
    pub(crate) fn drop_waiting(&mut self) {
        self.queue.truncate(self.ever_sent);
    }

    /// Forgets every message: the peer no longer cares.
    pub(crate) fn drop_all(&mut self) {
        let sent = self.ever_sent;
        self.acknowledge(sent);
        self.queue = VecDeque::new();
        self.deadlines.clear(TransportTimer::Retransmit);
    }

    /// Acknowledges what was received without waiting for a message to travel with.
    pub(crate) fn acknowledge_now(&mut self) {
        self.ack_now = true;
    }

    /// Answers a peer that asked again by the messages that it may not have, at once, and not by an acknowledgement alone.
    pub(crate) fn answer_again(&mut self) {
        if !self.queue.is_empty() {
            self.in_flight = 0;
            self.ack_now = false;
            self.deadlines.clear(TransportTimer::Retransmit);
        }
    }

    /// Takes in a message's numbers: what it acknowledges, and its place in the order.
    pub(crate) fn receive(
        &mut self,
        header: &ControlHeader,
        avps: &[u8],
        config: &TunnelConfig,
        now: Time,
        counters: &mut Counters,
    ) -> Receipt {
        self.heard = (header.ns, header.nr);
        let acknowledged = header.nr.wrapping_sub(self.unacknowledged);
        if usize::from(acknowledged) <= self.ever_sent {
            self.take_acknowledgement(acknowledged.into(), config, now);
        } else if acknowledged < HALF {
            counters.troubles.bad_acknowledgements += 1;
            return Receipt::Discredited;
        }
        if avps.is_empty() {
            counters.received.zlb += 1;
            return Receipt::Done;
        }
        let ahead = header.ns.wrapping_sub(self.expected);
        if ahead == 0 {
            self.advance(config, now);
            return Receipt::Deliver;
        }
        if ahead >= HALF {
            counters.troubles.duplicates += 1;
            self.ack_now = true;
            return Receipt::Duplicate;
        }
        if ahead < config.rx_window {
            counters.troubles.out_of_order += 1;
            self.held.entry(header.ns).or_insert_with(|| Held {
                session_id: header.session_id,
                avps: avps.into(),
            });
        } else {
            counters.troubles.out_of_window += 1;
        }
        Receipt::Done
    }

    /// Whether others are still to come before the message of this Ns.
    pub(crate) fn is_ahead(&self, ns: u16) -> bool {
        (1..HALF).contains(&ns.wrapping_sub(self.expected))
    }

    /// Takes out the message that waited for the one before it, if it is there.
    pub(crate) fn next_held(&mut self, config: &TunnelConfig, now: Time) -> Option<Held> {
        let held = self.held.remove(&self.expected)?;
        self.advance(config, now);
        Some(held)
    }

    /// The expected message was received.
    fn advance(&mut self, config: &TunnelConfig, now: Time) {
        self.expected = self.expected.wrapping_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        // A peer that has filled half of our window would soon have to wait.
        if u32::from(self.unanswered) * 2 >= u32::from(config.rx_window) {
            self.ack_now = true;
        } else if self.deadlines.get(TransportTimer::Acknowledge).is_none() {
            self.deadlines
                .set(TransportTimer::Acknowledge, now + ACK_DELAY);
        }
    }

    fn take_acknowledgement(&mut self, messages: usize, config: &TunnelConfig, now: Time) {
        if messages == 0 {
            return;
        }
        self.acknowledge(messages);
        self.grow_congestion_window();
        self.retries = 0;
        if self.in_flight > 0 {
            self.deadlines
                .set(TransportTimer::Retransmit, now + config.retry_interval(0));
        } else {
            self.deadlines.clear(TransportTimer::Retransmit);
        }
    }

    fn acknowledge(&mut self, messages: usize) {
        let acknowledged = self.queue.drain(..messages).map(|message| message.call);
        self.confirmed
            .extend(acknowledged.filter(|&call| call != 0));
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        // `messages` is at most `ever_sent`, which the window keeps within 16 bits.
        self.unacknowledged = self.unacknowledged.wrapping_add(messages as u16);
        self.in_flight = self.in_flight.saturating_sub(messages);
        self.ever_sent -= messages;
    }

    /// Appendix A: by one for each acknowledgement in slow start, by one for each full window of them later.
    fn grow_congestion_window(&mut self) {
        if self.congestion_window >= self.window {
            return;
        }
        self.avoidance_acks += 1;
        if self.congestion_window < self.slow_start_threshold
            || self.avoidance_acks >= self.congestion_window
        {
            self.congestion_window += 1;
            self.avoidance_acks = 0;
        }
    }

    /// Writes the next datagram for the peer's tunnel `tunnel_id` into `out`, if there is one to send now, of at most `most` octets.
    pub(crate) fn poll_transmit(
        &mut self,
        tunnel_id: TunnelId,
        most: usize,
        config: &TunnelConfig,
        now: Time,
        counters: &mut Counters,
        out: &mut Vec<u8>,
    ) -> bool {
        let may_send = self.in_flight < usize::from(self.congestion_window.min(self.window));
        let (session_id, ns, avps) = match self.queue.get(self.in_flight).filter(|_| may_send) {
            Some(message) => {
                let ns = self.unacknowledged.wrapping_add(self.in_flight as u16);
                (message.session_id, ns, &message.avps[..])
            }
            None if self.ack_now => (
                0,
                self.unacknowledged.wrapping_add(self.ever_sent as u16),
                &[][..],
            ),
            None => return false,
        };
        if ControlHeader::LEN + avps.len() > most {
            if avps.is_empty() {
                self.ack_now = false;
            } else {
                self.await_acknowledgement(config, now);
            }
            return false;
        }
        encode(
            &ControlHeader {
                tunnel_id,
                session_id,
                ns,
                nr: self.expected,
            },
            avps,
            out,
        );
        if avps.is_empty() {
            counters.sent.zlb += 1;
        } else {
            self.sent(message_type(out), config, now, counters);
        }
        self.ack_now = false;
        self.unanswered = 0;
        self.deadlines.clear(TransportTimer::Acknowledge);
        true
    }

    /// The next message of the queue went out.
    fn sent(
        &mut self,
        message_type: MessageType,
        config: &TunnelConfig,
        now: Time,
        counters: &mut Counters,
    ) {
        self.in_flight += 1;
        if self.in_flight > self.ever_sent {
            self.ever_sent = self.in_flight;
            counters.sent.count(message_type);
        } else {
            counters.troubles.retransmissions += 1;
        }
        self.await_acknowledgement(config, now);
    }

    /// The peer has until then to acknowledge the front message, be it that it could not be sent: it is given up all the same.
    fn await_acknowledgement(&mut self, config: &TunnelConfig, now: Time) {
        if self.deadlines.get(TransportTimer::Retransmit).is_none() {
            self.deadlines.set(
                TransportTimer::Retransmit,
                now + config.retry_interval(self.retries),
            );
        }
    }

    /// Fires what is due.
    pub(crate) fn handle_timeout(
        &mut self,
        config: &TunnelConfig,
        now: Time,
    ) -> Result<(), GivenUp> {
        while let Some(timer) = self.deadlines.pop(now) {
            match timer {
                TransportTimer::Acknowledge => self.ack_now = true,
                TransportTimer::Retransmit if self.retries >= config.max_retries => {
                    return Err(GivenUp);
                }
                TransportTimer::Retransmit => {
                    self.retries += 1;
                    self.slow_start_threshold = (self.congestion_window / 2).max(1);
                    self.congestion_window = 1;
                    self.avoidance_acks = 0;
                    self.in_flight = 0;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn next_timeout(&self) -> Option<Deadline<TransportTimer>> {
        self.deadlines.next()
    }

    pub(crate) fn stats(&self) -> TransportStats {
        TransportStats {
            ns: self.unacknowledged.wrapping_add(self.ever_sent as u16),
            nr: self.expected,
            peer_ns: self.heard.0,
            peer_nr: self.heard.1,
            unacknowledged: self.ever_sent,
            waiting: self.queue.len() - self.ever_sent,
            window: self.window,
            congestion_window: self.congestion_window,
            slow_start_threshold: self.slow_start_threshold,
            avoidance_acks: self.avoidance_acks,
            retries: self.retries,
        }
    }
}

/// Writes a whole datagram into `out`, in place of what it held.
pub(crate) fn encode(header: &ControlHeader, avps: &[u8], out: &mut Vec<u8>) {
    let mut encoded = [0; ControlHeader::LEN];
    // It fits: the buffer is the header's size, and no message of ours comes near the 65535 octets that its Length can say.
    let fits = header.encode(avps.len(), &mut Writer::new(&mut encoded));
    debug_assert!(fits.is_ok(), "a message of {} octets", avps.len());
    out.clear();
    out.extend_from_slice(&encoded);
    out.extend_from_slice(avps);
}

/// The type of a message that we made: the value of its first AVP.
fn message_type(datagram: &[u8]) -> MessageType {
    let value = datagram.get(ControlHeader::LEN + 6..ControlHeader::LEN + 8);
    MessageType(value.map_or(0, |value| u16::from_be_bytes([value[0], value[1]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1);

    /// A transport that expects `expected`, and whose next Ns is `ns`.
    fn transport(expected: u16, ns: u16) -> Transport {
        Transport {
            unacknowledged: ns,
            ..Transport::new(expected)
        }
    }

    fn receive(transport: &mut Transport, ns: u16, nr: u16) -> (Receipt, Counters) {
        let header = ControlHeader {
            tunnel_id: 1,
            session_id: 0,
            ns,
            nr,
        };
        let mut counters = Counters::default();
        let receipt = transport.receive(
            &header,
            b"avps",
            &TunnelConfig::default(),
            NOW,
            &mut counters,
        );
        (receipt, counters)
    }

    #[test]
    fn the_32768_numbers_before_the_expected_one_are_duplicates() {
        for expected in [0, 1, 16, 0x7fff, 0x8000, 0xffff] {
            for (ahead, duplicate) in [(-1_i32, true), (-32768, true), (32767, false), (10, false)]
            {
                let (receipt, counters) = receive(
                    &mut transport(expected, 0),
                    expected.wrapping_add(ahead as u16),
                    0,
                );
                let expected_receipt = if duplicate {
                    Receipt::Duplicate
                } else {
                    Receipt::Done
                };
                assert_eq!(receipt, expected_receipt);
                assert_eq!(
                    counters.troubles.duplicates,
                    u64::from(duplicate),
                    "{ahead} from {expected}"
                );
                assert_eq!(
                    counters.troubles.out_of_window,
                    u64::from(!duplicate),
                    "{ahead} from {expected}"
                );
            }
            assert_eq!(
                receive(&mut transport(expected, 0), expected, 0).0,
                Receipt::Deliver
            );
        }
    }

    #[test]
    fn what_waits_its_turn_may_lie_across_the_wrap() {
        let mut t = transport(0xfffe, 0);
        assert_eq!(receive(&mut t, 0, 0).1.troubles.out_of_order, 1);
        assert_eq!(receive(&mut t, 0xffff, 0).1.troubles.out_of_order, 1);
        assert_eq!(receive(&mut t, 0xfffe, 0).0, Receipt::Deliver);
        assert!(t.next_held(&TunnelConfig::default(), NOW).is_some());
        assert!(t.next_held(&TunnelConfig::default(), NOW).is_some());
        assert_eq!(t.expected, 1);
    }

    #[test]
    fn acknowledgements_may_lie_across_the_wrap() {
        let (config, mut counters, mut out) =
            (TunnelConfig::default(), Counters::default(), Vec::new());
        let mut t = transport(0, 0xfffe);
        t.congestion_window = 4;
        for _ in 0..4 {
            t.send(0, vec![0; 8], 0);
            assert!(t.poll_transmit(1, usize::MAX, &config, NOW, &mut counters, &mut out));
        }
        assert_eq!(t.stats().ns, 2);
        // 0xfffd was acknowledged long ago; 3 was never sent.
        assert_eq!(
            receive(&mut t, 5, 0xfffd).1.troubles.bad_acknowledgements,
            0
        );
        assert_eq!(receive(&mut t, 5, 3).1.troubles.bad_acknowledgements, 1);
        assert_eq!(t.queued(), 4);
        receive(&mut t, 5, 1);
        assert_eq!(t.queued(), 1);
        receive(&mut t, 5, 2);
        assert_eq!(t.queued(), 0);
    }
}
