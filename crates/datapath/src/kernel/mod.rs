//! The engine of the Linux kernel's own L2TP and PPP (`l2tp_ppp`, `ppp_generic`): data packets never come to user space.
//!
//! ```text
//!  caller ──requests──▶ sockets, channels, counters          reader thread ──frames──▶ EventSink
//!                │                                                 ▲
//!                └──jobs──▶ host thread: interfaces, addresses, routes ──completions──▶ EventSink
//! ```
//!
//! A session is a PPPoL2TP socket over its tunnel's connected UDP socket, and a PPP channel. All of it is made within [`Datapath::submit`](crate::Datapath::submit), which
//! waits for nothing there: a frame that the peer sends once it is told of the session finds its channel. With [`Request::Configure`] the channel
//! gets a unit, which is the session's network interface. PPP's control frames stay with the caller.
//!
//! A connected UDP socket takes each datagram of its peer. What the kernel has no session for comes out of it as from any socket: the engine
//! that receives gets it.

mod genl;
mod lent;
mod mppe;
mod ppp;
mod pppox;
mod reader;
mod session;
mod tunnel;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;

use crate::device::Interface;
use crate::host::{self, Job, Maker, Report, SharedDevice};
use crate::netlink::Netlink;
use crate::socket::Socket;
use crate::thread;
use crate::{
    Completion, DatapathError, Device, Engine, Event, EventSink, Handle, Request, SessionSpec,
    Stats, Token,
};
use genl::Family;
use lent::Lent;
use ppp::Unit;
use reader::Reader;
use session::Session;
use tunnel::Tunnels;
use watch::Watch;

/// The largest frame that is taken, octets.
const FRAME_MAX: usize = 1 << 14;

/// Who receives from UDP sockets.
pub(crate) trait Receiver: Send {
    /// Receives from one more socket.
    fn add_socket(&self, socket: Arc<Socket>);

    /// Takes what waits in a socket and receives from it no more.
    fn remove_socket(&self, socket: Arc<Socket>);
}

/// The sockets that the daemon listens on.
pub(crate) type Listeners = Arc<RwLock<Vec<Arc<Socket>>>>;

/// How the kernel's L2TP is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Means {
    /// By its sockets, and by its netlink family, where that is to be had.
    All,
    /// As where there is no netlink family.
    Sockets,
}

/// Whether this machine has what the engine needs, loading modules where that is allowed; what it lacks otherwise.
pub fn probe() -> Result<(), DatapathError> {
    probe_sockets()?;
    probe_ppp()
}

/// Whether sessions can be made.
pub(crate) fn probe_sockets() -> Result<(), DatapathError> {
    pppox::PppoxSocket::probe().map_err(|e| {
        let absent = "the kernel has no module l2tp_ppp, or may not load it";
        lacks("open a PPPoL2TP socket", &e, absent)
    })
}

/// Whether sessions can have channels and interfaces.
pub(crate) fn probe_ppp() -> Result<(), DatapathError> {
    ppp::probe().map_err(|e| {
        let absent =
            "the kernel has no module ppp_generic, or the container does not show its device";
        lacks("open /dev/ppp", &e, absent)
    })
}

fn lacks(what: &str, error: &io::Error, absent: &str) -> DatapathError {
    match error.raw_os_error() {
        Some(
            libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOENT | libc::ENXIO | libc::ENODEV,
        ) => DatapathError::System {
            what: what.to_owned(),
            reason: absent.to_owned(),
        },
        _ => DatapathError::system(what, error),
    }
}

/// Whether there is the netlink family, which tells what others do to our sessions.
pub(crate) fn probe_family() -> io::Result<()> {
    Family::open().map(drop)
}

/// Whether the kernel encrypts.
pub(crate) fn probe_mppe() -> io::Result<()> {
    ppp::probe_mppe()
}

/// A running engine. Dropping it ends its sessions, its threads, and all that they have on the host.
pub(crate) struct Kernel {
    listeners: Listeners,
    receiver: Box<dyn Receiver>,
    /// The kernel's words for why there is none, otherwise.
    family: Result<Family, String>,
    tunnels: Tunnels,
    sessions: BTreeMap<Handle, Arc<Session>>,
    /// Those that other programs speak PPP in.
    lent: BTreeMap<Handle, Lent>,
    sink: Arc<dyn EventSink>,
    reader: Arc<Reader>,
    jobs: Option<Sender<Job<UnitMaker>>>,
    host: Option<JoinHandle<()>>,
    /// Whether it can encrypt, once somebody wanted to know.
    encrypts: OnceLock<bool>,
}

impl Kernel {
    /// Starts the engine's threads, in the caller's network namespace.
    pub(crate) fn start(
        means: Means,
        listeners: Listeners,
        receiver: Box<dyn Receiver>,
        sink: Arc<dyn EventSink>,
    ) -> Result<Self, DatapathError> {
        probe()?;
        let opened = match means {
            Means::All => Family::open().and_then(|family| Ok((family, Watch::open()?))),
            Means::Sockets => Err(io::Error::other("switched off")),
        };
        let (family, watch) = match opened {
            Ok((family, watch)) => (Ok(telling_of_others(family)), Some(watch)),
            Err(error) => (Err(error.to_string()), None),
        };
        let reader = Arc::new(Reader::start(Arc::clone(&sink), watch)?);
        // No session shares a device here.
        let shared = SharedDevice {
            name: String::new(),
            mtu: 0,
        };
        let reports = Reports {
            sink: Arc::clone(&sink),
            reader: Arc::clone(&reader),
        };
        let report = move |report| reports.take(report);
        let (jobs, host) = host::start("kernel-host", UnitMaker, shared, report)?;
        Ok(Self {
            listeners,
            receiver,
            family,
            tunnels: Tunnels::default(),
            sessions: BTreeMap::new(),
            lent: BTreeMap::new(),
            sink,
            reader,
            jobs: Some(jobs),
            host: Some(host),
            encrypts: OnceLock::new(),
        })
    }

    /// Carries out one request, but for what the host's thread completes.
    pub(crate) fn carry_out(&mut self, request: Request) {
        let lent = |handle| self.lent.contains_key(&handle);
        if request.handle().is_some_and(lent) {
            return self.carry_out_lent(request);
        }
        match request {
            Request::Create {
                token,
                handle,
                spec,
            } => {
                let result = self.create(handle, spec);
                self.complete(token, result.map(|()| Completion::Created(Engine::Kernel)));
            }
            Request::Send { handle, frame } => {
                if let Ok(session) = self.session(handle) {
                    session.send(&frame);
                }
            }
            Request::SetSequencing { handle, sequencing } => {
                if let Ok(session) = self.session(handle) {
                    session.set_sequencing(sequencing, self.family.as_mut().ok());
                }
            }
            Request::SetChecksums {
                handle,
                no_checksum,
            } => {
                if let Ok(session) = self.session(handle) {
                    self.tunnels
                        .set_checksums(&session.spec.transport, no_checksum);
                }
            }
            Request::Configure {
                token,
                handle,
                network,
            } => match self.session(handle) {
                Ok(session) => {
                    session.settle();
                    self.submit_job(Job::Configure {
                        token,
                        handle,
                        device: session.own_device(),
                        remote: session.spec.transport.remote,
                        seed: session,
                        spec: Arc::new(network),
                    })
                }
                Err(error) => self.complete(token, Err(error)),
            },
            Request::Stats { token, handle } => match self.session(handle) {
                Ok(session) => {
                    let stats = session.stats(self.family.as_mut().ok());
                    self.submit_job(Job::Count {
                        token,
                        handle,
                        stats,
                    });
                }
                Err(error) => self.complete(token, Err(error)),
            },
            Request::Join {
                token,
                handle,
                with,
            } => {
                let result = self.join(handle, with);
                self.complete(token, result.map(|()| Completion::Joined));
            }
            // Whose sessions share a device keeps their addresses.
            Request::Reserve { .. } => {}
            Request::Remove { token, handle } => match self.forget(handle) {
                Ok(session) => {
                    let stats = session.stats(self.family.as_mut().ok());
                    self.submit_job(Job::Remove {
                        token,
                        handle,
                        stats,
                    });
                }
                Err(error) => self.complete(token, Err(error)),
            },
        }
    }

    /// Carries out a request about a session that another program speaks PPP in.
    fn carry_out_lent(&mut self, request: Request) {
        let Some(lent) = request.handle().and_then(|handle| self.lent.get(&handle)) else {
            return;
        };
        match request {
            Request::Stats { token, .. } => {
                let stats = lent.stats(self.family.as_mut().ok());
                self.complete(token, Ok(Completion::Stats(of_kernel(stats))));
            }
            Request::Remove { token, handle } => {
                let stats = lent.stats(self.family.as_mut().ok());
                self.give_back(handle);
                self.complete(token, Ok(Completion::Stats(of_kernel(stats))));
            }
            Request::SetSequencing { sequencing, .. } => {
                lent.set_sequencing(sequencing, self.family.as_mut().ok())
            }
            Request::SetChecksums { no_checksum, .. } => self
                .tunnels
                .set_checksums(&lent.spec.transport, no_checksum),
            Request::Create { token, .. } => self.complete(token, Err(DatapathError::InUse)),
            Request::Configure { token, .. } | Request::Join { token, .. } => {
                let why = "another program speaks PPP in it".to_owned();
                self.complete(token, Err(DatapathError::Unsupported(why)));
            }
            Request::Send { .. } | Request::Reserve { .. } => {}
        }
    }

    /// The socket of a session that another program speaks PPP in. It is that program's from now on.
    pub(crate) fn lend(&self, handle: Handle) -> Result<OwnedFd, DatapathError> {
        let lent = self.lent.get(&handle);
        lent.ok_or(DatapathError::NoSuchSession)?
            .socket()
            .map_err(|e| DatapathError::system("hand over a session's socket", &e))
    }

    fn give_back(&mut self, handle: Handle) {
        if let Some(lent) = self.lent.remove(&handle) {
            self.tunnels.leave(&lent.spec);
        }
    }

    /// Makes a session, at once.
    pub(crate) fn create(
        &mut self,
        handle: Handle,
        spec: SessionSpec,
    ) -> Result<(), DatapathError> {
        if self.sessions.contains_key(&handle) || self.lent.contains_key(&handle) {
            return Err(DatapathError::InUse);
        }
        let tunnel = {
            let listeners = self
                .listeners
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let family = self.family.as_mut().ok();
            self.tunnels
                .join(handle, &spec, &listeners, &*self.receiver, family)?
        };
        let made = self.open(handle, spec.clone(), &tunnel);
        if made.is_err() {
            self.tunnels.leave(&spec);
        }
        made
    }

    fn open(
        &mut self,
        handle: Handle,
        spec: SessionSpec,
        tunnel: &Socket,
    ) -> Result<(), DatapathError> {
        if spec.lent {
            self.lent.insert(handle, Lent::open(spec, tunnel)?);
        } else {
            let (session, early) = Session::open(handle, spec, tunnel)?;
            let session = self.reader.watch_channel(session, early)?;
            self.sessions.insert(handle, session);
        }
        Ok(())
    }

    fn join(&self, handle: Handle, with: Handle) -> Result<(), DatapathError> {
        let (one, other) = (self.session(handle)?, self.session(with)?);
        let joined = one.channel.bridge(&other.channel);
        joined.map_err(|e| match e.raw_os_error() {
            Some(libc::ENOTTY) => {
                DatapathError::Unsupported("joining sessions before Linux 5.11".to_owned())
            }
            Some(libc::EALREADY) => DatapathError::InUse,
            _ => DatapathError::system("join two sessions", &e),
        })
    }

    fn session(&self, handle: Handle) -> Result<Arc<Session>, DatapathError> {
        let session = self.sessions.get(&handle).map(Arc::clone);
        session.ok_or(DatapathError::NoSuchSession)
    }

    /// Stops a session's traffic; what it has on the host is the host's thread's.
    fn forget(&mut self, handle: Handle) -> Result<Arc<Session>, DatapathError> {
        let session = self
            .sessions
            .remove(&handle)
            .ok_or(DatapathError::NoSuchSession)?;
        self.reader.forget(handle);
        session.stop();
        self.tunnels.leave(&session.spec);
        Ok(session)
    }

    /// Whether the kernel can encrypt.
    pub(crate) fn encrypts(&self) -> bool {
        *self.encrypts.get_or_init(|| match ppp::probe_mppe() {
            Ok(()) => true,
            Err(error) => {
                tracing::info!("the kernel has no MPPE, or may not load ppp_mppe: {error}");
                false
            }
        })
    }

    /// The name of a session's interface, if it has one.
    pub(crate) fn interface(&self, handle: Handle) -> Option<String> {
        self.sessions.get(&handle)?.interface.get().cloned()
    }

    /// A session of ours that would get what comes for this one of another tunnel, as the kernel does not read tunnel ids.
    pub(crate) fn in_the_way_of(&self, spec: &SessionSpec) -> Option<Handle> {
        self.tunnels.in_the_way_of(spec)
    }

    /// Why it is not noticed when somebody deletes a session in the kernel, where it is not.
    pub(crate) fn without_family(&self) -> Option<&str> {
        self.family.as_ref().err().map(String::as_str)
    }

    /// Closes tunnels that have had no session for a while.
    pub(crate) fn sweep(&mut self) {
        for socket in self.tunnels.sweep() {
            self.receiver.remove_socket(socket);
        }
    }

    fn complete(&self, token: Token, result: Result<Completion, DatapathError>) {
        self.sink
            .deliver(&mut vec![Event::Completed { token, result }]);
    }

    fn submit_job(&self, job: Job<UnitMaker>) {
        if self
            .jobs
            .as_ref()
            .is_none_or(|jobs| jobs.send(job).is_err())
        {
            tracing::error!("the kernel engine's host thread is gone");
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let handles: Vec<Handle> = self.sessions.keys().copied().collect();
        for handle in handles {
            let _ = self.forget(handle);
        }
        // The host's thread ends without anyone to submit jobs.
        self.jobs = None;
        if let Some(host) = self.host.take() {
            thread::join(host);
        }
        self.reader.stop();
    }
}

/// Says which tunnels the kernel has already: those of a daemon that is gone went with its sockets, so these are others'.
fn telling_of_others(mut family: Family) -> Family {
    match family.tunnels() {
        Ok(tunnels) if tunnels.is_empty() => {}
        Ok(tunnels) => {
            let ids: Vec<_> = tunnels.iter().map(u32::to_string).collect();
            tracing::info!(
                "the kernel has tunnels that are not ours: {} (ip l2tp show tunnel); a session of a tunnel with the same id can't be in the kernel",
                ids.join(", ")
            );
        }
        Err(error) => tracing::warn!("list the kernel's tunnels: {error}"),
    }
    family
}

/// Makes PPP units, each on its session's channel.
struct UnitMaker;

impl Maker for UnitMaker {
    type Seed = Arc<Session>;
    type Device = Unit;

    fn make(
        &self,
        name: Option<&str>,
        seed: &Arc<Session>,
        netlink: &Netlink,
    ) -> Result<Unit, DatapathError> {
        Unit::create(seed, name, netlink)
    }
}

/// What becomes of the host's reports, on its thread.
struct Reports {
    sink: Arc<dyn EventSink>,
    reader: Arc<Reader>,
}

impl Reports {
    fn take(&self, report: Report<Unit>) {
        let (token, result) = match report {
            Report::Stats { token, stats } => (token, Ok(Completion::Stats(of_kernel(stats)))),
            // It has none.
            Report::Shared(_) => return,
            Report::Configured {
                token,
                handle,
                spec,
                result,
            } => {
                let result = result.and_then(|unit| {
                    unit.set_up(&spec)?;
                    unit.session().has_unit(&unit);
                    let name = unit.name().to_owned();
                    self.reader.watch_unit(handle, unit)?;
                    Ok(Completion::Device(name))
                });
                (token, result)
            }
        };
        self.sink
            .deliver(&mut vec![Event::Completed { token, result }]);
    }
}

/// The device that a session gets: here each has its own.
fn own(device: &Device) -> Device {
    match device {
        Device::Shared => Device::Own { name: None },
        own @ Device::Own { .. } => own.clone(),
    }
}

/// The counters of a session, all of which are the driver's.
fn of_kernel(stats: Stats) -> Stats {
    Stats {
        by_kernel: stats.whole(),
        ..stats
    }
}
