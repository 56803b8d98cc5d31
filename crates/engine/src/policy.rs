//! What the configuration means for a peer, a tunnel, a session: profiles resolved into what the protocol machines take.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::{CommandError, ErrorKind, Role};
use config::{
    AuthMode, ConfigError, DEFAULT_PROFILE, LacLns, Model, Mppe, MppeBits, Parameters, PppProfile,
    SessionParams, SyncMode, TunnelParams,
};
use crypto::mppe::KeyLength;
use datapath::Listener;
use ppp::{
    AuthAttempt, AuthProtocol, Ipv4Config, Ipv6Config, LinkConfig, MppeConfig, Negotiation, Verdict,
};
use serde::{Deserialize, Serialize};
use wire::l2tp::{BearerTypes, FramingTypes};

/// The vendor that we say we are.
const VENDOR_NAME: &str = "OpenL2TP";
/// Retransmission intervals double up to this: the least that RFC 2661 section 5.8 allows.
const RETRY_CAP: Duration = Duration::from_secs(8);

/// How a tunnel is run: its parameters, and the control connection's view of them.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TunnelSetup {
    pub(crate) profile_name: String,
    pub(crate) params: TunnelParams,
    pub(crate) tunnel: Arc<l2tp::TunnelConfig>,
    /// False when `auth_mode` is `simple` and no peer profile matches.
    pub(crate) peer_is_known: bool,
    /// What the peer is: which calls it may place.
    pub(crate) lac_lns: LacLns,
}

/// How a session's PPP is run.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PppSetup {
    pub(crate) profile_name: String,
    pub(crate) profile: PppProfile,
    pub(crate) link: Arc<LinkConfig>,
    /// The largest IP packet: the profile's, within the tunnel's.
    pub(crate) mtu: u16,
    /// Whether the peer has to authenticate itself.
    pub(crate) demands_auth: bool,
}

/// The configuration, and what was derived from it: every tunnel and session of one profile shares one setup.
#[derive(Clone, Default)]
pub(crate) struct Policy {
    model: Arc<Model>,
    host_name: String,
    firmware_revision: u16,
    /// By name of the peer profile; none for peers that match none.
    tunnels: BTreeMap<Option<String>, Arc<TunnelSetup>>,
    /// By what they are derived from: the name of the PPP profile, whether we serve, and the tunnel's MTU and host name.
    ppp: BTreeMap<(String, bool, u16, String), Arc<PppSetup>>,
    /// Names of session profiles.
    names: BTreeSet<Arc<str>>,
}

impl Policy {
    pub(crate) fn new(model: Arc<Model>, host_name: String, version: &str) -> Self {
        let firmware_revision = firmware(version);
        Self {
            model,
            host_name,
            firmware_revision,
            tunnels: BTreeMap::new(),
            ppp: BTreeMap::new(),
            names: BTreeSet::new(),
        }
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn set_model(&mut self, model: Arc<Model>) {
        self.model = model;
        self.tunnels.clear();
        self.ppp.clear();
        self.names.clear();
    }

    /// The name of a session profile, once for all sessions of it.
    pub(crate) fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    /// The setup of a tunnel that a peer asks for.
    pub(crate) fn for_peer(&mut self, host_name: &str, from: SocketAddr) -> Arc<TunnelSetup> {
        let peer = self.model.match_peer(host_name, from);
        let key = peer.and_then(|peer| peer.profile_name.clone());
        if let Some(setup) = self.tunnels.get(&key) {
            return setup.clone();
        }
        let params = self.model.served_tunnel_params(peer);
        let known = peer.is_some() || params.auth_mode() != AuthMode::Simple;
        let profile_name = peer
            .map_or(DEFAULT_PROFILE, |peer| peer.tunnel_profile_name())
            .to_owned();
        let setup = Arc::new(self.tunnel_setup(profile_name, params, known));
        self.tunnels.insert(key, setup.clone());
        setup
    }

    /// Whether a tunnel is one that we can make, by the rules of a file.
    pub(crate) fn check_tunnel(&self, tunnel: &config::Tunnel) -> Result<(), CommandError> {
        self.model.check_tunnel(tunnel).map_err(refused)
    }

    /// The setup of a tunnel that we make.
    pub(crate) fn for_client(
        &self,
        tunnel: &config::Tunnel,
    ) -> Result<Arc<TunnelSetup>, CommandError> {
        let params = self.client_params(tunnel)?;
        let profile_name = tunnel.profile_name().to_owned();
        Ok(Arc::new(self.tunnel_setup(profile_name, params, true)))
    }

    /// What a tunnel that we make says now. An error is that its profile or its listener is there no more, or that these do not go with it any more.
    fn client_params(&self, tunnel: &config::Tunnel) -> Result<TunnelParams, CommandError> {
        let profile_name = tunnel.profile_name();
        if !self.model.tunnel_profiles.contains_key(profile_name) {
            return Err(missing("tunnel", profile_name));
        }
        let params = self.model.tunnel_params(tunnel);
        self.source(&params)?;
        let checked = self.model.check_tunnel_params(&params);
        checked.map_err(refused).map(|()| params)
    }

    /// What says again what a tunnel that we make is: itself, or where its profiles no longer serve, all that it was made of.
    pub(crate) fn said_again(
        &self,
        tunnel: &config::Tunnel,
        setup: &TunnelSetup,
    ) -> config::Tunnel {
        let params = match self.client_params(tunnel) {
            Ok(_) => tunnel.params.clone(),
            Err(_) => tunnel.params.merged_over(&setup.params),
        };
        config::Tunnel {
            params,
            ..tunnel.clone()
        }
    }

    /// The setup of a tunnel some of whose parameters changed. What its peer was told stays as it was, whatever became of the profiles.
    pub(crate) fn changed_tunnel(
        &self,
        setup: &TunnelSetup,
        change: &TunnelParams,
    ) -> Result<Arc<TunnelSetup>, CommandError> {
        let model = &self.model;
        let named = [
            (
                change.peer_profile_name(),
                "peer",
                model.peer_profiles.keys().collect::<Vec<_>>(),
            ),
            (
                change.session_profile_name(),
                "session",
                model.session_profiles.keys().collect(),
            ),
            (
                change.ppp_profile_name(),
                "ppp",
                model.ppp_profiles.keys().collect(),
            ),
        ];
        for (name, kind, known) in named {
            if let Some(name) = name.filter(|name| !known.iter().any(|known| known == name)) {
                return Err(missing(kind, name));
            }
        }
        let params = change.merged_over(&setup.params);
        let lac_lns = match change.peer_profile_name() {
            Some(name) => model.peer_params(name).lac_lns(),
            None => setup.lac_lns,
        };
        let tunnel = l2tp::TunnelConfig {
            hello_interval: unless_zero(params.hello_timeout()),
            retry_timeout: Duration::from_secs(params.retry_timeout().into()),
            max_retries: params.max_retries(),
            max_calls: max_calls(&params),
            ..l2tp::TunnelConfig::clone(&setup.tunnel)
        };
        Ok(Arc::new(TunnelSetup {
            profile_name: setup.profile_name.clone(),
            params,
            tunnel: Arc::new(tunnel),
            peer_is_known: setup.peer_is_known,
            lac_lns,
        }))
    }

    /// Where a tunnel that we make starts: whose socket that is, and the address and port, as far as they are given.
    pub(crate) fn source(
        &self,
        params: &TunnelParams,
    ) -> Result<(Listener, Option<IpAddr>, Option<u16>), CommandError> {
        let given = |port: u16| Some(port).filter(|&port| port != 0);
        let (address, port) = (params.src_ipaddr, given(params.our_udp_port()));
        let Some(name) = params.listener_name() else {
            return Ok((None, address, port));
        };
        let Some(listener) = self.model.listeners.get(name) else {
            return Err(CommandError::new(
                ErrorKind::NotFound,
                format!("there is no listener {name}"),
            ));
        };
        let address = address.or(listener.ipaddr);
        Ok((
            Some(name.into()),
            address,
            port.or(given(listener.udp_port())),
        ))
    }

    /// Whether the profiles that a session names exist.
    pub(crate) fn check_session(&self, session: &config::Session) -> Result<(), CommandError> {
        match (session.profile_name(), session.params.ppp_profile_name()) {
            (Some(name), _) if !self.model.session_profiles.contains_key(name) => {
                Err(missing("session", name))
            }
            (_, Some(name)) if !self.model.ppp_profiles.contains_key(name) => {
                Err(missing("ppp", name))
            }
            _ => Ok(()),
        }
    }

    fn tunnel_setup(
        &self,
        profile_name: String,
        params: TunnelParams,
        peer_is_known: bool,
    ) -> TunnelSetup {
        let system = &self.model.system;
        let peer_profile = params.peer_profile_name().unwrap_or(DEFAULT_PROFILE);
        let lac_lns = self.model.peer_params(peer_profile).lac_lns();
        let served = self
            .model
            .session_params(&config::Session::default(), &params);
        let tunnel = l2tp::TunnelConfig {
            host_name: params.host_name().unwrap_or(&self.host_name).to_owned(),
            vendor_name: VENDOR_NAME.to_owned(),
            firmware_revision: self.firmware_revision,
            secret: params.secret.clone(),
            challenge: params.auth_mode() == AuthMode::Challenge,
            hide_avps: params.hide_avps(),
            framing_capabilities: framing(params.framing_caps()),
            bearer_capabilities: match lac_lns.is_lns() {
                true => bearer(params.bearer_caps()),
                false => BearerTypes::empty(),
            },
            tie_breaker: params.use_tiebreaker(),
            control_dscp: params.control_dscp().and_then(dscp),
            session_dscp: served.session_dscp().and_then(dscp),
            require_dscp: params.require_dscp(),
            ecn: params.use_ecn(),
            rx_window: params.rx_window_size(),
            tx_window: params.tx_window_size(),
            hello_interval: unless_zero(params.hello_timeout()),
            retry_timeout: Duration::from_secs(params.retry_timeout().into()),
            retry_cap: RETRY_CAP,
            max_retries: params.max_retries(),
            establish_timeout: unless_zero(system.tunnel_establish_timeout()),
            call_establish_timeout: unless_zero(system.session_establish_timeout()),
            max_calls: max_calls(&params),
        };
        TunnelSetup {
            profile_name,
            params,
            tunnel: Arc::new(tunnel),
            peer_is_known,
            lac_lns,
        }
    }

    /// The setup of a session's PPP.
    pub(crate) fn ppp(
        &mut self,
        tunnel: &TunnelSetup,
        params: &SessionParams,
        role: Role,
    ) -> Arc<PppSetup> {
        let name = params
            .ppp_profile_name()
            .unwrap_or(DEFAULT_PROFILE)
            .to_owned();
        let key = (
            name,
            role == Role::Lns,
            tunnel.params.mtu(),
            tunnel.tunnel.host_name.clone(),
        );
        if let Some(setup) = self.ppp.get(&key) {
            return setup.clone();
        }
        let profile = self.model.ppp_params(params);
        let mtu = profile.mtu().min(tunnel.params.mtu());
        let link = Arc::new(link_config(&profile, role, tunnel));
        let demands_auth = demands_auth(&profile, role);
        let setup = Arc::new(PppSetup {
            profile_name: key.0.clone(),
            profile,
            link,
            mtu,
            demands_auth,
        });
        self.ppp.insert(key, setup.clone());
        setup
    }

    /// The verdict on a peer's proof that it is `user`; or why there can be none but no.
    pub(crate) fn judge(
        &self,
        setup: &PppSetup,
        user: &str,
        attempt: &AuthAttempt,
    ) -> Result<Verdict, &'static str> {
        if setup.profile.remote_name().is_some_and(|name| name != user) {
            return Err("remote_name lets another one in alone");
        }
        let known = self.model.users.get(user).ok_or("there is no such user")?;
        // Whatever an empty password is the proof of, anybody can give it (RFC 1994 section 2.3).
        let password = known
            .password
            .as_ref()
            .filter(|password| !password.is_empty())
            .ok_or("the user has no password")?;
        attempt.check(password).ok_or("the password is wrong")
    }

    /// The parameters of a session; `session` is the default one when the peer opened it.
    pub(crate) fn session_params(
        &self,
        tunnel: &TunnelSetup,
        session: &config::Session,
    ) -> SessionParams {
        self.model.session_params(session, &tunnel.params)
    }

    /// What we say of a session: in its request where we place it, in its ICCN or OCCN where we are the LAC.
    pub(crate) fn call(
        &self,
        tunnel: &TunnelSetup,
        session: &config::Session,
        serial: u32,
    ) -> l2tp::CallParams {
        let params = self.session_params(tunnel, session);
        let text = |text: Option<&str>| text.map(str::to_owned);
        l2tp::CallParams {
            serial_number: serial,
            called_number: text(session.called_number()),
            calling_number: text(session.calling_number()),
            sub_address: text(session.sub_address()),
            private_group_id: params.priv_group_id().map(|id| id.as_bytes().to_vec()),
            bearer_type: Some(bearer(params.bearer_type())),
            lcp_want_options: params.lcp_want_options().map(<[u8]>::to_vec),
            lcp_allow_options: params.lcp_allow_options().map(<[u8]>::to_vec),
            framing_type: framing(params.framing_type()),
            tx_connect_speed: params.connect_speed().tx,
            rx_connect_speed: match params.connect_speed().rx {
                0 => None,
                speed => Some(speed),
            },
            physical_channel_id: params.physical_channel_id(),
            minimum_bps: (params.minimum_bps() != 0).then(|| params.minimum_bps()),
            maximum_bps: (params.maximum_bps() != 0).then(|| params.maximum_bps()),
            sequencing_required: params.sequencing_required(),
            session_ds: params
                .session_dscp()
                .and_then(dscp)
                .map(l2tp::per_hop_behavior),
            access_line: None,
            speed_updates: false,
        }
    }

    /// The bearer of an outgoing call that a peer asks for: no line is dialled, so it is as our session profile says, as far as the peer
    /// allows. With it, its Physical Channel ID.
    pub(crate) fn bearer(
        &self,
        tunnel: &TunnelSetup,
        asked: &l2tp::CallParams,
    ) -> (l2tp::Bearer, Option<u32>) {
        let ours = self.call(tunnel, &config::Session::default(), 0);
        let most = asked.maximum_bps.filter(|&most| most != 0);
        let allowed = |speed: u32| {
            let speed = speed.max(asked.minimum_bps.unwrap_or(0));
            speed.min(most.unwrap_or(u32::MAX))
        };
        let bearer = l2tp::Bearer {
            framing_type: ours.framing_type,
            tx_connect_speed: allowed(ours.tx_connect_speed),
            rx_connect_speed: ours.rx_connect_speed.map(allowed),
            sequencing_required: ours.sequencing_required,
        };
        (bearer, ours.physical_channel_id)
    }
}

fn max_calls(params: &TunnelParams) -> usize {
    match params.max_sessions() {
        0 => usize::from(u16::MAX),
        most => most as usize,
    }
}

fn refused(error: ConfigError) -> CommandError {
    let kind = match error {
        ConfigError::NotFound { .. } => ErrorKind::NotFound,
        _ => ErrorKind::Invalid,
    };
    CommandError::new(kind, error.to_string())
}

fn missing(kind: &str, name: &str) -> CommandError {
    CommandError::new(
        ErrorKind::NotFound,
        format!("there is no {kind} profile `{name}`"),
    )
}

/// A DSCP of the configuration, 0 to 63.
fn dscp(value: u16) -> Option<u8> {
    u8::try_from(value).ok()
}

fn framing(framing: config::Framing) -> FramingTypes {
    let mut types = FramingTypes::empty();
    types.set(FramingTypes::SYNC, framing.is_sync());
    types.set(FramingTypes::ASYNC, framing.is_async());
    types
}

/// The configuration's word for framing.
pub(crate) fn framing_word(types: FramingTypes) -> config::Framing {
    config::Framing::new(
        types.contains(FramingTypes::SYNC),
        types.contains(FramingTypes::ASYNC),
    )
}

/// The configuration's word for bearers.
pub(crate) fn bearer_word(types: BearerTypes) -> config::Bearer {
    config::Bearer::new(
        types.contains(BearerTypes::DIGITAL),
        types.contains(BearerTypes::ANALOG),
    )
}

fn bearer(bearer: config::Bearer) -> BearerTypes {
    let mut types = BearerTypes::empty();
    types.set(BearerTypes::DIGITAL, bearer.is_digital());
    types.set(BearerTypes::ANALOG, bearer.is_analog());
    types
}

/// Seconds, of which zero means never.
pub(crate) fn unless_zero(seconds: u32) -> Option<Duration> {
    (seconds != 0).then(|| Duration::from_secs(seconds.into()))
}

impl PppSetup {
    /// What IPCP says: `peer` is the address that the peer gets, if it is known.
    pub(crate) fn ipv4_config(&self, peer: Option<Ipv4Addr>, client: bool) -> Option<Ipv4Config> {
        let profile = &self.profile;
        // A server without an address for its peer has no IPv4 to offer.
        if !profile.use_ipv4() || (peer.is_none() && !client) {
            return None;
        }
        let given =
            |a: Option<Ipv4Addr>, b: Option<Ipv4Addr>| if client { [None; 2] } else { [a, b] };
        Some(Ipv4Config {
            local: self.local_address(client),
            peer,
            accept_local: client && profile.local_ipaddr().is_none(),
            accept_peer: client && peer.is_none(),
            dns: given(profile.dns_ipaddr_pri(), profile.dns_ipaddr_sec()),
            nbns: given(profile.wins_ipaddr_pri(), profile.wins_ipaddr_sec()),
            ask_dns: client,
        })
    }

    /// Our IPv4 address, where it is ours to say.
    pub(crate) fn local_address(&self, client: bool) -> Option<Ipv4Addr> {
        let own = self.profile.local_ipaddr();
        own.or((!client).then_some(UNNUMBERED))
    }

    pub(crate) fn ipv6_config(&self) -> Option<Ipv6Config> {
        self.profile.use_ipv6().then(Ipv6Config::default)
    }
}

/// Our address at the server when the profile names none. The link is point to point, so it need not be one of ours that
/// others reach; it is the one that pppd's users know from their own unnumbered links.
const UNNUMBERED: Ipv4Addr = Ipv4Addr::new(10, 64, 64, 64);

/// Whether the peer has to authenticate itself.
fn demands_auth(profile: &PppProfile, role: Role) -> bool {
    let unless_said = role == Role::Lns && !profile.auth_none();
    profile.auth_peer().unwrap_or(unless_said)
}

fn link_config(profile: &PppProfile, role: Role, tunnel: &TunnelSetup) -> LinkConfig {
    let interval = |seconds: u32| Duration::from_secs(seconds.into());
    let small = |n: u16| u8::try_from(n).unwrap_or(u8::MAX);
    let known = [
        (profile.auth_mschapv2(), AuthProtocol::MsChapV2),
        (profile.auth_chap(), AuthProtocol::ChapMd5),
        (profile.auth_mschapv1(), AuthProtocol::MsChapV1),
        (profile.auth_pap(), AuthProtocol::Pap),
    ];
    let mppe = mppe_config(profile);
    let must_give_keys = mppe.as_ref().is_some_and(|mppe| mppe.required);
    let allowed: Vec<_> = known
        .into_iter()
        .filter_map(|(allowed, protocol)| allowed.then_some(protocol))
        .filter(|protocol| protocol.gives_keys() || !must_give_keys)
        .collect();
    let ncp = Negotiation {
        max_configure: small(profile.ipcp_max_config_requests()),
        max_terminate: small(profile.ipcp_max_terminate_requests()),
        max_failure: small(profile.ipcp_max_config_naks()),
        restart: interval(profile.ipcp_retransmit_interval()),
    };
    LinkConfig {
        mru: profile.mru().min(tunnel.params.mtu()),
        // A synchronous line has no characters to escape (RFC 1662 section 5).
        accm: (profile.sync_mode() != SyncMode::Sync)
            .then(|| profile.asyncmap())
            .flatten(),
        pfc: false,
        acfc: false,
        allowed: None,
        lcp: Negotiation {
            max_configure: small(profile.lcp_max_config_requests()),
            max_terminate: small(profile.lcp_max_terminate_requests()),
            max_failure: small(profile.lcp_max_config_naks()),
            restart: interval(profile.lcp_retransmit_interval()),
        },
        ipcp: ncp,
        ipv6cp: ncp,
        ccp: ncp,
        mppe,
        echo_interval: unless_zero(profile.lcp_echo_interval()),
        echo_failures: profile.lcp_echo_failure_count(),
        require_auth: if demands_auth(profile, role) {
            allowed.clone()
        } else {
            Vec::new()
        },
        accept_auth: allowed,
        local_name: profile
            .local_name()
            .unwrap_or(&tunnel.tunnel.host_name)
            .to_owned(),
        chap_interval: unless_zero(profile.chap_interval()),
        chap_max_challenge: small(profile.chap_max_challenge()),
        chap_restart: interval(profile.chap_restart()),
        pap_max_requests: small(profile.pap_max_auth_requests()),
        pap_restart: interval(profile.pap_restart_interval()),
        pap_timeout: unless_zero(profile.pap_timeout()),
        // The time that a session has to come up is authentication's, too.
        auth_timeout: None,
    }
}

fn mppe_config(profile: &PppProfile) -> Option<MppeConfig> {
    let lengths = match profile.mppe_bits() {
        MppeBits::Any => KeyLength::ALL.to_vec(),
        MppeBits::Bits40 => vec![KeyLength::Bits40],
        MppeBits::Bits56 => vec![KeyLength::Bits56],
        MppeBits::Bits128 => vec![KeyLength::Bits128],
    };
    (profile.mppe() != Mppe::No).then(|| MppeConfig {
        required: profile.mppe() == Mppe::Required,
        lengths,
        stateful: profile.mppe_stateful(),
    })
}

/// `2.3.x` as the Firmware Revision AVP has it: major in the high octet, minor in the low one.
fn firmware(version: &str) -> u16 {
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u8>().unwrap_or(0));
    u16::from_be_bytes([parts.next().unwrap_or(0), parts.next().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests only")]

    use super::*;

    #[test]
    fn tunnels_of_one_ppp_profile_challenge_by_their_own_host_names() {
        let text = "
            tunnel profile create profile_name=a host_name=first
            tunnel profile create profile_name=b host_name=second
            peer profile create profile_name=x tunnel_profile_name=a
            peer profile create profile_name=y tunnel_profile_name=b
        ";
        let model = Arc::new(Model::load("test", text).unwrap().model);
        let mut policy = Policy::new(model, "here".to_owned(), "0.0");
        for (peer, name) in [("x", "first"), ("y", "second"), ("z", "here")] {
            let tunnel = policy.for_peer(peer, (Ipv4Addr::LOCALHOST, 1701).into());
            let setup = policy.ppp(&tunnel, &SessionParams::default(), Role::Lns);
            assert_eq!(setup.link.local_name, name);
        }
    }
}
