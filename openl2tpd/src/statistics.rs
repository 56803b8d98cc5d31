//! What is counted: by the shard, which is asked, and by the daemon around it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::{CommandError, ErrorKind, MetricsFormat, Response, Selector, Statistics};
use datapath::ebpf::Uncarried;
use datapath::{DropReason, Drops, UNCARRIED};
use engine::Command;
use tokio::sync;

use crate::backend::Daemon;
use crate::metrics::{self, Gauges, Snapshot};

/// What the statistics of the daemon need from one request to the next.
#[derive(Default)]
pub(crate) struct Counting {
    /// Held by the one that has the counters of all sessions read.
    reading: sync::Mutex<()>,
    /// What the daemon's own counters were at the last reset.
    before: Mutex<BTreeMap<String, u64>>,
    /// Of the engine `tun`.
    drops: Arc<Drops>,
    /// Of programs in the kernel, where there are any.
    uncarried: Option<Arc<Uncarried>>,
}

impl Counting {
    pub(crate) fn new(drops: Arc<Drops>, uncarried: Option<Arc<Uncarried>>) -> Self {
        Self {
            drops,
            uncarried,
            ..Self::default()
        }
    }
}

impl Daemon {
    /// Every counter since the last reset.
    pub(crate) async fn statistics(&self) -> Result<Response, CommandError> {
        let Statistics(mut all) = self.counters(Command::Statistics).await?;
        let before = self.counting.before.lock();
        let before = before.unwrap_or_else(PoisonError::into_inner);
        all.extend(self.own_counters().into_iter().map(|(name, value)| {
            let before = before.get(&name).copied().unwrap_or_default();
            (name, value.saturating_sub(before))
        }));
        Ok(Response::Statistics(Statistics(all)))
    }

    /// Counts from zero again; the traffic of each session from where it is read after that.
    pub(crate) async fn reset_statistics(&self) -> Result<Response, CommandError> {
        self.ask(Command::StatisticsReset).await?;
        *self
            .counting
            .before
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = self.own_counters();
        let _alone = self.counting.reading.lock().await;
        self.read_traffic(None).await?;
        Ok(Response::Done)
    }

    /// Everything for Prometheus, whatever was reset.
    pub(crate) async fn metrics(&self, format: MetricsFormat) -> Result<Response, CommandError> {
        let Statistics(mut counters) = self.counters(Command::Totals).await?;
        counters.extend(self.own_counters());
        let system = match self.ask(Command::SystemShow).await? {
            Response::System(system) => system,
            other => return Err(unexpected(&other)),
        };
        let gauges = Gauges {
            event_readers: self.happened.counts().readers,
            trace_followers: self.trace_followers(),
        };
        let text = metrics::encode(Snapshot::new(counters, system, gauges), format);
        text.map(Response::Text).map_err(|error| {
            let message = format!("the metrics cannot be written: {error}");
            CommandError::new(ErrorKind::Resources, message)
        })
    }

    /// The shard's counters, with all that went through its sessions.
    async fn counters(&self, command: Command) -> Result<Statistics, CommandError> {
        let _alone = self.counting.reading.lock().await;
        self.read_traffic(None).await?;
        match self.ask(command).await? {
            Response::Statistics(statistics) => Ok(statistics),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the counters of the sessions of one tunnel read, or of all, a page at a time.
    pub(crate) async fn read_traffic(&self, of: Option<&Selector>) -> Result<(), CommandError> {
        let mut after = None;
        loop {
            match self.ask(Command::TrafficRead(of.cloned(), after)).await? {
                Response::TrafficRead(None) => return Ok(()),
                Response::TrafficRead(next) => after = next,
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// What is counted outside of the shard.
    fn own_counters(&self) -> BTreeMap<String, u64> {
        let (sockets, events, hooks) = (
            self.sockets.counts(),
            self.happened.counts(),
            self.hooks.counts(),
        );
        let mut all: BTreeMap<_, _> = [
            ("dropped.backlog", self.mailbox.dropped()),
            ("dropped.send_queue", sockets.dropped),
            ("dropped.send_failures", sockets.failed),
            ("events.written", events.written),
            ("events.missed", events.missed),
            ("hooks.done", hooks.done),
            ("hooks.failed", hooks.failed),
            ("hooks.timed_out", hooks.timed_out),
            ("hooks.lost", hooks.lost),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let drops = self.counting.drops.all();
        all.extend(drops.map(|(reason, count)| (name_of_drop(reason), count)));
        let uncarried = self.counting.uncarried.as_ref();
        let counts = uncarried.map_or([0; UNCARRIED.len()], |uncarried| uncarried.counts());
        let named = UNCARRIED.into_iter().zip(counts);
        all.extend(named.map(|(reason, count)| (name_of_uncarried(reason), count)));
        all
    }
}

/// The statistic of packets that the engine `tun` dropped for this reason.
pub(crate) fn name_of_drop(reason: DropReason) -> String {
    format!("engines.tun.dropped.{}", reason.name())
}

/// The statistic of packets that programs in the kernel did not carry for this reason.
pub(crate) fn name_of_uncarried(reason: &str) -> String {
    format!("engines.ebpf.{reason}")
}

fn unexpected(response: &Response) -> CommandError {
    let message = format!("the shard's answer is not understood: {response:?}");
    CommandError::new(ErrorKind::Resources, message)
}
