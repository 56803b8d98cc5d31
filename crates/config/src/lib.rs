//! The object model: every object and parameter declared once, and the grammar of its file.
//!
//! `objects.rs` is the declaration. The typed structs, their accessors, the table that help and manual pages are made
//! from, the text and JSON forms and the checks of the values all come from it, so that they cannot drift.

mod change;
mod check;
mod commands;
mod complete;
mod declare;
mod diagnostic;
mod grammar;
mod include;
mod lexer;
pub mod manual;
mod model;
mod objects;
mod value;
mod words;

pub use change::Loaded;
pub use complete::{Piece, PieceKind, Statement, statements, written};
pub use declare::{Change, Object, Parameter, Parameters, Role, Slot, Touches, Verb};
pub use diagnostic::{ConfigError, Diagnostic, Severity, Span};
pub use grammar::{Argument, Command, command_line, parse_command, quoted};
pub use include::{Find, Source};
pub use model::Model;
pub use objects::{
    IpPool, Listener, PeerProfile, PppProfile, Session, SessionParams, SessionProfile, System,
    Tunnel, TunnelParams, TunnelProfile, User,
};
pub use value::{
    AddressRange, AuthMode, Bearer, ConnectSpeed, Datapath, Framing, Host, InterfaceName, Kind,
    LacLns, Mppe, MppeBits, Netmask, Octets, PppEngine, Program, ProxyAuthType, SecretOctets,
    SessionType, SyncMode, TraceFlags, Value,
};
pub use words::nearest;

/// The name of the profile that is always there and that the others fall back to.
pub const DEFAULT_PROFILE: &str = "default";
/// What stands for a secret wherever people or programs may look.
pub const MASK: &str = "********";
