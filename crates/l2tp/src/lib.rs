//! The L2TP control plane without I/O (RFC 2661): reliable transport, control connections and calls.
//!
//! A [`Tunnel`] is one control connection with its calls. It is driven by five verbs: [`handle_message`](Tunnel::handle_message),
//! [`handle_timeout`](Tunnel::handle_timeout), [`poll_transmit`](Tunnel::poll_transmit), [`poll_event`](Tunnel::poll_event) and
//! [`next_timeout`](Tunnel::next_timeout), and by what its owner decides: calls to place, to accept, to close. Where the peer is and how
//! datagrams get there is its owner's business.
//!
//! ```text
//! transport            numbers, acknowledges, orders and repeats messages (section 5.8, appendix A)
//! messages             makes messages and takes them apart; opens and makes hidden AVPs (sections 4 and 6)
//! control_connection   the tunnel's state machine (section 7.2)
//! call_setup           what the halves of calls have in common
//! lac_incoming_call    the LAC's half of an incoming call (section 7.4.1)
//! lns_incoming_call    the LNS's half (section 7.4.2)
//! lac_outgoing_call    the LAC's half of an outgoing call (section 7.5.1)
//! lns_outgoing_call    the LNS's half (section 7.5.2)
//! unproven             what may be sent to a peer that did not yet show that it gets it
//! ```

mod access_line;
mod call;
mod call_setup;
mod call_status;
mod config;
mod control_connection;
mod counters;
mod diffserv;
mod event;
mod lac_incoming_call;
mod lac_outgoing_call;
mod lns_incoming_call;
mod lns_outgoing_call;
mod messages;
mod reason;
mod transport;
mod tunnel;
mod unproven;

pub use access_line::AccessLine;
pub use call::{Call, CallInfo, CallKind, CallParams, CallState, Refused};
pub use call_status::LinkInfo;
pub use config::TunnelConfig;
pub use counters::{Counters, Datagrams, MessageCounters, Troubles};
pub use diffserv::{dscp, per_hop_behavior};
pub use event::Event;
pub use lac_outgoing_call::Bearer;
pub use messages::{PeerInfo, Sccrq, SccrqError, assigned_tunnel_id, decode_sccrq, open_sccrq};
pub use reason::{
    CallDetails, CallEnd, Disconnect, EndedBy, Ending, PppCause, Q931, Reason, Results, StopReason,
    TunnelEnd,
};
pub use transport::{TransportStats, TransportTimer};
pub use tunnel::{ConnectionTimer, Timer, Tunnel, TunnelState};

/// A Tunnel ID: 16 bits, never 0 once assigned. Ours unless its name says "peer".
pub type TunnelId = u16;

/// A Session ID: 16 bits, never 0 once assigned. Ours unless its name says "peer".
pub type SessionId = u16;
