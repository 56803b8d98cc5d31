use thiserror::Error;

/// A malformed packet: what its octets break, never what a peer may or may not say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
pub enum DecodeError {
    /// The octets end before the thing does.
    #[error("{what} is cut short: {needed} octets needed, {present} present")]
    Truncated {
        /// The field or structure that was being read.
        what: &'static str,
        /// Octets that it needs.
        needed: usize,
        /// Octets that were left.
        present: usize,
    },
    /// A length field that can't be right: shorter than its own header, or longer than what holds it.
    #[error("{what} has the impossible length {length}")]
    BadLength {
        /// The structure whose length it is.
        what: &'static str,
        /// The value of the field.
        length: usize,
    },
    /// A field holds a value that its format does not know.
    #[error("{what} has the value {value}, which its format does not know")]
    BadValue {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u32,
    },
}

/// The caller's buffer has no room for what is to be encoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Error)]
#[error("the buffer is full")]
pub struct BufferFull;
