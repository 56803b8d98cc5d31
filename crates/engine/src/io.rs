use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::{
    CommandError, Cursor, LARGEST_PAGE, Range, Response, Selector, SessionFilter, TunnelFilter,
    UserFilter,
};
use datapath::{Handle, Listener, Request};
use serde::{Deserialize, Serialize};

use crate::{Hook, PppdEvent, PppdRequest, Trace};

/// Names a question that the engine asked or a command that it was given; the answer carries it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Token(pub u64);

/// Everything that can happen to a shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// The datapath reports: a control message, a PPP frame, the end of a request.
    Datapath(datapath::Event),
    /// Management asks. Answered by one [`Output::Reply`] with the same token.
    Command {
        /// The caller's name for it.
        token: Token,
        /// What is asked.
        command: Command,
    },
    /// The answer to [`Output::Resolve`].
    Resolved {
        /// The question's token.
        token: Token,
        /// The addresses, in order of preference, or why there are none.
        result: Result<Vec<IpAddr>, String>,
    },
    /// The pppd of a session tells something.
    Pppd {
        /// The session.
        handle: Handle,
        /// What.
        event: PppdEvent,
    },
    /// The time that [`Engine::next_timeout`](crate::Engine::next_timeout) named has come. Harmless when it has not.
    Timeout,
}

/// What management can ask of a shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Takes a new model for what begins from now on; live tunnels and sessions keep what they have.
    /// Creates nothing by itself: the tunnels and sessions of a file come as commands of their own.
    SetModel(Arc<config::Model>),
    /// Opens a tunnel.
    TunnelCreate(Box<config::Tunnel>),
    /// Changes what can be changed of a tunnel, whoever opened it; what is not set stays. What a tunnel tells its peer at the start is given at its
    /// creation only.
    TunnelModify(Selector, Box<config::Tunnel>),
    /// Closes a tunnel, and forgets it if it was persistent.
    TunnelDelete(Selector),
    /// Lists tunnels. Of a list no more than [`api::LARGEST_PAGE`] items are looked at for one command.
    TunnelList(TunnelFilter, Range),
    /// Lists the tunnels that were created here, each with the sessions that were created on it, from this place on.
    OpenedList(Option<Cursor>),
    /// One tunnel. What went through it is shown as far as the datapath was asked ([`Command::TrafficRead`]).
    TunnelShow(Selector),
    /// Opens a session on a tunnel, whoever opened that; it waits for its tunnel.
    SessionCreate(Box<config::Session>),
    /// Changes what can be changed of a session that is made; what is not set stays.
    SessionModify(Selector, Selector, Box<config::Session>),
    /// Closes a session, and forgets it if its tunnel is persistent.
    SessionDelete(Selector, Selector),
    /// Lists the sessions of one tunnel or of all.
    SessionList(SessionFilter, Range),
    /// One session, with the counters of its traffic. Answered when the datapath has read them.
    SessionShow(Selector, Selector),
    /// Lists the authenticated peers.
    UserList(UserFilter, Range),
    /// Lists the peers that there are tunnels with.
    PeerList(Range),
    /// One of them, by our address and its own.
    PeerShow(IpAddr, IpAddr),
    /// The shard at a glance.
    SystemShow,
    /// Has the datapath read the counters of sessions of one tunnel or of all, a page of them from this place on, and adds them to the sums.
    /// Answered, when it has, by [`Response::TrafficRead`](api::Response::TrafficRead) with the next place.
    TrafficRead(Option<Selector>, Option<Cursor>),
    /// Every counter, since the last reset. What went through a session is in it as far as the datapath was asked
    /// ([`Command::TrafficRead`]).
    Statistics,
    /// Every counter since the shard began, whatever was reset since.
    Totals,
    /// Counts everything from zero again: of the shard, its tunnels and its sessions. The traffic of a session counts from where it is
    /// read next.
    StatisticsReset,
    /// Closes every tunnel; answered when each StopCCN is acknowledged or given up. Nothing new is accepted from then on.
    Shutdown,
}

impl Command {
    /// How many items of lists are looked at for it, at most.
    pub fn looks(&self) -> usize {
        match self {
            Self::TunnelList(..)
            | Self::SessionList(..)
            | Self::OpenedList(..)
            | Self::UserList(..)
            | Self::TrafficRead(..) => LARGEST_PAGE.into(),
            Self::PeerList(range) => range.limit(),
            _ => 0,
        }
    }
}

/// Everything that a shard wants done.
#[derive(Clone, Debug, Serialize)]
pub enum Output {
    /// Send a control message from `local` to `remote`.
    Transmit {
        /// Whose socket it leaves through.
        listener: Listener,
        /// Our address and port. An unspecified address: whichever the route takes.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
        /// The DSCP of the packet.
        dscp: u8,
        /// The UDP payload.
        payload: Vec<u8>,
    },
    /// A request to the datapath; requests take effect in order.
    Datapath(Request),
    /// Something for the pppd of a session to do.
    Pppd {
        /// The session.
        handle: Handle,
        /// What.
        request: PppdRequest,
    },
    /// Find the addresses of a host. Answered by [`Input::Resolved`].
    Resolve {
        /// To be handed back.
        token: Token,
        /// A host name or a literal address.
        host: String,
    },
    /// The answer to a command.
    Reply {
        /// The command's token.
        token: Token,
        /// How it ended.
        result: Result<Response, CommandError>,
    },
    /// Something that an operator may want to read or a program to follow.
    Event(Event),
    /// Something that the configured program is to be run for.
    Hook(Box<Hook>),
    /// Something that somebody wants to see in detail.
    Trace(Box<Trace>),
}

/// What happened, for the log and for those who follow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Event {
    /// A control connection is up.
    TunnelUp {
        /// Our Tunnel ID.
        tunnel: u16,
        /// The peer.
        remote: SocketAddr,
        /// Its Host Name.
        host_name: String,
    },
    /// A control connection ended, or could not be made.
    TunnelDown {
        /// Our Tunnel ID.
        tunnel: u16,
        /// The peer.
        remote: SocketAddr,
        /// Why.
        reason: String,
        /// Whether it was ever established.
        was_up: bool,
    },
    /// A tunnel that we made can't be tried now; it will be again if it is persistent.
    TunnelFailed {
        /// Its name or destination.
        name: String,
        /// Why.
        reason: String,
        /// Seconds until the next attempt, if there is one.
        retry_seconds: Option<u64>,
    },
    /// A tunnel was asked for and refused.
    TunnelRefused {
        /// The peer.
        remote: SocketAddr,
        /// Its Host Name.
        host_name: String,
        /// Why.
        reason: String,
    },
    /// A session carries traffic.
    SessionUp {
        /// Our Tunnel ID.
        tunnel: u16,
        /// Our Session ID.
        session: u16,
        /// Who proved to be the peer, or who we proved to be.
        user: Option<String>,
        /// The device.
        device: String,
        /// Our address and the peer's: of IPv4, else of IPv6.
        addresses: Option<(IpAddr, IpAddr)>,
    },
    /// A session ended, or could not be made.
    SessionDown {
        /// Our Tunnel ID.
        tunnel: u16,
        /// Our Session ID.
        session: u16,
        /// The tunnel's peer.
        remote: SocketAddr,
        /// Who it was.
        user: Option<String>,
        /// Why.
        reason: String,
        /// Whether it ever carried traffic.
        was_up: bool,
        /// Whether something was lacking here, which the peer is not told in full.
        fault: bool,
    },
    /// A network layer of a session's PPP came up, and carries traffic.
    PppUp {
        /// Our Tunnel ID.
        tunnel: u16,
        /// Our Session ID.
        session: u16,
        /// Our address.
        local: IpAddr,
        /// The peer's.
        peer: IpAddr,
    },
    /// One that did went down.
    PppDown {
        /// Our Tunnel ID.
        tunnel: u16,
        /// Our Session ID.
        session: u16,
        /// Our address, as it was.
        local: IpAddr,
        /// The peer's, as it was.
        peer: IpAddr,
    },
    /// A peer proved who it is, or failed to.
    Authentication {
        /// Our Tunnel ID.
        tunnel: u16,
        /// Our Session ID.
        session: u16,
        /// The tunnel's peer.
        remote: SocketAddr,
        /// The name given.
        user: String,
        /// Why not, if it failed; the peer is not told.
        failure: Option<&'static str>,
    },
}

impl Event {
    /// The peer that this is about, where it is none that works but one that only tries: logs say so much of a source and no more.
    pub fn about_stranger(&self) -> Option<SocketAddr> {
        match *self {
            Self::TunnelRefused { remote, .. }
            | Self::TunnelDown {
                remote,
                was_up: false,
                ..
            }
            | Self::SessionDown {
                remote,
                was_up: false,
                ..
            }
            | Self::Authentication {
                remote,
                failure: Some(_),
                ..
            } => Some(remote),
            _ => None,
        }
    }
}
