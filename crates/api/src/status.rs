use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use config::{Bearer, Framing, SessionType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Parameters;
use crate::schema::{session, tunnel, word, word_or_null};

/// Who brought a tunnel or session into being.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Our configuration or an operator.
    Admin,
    /// The peer asked for it.
    Peer,
}

/// Our part in a call (RFC 2661 section 1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// L2TP Access Concentrator.
    Lac,
    /// L2TP Network Server.
    Lns,
}

/// State of a control connection; the protocol's are those of RFC 2661 section 7.2.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum TunnelState {
    /// The peer's name is being resolved.
    Resolving,
    /// SCCRQ sent.
    WaitCtlReply,
    /// SCCRP sent.
    WaitCtlConn,
    /// Open.
    Established,
    /// StopCCN sent or received; kept a while to answer retransmissions.
    Closing,
    /// Down; a persistent tunnel that waits for its next attempt.
    Retry,
}

impl TunnelState {
    /// Every state, in the order of the declaration.
    pub const ALL: [Self; 6] = [
        Self::Resolving,
        Self::WaitCtlReply,
        Self::WaitCtlConn,
        Self::Established,
        Self::Closing,
        Self::Retry,
    ];
}

/// State of a session: its call's (RFC 2661 sections 7.4 and 7.5) and then its PPP's.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// Waits for its tunnel.
    WaitTunnel,
    /// ICRQ or OCRQ sent.
    WaitReply,
    /// At the LNS: ICRP sent, or OCRP received.
    WaitConnect,
    /// At the LAC of an outgoing call: OCRP sent, and the bearer is being opened.
    WaitCsAnswer,
    /// The call is up and PPP negotiates the link.
    Link,
    /// PPP authenticates.
    Authenticating,
    /// PPP negotiates the network layer.
    Network,
    /// Traffic flows.
    Established,
    /// Being torn down.
    Closing,
    /// Down; a session of a persistent tunnel that waits for its next attempt.
    Retry,
}

impl SessionState {
    /// Every state, in the order of the declaration.
    pub const ALL: [Self; 10] = [
        Self::WaitTunnel,
        Self::WaitReply,
        Self::WaitConnect,
        Self::WaitCsAnswer,
        Self::Link,
        Self::Authenticating,
        Self::Network,
        Self::Established,
        Self::Closing,
        Self::Retry,
    ];
}

macro_rules! display_as_serialized {
    ($($t:ty),*) => {$(
        impl std::fmt::Display for $t {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.serialize(f)
            }
        }
    )*};
}
display_as_serialized!(Origin, Role, TunnelState, SessionState);

/// What the peer said of itself in its SCCRQ or SCCRP.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TunnelPeer {
    /// Its Tunnel ID.
    pub tunnel_id: u16,
    /// Host Name.
    pub host_name: String,
    /// Vendor Name.
    pub vendor_name: Option<String>,
    /// Protocol Version: version and revision, as in `1.0`.
    pub protocol_version: String,
    /// Tie Breaker of its SCCRQ, hexadecimal, if it sent one.
    pub tie_breaker: Option<String>,
    /// Firmware Revision.
    pub firmware_revision: Option<u16>,
    /// Receive Window Size; 4 when it did not say.
    pub rx_window_size: u16,
    /// Framing Capabilities.
    #[schemars(schema_with = "word_or_null::<Framing>")]
    pub framing_caps: Option<Framing>,
    /// Bearer Capabilities: on what it places outgoing calls, if it said.
    #[schemars(schema_with = "word_or_null::<Bearer>")]
    pub bearer_caps: Option<Bearer>,
}

/// The reliable transport of a control connection (RFC 2661 section 5.8 and appendix A).
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TransportStatus {
    /// Next sequence number to send.
    pub ns: u16,
    /// Next sequence number expected.
    pub nr: u16,
    /// Ns of the peer's last message.
    pub peer_ns: u16,
    /// Nr of the peer's last message.
    pub peer_nr: u16,
    /// Messages that may be on the way: the peer's receive window as far as `tx_window_size` lets us use it.
    pub tx_window: u16,
    /// Congestion window, messages.
    pub cwnd: u16,
    /// Slow start threshold, messages.
    pub ssthresh: u16,
    /// Acknowledgements since the congestion window last grew, in congestion avoidance.
    pub congestion_acks: u16,
    /// Messages sent and not acknowledged.
    pub unacknowledged: u32,
    /// Messages that wait for the window.
    pub queued: u32,
    /// Messages sent again.
    pub retransmits: u64,
    /// Messages received again.
    pub duplicates: u64,
    /// Messages received before their predecessors, and kept.
    pub out_of_order: u64,
    /// Messages received too far ahead of their predecessors, and dropped.
    pub out_of_window: u64,
    /// Control datagrams received.
    pub rx_packets: u64,
    /// Their octets, those of UDP's payload.
    pub rx_bytes: u64,
    /// Control datagrams sent.
    pub tx_packets: u64,
    /// Their octets.
    pub tx_bytes: u64,
    /// Acknowledgements without a message (ZLB) received.
    pub rx_zlbs: u64,
    /// Acknowledgements without a message sent.
    pub tx_zlbs: u64,
    /// HELLOs received.
    pub rx_hellos: u64,
    /// HELLOs sent.
    pub tx_hellos: u64,
}

/// What went through the sessions of a tunnel, those that are gone included. Octets and packets are those of IP; the rest is of data messages.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TunnelTraffic {
    /// Packets received from the peer and given to the host.
    pub rx_packets: u64,
    /// Their octets.
    pub rx_bytes: u64,
    /// Messages received that could not be used.
    pub rx_errors: u64,
    /// Packets sent to the peer.
    pub tx_packets: u64,
    /// Their octets.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Messages that came after a later one and were put in their place.
    pub rx_out_of_order: u64,
    /// Sequence numbers that were skipped: not there in time, if at all.
    pub rx_lost: u64,
    /// Messages dropped because they came too late, or twice.
    pub rx_discarded: u64,
    /// Messages dropped because they had no sequence number where one is required.
    pub rx_unnumbered: u64,
}

/// How a tunnel or session ended, as StopCCN and CDN say it (RFC 2661 section 4.4.2): numbers and what they mean.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EndReason {
    /// Who ended it.
    pub by: String,
    /// Result Code; 0 when no message said one.
    pub result: u16,
    /// What it means, if that is known.
    pub result_text: Option<String>,
    /// General Error Code.
    pub error: Option<u16>,
    /// What it means, if that is known.
    pub error_text: Option<String>,
    /// The message's own words.
    pub message: Option<String>,
    /// Why PPP ended (RFC 3145).
    pub ppp_cause: Option<PppDisconnect>,
    /// Why the ISDN call ended.
    pub q931_cause: Option<Q931Disconnect>,
}

/// Why the PPP link of a session ended (RFC 3145).
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PppDisconnect {
    /// Disconnect Code.
    pub code: u16,
    /// What it means, if that is known.
    pub text: Option<String>,
    /// PPP protocol number of the control protocol that it is about; 0 if of none.
    pub protocol: u16,
    /// 0: of no end; 1: the peer of who said it; 2: who said it.
    pub direction: u8,
    /// Its own words.
    pub message: Option<String>,
}

/// Why the ISDN call of a session ended.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Q931Disconnect {
    /// Q.931 cause value.
    pub code: u16,
    /// What it means, if that is known.
    pub text: Option<String>,
    /// Number of the Q.931 message.
    pub message: u8,
    /// Advisory text.
    pub advisory: Option<String>,
}

/// A tunnel as `show` and `list` have it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TunnelStatus {
    /// Our Tunnel ID; absent while the tunnel waits for its next attempt.
    pub tunnel_id: Option<u16>,
    /// The name given at creation.
    pub tunnel_name: Option<String>,
    /// Where it is.
    pub state: TunnelState,
    /// Who made it.
    pub created_by: Origin,
    /// Whether it is brought up again after an end that we did not ask for.
    pub persist: bool,
    /// Our address and port; an unspecified address is not known yet.
    pub local: Option<SocketAddr>,
    /// The peer's address and port.
    pub remote: Option<SocketAddr>,
    /// The host name or address that was asked for.
    pub dest_ipaddr: Option<String>,
    /// The tunnel profile.
    pub profile_name: String,
    /// The Host Name that we send.
    pub host_name: String,
    /// The peer, once heard.
    pub peer: Option<TunnelPeer>,
    /// Sessions on it.
    pub sessions: u32,
    /// Seconds in this state.
    pub seconds: u64,
    /// Seconds since it was made.
    pub age: u64,
    /// Attempts that failed since it was up last.
    pub establish_retries: u32,
    /// Tie Breaker of our SCCRQ, hexadecimal, if it had one.
    pub tie_breaker: Option<String>,
    /// The transport, while there is one.
    pub transport: Option<TransportStatus>,
    /// What went through its sessions; `list` goes without.
    pub traffic: Option<TunnelTraffic>,
    /// The listener whose socket it runs on; absent: the daemon's own.
    pub listener_name: Option<String>,
    /// The trace categories that are on for it, beside the system's.
    pub trace_flags: String,
    /// The largest IP packet that the path to the peer takes, octets; where that bounds the sessions, and once they have made it known.
    pub path_mtu: Option<u16>,
    /// Why the last attempt or the last connection ended.
    pub last_error: Option<String>,
    /// The same in its parts, where a message or the lack of one ended it.
    pub last_end: Option<EndReason>,
    /// All that it is run by, with what its profiles and defaults give; secrets masked. Lists are without.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    #[schemars(schema_with = "tunnel")]
    pub parameters: Parameters,
}

/// What both ends of a session said of its call (RFC 2661 sections 6.6 to 6.11), or will say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CallStatus {
    /// Which end of it we are, and which way it goes.
    #[schemars(schema_with = "word::<SessionType>")]
    pub session_type: SessionType,
    /// Call Serial Number, once there is a call.
    pub call_serial_number: Option<u32>,
    /// Physical Channel ID.
    pub physical_channel_id: Option<u32>,
    /// Minimum BPS of an outgoing call, bits a second.
    pub minimum_bps: Option<u32>,
    /// Maximum BPS of an outgoing call, bits a second.
    pub maximum_bps: Option<u32>,
    /// Bearer Type: `none`, `digital`, `analog` or `any`.
    #[schemars(schema_with = "word_or_null::<Bearer>")]
    pub bearer_type: Option<Bearer>,
    /// Framing Type: `none`, `sync`, `async` or `any`.
    #[schemars(schema_with = "word::<Framing>")]
    pub framing_type: Framing,
    /// (Tx) Connect Speed, bits a second to the remote system.
    pub tx_connect_speed: Option<u32>,
    /// Rx Connect Speed, bits a second from the remote system; where it is absent, as to it.
    pub rx_connect_speed: Option<u32>,
    /// Called Number.
    pub called_number: Option<String>,
    /// Calling Number.
    pub calling_number: Option<String>,
    /// Sub-Address.
    pub sub_address: Option<String>,
    /// Private Group ID.
    pub priv_group_id: Option<String>,
}

/// What went through a session since it was established. Octets and packets are those of IP; the rest is of data messages.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionTraffic {
    /// Packets received from the peer and given to the host.
    pub rx_packets: u64,
    /// Their octets.
    pub rx_bytes: u64,
    /// Messages received that could not be used.
    pub rx_errors: u64,
    /// Packets sent to the peer.
    pub tx_packets: u64,
    /// Their octets.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// What we send has sequence numbers now.
    pub tx_sequenced: bool,
    /// The peer's last message had one.
    pub rx_sequenced: bool,
    /// Messages that came after a later one and were put in their place.
    pub rx_out_of_order: u64,
    /// Sequence numbers that were skipped: not there in time, if at all.
    pub rx_lost: u64,
    /// Messages dropped because they came too late, or twice.
    pub rx_discarded: u64,
    /// Messages dropped because they had no sequence number where one is required.
    pub rx_unnumbered: u64,
    /// The kernel says that the tunnel's socket has IPsec policies of its own; policies of the whole host, which IKE daemons make, are not told here.
    pub using_ipsec: bool,
}

/// What the ends of a session said of its line and its service (RFC 2661 section 4.4.6, RFCs 3308 and 5515).
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LineStatus {
    /// The DSCP of data messages, as agreed.
    pub dscp: Option<u8>,
    /// What the LAC said of the subscriber's access line: rates in bits a second, delays in milliseconds.
    pub access_line: BTreeMap<String, String>,
    /// What the LAC reported of its line (WEN).
    pub errors: Option<LineErrors>,
    /// The characters that the LAC escapes when it sends, and those that are escaped for it (SLI).
    pub accm: Option<(u32, u32)>,
    /// The options of the last LCP Configure-Request that the LNS sent, in hexadecimal digits (SLI of RFC 3437).
    pub lns_last_sent: Option<String>,
    /// Those of the last one that it received.
    pub lns_last_received: Option<String>,
}

/// What went wrong on a call's line since it was established.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LineErrors {
    /// Frames with a wrong CRC.
    pub crc: u32,
    /// Improperly framed packets.
    pub framing: u32,
    /// Receive buffer overruns in the hardware.
    pub hardware_overruns: u32,
    /// Buffer overruns.
    pub buffer_overruns: u32,
    /// Time-outs.
    pub timeouts: u32,
    /// Alignment errors.
    pub alignment: u32,
}

/// A session as `show` and `list` have it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionStatus {
    /// Our Tunnel ID.
    pub tunnel_id: Option<u16>,
    /// The tunnel's name.
    pub tunnel_name: Option<String>,
    /// Our Session ID.
    pub session_id: Option<u16>,
    /// The session's name.
    pub session_name: Option<String>,
    /// The peer's Session ID.
    pub peer_session_id: Option<u16>,
    /// Our part in the call.
    pub role: Role,
    /// What is known of the call.
    #[serde(flatten)]
    pub call: CallStatus,
    /// Where it is.
    pub state: SessionState,
    /// Who made it.
    pub created_by: Origin,
    /// The session profile.
    pub profile_name: String,
    /// The PPP profile.
    pub ppp_profile_name: String,
    /// The name that authenticated: the peer's at the server, ours at the client.
    pub user_name: Option<String>,
    /// The authentication protocol that was used.
    pub auth_protocol: Option<String>,
    /// How packets are encrypted by MPPE, if they are: the keys' bits and the mode, as in `128 stateless`.
    pub mppe: Option<String>,
    /// The datapath engine.
    pub datapath: String,
    /// Why no faster engine carries it, where that is known.
    pub no_faster_datapath: Option<String>,
    /// The network device.
    pub interface_name: Option<String>,
    /// Our IPv4 address inside.
    pub local_ipaddr: Option<Ipv4Addr>,
    /// The peer's IPv4 address inside.
    pub remote_ipaddr: Option<Ipv4Addr>,
    /// Name servers that the peer gave us.
    pub dns: Vec<IpAddr>,
    /// Our link-local address inside.
    pub local_ipv6: Option<IpAddr>,
    /// The peer's link-local address inside.
    pub remote_ipv6: Option<IpAddr>,
    /// The largest IP packet sent.
    pub mtu: Option<u16>,
    /// Its traffic, while it is in the datapath; `list` goes without.
    pub traffic: Option<SessionTraffic>,
    /// What was said of its line and service, while there is a call.
    pub line: Option<LineStatus>,
    /// The trace categories that are on for it, beside the system's.
    pub trace_flags: String,
    /// Seconds in this state.
    pub seconds: u64,
    /// Seconds since it was made; absent while a call of the peer's is being set up.
    pub age: Option<u64>,
    /// Why the last attempt ended.
    pub last_error: Option<String>,
    /// The same in its parts, where the call had been placed.
    pub last_end: Option<EndReason>,
    /// All that it is run by, with what its profiles and defaults give; secrets masked. Lists are without.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    #[schemars(schema_with = "session")]
    pub parameters: Parameters,
}

/// An authenticated peer of ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct UserStatus {
    /// The name it proved.
    pub user_name: String,
    /// Our Tunnel ID.
    pub tunnel_id: u16,
    /// Our Session ID.
    pub session_id: u16,
    /// Its IPv4 address.
    pub ip_address: Option<Ipv4Addr>,
    /// The tunnel's peer.
    pub remote: SocketAddr,
    /// Seconds since it proved it.
    pub seconds: u64,
}

/// A peer: where tunnels lead to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PeerStatus {
    /// Our address, as the peer reaches it; unspecified while it is not known.
    pub local_ipaddr: IpAddr,
    /// The peer's address.
    pub peer_ipaddr: IpAddr,
    /// Tunnels between them.
    pub tunnels: u32,
}

/// The daemon at a glance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SystemStatus {
    /// The program's version.
    pub version: String,
    /// The UDP port that it serves.
    pub udp_port: u16,
    /// The datapath engine of new sessions.
    pub datapath: String,
    /// Tunnels of whatever state.
    pub tunnels: u32,
    /// Those that are established.
    pub tunnels_established: u32,
    /// Those that peers opened and that were never established.
    pub tunnels_half_open: u32,
    /// Tunnels as they are listed, those that wait for their next attempt included, in each state.
    pub tunnels_by_state: BTreeMap<TunnelState, u32>,
    /// Sessions of whatever state.
    pub sessions: u32,
    /// Those whose traffic flows.
    pub sessions_established: u32,
    /// Sessions as they are listed, those that wait for their tunnel or their next attempt included, in each state.
    pub sessions_by_state: BTreeMap<SessionState, u32>,
    /// Seconds since the daemon started.
    pub seconds: u64,
}

/// What carries sessions, and what this machine could do: each engine's parts were tried when it was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DatapathStatus {
    /// What the daemon was told to take: `auto`, or one engine.
    pub datapath: String,
    /// The engine that takes sessions on the shared device which leave it open. Where `datapath` is `auto`, `ebpf` takes those without UDP checksums
    /// and leaves the others to `tun`.
    pub shared_device: String,
    /// The same of sessions with a device of their own.
    pub own_device: String,
    /// The kernel's release.
    pub kernel_release: String,
    /// The engines of this program.
    pub engines: Vec<EngineStatus>,
}

/// What this machine can do for one engine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EngineStatus {
    /// Its name: `kernel`, `ebpf`, `tun`.
    pub engine: String,
    /// Whether all that it needs is there.
    pub usable: bool,
    /// What was tried.
    pub parts: Vec<EnginePart>,
}

/// What became of one thing that was tried for an engine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EnginePart {
    /// What: `/dev/net/tun`, `self-test`.
    pub part: String,
    /// Whether it is there.
    pub available: bool,
    /// Whether the engine can't be without it.
    pub needed: bool,
    /// How it is there, or why it is not.
    pub detail: String,
}

/// Counters by name: `malformed.header`, `received.sccrq`. Every name is listed, counted or not.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Statistics(pub BTreeMap<String, u64>);

/// The kinds of refusal, which programs may tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request itself is wrong.
    Invalid,
    /// There is no such object.
    NotFound,
    /// There is nothing of this path in the interface.
    NoResource,
    /// It is not for those who use this socket.
    Forbidden,
    /// There is such an object already.
    Exists,
    /// A limit or a lack of resources forbids it.
    Resources,
    /// It was cut short by the daemon's end.
    Shutdown,
}

/// A command that was refused.
#[derive(Clone, PartialEq, Eq, Debug, Error, Serialize, Deserialize, JsonSchema)]
#[error("{message}")]
pub struct CommandError {
    /// What kind of refusal.
    pub kind: ErrorKind,
    /// What a person should read.
    pub message: String,
}

impl CommandError {
    /// A refusal of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}
