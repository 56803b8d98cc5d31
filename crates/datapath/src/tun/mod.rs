//! The engine on TUN devices, in user space: it runs wherever `/dev/net/tun` does.
//!
//! ```text
//!  caller ──requests──▶ worker thread: sockets, devices, session table ──events──▶ EventSink
//!                            │  ▲
//!                       jobs │  │ reports
//!                            ▼  │
//!                        host thread: devices, addresses, routes
//! ```
//!
//! The worker never waits for anything but its descriptors; what the kernel takes time over is the host thread's. Both live in the network
//! namespace of the thread that starts the engine.
//!
//! The shared device is made when the first session needs it and stays until the engine is dropped. On it a packet belongs to the session
//! whose peer or routes have its destination, and a packet from a peer must come from its address or its routes; two sessions can't have
//! the same. On a device of its own a session gets everything, and its peer may send from any address.

mod accelerate;
mod cipher;
mod mss;
mod offload;
mod outgoing;
mod packet;
mod paths;
mod table;
mod traffic;
mod unreachable;
mod worker;

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::capture::Tap;
use crate::device::TunDevice;
use crate::ebpf::Loaded;
use crate::host::{self, Maker, SharedDevice};
use crate::kernel::Receiver;
use crate::netlink::Netlink;
use crate::socket::Socket;
use crate::thread::{self, Wake, spawn};
use crate::{Datapath, DatapathError, Drops, EventSink, Handle, Request};
pub(crate) use accelerate::{Candidate, Why};
use worker::{Message, Worker};

/// Sets the ECN field of an IP packet.
#[cfg(all(test, feature = "ebpf"))]
pub(crate) fn set_ecn(packet: &mut [u8], bits: u8) {
    let layer = match packet[0] >> 4 {
        4 => packet::Layer::Ipv4,
        _ => packet::Layer::Ipv6,
    };
    packet::set_ecn(packet, layer, crate::Ecn::of(bits));
}

/// What an engine is told at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TunConfig {
    /// The name of the shared device, at most 15 octets.
    pub shared_device: String,
    /// The shared device's MTU, octets: the largest that a session on it can have.
    pub shared_mtu: u16,
    /// How often the MTU of paths is looked after that bounds sessions.
    pub path_interval: Duration,
}

impl Default for TunConfig {
    /// `l2tp0` with an MTU of 1500; paths are looked after every half minute.
    fn default() -> Self {
        Self {
            shared_device: "l2tp0".to_owned(),
            shared_mtu: 1500,
            path_interval: Duration::from_secs(30),
        }
    }
}

/// A running engine. Dropping it ends its threads and takes away its devices, addresses and routes; that waits for the kernel, some 20 ms a
/// device.
pub struct Tun {
    inbox: Inbox,
    drops: Arc<Drops>,
    worker: Option<JoinHandle<()>>,
    host: Option<JoinHandle<()>>,
}

impl Tun {
    /// Starts the engine's threads, in the caller's network namespace; events of what arrives on `sockets` may come at once.
    ///
    /// `ebpf` are the programs in the kernel that carry what they can, or why there are none, if they were asked for.
    ///
    /// No device is needed yet: a machine without a TUN driver fails the requests that want one.
    pub fn start(
        config: TunConfig,
        ebpf: Result<Loaded, Option<String>>,
        sockets: Vec<Arc<Socket>>,
        sink: Arc<dyn EventSink>,
    ) -> Result<Self, DatapathError> {
        let (sender, messages) = mpsc::channel();
        let inbox = Inbox {
            sender,
            wake: Arc::new(Wake::new()?),
        };
        let shared = SharedDevice {
            name: config.shared_device,
            mtu: config.shared_mtu,
        };
        let reports = inbox.clone();
        let report = move |report| reports.send(Message::Report(report));
        let (jobs, host) = host::start("tun-host", TunMaker, shared, report)?;
        let mut tun = Self {
            inbox,
            drops: Arc::default(),
            worker: None,
            host: Some(host),
        };
        let wake = Arc::clone(&tun.inbox.wake);
        let mut worker = Worker::new(messages, wake, jobs, sink, config.path_interval)?;
        tun.drops = Arc::clone(&worker.traffic.drops);
        let notices = tun.inbox.clone();
        worker.accelerate(ebpf, move |notice| notices.send(Message::Notice(notice)));
        for socket in sockets {
            worker.watch_socket(socket)?;
        }
        tun.worker = Some(spawn("tun-worker", move || worker.run())?);
        Ok(tun)
    }

    /// The way to its worker, from whatever thread.
    pub(crate) fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// What it counts of packets that went no further.
    #[must_use]
    pub fn drops(&self) -> Arc<Drops> {
        Arc::clone(&self.drops)
    }

    /// Receives from one more socket and lets sessions use it, from the next request on.
    pub fn add_socket(&self, socket: Arc<Socket>) {
        self.inbox.send(Message::AddSocket(socket));
    }

    /// Stops receiving from a socket. Sessions that use it keep sending through it.
    pub fn remove_socket(&self, socket: &Arc<Socket>) {
        self.inbox.send(Message::RemoveSocket(Arc::clone(socket)));
    }
}

impl Receiver for Inbox {
    fn add_socket(&self, socket: Arc<Socket>) {
        self.send(Message::AddSocket(socket));
    }

    fn remove_socket(&self, socket: Arc<Socket>) {
        self.send(Message::RemoveSocket(socket));
    }
}

impl Datapath for Tun {
    fn name(&self) -> &'static str {
        "tun"
    }

    fn submit(&mut self, requests: &mut Vec<Request>) {
        self.inbox.submit(mem::take(requests));
    }
}

impl Drop for Tun {
    fn drop(&mut self) {
        self.inbox.send(Message::Stop);
        // The worker holds the host's job queue: the host ends after it.
        for thread in [self.worker.take(), self.host.take()].into_iter().flatten() {
            thread::join(thread);
        }
    }
}

/// Makes TUN devices, of nothing.
struct TunMaker;

impl Maker for TunMaker {
    type Seed = ();
    type Device = TunDevice;

    fn make(&self, name: Option<&str>, (): &(), _: &Netlink) -> Result<TunDevice, DatapathError> {
        TunDevice::create(name)
    }
}

/// The way to the worker.
#[derive(Clone)]
pub(crate) struct Inbox {
    sender: Sender<Message>,
    wake: Arc<Wake>,
}

impl Inbox {
    /// Has requests carried out, in order.
    pub(crate) fn submit(&self, requests: Vec<Request>) {
        if !requests.is_empty() {
            self.send(Message::Requests(requests));
        }
    }

    /// Lets `tap` see a session's packets, and looks whether others still do.
    pub(crate) fn capture(&self, handle: Handle, tap: Option<Arc<dyn Tap>>) {
        self.send(Message::Capture(handle, tap));
    }

    fn send(&self, message: Message) {
        // A worker that is gone has no use for messages.
        if self.sender.send(message).is_ok() {
            self.wake.wake();
        }
    }
}
