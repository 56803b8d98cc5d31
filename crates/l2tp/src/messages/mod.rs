//! Control messages: made, taken apart, and their hidden AVPs opened and made (RFC 2661 sections 4 and 6).

mod build;
mod hidden;
mod parse;
mod sccrq;

pub(crate) use build::{Builder, Hiding, stop_ccn};
pub(crate) use hidden::open_hidden;
pub(crate) use parse::{Body, Fault, Parsed, parse, required, required_id};
pub(crate) use sccrq::text;
pub use sccrq::{PeerInfo, Sccrq, SccrqError, assigned_tunnel_id, decode_sccrq, open_sccrq};
