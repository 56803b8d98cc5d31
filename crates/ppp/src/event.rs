use std::fmt;
use std::net::Ipv4Addr;

use crypto::Secret;
use crypto::mppe::{Mode, StartKeys};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::AuthProtocol;

/// What a link reports.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// The peer's proof of who it is; answer with [`Link::authenticated`](crate::Link::authenticated), at any later time.
    Authenticate(AuthAttempt),
    /// Authentication is over, both ways; answer with [`Link::configure_network`](crate::Link::configure_network).
    NetworkWanted {
        /// The peer's name as it proved it, if it had to.
        user: Option<String>,
    },
    /// Packets are to be encrypted; answer with [`Link::encrypt`](crate::Link::encrypt) once the datapath has the keys. Until CCP is up, or known not to
    /// come up, no network layer is opened.
    EncryptionWanted {
        /// Our send and receive keys.
        keys: StartKeys,
    },
    /// CCP agreed on this: no packet is sent or taken in clear.
    EncryptionUp(Mode),
    /// Nothing is encrypted, or not any more: the keys are of no use.
    EncryptionDown,
    /// IPv4 packets may flow.
    Ipv4Up {
        /// Our address.
        local: Ipv4Addr,
        /// The peer's; 0.0.0.0 when it told none.
        peer: Ipv4Addr,
        /// DNS servers that the peer told us.
        dns: [Option<Ipv4Addr>; 2],
    },
    /// No IPv4 packets may flow any more.
    Ipv4Down,
    /// IPv6 packets may flow.
    Ipv6Up {
        /// Our interface identifier.
        local_id: [u8; 8],
        /// The peer's.
        peer_id: [u8; 8],
    },
    /// No IPv6 packets may flow any more.
    Ipv6Down,
    /// The link is over, and takes part in nothing any more. The last event.
    Closed(Cause),
}

/// A proof that the peer gave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuthAttempt {
    /// Tells this attempt from others of the link: goes with the verdict.
    pub number: u32,
    /// The name that the peer gave, as its octets are.
    pub user_name: Vec<u8>,
    /// What it proves it with.
    pub proof: Proof,
}

/// What proves a peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Proof {
    /// The password itself.
    Pap {
        /// In clear.
        password: Secret,
    },
    /// A CHAP response (RFC 1994 section 4.1).
    ChapMd5 {
        /// The identifier of challenge and response.
        identifier: u8,
        /// What we sent.
        challenge: Vec<u8>,
        /// What came back.
        response: [u8; 16],
    },
    /// An MS-CHAPv1 response (RFC 2433 section 6), of Windows NT.
    MsChapV1 {
        /// The identifier of challenge and response: RADIUS wants it.
        identifier: u8,
        /// What we sent.
        challenge: [u8; 8],
        /// What came back.
        nt_response: [u8; 24],
    },
    /// An MS-CHAPv2 response (RFC 2759 section 4).
    MsChapV2 {
        /// The identifier of challenge and response: RADIUS wants it.
        identifier: u8,
        /// What we sent.
        authenticator_challenge: [u8; 16],
        /// The peer's own challenge.
        peer_challenge: [u8; 16],
        /// What came back.
        nt_response: [u8; 24],
    },
}

impl AuthAttempt {
    /// The name that the peer gave, as its octets are.
    pub fn user(&self) -> &[u8] {
        &self.user_name
    }

    /// The protocol that the proof is of.
    pub const fn protocol(&self) -> AuthProtocol {
        match self.proof {
            Proof::Pap { .. } => AuthProtocol::Pap,
            Proof::ChapMd5 { .. } => AuthProtocol::ChapMd5,
            Proof::MsChapV1 { .. } => AuthProtocol::MsChapV1,
            Proof::MsChapV2 { .. } => AuthProtocol::MsChapV2,
        }
    }

    /// The verdict when the user's password is `password`; `None` when the proof is wrong. One of MS-CHAP is right by any of the password's
    /// [texts](Secret::texts).
    pub fn check(&self, password: &Secret) -> Option<Verdict> {
        let right = match &self.proof {
            Proof::Pap { password: given } => given == password,
            Proof::ChapMd5 {
                identifier,
                challenge,
                response,
            } => {
                let expected = crypto::chap::response(*identifier, password.as_bytes(), challenge);
                crypto::eq(&expected, response)
            }
            Proof::MsChapV1 { .. } | Proof::MsChapV2 { .. } => {
                let texts = password.texts();
                return texts.iter().find_map(|text| self.check_text(text));
            }
        };
        right.then(|| Verdict::accept(None, None))
    }

    /// The same of MS-CHAP, whose password is text.
    fn check_text(&self, text: &str) -> Option<Verdict> {
        match &self.proof {
            Proof::MsChapV1 {
                challenge,
                nt_response,
                ..
            } => {
                let expected = crypto::mschapv1::nt_response(challenge, text);
                let keys = || StartKeys::of_ms_chap_v1(text, challenge);
                crypto::eq(&expected, nt_response).then(|| Verdict::accept(None, Some(keys())))
            }
            Proof::MsChapV2 {
                authenticator_challenge: ours,
                peer_challenge: theirs,
                nt_response,
                ..
            } => {
                let name = &self.user_name;
                let expected = crypto::mschapv2::nt_response(ours, theirs, name, text);
                crypto::eq(&expected, nt_response).then(|| {
                    let proof = crypto::mschapv2::authenticator_response(
                        text,
                        nt_response,
                        theirs,
                        ours,
                        name,
                    );
                    let keys = StartKeys::of_ms_chap_v2(text, nt_response);
                    Verdict::accept(Some(proof), Some(keys))
                })
            }
            Proof::Pap { .. } | Proof::ChapMd5 { .. } => None,
        }
    }
}

/// The answer to an [`AuthAttempt`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// The peer is who it says.
    Accept {
        /// Told to the peer, for people to read.
        message: String,
        /// What proves us to an MS-CHAPv2 peer; absent for other protocols.
        authenticator_response: Option<[u8; 20]>,
        /// Our keys for MPPE, of whoever knows the password; absent where it is of no use.
        mppe_keys: Option<StartKeys>,
    },
    /// It is not, or may not.
    Reject {
        /// Told to the peer, for people to read.
        message: String,
    },
}

impl Verdict {
    fn accept(authenticator_response: Option<[u8; 20]>, mppe_keys: Option<StartKeys>) -> Self {
        Self::Accept {
            message: String::new(),
            authenticator_response,
            mppe_keys,
        }
    }
}

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum End {
    /// Ours.
    Local,
    /// The peer.
    Peer,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "we",
            Self::Peer => "the peer",
        })
    }
}

/// Why a link ended. Its text is a person's sentence.
#[derive(Clone, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// An operator or the program's own end.
    #[error("closed by the administrator")]
    Administrative,
    /// It took longer to carry traffic than it may.
    #[error("the session was not established in time")]
    EstablishTimeout,
    /// It lasted as long as it may.
    #[error("the session's time is over")]
    SessionTimeout,
    /// Nothing went through it for as long as that may be.
    #[error("the session was idle for too long")]
    IdleTimeout,
    /// Something that the session needs could not be had, as the text says.
    #[error("{0}")]
    NoResources(String),
    /// The peer ended it; its words, if it had any.
    #[error("the peer terminated the link{}", Said(.0))]
    PeerTerminated(String),
    /// The peer does not answer LCP.
    #[error("the peer does not answer LCP")]
    LcpTimeout,
    /// LCP options on which the two ends can't agree.
    #[error("LCP found no agreement with the peer")]
    LcpNotConverged,
    /// The peer rejected what LCP can't live without.
    #[error("the peer does not speak LCP as it must")]
    LcpRejected,
    /// What we send comes back to us: the magic number is our own.
    #[error("the link is looped back")]
    Loopback,
    /// Echo-Requests without an answer.
    #[error("{0} LCP echo requests in a row had no answer")]
    EchoTimeout(u32),
    /// The peer would authenticate itself by nothing that we accept.
    #[error("the peer refuses to authenticate itself by {0}")]
    AuthRefused(AuthProtocol),
    /// Authentication did not end in time; the end that had to prove itself.
    #[error("{0} could not be authenticated in time")]
    AuthTimeout(End),
    /// The peer's proof was rejected, for the reason told to it.
    #[error("the peer failed to authenticate itself{}", Said(.0))]
    PeerNotAuthenticated(String),
    /// The peer rejected our proof; its words.
    #[error("the peer rejected our name or password{}", Said(.0))]
    NotAuthenticated(String),
    /// The peer took our MS-CHAPv2 proof but could not prove that it knows the password itself.
    #[error("the peer does not know our password: it is not who we mean")]
    PeerNotGenuine,
    /// Packets can't be encrypted as they must, or not any more.
    #[error("packets are not encrypted: {0}")]
    NotEncrypted(EncryptionCause),
    /// No network layer could be opened, or the last one went down.
    #[error("no network layer is left: {0}")]
    NoNetwork(NetworkCause),
}

/// Why a network layer is not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
pub enum NetworkCause {
    /// Neither IPv4 nor IPv6 is configured.
    #[error("none is configured")]
    NotConfigured,
    /// The peer rejected its control protocol.
    #[error("the peer does not speak it")]
    Rejected,
    /// The peer terminated it.
    #[error("the peer closed it")]
    Terminated,
    /// The peer does not answer.
    #[error("the peer does not answer")]
    Timeout,
    /// The two ends can't agree on addresses.
    #[error("no address could be agreed on")]
    NotConverged,
}

/// Why packets are not encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
pub enum EncryptionCause {
    /// Nobody proved itself by a protocol that gives keys.
    #[error("there was no authentication by MS-CHAP, which gives the keys")]
    NoKeys,
    /// Both ends did.
    #[error("both ends authenticated themselves by MS-CHAP, so it is not known whose keys to take")]
    TwoKeys,
    /// The datapath has none of the allowed lengths.
    #[error("the datapath has none of the allowed key lengths")]
    Unsupported,
    /// The peer rejected CCP.
    #[error("the peer does not speak CCP")]
    Rejected,
    /// The peer ended CCP.
    #[error("the peer closed CCP")]
    Terminated,
    /// The peer began CCP anew, and what comes meanwhile would be in clear.
    #[error("the peer began CCP anew")]
    Renegotiated,
    /// The peer does not answer.
    #[error("the peer does not answer CCP")]
    Timeout,
    /// The two ends have no key length or mode in common.
    #[error("no key length and mode could be agreed on")]
    NotConverged,
    /// The datapath does not know any more where in the stream of keys the two ends were.
    #[error("the state of the encryption was lost with the datapath")]
    Lost,
}

impl Cause {
    /// What the peer is told in a Terminate-Request: nothing that is not its business.
    pub(crate) fn told(&self) -> &'static str {
        match self {
            Self::PeerNotAuthenticated(_) | Self::NotAuthenticated(_) => "Authentication failed",
            Self::PeerNotGenuine => "Authenticator not authentic",
            Self::AuthRefused(_) => "Authentication required",
            Self::AuthTimeout(_) => "Authentication timed out",
            Self::EstablishTimeout => "Not established in time",
            Self::SessionTimeout => "Session time over",
            Self::IdleTimeout => "Link inactive",
            Self::NoResources(_) => "No resources",
            Self::EchoTimeout(_) => "Peer not responding",
            Self::Loopback => "Loopback detected",
            Self::NoNetwork(_) => "No network protocols running",
            Self::NotEncrypted(_) => "Encryption required",
            Self::LcpNotConverged => "No agreement on options",
            Self::Administrative
            | Self::PeerTerminated(_)
            | Self::LcpTimeout
            | Self::LcpRejected => "Administrative",
        }
    }
}

/// `: words`, or nothing where there are none.
struct Said<'a>(&'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.0)
        }
    }
}
