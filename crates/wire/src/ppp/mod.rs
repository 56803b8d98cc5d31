//! The Point-to-Point Protocol: frames, control packets and their options (RFC 1661 and its companions).

pub mod iana;

mod frame;

pub use frame::{ADDRESS_CONTROL, Compression, Frame};
pub use iana::Protocol;
