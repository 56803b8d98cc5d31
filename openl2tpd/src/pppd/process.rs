//! One process of pppd, from its start to its end.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use datapath::Handle;
use engine::{PppdEnd, PppdSetup};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info};

use super::options::{Places, arguments, secrets};
use super::{LONGEST, Pppds};
use crate::hooks::PATH;

/// How long a process may take to end: in order it says Terminate to a peer that may not answer.
const IN_ORDER: Duration = Duration::from_secs(12);
const AT_ONCE: Duration = Duration::from_secs(2);
/// How long to wait for what it said last.
const LAST_WORDS: Duration = Duration::from_millis(100);

impl Pppds {
    /// Runs the process of a session until it is gone.
    pub(super) async fn process(
        self: &Arc<Self>,
        handle: Handle,
        setup: &PppdSetup,
        socket: OwnedFd,
        mut stopped: UnboundedReceiver<bool>,
    ) -> PppdEnd {
        if let Some(slots) = &self.slots {
            tokio::select! {
                slot = Arc::clone(slots).acquire_owned() => {
                    if let Some(process) = self.state().processes.get_mut(&handle) {
                        process.slot = slot.ok();
                    }
                }
                _ = stopped.recv() => return PppdEnd::Failed("it was not run in time".to_owned()),
            }
        }
        let child = match self.spawn(setup, socket) {
            Ok(child) => child,
            Err(error) => {
                return PppdEnd::Failed(format!("cannot run {}: {error}", self.program.display()));
            }
        };
        if let Some(number) = child.id() {
            self.state().by_number.insert(number, handle);
        }
        supervise(child, setup, &mut stopped).await
    }

    /// Starts it, with its session's socket and its secrets as the only descriptors that are more than its own.
    fn spawn(&self, setup: &PppdSetup, socket: OwnedFd) -> io::Result<Child> {
        let secrets = secrets(setup).map(|text| keep(&text)).transpose()?;
        let places = Places {
            plugins: [&self.plugins[0], &self.plugins[1]],
            socket: &self.socket,
            session: socket.as_raw_fd(),
            secrets: secrets.as_ref().map(AsRawFd::as_raw_fd),
        };
        // Until they are dropped below; nothing else is started meanwhile, as this thread starts all.
        fcntl_setfd(&socket, FdFlags::empty())?;
        Command::new(&self.program)
            .args(arguments(setup, &places))
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// Text in memory, in a file without a name that programs inherit.
fn keep(text: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("pppd-options", MemfdFlags::empty())?);
    file.write_all(text)?;
    Ok(file)
}

/// Waits for the end of a process, and asks for it when told to.
async fn supervise(
    mut child: Child,
    setup: &PppdSetup,
    stopped: &mut UnboundedReceiver<bool>,
) -> PppdEnd {
    let id = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let signal = |signal| {
        if let Some(id) = id {
            // One that has just ended needs no signal.
            let _ = kill_process(id, signal);
        }
    };
    let session = format!("{}/{}", setup.ids.tunnel, setup.ids.session);
    let said = child
        .stderr
        .take()
        .map(|output| tokio::spawn(listen(output, session, setup.debug)));
    let mut killed_at = None;
    let status = loop {
        let kill = async {
            match killed_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait() => break status,
            () = kill => {
                // With what it started, but for its scripts, which lead groups of their own.
                let _ = id.map(|id| kill_process_group(id, Signal::KILL));
                killed_at = None;
            }
            Some(in_order) = stopped.recv() => {
                // The plugin hangs up at SIGURG; who lacks it ends in order.
                signal(if in_order { Signal::TERM } else { Signal::URG });
                let patience = if in_order { IN_ORDER } else { AT_ONCE };
                let at = Instant::now() + patience;
                killed_at = Some(killed_at.map_or(at, |before: Instant| before.min(at)));
            }
        }
    };
    // What it started may keep its output open.
    let said = match said {
        Some(said) => timeout(LAST_WORDS, said).await.ok().and_then(Result::ok),
        None => None,
    };
    end(status, said.unwrap_or_default())
}

fn end(status: io::Result<ExitStatus>, said: String) -> PppdEnd {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => PppdEnd::Exit(u8::try_from(code).unwrap_or(u8::MAX), said),
            (None, signal) => PppdEnd::Signal(signal.unwrap_or(0)),
        },
        Err(error) => PppdEnd::Failed(error.to_string()),
    }
}

/// Logs what a process says, and keeps its last words, but for those that go with every end.
async fn listen(output: impl AsyncRead + Unpin, session: String, debug: bool) -> String {
    let (mut output, mut said) = (BufReader::new(output), String::new());
    loop {
        let mut line = Vec::new();
        let read = (&mut output)
            .take(LONGEST)
            .read_until(b'\n', &mut line)
            .await;
        if !matches!(read, Ok(1..)) {
            return said;
        }
        let line = String::from_utf8_lossy(&line);
        let line: String = line
            .trim_end()
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        match debug {
            true => info!("pppd of session {session}: {line}"),
            false => debug!("pppd of session {session}: {line}"),
        }
        if !line.is_empty() && line != "Exit." {
            said = line;
        }
    }
}
