//! The engines of this machine, each session on one of them.
//!
//! `tun` is always there and receives for all. The kernel's engine is there where the machine has it; a session that wants a device of its own goes
//! to it, where its profile does not say otherwise.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crypto::mppe::KeyLength;

use crate::capture::Tap;
use crate::ebpf::{Loaded, Uncarried};
use crate::kernel::{Kernel, Listeners, Means};
use crate::socket::Socket;
use crate::tun::{Inbox, Tun, TunConfig};
use crate::{
    Choice, Completion, Datapath, DatapathError, Device, Drops, Encapsulation, Engine, Event,
    EventSink, Handle, NetworkSpec, Request, SessionSpec, Stats, Token, Transport,
};

/// Tokens of requests of our own; a caller's never have this bit.
const OURS: u64 = 1 << 63;

/// Why a session is not the kernel's whose messages it would give to another one.
const ALIKE: &str = "it does not tell the session from one of another tunnel to the same peer";

/// The engines of this machine.
pub struct Auto {
    tun: Tun,
    uncarried: Option<Arc<Uncarried>>,
    kernel: Result<Kernel, DatapathError>,
    listeners: Listeners,
    moves: Arc<Moves>,
    /// The sessions of the kernel's engine.
    in_kernel: BTreeMap<Handle, Carried>,
    /// The sessions of `tun`, where the kernel's engine is there too, and who has an id between two addresses and ports.
    on_tun: BTreeMap<Handle, (Transport, u16)>,
    ids_on_tun: BTreeMap<(Transport, u16), Handle>,
}

/// What it takes to have a session carried by another engine.
struct Carried {
    spec: SessionSpec,
    network: Option<NetworkSpec>,
}

impl Carried {
    /// What a session is told holds wherever it is carried.
    fn note(&mut self, request: &Request) {
        match request {
            Request::Configure { network, .. } => self.network = Some(network.clone()),
            Request::SetSequencing { sequencing, .. } => self.spec.set_sequencing(*sequencing),
            Request::SetChecksums { no_checksum, .. } => self.spec.outer.no_checksum = *no_checksum,
            _ => {}
        }
    }
}

impl Auto {
    /// Starts the engines, in the caller's network namespace; events of what arrives on `sockets` may come at once. `kernel` says whether to look
    /// for the kernel's, and by what means; `ebpf` are the programs that carry what they can, or why there are none, if
    /// they were asked for.
    pub fn start(
        config: TunConfig,
        kernel: Option<Means>,
        ebpf: Result<Loaded, Option<String>>,
        sockets: Vec<Arc<Socket>>,
        sink: Arc<dyn EventSink>,
    ) -> Result<Self, DatapathError> {
        let moves = Arc::new(Moves {
            sink,
            state: Mutex::default(),
        });
        let listeners: Listeners = Arc::new(RwLock::new(sockets.clone()));
        let sink: Arc<dyn EventSink> = Arc::<Moves>::clone(&moves);
        let uncarried = ebpf.as_ref().ok().map(Loaded::uncarried);
        let tun = Tun::start(config, ebpf, sockets, Arc::clone(&sink))?;
        moves.state().tun = Some(tun.inbox());
        let kernel = match kernel {
            Some(means) => {
                Kernel::start(means, Arc::clone(&listeners), Box::new(tun.inbox()), sink)
            }
            None => Err(DatapathError::Unsupported("switched off".to_owned())),
        };
        Ok(Self {
            tun,
            uncarried,
            kernel,
            listeners,
            moves,
            in_kernel: BTreeMap::new(),
            on_tun: BTreeMap::new(),
            ids_on_tun: BTreeMap::new(),
        })
    }

    /// Why there is no kernel engine, where there is none.
    pub fn without_kernel(&self) -> Option<&DatapathError> {
        self.kernel.as_ref().err()
    }

    /// Why it is not noticed when somebody else deletes a session of the kernel's engine, where there is one and it is not.
    pub fn without_notices(&self) -> Option<&str> {
        self.kernel.as_ref().ok()?.without_family()
    }

    /// What `tun` counts of packets that went no further; those of the kernel's engine are its own.
    #[must_use]
    pub fn drops(&self) -> Arc<Drops> {
        self.tun.drops()
    }

    /// What programs in the kernel count of packets that they do not carry, where there are programs, which carry what they can of the sessions of `tun`.
    #[must_use]
    pub fn uncarried(&self) -> Option<Arc<Uncarried>> {
        self.uncarried.clone()
    }

    /// Lets `tap` see the packets of a session of `tun`, which `ebpf` does not carry for as long as that is open; those of the kernel's engine are seen [on
    /// their devices](crate::capture::device). Without one, those who look no more are forgotten.
    pub fn capture(&self, handle: Handle, tap: Option<Arc<dyn Tap>>) {
        self.tun.inbox().capture(handle, tap);
    }

    /// The socket of a session that another program is to speak PPP in.
    pub fn lend(&self, handle: Handle) -> Result<OwnedFd, DatapathError> {
        match &self.kernel {
            Ok(kernel) => kernel.lend(handle),
            Err(_) => Err(DatapathError::NoSuchSession),
        }
    }

    /// Receives from one more socket and lets sessions use it, from the next request on.
    pub fn add_socket(&self, socket: Arc<Socket>) {
        self.listeners().push(Arc::clone(&socket));
        self.tun.add_socket(socket);
    }

    /// Stops receiving from a socket. Sessions that use it keep sending through it.
    pub fn remove_socket(&self, socket: &Arc<Socket>) {
        self.listeners().retain(|known| !Arc::ptr_eq(known, socket));
        self.tun.remove_socket(socket);
    }

    fn listeners(&self) -> std::sync::RwLockWriteGuard<'_, Vec<Arc<Socket>>> {
        self.listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a request, or leaves it to `tun`.
    fn carry_out(&mut self, request: Request, for_tun: &mut Vec<Request>) {
        let Ok(kernel) = &mut self.kernel else {
            return self.without(request, for_tun);
        };
        let Some(handle) = request.handle() else {
            return for_tun.push(request);
        };
        match request {
            Request::Create {
                token,
                handle,
                spec,
            } => self.create(token, handle, spec, for_tun),
            Request::Join { token, with, .. }
                if self.in_kernel.contains_key(&handle) != self.in_kernel.contains_key(&with) =>
            {
                self.moves
                    .complete(token, Err(DatapathError::cannot_join()));
            }
            request if self.in_kernel.contains_key(&handle) => {
                if let Request::Remove { .. } = request {
                    self.in_kernel.remove(&handle);
                } else if let Some(carried) = self.in_kernel.get_mut(&handle) {
                    carried.note(&request);
                }
                kernel.carry_out(request);
            }
            request => {
                self.moves.note(&request);
                if let Request::Remove { .. } = request
                    && let Some(place) = self.on_tun.remove(&handle)
                {
                    self.ids_on_tun.remove(&place);
                }
                if let Some(request) = self.moves.hold(handle, request) {
                    for_tun.push(request);
                }
            }
        }
    }

    /// Only `tun` is there.
    fn without(&self, request: Request, for_tun: &mut Vec<Request>) {
        match (request, &self.kernel) {
            (Request::Create { token, spec, .. }, Err(why))
                if spec.choice == Choice::Kernel || spec.lent =>
            {
                let why = format!("the kernel's L2TP: {why}");
                self.moves
                    .complete(token, Err(DatapathError::Unsupported(why)));
            }
            (request, Err(why)) => {
                self.moves.note(&request);
                if let Request::Create { handle, spec, .. } = &request
                    && is_for_kernel(spec)
                {
                    self.moves.state().stays_out(*handle, why);
                }
                for_tun.push(request);
            }
            (request, Ok(_)) => for_tun.push(request),
        }
    }

    fn create(
        &mut self,
        token: Token,
        handle: Handle,
        spec: SessionSpec,
        for_tun: &mut Vec<Request>,
    ) {
        let only = spec.choice == Choice::Kernel || spec.lent;
        let place = place(&spec);
        if let Err(error) = self.lendable(&spec, &place) {
            return self.moves.complete(token, Err(error));
        }
        let wanted = only || is_for_kernel(&spec);
        if wanted && self.ids_on_tun.contains_key(&place) {
            self.moves.state().stays_out(handle, ALIKE);
        } else if wanted {
            match self.create_in_kernel(handle, &spec, only) {
                Ok(()) => {
                    let network = None;
                    self.in_kernel.insert(handle, Carried { spec, network });
                    let made = Completion::Created(Engine::Kernel);
                    return self.moves.complete(token, Ok(made));
                }
                Err(error) if only => return self.moves.complete(token, Err(error)),
                Err(error) => self.moves.state().stays_out(handle, &error),
            }
        }
        self.make_way(&spec, for_tun);
        self.on_tun(handle, place);
        for_tun.push(Request::Create {
            token,
            handle,
            spec,
        });
    }

    /// Lets the kernel's engine carry a session that wants no `only` other, or one that may be encrypted where it can encrypt.
    fn create_in_kernel(
        &mut self,
        handle: Handle,
        spec: &SessionSpec,
        only: bool,
    ) -> Result<(), DatapathError> {
        if !only && !self.kernel_encrypts(&spec.mppe) {
            let why = "the encryption that the session may have";
            return Err(DatapathError::Unsupported(why.to_owned()));
        }
        match &mut self.kernel {
            Ok(kernel) => kernel.create(handle, spec.clone()),
            Err(error) => Err(error.clone()),
        }
    }

    /// Whether the kernel's engine has what a session wants of encryption, if it wants any.
    fn kernel_encrypts(&self, wanted: &[KeyLength]) -> bool {
        let has = |length: &KeyLength| Engine::Kernel.key_lengths().contains(length);
        let encrypts = |kernel: &Kernel| wanted.iter().any(has) && kernel.encrypts();
        wanted.is_empty() || self.kernel.as_ref().is_ok_and(encrypts)
    }

    /// What another program speaks PPP in is the kernel's, and stays there.
    fn lendable(&self, spec: &SessionSpec, place: &(Transport, u16)) -> Result<(), DatapathError> {
        if spec.lent && matches!(spec.choice, Choice::Ebpf | Choice::Tun | Choice::Null) {
            let why = "PPP of another program over anything but the kernel's L2TP";
            return Err(DatapathError::Unsupported(why.to_owned()));
        }
        let other = self.kernel.as_ref().ok();
        let other = other.and_then(|kernel| kernel.in_the_way_of(spec));
        let stays = other
            .and_then(|other| self.in_kernel.get(&other))
            .is_some_and(|carried| carried.spec.lent);
        if stays || (spec.lent && self.ids_on_tun.contains_key(place)) {
            return Err(DatapathError::InUse);
        }
        Ok(())
    }

    /// A session is `tun`'s from now on.
    fn on_tun(&mut self, handle: Handle, place: (Transport, u16)) {
        self.ids_on_tun.insert(place.clone(), handle);
        self.on_tun.insert(handle, place);
    }

    /// Moves the session of the kernel to `tun` that would get what comes for this one.
    fn make_way(&mut self, spec: &SessionSpec, for_tun: &mut Vec<Request>) {
        let Ok(kernel) = &mut self.kernel else {
            return;
        };
        let Some(handle) = kernel.in_the_way_of(spec) else {
            return;
        };
        let Some(mut carried) = self.in_kernel.remove(&handle) else {
            return;
        };
        if let (Device::Own { name }, Some(interface)) =
            (&mut carried.spec.device, kernel.interface(handle))
        {
            *name = Some(interface);
        }
        self.moves.state().stays_out(handle, ALIKE);
        let place = place(&carried.spec);
        // Nothing that was submitted to `tun` before is held up.
        self.tun.submit(for_tun);
        kernel.carry_out(self.moves.begin(handle, carried));
        self.on_tun(handle, place);
    }
}

impl Datapath for Auto {
    fn name(&self) -> &'static str {
        match (&self.kernel, &self.uncarried) {
            (Err(_), None) => "tun",
            _ => "auto",
        }
    }

    fn submit(&mut self, requests: &mut Vec<Request>) {
        let mut for_tun = Vec::with_capacity(requests.len());
        for request in requests.drain(..) {
            self.carry_out(request, &mut for_tun);
        }
        self.tun.submit(&mut for_tun);
        if let Ok(kernel) = &mut self.kernel {
            kernel.sweep();
        }
    }
}

/// Whether the kernel's engine is to carry a session that wants no engine of its own accord, if it can.
fn is_for_kernel(spec: &SessionSpec) -> bool {
    spec.choice == Choice::Auto && matches!(spec.device, Device::Own { .. })
}

/// Where a session's messages come in, and the id that they have there.
fn place(spec: &SessionSpec) -> (Transport, u16) {
    let Encapsulation::V2 { local, .. } = spec.encapsulation;
    (spec.transport.clone(), local.session)
}

/// Sessions on their way from the kernel to `tun`, and everybody's events, from which it is known how far they are.
struct Moves {
    sink: Arc<dyn EventSink>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tun: Option<Inbox>,
    last: u64,
    /// What `tun` is to do once the kernel's engine has removed a session.
    waiting: BTreeMap<Handle, Vec<Request>>,
    /// Requests of our own: whose, and whether the kernel's removal.
    ours: BTreeMap<Token, (Handle, bool)>,
    /// What the kernel's engine counted of sessions that were moved.
    before: BTreeMap<Handle, Stats>,
    /// The requests that are answered with more counters of those: whose, and whether with the last.
    counted: BTreeMap<Token, (Handle, bool)>,
    /// Why sessions that the kernel's engine was to carry are not its.
    not_in_kernel: BTreeMap<Handle, String>,
}

impl State {
    fn token(&mut self, handle: Handle, removal: bool) -> Token {
        self.last += 1;
        let token = Token(OURS | self.last);
        self.ours.insert(token, (handle, removal));
        token
    }

    fn stays_out(&mut self, handle: Handle, why: impl fmt::Display) {
        self.not_in_kernel.insert(handle, format!("kernel: {why}"));
    }
}

impl Moves {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request that no engine gets.
    fn complete(&self, token: Token, result: Result<Completion, DatapathError>) {
        let mut events = vec![Event::Completed { token, result }];
        self.sink.deliver(&mut events);
    }

    /// Begins to move a session: the request that the kernel's engine is to carry out.
    fn begin(&self, handle: Handle, carried: Carried) -> Request {
        let mut state = self.state();
        let mut then = vec![Request::Create {
            token: state.token(handle, false),
            handle,
            spec: carried.spec,
        }];
        // Nobody knows where in the stream of keys the two ends are: an encrypted session carries nothing any more.
        let network = carried.network.filter(|n| n.encryption.is_none());
        then.extend(network.map(|network| Request::Configure {
            token: state.token(handle, false),
            handle,
            network,
        }));
        state.waiting.insert(handle, then);
        Request::Remove {
            token: state.token(handle, true),
            handle,
        }
    }

    /// Keeps a request of a session that is being moved; gives back that of any other.
    fn hold(&self, handle: Handle, request: Request) -> Option<Request> {
        match self.state().waiting.get_mut(&handle) {
            Some(waiting) => {
                waiting.push(request);
                None
            }
            None => Some(request),
        }
    }

    /// The counters of a session that was moved go on; why one that ends is not the kernel's matters no more.
    fn note(&self, request: &Request) {
        let (token, handle, last) = match *request {
            Request::Stats { token, handle } => (token, handle, false),
            Request::Remove { token, handle } => (token, handle, true),
            _ => return,
        };
        let mut state = self.state();
        if last {
            state.not_in_kernel.remove(&handle);
        }
        if state.before.contains_key(&handle) || state.waiting.contains_key(&handle) {
            state.counted.insert(token, (handle, last));
        }
    }

    /// Adds what the kernel's engine counted to what a session has counted since.
    fn go_on(&self, token: Token, result: &mut Result<Completion, DatapathError>) {
        let mut state = self.state();
        let Some((handle, last)) = state.counted.remove(&token) else {
            return;
        };
        let before = match last {
            true => state.before.remove(&handle),
            false => state.before.get(&handle).copied(),
        };
        if let (Ok(Completion::Stats(stats)), Some(before)) = (result, before) {
            *stats += before;
        }
    }

    /// An event on its way: of a request of our own, that the session was moved, or could not be.
    fn pass(&self, event: Event) -> [Option<Event>; 2] {
        match event {
            Event::Completed { token, result } => [self.completed(token, result), None],
            Event::NoFaster { handle, why } => {
                let why = match self.state().not_in_kernel.get(&handle) {
                    Some(first) if why.starts_with("ebpf: ") => format!("{first}; {why}"),
                    Some(first) => format!("{first}; ebpf: {why}"),
                    None => why,
                };
                [Some(Event::NoFaster { handle, why }), None]
            }
            // Nobody says of the programs that there is something faster.
            Event::Moved {
                handle,
                engine: Engine::Ebpf,
            } => {
                let why = self.state().not_in_kernel.get(&handle).cloned();
                let also = why.map(|why| Event::NoFaster { handle, why });
                [Some(event), also]
            }
            other => [Some(other), None],
        }
    }

    fn completed(
        &self,
        token: Token,
        mut result: Result<Completion, DatapathError>,
    ) -> Option<Event> {
        if token.0 & OURS == 0 {
            self.go_on(token, &mut result);
            return Some(Event::Completed { token, result });
        }
        let mut state = self.state();
        let (handle, removal) = state.ours.remove(&token)?;
        if removal {
            if let Ok(Completion::Stats(stats)) = result {
                state.before.insert(handle, stats);
            }
            let requests = state.waiting.remove(&handle).unwrap_or_default();
            state.tun.as_ref()?.submit(requests);
            return None;
        }
        match result {
            Ok(Completion::Created(engine)) => Some(Event::Moved { handle, engine }),
            Ok(_) => None,
            Err(error) => Some(Event::Failed { handle, error }),
        }
    }
}

impl EventSink for Moves {
    fn deliver(&self, events: &mut Vec<Event>) {
        let mut onward: Vec<Event> = mem::take(events)
            .into_iter()
            .flat_map(|event| self.pass(event))
            .flatten()
            .collect();
        if !onward.is_empty() {
            self.sink.deliver(&mut onward);
        }
    }
}
