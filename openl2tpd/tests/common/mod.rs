//! The program as the tests start it, and how they ask it.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use api::{Client, Parameters, Request};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// UDP ports that are spoken for: who has the TCP port of a number has the right to the UDP port.
static SPOKEN_FOR: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());

/// A UDP port that nobody has now, no other test takes, and the kernel gives to nobody who does not ask for it by number.
pub(crate) fn free_port() -> u16 {
    loop {
        let chance = RandomState::new().hash_one(());
        let port = 20_000 + (chance % 12_000) as u16;
        if let Ok(right) = TcpListener::bind(("0.0.0.0", port))
            && UdpSocket::bind(("0.0.0.0", port)).is_ok()
        {
            SPOKEN_FOR.lock().unwrap().push(right);
            return port;
        }
    }
}

/// A place for a daemon's files, and a port that is free.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) port: u16,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            port: free_port(),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn command(&self, configuration: &str) -> Command {
        fs::write(self.file("conf"), configuration).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_openl2tpd"));
        command.args(["--datapath", "null", "-u", &self.port.to_string()]);
        // Names that mean something else once the daemon has left for another directory.
        command.current_dir(self.directory.path());
        command.args(["-c", "conf", "-P", "pid", "--socket", "socket"]);
        command
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.file("socket")).unwrap()
    }

    /// Starts a daemon in the foreground, and returns when it serves.
    pub(crate) fn start(&self, configuration: &str) -> Daemon {
        Self::run(self.command(configuration))
    }

    pub(crate) fn run(mut command: Command) -> Daemon {
        let mut child = command.arg("-f").stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            log.lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let daemon = Daemon { child, lines };
        daemon.until("serves UDP port");
        daemon
    }
}

/// A daemon in the foreground, and the lines of its log.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) lines: Receiver<String>,
}

impl Daemon {
    /// Waits for a line of the log that contains `text`.
    pub(crate) fn until(&self, text: &str) -> String {
        let mut seen = String::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            if line.contains(text) {
                return line;
            }
            seen += &(line + "\n");
        }
        panic!("no line with `{text}` in:\n{seen}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it, so that it neither hears nor says anything any more; returns when that is so.
    pub(crate) fn fall_silent(&self) {
        self.signal(Signal::STOP);
        let status = waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED).unwrap();
        assert!(status.unwrap().1.stopped());
    }

    /// Ends it in order, after `work` with it.
    pub(crate) fn end_after(self, work: impl FnOnce()) {
        work();
        self.end();
    }

    /// Ends it in order.
    pub(crate) fn end(mut self) {
        self.signal(Signal::TERM);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn parameters<const N: usize>(of: [(&str, Value); N]) -> Parameters {
    of.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A list, with all its pages.
pub(crate) fn all<T: DeserializeOwned>(place: &Place, list: Request) -> Vec<T> {
    place.client().list(list).collect::<Result<_, _>>().unwrap()
}
