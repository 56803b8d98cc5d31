//! Sessions: an established call, its PPP link, its addresses and its place in the datapath.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::{Direction, Role};
use config::{PppEngine, TraceFlags};
use crypto::Secret;
use datapath::{
    Completion, DatapathError, Handle, Ids, Ipv4Link, Ipv6Link, Listener, Request, Sequencing,
};
use l2tp::LinkInfo;
use ppp::{AuthAttempt, Cause, Credentials, LinkConfig, Verdict};
use sansio::Time;
use serde::{Deserialize, Serialize};
use wire::l2tp::CallErrors;

use crate::carrying::reorder_timeout;
use crate::commands::WhichSession;
use crate::hooks::HookEvent;
use crate::idleness::Idleness;
use crate::line::{Line, is_guided};
use crate::policy::{PppSetup, unless_zero};
use crate::pppd::{Pppd, PppdRequest};
use crate::tally::{Counted, SessionTally};
use crate::wheel::Entry;
use crate::{Engine, Event, Key, Output, Token};

/// An established call.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) handle: Handle,
    pub(crate) link: ppp::Link,
    pub(crate) setup: Arc<PppSetup>,
    /// Its session profile.
    pub(crate) profile_name: Arc<str>,
    pub(crate) role: Role,
    /// What the LAC said of the call.
    pub(crate) call: Box<l2tp::CallInfo>,
    /// The number of the session that we were told to make and of which this is an attempt.
    pub(crate) created: Option<u64>,
    /// The IPv4 address that the peer has from us.
    pub(crate) lent: Option<Ipv4Addr>,
    pub(crate) ipv4: Option<Ipv4Link>,
    pub(crate) ipv6: Option<Ipv6Link>,
    /// What packets are encrypted with, or will be.
    pub(crate) encryption: Option<datapath::Encryption>,
    pub(crate) dns: [Option<Ipv4Addr>; 2],
    /// The peer's outer address.
    pub(crate) remote: IpAddr,
    /// The largest IP packet that the path to it takes, where that bounds the session.
    pub(crate) path_mtu: Option<u16>,
    /// Whether data messages are numbered.
    pub(crate) sequencing: Sequencing,
    /// How long one waits for those before it.
    pub(crate) reorder_timeout: Duration,
    /// The datapath's device, once traffic flows.
    pub(crate) device: Option<Arc<str>>,
    /// Who carries it, once the datapath has said.
    pub(crate) engine: Option<datapath::Engine>,
    /// Why no faster one does.
    pub(crate) no_faster: Option<Box<str>>,
    /// Who proved to be the peer, or who we claim to be.
    pub(crate) user: Option<Arc<str>>,
    /// What the LAC reported of its line, or we did as LAC.
    pub(crate) call_errors: Option<CallErrors>,
    /// What LCP agreed on, as the LNS told or we told as LNS.
    pub(crate) link_info: Option<Box<LinkInfo>>,
    /// When to look for errors on the line as LAC.
    pub(crate) line: Line,
    /// When to look for traffic, if the session ends without any.
    pub(crate) idleness: Idleness,
    /// It is its call and no more: nobody here speaks PPP in it, nor does the datapath know of it.
    pub(crate) no_ppp: bool,
    /// A pppd speaks its PPP, in place of `link`.
    pub(crate) pppd: Option<Box<Pppd>>,
    /// What of it is in the sums.
    pub(crate) tally: SessionTally,
    pub(crate) entry: Entry,
    pub(crate) made: Time,
    pub(crate) since: Time,
    /// Requests of what the network layer agreed on that the datapath has not completed.
    pub(crate) configuring: u32,
    /// What is traced of it, of what is of its tunnel; all if not set.
    pub(crate) trace_flags: Option<TraceFlags>,
    /// Its traffic flows.
    pub(crate) up: bool,
    /// It did once.
    pub(crate) was_up: bool,
    /// The name that it had when it was deleted, for hooks that come after.
    #[serde(skip)]
    pub(crate) last_name: Option<String>,
    /// Why its PPP is ended by us, for the same.
    #[serde(skip)]
    pub(crate) ending: Option<String>,
    /// What was lacking here, where that ended its PPP.
    pub(crate) fault: Option<String>,
    /// Of which network layers it was told that they carry traffic.
    pub(crate) told: [bool; 2],
    /// When it is ended: for not being up by then, and once it is, for having lasted long enough.
    ends_at: Option<Time>,
}

/// A request to the datapath that is not completed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pending {
    Create(Handle, u16, u16),
    Configure(Handle, u16, u16),
    /// In which tunnel, and what of its traffic is in the sums.
    Remove(u16, Counted),
    /// What a session of this tunnel has carried so far, for hooks.
    Carried(u16),
    /// For the sums, which a command waits for.
    Traffic(Token, Handle),
    /// To see whether the session is idle.
    Activity(Handle, u16, u16),
    /// For the answer to a command.
    Show(Token, Handle, WhichSession),
    /// For the LNS, which hears of the errors of our line.
    Errors(Handle, u16, u16),
}

impl Pending {
    fn reads_counters(self) -> bool {
        matches!(self, Self::Errors(..) | Self::Activity(..))
    }
}

impl Engine {
    /// A data message that the datapath left to us.
    pub(crate) fn frame(
        &mut self,
        listener: &Listener,
        remote: SocketAddr,
        ids: Ids,
        frame: &[u8],
        now: Time,
    ) {
        let Some(tunnel) = self.tunnels.get_mut(&ids.tunnel) else {
            self.counters.datagrams.unknown_tunnel += 1;
            return;
        };
        if (&tunnel.listener, tunnel.remote) != (listener, remote) {
            self.counters.datagrams.wrong_address += 1;
            return;
        }
        tunnel.unreachable = None;
        tunnel.control.data_received(ids.session, now);
        self.trace_frame(Direction::Received, ids.tunnel, ids.session, frame);
        let Some(tunnel) = self.tunnels.get(&ids.tunnel) else {
            return;
        };
        if !tunnel.sessions.contains_key(&ids.session) {
            // Data that overtook the acknowledgement of our ICCN establishes its call.
            self.settle(ids.tunnel, now);
        }
        let Some(tunnel) = self.tunnels.get_mut(&ids.tunnel) else {
            return;
        };
        let Some(session) = tunnel.sessions.get_mut(&ids.session) else {
            self.counters.datagrams.unknown_session += 1;
            return;
        };
        if let Some(pppd) = &mut session.pppd {
            return pppd.keep(frame);
        }
        if session.no_ppp {
            return;
        }
        session.link.handle_frame(frame, now, &mut self.rng);
        self.settle_session(ids.tunnel, ids.session, now);
        self.settle(ids.tunnel, now);
    }

    /// A call is up: PPP begins.
    pub(crate) fn call_established(
        &mut self,
        tunnel_id: u16,
        id: u16,
        call: Box<l2tp::CallInfo>,
        now: Time,
    ) {
        let Some(mut session) = self.new_session(tunnel_id, id, call, now) else {
            return;
        };
        let Some(tunnel) = self.tunnels.get_mut(&tunnel_id) else {
            return;
        };
        if !session.no_ppp && session.pppd.is_none() {
            session.link.open(now, &mut self.rng);
        }
        tunnel.sessions.insert(id, Box::new(session));
        self.trace_decision(tunnel_id, id, |engine| engine.session_choice(tunnel_id, id));
        self.take_prepared(tunnel_id, id);
        self.settle_session(tunnel_id, id, now);
    }

    /// What a session was made with.
    fn session_choice(&self, tunnel: u16, id: u16) -> String {
        let session = self
            .tunnels
            .get(&tunnel)
            .and_then(|tunnel| tunnel.sessions.get(&id));
        session.map_or_else(String::new, |session| {
            format!(
                "PPP as {}, ppp profile {}, MTU {}",
                session.role, session.setup.profile_name, session.setup.mtu
            )
        })
    }

    /// A session of an established call.
    fn new_session(
        &mut self,
        tunnel_id: u16,
        id: u16,
        call: Box<l2tp::CallInfo>,
        now: Time,
    ) -> Option<Session> {
        let prepared = self.tunnels.get(&tunnel_id)?.prepared.get(&id);
        let handle = match prepared.map(|prepared| prepared.handle) {
            Some(handle) => handle,
            None => handle(self.next_number(), tunnel_id, id),
        };
        let terms = self.terms(tunnel_id, id, call.params.sequencing_required)?;
        let (role, setup, params) = (terms.role, terms.setup, terms.params);
        // Whom we serve need not know who we are.
        let credentials = credentials(&params).filter(|_| role == Role::Lac);
        let link = guided(&setup.link, role, &call.params);
        let tunnel = self.tunnels.get(&tunnel_id)?;
        let patience = self.policy.model().system.session_establish_timeout();
        Some(Session {
            handle,
            role,
            call,
            created: terms.created,
            lent: None,
            ipv4: None,
            ipv6: None,
            encryption: None,
            dns: [None; 2],
            remote: tunnel.remote.ip(),
            path_mtu: tunnel.path_mtu,
            sequencing: terms.sequencing,
            reorder_timeout: reorder_timeout(&params),
            device: None,
            engine: None,
            no_faster: None,
            user: credentials.as_ref().map(|c| c.user_name.as_str().into()),
            call_errors: None,
            link_info: None,
            line: Line::default(),
            idleness: Idleness::default(),
            tally: SessionTally::new(self.counters.resets),
            no_ppp: params.no_ppp(),
            pppd: (setup.profile.ppp_engine() == PppEngine::Pppd)
                .then(|| Box::new(Pppd::new(credentials.clone()))),
            entry: self.wheel.insert(Key::Session(tunnel_id, id)),
            made: now,
            since: now,
            configuring: 0,
            trace_flags: params.trace_flags,
            profile_name: terms.profile_name,
            up: false,
            was_up: false,
            last_name: None,
            ending: None,
            fault: None,
            told: [false; 2],
            ends_at: unless_zero(patience).map(|patience| now + patience),
            link: ppp::Link::new(link, credentials, &mut self.rng),
            setup,
        })
    }

    pub(crate) fn session_timeout(&mut self, tunnel: u16, id: u16, now: Time) {
        if let Some(t) = self.tunnels.get_mut(&tunnel)
            && let Some(session) = t.sessions.get_mut(&id)
        {
            if session.ends_at.is_some_and(|at| at <= now) {
                session.ends_at = None;
                let cause = if session.up {
                    Cause::SessionTimeout
                } else {
                    Cause::EstablishTimeout
                };
                if session.pppd.is_some() {
                    let _ = self.end_link(tunnel, id, cause, now);
                    return self.settle(tunnel, now);
                }
                session.link.close(cause, now, &mut self.rng);
            }
            session.link.handle_timeout(now, &mut self.rng);
        }
        self.look_at_line(tunnel, id, now);
        self.look_for_traffic(tunnel, id, now);
        self.settle_session(tunnel, id, now);
        self.settle(tunnel, now);
    }

    /// Carries out what a link has to say, until it has nothing more, and sets the session's timer.
    pub(crate) fn settle_session(&mut self, tunnel: u16, id: u16, now: Time) {
        loop {
            let holder = self.tunnels.get_mut(&tunnel);
            let Some(session) = holder.and_then(|t| t.sessions.get_mut(&id)) else {
                return;
            };
            // What was queued before an event happened before it.
            let mut frame = Vec::new();
            if session.link.poll_transmit(&mut frame) {
                let handle = session.handle;
                self.trace_frame(Direction::Sent, tunnel, id, &frame);
                self.outputs
                    .push_back(Output::Datapath(Request::Send { handle, frame }));
                continue;
            }
            let Some(event) = session.link.poll_event() else {
                break;
            };
            self.link_event(tunnel, id, event, now);
        }
        self.tell_link_info(tunnel, id);
        self.review(tunnel, id, now);
        self.recount_session(tunnel, id);
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        let next = session.link.next_timeout().map(|deadline| deadline.at);
        let line = session.line_timeout();
        let idle = session.idleness.next_timeout();
        let at = [next, session.ends_at, line, idle]
            .into_iter()
            .flatten()
            .min();
        let entry = session.entry;
        self.wheel.set(entry, at);
    }

    fn link_event(&mut self, tunnel: u16, id: u16, event: ppp::Event, now: Time) {
        match event {
            ppp::Event::Authenticate(attempt) => self.authenticate(tunnel, id, &attempt, now),
            ppp::Event::NetworkWanted { user } => self.network_wanted(tunnel, id, user, now),
            ppp::Event::EncryptionWanted { keys } => {
                self.encryption_wanted(tunnel, id, keys);
            }
            ppp::Event::EncryptionUp(mode) => self.encryption_up(tunnel, id, mode),
            ppp::Event::EncryptionDown => self.encryption_down(tunnel, id),
            ppp::Event::Ipv4Up { local, peer, dns } => {
                let link = Some(Ipv4Link { local, peer });
                let change = |session: &mut Session| (session.ipv4, session.dns) = (link, dns);
                self.network_changed(tunnel, id, change, now);
            }
            ppp::Event::Ipv4Down => {
                self.network_changed(tunnel, id, |session| session.ipv4 = None, now)
            }
            ppp::Event::Ipv6Up { local_id, peer_id } => {
                let link = Some(Ipv6Link {
                    local: link_local(local_id),
                    peer: link_local(peer_id),
                });
                self.network_changed(tunnel, id, |session| session.ipv6 = link, now);
            }
            ppp::Event::Ipv6Down => {
                self.network_changed(tunnel, id, |session| session.ipv6 = None, now)
            }
            ppp::Event::Closed(cause) => self.link_closed(tunnel, id, &cause),
        }
    }

    /// The peer's proof against our users. (Asked, not called: `Link` takes the verdict whenever it comes.)
    pub(crate) fn authenticate(&mut self, tunnel: u16, id: u16, attempt: &AuthAttempt, now: Time) {
        let user = String::from_utf8_lossy(attempt.user()).into_owned();
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        let setup = session.setup.clone();
        let judged = self.policy.judge(&setup, &user, attempt);
        let failure = judged.as_ref().err().copied();
        // The peer is not told more: it would be a hint to who guesses.
        let verdict = judged.unwrap_or_else(|_| Verdict::Reject {
            message: "authentication failed".to_owned(),
        });
        let accepted = failure.is_none();
        let count = if accepted {
            &mut self.counters.ppp.authenticated
        } else {
            &mut self.counters.ppp.auth_failures
        };
        *count += 1;
        let Some(remote) = self.tunnels.get(&tunnel).map(|t| t.remote) else {
            return;
        };
        let most = self.allowed_failures();
        if accepted {
            self.limits.call_worked(remote.ip().into(), most, now);
        } else {
            self.limits.call_failed(remote.ip().into(), most, now);
        }
        self.event(Event::Authentication {
            tunnel,
            session: id,
            remote,
            user,
            failure,
        });
        let holder = self.tunnels.get_mut(&tunnel);
        let Some(session) = holder.and_then(|t| t.sessions.get_mut(&id)) else {
            return;
        };
        if let Some(pppd) = &mut session.pppd {
            pppd.judged(attempt.user(), &verdict);
            let handle = session.handle;
            return self.ask_pppd(handle, PppdRequest::Judge { verdict });
        }
        session
            .link
            .authenticated(attempt.number, verdict, now, &mut self.rng);
    }

    pub(crate) fn completed(
        &mut self,
        token: datapath::Token,
        result: Result<Completion, DatapathError>,
        now: Time,
    ) {
        let Some(pending) = self.pending.remove(&token) else {
            return;
        };
        let (handle, tunnel, id) = match pending {
            Pending::Remove(tunnel, counted) => {
                self.counted_for_hooks(tunnel, token, &result);
                return self.traffic_ended(result, &counted);
            }
            Pending::Carried(tunnel) => return self.counted_for_hooks(tunnel, token, &result),
            Pending::Show(token, handle, which) => {
                self.traffic_read(handle, &result);
                let read = result.is_ok().then_some(handle);
                return self.show_session(token, which, read, now);
            }
            Pending::Traffic(token, handle) => {
                self.traffic_read(handle, &result);
                return self.one_more_read(token);
            }
            Pending::Create(handle, tunnel, id)
            | Pending::Configure(handle, tunnel, id)
            | Pending::Activity(handle, tunnel, id)
            | Pending::Errors(handle, tunnel, id) => (handle, tunnel, id),
        };
        if let Some(prepared) = self.prepared(handle) {
            prepared.made = match result {
                Ok(Completion::Created(engine)) => Some(Ok(engine)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            };
            return;
        }
        let Some(session) = self.session_mut(tunnel, id).filter(|s| s.handle == handle) else {
            return;
        };
        if let Pending::Configure(..) = pending {
            session.configuring = session.configuring.saturating_sub(1);
            if session.negotiates_encryption() {
                self.encryption_prepared(tunnel, id, result.as_ref().err(), now);
                if result.is_err() {
                    return;
                }
            }
        }
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        match result {
            Ok(Completion::Stats(stats)) => self.counters_read(pending, (tunnel, id), &stats, now),
            // Without counters the session is as good as before.
            Err(_) if pending.reads_counters() => {}
            Ok(Completion::Device(device)) => {
                session.device = Some(device.as_str().into());
                self.review(tunnel, id, now);
                self.recount_session(tunnel, id);
            }
            Ok(Completion::Created(engine)) => self.made_in_datapath(tunnel, id, Ok(engine)),
            // Nobody asks for it yet.
            Ok(Completion::Joined) => {}
            Err(error) if matches!(pending, Pending::Create(..)) => {
                self.made_in_datapath(tunnel, id, Err(error));
                self.settle(tunnel, now);
            }
            Err(error) => self.datapath_error(tunnel, id, &error, now),
        }
    }

    /// Sees whether a session has come up, and which of its network layers.
    fn review(&mut self, tunnel: u16, id: u16, now: Time) {
        self.come_up(tunnel, id, now);
        self.tell_networks_up(tunnel, id);
    }

    /// A session is up when one network layer at least is, none is under way, and the datapath carries them.
    fn come_up(&mut self, tunnel: u16, id: u16, now: Time) {
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        let carried = session.has_network() || session.no_ppp;
        let complete = session.no_ppp
            || session.pppd.is_some()
            || (session.configuring == 0 && session.link.network_is_settled());
        if session.up || !carried || !complete {
            session.up &= carried;
            return;
        }
        let lasts = unless_zero(session.setup.profile.max_connect_time());
        (session.up, session.since) = (true, now);
        let own = !session.no_ppp && session.pppd.is_none();
        if !session.no_ppp {
            session.watch_line(now);
        }
        // pppd watches these itself.
        if own {
            session.watch_traffic(now);
        }
        let first = !std::mem::replace(&mut session.was_up, true);
        session.ends_at = lasts.filter(|_| own).map(|lasts| now + lasts);
        let number = session.created;
        let event = Event::SessionUp {
            tunnel,
            session: id,
            user: session.user.as_deref().map(str::to_owned),
            device: session.device.as_deref().unwrap_or_default().to_owned(),
            addresses: session.networks().into_iter().flatten().next(),
        };
        self.event(event);
        if let Some(about) = self.hooked(tunnel, id).filter(|_| first) {
            self.hook_session(tunnel, about, HookEvent::SessionUp, None);
        }
        self.trace_states(tunnel);
        self.created_session_up(tunnel, number);
        if let Some(source) = self
            .tunnels
            .get(&tunnel)
            .filter(|_| first)
            .map(|tunnel| tunnel.source())
        {
            self.counters.setup.sessions += 1;
            self.limits.session_up(source);
        }
    }

    /// A device went away under a session.
    pub(crate) fn datapath_failed(&mut self, handle: Handle, error: &DatapathError, now: Time) {
        if let Some(prepared) = self.prepared(handle) {
            prepared.made = Some(Err(error.clone()));
            return;
        }
        let (tunnel, id) = place_of(handle);
        if self
            .session_mut(tunnel, id)
            .is_some_and(|session| session.handle == handle)
        {
            self.datapath_error(tunnel, id, error, now);
        }
    }

    pub(crate) fn datapath_stays(&mut self, handle: Handle, why: String) {
        if let Some(prepared) = self.prepared(handle) {
            prepared.no_faster = Some(why);
            return;
        }
        let (tunnel, id) = place_of(handle);
        let session = self.session_mut(tunnel, id);
        if let Some(session) = session.filter(|session| session.handle == handle) {
            session.no_faster = Some(why.into());
        }
    }

    pub(crate) fn datapath_moved(&mut self, handle: Handle, engine: datapath::Engine, now: Time) {
        if let Some(prepared) = self.prepared(handle) {
            (prepared.made, prepared.no_faster) = (Some(Ok(engine)), None);
            return;
        }
        let (tunnel, id) = place_of(handle);
        let session = self.session_mut(tunnel, id);
        if let Some(session) = session.filter(|session| session.handle == handle) {
            let before = session.engine.replace(engine);
            session.no_faster = None;
            // Nothing is lost between `tun` and `ebpf`.
            if session.encryption.is_some() && before == Some(datapath::Engine::Kernel) {
                self.encryption_lost(tunnel, id, now);
                self.settle_session(tunnel, id, now);
                self.settle(tunnel, now);
            }
        }
    }

    fn datapath_error(&mut self, tunnel: u16, id: u16, error: &DatapathError, now: Time) {
        self.counters.refused.datapath += 1;
        if self.end_link(tunnel, id, Cause::NoResources(error.to_string()), now) {
            self.settle_session(tunnel, id, now);
            self.settle(tunnel, now);
        }
    }

    pub(crate) fn expect(&mut self, pending: Pending) -> datapath::Token {
        let token = datapath::Token(self.next_number());
        self.pending.insert(token, pending);
        token
    }

    pub(crate) fn session_mut(&mut self, tunnel: u16, id: u16) -> Option<&mut Session> {
        self.tunnels
            .get_mut(&tunnel)?
            .sessions
            .get_mut(&id)
            .map(Box::as_mut)
    }
}

/// What the datapath calls a session: a number that no other has, and where the session is.
pub(crate) fn handle(number: u64, tunnel: u16, id: u16) -> Handle {
    Handle(number << 32 | u64::from(tunnel) << 16 | u64::from(id))
}

/// The tunnel and the session of a handle.
pub(crate) fn place_of(handle: Handle) -> (u16, u16) {
    ((handle.0 >> 16) as u16, handle.0 as u16)
}

/// By what we prove who we are, if there is anything.
fn credentials(params: &config::SessionParams) -> Option<Arc<Credentials>> {
    let password = params.user_password.clone();
    Some(Arc::new(Credentials {
        user_name: params.user_name.clone()?,
        password: password.unwrap_or_else(|| Secret::from("")),
    }))
}

/// How a link negotiates of which the LAC knows better what its line wants (RFC 3437).
fn guided(link: &Arc<LinkConfig>, role: Role, call: &l2tp::CallParams) -> Arc<LinkConfig> {
    if role == Role::Lac || !is_guided(call) {
        return link.clone();
    }
    let (wanted, allowed) = (&call.lcp_want_options, &call.lcp_allow_options);
    Arc::new(link.guided(wanted.as_deref(), allowed.as_deref()))
}

/// `fe80::` and an interface identifier.
fn link_local(id: [u8; 8]) -> Ipv6Addr {
    Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(u64::from_be_bytes(id)))
}
