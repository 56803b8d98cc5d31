//! The paths whose MTU bounds sessions, looked after while there are any.
//!
//! The kernel learns a path's MTU from ICMP, keeps it for ten minutes and then tries a larger one (RFC 1191 section 6.3). So it is asked: when a session
//! begins, when a datagram was too large, and from time to time, as nothing tells that it has forgotten.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::socket::Socket;
use crate::{DatapathError, Event, Listener};

/// The paths, and the timer that says when to look after them.
pub(super) struct Paths {
    known: BTreeMap<(Listener, IpAddr), Path>,
    timer: OwnedFd,
    interval: Duration,
}

struct Path {
    socket: Arc<Socket>,
    remote: SocketAddr,
    /// None: the kernel knows no path now.
    mtu: Option<u16>,
    users: usize,
}

impl Paths {
    pub(super) fn new(interval: Duration) -> Result<Self, DatapathError> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)
            .map_err(|e| DatapathError::system("make a timer", &e.into()))?;
        Ok(Self {
            known: BTreeMap::new(),
            timer,
            interval,
        })
    }

    /// Looks after the path from a socket to a peer, for one more session.
    pub(super) fn join(&mut self, socket: &Arc<Socket>, remote: SocketAddr) -> Option<Event> {
        let key = (socket.listener().clone(), remote.ip());
        let path = self.known.entry(key).or_insert_with(|| Path {
            socket: Arc::clone(socket),
            remote,
            mtu: None,
            users: 0,
        });
        path.users += 1;
        path.ask();
        let event = path.event();
        self.set_timer();
        event
    }

    /// One session of this path less.
    pub(super) fn leave(&mut self, socket: &Socket, remote: SocketAddr) {
        let key = (socket.listener().clone(), remote.ip());
        if let Some(path) = self.known.get_mut(&key) {
            path.users -= 1;
            if path.users == 0 {
                self.known.remove(&key);
                self.set_timer();
            }
        }
    }

    /// A datagram to this address was too large for its path: the event, if that changed the path.
    pub(super) fn check(&mut self, listener: &Listener, remote: IpAddr) -> Option<Event> {
        let path = self.known.get_mut(&(listener.clone(), remote))?;
        if path.ask() { path.event() } else { None }
    }

    /// The timer fired: the events of the paths that changed.
    pub(super) fn check_all(&mut self) -> impl Iterator<Item = Event> {
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
        let changed = self
            .known
            .values_mut()
            .filter_map(|path| path.ask().then_some(&*path));
        changed.filter_map(Path::event)
    }

    /// Lets the timer run while there is something to look after.
    fn set_timer(&self) {
        let wanted = if self.known.is_empty() {
            Duration::ZERO
        } else {
            self.interval
        };
        let every = Timespec {
            tv_sec: i64::try_from(wanted.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wanted.subsec_nanos().into(),
        };
        let new = Itimerspec {
            it_interval: every,
            it_value: every,
        };
        if let Err(error) = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &new) {
            tracing::error!("cannot look after paths: {}", io::Error::from(error));
        }
    }
}

impl AsFd for Paths {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl Path {
    /// Asks the kernel; whether it says something new.
    fn ask(&mut self) -> bool {
        let before = self.mtu;
        self.mtu = self.socket.path_mtu(self.remote).ok();
        self.mtu != before
    }

    fn event(&self) -> Option<Event> {
        Some(Event::PathMtu {
            listener: self.socket.listener().clone(),
            remote: self.remote.ip(),
            mtu: self.mtu?,
        })
    }
}
