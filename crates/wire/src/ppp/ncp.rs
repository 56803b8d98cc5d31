//! Options of the network control protocols.

use std::net::Ipv4Addr;

use super::RawOption;
use super::iana::{ipcp_option, ipv6cp_option};
use crate::{BufferFull, DecodeError, Writer};

/// An option of IPCP (RFC 1332 section 3, RFC 1877 section 1). In a request, 0.0.0.0 asks for a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IpcpOption<'a> {
    /// IP-Address: its sender's own.
    Address(Ipv4Addr),
    /// Primary DNS Server Address that its sender wants to use.
    PrimaryDns(Ipv4Addr),
    /// Primary NBNS (WINS) Server Address that its sender wants to use.
    PrimaryNbns(Ipv4Addr),
    /// Secondary DNS Server Address that its sender wants to use.
    SecondaryDns(Ipv4Addr),
    /// Secondary NBNS (WINS) Server Address that its sender wants to use.
    SecondaryNbns(Ipv4Addr),
    /// Any other option.
    Other(RawOption<'a>),
}

impl<'a> IpcpOption<'a> {
    /// Interprets an option.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BadLength`] when a known option has a wrong length.
    pub fn decode(raw: RawOption<'a>) -> Result<Self, DecodeError> {
        let form: fn(Ipv4Addr) -> Self = match raw.kind {
            ipcp_option::IP_ADDRESS => Self::Address,
            ipcp_option::PRIMARY_DNS => Self::PrimaryDns,
            ipcp_option::PRIMARY_NBNS => Self::PrimaryNbns,
            ipcp_option::SECONDARY_DNS => Self::SecondaryDns,
            ipcp_option::SECONDARY_NBNS => Self::SecondaryNbns,
            _ => return Ok(Self::Other(raw)),
        };
        raw.array::<4>("IPCP address option")
            .map(|octets| form(octets.into()))
    }

    /// Writes the option.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room or the length field can't hold the length.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let (kind, address) = match *self {
            Self::Address(address) => (ipcp_option::IP_ADDRESS, address),
            Self::PrimaryDns(address) => (ipcp_option::PRIMARY_DNS, address),
            Self::PrimaryNbns(address) => (ipcp_option::PRIMARY_NBNS, address),
            Self::SecondaryDns(address) => (ipcp_option::SECONDARY_DNS, address),
            Self::SecondaryNbns(address) => (ipcp_option::SECONDARY_NBNS, address),
            Self::Other(raw) => return raw.encode(w),
        };
        RawOption {
            kind,
            data: &address.octets(),
        }
        .encode(w)
    }
}

/// An option of IPv6CP (RFC 5072 section 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ipv6cpOption<'a> {
    /// Interface-Identifier: its sender's own, the lower half of its link-local address; all zeros ask for one.
    InterfaceIdentifier([u8; 8]),
    /// Any other option.
    Other(RawOption<'a>),
}

impl<'a> Ipv6cpOption<'a> {
    /// Interprets an option.
    ///
    /// # Errors
    ///
    /// [`DecodeError::BadLength`] when a known option has a wrong length.
    pub fn decode(raw: RawOption<'a>) -> Result<Self, DecodeError> {
        match raw.kind {
            ipv6cp_option::INTERFACE_IDENTIFIER => raw
                .array("Interface-Identifier")
                .map(Self::InterfaceIdentifier),
            _ => Ok(Self::Other(raw)),
        }
    }

    /// Writes the option.
    ///
    /// # Errors
    ///
    /// [`BufferFull`] when `w` has no room or the length field can't hold the length.
    pub fn encode(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        match self {
            Self::InterfaceIdentifier(id) => RawOption {
                kind: ipv6cp_option::INTERFACE_IDENTIFIER,
                data: id,
            }
            .encode(w),
            Self::Other(raw) => raw.encode(w),
        }
    }
}
