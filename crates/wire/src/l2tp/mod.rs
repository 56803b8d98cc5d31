//! L2TPv2 (RFC 2661): message headers, AVPs and their number registries.
//!
//! A control message is a [`ControlHeader`] and a row of [`Avp`]s, each of which [`Attribute`] gives a type to. A data message is a
//! [`DataHeader`] and a PPP frame.

mod attribute;
mod avp;
mod header;
mod iana;

pub use attribute::{
    Attribute, BearerTypes, CallErrors, FramingTypes, Q931Cause, ResultCode, TransmissionMaps,
};
pub use avp::{Avp, Avps};
pub use header::{ControlHeader, DataHeader, Header, Sequence, Version};
pub use iana::{AttributeType, CallResult, ErrorCode, MessageType, ProxyAuthenType, StopResult};
