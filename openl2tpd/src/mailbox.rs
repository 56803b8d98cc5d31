//! The way into a shard: from the datapath's threads and from management.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use api::{CommandError, LARGEST_PAGE, Response};
use datapath::socket::Socket;
use datapath::{Event, EventSink, Handle};
use engine::{Command, Input, Source};
use sansio::Time;
use tokio::sync::oneshot;

use crate::capture::Capture;
use crate::clock;
use crate::trace::Follower;

/// How a command ended.
pub(crate) type Answer = Result<Response, CommandError>;

/// What a shard is sent.
pub(crate) enum Mail {
    /// The datapath reports.
    Datapath(Vec<Event>),
    /// Management asks, and waits for the answer unless it dropped the other end.
    Command(Command, oneshot::Sender<Answer>),
    /// Anything else that the engine is to know.
    Input(Input),
    /// Somebody follows messages from now on.
    Follow(Follower),
    /// Somebody sees the packets of a session from now on.
    Capture(Capture),
    /// One who did looks no more.
    CaptureEnded(Handle),
    /// One more socket to receive from and to send through.
    Socket(Arc<Socket>),
    /// A socket to receive from no more.
    SocketGone(Arc<Socket>),
    /// Whether the shard still takes its mail; answered at once.
    Alive(oneshot::Sender<()>),
    /// Take the datapath down and end.
    Stop,
}

impl Mail {
    /// How many items of lists are looked at for it, at most.
    fn looks(&self) -> usize {
        match self {
            Self::Command(command, _) => command.looks(),
            _ => 0,
        }
    }
}

/// Mail that is taken in before what it caused is carried out.
pub(crate) const MAIL_A_WAKE_UP: usize = 64;

/// Items of lists that are looked at in one wake-up, however many ask.
const LOOKS_A_WAKE_UP: usize = LARGEST_PAGE as usize;

/// Messages and frames that may wait for the shard. When more come, the newest are dropped: peers send control messages
/// again, and memory stays bounded whatever is sent to us.
const BACKLOG: usize = 65_536;

/// The share of [`BACKLOG`] that PPP frames may take, so that a flood of data for sessions that are not there does not push out control messages.
const BACKLOG_OF_FRAMES: usize = BACKLOG / 2;

/// Messages to tunnel 0 that may wait: a flood of SCCRQs does not push out what tunnels say that are there.
const BACKLOG_OF_STRANGERS: usize = BACKLOG / 16;

/// The sending end; what is delivered by the datapath is bounded, what management sends is not.
#[derive(Clone)]
pub(crate) struct Mailbox {
    sender: mpsc::Sender<Mail>,
    load: Arc<Load>,
}

/// The receiving end.
pub(crate) struct Inbox {
    receiver: mpsc::Receiver<Mail>,
    /// Came too late in its wake-up for what it asks, and is the first of the next.
    kept: Option<Mail>,
    load: Arc<Load>,
}

#[derive(Default)]
struct Load {
    waiting: AtomicUsize,
    strangers: Mutex<Strangers>,
    dropped: AtomicU64,
}

/// Those of the messages that are to tunnel 0.
#[derive(Default)]
struct Strangers {
    waiting: usize,
    of_source: BTreeMap<Source, usize>,
}

impl Strangers {
    /// Takes one more of `source`, unless as many of it wait as there is room left: who floods us alone gets half of the room, a hundred who do
    /// get a hundredth each, and there is some for who comes next.
    fn admit(&mut self, source: Source) -> bool {
        let room = BACKLOG_OF_STRANGERS.saturating_sub(self.waiting);
        let waiting = self.of_source.get(&source).copied().unwrap_or(0);
        if waiting >= room {
            return false;
        }
        self.waiting += 1;
        self.of_source.insert(source, waiting + 1);
        true
    }

    fn remove(&mut self, source: Source) {
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(waiting) = self.of_source.get_mut(&source) {
            *waiting -= 1;
            if *waiting == 0 {
                self.of_source.remove(&source);
            }
        }
    }
}

impl Load {
    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new mailbox and its inbox.
pub(crate) fn mailbox() -> (Mailbox, Inbox) {
    let (sender, receiver) = mpsc::channel();
    let load = Arc::<Load>::default();
    (
        Mailbox {
            sender,
            load: load.clone(),
        },
        Inbox {
            receiver,
            kept: None,
            load,
        },
    )
}

impl Mailbox {
    /// Sends `mail`; whether the shard still lives.
    pub(crate) fn send(&self, mail: Mail) -> bool {
        self.sender.send(mail).is_ok()
    }

    /// Messages and frames that were dropped because too many waited.
    pub(crate) fn dropped(&self) -> u64 {
        self.load.dropped.load(Ordering::Relaxed)
    }
}

impl EventSink for Mailbox {
    fn deliver(&self, events: &mut Vec<Event>) {
        let before = events.len();
        let mut waiting = self.load.waiting.load(Ordering::Relaxed);
        let mut strangers = self.load.strangers();
        events.retain(|event| {
            let limit = match event {
                Event::Control { .. } => BACKLOG,
                Event::Frame { .. } | Event::Unreachable { .. } => BACKLOG_OF_FRAMES,
                Event::Completed { .. }
                | Event::Failed { .. }
                | Event::Moved { .. }
                | Event::NoFaster { .. }
                | Event::PathMtu { .. } => usize::MAX,
            };
            let keep =
                waiting < limit && stranger(event).is_none_or(|source| strangers.admit(source));
            waiting += usize::from(keep);
            keep
        });
        drop(strangers);
        let dropped = u64::try_from(before - events.len()).unwrap_or(u64::MAX);
        self.load.dropped.fetch_add(dropped, Ordering::Relaxed);
        self.load.waiting.fetch_add(events.len(), Ordering::Relaxed);
        if events.is_empty() {
            return;
        }
        // A shard that ended has no use for events.
        self.send(Mail::Datapath(events.split_off(0)));
    }
}

impl Inbox {
    /// The mail of one wake-up, waited for until `next`, if there is one. What is left stays in order.
    pub(crate) fn wait(&mut self, next: Option<Time>) -> Vec<Mail> {
        let mut mail: Vec<_> = self.first(next).into_iter().collect();
        let mut looks: usize = mail.iter().map(Mail::looks).sum();
        while !mail.is_empty()
            && mail.len() < MAIL_A_WAKE_UP
            && let Some(next) = self.take()
        {
            looks += next.looks();
            if looks > LOOKS_A_WAKE_UP {
                self.kept = Some(next);
                break;
            }
            mail.push(next);
        }
        mail
    }

    fn first(&mut self, next: Option<Time>) -> Option<Mail> {
        if self.kept.is_some() {
            return self.kept.take();
        }
        // Where mail waits no clock has to be read.
        if let Some(mail) = self.take() {
            return Some(mail);
        }
        let mail = match next {
            Some(next) => self.receiver.recv_timeout(next - clock::now()).ok(),
            None => self.receiver.recv().ok(),
        };
        mail.inspect(|mail| self.note(mail))
    }

    /// Mail that waits already.
    fn take(&self) -> Option<Mail> {
        self.receiver
            .try_recv()
            .ok()
            .inspect(|mail| self.note(mail))
    }

    fn note(&self, mail: &Mail) {
        if let Mail::Datapath(events) = mail {
            self.load.waiting.fetch_sub(events.len(), Ordering::Relaxed);
            let mut strangers = self.load.strangers();
            let gone = events.iter().filter_map(stranger);
            gone.for_each(|source| strangers.remove(source));
        }
    }
}

/// Who sent a control message to tunnel 0 (RFC 2661 section 3.1), and so has no tunnel yet.
fn stranger(event: &Event) -> Option<Source> {
    match event {
        Event::Control {
            remote, payload, ..
        } if matches!(payload.get(4..6), None | Some([0, 0])) => Some(remote.ip().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use datapath::{Completion, Ids, Token};

    fn frames(count: usize) -> Vec<Event> {
        let address = "192.0.2.1:1701".parse().unwrap();
        let ids = Ids {
            tunnel: 1,
            session: 1,
        };
        vec![
            Event::Frame {
                listener: None,
                local: address,
                remote: address,
                ids,
                ns: None,
                frame: Vec::new()
            };
            count
        ]
    }

    fn messages(count: usize) -> Vec<Event> {
        messages_to(7, count)
    }

    fn messages_to(tunnel: u8, count: usize) -> Vec<Event> {
        messages_from(1, tunnel, count)
    }

    fn messages_from(source: u8, tunnel: u8, count: usize) -> Vec<Event> {
        let address = "192.0.2.1:1701".parse().unwrap();
        vec![
            Event::Control {
                listener: None,
                local: address,
                remote: SocketAddr::new(Ipv4Addr::new(192, 0, 2, source).into(), 1701),
                payload: vec![0xc8, 2, 0, 12, 0, tunnel, 0, 0, 0, 0, 0, 0]
            };
            count
        ]
    }

    fn received(inbox: &Inbox) -> usize {
        std::iter::from_fn(|| inbox.take())
            .map(|mail| {
                if let Mail::Datapath(events) = mail {
                    events.len()
                } else {
                    0
                }
            })
            .sum()
    }

    #[test]
    fn a_flood_is_bounded_and_leaves_room_for_what_matters_more() {
        let (mailbox, inbox) = mailbox();
        mailbox.deliver(&mut frames(BACKLOG * 2));
        mailbox.deliver(&mut messages(BACKLOG));
        let completed = Event::Completed {
            token: Token(1),
            result: Ok(Completion::Created(datapath::Engine::Null)),
        };
        mailbox.deliver(&mut vec![completed; 3]);
        assert_eq!(received(&inbox), BACKLOG + 3);
        assert_eq!(mailbox.dropped(), (BACKLOG * 2) as u64);

        mailbox.deliver(&mut frames(7));
        assert_eq!(received(&inbox), 7, "what was received makes room");
    }

    #[test]
    fn a_flood_of_strangers_leaves_room_for_the_tunnels_that_are_there() {
        let (mailbox, inbox) = mailbox();
        mailbox.deliver(&mut messages_to(0, BACKLOG));
        mailbox.deliver(&mut messages_to(0, BACKLOG));
        mailbox.deliver(&mut messages(1_000));
        assert_eq!(received(&inbox), BACKLOG_OF_STRANGERS / 2 + 1_000);
        mailbox.deliver(&mut messages_to(0, 1));
        assert_eq!(received(&inbox), 1, "what was received makes room");
        mailbox.deliver(&mut messages_to(0, BACKLOG_OF_STRANGERS));
        mailbox.deliver(&mut messages_to(0, 1));
        assert!(
            inbox.take().is_some() && inbox.take().is_none(),
            "what is dropped leaves nothing"
        );
    }

    #[test]
    fn a_flood_of_many_strangers_leaves_room_for_one_more() {
        let (mailbox, inbox) = mailbox();
        for _ in 0..BACKLOG / 100 {
            for source in 1..=100 {
                mailbox.deliver(&mut messages_from(source, 0, 1));
            }
        }
        let dropped = mailbox.dropped();
        assert!(dropped > 0);
        mailbox.deliver(&mut messages_from(200, 0, 10));
        assert_eq!(mailbox.dropped(), dropped, "a fair share is free");
        assert!(received(&inbox) <= BACKLOG_OF_STRANGERS);
        assert!(mailbox.load.strangers().of_source.is_empty());
    }
}
