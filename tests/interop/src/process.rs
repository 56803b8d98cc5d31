//! A program that runs beside the test, its output in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::netns::Namespace;
use crate::until;

/// A running program; killed when dropped, if it has not ended by then.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    kept: bool,
}

impl Process {
    /// Starts `command` in `namespace`, its standard output and error appended to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(namespace: &Namespace, mut command: Command, log: &Path) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let program = command.get_program().display().to_string();
        let child = namespace.enter(|| {
            command
                .spawn()
                .with_context(|| format!("cannot start {program}"))
        })?;
        Ok(Self {
            child,
            log: log.to_owned(),
            kept: false,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal; one that has ended is left alone.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            kill(self.id(), signal)?;
        }
        Ok(())
    }

    /// Waits for it to end.
    ///
    /// # Errors
    /// It has not ended in time.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        until(timeout, "the program's end", || {
            Ok(self.child.try_wait()?)
        })
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// The system does not say.
    pub fn running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Lets it run on when this is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.kept {
            // Both fail when it has ended and was waited for, which is what is wanted.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Sends a signal to a process by its id.
///
/// # Errors
/// There is none, or it is not ours.
pub fn kill(id: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(id)
        .ok()
        .and_then(Pid::from_raw)
        .context("no process has the id 0")?;
    kill_process(pid, signal).with_context(|| format!("cannot signal process {id}"))
}

/// The processes that process `id` started and that still run.
pub fn children(id: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{id}/task")) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|ids| {
            ids.split_whitespace()
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}
