//! The engine that carries no traffic: PPP control frames pass, network-layer packets have nowhere to go. For tests, load and machines
//! that only speak the control protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::message::encapsulate;
use crate::{
    Completion, Datapath, DatapathError, Encapsulation, Event, EventSink, Handle, Request,
    SessionSpec, Stats, Transport,
};

/// Where the datagrams of a [`Null`] go: a socket, or a simulated network.
pub trait Outlet: Send {
    /// Sends one UDP payload. It may be lost, like any datagram.
    fn send(&mut self, transport: &Transport, datagram: &[u8]);
}

/// The engine.
pub struct Null<O> {
    outlet: O,
    sink: Arc<dyn EventSink>,
    sessions: BTreeMap<Handle, Session>,
    events: Vec<Event>,
    datagram: Vec<u8>,
}

struct Session {
    transport: Transport,
    encapsulation: Encapsulation,
    ns: u16,
}

impl<O: Outlet> Null<O> {
    /// An engine without sessions.
    pub fn new(outlet: O, sink: Arc<dyn EventSink>) -> Self {
        Self {
            outlet,
            sink,
            sessions: BTreeMap::new(),
            events: Vec::new(),
            datagram: Vec::new(),
        }
    }

    /// How many sessions it has.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    fn create(&mut self, handle: Handle, spec: &SessionSpec) -> Result<Completion, DatapathError> {
        if self.sessions.contains_key(&handle) {
            return Err(DatapathError::InUse);
        }
        let session = Session {
            transport: spec.transport.clone(),
            encapsulation: spec.encapsulation,
            ns: 0,
        };
        self.sessions.insert(handle, session);
        Ok(Completion::Done)
    }

    fn existing(
        &self,
        handle: Handle,
        completion: Completion,
    ) -> Result<Completion, DatapathError> {
        if self.sessions.contains_key(&handle) {
            Ok(completion)
        } else {
            Err(DatapathError::NoSuchSession)
        }
    }

    fn send(&mut self, handle: Handle, frame: &[u8]) {
        if let Some(session) = self.sessions.get_mut(&handle) {
            encapsulate(
                &session.encapsulation,
                &mut session.ns,
                frame,
                &mut self.datagram,
            );
            self.outlet.send(&session.transport, &self.datagram);
        }
    }

    fn carry_out(&mut self, request: Request) {
        let (token, result) = match request {
            Request::Send { handle, frame } => return self.send(handle, &frame),
            Request::Create {
                token,
                handle,
                spec,
            } => (token, self.create(handle, &spec)),
            Request::Configure { token, handle, .. } => (
                token,
                self.existing(handle, Completion::Device("null".to_owned())),
            ),
            Request::Stats { token, handle } => (
                token,
                self.existing(handle, Completion::Stats(Stats::default())),
            ),
            Request::Remove { token, handle } => {
                let removed = self
                    .sessions
                    .remove(&handle)
                    .ok_or(DatapathError::NoSuchSession);
                (token, removed.map(|_| Completion::Stats(Stats::default())))
            }
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
