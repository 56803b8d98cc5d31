//! Trace categories: what `-d`, `-D` and `trace_flags` turn on beyond the ordinary log, each with a target of its own in the log; and those who
//! follow messages over the management interface.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use api::{Direction, Selector, TraceEvent, TraceOf, TraceRequest};
use config::TraceFlags;
use engine::{Trace, Traced};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::clock;

/// Control messages sent and received.
pub(crate) const PROTOCOL: &str = "protocol";
/// Tunnels and sessions that get to another state.
pub(crate) const FSM: &str = "fsm";
/// Requests of management.
pub(crate) const API: &str = "api";
/// The names of the AVPs of control messages.
pub(crate) const AVP_INFO: &str = "avp_info";
/// What is hidden in control messages.
pub(crate) const AVP_HIDE: &str = "avp_hide";
/// The values of AVPs, but for what is secret.
pub(crate) const AVP_DATA: &str = "avp_data";
/// What was chosen: profiles.
pub(crate) const FUNC: &str = "func";
/// Acknowledgements without a message, and messages that were there before.
pub(crate) const TRANSPORT: &str = "transport";
/// Requests to the datapath, and their ends.
pub(crate) const DATA: &str = "data";
/// The daemon's own doings.
pub(crate) const SYSTEM: &str = "system";
/// PPP's control frames, without passwords.
pub(crate) const PPP_CONTROL: &str = "ppp_control";

/// The targets of all categories: the log lets them through, and who writes a line asks first whether it is wanted.
pub(crate) const TARGETS: [&str; 11] = [
    PROTOCOL,
    FSM,
    API,
    AVP_INFO,
    AVP_HIDE,
    AVP_DATA,
    FUNC,
    TRANSPORT,
    DATA,
    SYSTEM,
    PPP_CONTROL,
];

/// What is on for everything.
static EVERYWHERE: AtomicU32 = AtomicU32::new(0);

/// Turns these categories on for everything, and the others off.
pub(crate) fn set_everywhere(flags: TraceFlags) {
    EVERYWHERE.store(flags.bits(), Ordering::Relaxed);
}

/// The categories that are on for everything.
pub(crate) fn everywhere() -> TraceFlags {
    TraceFlags::from_bits(EVERYWHERE.load(Ordering::Relaxed))
}

/// Writes one line of a category about a tunnel and a session, each 0 if it is about none.
macro_rules! line {
    ($target:expr, $place:expr, $($text:tt)+) => {
        match $place {
            (0, _) => ::tracing::trace!(target: $target, $($text)+),
            (tunnel, 0) => ::tracing::trace!(target: $target, tunnel, $($text)+),
            (tunnel, session) => ::tracing::trace!(target: $target, tunnel, session, $($text)+),
        }
    };
}
pub(crate) use line;

/// Messages that may wait for one who follows them; more are lost to it, and counted.
const BACKLOG: usize = 1_024;

/// The most who may follow messages at a time.
pub(crate) const FOLLOWERS: usize = 64;

/// One who follows messages.
pub(crate) struct Follower {
    request: TraceRequest,
    /// The tunnel and the session that it last followed by name: names may be gone before the last message is.
    place: Option<(u16, u16)>,
    sender: mpsc::Sender<TraceEvent>,
    lost: u64,
}

impl Follower {
    /// One who wants what `request` asks for, and where it will find that.
    pub(crate) fn new(request: TraceRequest) -> (Self, mpsc::Receiver<TraceEvent>) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let follower = Self {
            request,
            place: None,
            sender,
            lost: 0,
        };
        (follower, receiver)
    }

    /// Waits until the receiver is dropped.
    pub(crate) fn gone(&self) -> impl Future<Output = ()> + use<> {
        let sender = self.sender.clone();
        async move { sender.closed().await }
    }

    /// Whether it follows whose message this is.
    fn wants(&mut self, trace: &Trace, remote: SocketAddr) -> bool {
        let place = (trace.tunnel, trace.session);
        let last = self.place;
        let is = |selector: &Selector, id: u16, name: Option<&str>, last: Option<u16>| {
            let named = match selector {
                Selector::Id(wanted) => return id != 0 && id == *wanted,
                Selector::Name(wanted) => name == Some(wanted),
            };
            named || (id != 0 && last == Some(id))
        };
        let of_tunnel = |t: &Selector| {
            is(
                t,
                trace.tunnel,
                trace.tunnel_name.as_deref(),
                last.map(|l| l.0),
            )
        };
        let wanted = match &self.request.of {
            TraceOf::Tunnel(tunnel) => of_tunnel(tunnel),
            TraceOf::Session(tunnel, session) => {
                let name = trace.session_name.as_deref();
                of_tunnel(tunnel) && is(session, trace.session, name, last.map(|l| l.1))
            }
            TraceOf::Peer(peer) => remote.ip().to_canonical() == peer.to_canonical(),
        };
        if wanted {
            self.place = Some(place);
        }
        wanted
    }

    /// Gives it an event, unless it reads too slowly; false when it is gone.
    fn give(&mut self, event: &TraceEvent) -> bool {
        let event = TraceEvent {
            lost: self.lost,
            ..event.clone()
        };
        match self.sender.try_send(event) {
            Ok(()) => self.lost = 0,
            Err(TrySendError::Full(_)) => self.lost += 1,
            Err(TrySendError::Closed(_)) => return false,
        }
        true
    }
}

/// Those who follow messages of a shard.
#[derive(Default)]
pub(crate) struct Followers(Vec<Follower>);

impl Followers {
    /// One more.
    pub(crate) fn add(&mut self, follower: Follower) {
        self.0.push(follower);
    }

    /// Whether there are any.
    pub(crate) fn any(&mut self) -> bool {
        self.0.retain(|follower| !follower.sender.is_closed());
        !self.0.is_empty()
    }

    /// Gives what was traced to those who follow whose it is.
    pub(crate) fn show(&mut self, trace: &Trace) {
        let (remote, ppp) = match trace.what {
            Traced::Message { remote, .. } => (remote, false),
            Traced::Frame { remote, .. } => (remote, true),
            Traced::State { .. } | Traced::Decision(_) => return,
        };
        let mut event = None;
        self.0.retain_mut(|follower| {
            if (ppp && !follower.request.ppp) || !follower.wants(trace, remote) {
                return true;
            }
            // Made once, and only for somebody.
            event
                .get_or_insert_with(|| shown(trace))
                .as_ref()
                .is_none_or(|event| follower.give(event))
        });
    }
}

/// The address that the system would choose for what goes to `remote`, where the engine leaves that to it.
fn chosen(local: SocketAddr, remote: SocketAddr) -> SocketAddr {
    if !local.ip().is_unspecified() {
        return local;
    }
    let any = SocketAddr::new(local.ip(), 0);
    let socket = UdpSocket::bind(any).and_then(|socket| {
        socket.connect(remote)?;
        socket.local_addr()
    });
    socket.map_or(local, |chosen| SocketAddr::new(chosen.ip(), local.port()))
}

/// What was traced, as management shows it.
fn shown(trace: &Trace) -> Option<TraceEvent> {
    let mut event = trace.event(clock::since_1970())?;
    if event.direction == Direction::Sent {
        event.from = chosen(event.from, event.to);
    }
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(tunnel: u16, session: u16, names: [Option<&str>; 2]) -> Trace {
        let address = "192.0.2.1:1701".parse().unwrap();
        Trace {
            tunnel,
            session,
            tunnel_name: names[0].map(str::to_owned),
            session_name: names[1].map(str::to_owned),
            flags: TraceFlags::NONE,
            what: Traced::Message {
                direction: Direction::Received,
                local: address,
                remote: address,
                again: false,
                payload: vec![0xc8, 2, 0, 12, 0, 1, 0, 0, 0, 0, 0, 0],
            },
        }
    }

    fn follower(of: TraceOf) -> (Followers, mpsc::Receiver<TraceEvent>) {
        let (follower, receiver) = Follower::new(TraceRequest { of, ppp: false });
        let mut followers = Followers::default();
        followers.add(follower);
        (followers, receiver)
    }

    #[test]
    fn a_slow_reader_loses_and_is_told_how_many() {
        let (mut followers, mut receiver) = follower(TraceOf::Tunnel(Selector::Id(1)));
        for _ in 0..BACKLOG + 7 {
            followers.show(&trace(1, 0, [None; 2]));
        }
        assert_eq!(receiver.try_recv().unwrap().lost, 0);
        followers.show(&trace(1, 0, [None; 2]));
        let last = std::iter::from_fn(|| receiver.try_recv().ok()).last();
        assert_eq!(last.unwrap().lost, 7);
        drop(receiver);
        assert!(!followers.any());
    }

    #[test]
    fn a_name_is_followed_to_its_last_message_and_through_its_attempts() {
        let name = |name: &str| Selector::Name(name.to_owned());
        let (mut followers, mut receiver) = follower(TraceOf::Session(name("t"), name("s")));
        let mut seen = |trace: &Trace| {
            followers.show(trace);
            receiver.try_recv().is_ok()
        };
        assert!(!seen(&trace(1, 0, [Some("t"), None])));
        assert!(!seen(&trace(1, 5, [Some("other"), Some("s")])));
        assert!(!seen(&trace(1, 5, [Some("t"), Some("other")])));
        assert!(seen(&trace(1, 6, [Some("t"), Some("s")])));
        assert!(
            seen(&trace(1, 6, [None, None])),
            "the CDN of one that is forgotten"
        );
        assert!(seen(&trace(2, 7, [Some("t"), Some("s")])));
        assert!(!seen(&trace(1, 6, [None, None])));
    }
}
