//! Lists, a page at a time. Each is a walk in an order that does not change; a cursor is a place in it, whether or not something is there still.

use std::net::IpAddr;
use std::ops::Bound;

use api::{
    CommandError, Cursor, ErrorKind, LARGEST_PAGE, Opened, Page, PeerStatus, Range, SessionFilter,
    SessionStatus, TunnelFilter, TunnelStatus, UserFilter, UserStatus,
};
use datapath::Handle;
use sansio::Time;

use crate::Engine;
use crate::clients::ClientId;
use crate::commands::Which;
use crate::tunnels::Tunnel;

/// A place in the list of tunnels: those that we were told to make come first.
#[derive(Clone, Copy)]
enum TunnelPlace {
    Client(u64),
    Tunnel(u16),
}

/// A place in the list of sessions: the calls of all tunnels, then what has no call now and was created on a client's tunnel or on a peer's.
/// Session 0 is the place before a holder's first.
#[derive(Clone, Copy)]
enum SessionPlace {
    Call(u16, u16),
    Client(u64, u64),
    Peer(u16, u64),
}

impl Engine {
    pub(crate) fn list_tunnels(
        &mut self,
        filter: &TunnelFilter,
        range: &Range,
        now: Time,
    ) -> Result<Page<TunnelStatus>, CommandError> {
        let start = match &range.after {
            None => TunnelPlace::Client(0),
            Some(cursor) => TunnelPlace::read(cursor)?,
        };
        let looked_at = walk(
            range,
            start,
            |place| self.next_tunnel(place),
            |place| {
                self.tunnel_at(place, now)
                    .filter(|status| filter.admits(status))
            },
        );
        Ok(self.page(looked_at, TunnelPlace::cursor))
    }

    pub(crate) fn list_sessions(
        &mut self,
        filter: &SessionFilter,
        range: &Range,
        now: Time,
    ) -> Result<Page<SessionStatus>, CommandError> {
        let of = filter.tunnel.as_ref().map(|s| self.find_tunnel(s));
        let of = of.transpose()?;
        let start = match (&range.after, of) {
            (Some(cursor), _) => SessionPlace::read(cursor)?,
            (None, Some(which)) => self.first_session_of(which),
            (None, None) => SessionPlace::Call(0, 0),
        };
        let looked_at = walk(
            range,
            start,
            |place| self.next_session(of, place),
            |place| {
                self.session_at(place, now)
                    .filter(|status| filter.admits(status))
            },
        );
        Ok(self.page(looked_at, SessionPlace::cursor))
    }

    pub(crate) fn list_users(
        &mut self,
        filter: &UserFilter,
        range: &Range,
        now: Time,
    ) -> Result<Page<UserStatus>, CommandError> {
        let start = linked_place(range.after.as_ref())?;
        let looked_at = walk(
            range,
            start,
            |(tunnel, session)| self.next_linked(tunnel, session),
            |(tunnel, session)| {
                self.user_status(tunnel, session, now)
                    .filter(|status| filter.admits(status))
            },
        );
        Ok(self.page(looked_at, linked_cursor))
    }

    /// The sessions that the datapath may carry, of one tunnel or of all.
    pub(crate) fn list_carried(
        &mut self,
        of: Option<u16>,
        after: Option<Cursor>,
    ) -> Result<Page<Handle>, CommandError> {
        let start = match after {
            None => (of.unwrap_or(0), 0),
            after => linked_place(after.as_ref())?,
        };
        let looked_at = walk(
            &Range::default(),
            start,
            |(tunnel, session)| {
                let next = self.next_linked(tunnel, session);
                next.filter(|(tunnel, _)| of.is_none_or(|of| of == *tunnel))
            },
            |(tunnel, session)| {
                let session = self.tunnels.get(&tunnel)?.sessions.get(&session)?;
                (!session.no_ppp).then_some(session.handle)
            },
        );
        Ok(self.page(looked_at, linked_cursor))
    }

    /// What was created here, but for sessions on tunnels of peers. Session 0 of a client is its tunnel.
    pub(crate) fn list_opened(
        &mut self,
        after: Option<Cursor>,
    ) -> Result<Page<Opened>, CommandError> {
        let start = match &after {
            None => (0, 0),
            Some(cursor) => match SessionPlace::read(cursor)? {
                SessionPlace::Client(client, number) => (client, number),
                _ => return Err(malformed(cursor)),
            },
        };
        let created = |client, number| {
            let next = self.created_after(Which::Client(ClientId(client)), number);
            let Some(SessionPlace::Client(client, number)) = next else {
                return None;
            };
            Some((client, number))
        };
        let looked_at = walk(
            &Range::default(),
            start,
            |(client, number)| {
                created(client, number).or_else(|| {
                    let later = (Bound::Excluded(ClientId(client)), Bound::Unbounded);
                    let (next, _) = self.clients.range(later).next()?;
                    Some((next.0, 0))
                })
            },
            |(client, number)| {
                let client = self.clients.get(&ClientId(client))?;
                if number == 0 {
                    let tunnel = self.policy.said_again(&client.config, &client.setup);
                    return Some(Opened::Tunnel(Box::new(tunnel)));
                }
                let session = client.sessions.get(number)?;
                Some(Opened::Session(Box::new(session.config.clone())))
            },
        );
        Ok(self.page(looked_at, |(client, number)| text("client", client, number)))
    }

    pub(crate) fn list_peers(&mut self, range: &Range) -> Result<Page<PeerStatus>, CommandError> {
        let after = range.after.as_ref().map(|cursor| {
            let (local, peer) = cursor.0.split_once('-').ok_or_else(|| malformed(cursor))?;
            match (local.parse::<IpAddr>(), peer.parse::<IpAddr>()) {
                (Ok(local), Ok(peer)) => Ok((local, peer)),
                _ => Err(malformed(cursor)),
            }
        });
        let mut later = self.peers.after(after.transpose()?);
        let items: Vec<_> = later.by_ref().take(range.limit()).collect();
        let next = later.next().and(items.last());
        let next = next.map(|p| Cursor(format!("{}-{}", p.local_ipaddr, p.peer_ipaddr)));
        drop(later);
        self.counters.lists.examined += items.len() as u64;
        Ok(Page { items, next })
    }

    pub(crate) fn show_peer(
        &self,
        local: IpAddr,
        peer: IpAddr,
    ) -> Result<PeerStatus, CommandError> {
        self.peers.get((local, peer)).ok_or_else(|| {
            let message = format!("there is no peer {peer} of our address {local}");
            CommandError::new(ErrorKind::NotFound, message)
        })
    }

    fn page<P, T>(&mut self, walked: Walked<P, T>, cursor: impl FnOnce(P) -> Cursor) -> Page<T> {
        self.counters.lists.examined += walked.examined;
        Page {
            items: walked.items,
            next: walked.next.map(cursor),
        }
    }

    fn next_tunnel(&self, place: TunnelPlace) -> Option<TunnelPlace> {
        let client = |after| {
            let later = (Bound::Excluded(ClientId(after)), Bound::Unbounded);
            let (id, _) = self.clients.range(later).next()?;
            Some(TunnelPlace::Client(id.0))
        };
        match place {
            TunnelPlace::Client(id) => client(id).or(Some(TunnelPlace::Tunnel(0))),
            TunnelPlace::Tunnel(id) => self.tunnel_after(id).map(TunnelPlace::Tunnel),
        }
    }

    fn tunnel_at(&self, place: TunnelPlace, now: Time) -> Option<TunnelStatus> {
        match place {
            TunnelPlace::Client(id) => self.client_status(ClientId(id), now),
            TunnelPlace::Tunnel(id) => {
                let tunnel = self.tunnels.get(&id)?;
                // One of its client's was there already.
                let other = !self.is_current(tunnel);
                other.then(|| self.peer_tunnel_status(id, now)).flatten()
            }
        }
    }

    fn tunnel_after(&self, id: u16) -> Option<u16> {
        let later = (Bound::Excluded(id), Bound::Unbounded);
        self.tunnels.range(later).next().map(|(&id, _)| id)
    }

    fn first_session_of(&self, which: Which) -> SessionPlace {
        match self.tunnel_id(which) {
            Some(tunnel) => SessionPlace::Call(tunnel, 0),
            None => SessionPlace::created(which, 0),
        }
    }

    /// The place after one: of all, or of one tunnel.
    fn next_session(&self, of: Option<Which>, place: SessionPlace) -> Option<SessionPlace> {
        match place {
            SessionPlace::Call(tunnel, call) => {
                let calls = self.tunnels.get(&tunnel).map(|tunnel| &tunnel.control);
                let next = calls.and_then(|calls| calls.call_after(call));
                next.map(|call| SessionPlace::Call(tunnel, call.session_id))
                    .or_else(|| match of {
                        Some(which) => Some(SessionPlace::created(which, 0)),
                        None => self
                            .tunnel_after(tunnel)
                            .map(|tunnel| SessionPlace::Call(tunnel, 0))
                            .or(Some(SessionPlace::Client(0, 0))),
                    })
            }
            SessionPlace::Client(client, number) => self
                .created_after(Which::Client(ClientId(client)), number)
                .or_else(|| {
                    let later = (Bound::Excluded(ClientId(client)), Bound::Unbounded);
                    let next = self.clients.range(later).next();
                    let next = next.map(|(id, _)| SessionPlace::Client(id.0, 0));
                    of.is_none()
                        .then(|| next.unwrap_or(SessionPlace::Peer(0, 0)))
                }),
            SessionPlace::Peer(tunnel, number) => {
                self.created_after(Which::Peer(tunnel), number).or_else(|| {
                    let next = self.tunnel_after(tunnel).filter(|_| of.is_none());
                    next.map(|tunnel| SessionPlace::Peer(tunnel, 0))
                })
            }
        }
    }

    fn created_after(&self, which: Which, number: u64) -> Option<SessionPlace> {
        let next = self.created(which)?.after(number)?;
        Some(SessionPlace::created(which, next.number))
    }

    fn session_at(&self, place: SessionPlace, now: Time) -> Option<SessionStatus> {
        let (which, number) = match place {
            SessionPlace::Call(tunnel, call) => return self.call_status(tunnel, call, now),
            SessionPlace::Client(client, number) => (Which::Client(ClientId(client)), number),
            SessionPlace::Peer(tunnel, number) => (Which::Peer(tunnel), number),
        };
        let session = self.created(which)?.get(number)?;
        // One that has a call was there already.
        session
            .call
            .is_none()
            .then(|| self.waiting_status(which, session, now))?
    }

    fn next_linked(&self, tunnel: u16, session: u16) -> Option<(u16, u16)> {
        let later = (Bound::Excluded(session), Bound::Unbounded);
        let next = |holder: &Tunnel| holder.sessions.range(later).next().map(|(&id, _)| id);
        let holder = self.tunnels.get(&tunnel);
        let next = holder.and_then(|holder| next(holder));
        next.map(|session| (tunnel, session))
            .or_else(|| self.tunnel_after(tunnel).map(|tunnel| (tunnel, 0)))
    }
}

/// What a walk came to.
struct Walked<P, T> {
    items: Vec<T>,
    next: Option<P>,
    examined: u64,
}

/// Goes on from `place`, as far as a page reaches. What is looked at is bounded even where little of it is wanted.
fn walk<P: Copy, T>(
    range: &Range,
    mut place: P,
    next: impl Fn(P) -> Option<P>,
    item: impl Fn(P) -> Option<T>,
) -> Walked<P, T> {
    let mut items = Vec::new();
    for examined in 0..u64::from(LARGEST_PAGE) {
        match next(place) {
            Some(next) => place = next,
            None => {
                return Walked {
                    items,
                    next: None,
                    examined,
                };
            }
        }
        items.extend(item(place));
        if items.len() == range.limit() {
            return Walked {
                items,
                next: next(place).map(|_| place),
                examined: examined + 1,
            };
        }
    }
    Walked {
        items,
        next: next(place).map(|_| place),
        examined: LARGEST_PAGE.into(),
    }
}

impl TunnelPlace {
    fn cursor(self) -> Cursor {
        match self {
            Self::Client(id) => text("client", id, 0),
            Self::Tunnel(id) => text("tunnel", id.into(), 0),
        }
    }

    fn read(cursor: &Cursor) -> Result<Self, CommandError> {
        match numbers(cursor)? {
            ("client", id, 0) => Ok(Self::Client(id)),
            ("tunnel", id, 0) => Ok(Self::Tunnel(small(id, cursor)?)),
            _ => Err(malformed(cursor)),
        }
    }
}

impl SessionPlace {
    fn created(which: Which, number: u64) -> Self {
        match which {
            Which::Client(client) => Self::Client(client.0, number),
            Which::Peer(tunnel) => Self::Peer(tunnel, number),
        }
    }

    fn cursor(self) -> Cursor {
        match self {
            Self::Call(tunnel, call) => text("call", tunnel.into(), call.into()),
            Self::Client(client, number) => text("client", client, number),
            Self::Peer(tunnel, number) => text("peer", tunnel.into(), number),
        }
    }

    fn read(cursor: &Cursor) -> Result<Self, CommandError> {
        match numbers(cursor)? {
            ("call", tunnel, call) => Ok(Self::Call(small(tunnel, cursor)?, small(call, cursor)?)),
            ("client", client, number) => Ok(Self::Client(client, number)),
            ("peer", tunnel, number) => Ok(Self::Peer(small(tunnel, cursor)?, number)),
            _ => Err(malformed(cursor)),
        }
    }
}

/// The place of a session in the order of those that are linked: its tunnel and its own id.
fn linked_place(cursor: Option<&Cursor>) -> Result<(u16, u16), CommandError> {
    let Some(cursor) = cursor else {
        return Ok((0, 0));
    };
    match numbers(cursor)? {
        ("user", tunnel, session) => Ok((small(tunnel, cursor)?, small(session, cursor)?)),
        _ => Err(malformed(cursor)),
    }
}

fn linked_cursor((tunnel, session): (u16, u16)) -> Cursor {
    text("user", tunnel.into(), session.into())
}

fn text(kind: &str, first: u64, second: u64) -> Cursor {
    Cursor(format!("{kind}-{first}-{second}"))
}

fn numbers(cursor: &Cursor) -> Result<(&str, u64, u64), CommandError> {
    let mut parts = cursor.0.split('-');
    let mut part = || parts.next().ok_or_else(|| malformed(cursor));
    let (kind, first, second) = (part()?, part()?, part()?);
    match (first.parse(), second.parse(), parts.next()) {
        (Ok(first), Ok(second), None) => Ok((kind, first, second)),
        _ => Err(malformed(cursor)),
    }
}

fn small(number: u64, cursor: &Cursor) -> Result<u16, CommandError> {
    number.try_into().map_err(|_| malformed(cursor))
}

fn malformed(cursor: &Cursor) -> CommandError {
    let message = format!("`{cursor}` is no cursor of this list");
    CommandError::new(ErrorKind::Invalid, message)
}
