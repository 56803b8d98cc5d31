use std::net::IpAddr;

use config::Object;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    Cursor, DatapathStatus, Page, PeerStatus, Range, ReloadReport, Selector, SessionFilter,
    SessionStatus, Statistics, SystemStatus, TunnelFilter, TunnelStatus, UserFilter, UserStatus,
};

/// Parameters by the names that the configuration declares. A value is a JSON scalar; a string may stand for any of them, in the form of the
/// configuration file (`"60"`, `"yes"`), and `null` unsets what is modified.
pub type Parameters = Map<String, Value>;

/// Objects of the configuration that are kept in collections by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Collection {
    /// How to treat a peer that calls.
    PeerProfiles,
    /// Defaults of tunnels.
    TunnelProfiles,
    /// Defaults of sessions.
    SessionProfiles,
    /// Defaults of PPP.
    PppProfiles,
    /// Those who may log in here.
    Users,
    /// Ranges of addresses for those who do.
    IpPools,
    /// Where peers reach us.
    Listeners,
}

impl Collection {
    /// The collection of objects of this class, if they are kept in one.
    pub fn of(object: Object) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|collection| collection.object() == object)
    }

    /// The class of its objects.
    pub const fn object(self) -> Object {
        match self {
            Self::PeerProfiles => Object::PeerProfile,
            Self::TunnelProfiles => Object::TunnelProfile,
            Self::SessionProfiles => Object::SessionProfile,
            Self::PppProfiles => Object::PppProfile,
            Self::Users => Object::User,
            Self::IpPools => Object::IpPool,
            Self::Listeners => Object::Listener,
        }
    }

    /// Every collection.
    pub const ALL: [Self; 7] = [
        Self::PeerProfiles,
        Self::TunnelProfiles,
        Self::SessionProfiles,
        Self::PppProfiles,
        Self::Users,
        Self::IpPools,
        Self::Listeners,
    ];

    /// Where it is. The users and pools of the configuration stand apart from the live ones.
    pub const fn path(self) -> &'static str {
        match self {
            Self::PeerProfiles => "/v1/peer_profiles",
            Self::TunnelProfiles => "/v1/tunnel_profiles",
            Self::SessionProfiles => "/v1/session_profiles",
            Self::PppProfiles => "/v1/ppp_profiles",
            Self::Users => "/v1/config/users",
            Self::IpPools => "/v1/config/ip_pools",
            Self::Listeners => "/v1/listeners",
        }
    }
}

/// How metrics are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricsFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus before that, 0.0.4.
    Prometheus,
}

impl MetricsFormat {
    /// The one that an Accept header of HTTP asks for: OpenMetrics, unless it names `text/plain` and not that.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("text/plain") && !accept.contains("application/openmetrics-text") {
            Self::Prometheus
        } else {
            Self::OpenMetrics
        }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Everything that can be asked of the daemon. The client writes it as HTTP and the server's routes read it back.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// `GET /v1/tunnels`: answered with [`Response::Tunnels`].
    TunnelList(TunnelFilter, Range),
    /// `POST /v1/tunnels`: opens a tunnel; answered with [`Response::Tunnel`].
    TunnelCreate(Parameters),
    /// `GET /v1/tunnels/{tunnel}`: answered with [`Response::Tunnel`].
    TunnelShow(Selector),
    /// `PATCH /v1/tunnels/{tunnel}`: changes the parameters given and no other.
    TunnelModify(Selector, Parameters),
    /// `DELETE /v1/tunnels/{tunnel}`: closes it.
    TunnelDelete(Selector),
    /// `GET /v1/sessions` or `GET /v1/tunnels/{tunnel}/sessions`: answered with [`Response::Sessions`].
    SessionList(SessionFilter, Range),
    /// `POST /v1/tunnels/{tunnel}/sessions`: opens a session; answered with [`Response::Session`].
    SessionCreate(Selector, Parameters),
    /// `GET /v1/tunnels/{tunnel}/sessions/{session}`: answered with [`Response::Session`].
    SessionShow(Selector, Selector),
    /// `PATCH /v1/tunnels/{tunnel}/sessions/{session}`: changes the parameters given and no other.
    SessionModify(Selector, Selector, Parameters),
    /// `DELETE /v1/tunnels/{tunnel}/sessions/{session}`: closes it.
    SessionDelete(Selector, Selector),
    /// `GET /v1/users`: those who are logged in; answered with [`Response::Users`].
    UserList(UserFilter, Range),
    /// `GET /v1/peers`: those that we have tunnels with; answered with [`Response::Peers`].
    PeerList(Range),
    /// `GET /v1/peers/{local}/{remote}`: one of them, by our address and its own; answered with [`Response::Peer`].
    PeerShow(IpAddr, IpAddr),
    /// `GET /v1/system`: answered with [`Response::System`].
    SystemShow,
    /// `GET /v1/system/statistics`: answered with [`Response::Statistics`].
    SystemStatistics,
    /// `GET /v1/system/datapath`: tries what each engine needs; answered with [`Response::Datapath`].
    SystemDatapath,
    /// `GET /metrics`: everything for Prometheus, whatever was reset; answered with [`Response::Text`] in that format.
    Metrics(MetricsFormat),
    /// `POST /v1/system/statistics/reset`: counts everything from zero again.
    StatisticsReset,
    /// `GET /v1/config/system`: the system's parameters; answered with [`Response::Object`].
    SystemParameters,
    /// `PATCH /v1/config/system`: changes some of them.
    SystemModify(Parameters),
    /// `POST /v1/config/reload`: reads the configuration file again and applies what is different; with the parameter `dry_run` only says
    /// what would be. Answered with [`Response::Reload`], and refused with all that is wrong with the file.
    ConfigReload(Parameters),
    /// `GET /v1/config/file`: the configuration as the commands that make it, secrets in clear; answered with [`Response::Text`].
    ConfigFile,
    /// `GET` of a [`Collection`]: answered with [`Response::Objects`].
    ObjectList(Collection, Range),
    /// `POST` to a collection: the name is among the parameters.
    ObjectCreate(Collection, Parameters),
    /// `GET` of one of a collection, by name: answered with [`Response::Object`].
    ObjectShow(Collection, String),
    /// `PATCH` of one of a collection, by name: changes the parameters given and no other.
    ObjectModify(Collection, String, Parameters),
    /// `DELETE` of one of a collection, by name.
    ObjectDelete(Collection, String),
}

impl Request {
    /// Which part of a list it asks for, if it asks for a list.
    pub fn range_mut(&mut self) -> Option<&mut Range> {
        match self {
            Self::TunnelList(_, range)
            | Self::SessionList(_, range)
            | Self::UserList(_, range)
            | Self::PeerList(range)
            | Self::ObjectList(_, range) => Some(range),
            _ => None,
        }
    }
}

/// A tunnel or session that was created here, by the file or on request, with its own parameters as they are now.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Opened {
    /// A tunnel; the sessions that follow are its.
    Tunnel(Box<config::Tunnel>),
    /// A session of the tunnel that came last.
    Session(Box<config::Session>),
}

/// What a request is answered with. As JSON it is the content alone; what it is, the request says.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// Done, with nothing to say.
    Done,
    /// One tunnel.
    Tunnel(Box<TunnelStatus>),
    /// Tunnels.
    Tunnels(Page<TunnelStatus>),
    /// One session.
    Session(Box<SessionStatus>),
    /// Sessions.
    Sessions(Page<SessionStatus>),
    /// Authenticated peers.
    Users(Page<UserStatus>),
    /// One peer.
    Peer(PeerStatus),
    /// Peers.
    Peers(Page<PeerStatus>),
    /// The daemon at a glance.
    System(SystemStatus),
    /// Every counter.
    Statistics(Statistics),
    /// What carries sessions, and could.
    Datapath(Box<DatapathStatus>),
    /// What the configuration file changed.
    Reload(Box<ReloadReport>),
    /// What was opened here, for the daemon itself, which serves it to nobody in this form: secrets are in it.
    Opened(Page<Opened>),
    /// So far counters were read; where to go on, if that was not all. For the daemon itself, too.
    TrafficRead(Option<Cursor>),
    /// Plain text, not JSON.
    Text(String),
    /// One object of the configuration: every parameter with its value, `null` where it has none. Secrets are never among them.
    Object(Parameters),
    /// Objects of the configuration.
    Objects(Page<Parameters>),
}
