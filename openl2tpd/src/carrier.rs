//! The datapath of this run of the daemon.

use std::sync::Arc;

use datapath::null::Null;
use datapath::socket::Socket;
use datapath::tun::{Tun, TunConfig};
use datapath::{Datapath, DatapathError, Event, EventSink, Request};
use sansio::Time;

use crate::flags::DatapathName;
use crate::sockets::Sockets;

/// The `tun` engine, which receives for everybody, and in front of it the `null` engine where that was asked for.
pub(crate) struct Carrier {
    tun: Tun,
    null: Option<Null<Sockets>>,
}

impl Carrier {
    /// Starts the datapath on `bound`, which are all of `sockets` so far.
    pub(crate) fn start(
        name: DatapathName,
        sockets: Sockets,
        bound: Vec<Arc<Socket>>,
        sink: Arc<dyn EventSink>,
    ) -> Result<Self, DatapathError> {
        let tun = Tun::start(TunConfig::default(), bound, Arc::clone(&sink))?;
        let null = (name == DatapathName::Null).then(|| Null::new(sockets, sink));
        Ok(Self { tun, null })
    }

    /// Takes the requests out of `requests`, in order.
    pub(crate) fn submit(&mut self, requests: &mut Vec<Request>) {
        match &mut self.null {
            Some(null) => null.submit(requests),
            None => self.tun.submit(requests),
        }
    }

    /// Takes events on their way to the engine, and returns those that are to get there now.
    pub(crate) fn receive(&mut self, events: Vec<Event>, now: Time) -> Vec<Event> {
        let Some(null) = &mut self.null else {
            return events;
        };
        let mut onward = Vec::with_capacity(events.len());
        for event in events {
            null.receive(event, now, &mut onward);
        }
        onward
    }

    /// When to call [`Self::handle_timeout`].
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.null.as_ref()?.next_timeout()
    }

    /// What has waited for long enough on its way to the engine.
    pub(crate) fn handle_timeout(&mut self, now: Time) -> Vec<Event> {
        let mut onward = Vec::new();
        if let Some(null) = &mut self.null {
            null.handle_timeout(now, &mut onward);
        }
        onward
    }

    /// Receives from one more socket.
    pub(crate) fn add_socket(&self, socket: Arc<Socket>) {
        self.tun.add_socket(socket);
    }

    /// Receives from a socket no more.
    pub(crate) fn remove_socket(&self, socket: &Arc<Socket>) {
        self.tun.remove_socket(socket);
    }
}
