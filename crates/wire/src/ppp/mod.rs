//! The Point-to-Point Protocol: frames, control packets and their options (RFC 1661 and its companions).

pub mod iana;

mod ccp;
mod chap;
mod frame;
mod lcp;
mod ncp;
mod packet;
mod pap;

pub use ccp::{CcpOption, MppeBits, MppeHeader};
pub use chap::{
    ChapPacket, ChapValue, MsChapFailure, MsChapV1Failure, MsChapV1Response, MsChapV2Failure,
    MsChapV2Response, MsChapV2Success,
};
pub use frame::{ADDRESS_CONTROL, Compression, Frame};
pub use iana::Protocol;
pub use lcp::{Echo, LcpOption, ProtocolReject};
pub use ncp::{IpcpOption, Ipv6cpOption};
pub use packet::{Options, Packet, RawOption};
pub use pap::PapPacket;
