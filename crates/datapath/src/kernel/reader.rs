//! The thread that reads PPP's control frames: of channels, and of units.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::FRAME_MAX;
use super::genl::{Context, SessionId, session_id};
use super::ppp::Unit;
use super::session::Session;
use super::watch::Watch;
use crate::thread::{self, Wake, spawn};
use crate::{DatapathError, Event, EventSink, Handle};

/// Descriptors looked at in one turn.
const READY_PER_TURN: usize = 64;
/// Name no descriptor of a session.
const WAKE: u64 = 0;
const WATCH: u64 = u64::MAX;

/// Reads until it is stopped.
pub(super) struct Reader {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    poll: OwnedFd,
    wake: Wake,
    stops: AtomicBool,
    sources: Mutex<Sources>,
    sink: Arc<dyn EventSink>,
}

#[derive(Default)]
struct Sources {
    last: u64,
    by_number: BTreeMap<u64, Source>,
    numbers: BTreeMap<Handle, (u64, Option<u64>)>,
    /// The channels, by their sessions' ids.
    channels: BTreeMap<SessionId, u64>,
}

#[derive(Clone)]
struct Source {
    session: Arc<Session>,
    /// None: the session's channel.
    unit: Option<Arc<Unit>>,
}

impl Reader {
    /// With a `watch`, it notices what others delete.
    pub(super) fn start(
        sink: Arc<dyn EventSink>,
        watch: Option<Watch>,
    ) -> Result<Self, DatapathError> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|e| DatapathError::system("make an epoll", &e.into()))?;
        let shared = Arc::new(Shared {
            poll,
            wake: Wake::new()?,
            stops: AtomicBool::new(false),
            sources: Mutex::default(),
            sink,
        });
        shared.watch(&shared.wake, WAKE)?;
        if let Some(watch) = &watch {
            shared.watch(watch, WATCH)?;
        }
        let run = Arc::clone(&shared);
        let thread = spawn("kernel-reader", move || run.run(watch))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Reads a new session's channel, after what came `early`, before there was one.
    pub(super) fn watch_channel(
        &self,
        session: Session,
        mut early: Vec<Event>,
    ) -> Result<Arc<Session>, DatapathError> {
        let session = Arc::new(session);
        if !early.is_empty() {
            self.shared.sink.deliver(&mut early);
        }
        let mut sources = self.shared.sources();
        let number = sources.next();
        // What can't be watched is not kept either.
        self.shared.watch(&session.channel, number)?;
        let source = Source {
            session: Arc::clone(&session),
            unit: None,
        };
        sources.by_number.insert(number, source);
        sources.numbers.insert(session.handle, (number, None));
        let ids = session_id(session.local());
        sources.channels.insert(ids, number);
        Ok(session)
    }

    /// Reads a session's unit too; once, however often it is asked.
    pub(super) fn watch_unit(&self, handle: Handle, unit: Arc<Unit>) -> Result<(), DatapathError> {
        let mut sources = self.shared.sources();
        let Some(&(channel, known)) = sources.numbers.get(&handle) else {
            return Err(DatapathError::NoSuchSession);
        };
        let session = sources
            .by_number
            .get(&channel)
            .map(|s| Arc::clone(&s.session));
        let (None, Some(session)) = (known, session) else {
            return Ok(());
        };
        let number = sources.next();
        self.shared.watch(&*unit, number)?;
        let source = Source {
            session,
            unit: Some(unit),
        };
        sources.by_number.insert(number, source);
        sources.numbers.insert(handle, (channel, Some(number)));
        Ok(())
    }

    /// Reads nothing of a session any more.
    pub(super) fn forget(&self, handle: Handle) {
        let mut sources = self.shared.sources();
        let Some((channel, unit)) = sources.numbers.remove(&handle) else {
            return;
        };
        for number in [Some(channel), unit].into_iter().flatten() {
            if let Some(source) = sources.remove(number) {
                self.shared.unwatch(&source);
            }
        }
    }

    pub(super) fn stop(&self) {
        self.shared.stops.store(true, Ordering::Relaxed);
        self.shared.wake.wake();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            thread::join(thread);
        }
    }
}

impl Sources {
    /// A number that no source has had.
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn remove(&mut self, number: u64) -> Option<Source> {
        let source = self.by_number.remove(&number)?;
        let ids = session_id(source.session.local());
        // Another may have them since.
        if self.channels.get(&ids) == Some(&number) {
            self.channels.remove(&ids);
        }
        Some(source)
    }

    /// The channels of sessions that are gone with it.
    fn lost_with(&self, gone: Context) -> Vec<(u64, Source)> {
        let numbers = self
            .channels
            .range(gone.sessions())
            .map(|(_, &number)| number);
        let known = numbers.filter_map(|number| Some((number, self.by_number.get(&number)?)));
        known
            .map(|(number, source)| (number, source.clone()))
            .collect()
    }
}

impl Shared {
    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, source: impl std::os::fd::AsFd, number: u64) -> Result<(), DatapathError> {
        let name = epoll::EventData::new_u64(number);
        epoll::add(&self.poll, source, name, epoll::EventFlags::IN)
            .map_err(|e| DatapathError::system("watch a descriptor", &e.into()))
    }

    fn unwatch(&self, source: &Source) {
        let _ = match &source.unit {
            Some(unit) => epoll::delete(&self.poll, &**unit),
            None => epoll::delete(&self.poll, &source.session.channel),
        };
    }

    fn run(&self, mut watch: Option<Watch>) {
        let mut ready = Vec::with_capacity(READY_PER_TURN);
        let mut frame = vec![0; FRAME_MAX];
        let mut events = Vec::new();
        while !self.stops.load(Ordering::Relaxed) {
            ready.clear();
            let interval = watch.as_ref().and_then(Watch::interval);
            let interval = interval.and_then(|interval| Timespec::try_from(interval).ok());
            match epoll::wait(&self.poll, spare_capacity(&mut ready), interval.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!("the kernel engine's reader stops: epoll: {error}");
                    return;
                }
            }
            let mut looks = interval.is_some();
            for event in &ready {
                match event.data.u64() {
                    WAKE => self.wake.clear(),
                    WATCH => looks = true,
                    number => self.read(number, &mut frame, &mut events),
                }
            }
            if let Some(watch) = watch.as_mut().filter(|_| looks) {
                self.lose_deleted(watch, &mut events);
            }
            if !events.is_empty() {
                self.sink.deliver(&mut events);
            }
        }
    }

    /// Takes one frame: where there are more, epoll says so again, and mostly there are not.
    fn read(&self, number: u64, frame: &mut [u8], events: &mut Vec<Event>) {
        let Some(source) = self.sources().by_number.get(&number).cloned() else {
            return;
        };
        let read = match &source.unit {
            Some(unit) => unit.read(frame),
            None => source.session.channel.read(frame),
        };
        match read {
            Ok(len) if len > 0 => {
                if source.unit.is_some() {
                    source.session.count_control(len.saturating_sub(2));
                }
                events.push(source.session.frame(&frame[..len]));
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            _ => {
                let reason = match source.unit {
                    Some(_) => "its interface was removed",
                    None => "the kernel ended it",
                };
                self.lose(number, &source, reason, events);
            }
        }
    }

    /// Ends the sessions that somebody deleted in the kernel.
    fn lose_deleted(&self, watch: &mut Watch, events: &mut Vec<Event>) {
        let known = || {
            let sources = self.sources();
            sources
                .channels
                .keys()
                .copied()
                .map(Context::Session)
                .collect()
        };
        for gone in watch.look(known) {
            let reason = match gone {
                Context::Tunnel(_) => "somebody deleted its tunnel there",
                Context::Session(_) => "somebody deleted it there",
            };
            let lost = self.sources().lost_with(gone);
            for (number, source) in lost {
                self.lose(number, &source, reason, events);
            }
        }
    }

    /// A session can't go on.
    fn lose(&self, number: u64, source: &Source, reason: &str, events: &mut Vec<Event>) {
        self.unwatch(source);
        self.sources().remove(number);
        events.push(Event::Failed {
            handle: source.session.handle,
            error: DatapathError::System {
                what: "carry a session in the kernel".to_owned(),
                reason: reason.to_owned(),
            },
        });
    }
}
