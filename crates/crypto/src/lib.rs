//! Challenge responses, AVP hiding, CHAP, MS-CHAP and MPPE, and secrets that wipe themselves.
//!
//! Everything here is a function of its arguments: challenges, random vectors and padding are drawn by the caller.

pub mod chap;
pub mod hiding;
pub mod mppe;
pub mod mschapv1;
pub mod mschapv2;
mod nt;
mod secret;

use subtle::ConstantTimeEq;

pub use secret::Secret;

/// Whether `a` and `b` are the same octets, in a time that depends on their lengths only.
pub fn eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}
