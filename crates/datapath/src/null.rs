//! The engine that carries no traffic: PPP control frames pass, network-layer packets have nowhere to go. For tests, load and machines
//! that only speak the control protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sansio::Time;

use crate::message::encapsulate;
use crate::{
    Completion, Datapath, DatapathError, Device, Encapsulation, Engine, Event, EventSink, Handle,
    Ids, Request, Sequencer, Sequencing, SessionSpec, Stats, Transport, Verdict,
};

/// Where the datagrams of a [`Null`] go: a socket, or a simulated network.
pub trait Outlet: Send {
    /// Sends one UDP payload. It may be lost, like any datagram.
    fn send(&mut self, transport: &Transport, datagram: &[u8]);
}

/// The engine. It receives nothing by itself: who does, passes through [`Null::receive`] what goes to the control plane.
pub struct Null<O> {
    outlet: O,
    sink: Arc<dyn EventSink>,
    sessions: BTreeMap<Handle, Session>,
    by_ids: BTreeMap<Ids, Handle>,
    /// The sessions that hold frames back for what is missing before them.
    holding: BTreeSet<Handle>,
    events: Vec<Event>,
    datagram: Vec<u8>,
}

struct Session {
    transport: Transport,
    encapsulation: Encapsulation,
    device: Device,
    sequencer: Sequencer<Event>,
    rx_errors: u64,
    tx_packets: u64,
}

impl Session {
    /// What its device would be called if there were one, and no other.
    fn device_name(&self) -> String {
        match &self.device {
            Device::Own { name: Some(name) } => name.replace("%d", "0"),
            _ => "null".to_owned(),
        }
    }

    fn stats(&self) -> Stats {
        Stats {
            sequencing: self.sequencer.stats(),
            rx_errors: self.rx_errors,
            tx_packets: self.tx_packets,
            ..Stats::default()
        }
    }
}

impl<O: Outlet> Null<O> {
    /// An engine without sessions.
    pub fn new(outlet: O, sink: Arc<dyn EventSink>) -> Self {
        Self {
            outlet,
            sink,
            sessions: BTreeMap::new(),
            by_ids: BTreeMap::new(),
            holding: BTreeSet::new(),
            events: Vec::new(),
            datagram: Vec::new(),
        }
    }

    /// How many sessions it has.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Counts so many more receive errors in each session, as an engine with traffic might.
    pub fn count_errors(&mut self, more: u64) {
        for session in self.sessions.values_mut() {
            session.rx_errors += more;
        }
    }

    /// Counts so many more packets sent in each session, as an engine with traffic might.
    pub fn count_packets(&mut self, more: u64) {
        for session in self.sessions.values_mut() {
            session.tx_packets += more;
        }
    }

    /// Takes an event on its way to the control plane, and puts into `onward` what is to get there now: frames of sessions in the order of
    /// their numbers.
    pub fn receive(&mut self, event: Event, now: Time, onward: &mut Vec<Event>) {
        let Event::Frame {
            remote,
            ids,
            ns,
            ref frame,
            ..
        } = event
        else {
            onward.push(event);
            return;
        };
        let handle = self.by_ids.get(&ids).copied();
        let known = handle.and_then(|handle| Some((handle, self.sessions.get_mut(&handle)?)));
        let Some((handle, session)) = known.filter(|(_, s)| s.transport.remote == remote) else {
            onward.push(event);
            return;
        };
        match session.sequencer.receive(ns) {
            Verdict::Deliver => onward.push(event),
            Verdict::Hold(ns) => {
                let octets = frame.len();
                session.sequencer.hold(ns, event, octets, now);
                self.holding.insert(handle);
            }
            Verdict::Drop => {}
        }
        if session.sequencer.is_holding() {
            while let Some(event) = session.sequencer.pop() {
                onward.push(event);
            }
            if !session.sequencer.is_holding() {
                self.holding.remove(&handle);
            }
        }
    }

    /// When to call [`Null::handle_timeout`].
    pub fn next_timeout(&self) -> Option<Time> {
        let holding = self.holding.iter();
        holding
            .filter_map(|handle| self.sessions.get(handle)?.sequencer.next_timeout())
            .min()
    }

    /// Puts into `onward` what has waited for long enough for what is missing before it.
    pub fn handle_timeout(&mut self, now: Time, onward: &mut Vec<Event>) {
        let sessions = &mut self.sessions;
        self.holding.retain(|handle| {
            let Some(session) = sessions.get_mut(handle) else {
                return false;
            };
            while let Some(event) = session.sequencer.pop_overdue(now) {
                onward.push(event);
            }
            session.sequencer.is_holding()
        });
    }

    fn create(&mut self, handle: Handle, spec: &SessionSpec) -> Result<Completion, DatapathError> {
        let Encapsulation::V2 {
            local,
            sequencing,
            reorder_timeout,
            ..
        } = spec.encapsulation;
        if self.sessions.contains_key(&handle) || self.by_ids.contains_key(&local) {
            return Err(DatapathError::InUse);
        }
        let session = Session {
            transport: spec.transport.clone(),
            encapsulation: spec.encapsulation,
            device: spec.device.clone(),
            sequencer: Sequencer::new(sequencing, reorder_timeout),
            rx_errors: 0,
            tx_packets: 0,
        };
        self.sessions.insert(handle, session);
        self.by_ids.insert(local, handle);
        Ok(Completion::Created(Engine::Null))
    }

    fn session(&self, handle: Handle) -> Result<&Session, DatapathError> {
        self.sessions
            .get(&handle)
            .ok_or(DatapathError::NoSuchSession)
    }

    fn remove(&mut self, handle: Handle) -> Result<Completion, DatapathError> {
        let session = self.sessions.remove(&handle);
        let session = session.ok_or(DatapathError::NoSuchSession)?;
        let Encapsulation::V2 { local, .. } = session.encapsulation;
        self.by_ids.remove(&local);
        Ok(Completion::Stats(session.stats()))
    }

    fn send(&mut self, handle: Handle, frame: &[u8]) {
        if let Some(session) = self.sessions.get_mut(&handle) {
            let ns = session.sequencer.next_ns();
            encapsulate(&session.encapsulation, ns, frame, &mut self.datagram);
            self.outlet.send(&session.transport, &self.datagram);
        }
    }

    fn set_sequencing(&mut self, handle: Handle, sequencing: Sequencing) {
        if let Some(session) = self.sessions.get_mut(&handle) {
            session.sequencer.set(sequencing);
        }
    }

    fn carry_out(&mut self, request: Request) {
        let (token, result) = match request {
            Request::Send { handle, frame } => return self.send(handle, &frame),
            // Nothing of it has a checksum.
            Request::SetChecksums { .. } | Request::Reserve { .. } => return,
            Request::SetSequencing { handle, sequencing } => {
                return self.set_sequencing(handle, sequencing);
            }
            Request::Create {
                token,
                handle,
                spec,
            } => (token, self.create(handle, &spec)),
            Request::Configure { token, handle, .. } => {
                let device = |session: &Session| Completion::Device(session.device_name());
                (token, self.session(handle).map(device))
            }
            Request::Join { token, .. } => (token, Err(DatapathError::cannot_join())),
            Request::Stats { token, handle } => {
                let stats = |session: &Session| Completion::Stats(session.stats());
                (token, self.session(handle).map(stats))
            }
            Request::Remove { token, handle } => (token, self.remove(handle)),
        };
        self.events.push(Event::Completed { token, result });
    }
}

impl<O: Outlet> Datapath for Null<O> {
    fn name(&self) -> &'static str {
        "null"
    }

    fn submit(&mut self, requests: &mut Vec<Request>) {
        for request in requests.drain(..) {
            self.carry_out(request);
        }
        if !self.events.is_empty() {
            self.sink.deliver(&mut self.events);
        }
    }
}
