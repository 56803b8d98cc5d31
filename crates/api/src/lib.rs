//! Types and client of the management interface: HTTP and JSON over a Unix socket.
//!
//! Without features this crate is plain types, shared by the engine that fills them and the programs that show them.
//! A [`Request`] is what can be asked; the client (feature `client`) and the routes (feature `server`) turn it into
//! HTTP and back. A refusal is a [`CommandError`] as JSON, with a status that fits its kind.

mod capture;
#[cfg(feature = "client")]
mod client;
mod event;
pub mod ladder;
mod list;
mod reload;
mod request;
mod schema;
mod selector;
#[cfg(feature = "server")]
pub mod server;
mod status;
mod trace;

pub use capture::CapturedPacket;
#[cfg(feature = "client")]
pub use client::{Client, ClientError, Followed};
pub use event::{Event, EventFilter, EventRecord};
#[cfg(feature = "client")]
pub use hyper::Method;
pub use list::{Cursor, LARGEST_PAGE, Page, Range, SessionFilter, TunnelFilter, UserFilter};
pub use reload::{Few, ReloadReport};
pub use request::{Collection, MetricsFormat, Opened, Parameters, Request, Response};
pub use selector::Selector;
pub use status::{
    CallStatus, CommandError, DatapathStatus, EndReason, EnginePart, EngineStatus, ErrorKind,
    LineErrors, LineStatus, Origin, PeerStatus, PppDisconnect, Q931Disconnect, Role, SessionState,
    SessionStatus, SessionTraffic, Statistics, SystemStatus, TransportStatus, TunnelPeer,
    TunnelState, TunnelStatus, TunnelTraffic, UserStatus,
};
pub use trace::{Direction, TraceAvp, TraceEvent, TraceHeader, TraceOf, TracePpp, TraceRequest};
