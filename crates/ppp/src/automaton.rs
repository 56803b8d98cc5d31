//! The option negotiation automaton: the whole table of RFC 1661 section 4.1, and nothing of packets or clocks.

use serde::{Deserialize, Serialize};

use Action::{
    InitializeRestartCount as Irc, LayerDown as Tld, LayerFinished as Tlf, LayerStarted as Tls,
    LayerUp as Tlu, SendAck as Sca, SendCodeReject as Scj, SendEchoReply as Ser,
    SendNakOrReject as Scn, SendRequest as Scr, SendTerminateAck as Sta,
    SendTerminateRequest as Str, ZeroRestartCount as Zrc,
};
use Event as E;
use State::{
    AckReceived, AckSent, Closed, Closing, Initial, Opened, RequestSent, Starting, Stopped,
    Stopping,
};

/// A state of the automaton (RFC 1661 section 4.2), in the order of the table.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub enum State {
    /// The lower layer is down, and nobody asked for more.
    #[default]
    Initial,
    /// The lower layer is down; it is wanted.
    Starting,
    /// The lower layer is up; this layer is not wanted.
    Closed,
    /// This layer is wanted, but was terminated or failed.
    Stopped,
    /// Not wanted any more; a Terminate-Request awaits its answer.
    Closing,
    /// Wanted, but being terminated.
    Stopping,
    /// A Configure-Request awaits its answer.
    RequestSent,
    /// Our Configure-Request was acknowledged, the peer's not yet.
    AckReceived,
    /// The peer's Configure-Request was acknowledged, ours not yet.
    AckSent,
    /// Both were acknowledged.
    Opened,
}

/// What happens to the automaton (RFC 1661 section 4.3), in the order of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The lower layer is up.
    Up,
    /// The lower layer is down.
    Down,
    /// This layer is wanted.
    Open,
    /// This layer is not wanted any more.
    Close,
    /// TO+: the restart timer expired, and the counter is above zero.
    TimeoutRetry,
    /// TO-: the restart timer expired, and the counter is zero.
    TimeoutLast,
    /// RCR+: a Configure-Request that is acceptable.
    RequestGood,
    /// RCR-: a Configure-Request that is not.
    RequestBad,
    /// RCA: a Configure-Ack.
    Ack,
    /// RCN: a Configure-Nak or Configure-Reject.
    NakOrReject,
    /// RTR: a Terminate-Request.
    TerminateRequest,
    /// RTA: a Terminate-Ack.
    TerminateAck,
    /// RUC: an unknown code.
    UnknownCode,
    /// RXJ+: a Code-Reject or Protocol-Reject that one can live with.
    RejectTolerable,
    /// RXJ-: a Code-Reject or Protocol-Reject that leaves nothing to do.
    RejectFatal,
    /// RXR: an Echo-Request, Echo-Reply or Discard-Request.
    Echo,
}

/// What the automaton wants done (RFC 1661 section 4.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// tlu: tell the layers above that this one is open.
    LayerUp,
    /// tld: tell them that it is not any more.
    LayerDown,
    /// tls: tell the layer below that it is needed.
    LayerStarted,
    /// tlf: tell it that it is not needed any more.
    LayerFinished,
    /// irc: set the restart counter to its full value.
    InitializeRestartCount,
    /// zrc: set it to zero, and start the timer once.
    ZeroRestartCount,
    /// scr: send a Configure-Request.
    SendRequest,
    /// sca: send a Configure-Ack.
    SendAck,
    /// scn: send a Configure-Nak or Configure-Reject.
    SendNakOrReject,
    /// str: send a Terminate-Request.
    SendTerminateRequest,
    /// sta: send a Terminate-Ack.
    SendTerminateAck,
    /// scj: send a Code-Reject.
    SendCodeReject,
    /// ser: send an Echo-Reply.
    SendEchoReply,
}

impl State {
    /// Every state, in the order of the table's columns.
    pub const ALL: [Self; 10] = [
        Self::Initial,
        Self::Starting,
        Self::Closed,
        Self::Stopped,
        Self::Closing,
        Self::Stopping,
        Self::RequestSent,
        Self::AckReceived,
        Self::AckSent,
        Self::Opened,
    ];

    /// Whether the restart timer runs: the states that know timeouts.
    pub const fn is_timed(self) -> bool {
        matches!(
            self,
            Self::Closing | Self::Stopping | Self::RequestSent | Self::AckReceived | Self::AckSent
        )
    }

    /// Whether options are being negotiated.
    pub const fn is_negotiating(self) -> bool {
        matches!(self, Self::RequestSent | Self::AckReceived | Self::AckSent)
    }
}

impl Event {
    /// Every event, in the order of the table's rows.
    pub const ALL: [Self; 16] = [
        Self::Up,
        Self::Down,
        Self::Open,
        Self::Close,
        Self::TimeoutRetry,
        Self::TimeoutLast,
        Self::RequestGood,
        Self::RequestBad,
        Self::Ack,
        Self::NakOrReject,
        Self::TerminateRequest,
        Self::TerminateAck,
        Self::UnknownCode,
        Self::RejectTolerable,
        Self::RejectFatal,
        Self::Echo,
    ];
}

/// What `event` does in `state`: the actions in order and the next state; `None` where the table has a dash, because the event
/// can't happen there.
///
/// The restart and passive options of the table's footnotes are not taken.
pub const fn transition(state: State, event: Event) -> Option<(&'static [Action], State)> {
    if matches!(
        event,
        Event::Up
            | Event::Down
            | Event::Open
            | Event::Close
            | Event::TimeoutRetry
            | Event::TimeoutLast
    ) {
        commanded(state, event)
    } else if matches!(state, State::Initial | State::Starting) {
        // With the lower layer down there are no packets.
        None
    } else {
        received(state, event)
    }
}

/// The rows of the table that are not about packets.
const fn commanded(state: State, event: Event) -> Option<(&'static [Action], State)> {
    let (actions, next): (&[Action], State) = match (event, state) {
        (E::Up, Initial) => (&[], Closed),
        (E::Up, Starting) => (&[Irc, Scr], RequestSent),

        (E::Down, Closed | Closing) => (&[], Initial),
        (E::Down, Stopped) => (&[Tls], Starting),
        (E::Down, Stopping | RequestSent | AckReceived | AckSent) => (&[], Starting),
        (E::Down, Opened) => (&[Tld], Starting),

        (E::Open, Initial) => (&[Tls], Starting),
        (E::Open, Closed) => (&[Irc, Scr], RequestSent),
        (E::Open, Closing) => (&[], Stopping),
        (E::Open, _) => (&[], state),

        (E::Close, Starting) => (&[Tlf], Initial),
        (E::Close, Stopped) => (&[], Closed),
        (E::Close, Stopping) => (&[], Closing),
        (E::Close, RequestSent | AckReceived | AckSent) => (&[Irc, Str], Closing),
        (E::Close, Opened) => (&[Tld, Irc, Str], Closing),
        (E::Close, Initial | Closed | Closing) => (&[], state),

        (E::TimeoutRetry, Closing | Stopping) => (&[Str], state),
        (E::TimeoutRetry, RequestSent | AckReceived) => (&[Scr], RequestSent),
        (E::TimeoutRetry, AckSent) => (&[Scr], AckSent),
        (E::TimeoutLast, Closing) => (&[Tlf], Closed),
        (E::TimeoutLast, Stopping | RequestSent | AckReceived | AckSent) => (&[Tlf], Stopped),

        _ => return None,
    };
    Some((actions, next))
}

/// The rows about packets, for the states that have a lower layer.
const fn received(state: State, event: Event) -> Option<(&'static [Action], State)> {
    let (actions, next): (&[Action], State) = match (event, state) {
        (E::RequestGood | E::RequestBad | E::Ack | E::NakOrReject, Closed) => (&[Sta], Closed),
        (E::RequestGood | E::RequestBad | E::Ack | E::NakOrReject, Closing | Stopping) => {
            (&[], state)
        }

        (E::RequestGood, Stopped) => (&[Irc, Scr, Sca], AckSent),
        (E::RequestGood, RequestSent | AckSent) => (&[Sca], AckSent),
        (E::RequestGood, AckReceived) => (&[Sca, Tlu], Opened),
        (E::RequestGood, Opened) => (&[Tld, Scr, Sca], AckSent),

        (E::RequestBad, Stopped) => (&[Irc, Scr, Scn], RequestSent),
        (E::RequestBad, RequestSent | AckSent) => (&[Scn], RequestSent),
        (E::RequestBad, AckReceived) => (&[Scn], AckReceived),
        (E::RequestBad, Opened) => (&[Tld, Scr, Scn], RequestSent),

        (E::Ack | E::NakOrReject, Stopped) => (&[Sta], Stopped),
        (E::Ack, RequestSent) => (&[Irc], AckReceived),
        (E::Ack, AckSent) => (&[Irc, Tlu], Opened),
        (E::NakOrReject, RequestSent) => (&[Irc, Scr], RequestSent),
        (E::NakOrReject, AckSent) => (&[Irc, Scr], AckSent),
        (E::Ack | E::NakOrReject, AckReceived) => (&[Scr], RequestSent),
        (E::Ack | E::NakOrReject, Opened) => (&[Tld, Scr], RequestSent),

        (E::TerminateRequest, Closed | Stopped | Closing | Stopping) => (&[Sta], state),
        (E::TerminateRequest, RequestSent | AckReceived | AckSent) => (&[Sta], RequestSent),
        (E::TerminateRequest, Opened) => (&[Tld, Zrc, Sta], Stopping),

        (E::TerminateAck, Closed | Stopped | RequestSent | AckSent) => (&[], state),
        (E::TerminateAck, Closing) => (&[Tlf], Closed),
        (E::TerminateAck, Stopping) => (&[Tlf], Stopped),
        (E::TerminateAck, AckReceived) => (&[], RequestSent),
        (E::TerminateAck, Opened) => (&[Tld, Scr], RequestSent),

        (E::UnknownCode, _) => (&[Scj], state),

        (E::RejectTolerable, AckReceived) => (&[], RequestSent),
        (E::RejectTolerable, _) => (&[], state),
        (E::RejectFatal, Closed | Closing) => (&[Tlf], Closed),
        (E::RejectFatal, Stopped | Stopping | RequestSent | AckReceived | AckSent) => {
            (&[Tlf], Stopped)
        }
        (E::RejectFatal, Opened) => (&[Tld, Irc, Str], Stopping),

        (E::Echo, Opened) => (&[Ser], Opened),
        (E::Echo, _) => (&[], state),

        _ => return None,
    };
    Some((actions, next))
}
