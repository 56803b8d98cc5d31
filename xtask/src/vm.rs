//! Virtual machines: a command in a kernel of its own, with the host's files.
//!
//! The kernel's console goes to a boot log that is shown only when something went wrong; COMMAND's standard output and error come through
//! lines of their own, so that they stay apart and free of kernel messages.

pub(crate) mod qemu;
pub(crate) mod uml;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::signals::Interrupt;

/// What COMMAND inherits of the caller's environment; PATH is completed with the system folders.
const ENVIRONMENT: [&str; 6] = ["HOME", "LANG", "PATH", "RUST_BACKTRACE", "RUST_LOG", "TERM"];

/// How often a running machine is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Limits of one machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Memory of the machine in MiB; only what is touched is taken from the host.
    pub mem: u32,
    /// The machine is ended after this long.
    pub timeout: Duration,
}

/// Runs a machine until it halts. What COMMAND says comes out of its standard output, which goes to `stdout`, and its standard error.
/// Returns COMMAND's exit status, which the machine leaves in `folder`.
fn run(
    mut machine: Command,
    timeout: Duration,
    folder: &Path,
    stdout: impl Write + Send + 'static,
) -> Result<u8> {
    machine
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = machine.spawn().with_context(|| unstarted(&machine))?;
    let pumps = [
        child.stdout.take().map(|from| pump(from, stdout)),
        child
            .stderr
            .take()
            .map(|from| pump(from, std::io::stderr())),
    ];
    let ended = wait(&mut child, timeout);
    end_group(&mut child);
    for pump in pumps.into_iter().flatten() {
        pump.join().ok();
    }
    read_status(folder, ended?)
}

/// Runs a machine with a shell on our terminal.
fn run_shell(mut machine: Command, folder: &Path) -> Result<u8> {
    if !std::io::stdin().is_terminal() {
        bail!("without a COMMAND, a terminal is needed for the shell");
    }
    let ended = machine.status().with_context(|| unstarted(&machine))?;
    read_status(folder, ended)
}

fn unstarted(machine: &Command) -> String {
    format!("cannot start {}", machine.get_program().display())
}

/// Where the kernel's console goes.
const BOOT_LOG: &str = "boot.log";

/// Where the machine leaves COMMAND's exit status.
const STATUS: &str = "status";

/// Writes the script that the machine runs as process 1: our environment, then `script`.
fn write_init(folder: &Path, script: &str) -> Result<()> {
    let mut init = "#!/bin/sh\n".to_owned();
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            init.push_str(&format!("export {name}={}\n", quote(&value)?));
        }
    }
    init.push_str(
        "export PATH=\"$PATH\":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
    );
    init.push_str(script);
    let path = folder.join("init");
    fs::write(&path, init)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The shell's way to run COMMAND in the current directory; a shell on `terminal` without one.
fn shell_command(
    command: &[OsString],
    terminal: &str,
    [stdout, stderr]: [&str; 2],
) -> Result<String> {
    let cwd = quote(std::env::current_dir()?.as_os_str())?;
    if command.is_empty() {
        return Ok(format!(
            "(cd {cwd} && exec setsid -cw bash) <{terminal} >{terminal} 2>&1"
        ));
    }
    let words: Result<Vec<_>> = command.iter().map(|word| quote(word)).collect();
    let words = words?.join(" ");
    Ok(format!(
        "(cd {cwd} && exec {words}) </dev/null >{stdout} 2>{stderr}"
    ))
}

/// One word of a shell command, in single quotes.
fn quote(word: &OsStr) -> Result<String> {
    let word = word
        .to_str()
        .with_context(|| format!("not UTF-8: {}", word.display()))?;
    Ok(format!("'{}'", word.replace('\'', r"'\''")))
}

/// Copies what a program says as it says it, in a thread of its own.
pub(crate) fn pump(
    mut from: impl std::io::Read + Send + 'static,
    mut to: impl Write + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if to
                .write_all(&buffer[..n])
                .and_then(|()| to.flush())
                .is_err()
            {
                break;
            }
        }
    })
}

/// Waits for the machine to halt; a signal to us or the time limit is an error.
fn wait(child: &mut Child, timeout: Duration) -> Result<ExitStatus> {
    let interrupt = Interrupt::catch()?;
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        interrupt.check()?;
        if Instant::now() >= deadline {
            bail!(
                "the machine was ended after {} seconds (--timeout)",
                timeout.as_secs()
            );
        }
        thread::sleep(POLL);
    }
}

/// Ends what is left of the machine. Its helpers are processes of the group that we made for it, and outlive its
/// first process when that is killed.
fn end_group(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // An empty group is the good case.
        kill_process_group(group, Signal::KILL).ok();
    }
    child.wait().ok();
}

/// COMMAND's exit status, which the machine left in a file: its own exit status says nothing.
fn read_status(folder: &Path, ended: ExitStatus) -> Result<u8> {
    match fs::read_to_string(folder.join(STATUS))
        .ok()
        .and_then(|text| text.trim().parse().ok())
    {
        Some(code) => Ok(code),
        None => {
            let log = fs::read(folder.join(BOOT_LOG)).unwrap_or_default();
            eprint!("{}", String::from_utf8_lossy(&log));
            bail!("the machine stopped before COMMAND ended ({ended})");
        }
    }
}
