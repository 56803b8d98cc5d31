//! Every resource, what can be done with it, and which request that comes to.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response as HttpResponse;
use config::Object;
use schemars::JsonSchema;
use serde::Deserialize;

use super::access::{ReadOnly, forbidden};
use super::input::{Given, Segments, Session, Tunnel};
use super::interface::{Interface, Operation};
use super::query::{Query, invalid};
use super::{Backed, Backend, answer, answer_if, captures, events, traces};
use crate::{
    CapturedPacket, Collection, DatapathStatus, EventRecord, MetricsFormat, PeerStatus,
    ReloadReport, Request, SessionFilter, SessionStatus, Statistics, SystemStatus, TraceEvent,
    TunnelFilter, TunnelStatus, UserFilter, UserStatus,
};

/// Filters of lists that have none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The parameters of a reload.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "the backend reads what it describes")]
struct Reload {
    /// Only says what would be.
    #[schemars(default)]
    dry_run: bool,
}

/// All of them.
pub(super) fn interface<B: Backend>() -> Interface<B> {
    let interface = system(streams(sessions(tunnels(Interface::new()))));
    let interface = Collection::ALL.into_iter().fold(interface, collection);
    interface.described_at("/v1/openapi.json")
}

fn tunnels<B: Backend>(interface: Interface<B>) -> Interface<B> {
    interface
        .at(
            "/v1/tunnels",
            [
                Operation::get("Lists tunnels.", |State(b): Backed<B>, query: Query| {
                    let page = query.page(|f, r| Ok(Request::TunnelList(f, r)));
                    answer_if(b, page)
                })
                .lists::<TunnelFilter, TunnelStatus>(),
                Operation::post("Opens a tunnel.", |State(b): Backed<B>, body: Given| {
                    create(b, Request::TunnelCreate(body.0))
                })
                .creates(Object::Tunnel)
                .answers::<TunnelStatus>(),
            ],
        )
        .at(
            "/v1/tunnels/{tunnel}",
            [
                Operation::get(
                    "Shows a tunnel.",
                    |State(b): Backed<B>, Tunnel(t): Tunnel| answer(b, Request::TunnelShow(t)),
                )
                .answers::<TunnelStatus>(),
                Operation::patch(
                    "Changes the parameters given of a tunnel.",
                    |State(b): Backed<B>, Tunnel(t): Tunnel, body: Given| {
                        answer(b, Request::TunnelModify(t, body.0))
                    },
                )
                .modifies(Object::Tunnel),
                Operation::delete(
                    "Closes a tunnel.",
                    |State(b): Backed<B>, Tunnel(t): Tunnel| answer(b, Request::TunnelDelete(t)),
                ),
            ],
        )
        .at(
            "/v1/peers",
            [Operation::get(
                "Lists those that there are tunnels with.",
                |State(b): Backed<B>, query: Query| {
                    let page = query.page(|Nothing {}, r| Ok(Request::PeerList(r)));
                    answer_if(b, page)
                },
            )
            .lists::<Nothing, PeerStatus>()],
        )
        .at(
            "/v1/peers/{local}/{remote}",
            [Operation::get("Shows one of them.", show_peer::<B>).answers::<PeerStatus>()],
        )
}

fn sessions<B: Backend>(interface: Interface<B>) -> Interface<B> {
    interface
        .at(
            "/v1/sessions",
            [
                Operation::get("Lists sessions.", |State(b): Backed<B>, query: Query| {
                    let page = query.page(|f, r| Ok(Request::SessionList(f, r)));
                    answer_if(b, page)
                })
                .lists::<SessionFilter, SessionStatus>()
                .looks_up(),
            ],
        )
        .at(
            "/v1/tunnels/{tunnel}/sessions",
            [
                Operation::get("Lists the sessions of a tunnel.", list_sessions_of::<B>)
                    .lists::<SessionFilter, SessionStatus>(),
                Operation::post(
                    "Opens a session.",
                    |State(b): Backed<B>, Tunnel(t): Tunnel, body: Given| {
                        create(b, Request::SessionCreate(t, body.0))
                    },
                )
                .creates(Object::Session)
                .answers::<SessionStatus>(),
            ],
        )
        .at(
            "/v1/tunnels/{tunnel}/sessions/{session}",
            [
                Operation::get(
                    "Shows a session.",
                    |State(b): Backed<B>, Session(t, s): Session| {
                        answer(b, Request::SessionShow(t, s))
                    },
                )
                .answers::<SessionStatus>(),
                Operation::patch(
                    "Changes the parameters given of a session.",
                    |State(b): Backed<B>, Session(t, s): Session, body: Given| {
                        answer(b, Request::SessionModify(t, s, body.0))
                    },
                )
                .modifies(Object::Session),
                Operation::delete(
                    "Closes a session.",
                    |State(b): Backed<B>, Session(t, s): Session| {
                        answer(b, Request::SessionDelete(t, s))
                    },
                ),
            ],
        )
        .at(
            "/v1/users",
            [Operation::get(
                "Lists those who are logged in.",
                |State(b): Backed<B>, query: Query| {
                    let page = query.page(|f, r| Ok(Request::UserList(f, r)));
                    answer_if(b, page)
                },
            )
            .lists::<UserFilter, UserStatus>()],
        )
}

fn streams<B: Backend>(interface: Interface<B>) -> Interface<B> {
    interface
        .at(
            "/v1/events",
            [Operation::get("Follows what happens.", events::follow::<B>)
                .query::<events::EventQuery>()
                .streams::<EventRecord>()],
        )
        .at(
            "/v1/trace",
            [
                Operation::get("Follows the messages of a peer.", traces::of_peer::<B>)
                    .query::<traces::PeerQuery>()
                    .streams::<TraceEvent>(),
            ],
        )
        .at(
            "/v1/tunnels/{tunnel}/trace",
            [
                Operation::get("Follows the messages of a tunnel.", traces::of_tunnel::<B>)
                    .query::<traces::TraceQuery>()
                    .streams::<TraceEvent>(),
            ],
        )
        .at(
            "/v1/tunnels/{tunnel}/sessions/{session}/trace",
            [Operation::get(
                "Follows the messages of a session.",
                traces::of_session::<B>,
            )
            .query::<traces::TraceQuery>()
            .streams::<TraceEvent>()],
        )
        .at(
            "/v1/tunnels/{tunnel}/sessions/{session}/capture",
            [Operation::get(
                "Follows the packets of a session. What `ebpf` carries is carried by `tun` meanwhile.",
                captures::of_session::<B>,
            )
            .streams::<CapturedPacket>()
            .forbidden()],
        )
}

fn system<B: Backend>(interface: Interface<B>) -> Interface<B> {
    interface
        .at(
            "/v1/system",
            [
                Operation::get("Shows the daemon at a glance.", |State(b): Backed<B>| {
                    answer(b, Request::SystemShow)
                })
                .answers::<SystemStatus>(),
            ],
        )
        .at(
            "/v1/system/statistics",
            [
                Operation::get("Shows every counter.", |State(b): Backed<B>| {
                    answer(b, Request::SystemStatistics)
                })
                .answers::<Statistics>(),
            ],
        )
        .at(
            "/v1/system/datapath",
            [
                Operation::get(
                    "Tries what this machine can do for each engine that carries sessions. There is a network device more for some milliseconds.",
                    |State(b): Backed<B>| answer(b, Request::SystemDatapath),
                )
                .answers::<DatapathStatus>(),
            ],
        )
        .at(
            "/metrics",
            [Operation::get(
                "Shows every counter for Prometheus: as OpenMetrics, or in its older text format where Accept names text/plain only.",
                metrics::<B>,
            )
            .answers_text(MetricsFormat::OpenMetrics.media_type())],
        )
        .at(
            "/v1/system/statistics/reset",
            [Operation::post(
                "Counts from zero again.",
                |State(b): Backed<B>| answer(b, Request::StatisticsReset),
            )],
        )
        .at(
            "/v1/config/system",
            [
                Operation::get(
                    "Shows the parameters of the system.",
                    |State(b): Backed<B>| answer(b, Request::SystemParameters),
                )
                .shows(Object::System),
                Operation::patch(
                    "Changes those given.",
                    |State(b): Backed<B>, body: Given| answer(b, Request::SystemModify(body.0)),
                )
                .modifies(Object::System),
            ],
        )
        .at(
            "/v1/config/reload",
            [Operation::post(
                "Reads the configuration file again and applies what is different.",
                |State(b): Backed<B>, body: Given| answer(b, Request::ConfigReload(body.0)),
            )
            .takes::<Reload>()
            .answers::<ReloadReport>()],
        )
        .at(
            "/v1/config/file",
            [Operation::get(
                "The configuration as a file, secrets and all.",
                config_file::<B>,
            )
            .answers_text("text/plain; charset=utf-8")
            .forbidden()],
        )
}

fn collection<B: Backend>(interface: Interface<B>, collection: Collection) -> Interface<B> {
    let (path, object) = (collection.path(), collection.object());
    let listed = move |State(b): Backed<B>, query: Query| {
        let page = query.page(|Nothing {}, r| Ok(Request::ObjectList(collection, r)));
        answer_if(b, page)
    };
    let created = move |State(b): Backed<B>, body: Given| {
        create(b, Request::ObjectCreate(collection, body.0))
    };
    let shown = move |State(b): Backed<B>, Segments(name): Segments<String>| {
        answer(b, Request::ObjectShow(collection, name))
    };
    let modified = move |State(b): Backed<B>, Segments(name): Segments<String>, body: Given| {
        answer(b, Request::ObjectModify(collection, name, body.0))
    };
    let deleted = move |State(b): Backed<B>, Segments(name): Segments<String>| {
        answer(b, Request::ObjectDelete(collection, name))
    };
    interface
        .at(
            path,
            [
                Operation::get("Lists them, by name.", listed).lists_objects(object),
                Operation::post("Makes one.", created).creates(object),
            ],
        )
        .at(
            &format!("{path}/{{name}}"),
            [
                Operation::get("Shows one.", shown).shows(object),
                Operation::patch("Changes the parameters given of one.", modified).modifies(object),
                Operation::delete("Deletes one.", deleted),
            ],
        )
}

async fn show_peer<B: Backend>(
    State(b): Backed<B>,
    Segments((local, remote)): Segments<(String, String)>,
) -> HttpResponse {
    let address = |text: &str| {
        let address: Result<IpAddr, _> = text.parse();
        address.map_err(|_| invalid(format!("`{text}` is no IP address")))
    };
    let request = address(&local).and_then(|local| Ok((local, address(&remote)?)));
    answer_if(b, request.map(|(l, r)| Request::PeerShow(l, r))).await
}

async fn metrics<B: Backend>(State(b): Backed<B>, headers: HeaderMap) -> HttpResponse {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = MetricsFormat::accepted(accept.unwrap_or_default());
    let mut response = answer(b, Request::Metrics(format)).await;
    if response.status().is_success() {
        let media_type = HeaderValue::from_static(format.media_type());
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    response
}

async fn list_sessions_of<B: Backend>(
    State(b): Backed<B>,
    Tunnel(tunnel): Tunnel,
    query: Query,
) -> HttpResponse {
    let page = query.page(|filter: SessionFilter, range| match filter.tunnel {
        Some(_) => Err(invalid("the path says which tunnel")),
        None => {
            let tunnel = Some(tunnel);
            let filter = SessionFilter { tunnel, ..filter };
            Ok(Request::SessionList(filter, range))
        }
    });
    answer_if(b, page).await
}

async fn config_file<B: Backend>(
    State(b): Backed<B>,
    read_only: Option<Extension<ReadOnly>>,
) -> HttpResponse {
    match read_only {
        None => answer(b, Request::ConfigFile).await,
        Some(_) => forbidden("the configuration file has secrets, which this socket does not show"),
    }
}

/// Answers a request that makes something: 201 on success.
async fn create<B: Backend>(backend: Arc<B>, request: Request) -> HttpResponse {
    let mut response = answer(backend, request).await;
    if response.status().is_success() {
        *response.status_mut() = StatusCode::CREATED;
    }
    response
}
