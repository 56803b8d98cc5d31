//! What `show` and `list` see of a shard.

use api::{
    CallStatus, EndReason, LineErrors, LineStatus, Origin as CreatedBy, Parameters, Role,
    SessionState, SessionStatus, SystemStatus, TransportStatus, TunnelPeer, TunnelState,
    TunnelStatus, TunnelTraffic, UserStatus,
};
use config::{DEFAULT_PROFILE, Parameters as _, SessionType};
use sansio::Time;

use crate::Engine;
use crate::clients::{ClientId, State};
use crate::commands::{Which, WhichSession};
use crate::created::CreatedSession;
use crate::policy::{TunnelSetup, bearer_word, framing_word};
use crate::reasons::Why;
use crate::sessions::Session;
use crate::tunnels::{Origin, Tunnel};

fn seconds(since: Time, now: Time) -> u64 {
    now.saturating_since(since).as_secs()
}

impl Engine {
    /// Whether a tunnel is shown as its client's: not when the client has gone on to another attempt, or away.
    pub(crate) fn is_current(&self, tunnel: &Tunnel) -> bool {
        let client = tunnel.client().and_then(|id| self.clients.get(&id));
        client.is_some_and(|c| c.state == State::Tunnel(tunnel.control.id()))
    }

    pub(crate) fn client_status(&self, id: ClientId, now: Time) -> Option<TunnelStatus> {
        let client = self.clients.get(&id)?;
        let mut status = match client.state {
            State::Tunnel(tunnel) => self.peer_tunnel_status(tunnel, now)?,
            State::Resolving(_) | State::Retry(_) => TunnelStatus {
                tunnel_id: None,
                tunnel_name: None,
                state: if matches!(client.state, State::Retry(_)) {
                    TunnelState::Retry
                } else {
                    TunnelState::Resolving
                },
                created_by: CreatedBy::Admin,
                persist: false,
                local: None,
                remote: None,
                dest_ipaddr: None,
                profile_name: client.setup.profile_name.clone(),
                host_name: client.setup.tunnel.host_name.clone(),
                peer: None,
                sessions: 0,
                seconds: seconds(client.since, now),
                age: 0,
                establish_retries: 0,
                tie_breaker: None,
                transport: None,
                traffic: None,
                listener_name: None,
                trace_flags: client.setup.params.trace_flags().to_string(),
                path_mtu: None,
                last_error: None,
                last_end: None,
                parameters: Default::default(),
            },
        };
        status.tunnel_name.clone_from(&client.config.tunnel_name);
        status.persist = client.config.persist();
        status.age = seconds(client.made, now);
        status.establish_retries = client.failures;
        status.dest_ipaddr = client.setup.params.dest_ipaddr().map(str::to_owned);
        if status.last_error.is_none() {
            (status.last_error, status.last_end) = shown(client.last_error.as_ref());
        }
        Some(status)
    }

    pub(crate) fn peer_tunnel_status(&self, id: u16, now: Time) -> Option<TunnelStatus> {
        let tunnel = self.tunnels.get(&id)?;
        let control = &tunnel.control;
        let (last_error, last_end) = shown(tunnel.ended.as_ref());
        Some(TunnelStatus {
            tunnel_id: Some(id),
            tunnel_name: None,
            state: tunnel_state(tunnel),
            created_by: match tunnel.origin {
                Origin::Client(_) => CreatedBy::Admin,
                Origin::Peer(..) => CreatedBy::Peer,
            },
            persist: false,
            local: Some(tunnel.local),
            remote: Some(tunnel.remote),
            dest_ipaddr: None,
            profile_name: tunnel.setup.profile_name.clone(),
            host_name: tunnel.setup.tunnel.host_name.clone(),
            peer: control.peer().map(|peer| TunnelPeer {
                tunnel_id: control.peer_id(),
                host_name: peer.host_name.clone(),
                vendor_name: (!peer.vendor_name.is_empty()).then(|| peer.vendor_name.clone()),
                protocol_version: {
                    let (version, revision) = peer.protocol_version;
                    format!("{version}.{revision}")
                },
                tie_breaker: peer.tie_breaker.map(tie_breaker),
                firmware_revision: peer.firmware_revision,
                rx_window_size: peer.rx_window,
                framing_caps: Some(framing_word(peer.framing_capabilities)),
                bearer_caps: peer.bearer_capabilities.map(bearer_word),
            }),
            sessions: control.call_count() as u32,
            seconds: seconds(tunnel.since, now),
            age: seconds(tunnel.made, now),
            establish_retries: 0,
            tie_breaker: control.tie_breaker().map(tie_breaker),
            transport: Some(self.transport_status(tunnel)),
            traffic: None,
            listener_name: tunnel.listener.as_deref().map(str::to_owned),
            trace_flags: tunnel.setup.params.trace_flags().to_string(),
            path_mtu: tunnel.path_mtu,
            last_error: tunnel.unreachable.clone().or(last_error),
            last_end,
            parameters: Default::default(),
        })
    }

    pub(crate) fn session_status(&self, which: WhichSession, now: Time) -> Option<SessionStatus> {
        match which {
            WhichSession::Call(tunnel, call) => self.call_status(tunnel, call, now),
            WhichSession::Created(which, number) => {
                let session = self.created(which)?.get(number)?;
                match (self.tunnel_id(which), session.call) {
                    (Some(tunnel), Some(call)) => self.call_status(tunnel, call, now),
                    _ => self.waiting_status(which, session, now),
                }
            }
        }
    }

    pub(crate) fn call_status(&self, tunnel_id: u16, id: u16, now: Time) -> Option<SessionStatus> {
        let tunnel = self.tunnels.get(&tunnel_id)?;
        let call = tunnel.control.call(id)?;
        let session = tunnel.sessions.get(&id).map(Box::as_ref);
        let client = tunnel.client().and_then(|id| self.clients.get(&id));
        let ours = self.created_session(tunnel_id, id);
        let created_by = if call.kind.is_ours() {
            CreatedBy::Admin
        } else {
            CreatedBy::Peer
        };
        let made = ours.map(|ours| ours.made).or(session.map(|s| s.made));
        let nothing = l2tp::CallParams::default();
        let (last_error, last_end) = shown(ours.and_then(|s| s.last_error.as_ref()));
        let info = session.map(|s| s.call.as_ref()).or(call.info.as_deref());
        Some(SessionStatus {
            tunnel_id: Some(tunnel_id),
            tunnel_name: client.and_then(|client| client.config.tunnel_name.clone()),
            session_id: Some(id),
            session_name: ours.and_then(|s| s.config.session_name.clone()),
            peer_session_id: (call.peer_session_id != 0).then_some(call.peer_session_id),
            role: role(call.kind),
            call: call_status(call.kind, info.map_or(&nothing, |info| &info.params)),
            state: session.map_or_else(|| call_state(call.state), session_state),
            created_by,
            profile_name: session.map_or_else(
                || session_profile(&tunnel.setup, ours.map(|s| &s.config)).to_owned(),
                |session| session.profile_name.to_string(),
            ),
            ppp_profile_name: session
                .map(|s| s.setup.profile_name.clone())
                .unwrap_or_default(),
            user_name: session.and_then(|s| s.user.as_deref().map(str::to_owned)),
            auth_protocol: session.and_then(auth_protocol),
            mppe: session
                .and_then(|s| s.pppd.as_ref().map_or(s.link.mppe(), |pppd| pppd.mppe))
                .map(|mode| mode.to_string()),
            datapath: session
                .and_then(|s| s.engine)
                .map_or_else(|| self.datapath.clone(), |engine| engine.name().to_owned()),
            no_faster_datapath: session.and_then(|s| s.no_faster.as_deref().map(str::to_owned)),
            interface_name: session.and_then(|s| s.device.as_deref().map(str::to_owned)),
            local_ipaddr: session.and_then(|s| s.ipv4.map(|link| link.local)),
            remote_ipaddr: session.and_then(|s| s.ipv4.map(|link| link.peer)),
            dns: session.map(Session::name_servers).unwrap_or_default(),
            local_ipv6: session.and_then(|s| s.ipv6.map(|link| link.local.into())),
            remote_ipv6: session.and_then(|s| s.ipv6.map(|link| link.peer.into())),
            mtu: session.filter(|s| s.up).map(Session::mtu),
            traffic: None,
            line: info.map(|info| shown_line(info, session)),
            trace_flags: self.own_trace_flags(tunnel_id, id).to_string(),
            seconds: seconds(session.map_or(now, |s| s.since), now),
            age: made.map(|made| seconds(made, now)),
            last_error,
            last_end,
            parameters: Default::default(),
        })
    }

    /// A session that we were told to make and that has no call now.
    pub(crate) fn waiting_status(
        &self,
        which: Which,
        session: &CreatedSession,
        now: Time,
    ) -> Option<SessionStatus> {
        let (setup, tunnel_name) = match which {
            Which::Client(id) => {
                let client = self.clients.get(&id)?;
                (&client.setup, client.config.tunnel_name.clone())
            }
            Which::Peer(id) => (&self.tunnels.get(&id)?.setup, None),
        };
        let config = &session.config;
        let (last_error, last_end) = shown(session.last_error.as_ref());
        Some(SessionStatus {
            tunnel_id: self.tunnel_id(which),
            tunnel_name,
            session_id: None,
            session_name: config.session_name.clone(),
            peer_session_id: None,
            role: role(session.kind),
            call: CallStatus {
                call_serial_number: None,
                ..call_status(session.kind, &self.policy.call(setup, config, 0))
            },
            state: match session.retry_at {
                Some(_) => SessionState::Retry,
                None => SessionState::WaitTunnel,
            },
            created_by: CreatedBy::Admin,
            profile_name: session_profile(setup, Some(config)).to_owned(),
            ppp_profile_name: config.params.ppp_profile_name.clone().unwrap_or_default(),
            user_name: config.params.user_name.clone(),
            auth_protocol: None,
            mppe: None,
            datapath: self.datapath.clone(),
            no_faster_datapath: None,
            interface_name: config.params.interface_name().map(str::to_owned),
            local_ipaddr: None,
            remote_ipaddr: None,
            dns: Vec::new(),
            local_ipv6: None,
            remote_ipv6: None,
            mtu: None,
            traffic: None,
            line: None,
            trace_flags: {
                let own = self.policy.session_params(setup, config).trace_flags;
                let of_tunnel = setup.params.trace_flags();
                own.map_or(of_tunnel, |own| own.and(of_tunnel)).to_string()
            },
            seconds: seconds(session.since, now),
            age: Some(seconds(session.made, now)),
            last_error,
            last_end,
            parameters: Default::default(),
        })
    }

    /// Every parameter of a tunnel, of its own or by its profile.
    pub(crate) fn tunnel_parameters(&self, which: Which) -> Parameters {
        let own = match which {
            Which::Client(id) => self.clients.get(&id).map(|client| client.config.clone()),
            Which::Peer(_) => None,
        };
        let Some(setup) = self.setup_of(which) else {
            return Parameters::new();
        };
        let mut config = own.unwrap_or_default();
        config.params.clone_from(&setup.params);
        config.shown_json()
    }

    /// Every parameter of a session, of its own or by its profiles.
    pub(crate) fn session_parameters(&self, which: WhichSession) -> Parameters {
        let (holder, created) = match which {
            WhichSession::Call(tunnel, id) => {
                (Which::Peer(tunnel), self.created_session(tunnel, id))
            }
            WhichSession::Created(holder, number) => {
                let created = self.created(holder);
                (holder, created.and_then(|created| created.get(number)))
            }
        };
        let Some(setup) = self.setup_of(holder) else {
            return Parameters::new();
        };
        let own = created.map(|created| created.config.clone());
        let mut config = own.unwrap_or_default();
        config.params = self.policy.session_params(setup, &config);
        let live = self.live(which).map(|session| session.sequencing);
        if let Some(datapath::Sequencing::Own(send)) = live {
            config.params.use_sequence_numbers = Some(send);
        }
        config.shown_json()
    }

    fn transport_status(&self, tunnel: &Tunnel) -> TransportStatus {
        let t = tunnel.control.transport_stats();
        let counted = self.counted_of_tunnel(tunnel);
        let ([rx_zlbs, tx_zlbs], [rx_hellos, tx_hellos]) = (counted.zlbs, counted.hellos);
        TransportStatus {
            ns: t.ns,
            nr: t.nr,
            peer_ns: t.peer_ns,
            peer_nr: t.peer_nr,
            tx_window: t.window,
            cwnd: t.congestion_window,
            ssthresh: t.slow_start_threshold,
            congestion_acks: t.avoidance_acks,
            unacknowledged: t.unacknowledged as u32,
            queued: t.waiting as u32,
            retransmits: counted.retransmits,
            duplicates: counted.duplicates,
            out_of_order: counted.out_of_order,
            out_of_window: counted.out_of_window,
            rx_packets: counted.datagrams.received_datagrams,
            rx_bytes: counted.datagrams.received_octets,
            tx_packets: counted.datagrams.sent_datagrams,
            tx_bytes: counted.datagrams.sent_octets,
            rx_zlbs,
            tx_zlbs,
            rx_hellos,
            tx_hellos,
        }
    }

    /// What went through the sessions of a tunnel, as far as the datapath was asked.
    pub(crate) fn traffic_of_tunnel(&self, id: u16) -> Option<TunnelTraffic> {
        let data = self.counted_of_tunnel(self.tunnels.get(&id)?).data;
        Some(TunnelTraffic {
            rx_packets: data.rx_packets,
            rx_bytes: data.rx_bytes,
            rx_errors: data.rx_errors,
            tx_packets: data.tx_packets,
            tx_bytes: data.tx_bytes,
            tx_errors: data.tx_errors,
            rx_out_of_order: data.rx_out_of_order,
            rx_lost: data.rx_lost,
            rx_discarded: data.rx_discarded,
            rx_unnumbered: data.rx_unnumbered,
        })
    }

    /// Who is logged in by a session, if somebody is.
    pub(crate) fn user_status(
        &self,
        tunnel_id: u16,
        session_id: u16,
        now: Time,
    ) -> Option<UserStatus> {
        let tunnel = self.tunnels.get(&tunnel_id)?;
        let session = tunnel.sessions.get(&session_id)?;
        let user = session
            .user
            .as_deref()
            .filter(|_| session.role == Role::Lns)?;
        Some(UserStatus {
            user_name: user.to_owned(),
            tunnel_id,
            session_id,
            ip_address: session.ipv4.map(|link| link.peer),
            remote: tunnel.remote,
            seconds: seconds(session.since, now),
        })
    }

    pub(crate) fn system_status(&self, now: Time) -> SystemStatus {
        let tunnels = TunnelState::ALL.map(|state| (state, self.states.tunnels(state)));
        let sessions = SessionState::ALL.map(|state| (state, self.states.sessions(state)));
        SystemStatus {
            version: self.version.clone(),
            udp_port: self.udp_port,
            datapath: self.datapath.clone(),
            tunnels: self.tunnels.len() as u32,
            tunnels_established: self.states.tunnels(TunnelState::Established),
            tunnels_half_open: self.half_open.len() as u32,
            tunnels_by_state: tunnels.into(),
            sessions: self.calls as u32,
            sessions_established: self.states.sessions(SessionState::Established),
            sessions_by_state: sessions.into(),
            seconds: seconds(self.started, now),
        }
    }
}

/// The protocol that authenticated the peer, or us where the peer need not.
fn auth_protocol(session: &Session) -> Option<String> {
    let status = session.link.status();
    let of_pppd = session.pppd.as_ref().and_then(|pppd| pppd.auth);
    of_pppd
        .or(status.peer_auth)
        .or(status.own_auth)
        .map(|protocol| protocol.to_string())
}

/// The profile that a session is to have.
pub(crate) fn session_profile<'a>(
    tunnel: &'a TunnelSetup,
    session: Option<&'a config::Session>,
) -> &'a str {
    let own = session.and_then(|session| session.profile_name());
    own.or(tunnel.params.session_profile_name())
        .unwrap_or(DEFAULT_PROFILE)
}

/// What both ends said of a call.
fn call_status(kind: l2tp::CallKind, params: &l2tp::CallParams) -> CallStatus {
    let said = |value: u32| (value != 0).then_some(value);
    let group = params.private_group_id.as_deref();
    CallStatus {
        session_type: match kind {
            l2tp::CallKind::LacIncoming => SessionType::Laic,
            l2tp::CallKind::LnsIncoming => SessionType::Lnic,
            l2tp::CallKind::LacOutgoing => SessionType::Laoc,
            l2tp::CallKind::LnsOutgoing => SessionType::Lnoc,
        },
        call_serial_number: Some(params.serial_number),
        physical_channel_id: params.physical_channel_id,
        minimum_bps: params.minimum_bps,
        maximum_bps: params.maximum_bps,
        bearer_type: params.bearer_type.map(bearer_word),
        framing_type: framing_word(params.framing_type),
        tx_connect_speed: said(params.tx_connect_speed),
        rx_connect_speed: params.rx_connect_speed,
        called_number: params.called_number.clone(),
        calling_number: params.calling_number.clone(),
        sub_address: params.sub_address.clone(),
        priv_group_id: group.map(|group| String::from_utf8_lossy(group).into_owned()),
    }
}

/// Our part in a call.
pub(crate) fn role(kind: l2tp::CallKind) -> Role {
    if kind.is_lac() { Role::Lac } else { Role::Lns }
}

/// What was said of a call's line and service.
fn shown_line(info: &l2tp::CallInfo, session: Option<&Session>) -> LineStatus {
    let line = info.params.access_line.iter().flat_map(|line| line.named());
    let told = session.and_then(|s| s.link_info.as_deref());
    LineStatus {
        dscp: info.dscp,
        access_line: line.map(|(name, value)| (name.to_owned(), value)).collect(),
        errors: session.and_then(|s| s.call_errors).map(|e| LineErrors {
            crc: e.crc,
            framing: e.framing,
            hardware_overruns: e.hardware_overruns,
            buffer_overruns: e.buffer_overruns,
            timeouts: e.timeouts,
            alignment: e.alignment,
        }),
        accm: session.and_then(Session::told_maps),
        lns_last_sent: told.and_then(|told| hexadecimal(told.lns_last_sent.as_deref())),
        lns_last_received: told.and_then(|told| hexadecimal(told.lns_last_received.as_deref())),
    }
}

fn tie_breaker(value: u64) -> String {
    format!("{value:016x}")
}

fn hexadecimal(octets: Option<&[u8]>) -> Option<String> {
    octets.map(|octets| octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

fn shown(why: Option<&Why>) -> (Option<String>, Option<EndReason>) {
    let text = why.map(|why| why.text.clone());
    (text, why.and_then(|why| why.end.as_deref().cloned()))
}

pub(crate) fn tunnel_state(tunnel: &Tunnel) -> TunnelState {
    match tunnel.control.state() {
        l2tp::TunnelState::WaitCtlReply => TunnelState::WaitCtlReply,
        l2tp::TunnelState::WaitCtlConn => TunnelState::WaitCtlConn,
        l2tp::TunnelState::Established => TunnelState::Established,
        l2tp::TunnelState::Closing | l2tp::TunnelState::Released => TunnelState::Closing,
    }
}

pub(crate) fn call_state(state: l2tp::CallState) -> SessionState {
    match state {
        l2tp::CallState::WaitTunnel => SessionState::WaitTunnel,
        l2tp::CallState::WaitReply => SessionState::WaitReply,
        l2tp::CallState::Requested | l2tp::CallState::WaitConnect => SessionState::WaitConnect,
        l2tp::CallState::WaitCsAnswer => SessionState::WaitCsAnswer,
        l2tp::CallState::Established => SessionState::Link,
    }
}

pub(crate) fn session_state(session: &Session) -> SessionState {
    let of_pppd = session.pppd.as_ref().map(|pppd| pppd.phase);
    match of_pppd.unwrap_or_else(|| session.link.phase()) {
        _ if session.up => SessionState::Established,
        ppp::Phase::Dead | ppp::Phase::Establish => SessionState::Link,
        ppp::Phase::Authenticate => SessionState::Authenticating,
        ppp::Phase::Network => SessionState::Network,
        ppp::Phase::Terminate => SessionState::Closing,
    }
}
