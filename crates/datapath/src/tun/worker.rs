//! The thread that moves packets: one loop over sockets, devices and requests, with bounded work for each of them a turn.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::TunMaker;
use super::accelerate::Why;
use super::offload::PacketHeader;
use super::paths::Paths;
use super::table::{Carried, Network, Session, Slot};
use super::traffic::Traffic;
use crate::capture::Tap;
use crate::clock::Clock;
use crate::device::{Interface, TunDevice};
use crate::ebpf::{Accelerator, Notice};
use crate::host::{Job, Report};
use crate::socket::{ReceiveBuffers, Socket};
use crate::thread::Wake;
use crate::{
    Completion, DatapathError, Device, Engine, Event, EventSink, Handle, NetworkSpec, Request,
    SessionSpec, Stats, Token, Transport,
};

/// Descriptors looked at in one turn; the kernel brings the others first in the next.
const READY_PER_TURN: usize = 64;
/// Packets taken from one device in one turn, and octets of them, as they may be large and others wait; from a socket it is one batch.
const PACKETS_PER_TURN: usize = 64;
const OCTETS_PER_TURN: usize = 1 << 18;
/// The most batches that wait at a socket, and more than a receive buffer holds: what comes meanwhile is not waited for.
const WAITING_MAX: usize = 1024;
/// Requests carried out in one turn.
const REQUESTS_PER_TURN: usize = 256;
/// The largest IP packet that a device may hold.
const PACKET_MAX: usize = 1 << 16;

/// What is said to the worker.
pub(super) enum Message {
    Requests(Vec<Request>),
    AddSocket(Arc<Socket>),
    RemoveSocket(Arc<Socket>),
    Report(Report<TunDevice>),
    Notice(Notice),
    Capture(Handle, Option<Arc<dyn Tap>>),
    Stop,
}

/// Where something waits to be read.
#[derive(Clone, Copy)]
enum Source {
    Wake,
    /// A socket, by its number here.
    Socket(u32),
    /// A device, by its interface index.
    Device(u32),
    /// The timer of the paths.
    Paths,
}

impl Source {
    fn data(self) -> epoll::EventData {
        let (kind, number) = match self {
            Self::Wake => (0, 0),
            Self::Socket(number) => (1, number),
            Self::Device(index) => (2, index),
            Self::Paths => (3, 0),
        };
        epoll::EventData::new_u64(kind << 32 | u64::from(number))
    }

    fn of(data: epoll::EventData) -> Self {
        let (kind, number) = (data.u64() >> 32, data.u64() as u32);
        match kind {
            1 => Self::Socket(number),
            2 => Self::Device(number),
            3 => Self::Paths,
            _ => Self::Wake,
        }
    }
}

/// A device that is read from.
struct Attached {
    device: Arc<TunDevice>,
    /// The session whose own it is.
    owner: Option<Slot>,
}

pub(super) struct Worker {
    poll: OwnedFd,
    wake: Arc<Wake>,
    messages: Receiver<Message>,
    requests: VecDeque<Request>,
    jobs: Sender<Job<TunMaker>>,
    sink: Arc<dyn EventSink>,
    sockets: BTreeMap<u32, Arc<Socket>>,
    next_socket: u32,
    devices: BTreeMap<u32, Attached>,
    pub(super) traffic: Traffic,
    /// The engine `ebpf`; why there is none.
    pub(super) accelerator: Result<Accelerator, Why>,
    paths: Paths,
    datagrams: ReceiveBuffers,
    packet: Vec<u8>,
}

/// What the worker does after a turn's requests.
#[derive(PartialEq, Eq)]
enum Next {
    Wait,
    /// There are more requests.
    GoOn,
    Stop,
}

impl Worker {
    pub(super) fn new(
        messages: Receiver<Message>,
        wake: Arc<Wake>,
        jobs: Sender<Job<TunMaker>>,
        sink: Arc<dyn EventSink>,
        path_interval: Duration,
    ) -> Result<Self, DatapathError> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|e| DatapathError::system("make an epoll", &e.into()))?;
        watch(&poll, &wake, Source::Wake)?;
        let paths = Paths::new(path_interval)?;
        watch(&poll, &paths, Source::Paths)?;
        Ok(Self {
            poll,
            wake,
            messages,
            requests: VecDeque::new(),
            jobs,
            sink,
            sockets: BTreeMap::new(),
            next_socket: 0,
            devices: BTreeMap::new(),
            traffic: Traffic::new(Clock::start()),
            accelerator: Err(None),
            paths,
            datagrams: ReceiveBuffers::new(),
            packet: vec![0; PacketHeader::LEN + PACKET_MAX],
        })
    }

    pub(super) fn watch_socket(&mut self, socket: Arc<Socket>) -> Result<(), DatapathError> {
        let name = Source::Socket(self.next_socket);
        watch(&self.poll, &socket, name)?;
        for sender in socket.senders() {
            // Nothing comes to these but errors, which are reported unasked.
            watch_for(&self.poll, sender, name, epoll::EventFlags::empty())?;
        }
        self.sockets.insert(self.next_socket, socket);
        self.next_socket += 1;
        Ok(())
    }

    /// Moves packets until it is told to stop.
    pub(super) fn run(mut self) {
        let mut ready = Vec::with_capacity(READY_PER_TURN);
        let mut next = Next::Wait;
        while next != Next::Stop {
            let timeout = match next {
                Next::GoOn => Some(Duration::ZERO),
                _ => self.traffic.until_overdue(),
            };
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            ready.clear();
            match epoll::wait(&self.poll, spare_capacity(&mut ready), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!("the tun engine stops: epoll: {error}");
                    return;
                }
            }
            let woken = |event: &epoll::Event| matches!(Source::of(event.data), Source::Wake);
            if ready.iter().any(woken) {
                self.wake.clear();
            }
            // What was asked before a packet came is done before it is looked at: the peer may send as soon as it has our word.
            next = self.take_messages();
            self.traffic.flush();
            for event in &ready {
                match Source::of(event.data) {
                    Source::Wake => {}
                    Source::Socket(number) => {
                        let flags = event.flags;
                        if flags.contains(epoll::EventFlags::ERR) {
                            self.read_errors(number);
                        }
                        self.read_socket(number);
                    }
                    Source::Device(index) => self.read_device(index),
                    Source::Paths => self.traffic.events.extend(self.paths.check_all()),
                }
                self.traffic.flush();
            }
            self.traffic.release_overdue();
            self.reconsider_sessions();
            self.traffic.flush();
            if !self.traffic.events.is_empty() {
                self.sink.deliver(&mut self.traffic.events);
            }
        }
    }

    fn read_socket(&mut self, number: u32) {
        let Some(socket) = self.sockets.get(&number) else {
            return;
        };
        match self.datagrams.receive(socket) {
            Ok(datagrams) => datagrams.for_each(|datagram| self.traffic.inbound(datagram)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // An ICMP error, which waits in the queue of errors, too.
            Err(error) => tracing::debug!("receive on {}: {error}", socket.local_addr()),
        }
    }

    /// Takes what the network said of datagrams that did not arrive.
    fn read_errors(&mut self, number: u32) {
        let Some(socket) = self.sockets.get(&number) else {
            return;
        };
        for complaint in socket.take_complaints() {
            let listener = socket.listener();
            let event = if complaint.is_about_size() {
                self.paths.check(listener, complaint.remote.ip())
            } else {
                Some(Event::Unreachable {
                    listener: listener.clone(),
                    remote: complaint.remote,
                    reason: complaint.error.desc().to_owned(),
                })
            };
            self.traffic.events.extend(event);
        }
    }

    fn read_device(&mut self, index: u32) {
        let Some(Attached { device, owner }) = self.devices.get(&index) else {
            return;
        };
        let mut octets = 0;
        for _ in 0..PACKETS_PER_TURN {
            if octets >= OCTETS_PER_TURN {
                return;
            }
            match device.read(&mut self.packet) {
                Ok(len) => {
                    octets += len;
                    self.traffic.outbound(*owner, &mut self.packet[..len]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.lose_device(index),
            }
        }
    }

    /// Someone removed a device: its sessions have no network any more.
    fn lose_device(&mut self, index: u32) {
        let Some(device) = self.detach(index) else {
            return;
        };
        let error = DatapathError::System {
            what: format!("read from device {}", device.name()),
            reason: "the device was removed".to_owned(),
        };
        for slot in self.traffic.table.on_device(index) {
            self.decelerate(slot);
            let table = &mut self.traffic.table;
            table.close(slot);
            let Some(session) = table.get_mut(slot) else {
                continue;
            };
            session.carried = Carried::default();
            let failed = Event::Failed {
                handle: session.handle,
                error: error.clone(),
            };
            self.traffic.events.push(failed);
        }
        self.submit(Job::DeviceGone(index));
    }

    fn detach(&mut self, index: u32) -> Option<Arc<TunDevice>> {
        let Attached { device, .. } = self.devices.remove(&index)?;
        // The host's thread has it open still.
        let _ = epoll::delete(&self.poll, &device);
        if let Ok(accelerator) = &mut self.accelerator {
            accelerator.lose(index);
        }
        Some(device)
    }

    /// Carries out what is asked, in order, up to the bound.
    fn take_messages(&mut self) -> Next {
        for _ in 0..REQUESTS_PER_TURN {
            if let Some(request) = self.requests.pop_front() {
                self.carry_out(request);
                continue;
            }
            match self.messages.try_recv() {
                Ok(Message::Requests(requests)) => self.requests = requests.into(),
                Ok(Message::Report(report)) => self.take_report(report),
                Ok(Message::Notice(notice)) => self.take_notice(notice),
                Ok(Message::Capture(handle, tap)) => self.capture(handle, tap),
                Ok(Message::AddSocket(socket)) => {
                    if let Err(error) = self.watch_socket(socket) {
                        tracing::error!("{error}");
                    }
                }
                Ok(Message::RemoveSocket(socket)) => self.forget_socket(&socket),
                Ok(Message::Stop) => return Next::Stop,
                Err(_) => return Next::Wait,
            }
        }
        Next::GoOn
    }

    fn forget_socket(&mut self, socket: &Arc<Socket>) {
        // What came before is not to be lost with it.
        self.take_waiting(socket);
        self.sockets.retain(|_, known| !Arc::ptr_eq(known, socket));
        let _ = epoll::delete(&self.poll, socket);
        for sender in socket.senders() {
            let _ = epoll::delete(&self.poll, sender);
        }
    }

    /// Takes all that waits at a socket.
    pub(super) fn take_waiting(&mut self, socket: &Socket) {
        for _ in 0..WAITING_MAX {
            let Ok(datagrams) = self.datagrams.receive(socket) else {
                return;
            };
            datagrams.for_each(|datagram| self.traffic.inbound(datagram));
        }
    }

    fn carry_out(&mut self, request: Request) {
        match request {
            Request::Send { handle, frame } => self.traffic.send(handle, &frame),
            Request::SetSequencing { handle, sequencing } => {
                if let Ok(session) = self.session(handle) {
                    session.set_sequencing(sequencing);
                }
                self.reconsider(handle);
            }
            Request::SetChecksums {
                handle,
                no_checksum,
            } => {
                self.set_checksums(handle, no_checksum);
                self.reconsider(handle);
            }
            Request::Create {
                token,
                handle,
                spec,
            } => {
                let result = self.create(handle, spec);
                self.complete(token, result.map(|()| Completion::Created(Engine::Tun)));
            }
            Request::Stats { token, handle } => {
                let result = self.stats(handle);
                self.complete(token, result.map(Completion::Stats));
            }
            Request::Configure {
                token,
                handle,
                network,
            } => {
                if let Err(error) = self.configure(token, handle, network) {
                    self.complete(token, Err(error));
                }
            }
            Request::Reserve { nets } => self.submit(Job::Reserve { nets, seed: () }),
            Request::Join { token, .. } => self.complete(token, Err(DatapathError::cannot_join())),
            Request::Remove { token, handle } => match self.remove(handle) {
                Ok(stats) => self.submit(Job::Remove {
                    token,
                    handle,
                    stats,
                }),
                Err(error) => self.complete(token, Err(error)),
            },
        }
    }

    fn complete(&mut self, token: Token, result: Result<Completion, DatapathError>) {
        self.traffic.events.push(Event::Completed { token, result });
    }

    fn submit(&self, job: Job<TunMaker>) {
        // The host's thread ends after this one.
        if self.jobs.send(job).is_err() {
            tracing::error!("the tun engine's host thread is gone");
        }
    }

    pub(super) fn session(&mut self, handle: Handle) -> Result<&mut Session, DatapathError> {
        let table = &mut self.traffic.table;
        let slot = table.by_handle(handle);
        slot.and_then(|slot| table.get_mut(slot))
            .ok_or(DatapathError::NoSuchSession)
    }

    fn create(&mut self, handle: Handle, spec: SessionSpec) -> Result<(), DatapathError> {
        self.without_ebpf(spec.choice)?;
        let socket = self.socket_of(&spec.transport)?;
        let (remote, outer) = (spec.transport.remote, spec.outer);
        if outer.no_checksum {
            let taken = socket.take_without_checksum();
            taken.map_err(|e| DatapathError::system("receive without UDP checksums", &e))?;
        }
        let session = Session::new(handle, spec, Arc::clone(&socket));
        self.traffic.table.insert(session)?;
        if outer.dont_fragment {
            let path = self.paths.join(&socket, remote);
            self.traffic.events.extend(path);
        }
        Ok(())
    }

    fn set_checksums(&mut self, handle: Handle, no_checksum: bool) {
        let Ok(session) = self.session(handle) else {
            return;
        };
        // A socket that does not take datagrams without a checksum goes on as before.
        if !no_checksum || session.socket.take_without_checksum().is_ok() {
            session.spec.outer.no_checksum = no_checksum;
        }
    }

    /// The socket that a session's datagrams leave through.
    fn socket_of(&self, path: &Transport) -> Result<Arc<Socket>, DatapathError> {
        let local = path.local;
        let its = || {
            let all = self.sockets.values();
            all.filter(|socket| *socket.listener() == path.listener)
        };
        let exact = its().find(|socket| socket.local_addr() == local && socket.serves(local));
        let socket = exact.or_else(|| its().find(|socket| socket.serves(local)));
        socket.cloned().ok_or_else(|| DatapathError::System {
            what: format!("send from {local}"),
            reason: "no socket is bound to it".to_owned(),
        })
    }

    /// Completed by the host's report.
    fn configure(
        &mut self,
        token: Token,
        handle: Handle,
        network: NetworkSpec,
    ) -> Result<(), DatapathError> {
        self.pause(handle);
        let session = self.session(handle)?;
        session.carry_by(&network);
        session.configuring += 1;
        let job = Job::Configure {
            token,
            handle,
            device: session.spec.device.clone(),
            seed: (),
            remote: session.transport().remote,
            spec: Arc::new(network),
        };
        self.submit(job);
        Ok(())
    }

    /// Stops a session's traffic; what it has on the host is the host's thread's.
    fn remove(&mut self, handle: Handle) -> Result<Stats, DatapathError> {
        let session = self
            .traffic
            .table
            .remove(handle)
            .ok_or(DatapathError::NoSuchSession)?;
        if session.spec.outer.dont_fragment {
            self.paths
                .leave(&session.socket, session.transport().remote);
        }
        if let (Some(network), true) = (&session.network, session.spec.device != Device::Shared) {
            self.detach(network.device.index());
        }
        let mut stats = session.stats();
        stats += self.carried_of(&session);
        Ok(stats)
    }

    fn take_report(&mut self, report: Report<TunDevice>) {
        match report {
            Report::Shared(device) => {
                if let Err(error) = self.attach(device, None) {
                    tracing::warn!("{error}");
                }
            }
            Report::Stats { token, stats } => self.complete(token, Ok(Completion::Stats(stats))),
            Report::Configured {
                token,
                handle,
                spec,
                result,
            } => {
                let result = result.and_then(|device| {
                    let name = device.name().to_owned();
                    self.open(handle, Network { spec, device })?;
                    Ok(Completion::Device(name))
                });
                if let Some(slot) = self.traffic.table.by_handle(handle) {
                    self.traffic.configured(slot);
                }
                self.complete(token, result);
                self.reconsider(handle);
            }
        }
    }

    /// Lets a session's packets flow; an error if the session was removed meanwhile.
    fn open(&mut self, handle: Handle, network: Network) -> Result<(), DatapathError> {
        let table = &mut self.traffic.table;
        let slot = table
            .by_handle(handle)
            .ok_or(DatapathError::NoSuchSession)?;
        let session = table.get_mut(slot).ok_or(DatapathError::NoSuchSession)?;
        let owner = (session.spec.device != Device::Shared).then_some(slot);
        let device = Arc::clone(&network.device);
        table.open(slot, network);
        self.attach(device, owner)
    }

    /// Reads from a device from now on.
    fn attach(&mut self, device: Arc<TunDevice>, owner: Option<Slot>) -> Result<(), DatapathError> {
        let index = device.index();
        if !self.devices.contains_key(&index) {
            watch(&self.poll, &device, Source::Device(index))?;
            self.devices.insert(index, Attached { device, owner });
        }
        Ok(())
    }
}

fn watch(poll: &OwnedFd, source: impl AsFd, name: Source) -> Result<(), DatapathError> {
    watch_for(poll, source, name, epoll::EventFlags::IN)
}

fn watch_for(
    poll: &OwnedFd,
    source: impl AsFd,
    name: Source,
    what: epoll::EventFlags,
) -> Result<(), DatapathError> {
    epoll::add(poll, source, name.data(), what)
        .map_err(|e| DatapathError::system("watch a descriptor", &e.into()))
}
