//! Codecs of the L2TP and PPP packets, and nothing else: no clock, no I/O, no cryptography.
//!
//! Decoding borrows from the datagram: it never copies, never panics and never allocates by a length that the packet claims.
//! Encoding goes into a caller's buffer through a [`Writer`].

mod error;
pub mod l2tp;
pub mod ppp;
pub mod readable;
mod reader;
mod writer;

pub use error::{BufferFull, DecodeError};
pub use reader::Reader;
pub use writer::Writer;
