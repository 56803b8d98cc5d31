use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use crypto::Secret;
use crypto::mppe::KeyLength;
use serde::{Deserialize, Serialize};
use wire::ppp::Protocol;
use wire::ppp::iana::chap_algorithm;

/// How a link negotiates, authenticates and is watched. Shared by all links of a profile.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LinkConfig {
    /// The largest payload of a frame that we want to receive, in octets; asked of the peer when it is not 1500.
    pub mru: u16,
    /// The characters that we want the peer to escape (RFC 1662 section 7.1); not asked for when absent, which means all.
    pub accm: Option<u32>,
    /// Ask the peer for compressed protocol fields (RFC 1661 section 6.5). They are received without, too.
    pub pfc: bool,
    /// Ask the peer for frames without address and control fields (RFC 1661 section 6.6). They are received without, too.
    pub acfc: bool,
    /// What the peer's line allows to agree to; everything when absent.
    pub allowed: Option<AllowedOptions>,
    /// LCP's counters and timer.
    pub lcp: Negotiation,
    /// IPCP's.
    pub ipcp: Negotiation,
    /// IPv6CP's.
    pub ipv6cp: Negotiation,
    /// CCP's.
    pub ccp: Negotiation,
    /// Whether and how packets are encrypted; never when absent, and then CCP is rejected.
    pub mppe: Option<MppeConfig>,
    /// How often an LCP Echo-Request goes out once LCP is open; never when absent.
    pub echo_interval: Option<Duration>,
    /// The link ends when this many Echo-Requests in a row had no answer; 0 never ends it.
    pub echo_failures: u32,
    /// What the peer must authenticate itself by: any one of these, asked for in this order. Empty: it need not.
    pub require_auth: Vec<AuthProtocol>,
    /// What we authenticate ourselves by when the peer demands it and we have credentials, the preferred one first.
    pub accept_auth: Vec<AuthProtocol>,
    /// Our name in the challenges that we send.
    pub local_name: String,
    /// How often the peer is challenged again while the link is up; never when absent. PAP knows no second time.
    pub chap_interval: Option<Duration>,
    /// How often a challenge or a response is sent without an answer before authentication fails; at least 1.
    pub chap_max_challenge: u8,
    /// How long an answer to a challenge or a response is waited for.
    pub chap_restart: Duration,
    /// How often an Authenticate-Request is sent without an answer before authentication fails; at least 1.
    pub pap_max_requests: u8,
    /// How long an answer to an Authenticate-Request is waited for.
    pub pap_restart: Duration,
    /// How long the peer's first Authenticate-Request is waited for; for ever when absent.
    pub pap_timeout: Option<Duration>,
    /// How long authentication may take in all, both ways, with the verdict on the peer; for ever when absent.
    pub auth_timeout: Option<Duration>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            mru: DEFAULT_MRU,
            accm: None,
            pfc: false,
            acfc: false,
            allowed: None,
            lcp: Negotiation::default(),
            ipcp: Negotiation::default(),
            ipv6cp: Negotiation::default(),
            ccp: Negotiation::default(),
            mppe: None,
            echo_interval: None,
            echo_failures: 5,
            require_auth: Vec::new(),
            accept_auth: AuthProtocol::USUAL.to_vec(),
            local_name: String::new(),
            chap_interval: None,
            chap_max_challenge: 10,
            chap_restart: Duration::from_secs(3),
            pap_max_requests: 10,
            pap_restart: Duration::from_secs(3),
            pap_timeout: Some(Duration::from_secs(30)),
            auth_timeout: Some(Duration::from_secs(60)),
        }
    }
}

/// Of the LCP options that concern the peer's line those that may be agreed to, when the peer asks for them (RFC 3437 section 2.2). Others,
/// like authentication and magic numbers, are no business of the line's.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct AllowedOptions {
    /// The highest MRU, in octets; none may be agreed on when absent.
    pub mru: Option<u16>,
    /// The characters that may be escaped; no map may be agreed on when absent.
    pub accm: Option<u32>,
    /// Compressed protocol fields.
    pub pfc: bool,
    /// Frames without address and control fields.
    pub acfc: bool,
}

/// Microsoft's encryption of packets (RFC 3078), whose keys MS-CHAP gives.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MppeConfig {
    /// A link whose packets are not encrypted ends.
    pub required: bool,
    /// How long the keys may be; the longest that both ends have is taken.
    pub lengths: Vec<KeyLength>,
    /// Ask for stateful mode, and take the other from a peer that insists. It costs less, and a lost packet costs those of a round trip.
    pub stateful: bool,
}

/// The MRU of a link that negotiates none (RFC 1661 section 6.1).
pub const DEFAULT_MRU: u16 = 1500;

/// The counters and the timer of one control protocol (RFC 1661 section 4.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Negotiation {
    /// Max-Configure: Configure-Requests without an answer before giving up; at least 1.
    pub max_configure: u8,
    /// Max-Terminate: Terminate-Requests without an answer before giving up; at least 1.
    pub max_terminate: u8,
    /// Max-Failure: Configure-Naks without agreement before they become Configure-Rejects.
    pub max_failure: u8,
    /// The restart timer's period.
    pub restart: Duration,
}

impl Default for Negotiation {
    fn default() -> Self {
        Self {
            max_configure: 10,
            max_terminate: 3,
            max_failure: 10,
            restart: Duration::from_secs(3),
        }
    }
}

/// An authentication protocol that we speak, on either side.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum AuthProtocol {
    /// CHAP with MS-CHAPv2 (RFC 2759).
    MsChapV2,
    /// CHAP with MD5 (RFC 1994).
    ChapMd5,
    /// CHAP with MS-CHAPv1 (RFC 2433), which is broken: whoever hears it learns the password's hash with little work.
    MsChapV1,
    /// PAP (RFC 1334): the password in clear.
    Pap,
}

impl AuthProtocol {
    /// Every protocol, the strongest first.
    pub const ALL: [Self; 4] = [Self::MsChapV2, Self::ChapMd5, Self::MsChapV1, Self::Pap];

    /// Those that may be used without anybody having asked for them by name: not MS-CHAPv1, which looks safer than it is.
    pub const USUAL: [Self; 3] = [Self::MsChapV2, Self::ChapMd5, Self::Pap];

    /// Whether it gives keys for MPPE (RFC 3079).
    pub const fn gives_keys(self) -> bool {
        matches!(self, Self::MsChapV2 | Self::MsChapV1)
    }

    /// The data of its Authentication-Protocol option: protocol number, and CHAP's algorithm.
    pub(crate) const fn option(self) -> (Protocol, &'static [u8]) {
        match self {
            Self::Pap => (Protocol::PAP, &[]),
            Self::ChapMd5 => (Protocol::CHAP, &[chap_algorithm::MD5]),
            Self::MsChapV1 => (Protocol::CHAP, &[chap_algorithm::MS_CHAP]),
            Self::MsChapV2 => (Protocol::CHAP, &[chap_algorithm::MS_CHAP_V2]),
        }
    }

    /// The protocol that an Authentication-Protocol option names, if we speak it.
    pub(crate) fn from_option(protocol: Protocol, data: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.option() == (protocol, data))
    }
}

impl fmt::Display for AuthProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pap => "PAP",
            Self::ChapMd5 => "CHAP",
            Self::MsChapV1 => "MS-CHAPv1",
            Self::MsChapV2 => "MS-CHAPv2",
        })
    }
}

/// What we prove to be when the peer demands it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Credentials {
    /// The name.
    pub user_name: String,
    /// The password.
    pub password: Secret,
}

/// The network layers of a link; one that is absent is refused to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// IPv4, by IPCP.
    pub ipv4: Option<Ipv4Config>,
    /// IPv6, by IPv6CP.
    pub ipv6: Option<Ipv6Config>,
}

/// What IPCP asks for and gives. The default is a client's that takes whatever it is told.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Ipv4Config {
    /// Our address; when absent the peer gives it.
    pub local: Option<Ipv4Addr>,
    /// The peer's address; when absent it has the one that it says.
    pub peer: Option<Ipv4Addr>,
    /// When the peer tells us another address than `local`, take it.
    pub accept_local: bool,
    /// When the peer has another address than `peer`, let it.
    pub accept_peer: bool,
    /// DNS servers to tell the peer when it asks.
    pub dns: [Option<Ipv4Addr>; 2],
    /// NBNS (WINS) servers to tell the peer when it asks.
    pub nbns: [Option<Ipv4Addr>; 2],
    /// Ask the peer for DNS servers.
    pub ask_dns: bool,
}

/// What IPv6CP asks for and gives. The default takes a random identifier and any of the peer's.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Ipv6Config {
    /// Our interface identifier; random when absent.
    pub local_id: Option<[u8; 8]>,
    /// The peer's interface identifier; when absent the peer chooses it.
    pub peer_id: Option<[u8; 8]>,
}
