//! L2TPv2 (RFC 2661): message headers, AVPs and their number registries.
//!
//! A control message is a [`ControlHeader`] and a row of [`Avp`]s, each of which [`Attribute`] gives a type to, or [`AccessLine`] if it is
//! the Broadband Forum's. A data message is a
//! [`DataHeader`] and a PPP frame.

mod access_line;
mod attribute;
mod avp;
mod extension;
mod header;
mod iana;

pub use access_line::{AccessLine, LoopEncapsulation};
pub use attribute::{
    Attribute, BearerTypes, CallErrors, FramingTypes, Q931Cause, ResultCode, TransmissionMaps,
};
pub use avp::{Avp, Avps};
pub use extension::{DisconnectCause, Extension, ModemStatus, SpeedUpdate, VpiVci};
pub use header::{ControlHeader, DataHeader, Header, Sequence, Version};
pub use iana::{
    AccessLineType, AttributeType, CallResult, DisconnectCode, ErrorCode, MessageType,
    ProxyAuthenType, Q931CauseCode, StopResult,
};
