//! The datapath of this run of the daemon.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use datapath::auto::Auto;
use datapath::capture::{self, Tap};
use datapath::ebpf::{Loaded, Uncarried};
use datapath::kernel::Means;
use datapath::null::Null;
use datapath::socket::Socket;
use datapath::tun::TunConfig;
use datapath::{Choice, Datapath, DatapathError, Drops, Engine, Event, EventSink, Handle, Request};
use engine::CapturePoint;
use sansio::Time;
use tracing::info;

use crate::flags::DatapathName;
use crate::sockets::Sockets;

/// The engines of this machine, of which `tun` receives for everybody, and the `null` engine for sessions that want no other.
pub(crate) struct Carrier {
    engines: Auto,
    null: Null<Sockets>,
    on_null: BTreeSet<Handle>,
    /// Who carries sessions that leave it open.
    usual: Choice,
    /// Collected for one submission.
    for_engines: Vec<Request>,
    for_null: Vec<Request>,
}

impl Carrier {
    /// Starts the datapath on `bound`, which are all of `sockets` so far, and says in the log what it is.
    pub(crate) fn start(
        name: DatapathName,
        ebpf: Result<Loaded, Option<String>>,
        sockets: Sockets,
        bound: Vec<Arc<Socket>>,
        sink: Arc<dyn EventSink>,
    ) -> Result<Self, DatapathError> {
        let (usual, kernel) = match name {
            DatapathName::Auto => (Choice::Auto, Some(Means::All)),
            DatapathName::Kernel => (Choice::Kernel, Some(Means::All)),
            DatapathName::Ebpf => (Choice::Ebpf, None),
            DatapathName::Tun => (Choice::Tun, None),
            DatapathName::Null => (Choice::Null, None),
        };
        let without_ebpf = ebpf.as_ref().err().cloned().flatten();
        let engines = Auto::start(TunConfig::default(), kernel, ebpf, bound, Arc::clone(&sink))?;
        let programs = match &without_ebpf {
            None => {
                let of = match usual {
                    Choice::Auto => " of sessions without UDP checksums",
                    _ => "",
                };
                format!("programs in the kernel carry what is common on TUN devices{of}")
            }
            Some(why) => format!("no programs in the kernel (ebpf): {why}"),
        };
        match (usual, engines.without_kernel()) {
            (Choice::Kernel, Some(why)) => return Err(why.clone()),
            (Choice::Kernel, None) => {
                let notices = notices(&engines);
                info!("datapath: the kernel's L2TP for every session{notices}");
            }
            (Choice::Auto, None) => {
                let notices = notices(&engines);
                info!(
                    "datapath: the kernel's L2TP for sessions with a device of their own, as this machine has it; a TUN device for others; {programs}{notices}"
                );
            }
            (Choice::Auto, Some(why)) => {
                info!(
                    "datapath: TUN devices, as the kernel's L2TP is not to be had: {why}; {programs}"
                );
            }
            (Choice::Ebpf, _) => match without_ebpf {
                Some(why) => return Err(DatapathError::Unsupported(format!("ebpf: {why}"))),
                None => info!("datapath: {programs}, as --datapath says"),
            },
            (Choice::Tun, _) => info!("datapath: TUN devices, as --datapath says"),
            (Choice::Null, _) => info!("datapath: none, as --datapath says"),
        }
        Ok(Self {
            engines,
            null: Null::new(sockets, sink),
            on_null: BTreeSet::new(),
            usual,
            for_engines: Vec::new(),
            for_null: Vec::new(),
        })
    }

    /// What carries sessions that leave it open, as `show` has it.
    pub(crate) fn name(&self) -> &'static str {
        match self.usual {
            Choice::Auto => self.engines.name(),
            Choice::Kernel => "kernel",
            Choice::Ebpf => "ebpf",
            Choice::Tun => "tun",
            Choice::Null => "null",
        }
    }

    /// Which engines sessions get that leave it open.
    pub(crate) fn taken(&self) -> Taken {
        let on_tun = match self.engines.uncarried().is_some() {
            true => Engine::Ebpf,
            false => Engine::Tun,
        };
        let has_kernel = self.engines.without_kernel().is_none();
        let (datapath, shared, own) = match self.usual {
            Choice::Auto if has_kernel => ("auto", on_tun, Engine::Kernel),
            Choice::Auto => ("auto", on_tun, on_tun),
            Choice::Kernel => ("kernel", Engine::Kernel, Engine::Kernel),
            Choice::Ebpf => ("ebpf", Engine::Ebpf, Engine::Ebpf),
            Choice::Tun => ("tun", Engine::Tun, Engine::Tun),
            Choice::Null => ("null", Engine::Null, Engine::Null),
        };
        Taken {
            datapath,
            shared,
            own,
        }
    }

    /// What `tun` counts of packets that went no further.
    pub(crate) fn drops(&self) -> Arc<Drops> {
        self.engines.drops()
    }

    /// What programs in the kernel count of packets that they do not carry, where there are programs.
    pub(crate) fn uncarried(&self) -> Option<Arc<Uncarried>> {
        self.engines.uncarried()
    }

    /// Takes the requests out of `requests`, in order.
    pub(crate) fn submit(&mut self, requests: &mut Vec<Request>) {
        for mut request in requests.drain(..) {
            let Some(handle) = request.handle() else {
                // What reserves addresses wants the shared device, which is there in these.
                if !matches!(self.usual, Choice::Null | Choice::Kernel) {
                    self.for_engines.push(request);
                }
                continue;
            };
            if let Request::Create { spec, .. } = &mut request {
                if spec.choice == Choice::Auto || self.usual == Choice::Null {
                    spec.choice = self.usual;
                }
                if spec.choice == Choice::Null {
                    self.on_null.insert(handle);
                }
            }
            let is_null = match request {
                Request::Remove { .. } => self.on_null.remove(&handle),
                _ => self.on_null.contains(&handle),
            };
            match is_null {
                true => self.for_null.push(request),
                false => self.for_engines.push(request),
            }
        }
        self.null.submit(&mut self.for_null);
        self.engines.submit(&mut self.for_engines);
    }

    /// The socket of a session that another program is to speak PPP in.
    pub(crate) fn lend(&self, handle: Handle) -> Result<OwnedFd, DatapathError> {
        self.engines.lend(handle)
    }

    /// Lets `tap` see the packets of a session.
    pub(crate) fn capture(
        &self,
        point: &CapturePoint,
        tap: Arc<dyn Tap>,
    ) -> Result<(), DatapathError> {
        let unsupported = |why: &str| Err(DatapathError::Unsupported(why.to_owned()));
        match (point.engine, &point.device) {
            (Engine::Null, _) => unsupported("null carries nothing"),
            (Engine::Kernel, Some(device)) => capture::device(device, tap),
            (Engine::Kernel, None) => unsupported("the session has no device yet"),
            (Engine::Tun | Engine::Ebpf, _) => {
                self.engines.capture(point.handle, Some(tap));
                Ok(())
            }
        }
    }

    /// Somebody looks no more at a session's packets.
    pub(crate) fn end_capture(&self, handle: Handle) {
        self.engines.capture(handle, None);
    }

    /// Takes events on their way to the engine, and returns those that are to get there now.
    pub(crate) fn receive(&mut self, events: Vec<Event>, now: Time) -> Vec<Event> {
        if self.on_null.is_empty() {
            return events;
        }
        let mut onward = Vec::with_capacity(events.len());
        for event in events {
            self.null.receive(event, now, &mut onward);
        }
        onward
    }

    /// When to call [`Self::handle_timeout`].
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.null.next_timeout()
    }

    /// What has waited for long enough on its way to the engine.
    pub(crate) fn handle_timeout(&mut self, now: Time) -> Vec<Event> {
        let mut onward = Vec::new();
        self.null.handle_timeout(now, &mut onward);
        onward
    }

    /// Receives from one more socket.
    pub(crate) fn add_socket(&self, socket: Arc<Socket>) {
        self.engines.add_socket(socket);
    }

    /// Receives from a socket no more.
    pub(crate) fn remove_socket(&self, socket: &Arc<Socket>) {
        self.engines.remove_socket(socket);
    }
}

/// Which engines sessions get that leave it open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Taken {
    /// What the daemon was told.
    pub(crate) datapath: &'static str,
    /// Those on the shared device.
    pub(crate) shared: Engine,
    /// Those with a device of their own.
    pub(crate) own: Engine,
}

/// Whether we hear of what others do to the kernel's sessions.
fn notices(engines: &Auto) -> String {
    match engines.without_notices() {
        None => "; what `ip l2tp` deletes is noticed".to_owned(),
        Some(why) => {
            format!("; what `ip l2tp` deletes is not noticed, without l2tp_netlink: {why}")
        }
    }
}
