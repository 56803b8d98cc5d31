//! pppd as the PPP of sessions: a process for each, over the socket that the datapath lends.
//!
//! The shard leaves orders here. What a process tells comes over a connection of its own (`words.rs`), known by the process that made it; its end comes when
//! the process is gone.

mod options;
mod process;
mod words;

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::{Model, PppEngine};
use datapath::{DatapathError, Handle};
use engine::{Input, PppdEnd, PppdEvent, PppdRequest};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, error, warn};

use crate::control_socket::ControlSocket;
use crate::flags::Flags;
use crate::mailbox::{Mail, Mailbox};
use words::Message;

/// The longest line of a message, octets.
const LONGEST: u64 = 8192;
/// The most lines of one.
const LINES: usize = 32;
/// How long processes may take to end when the daemon does.
const FAREWELL: Duration = Duration::from_secs(4);

/// What the shard wants of the pppd of a session.
pub(crate) struct Order {
    /// The session.
    pub(crate) handle: Handle,
    /// What.
    pub(crate) request: PppdRequest,
    /// The session's socket, with [`PppdRequest::Start`].
    pub(crate) socket: Option<Result<OwnedFd, DatapathError>>,
}

/// Where the shard leaves them.
pub(crate) type Orders = mpsc::UnboundedSender<Order>;

/// All the processes.
pub(crate) struct Pppds {
    program: PathBuf,
    plugins: [PathBuf; 2],
    /// Our socket for what they tell.
    socket: PathBuf,
    /// How many may set up PPP at once.
    slots: Option<Arc<Semaphore>>,
    mailbox: Mailbox,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Made for the first process.
    listening: Option<ControlSocket>,
    processes: BTreeMap<Handle, Process>,
    by_number: BTreeMap<u32, Handle>,
}

/// The process of a session, or its place in the queue.
struct Process {
    /// Whether in order.
    stop: mpsc::UnboundedSender<bool>,
    answers: Option<mpsc::UnboundedSender<String>>,
    slot: Option<OwnedSemaphorePermit>,
}

impl Pppds {
    /// Nothing runs yet.
    pub(crate) fn new(flags: &Flags, mailbox: Mailbox) -> io::Result<Self> {
        let mut socket = std::path::absolute(flags.socket())?.into_os_string();
        socket.push(".pppd");
        Ok(Self {
            program: flags.pppd.clone(),
            plugins: plugins(flags.pppd_plugins.as_deref()),
            socket: socket.into(),
            slots: (flags.pppd_setups != 0)
                .then(|| Arc::new(Semaphore::new(flags.pppd_setups.into()))),
            mailbox,
            state: Mutex::default(),
        })
    }

    /// Says what of pppd and its plugins is not there or of no use, where somebody is to need them: profiles that have their PPP of it, or who named a path.
    pub(crate) fn look(&self, flags: &Flags, model: &Model) {
        let mut profiles = model.ppp_profiles.iter();
        let wanted = profiles.find(|(_, profile)| profile.ppp_engine() == PppEngine::Pppd);
        let named = flags.pppd != Path::new(Flags::PPPD) || flags.pppd_plugins.is_some();
        let Some(why) = unfit(&self.program, &self.plugins) else {
            return;
        };
        match wanted {
            Some((name, _)) => {
                error!(
                    "sessions of ppp profile {name}, which says ppp_engine=pppd, will fail: {why}"
                );
            }
            None if named => warn!("no session can have pppd for its PPP: {why}"),
            None => {}
        }
    }

    /// Carries out orders until nobody gives any, and ends what runs then.
    pub(crate) async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let all = Arc::new(self);
        let mut tasks = JoinSet::new();
        while let Some(order) = orders.recv().await {
            while tasks.try_join_next().is_some() {}
            all.carry_out(order, &mut tasks);
        }
        for process in all.state().processes.values() {
            let _ = process.stop.send(false);
        }
        // The tasks that accept and read would go on for ever.
        let _ = timeout(FAREWELL, async {
            while !all.state().processes.is_empty() && tasks.join_next().await.is_some() {}
        })
        .await;
    }

    fn carry_out(self: &Arc<Self>, order: Order, tasks: &mut JoinSet<()>) {
        let Order {
            handle,
            request,
            socket,
        } = order;
        if let PppdRequest::Start(setup) = request {
            let (stop, stopped) = mpsc::unbounded_channel();
            let process = Process {
                stop,
                answers: None,
                slot: None,
            };
            self.state().processes.insert(handle, process);
            let all = Arc::clone(self);
            if let Err(error) = self.listen(tasks) {
                let why = format!("cannot listen at {}: {error}", self.socket.display());
                return self.ended(handle, PppdEnd::Failed(why));
            }
            tasks.spawn(async move {
                let end = match socket {
                    Some(Ok(socket)) => all.process(handle, &setup, socket, stopped).await,
                    Some(Err(error)) => PppdEnd::Failed(error.to_string()),
                    None => PppdEnd::Failed("there is no socket for it".to_owned()),
                };
                all.ended(handle, end);
            });
            return;
        }
        let state = self.state();
        let Some(process) = state.processes.get(&handle) else {
            return;
        };
        // Who is gone needs no word.
        if let PppdRequest::Stop { in_order } = request {
            let _ = process.stop.send(in_order);
        } else if let (Some(answer), Some(answers)) = (words::answer(&request), &process.answers) {
            let _ = answers.send(answer);
        }
    }

    fn ended(&self, handle: Handle, end: PppdEnd) {
        let mut state = self.state();
        state.processes.remove(&handle);
        state.by_number.retain(|_, whose| *whose != handle);
        drop(state);
        self.tell(handle, PppdEvent::Ended(end));
    }

    fn tell(&self, handle: Handle, event: PppdEvent) {
        self.mailbox
            .send(Mail::Input(Input::Pppd { handle, event }));
    }

    /// Makes our socket, if there is none yet.
    fn listen(self: &Arc<Self>, tasks: &mut JoinSet<()>) -> anyhow::Result<()> {
        let mut state = self.state();
        if state.listening.is_some() {
            return Ok(());
        }
        let made = ControlSocket::bind(&self.socket, None)?;
        let listener = UnixListener::from_std(made.listener.try_clone()?)?;
        state.listening = Some(made);
        tasks.spawn(Arc::clone(self).accept(listener));
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: UnixListener) {
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn(Arc::clone(&self).serve(stream));
                }
                Err(error) => {
                    warn!("a pppd cannot connect: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Hears what one process says, and gives it the answers.
    async fn serve(self: Arc<Self>, stream: UnixStream) {
        let number = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let number = number
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(0);
        let (reader, writer) = stream.into_split();
        let (answers, waiting) = mpsc::unbounded_channel();
        let handle = {
            let mut state = self.state();
            let handle = state.by_number.get(&number).copied();
            let process = handle.and_then(|handle| state.processes.get_mut(&handle));
            if let Some(process) = process {
                process.answers = Some(answers);
            }
            handle
        };
        let Some(handle) = handle else {
            return debug!("process {number} is no pppd of ours");
        };
        tokio::select! {
            () = write(writer, waiting) => {}
            ended = self.hear(handle, reader) => if let Err(error) = ended {
                debug!("pppd {number}: {error}");
            },
        }
    }

    async fn hear(&self, handle: Handle, reader: OwnedReadHalf) -> io::Result<()> {
        let mut reader = BufReader::new(reader);
        for number in 1.. {
            let mut message = Message::default();
            for line in 0.. {
                let mut text = Vec::new();
                let read = (&mut reader)
                    .take(LONGEST)
                    .read_until(b'\n', &mut text)
                    .await?;
                if read == 0 {
                    return Ok(());
                }
                if text.pop() != Some(b'\n') || line == LINES {
                    return Err(io::Error::other("a message is too long"));
                }
                if message.add(&String::from_utf8_lossy(&text)) {
                    break;
                }
            }
            let Some(event) = message.event(number) else {
                return Err(io::Error::other("a message is not as it should be"));
            };
            if let PppdEvent::Up { .. } = event
                && let Some(process) = self.state().processes.get_mut(&handle)
            {
                process.slot = None;
            }
            self.tell(handle, event);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(mut writer: OwnedWriteHalf, mut answers: mpsc::UnboundedReceiver<String>) {
    while let Some(answer) = answers.recv().await {
        if writer.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Why sessions can't have such a pppd with such plugins; none where nothing is seen that would be in the way.
fn unfit(program: &Path, plugins: &[PathBuf]) -> Option<String> {
    let is_program = |file: &Metadata| file.is_file() && file.permissions().mode() & 0o111 != 0;
    match std::fs::metadata(program) {
        Ok(file) if is_program(&file) => {}
        Ok(_) => return Some(format!("{} is no program", program.display())),
        Err(error) => return Some(format!("cannot run {}: {error}", program.display())),
    }
    plugins.iter().find_map(|plugin| {
        let mut start = [0; 4];
        let read = File::open(plugin).and_then(|mut file| file.read_exact(&mut start));
        match read {
            Ok(()) if start == *b"\x7fELF" => None,
            Ok(()) => Some(format!("{} is no plugin", plugin.display())),
            Err(error) => Some(format!("cannot load {}: {error}", plugin.display())),
        }
    })
}

/// Where the plugins are: in the folder that is named, or that of an installation, or beside us where they were built.
fn plugins(named: Option<&Path>) -> [PathBuf; 2] {
    const INSTALLED: &str = "/usr/lib/openl2tp";
    let names = ["pppol2tp.so", "openl2tp.so"];
    let folder = named.unwrap_or(Path::new(INSTALLED));
    let built = std::env::current_exe()
        .ok()
        .and_then(|us| Some(us.parent()?.to_owned()));
    names.map(|name| {
        let installed = folder.join(name);
        let beside = built
            .as_ref()
            .map(|folder| folder.join(format!("lib{name}")));
        beside
            .filter(|beside| named.is_none() && !installed.exists() && beside.exists())
            .unwrap_or(installed)
    })
}
