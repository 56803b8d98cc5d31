//! PPP without I/O: the automaton of RFC 1661, LCP, authentication, CCP for MPPE, IPCP and IPv6CP.
//!
//! A [`Link`] is one end of one PPP session. Frames go in, frames and [`Event`]s come out; time and randomness are arguments. It
//! asks its owner a few things, which may answer whenever they can: whether a peer's proof is right
//! ([`Event::Authenticate`]), which addresses there are ([`Event::NetworkWanted`]), and whether packets can be encrypted
//! ([`Event::EncryptionWanted`]).

mod auth;
pub mod automaton;
mod ccp;
mod config;
mod echo;
mod event;
mod guide;
mod io;
mod ipcp;
mod ipv6cp;
mod layer;
mod lcp;
mod link;

pub use config::{
    AllowedOptions, AuthProtocol, Credentials, DEFAULT_MRU, Ipv4Config, Ipv6Config, LinkConfig,
    MppeConfig, Negotiation, NetworkConfig,
};
pub use event::{AuthAttempt, Cause, EncryptionCause, End, Event, NetworkCause, Proof, Verdict};
pub use io::{Counters, Timer};
pub use link::{Link, Phase, Status};
