//! A daemon, and commands typed at it.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use interop::Side;
use interop::netns::Namespace;
use interop::ours::Ours;
use serde_json::Value;
use tempfile::TempDir;

use crate::THERE;

/// A daemon, and files.
pub(crate) struct World {
    // Kept for the daemon.
    _namespace: Namespace,
    pub(crate) folder: TempDir,
    pub(crate) programs: PathBuf,
    daemon: Ours,
    /// How many commands were typed.
    count: Cell<usize>,
}

impl World {
    pub(crate) fn new(programs: &Path) -> Result<Self> {
        let namespace = Namespace::new("catalogue")?;
        let folder = tempfile::tempdir()?;
        let daemon = start(programs, &namespace, folder.path(), "first", 17010)?;
        let world = Self {
            _namespace: namespace,
            folder,
            programs: programs.to_owned(),
            daemon,
            count: Cell::default(),
        };
        // What the names in parameters are of.
        for profile in ["peer", "tunnel", "session", "ppp"] {
            let create = Words::of(profile).and("profile").and("create");
            world.works(&create.and(format!("profile_name={THERE}")))?;
        }
        let pool = Words::of("ip_pool create range=10.8.0.1-10.8.0.9");
        world.works(&pool.and(format!("pool_name={THERE}")))?;
        let listener = Words::of("listener create ipaddr=127.0.0.4 udp_port=17040");
        world.works(&listener.and(format!("listener_name={THERE}")))?;
        Ok(world)
    }

    /// How many commands were typed.
    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    pub(crate) fn daemon_log(&self) -> String {
        let log = self.daemon.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Types a command, its words as a shell hands them over.
    fn typed(&self, command: &Words) -> Result<Output> {
        self.count.set(self.count.get() + 1);
        let words: Vec<&str> = command.0.iter().map(String::as_str).collect();
        self.daemon
            .l2tpconfig(&words)
            .output()
            .context("cannot run l2tpconfig")
    }

    /// Types a command that is to work; what it prints.
    pub(crate) fn works(&self, command: &Words) -> Result<String> {
        let output = self.typed(command)?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{command}: {}: {complaint}",
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Types a command that is to be refused with this exit status and this in its message.
    pub(crate) fn refuses(&self, command: &Words, status: i32, because: &str) -> Result<()> {
        let output = self.typed(command)?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(status) && complaint.contains(because),
            "{command}: {status} and `{because}` were due, it was {}: {complaint}",
            output.status
        );
        Ok(())
    }

    /// What a command answers as JSON.
    pub(crate) fn answers(&self, command: &Words) -> Result<Value> {
        let text = self.works(&command.clone().before("--json"))?;
        serde_json::from_str(&text).with_context(|| format!("{command}: {text}"))
    }
}

/// Starts a daemon that carries no traffic.
pub(crate) fn start(
    programs: &Path,
    namespace: &Namespace,
    folder: &Path,
    name: &str,
    port: u16,
) -> Result<Ours> {
    // With this in its file it keeps what it takes to open others of the kind.
    let elsewhere =
        "listener create listener_name=elsewhere netns=/proc/self/ns/net ipaddr=127.0.0.6\n";
    let mut command = Ours::command(programs, folder, name, elsewhere)?;
    command.args(["--datapath", "null", "-u", &port.to_string()]);
    let daemon = Ours::run(command, programs, namespace, folder, name)?;
    fs::write(folder.join(format!("{name}.conf")), "")?;
    daemon.query(&["listener", "delete", "listener_name=elsewhere"])?;
    Ok(daemon)
}

/// The words of a command.
#[derive(Clone)]
pub(crate) struct Words(Vec<String>);

impl Words {
    pub(crate) fn of(text: &str) -> Self {
        Self(text.split(' ').map(str::to_owned).collect())
    }

    /// One more, as it is.
    pub(crate) fn and(mut self, word: impl Into<String>) -> Self {
        self.0.push(word.into());
        self
    }

    fn before(mut self, word: &str) -> Self {
        self.0.insert(0, word.to_owned());
        self
    }

    pub(crate) fn all(mut self, words: &[impl ToString]) -> Self {
        self.0.extend(words.iter().map(ToString::to_string));
        self
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.0.join(" "))
    }
}
