//! Types and client of the management interface: HTTP and JSON over a Unix socket.
//!
//! Without features this crate is plain types, shared by the engine that fills them and the programs that show them.

mod status;

pub use status::{
    CommandError, ErrorKind, Origin, Role, SessionState, SessionStatus, Statistics, SystemStatus, TransportStatus,
    TunnelPeer, TunnelState, TunnelStatus, UserStatus,
};
