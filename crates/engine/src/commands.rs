//! What management asks of a shard.

use std::sync::Arc;

use api::{CommandError, ErrorKind, Response, Selector};
use config::SessionType;
use l2tp::{CallKind, StopReason};
use sansio::Time;

use crate::clients::ClientId;
use crate::policy::TunnelSetup;
use crate::{Command, Engine, Output, Shutdown, Token};

/// What a selector names: a tunnel that we made, or one that a peer opened (by our Tunnel ID).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    Client(ClientId),
    Peer(u16),
}

/// A session: one that we were told to make (by its number), or any call of a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WhichSession {
    Created(Which, u64),
    Call(u16, u16),
}

/// Where the packets of a session are to be seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CapturePoint {
    /// What the datapath calls it.
    pub handle: datapath::Handle,
    /// Who carries it.
    pub engine: datapath::Engine,
    /// The name of the device that its packets go through, once there is one.
    pub device: Option<Arc<str>>,
}

impl Engine {
    pub(crate) fn command(&mut self, token: Token, command: Command, now: Time) {
        if let Command::Shutdown = command {
            return self.shut_down(token, now);
        }
        let result = match (self.shutdown, command) {
            (Shutdown::No, Command::SessionShow(tunnel, session)) => {
                match self.find_session(&tunnel, &session) {
                    Ok(which) => return self.begin_show_session(token, which, now),
                    Err(error) => Err(error),
                }
            }
            (Shutdown::No, Command::TrafficRead(of, after)) => {
                match self.read_traffic(token, of.as_ref(), after) {
                    Ok(()) => return,
                    Err(error) => Err(error),
                }
            }
            (Shutdown::No, command) => self.carry_out(command, now),
            _ => Err(CommandError::new(
                ErrorKind::Shutdown,
                "the daemon is shutting down",
            )),
        };
        self.outputs.push_back(Output::Reply { token, result });
    }

    fn carry_out(&mut self, command: Command, now: Time) -> Result<Response, CommandError> {
        match command {
            Command::SetModel(model) => self.set_model(model),
            Command::TunnelCreate(tunnel) => {
                let id = self.add_client(*tunnel, now)?;
                let failed = || {
                    CommandError::new(
                        ErrorKind::Resources,
                        "the tunnel failed at once: see the log",
                    )
                };
                return self
                    .client_status(id, now)
                    .map(Box::new)
                    .map(Response::Tunnel)
                    .ok_or_else(failed);
            }
            Command::TunnelDelete(selector) => match self.find_tunnel(&selector)? {
                Which::Client(id) => self.remove_client(id, now),
                Which::Peer(id) => {
                    self.close_tunnel(id, StopReason::clear("closed by the administrator"), now)
                }
            },
            Command::TunnelList(filter, range) => {
                return self
                    .list_tunnels(&filter, &range, now)
                    .map(Response::Tunnels);
            }
            Command::TunnelShow(selector) => {
                let which = self.find_tunnel(&selector)?;
                let status = match which {
                    Which::Client(id) => self.client_status(id, now),
                    Which::Peer(id) => self.peer_tunnel_status(id, now),
                };
                let mut status = status.ok_or_else(|| no_tunnel(&selector))?;
                let id = self.tunnel_id(which);
                status.traffic = id.and_then(|id| self.traffic_of_tunnel(id));
                status.parameters = self.tunnel_parameters(which);
                return Ok(Response::Tunnel(Box::new(status)));
            }
            Command::TunnelModify(selector, change) => {
                let which = self.find_tunnel(&selector)?;
                self.modify_tunnel(which, *change, now)?;
            }
            Command::SessionCreate(session) => return self.create_session(*session, now),
            Command::SessionModify(tunnel, session, change) => {
                let which = self.find_session(&tunnel, &session)?;
                self.modify_session(which, *change)?;
            }
            Command::SessionDelete(tunnel, session) => {
                match self.find_session(&tunnel, &session)? {
                    WhichSession::Created(which, number) => self.remove_session(which, number, now),
                    WhichSession::Call(tunnel, call) => self.close_session(tunnel, call, now),
                }
            }
            Command::SessionList(filter, range) => {
                return self
                    .list_sessions(&filter, &range, now)
                    .map(Response::Sessions);
            }
            Command::OpenedList(after) => return self.list_opened(after).map(Response::Opened),
            Command::UserList(filter, range) => {
                return self.list_users(&filter, &range, now).map(Response::Users);
            }
            Command::PeerList(range) => return self.list_peers(&range).map(Response::Peers),
            Command::PeerShow(local, remote) => {
                return self.show_peer(local, remote).map(Response::Peer);
            }
            Command::SystemShow => return Ok(Response::System(self.system_status(now))),
            Command::Statistics => return Ok(Response::Statistics(self.counters.since_reset())),
            Command::Totals => return Ok(Response::Statistics(self.counters.total())),
            Command::StatisticsReset => self.reset_statistics(),
            // Answered when more is known.
            Command::SessionShow(..) | Command::TrafficRead(..) | Command::Shutdown => {}
        }
        Ok(Response::Done)
    }

    fn set_model(&mut self, model: Arc<config::Model>) {
        let before = self.addresses.of_pools();
        self.addresses.set_model(&model);
        self.policy.set_model(model);
        self.reserve_pools(&before);
    }

    /// Keeps the addresses of pools for sessions, where they are others than before.
    pub(crate) fn reserve_pools(&mut self, before: &[ipnet::IpNet]) {
        let nets = self.addresses.of_pools();
        if nets == before {
            return;
        }
        let reserve = datapath::Request::Reserve { nets };
        self.outputs.push_back(Output::Datapath(reserve));
    }

    fn create_session(
        &mut self,
        session: config::Session,
        now: Time,
    ) -> Result<Response, CommandError> {
        let selector = match (&session.tunnel_name, session.tunnel_id) {
            (Some(name), _) => Selector::Name(name.clone()),
            (None, Some(id)) => Selector::Id(id),
            (None, None) => {
                return Err(CommandError::new(
                    ErrorKind::Invalid,
                    "tunnel_name or tunnel_id is missing",
                ));
            }
        };
        let which = self.find_tunnel(&selector)?;
        let kind = match (session.session_type(), which) {
            (Some(SessionType::Laic), _) | (None, Which::Client(_)) => CallKind::LacIncoming,
            (Some(SessionType::Lnoc), _) | (None, Which::Peer(_)) => CallKind::LnsOutgoing,
            (Some(placed_by_peer), _) => {
                let message = format!(
                    "a session of type {placed_by_peer} is the peer's to place: laic and lnoc can be created"
                );
                return Err(CommandError::new(ErrorKind::Invalid, message));
            }
        };
        self.policy.check_session(&session)?;
        let number = self.add_session(which, kind, session, now)?;
        self.session_status(WhichSession::Created(which, number), now)
            .map(Box::new)
            .map(Response::Session)
            .ok_or_else(no_session)
    }

    /// By what a tunnel is run, or will be.
    pub(crate) fn setup_of(&self, which: Which) -> Option<&Arc<TunnelSetup>> {
        match which {
            Which::Client(id) => self.clients.get(&id).map(|client| &client.setup),
            Which::Peer(id) => self.tunnels.get(&id).map(|tunnel| &tunnel.setup),
        }
    }

    pub(crate) fn find_tunnel(&self, selector: &Selector) -> Result<Which, CommandError> {
        let found = match selector {
            Selector::Id(id) => self.tunnels.get(id).map(|tunnel| match tunnel.client() {
                Some(client) if self.clients.contains_key(&client) => Which::Client(client),
                _ => Which::Peer(*id),
            }),
            Selector::Name(name) => self.client_names.get(name).copied().map(Which::Client),
        };
        found.ok_or_else(|| no_tunnel(selector))
    }

    /// Where a session's packets are to be seen.
    ///
    /// # Errors
    ///
    /// There is no such session, or no datapath carries it yet.
    pub fn capture_point(
        &self,
        tunnel: &Selector,
        session: &Selector,
    ) -> Result<CapturePoint, CommandError> {
        let live = self.live(self.find_session(tunnel, session)?);
        let carried = live.and_then(|session| Some((session, session.engine?)));
        let not_yet = || CommandError::new(ErrorKind::NotFound, "the session carries nothing yet");
        let (session, engine) = carried.ok_or_else(not_yet)?;
        Ok(CapturePoint {
            handle: session.handle,
            engine,
            device: session.device.clone(),
        })
    }

    fn find_session(
        &self,
        tunnel: &Selector,
        session: &Selector,
    ) -> Result<WhichSession, CommandError> {
        let which = self.find_tunnel(tunnel)?;
        let created = self.created(which).and_then(|created| match session {
            Selector::Id(call) => created.of_call(*call),
            Selector::Name(name) => created.named(name),
        });
        let call = || match (self.tunnel_id(which)?, session) {
            (id, Selector::Id(call)) => {
                let tunnel = self.tunnels.get(&id)?;
                tunnel.control.call(*call)?;
                Some(WhichSession::Call(id, *call))
            }
            (_, Selector::Name(_)) => None,
        };
        created
            .map(|session| WhichSession::Created(which, session.number))
            .or_else(call)
            .ok_or_else(|| {
                let which = match session {
                    Selector::Id(id) => format!("session {id}"),
                    Selector::Name(name) => format!("session named {name}"),
                };
                let message = format!("there is no {which} on the tunnel");
                CommandError::new(ErrorKind::NotFound, message)
            })
    }

    fn shut_down(&mut self, token: Token, now: Time) {
        self.shutdown = Shutdown::Asked(token);
        let all: Vec<u16> = self.tunnels.keys().copied().collect();
        for id in all {
            self.close_tunnel(
                id,
                StopReason::shutting_down("the daemon is shutting down"),
                now,
            );
        }
    }

    /// Answers the shutdown once every StopCCN is acknowledged or given up.
    pub(crate) fn finish_shutdown(&mut self) {
        if let Shutdown::Asked(token) = self.shutdown
            && self.held_hooks.is_empty()
            && self
                .tunnels
                .values()
                .all(|tunnel| tunnel.has_said_goodbye())
        {
            self.shutdown = Shutdown::Done;
            self.outputs.push_back(Output::Reply {
                token,
                result: Ok(Response::Done),
            });
        }
    }
}

fn no_tunnel(selector: &Selector) -> CommandError {
    let message = match selector {
        Selector::Id(id) => format!("there is no tunnel {id}"),
        Selector::Name(name) => format!("there is no tunnel named {name}"),
    };
    CommandError::new(ErrorKind::NotFound, message)
}

pub(crate) fn no_session() -> CommandError {
    CommandError::new(
        ErrorKind::NotFound,
        "there is no such session on the tunnel",
    )
}
