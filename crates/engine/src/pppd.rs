//! pppd as the PPP of a session: what it is told, and what it tells.
//!
//! The datapath makes the session and lends its socket; a process of pppd, which the shard's caller runs, makes a device of it. Who the peer may be and
//! which address it gets is decided here, as for PPP of our own: its plugin asks.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use api::Role;
use config::{PppProfile, TraceFlags};
use crypto::mppe::Mode;
use datapath::{Device, Handle, Ids, Ipv4Link, Ipv6Link, Sequencing};
use ppp::{
    AuthAttempt, AuthProtocol, Cause, Credentials, EncryptionCause, NetworkCause, Phase, Verdict,
};
use sansio::Time;
use serde::{Deserialize, Serialize};
use wire::l2tp::TransmissionMaps;

use crate::sessions::place_of;
use crate::{Engine, Output};

/// What is asked of the pppd of a session.
#[derive(Clone, Debug, Serialize)]
pub enum PppdRequest {
    /// To run, over the socket that the datapath lends. Followed by [`PppdEvent`]s, of which [`PppdEvent::Ended`] is the last.
    Start(Box<PppdSetup>),
    /// To end: in order as long as its call stands, at once otherwise.
    Stop {
        /// Whether the peer still hears it.
        in_order: bool,
    },
    /// The answer to [`PppdEvent::Authenticate`].
    Judge {
        /// Whether the peer is who it says.
        verdict: Verdict,
    },
    /// The answer to [`PppdEvent::Ready`]: the frames that came before the datapath had the session.
    Early(Vec<Vec<u8>>),
    /// The answer to [`PppdEvent::NetworkWanted`]: the peer's IPv4 address, if it gets one from us.
    Address(Option<Ipv4Addr>),
}

/// How a pppd runs.
#[derive(Clone, Debug, Serialize)]
pub struct PppdSetup {
    /// Our ids of the session.
    pub ids: Ids,
    /// Our part in the call: as LNS we serve the peer.
    pub role: Role,
    /// What the configuration says of its PPP.
    pub profile: PppProfile,
    /// The largest packet to send, octets.
    pub mtu: u16,
    /// The largest packet to receive, octets.
    pub mru: u16,
    /// Our name in challenges.
    pub local_name: String,
    /// Our IPv4 address, if it is ours to say.
    pub local: Option<Ipv4Addr>,
    /// Whether the peer has to prove who it is.
    pub demands_auth: bool,
    /// By what either end may.
    pub allowed_auth: Vec<AuthProtocol>,
    /// By what we prove who we are.
    pub credentials: Option<Arc<Credentials>>,
    /// Whether it is to number its data messages from the first on, which the peer then follows.
    pub numbers: bool,
    /// The name of its device; none: `pppN`.
    pub interface: Option<String>,
    /// Whether it logs PPP in detail.
    pub debug: bool,
}

/// What the pppd of a session tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PppdEvent {
    /// PPP is in another phase.
    Phase(Phase),
    /// It begins; answered by [`PppdRequest::Early`].
    Ready,
    /// The peer's proof of who it is; answered by [`PppdRequest::Judge`].
    Authenticate(AuthAttempt),
    /// IPCP begins; answered by [`PppdRequest::Address`].
    NetworkWanted,
    /// A network layer is up, on this device.
    Up {
        /// The device's name.
        interface: String,
        /// What is up.
        network: PppdNetwork,
        /// How its packets are encrypted, if they are.
        mppe: Option<Mode>,
        /// Name servers that the peer gave us.
        dns: [Option<Ipv4Addr>; 2],
        /// By what we proved who we are.
        auth: Option<AuthProtocol>,
    },
    /// A network layer is down again.
    Down {
        /// Whether it is IPv6.
        ipv6: bool,
    },
    /// What LCP agreed to escape.
    Maps(TransmissionMaps),
    /// It ends without the encryption that was asked for.
    Unencrypted(EncryptionCause),
    /// The process is gone, or could not be run. The last event.
    Ended(PppdEnd),
}

/// A network layer of pppd's: our address and the peer's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PppdNetwork {
    /// IPv4.
    Ipv4(Ipv4Addr, Ipv4Addr),
    /// IPv6, link-local.
    Ipv6(Ipv6Addr, Ipv6Addr),
}

/// How a pppd ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PppdEnd {
    /// By itself, with this status (pppd(8), EXIT STATUS); the last that it said of an error.
    Exit(u8, String),
    /// By this signal, which it did not take.
    Signal(i32),
    /// It was never run, or not to its end, for this reason.
    Failed(String),
}

/// The most frames that are kept for a pppd that does not hear them yet, and the most octets of one.
const EARLY: usize = 4;
const EARLY_LENGTH: usize = 256;

/// pppd as a session's PPP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pppd {
    running: bool,
    /// By what we prove who we are.
    credentials: Option<Arc<Credentials>>,
    /// Why we ended it.
    cause: Option<Cause>,
    /// How far it has got.
    pub(crate) phase: Phase,
    /// It was in the network phase.
    had_network: bool,
    /// It has no encryption, which was asked for.
    unencrypted: Option<EncryptionCause>,
    /// By what the peer proved who it is.
    pub(crate) auth: Option<AuthProtocol>,
    /// Whom.
    user: Option<String>,
    /// It hears what comes.
    ready: bool,
    /// What came before that.
    early: Vec<Vec<u8>>,
    /// How packets are encrypted.
    pub(crate) mppe: Option<Mode>,
    /// What LCP agreed to escape.
    pub(crate) maps: Option<TransmissionMaps>,
}

impl Pppd {
    pub(crate) fn new(credentials: Option<Arc<Credentials>>) -> Self {
        Self {
            running: false,
            credentials,
            cause: None,
            phase: Phase::Dead,
            had_network: false,
            unencrypted: None,
            auth: None,
            user: None,
            ready: false,
            early: Vec::new(),
            mppe: None,
            maps: None,
        }
    }

    /// The peer proved who it is, or did not.
    pub(crate) fn judged(&mut self, user: &[u8], verdict: &Verdict) {
        if matches!(verdict, Verdict::Accept { .. }) {
            self.user = Some(String::from_utf8_lossy(user).into_owned());
        }
    }

    /// Keeps a frame that came before it hears any; not many, and none that is more than LCP's first.
    pub(crate) fn keep(&mut self, frame: &[u8]) {
        if !self.ready && self.early.len() < EARLY && frame.len() <= EARLY_LENGTH {
            self.early.push(frame.to_vec());
        }
    }

    /// Nothing runs any more.
    pub(crate) fn lose_process(&mut self) {
        *self = Self::new(self.credentials.take());
    }

    /// Why the link is over.
    fn cause(&self, end: PppdEnd, echoes: u32) -> Cause {
        let resources = |text: String| Cause::NoResources(format!("pppd: {text}"));
        if let Some(ours) = &self.cause {
            return ours.clone();
        }
        let (status, said) = match end {
            PppdEnd::Failed(why) => return resources(why),
            PppdEnd::Signal(number) => return resources(format!("ended by signal {number}")),
            PppdEnd::Exit(status, said) => (status, said),
        };
        match status {
            0 => Cause::PeerTerminated(String::new()),
            5 => Cause::Administrative,
            10 if let Some(why) = self.unencrypted.filter(|_| self.had_network) => {
                Cause::NotEncrypted(why)
            }
            10 if self.had_network => Cause::NoNetwork(NetworkCause::NotConverged),
            10 => Cause::LcpTimeout,
            11 => Cause::PeerNotAuthenticated(String::new()),
            12 => Cause::IdleTimeout,
            13 => Cause::SessionTimeout,
            15 => Cause::EchoTimeout(echoes),
            17 => Cause::Loopback,
            19 => Cause::NotAuthenticated(String::new()),
            _ if said.is_empty() => resources(format!("ended with status {status}")),
            _ => resources(said),
        }
    }
}

impl Engine {
    /// Something that the pppd of a session told. Of a session that is gone it is dropped.
    pub(crate) fn pppd_event(&mut self, handle: Handle, event: PppdEvent, now: Time) {
        let (tunnel, id) = place_of(handle);
        let Some(session) = self.session_mut(tunnel, id).filter(|s| s.handle == handle) else {
            return;
        };
        let Some(pppd) = session.pppd.as_deref_mut() else {
            return;
        };
        match event {
            PppdEvent::Phase(phase) => {
                pppd.phase = phase;
                pppd.had_network |= phase == Phase::Network;
            }
            PppdEvent::Ready => {
                pppd.ready = true;
                let early = std::mem::take(&mut pppd.early);
                self.ask_pppd(handle, PppdRequest::Early(early));
            }
            PppdEvent::Authenticate(attempt) => {
                pppd.auth = Some(attempt.protocol());
                self.authenticate(tunnel, id, &attempt, now);
            }
            PppdEvent::NetworkWanted => {
                let user = pppd.user.clone();
                self.network_wanted(tunnel, id, user, now);
            }
            PppdEvent::Up {
                interface,
                network,
                mppe,
                dns,
                auth,
            } => {
                pppd.mppe = mppe;
                pppd.auth = pppd.auth.or(auth);
                session.dns = dns;
                session.device = Some(interface.as_str().into());
                self.pppd_up(tunnel, id, network, now);
            }
            PppdEvent::Down { ipv6: true } => {
                self.networks_told(tunnel, id, |s| s.ipv6 = None, now)
            }
            PppdEvent::Down { ipv6: false } => {
                self.networks_told(tunnel, id, |s| s.ipv4 = None, now)
            }
            PppdEvent::Maps(maps) => pppd.maps = Some(maps),
            PppdEvent::Unencrypted(why) => pppd.unencrypted = Some(why),
            PppdEvent::Ended(end) => {
                pppd.running = false;
                let echoes = session.setup.profile.lcp_echo_failure_count();
                let cause = pppd.cause(end, echoes);
                self.link_closed(tunnel, id, &cause);
            }
        }
        self.settle_session(tunnel, id, now);
        self.settle(tunnel, now);
    }

    fn pppd_up(&mut self, tunnel: u16, id: u16, network: PppdNetwork, now: Time) {
        let change = |session: &mut crate::sessions::Session| match network {
            PppdNetwork::Ipv4(local, peer) => session.ipv4 = Some(Ipv4Link { local, peer }),
            PppdNetwork::Ipv6(local, peer) => session.ipv6 = Some(Ipv6Link { local, peer }),
        };
        self.networks_told(tunnel, id, change, now);
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        let (handle, sequencing) = (session.handle, session.sequencing);
        if sequencing == Sequencing::Own(true) {
            self.set_sequencing(handle, sequencing);
        }
    }

    /// The datapath has the session: its pppd is to run, if it is to have one.
    pub(crate) fn start_pppd(&mut self, tunnel: u16, id: u16) {
        let Some((handle, setup)) = self.pppd_setup(tunnel, id) else {
            return;
        };
        let session = self.session_mut(tunnel, id);
        if let Some(pppd) = session.and_then(|session| session.pppd.as_deref_mut()) {
            pppd.running = true;
            self.ask_pppd(handle, PppdRequest::Start(Box::new(setup)));
        }
    }

    fn pppd_setup(&self, tunnel: u16, id: u16) -> Option<(Handle, PppdSetup)> {
        let (handle, spec) = self.session_spec(tunnel, id)?;
        let holder = self.tunnels.get(&tunnel)?;
        let session = holder.sessions.get(&id)?;
        let setup = &session.setup;
        let interface = match spec.device {
            Device::Own { name } => name,
            Device::Shared => None,
        };
        let client = session.role == Role::Lac;
        let traced = [
            session.trace_flags.unwrap_or_default(),
            setup.profile.trace_flags(),
        ];
        let setup = PppdSetup {
            ids: Ids {
                tunnel,
                session: id,
            },
            role: session.role,
            profile: setup.profile.clone(),
            mtu: setup.mtu,
            mru: setup.link.mru,
            local_name: setup.link.local_name.clone(),
            local: setup.local_address(client),
            demands_auth: setup.demands_auth,
            allowed_auth: setup.link.accept_auth.clone(),
            credentials: session.pppd.as_ref()?.credentials.clone(),
            numbers: session.sequencing == Sequencing::Own(true),
            // pppd takes no pattern.
            interface: interface.filter(|name| !name.contains('%')),
            debug: traced
                .iter()
                .any(|flags| flags.meets(TraceFlags::PPP_CONTROL)),
        };
        Some((handle, setup))
    }

    /// Ends a session's pppd, and with it the session: false if it has none that runs.
    pub(crate) fn stop_pppd(&mut self, tunnel: u16, id: u16, cause: &Cause) -> bool {
        let Some(session) = self.session_mut(tunnel, id) else {
            return false;
        };
        let handle = session.handle;
        let Some(pppd) = session.pppd.as_deref_mut().filter(|pppd| pppd.running) else {
            return false;
        };
        if pppd.cause.is_none() {
            pppd.cause = Some(cause.clone());
            self.ask_pppd(handle, PppdRequest::Stop { in_order: true });
        }
        true
    }

    /// The call of a session with a pppd is over.
    pub(crate) fn drop_pppd(&mut self, handle: Handle, pppd: &Pppd) {
        if pppd.running {
            self.ask_pppd(handle, PppdRequest::Stop { in_order: false });
        }
    }

    pub(crate) fn ask_pppd(&mut self, handle: Handle, request: PppdRequest) {
        self.outputs.push_back(Output::Pppd { handle, request });
    }
}
