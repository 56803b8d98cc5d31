use serde::{Deserialize, Serialize};
use wire::l2tp::CallErrors;

use crate::{CallEnd, CallInfo, LinkInfo, SessionId, TunnelEnd};

/// What a [`Tunnel`](crate::Tunnel) tells its owner, in the order in which it happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// The control connection is established: the peer answered, and proved who it is where that is demanded.
    Established,
    /// The peer wants a call. Of what kind, and what it said about it, is in [`Tunnel::call`](crate::Tunnel::call). Answer an incoming
    /// one (ICRQ) with [`accept_call`](crate::Tunnel::accept_call), an outgoing one (OCRQ) with
    /// [`accept_outgoing_call`](crate::Tunnel::accept_outgoing_call), either with [`refuse_call`](crate::Tunnel::refuse_call).
    CallRequested {
        /// The call.
        session: SessionId,
    },
    /// The peer takes a call that we placed (ICRP, OCRP), and we know its Session ID. As LAC we say ICCN next, after which it may send data.
    CallAnswered {
        /// The call.
        session: SessionId,
    },
    /// The peer asked for a call in a way that breaks the protocol, and was refused.
    BadRequest,
    /// A call is established, and both ends know: at the LAC, the ICCN or OCCN was acknowledged or data came.
    CallEstablished {
        /// The call.
        session: SessionId,
        /// All that was said about it. The tunnel keeps no copy.
        call: Box<CallInfo>,
    },
    /// The LAC of a call reports what went wrong on its line since it was established (WEN).
    CallErrors {
        /// The call.
        session: SessionId,
        /// The counters.
        errors: CallErrors,
    },
    /// The LNS of a call tells what LCP agreed on (SLI).
    LinkInfo {
        /// The call.
        session: SessionId,
        /// What it told.
        info: LinkInfo,
    },
    /// The LAC of a call tells its present speeds (CSUN of RFC 5515).
    SpeedChanged {
        /// The call.
        session: SessionId,
        /// Bits a second to the remote system.
        tx: u32,
        /// Bits a second from the remote system.
        rx: u32,
    },
    /// A call is over, whoever ended it and whatever its state was.
    CallClosed {
        /// The call.
        session: SessionId,
        /// How it ended.
        reason: CallEnd,
    },
    /// The control connection is over. Each of its calls had its own `CallClosed` before. What is left lingers.
    Closed {
        /// How it ended.
        reason: TunnelEnd,
    },
    /// Nothing is left to do: the tunnel may be forgotten.
    Released,
}
