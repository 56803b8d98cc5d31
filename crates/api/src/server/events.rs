//! Events: the last of them are kept, and whoever follows reads from there at its own pace.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response as HttpResponse};
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::access::{Looks, place};
use super::query::{Asked, asked, invalid};
use super::traces::SILENCE;
use super::{Backed, Backend, refused};
use crate::{CommandError, ErrorKind, Event, EventFilter, EventRecord};

/// Events that a reader takes at a time.
const BATCH: usize = 64;

/// Readers at a time: most connections are left for requests that end.
pub const READERS: usize = 64;

/// The last events of the daemon. Who writes is never held up by who reads: a reader that falls behind what is kept is told how much it missed.
#[derive(Debug)]
pub struct EventLog {
    /// Tells one start of the daemon from another.
    instance: u32,
    capacity: usize,
    kept: Mutex<Kept>,
    news: watch::Sender<u64>,
    /// Places for readers.
    places: Arc<Semaphore>,
    /// Events that were gone before a reader came to them.
    missed: AtomicU64,
}

/// What a log counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventCounts {
    /// Events written so far.
    pub written: u64,
    /// Events that were gone before a reader came to them, for each reader.
    pub missed: u64,
    /// Those who read now.
    pub readers: usize,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the last one; the first is 1.
    last: u64,
    records: VecDeque<Arc<EventRecord>>,
}

/// What a reader gets at a time.
struct Batch {
    /// Events that are gone before the first.
    lost: u64,
    records: Vec<Arc<EventRecord>>,
    /// Where to go on.
    at: u64,
}

impl EventLog {
    /// An empty log of at most `capacity` events. `instance` is another one with each start of the daemon.
    pub fn new(instance: u32, capacity: usize) -> Self {
        Self {
            instance,
            capacity,
            kept: Mutex::default(),
            news: watch::Sender::default(),
            places: Arc::new(Semaphore::new(READERS)),
            missed: AtomicU64::new(0),
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> EventCounts {
        EventCounts {
            written: self.kept().last,
            missed: self.missed.load(Ordering::Relaxed),
            readers: READERS - self.places.available_permits(),
        }
    }

    /// Adds an event that happened at `time`, milliseconds since 1970. Costs the same whoever reads.
    pub fn push(&self, time: u64, event: Event) {
        let mut kept = self.kept();
        kept.last += 1;
        let id = self.id(kept.last);
        if kept.records.len() == self.capacity {
            kept.records.pop_front();
        }
        kept.records
            .push_back(Arc::new(EventRecord { id, time, event }));
        let last = kept.last;
        drop(kept);
        self.news.send_replace(last);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, number: u64) -> String {
        format!("{:08x}-{number}", self.instance)
    }

    fn read(&self, at: u64) -> Batch {
        let kept = self.kept();
        let gone = kept.last - kept.records.len() as u64;
        let lost = gone.saturating_sub(at);
        let start = usize::try_from(at.saturating_sub(gone)).unwrap_or(usize::MAX);
        let records: Vec<_> = kept
            .records
            .iter()
            .skip(start)
            .take(BATCH)
            .cloned()
            .collect();
        Batch {
            at: at + lost + records.len() as u64,
            lost,
            records,
        }
    }

    /// Where a reader goes on that has seen `id`; whether the daemon was started anew since.
    fn place(&self, id: &str) -> Result<(u64, bool), CommandError> {
        let unknown = || invalid(format!("`{id}` is no id of an event"));
        let (instance, number) = id.split_once('-').ok_or_else(unknown)?;
        let instance = u32::from_str_radix(instance, 16).map_err(|_| unknown())?;
        let number: u64 = number.parse().map_err(|_| unknown())?;
        if instance != self.instance {
            return Ok((0, true));
        }
        if number > self.kept().last {
            return Err(unknown());
        }
        Ok((number, false))
    }
}

/// Somebody who follows.
struct Reader {
    log: Arc<EventLog>,
    news: watch::Receiver<u64>,
    filter: EventFilter,
    at: u64,
    restarted: bool,
    _places: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

/// What the query of a request to follow events may have.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    /// The id of the event that was seen last.
    after: Option<String>,
    /// Types of events, separated by commas; absent: all.
    r#type: Option<String>,
    /// Our Tunnel ID of the tunnel that they are about.
    tunnel: Option<NonZeroU16>,
}

/// Events as server-sent events, for as long as the client reads.
pub(super) async fn follow<B: Backend>(
    State(b): Backed<B>,
    headers: HeaderMap,
    looks: Looks,
    query: Asked<EventQuery>,
) -> HttpResponse {
    match reader(b.events(), &headers, looks, query) {
        Ok(reader) => {
            let body = Body::from_stream(stream::unfold(reader, next));
            let headers = [
                (CONTENT_TYPE, "text/event-stream"),
                (CACHE_CONTROL, "no-store"),
            ];
            (headers, body).into_response()
        }
        Err(error) => refused(&error),
    }
}

fn reader(
    log: Arc<EventLog>,
    headers: &HeaderMap,
    looks: Looks,
    query: Asked<EventQuery>,
) -> Result<Reader, CommandError> {
    let mut after = match headers.get("last-event-id").map(|id| id.to_str()) {
        None => None,
        Some(Ok(id)) => Some(id.to_owned()),
        Some(Err(_)) => return Err(invalid("the Last-Event-ID is no id of an event")),
    };
    let query = asked(query)?;
    // A reader that reconnects repeats the query and adds the header, which is later.
    after = after.or(query.after);
    let filter = EventFilter {
        types: query.r#type.as_deref().map_or(Ok(Vec::new()), types)?,
        tunnel: query.tunnel.map(NonZeroU16::get),
    };
    let (at, restarted) = match after {
        Some(id) => log.place(&id)?,
        None => (log.kept().last, false),
    };
    let looker = place(looks)?;
    let place = Arc::clone(&log.places).try_acquire_owned();
    let place = place.map_err(|_| {
        let message = format!("{READERS} follow events already");
        CommandError::new(ErrorKind::Resources, message)
    })?;
    Ok(Reader {
        _places: (place, looker),
        news: log.news.subscribe(),
        log,
        filter,
        at,
        restarted,
    })
}

fn types(text: &str) -> Result<Vec<String>, CommandError> {
    let known = |name: &str| match Event::TYPES.contains(&name) {
        true => Ok(name.to_owned()),
        false => {
            let known = Event::TYPES.join(", ");
            Err(invalid(format!(
                "`{name}` is no type of events; those are {known}"
            )))
        }
    };
    text.split(',').map(known).collect()
}

/// The next of the stream's octets: events that are there, or a comment where there was none for long.
async fn next(mut reader: Reader) -> Option<(Result<Bytes, serde_json::Error>, Reader)> {
    loop {
        reader.news.mark_unchanged();
        let batch = reader.log.read(reader.at);
        reader.log.missed.fetch_add(batch.lost, Ordering::Relaxed);
        let mut text = Ok(String::new());
        if reader.restarted || batch.lost > 0 {
            let lost = (!reader.restarted).then_some(batch.lost);
            let before = batch.at - batch.records.len() as u64;
            let time = batch.records.first().map_or(0, |record| record.time);
            let gap = EventRecord {
                id: reader.log.id(before),
                time,
                event: Event::Gap { lost },
            };
            text = written(&gap);
            reader.restarted = false;
        }
        let wanted = batch
            .records
            .iter()
            .filter(|record| reader.filter.admits(&record.event));
        for record in wanted {
            text = text.and_then(|text| Ok(text + &written(record)?));
        }
        reader.at = batch.at;
        if !matches!(&text, Ok(text) if text.is_empty()) {
            return Some((text.map(Bytes::from), reader));
        }
        if !batch.records.is_empty() {
            // None of them is wanted: others have their turn.
            tokio::task::yield_now().await;
            continue;
        }
        match timeout(SILENCE, reader.news.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(_) => return Some((Ok(Bytes::from_static(b":\n\n")), reader)),
        }
    }
}

fn written(record: &EventRecord) -> serde_json::Result<String> {
    let json = serde_json::to_string(record)?;
    let kind = record.event.kind();
    Ok(format!(
        "id: {}\nevent: {kind}\ndata: {json}\n\n",
        record.id
    ))
}
