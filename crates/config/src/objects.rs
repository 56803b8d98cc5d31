//! The declaration of every object and parameter. Names and defaults are OpenL2TP's where it has them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use crypto::Secret;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::DEFAULT_PROFILE;
use crate::declare::{Object, Parameter, Parameters, Role, Slot, Touches, bounds, objects};
use crate::value::{
    AddressRange, AuthMode, Bearer, ConnectSpeed, Datapath, Framing, Host, InterfaceName, Kind,
    LacLns, Mppe, MppeBits, Netmask, Octets, PppEngine, Program, ProxyAuthType, SecretOctets,
    SessionType, SyncMode, TraceFlags, Value,
};

objects! {
    /// The daemon as a whole.
    System {
        /// The most tunnels at a time; 0: no limit.
        [Modify Next] max_tunnels: u32 = 0;
        /// The most sessions at a time; 0: no limit.
        [Modify Next] max_sessions: u32 = 0;
        /// Refuses new tunnels and new sessions, and keeps those that are there.
        [Modify Next] drain_tunnels: bool = false;
        /// How long a tunnel may take to be established; 0: for ever.
        [Modify Next] tunnel_establish_timeout: u32 { 0..=86_400, "s" } = 120;
        /// How long a session may take until it carries traffic, its PPP included; 0: for ever.
        [Modify Next] session_establish_timeout: u32 { 0..=86_400, "s" } = 120;
        /// The longest wait between attempts to bring a persistent tunnel up again; the first is after a second.
        [Modify] tunnel_persist_pend_timeout: u32 { 1..=86_400, "s" } = 300;
        /// The longest wait between attempts to bring a session of a persistent tunnel up again; the first is after a second.
        [Modify] session_persist_pend_timeout: u32 { 1..=86_400, "s" } = 60;
        /// Refuses to make tunnels of our own.
        [Modify Next] deny_local_tunnel_creates: bool = false;
        /// Refuses tunnels that peers ask for.
        [Modify Next] deny_remote_tunnel_creates: bool = false;
        /// The most tunnels at a time that peers asked for and that are not established; the oldest makes room for a new one.
        [Modify Next] half_open_limit: u32 { 1..=60_000 } = 3_072;
        /// The same for a source: an IPv4 address, or the /64 of an IPv6 one.
        [Modify Next] half_open_source_limit: u32 { 1..=60_000 } = 2_048;
        /// How many tunnels, and how many calls, of a source may fail at once by its fault (a wrong secret, user or password, a faulty request)
        /// before it gets new ones only as failure_rate allows. Each success makes good for a failure.
        [Modify Next] failure_burst: u32 { 1..=1_000_000 } = 1_000;
        /// How many more may fail each second from then on; calls of a source with 100 sessions twice as many, and so on.
        [Modify Next] failure_rate: u32 { 1..=1_000_000 } = 2;
        /// What to log in detail.
        [Modify] trace_flags: TraceFlags = TraceFlags::NONE;
        /// A program that is run when tunnels, sessions and their PPP come up and go down; not set: none.
        [Modify] event_script: Program;
        /// How long that program may take before it is ended.
        [Modify] event_script_timeout: u32 { 1..=300, "s" } = 10;
        /// Sets the counters to zero; done once, not kept.
        [Action] reset_statistics: bool = false;
        /// The UDP port that the daemon serves, which its command line gives.
        [ReadOnly] udp_port: u16;
    }

    /// What is known of the peers that call, found by their host name or address.
    PeerProfile {
        /// The Host Name that the peer sends, or any name for a profile that its address selects.
        [Key] profile_name: String;
        /// The peer's address.
        [Modify] peer_ipaddr: IpAddr;
        /// How much of the peer's address counts; not set: all of it.
        [Modify] netmask: Netmask;
        /// The UDP port that the peer's requests come from, if its address selects the profile; 0: any.
        [Modify] peer_port: u16 = 0;
        /// What the peer is: a LAC may place incoming calls; an LNS outgoing ones, in which we are its PPP client, as the
        /// session profile says. OpenL2TP took every peer for both; here that has to be asked for.
        [Modify] lac_lns: LacLns = LacLns::Lac;
        /// The profile of tunnels that such a peer opens.
        [Modify] tunnel_profile_name -> TunnelProfile: String = DEFAULT_PROFILE;
        /// The profile of sessions in such a tunnel, where the tunnel says nothing.
        [Modify] session_profile_name -> SessionProfile: String = DEFAULT_PROFILE;
        /// The PPP profile of sessions in such a tunnel, where neither session nor tunnel says anything.
        [Modify] ppp_profile_name -> PppProfile: String = DEFAULT_PROFILE;
    }

    /// The parameters that tunnels and their profiles share.
    TunnelParams {
        /// The peer's host name or address; a name is resolved anew for every attempt.
        [Create] dest_ipaddr: Host;
        /// Our address; not set: the listener's, or the one that the route to the peer takes.
        [Create] src_ipaddr: IpAddr;
        /// The listener whose socket a tunnel of ours starts from; not set: the daemon's own.
        [Create] listener_name -> Listener: String;
        /// The peer's UDP port.
        [Create] peer_udp_port: u16 { 1..=65_535 } = 1701;
        /// Our UDP port; 0: the listener's or the daemon's own.
        [Create] our_udp_port: u16 = 0;
        /// Lets no packet of a session be fragmented on its way to the peer: the MTU of the path, which routers report, bounds that of the session,
        /// and less than 1280 octets with IPv6 inside, 576 without, is not believed but fragmented.
        [Create] do_pmtu_discovery | pmtu_discovery: bool = false;
        /// Whether our data messages have UDP checksums. Over IPv6 an end takes messages without them only once it has had `no` here itself, so both ends
        /// need it there, and a tunnel that is up needs it at the peer first. Control messages always have them.
        [Modify] use_udp_checksums | udp_csum: bool = true;
        /// The Host Name that we send; not set: this machine's.
        [Create] host_name: String;
        /// The secret that the peer and we share, for authentication and for hiding AVPs.
        [Create] secret: Secret;
        /// What the peer is asked for: nothing, that a peer profile matches it, or the answer to a challenge.
        [Create] auth_mode: AuthMode = AuthMode::None;
        /// Hides the values of AVPs that may be hidden; needs a secret.
        [Create] hide_avps: bool = false;
        /// The framing that we say we can do.
        [Create] framing_caps | framing_cap: Framing = Framing::Any;
        /// The bearers on which we place outgoing calls, said to peers whose lac_lns has lns.
        [Create] bearer_caps | bearer_cap: Bearer = Bearer::Any;
        /// Sends a tie breaker: where the peer opens a tunnel to us at the same time, only one of the two comes up.
        [Create] use_tiebreaker: bool = false;
        /// Whether a LAC may hand over what its own PPP agreed on, so that ours need not ask again.
        [Create] allow_ppp_proxy: bool = false;
        /// The DSCP of control messages, which we ask the peer for or grant it; not set: left to the system.
        [Create] control_dscp: u16 { 0..=63 };
        /// Ends tunnels and sessions whose peer does not agree to control_dscp or session_dscp; otherwise the peer's wish holds.
        [Create] require_dscp: bool = false;
        /// Carries the congestion marks of inner packets to the outer ones and back, if the peer does it too.
        [Create] use_ecn: bool = false;
        /// Our receive window.
        [Create] rx_window_size: u16 { 4..=32_768, "messages" } = 10;
        /// The most messages that we send before one is acknowledged; the peer's window bounds it too.
        [Create] tx_window_size: u16 { 1..=32_768, "messages" } = 10;
        /// The largest packet that sessions carry, which bounds the MTU and MRU of their PPP.
        [Modify] mtu: u16 { 128..=16_384, "octets" } = 1460;
        /// How long the peer may be silent before it is asked for a sign of life; 0: never asked.
        [Modify] hello_timeout: u32 { 0..=86_400, "s" } = 60;
        /// How often a message is sent again before the peer counts as gone.
        [Modify] max_retries: u32 { 1..=100 } = 5;
        /// How long to wait before a message is sent again; doubles up to 8 s.
        [Modify] retry_timeout: u32 { 1..=60, "s" } = 1;
        /// How long after the end of its last session a tunnel is closed; 0: it stays.
        [Modify] idle_timeout: u32 { 0..=31_536_000, "s" } = 0;
        /// The most sessions at a time; 0: no limit.
        [Modify] max_sessions: u32 { 0..=65_535 } = 0;
        /// The peer's profile.
        [Modify] peer_profile_name -> PeerProfile: String;
        /// The profile of sessions that name none.
        [Modify Next] session_profile_name -> SessionProfile: String;
        /// The PPP profile of sessions that name none, by themselves or in their profile.
        [Modify Next] ppp_profile_name -> PppProfile: String;
        /// What to log in detail of the tunnel and its sessions.
        [Modify] trace_flags: TraceFlags = TraceFlags::NONE;
    }

    /// Parameters that tunnels have in common.
    TunnelProfile {
        /// The profile's name.
        [Key] profile_name: String;
        ..params: TunnelParams
    }

    /// A tunnel that we open.
    Tunnel {
        /// The tunnel's name, for commands and listings.
        [Label] tunnel_name: String;
        /// Our Tunnel ID.
        [Id] tunnel_id: u16 { 1..=65_535 };
        /// The profile that gives what the tunnel itself does not.
        [Create] profile_name -> TunnelProfile: String = DEFAULT_PROFILE;
        /// Opens the tunnel again after an end that we did not ask for.
        [Modify] persist: bool = false;
        /// A number of the tunnel among those that we open to its peer; not set: the first that is free.
        [Create] config_id: u16 { 1..=65_535 };
        /// What the names of the devices of its sessions begin with, where they have none of their own; not set: ppp.
        [Modify Next] interface_name: InterfaceName { 1..=13 };
        ..params: TunnelParams
    }

    /// The parameters that sessions and their profiles share.
    SessionParams {
        /// The PPP profile.
        [Create] ppp_profile_name -> PppProfile: String;
        /// The framing of the call.
        [Create] framing_type: Framing = Framing::Any;
        /// The bearer of the call.
        [Create] bearer_type: Bearer = Bearer::Any;
        /// The lowest speed of an outgoing call that we ask for; 0: any.
        [Create] minimum_bps: u32 { 0..=4_294_967_295, "bits/s" } = 0;
        /// The highest speed of an outgoing call that we ask for; 0: any.
        [Create] maximum_bps: u32 { 0..=4_294_967_295, "bits/s" } = 0;
        /// The speed that we report as LAC, TX or RX:TX; of an outgoing call, as far as its LNS allows.
        [Create] connect_speed: ConnectSpeed = ConnectSpeed { tx: 1_000_000, rx: 0 };
        /// The DSCP of data messages, which we ask the peer for or grant it; not set: left to the system.
        [Create] session_dscp: u16 { 0..=63 };
        /// The Private Group ID that we send.
        [Create] priv_group_id: String;
        /// The LCP options that we, as LAC, want the LNS to ask the PPP client for, as a Configure-Request has them (RFC 3437), such as
        /// 0206000a0000 for a map of characters to escape.
        [Create] lcp_want_options: Octets;
        /// The LCP options that we, as LAC, allow the LNS to agree to; not set: all.
        [Create] lcp_allow_options: Octets;
        /// The Physical Channel ID that we send as LAC.
        [Create] physical_channel_id: u32;
        /// The name by which we, as LAC, prove to the peer who we are.
        [Create] user_name: String;
        /// The password that goes with user_name.
        [Create] user_password: Secret;
        /// The name of the network device of a session of which we are the LAC; not set: the daemon chooses.
        [Create] interface_name: InterfaceName;
        /// Numbers the data messages of a session at all times; those that come without a number are dropped. A LAC asks the LNS for it.
        [Modify Next] sequencing_required: bool = false;
        /// As the LNS, numbers the data messages that we send. A LAC numbers its own while the LNS does.
        [Modify] use_sequence_numbers: bool = false;
        /// How long a numbered data message waits for those that are missing before it; 0: not at all, so that what comes late is dropped.
        [Modify Next] reorder_timeout: u32 { 0..=10_000, "ms" } = 0;
        /// Which datapath carries the session: the kernel's gives it a device of its own.
        [Create] datapath: Datapath = Datapath::Auto;
        /// Runs no PPP: the session is there, and nothing is done with what it carries.
        [Create] no_ppp: bool = false;
        /// What to log in detail of the session, of what its tunnel's trace_flags let through; not set: all of that.
        [Modify] trace_flags: TraceFlags;
    }

    /// Parameters that sessions have in common.
    SessionProfile {
        /// The profile's name.
        [Key] profile_name: String;
        ..params: SessionParams
    }

    /// A session that we open.
    Session {
        /// The name of the session's tunnel; this or the tunnel_id is needed.
        [Label] tunnel_name -> Tunnel: String;
        /// Our Tunnel ID of the session's tunnel.
        [Label] tunnel_id: u16 { 1..=65_535 };
        /// The session's name, for commands and listings.
        [Label] session_name: String;
        /// Our Session ID.
        [Id] session_id: u16 { 1..=65_535 };
        /// The profile that gives what the session itself does not; not set: the tunnel's.
        [Create] profile_name -> SessionProfile: String;
        /// laic (we are the LAC, and place an incoming call) or lnoc (we are the LNS, and ask the peer to place an outgoing call); not
        /// set: laic on tunnels that we opened, lnoc on those that a peer opened. The others are the peer's to place.
        [Create] session_type: SessionType;
        /// The Called Number that we send.
        [Create] called_number: String;
        /// The Calling Number that we send.
        [Create] calling_number: String;
        /// The Sub-Address that we send.
        [Create] sub_address: String;
        /// Hands over to the LNS what our PPP agreed on with the client, as the five parameters that follow say.
        [Create] use_ppp_proxy: bool = false;
        /// How the client authenticated itself to us.
        [Create] proxy_auth_type: ProxyAuthType = ProxyAuthType::None;
        /// The name that the client gave.
        [Create] proxy_auth_name: String;
        /// The challenge that we gave the client.
        [Create] proxy_auth_challenge: Octets;
        /// The client's response.
        [Create] proxy_auth_response: SecretOctets;
        /// The options of the first LCP Configure-Request of the client.
        [Create] initial_rcvd_lcp_confreq: Octets;
        /// The options of the last LCP Configure-Request that we sent the client.
        [Create] last_sent_lcp_confreq: Octets;
        /// The options of the last LCP Configure-Request of the client.
        [Create] last_rcvd_lcp_confreq: Octets;
        ..params: SessionParams
    }

    /// How PPP runs in a session.
    PppProfile {
        /// The profile's name.
        [Key] profile_name: String;
        /// Who speaks PPP: the daemon itself, or a process of pppd for each session, which needs the kernel's L2TP.
        [Modify] ppp_engine: PppEngine = PppEngine::Builtin;
        /// Logs PPP's control frames in detail, if ppp_control is among the categories.
        [Modify] trace_flags: TraceFlags = TraceFlags::NONE;
        /// The largest packet that we send; the peer's MRU and the tunnel's mtu bound it too.
        [Modify] mtu: u16 { 128..=16_384, "octets" } = 1500;
        /// The largest packet that we ask the peer to send; the tunnel's mtu bounds it too.
        [Modify] mru: u16 { 128..=16_384, "octets" } = 1500;
        /// The characters that we want the peer to escape on an asynchronous line, a bit each from the lowest on; not set: we do not ask,
        /// and all are.
        [Modify] asyncmap: u32 { 0..=4_294_967_295 };
        /// How the line is framed; the map of characters is not asked for on a synchronous one.
        [Modify] sync_mode: SyncMode = SyncMode::Any;
        /// Whether PAP may be used.
        [Modify] auth_pap: bool = true;
        /// Whether CHAP with MD5 may be used.
        [Modify] auth_chap: bool = true;
        /// Whether MS-CHAPv1 may be used. It is broken: whoever hears it learns the password's hash with little work. So it is off unless
        /// this says yes, and even then CHAP and MS-CHAPv2 come first.
        [Modify] auth_mschapv1: bool = false;
        /// Whether MS-CHAPv2 may be used.
        [Modify] auth_mschapv2: bool = true;
        /// Whether EAP may be used.
        [Modify] auth_eap: bool = true;
        /// Whether a peer may do without authentication.
        [Modify] auth_none: bool = false;
        /// Whether the peer has to authenticate; not set: in sessions that we serve, not in those that we open.
        [Modify] auth_peer: bool;
        /// Whether packets are encrypted by MPPE: no, optional (if the peer does it too), or required, which ends a session where they are not. Its keys
        /// are those of MS-CHAP, so where it is required nothing else authenticates. It is no match for IPsec: nobody notices what is changed on the way, and its cipher, RC4, is broken. Once
        /// there is encryption, what comes in clear is dropped. Only a kernel without CONFIG_PPP_FILTER takes it.
        [Modify] mppe: Mppe = Mppe::No;
        /// How long MPPE's keys are: any is the longest that both ends have. Those of 40 and 56 bits keep nobody out for long; the kernel has none of 56.
        [Modify] mppe_bits: MppeBits = MppeBits::Any;
        /// Asks for MPPE's stateful mode, in which a lost packet costs those of a round trip too. It is for peers that know no other; the usual one, stateless, is taken from a
        /// peer that insists.
        [Modify] mppe_stateful: bool = false;
        /// How often the peer is challenged again; 0: never.
        [Modify] chap_interval: u32 { 0..=86_400, "s" } = 0;
        /// How often a challenge is sent before the peer has failed.
        [Modify] chap_max_challenge: u16 { 1..=255 } = 10;
        /// How long to wait before a challenge is sent again.
        [Modify] chap_restart: u32 { 1..=3_600, "s" } = 3;
        /// How often our PAP request is sent before we have failed.
        [Modify] pap_max_auth_requests | pap_max_auth_reqs: u16 { 1..=255 } = 10;
        /// How long to wait before our PAP request is sent again.
        [Modify] pap_restart_interval: u32 { 1..=3_600, "s" } = 3;
        /// How long we wait for the peer's PAP request; 0: for ever.
        [Modify] pap_timeout: u32 { 0..=3_600, "s" } = 30;
        /// How often an IPCP Configure-Request is sent before the peer counts as silent.
        [Modify] ipcp_max_config_requests | ipcp_max_cfg_reqs: u16 { 1..=255 } = 10;
        /// How many IPCP Configure-Naks are sent before options are rejected instead.
        [Modify] ipcp_max_config_naks | ipcp_max_cfg_naks: u16 { 1..=255 } = 10;
        /// How often an IPCP Terminate-Request is sent.
        [Modify] ipcp_max_terminate_requests | ipcp_max_term_reqs: u16 { 1..=255 } = 3;
        /// How long to wait before an IPCP request is sent again.
        [Modify] ipcp_retransmit_interval: u32 { 1..=3_600, "s" } = 3;
        /// How many LCP echoes may stay without answer before the link counts as dead; 0: any number.
        [Modify] lcp_echo_failure_count | lcp_echo_fail_count: u32 { 0..=1_000 } = 5;
        /// How often an LCP echo is asked for; 0: never.
        [Modify] lcp_echo_interval: u32 { 0..=86_400, "s" } = 30;
        /// How often an LCP Configure-Request is sent before the peer counts as silent.
        [Modify] lcp_max_config_requests | lcp_max_cfg_reqs: u16 { 1..=255 } = 10;
        /// How many LCP Configure-Naks are sent before options are rejected instead.
        [Modify] lcp_max_config_naks | lcp_max_cfg_naks: u16 { 1..=255 } = 10;
        /// How often an LCP Terminate-Request is sent.
        [Modify] lcp_max_terminate_requests | lcp_max_term_reqs: u16 { 1..=255 } = 3;
        /// How long to wait before an LCP request is sent again.
        [Modify] lcp_retransmit_interval: u32 { 1..=3_600, "s" } = 3;
        /// How long a session may last; 0: for ever.
        [Modify] max_connect_time: u32 { 0..=31_536_000, "s" } = 0;
        /// How long a session may carry no traffic before it is ended; 0: for ever.
        [Modify] idle_timeout: u32 { 0..=31_536_000, "s" } = 0;
        /// How often in a row a session of a persistent tunnel of ours may fail before it is given up; 0: never.
        [Modify] max_failure_count: u32 { 0..=1_000_000 } = 0;
        /// Our IPv4 address; not set: the peer's choice in sessions that we open.
        [Modify] local_ipaddr: Ipv4Addr;
        /// The peer's IPv4 address; not set: from the user, else from the pool, else the peer's choice.
        [Modify] remote_ipaddr: Ipv4Addr;
        /// The name server that the peer is told of.
        [Modify] dns_ipaddr_pri: Ipv4Addr;
        /// The second name server that the peer is told of.
        [Modify] dns_ipaddr_sec: Ipv4Addr;
        /// The NetBIOS name server that the peer is told of.
        [Modify] wins_ipaddr_pri: Ipv4Addr;
        /// The second NetBIOS name server that the peer is told of.
        [Modify] wins_ipaddr_sec: Ipv4Addr;
        /// The pool of the addresses of peers.
        [Modify] ip_pool_name -> IpPool: String;
        /// Routes everything that has no better route through the session.
        [Modify] default_route: bool = false;
        /// Answers ARP for the peer's address on the network that it is in, if we are in that too: its hosts reach the peer without a route. The
        /// kernel answers only where it forwards (net.ipv4.ip_forward).
        [Modify] proxy_arp: bool = false;
        /// Whether several links may be bundled.
        [Modify] multilink: bool = false;
        /// Asks RADIUS who the peer is.
        [Modify] use_radius: bool = false;
        /// A hint for RADIUS.
        [Modify] radius_hint: String;
        /// Whether IPv6 is negotiated.
        [Modify] use_ipv6: bool = true;
        /// Whether IPv4 is negotiated.
        [Modify] use_ipv4: bool = true;
        /// The name in our CHAP challenges; not set: the tunnel's host_name.
        [Modify] local_name: String;
        /// The name that the peer has to prove; not set: that of any user.
        [Modify] remote_name: String;
    }

    /// Somebody who may open sessions with us.
    User {
        /// The name that PPP's authentication gives.
        [Key] user_name: String;
        /// The password; who is challenged again proves the one of that time.
        [Required] password: Secret;
        /// The address of this user's end of a session, in place of one from a pool.
        [Modify] ip_address: Ipv4Addr;
    }

    /// Addresses for the peers of our sessions.
    IpPool {
        /// The pool's name.
        [Key] pool_name: String;
        /// The addresses, FIRST-LAST, both included.
        [Required] range: AddressRange;
    }

    /// Where peers reach us, and tunnels of ours may start: an address, a device, a network namespace. A daemon that starts without any serves every
    /// address of its own network.
    Listener {
        /// The listener's name.
        [Key] listener_name: String;
        /// The address; not set: every one, of IPv4 and IPv6.
        [Create] ipaddr: IpAddr;
        /// The UDP port; 0: the daemon's own.
        [Create] udp_port: u16 = 0;
        /// The only network device that it sends and receives through.
        [Create] interface_name: InterfaceName;
        /// The network namespace that it is in, a name of ip-netns(8) or a path; not set: the daemon's. The devices of sessions stay in the daemon's.
        [Create] netns: String;
    }
}
