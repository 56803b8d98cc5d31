//! The numbers of PPP: protocols, codes, option types and authentication algorithms, as IANA's PPP registry has them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value of the PPP protocol field (RFC 1661 section 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Protocol(pub u16);

impl Protocol {
    /// Internet Protocol version 4 (RFC 1332).
    pub const IPV4: Self = Self(0x0021);
    /// Van Jacobson compressed TCP/IP (RFC 1332).
    pub const VJ_COMPRESSED: Self = Self(0x002d);
    /// Van Jacobson uncompressed TCP/IP (RFC 1332).
    pub const VJ_UNCOMPRESSED: Self = Self(0x002f);
    /// Multilink (RFC 1990).
    pub const MULTILINK: Self = Self(0x003d);
    /// Internet Protocol version 6 (RFC 5072).
    pub const IPV6: Self = Self(0x0057);
    /// A compressed (or MPPE encrypted) datagram (RFC 1962, RFC 3078).
    pub const COMPRESSED: Self = Self(0x00fd);
    /// Internet Protocol Control Protocol (RFC 1332).
    pub const IPCP: Self = Self(0x8021);
    /// Bridging Control Protocol (RFC 3518).
    pub const BCP: Self = Self(0x8031);
    /// Encryption Control Protocol (RFC 1968).
    pub const ECP: Self = Self(0x8053);
    /// IPv6 Control Protocol (RFC 5072).
    pub const IPV6CP: Self = Self(0x8057);
    /// Compression Control Protocol (RFC 1962).
    pub const CCP: Self = Self(0x80fd);
    /// MPLS Control Protocol (RFC 3032).
    pub const MPLSCP: Self = Self(0x8281);
    /// Link Control Protocol (RFC 1661).
    pub const LCP: Self = Self(0xc021);
    /// Password Authentication Protocol (RFC 1334).
    pub const PAP: Self = Self(0xc023);
    /// Link Quality Report (RFC 1989).
    pub const LQR: Self = Self(0xc025);
    /// Callback Control Protocol (Microsoft).
    pub const CBCP: Self = Self(0xc029);
    /// Bandwidth Allocation Control Protocol (RFC 2125).
    pub const BACP: Self = Self(0xc02b);
    /// Challenge Handshake Authentication Protocol (RFC 1994).
    pub const CHAP: Self = Self(0xc223);
    /// Extensible Authentication Protocol (RFC 3748).
    pub const EAP: Self = Self(0xc227);

    /// Whether frames of it carry a network layer's packets, not control: `0xxx` to `3xxx`.
    pub const fn is_network_layer(self) -> bool {
        self.0 < 0x4000
    }

    /// Whether it is a network control protocol: `8xxx` to `bxxx`.
    pub const fn is_network_control(self) -> bool {
        self.0 & 0xc000 == 0x8000
    }

    /// The usual short name, where it has one.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::IPV4 => "IPv4",
            Self::VJ_COMPRESSED => "VJ compressed TCP",
            Self::VJ_UNCOMPRESSED => "VJ uncompressed TCP",
            Self::MULTILINK => "multilink",
            Self::IPV6 => "IPv6",
            Self::COMPRESSED => "compressed datagram",
            Self::IPCP => "IPCP",
            Self::BCP => "BCP",
            Self::ECP => "ECP",
            Self::IPV6CP => "IPv6CP",
            Self::CCP => "CCP",
            Self::MPLSCP => "MPLSCP",
            Self::LCP => "LCP",
            Self::PAP => "PAP",
            Self::LQR => "LQR",
            Self::CBCP => "CBCP",
            Self::BACP => "BACP",
            Self::CHAP => "CHAP",
            Self::EAP => "EAP",
            _ => return None,
        })
    }
}

impl fmt::Display for Protocol {
    /// The name, or the number in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:04x}", self.0),
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Codes of LCP and of the network control protocols (RFC 1661 section 5; 12 and 13 are RFC 1570's).
pub mod code {
    /// Vendor Specific (RFC 2153).
    pub const VENDOR_SPECIFIC: u8 = 0;
    /// Configure-Request.
    pub const CONFIGURE_REQUEST: u8 = 1;
    /// Configure-Ack.
    pub const CONFIGURE_ACK: u8 = 2;
    /// Configure-Nak.
    pub const CONFIGURE_NAK: u8 = 3;
    /// Configure-Reject.
    pub const CONFIGURE_REJECT: u8 = 4;
    /// Terminate-Request.
    pub const TERMINATE_REQUEST: u8 = 5;
    /// Terminate-Ack.
    pub const TERMINATE_ACK: u8 = 6;
    /// Code-Reject.
    pub const CODE_REJECT: u8 = 7;
    /// Protocol-Reject. LCP only, as are those that follow.
    pub const PROTOCOL_REJECT: u8 = 8;
    /// Echo-Request.
    pub const ECHO_REQUEST: u8 = 9;
    /// Echo-Reply.
    pub const ECHO_REPLY: u8 = 10;
    /// Discard-Request.
    pub const DISCARD_REQUEST: u8 = 11;
    /// Identification.
    pub const IDENTIFICATION: u8 = 12;
    /// Time-Remaining.
    pub const TIME_REMAINING: u8 = 13;
    /// Reset-Request (RFC 1962 section 3). CCP only, as is the next.
    pub const RESET_REQUEST: u8 = 14;
    /// Reset-Ack.
    pub const RESET_ACK: u8 = 15;
}

/// Option types of LCP (RFC 1661 section 6 and the RFCs named).
pub mod lcp_option {
    /// Vendor Specific (RFC 2153).
    pub const VENDOR_SPECIFIC: u8 = 0;
    /// Maximum-Receive-Unit.
    pub const MRU: u8 = 1;
    /// Async-Control-Character-Map (RFC 1662).
    pub const ACCM: u8 = 2;
    /// Authentication-Protocol.
    pub const AUTHENTICATION: u8 = 3;
    /// Quality-Protocol.
    pub const QUALITY: u8 = 4;
    /// Magic-Number.
    pub const MAGIC_NUMBER: u8 = 5;
    /// Protocol-Field-Compression.
    pub const PFC: u8 = 7;
    /// Address-and-Control-Field-Compression.
    pub const ACFC: u8 = 8;
    /// FCS Alternatives (RFC 1570).
    pub const FCS_ALTERNATIVES: u8 = 9;
    /// Callback (RFC 1570).
    pub const CALLBACK: u8 = 13;
    /// Multilink Maximum-Received-Reconstructed-Unit (RFC 1990).
    pub const MRRU: u8 = 17;
    /// Multilink Short-Sequence-Number-Header (RFC 1990).
    pub const SHORT_SEQUENCE: u8 = 18;
    /// Multilink Endpoint-Discriminator (RFC 1990).
    pub const ENDPOINT_DISCRIMINATOR: u8 = 19;
}

/// Option types of IPCP (RFC 1332, RFC 1877).
pub mod ipcp_option {
    /// IP-Addresses, deprecated.
    pub const IP_ADDRESSES: u8 = 1;
    /// IP-Compression-Protocol.
    pub const IP_COMPRESSION: u8 = 2;
    /// IP-Address.
    pub const IP_ADDRESS: u8 = 3;
    /// Primary DNS Server Address.
    pub const PRIMARY_DNS: u8 = 129;
    /// Primary NBNS Server Address.
    pub const PRIMARY_NBNS: u8 = 130;
    /// Secondary DNS Server Address.
    pub const SECONDARY_DNS: u8 = 131;
    /// Secondary NBNS Server Address.
    pub const SECONDARY_NBNS: u8 = 132;
}

/// Option types of IPv6CP (RFC 5072 section 4).
pub mod ipv6cp_option {
    /// Interface-Identifier.
    pub const INTERFACE_IDENTIFIER: u8 = 1;
    /// IPv6-Compression-Protocol (RFC 5172).
    pub const IPV6_COMPRESSION: u8 = 2;
}

/// Option types of CCP (RFC 1962 section 4).
pub mod ccp_option {
    /// Microsoft's compression and encryption (RFC 2118, RFC 3078).
    pub const MPPE: u8 = 18;
}

/// Codes of PAP (RFC 1334 section 2.2).
pub mod pap_code {
    /// Authenticate-Request.
    pub const REQUEST: u8 = 1;
    /// Authenticate-Ack.
    pub const ACK: u8 = 2;
    /// Authenticate-Nak.
    pub const NAK: u8 = 3;
}

/// Codes of CHAP (RFC 1994 section 4).
pub mod chap_code {
    /// Challenge.
    pub const CHALLENGE: u8 = 1;
    /// Response.
    pub const RESPONSE: u8 = 2;
    /// Success.
    pub const SUCCESS: u8 = 3;
    /// Failure.
    pub const FAILURE: u8 = 4;
}

/// Algorithms in CHAP's Authentication-Protocol option.
pub mod chap_algorithm {
    /// CHAP with MD5 (RFC 1994 section 3).
    pub const MD5: u8 = 5;
    /// MS-CHAP (RFC 2433).
    pub const MS_CHAP: u8 = 0x80;
    /// MS-CHAPv2 (RFC 2759).
    pub const MS_CHAP_V2: u8 = 0x81;
}
