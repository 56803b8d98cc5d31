//! What LCP, CCP, IPCP and IPv6CP have in common: the automaton's actions and events as packets (RFC 1661 sections 4 and 5).

use std::time::Duration;

use sansio::Rng;
use serde::{Deserialize, Serialize};
use wire::ppp::iana::code;
use wire::ppp::{Packet, Protocol, RawOption};
use wire::{BufferFull, Writer};

use crate::automaton::{Action, Event, State, transition};
use crate::io::{Context, Timer};
use crate::{LinkConfig, Negotiation};

/// The options of one control protocol: what we ask for, and what we think of what the peer asks for.
pub(crate) trait Options {
    /// Its protocol number.
    const PROTOCOL: Protocol;
    /// Its restart timer.
    const TIMER: Timer;
    /// Whether our request goes out again before its time, where the peer may not have heard it.
    const REPEATS_EARLY: bool = true;
    /// Whether a request in the open layer begins its negotiation anew, unless it is a retransmission (RFC 1661 section 4.4).
    const BEGINS_ANEW: bool = true;
    /// What one Configure-Request of the peer asks for; what it does not name has its default.
    type Asked: Default;

    /// Its counters.
    fn negotiation(config: &LinkConfig) -> &Negotiation;

    /// Forgets what was negotiated for our direction: the next Configure-Request is a first one.
    fn reset(&mut self, config: &LinkConfig, rng: &mut dyn Rng);

    /// Writes the options of our Configure-Request. The same until a Nak or a Reject changes something.
    fn request(&self, w: &mut Writer<'_>) -> Result<(), BufferFull>;

    /// Judges one option of the peer's. With [`Opinion::Nak`], a better one was written to `naks`.
    fn consider(
        &mut self,
        option: RawOption<'_>,
        asked: &mut Self::Asked,
        naks: &mut Writer<'_>,
        config: &LinkConfig,
        rng: &mut dyn Rng,
    ) -> Result<Opinion, BufferFull>;

    /// Writes to `naks` what the peer should have asked for and did not.
    fn missing(
        &mut self,
        _asked: &Self::Asked,
        _naks: &mut Writer<'_>,
        _rng: &mut dyn Rng,
    ) -> Result<(), BufferFull> {
        Ok(())
    }

    /// The peer's request, of these options, is acknowledged.
    fn agreed(&mut self, asked: Self::Asked, request: &[u8]);

    /// The peer would rather have this option of ours like so.
    fn naked(
        &mut self,
        option: RawOption<'_>,
        config: &LinkConfig,
        rng: &mut dyn Rng,
    ) -> Result<(), Stuck>;

    /// The peer will not negotiate this option of ours.
    fn rejected(&mut self, kind: u8) -> Result<(), Stuck>;
}

/// What we think of an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opinion {
    Ack,
    Nak,
    Reject,
}

/// No agreement is possible any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stuck;

/// What a layer tells the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// This-Layer-Up.
    Up,
    /// This-Layer-Down.
    Down,
    /// This-Layer-Finished.
    Finished,
    /// No agreement is possible; the layer is as it was.
    Stuck,
}

/// A control protocol with its automaton.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Layer<P> {
    state: State,
    /// The restart counter.
    restarts: u8,
    /// The last identifier that we used.
    identifier: u8,
    /// The identifier of our Configure-Request.
    request: u8,
    /// It was answered: another answer is a duplicate, and the next request is a new one.
    answered: bool,
    /// Naks and Rejects sent since the last Ack.
    refusals_sent: u8,
    /// Naks and Rejects received since the negotiation began.
    refusals_received: u8,
    /// The last request of the peer that we acknowledged.
    acknowledged: Request,
    /// The last one that we did not.
    refused: Request,
    /// How often it came again since.
    repetitions: u8,
    /// The protocol's own part.
    pub(crate) options: P,
}

/// What tells a Configure-Request from another: its identifier, and a checksum of its options in the other 24 bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
struct Request(u32);

/// What the actions of a transition answer to.
#[derive(Clone, Copy)]
enum Answer<'a> {
    /// Nothing: no packet caused it.
    None,
    /// The answer to a Configure-Request.
    Configure(Packet<'a>),
    /// This packet.
    To(&'a Packet<'a>),
}

/// A Configure-Request of the opened link that comes again this often is a retransmission, whose Ack was lost; after that the
/// peer truly begins anew.
const MAX_REPETITIONS: u8 = 2;

/// Naks and Rejects of one negotiation that we follow.
const MAX_REFUSALS: u8 = 10;

/// Octets of options that one Nak or Reject holds; any single option fits. What else there is to refuse is refused the next time.
const REFUSAL_ROOM: usize = 256;

/// More octets than the options of a request of ours ever take.
pub(crate) const REQUEST_ROOM: usize = 128;

/// When the peer's request comes this long after ours, which it has not answered, ours may have come before the peer listened: a pppd takes
/// at least so long to start. On a path that is as long itself it costs one packet more.
const TOO_EARLY: Duration = Duration::from_millis(20);

impl<P: Options> Layer<P> {
    pub(crate) fn new(options: P, rng: &mut dyn Rng) -> Self {
        let [identifier, ..] = rng.next_u32().to_be_bytes();
        Self {
            state: State::Initial,
            restarts: 0,
            identifier,
            request: 0,
            answered: true,
            refusals_sent: 0,
            refusals_received: 0,
            acknowledged: Request::default(),
            refused: Request::default(),
            repetitions: 0,
            options,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Opened
    }

    /// An identifier for a packet of ours.
    pub(crate) fn next_identifier(&mut self) -> u8 {
        self.identifier = self.identifier.wrapping_add(1);
        self.identifier
    }

    /// An event that is not a packet.
    pub(crate) fn event(&mut self, event: Event, cx: &mut Context<'_>) -> Option<Signal> {
        self.step(event, Answer::None, cx)
    }

    /// The restart timer fired.
    pub(crate) fn timeout(&mut self, cx: &mut Context<'_>) -> Option<Signal> {
        if !self.state.is_timed() {
            return None;
        }
        let event = if self.restarts > 0 {
            Event::TimeoutRetry
        } else {
            Event::TimeoutLast
        };
        self.step(event, Answer::None, cx)
    }

    /// A packet of a code that all control protocols have; any other is unknown.
    pub(crate) fn packet(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Option<Signal> {
        let event = match packet.code {
            code::CONFIGURE_REQUEST => return self.configure_request(packet, cx),
            code::CONFIGURE_ACK => return self.configure_ack(packet, cx),
            code::CONFIGURE_NAK | code::CONFIGURE_REJECT => return self.refusal(packet, cx),
            code::TERMINATE_REQUEST => Event::TerminateRequest,
            code::TERMINATE_ACK => Event::TerminateAck,
            code::CODE_REJECT => match packet.data.first() {
                // Without these there is no negotiation.
                Some(&(code::CONFIGURE_REQUEST..=code::CODE_REJECT)) => Event::RejectFatal,
                Some(_) => Event::RejectTolerable,
                None => {
                    cx.io.counters.malformed += 1;
                    return None;
                }
            },
            _ => Event::UnknownCode,
        };
        self.step(event, Answer::To(packet), cx)
    }

    fn configure_request(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Option<Signal> {
        let answers =
            self.state.is_negotiating() || matches!(self.state, State::Stopped | State::Opened);
        if !answers {
            return self.step(Event::RequestGood, Answer::To(packet), cx);
        }
        let request = Request::of(packet);
        if self.is_stale(request) {
            cx.io.counters.discarded += 1;
            return None;
        }
        if self.is_open() && self.is_again(request) {
            self.repetitions = self.repetitions.saturating_add(1);
            send::<P>(
                Packet {
                    code: code::CONFIGURE_ACK,
                    ..*packet
                },
                cx,
            );
            return None;
        }
        if self.came_too_early(cx) {
            self.step(Event::TimeoutRetry, Answer::None, cx);
        }
        let mut room = [[0; REFUSAL_ROOM]; 2];
        let [naks, rejects] = &mut room;
        let (mut naks, mut rejects) = (Writer::new(naks), Writer::new(rejects));
        let mut asked = P::Asked::default();
        if !self.judge(packet, &mut asked, &mut naks, &mut rejects, cx) {
            cx.io.counters.malformed += 1;
            return None;
        }
        let (code, data) = if !rejects.is_empty() {
            (code::CONFIGURE_REJECT, rejects.written())
        } else if !naks.is_empty() {
            (code::CONFIGURE_NAK, naks.written())
        } else {
            (code::CONFIGURE_ACK, packet.data)
        };
        let answer = Answer::Configure(Packet {
            code,
            identifier: packet.identifier,
            data,
        });
        if code == code::CONFIGURE_ACK {
            let signal = self.step(Event::RequestGood, answer, cx);
            self.options.agreed(asked, packet.data);
            (self.acknowledged, self.repetitions, self.refusals_sent) = (request, 0, 0);
            return signal;
        }
        self.refused = request;
        let signal = self.step(Event::RequestBad, answer, cx);
        self.refusals_sent = self.refusals_sent.saturating_add(1);
        let most = P::negotiation(cx.config).max_failure;
        // A peer that asks again and again for what was even rejected will not stop on its own.
        if self.refusals_sent > most.saturating_mul(2).saturating_add(5) {
            return Some(Signal::Stuck);
        }
        signal
    }

    /// Whether this is a request that was answered already.
    pub(crate) fn is_late(&self, packet: &Packet<'_>) -> bool {
        let request = Request::of(packet);
        request == self.acknowledged || self.is_stale(request)
    }

    /// Whether a request in the open layer asks for what stands already.
    fn is_again(&self, request: Request) -> bool {
        if P::BEGINS_ANEW {
            request == self.acknowledged && self.repetitions < MAX_REPETITIONS
        } else {
            request.options() == self.acknowledged.options()
        }
    }

    /// Whether a request was overtaken by another that is acknowledged.
    fn is_stale(&self, request: Request) -> bool {
        let has_better = matches!(self.state, State::AckSent | State::Opened);
        !P::BEGINS_ANEW && has_better && request == self.refused
    }

    /// Whether to send our request again at once rather than when the restart timer fires: a peer that now speaks for the first time, as a
    /// kernel does once its PPP unit exists, has not heard it. Before our answer to its request, that is, as an open peer would begin anew.
    fn came_too_early(&self, cx: &Context<'_>) -> bool {
        let restart = P::negotiation(cx.config).restart;
        let deadline = cx.io.deadlines.get(P::TIMER);
        P::REPEATS_EARLY
            && self.state == State::RequestSent
            && !self.answered
            && self.restarts > 0
            && deadline.is_some_and(|at| cx.now + restart >= at + TOO_EARLY)
    }

    /// Sorts the options of a request; false when they can't be read.
    fn judge(
        &mut self,
        packet: &Packet<'_>,
        asked: &mut P::Asked,
        naks: &mut Writer<'_>,
        rejects: &mut Writer<'_>,
        cx: &mut Context<'_>,
    ) -> bool {
        if packet.options().any(|option| option.is_err()) {
            return false;
        }
        let converging = self.refusals_sent < P::negotiation(cx.config).max_failure;
        for option in packet.options().flatten() {
            let opinion = self
                .options
                .consider(option, asked, naks, cx.config, cx.rng);
            // What there is no room to refuse now is refused the next time.
            let _: Result<(), BufferFull> = match opinion {
                Ok(Opinion::Ack) => Ok(()),
                Ok(Opinion::Nak) if converging => Ok(()),
                Ok(Opinion::Nak | Opinion::Reject) => option.encode(rejects),
                Err(full) => Err(full),
            };
        }
        if converging {
            let _: Result<(), BufferFull> = self.options.missing(asked, naks, cx.rng);
        }
        true
    }

    /// Whether a packet answers our last Configure-Request, for the first time.
    fn answers_request(&self, packet: &Packet<'_>) -> bool {
        packet.identifier == self.request && !self.answered
    }

    fn configure_ack(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Option<Signal> {
        let mut room = [0; REQUEST_ROOM];
        let mut w = Writer::new(&mut room);
        let exact = self.options.request(&mut w).is_ok() && w.written() == packet.data;
        if !self.answers_request(packet) || !exact {
            cx.io.counters.discarded += 1;
            return None;
        }
        self.answered = true;
        self.step(Event::Ack, Answer::To(packet), cx)
    }

    /// A Configure-Nak or Configure-Reject.
    fn refusal(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Option<Signal> {
        if !self.answers_request(packet) || packet.options().any(|option| option.is_err()) {
            cx.io.counters.discarded += 1;
            return None;
        }
        self.answered = true;
        for option in packet.options().flatten() {
            let changed = match packet.code {
                code::CONFIGURE_NAK => self.options.naked(option, cx.config, cx.rng),
                _ => self.options.rejected(option.kind),
            };
            if let Err(Stuck) = changed {
                return Some(Signal::Stuck);
            }
        }
        self.refusals_received = self.refusals_received.saturating_add(1);
        if self.refusals_received > MAX_REFUSALS {
            return Some(Signal::Stuck);
        }
        self.step(Event::NakOrReject, Answer::To(packet), cx)
    }

    /// Takes one step of the automaton and does what it wants done.
    fn step(&mut self, event: Event, answer: Answer<'_>, cx: &mut Context<'_>) -> Option<Signal> {
        let (actions, next) = transition(self.state, event)?;
        if next.is_negotiating() && !self.state.is_negotiating() {
            self.options.reset(cx.config, cx.rng);
            (self.answered, self.refusals_sent, self.refusals_received) = (true, 0, 0);
        }
        self.state = next;
        let mut signal = None;
        for &action in actions {
            match action {
                Action::LayerUp => signal = Some(Signal::Up),
                Action::LayerDown => signal = Some(Signal::Down),
                Action::LayerFinished => signal = Some(Signal::Finished),
                _ => self.act(action, actions, answer, cx),
            }
        }
        if !next.is_timed() {
            cx.io.deadlines.clear(P::TIMER);
        }
        signal
    }

    /// Does what the automaton wants done, but for its signals, which go to the caller, and echoes, which are the link's.
    fn act(
        &mut self,
        action: Action,
        actions: &[Action],
        answer: Answer<'_>,
        cx: &mut Context<'_>,
    ) {
        let Negotiation {
            max_configure,
            max_terminate,
            restart,
            ..
        } = *P::negotiation(cx.config);
        match (action, answer) {
            (Action::InitializeRestartCount, _) => {
                let terminates = actions.contains(&Action::SendTerminateRequest);
                self.restarts = if terminates {
                    max_terminate
                } else {
                    max_configure
                };
            }
            (Action::ZeroRestartCount, _) => {
                self.restarts = 0;
                cx.io.deadlines.set(P::TIMER, cx.now + restart);
            }
            (Action::SendRequest, _) => self.send_request(restart, cx),
            (Action::SendTerminateRequest, _) => {
                let (identifier, data) = (self.next_identifier(), cx.farewell.as_bytes());
                send::<P>(
                    Packet {
                        code: code::TERMINATE_REQUEST,
                        identifier,
                        data,
                    },
                    cx,
                );
                self.start_timer(restart, cx);
            }
            (Action::SendAck | Action::SendNakOrReject, Answer::Configure(packet)) => {
                send::<P>(packet, cx);
            }
            (Action::SendTerminateAck, Answer::To(&Packet { identifier, .. })) => {
                send::<P>(
                    Packet {
                        code: code::TERMINATE_ACK,
                        identifier,
                        data: &[],
                    },
                    cx,
                );
            }
            (Action::SendCodeReject, Answer::To(packet)) => self.reject_code(packet, cx),
            _ => {}
        }
    }

    fn send_request(&mut self, restart: Duration, cx: &mut Context<'_>) {
        if self.answered {
            self.request = self.next_identifier();
            self.answered = false;
        }
        let (identifier, options) = (self.request, &self.options);
        cx.io.send(P::PROTOCOL, |w| {
            let write = |w: &mut Writer<'_>| options.request(w);
            Packet::encode_with(code::CONFIGURE_REQUEST, identifier, w, write)
        });
        self.start_timer(restart, cx);
    }

    /// Starts the restart timer for a request that was just sent.
    fn start_timer(&mut self, period: Duration, cx: &mut Context<'_>) {
        self.restarts = self.restarts.saturating_sub(1);
        cx.io.deadlines.set(P::TIMER, cx.now + period);
    }

    fn reject_code(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) {
        let identifier = self.next_identifier();
        // The rejected packet is cut to what the peer receives.
        let room = cx.io.out.mtu().saturating_sub(2 * Packet::HEADER);
        let data = &packet.data[..packet.data.len().min(room)];
        cx.io.counters.code_rejects += 1;
        cx.io.send(P::PROTOCOL, |w| {
            Packet::encode_with(code::CODE_REJECT, identifier, w, |w| {
                w.u8(packet.code)?;
                w.u8(packet.identifier)?;
                w.u16(u16::try_from(packet.data.len() + Packet::HEADER).map_err(|_| BufferFull)?)?;
                w.bytes(data)
            })
        });
    }
}

fn send<P: Options>(packet: Packet<'_>, cx: &mut Context<'_>) {
    cx.io.send(P::PROTOCOL, |w| packet.encode(w));
}

impl Request {
    fn of(packet: &Packet<'_>) -> Self {
        // FNV-1a: it need not withstand anyone.
        let sum = packet.data.iter().fold(0x811c_9dc5_u32, |sum, &b| {
            (sum ^ u32::from(b)).wrapping_mul(0x0100_0193)
        });
        Self(u32::from(packet.identifier) << 24 | (sum ^ sum >> 24) & 0x00ff_ffff)
    }

    const fn options(self) -> u32 {
        self.0 & 0x00ff_ffff
    }
}
