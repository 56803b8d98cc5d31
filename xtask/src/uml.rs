//! User-Mode Linux: a kernel with l2tp_ppp, as an ordinary process on the live file system.
//!
//! Debian's `user-mode-linux` boots in about three seconds with the host's root as its own root: what COMMAND reads and
//! writes are the host's files, except under `/run` and `/dev/shm`, which are its own. The kernel's console goes to a
//! boot log that is shown only when something went wrong; COMMAND's standard output and error come through two serial
//! lines, so that they stay apart and free of kernel messages.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::signals::Interrupt;

/// What COMMAND inherits of the caller's environment; PATH is completed with the system folders.
const ENVIRONMENT: [&str; 6] = ["HOME", "LANG", "PATH", "RUST_BACKTRACE", "RUST_LOG", "TERM"];

/// The modules loaded before COMMAND runs.
const MODULES: &str = "l2tp_ppp ppp_mppe veth tun";

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

/// Boots a machine, runs `command` in it in the current directory, and returns the command's exit status.
/// Its standard output goes to `stdout`, its standard error to ours. An empty `command` is an interactive shell.
pub(crate) fn run(
    machine: Machine,
    command: &[OsString],
    stdout: impl Write + Send + 'static,
) -> Result<u8> {
    let folder = tempfile::Builder::new().prefix("uml-").tempdir()?;
    let status = folder.path().join("status");
    let interactive = command.is_empty();
    write_init(folder.path(), command)?;

    let boot_log = folder.path().join("boot.log");
    let mut uml = kernel(machine, folder.path())?;
    if interactive {
        if !std::io::stdin().is_terminal() {
            bail!("without a COMMAND, a terminal is needed for the shell");
        }
        uml.arg("con0=fd:0,fd:1");
        let ended = uml.status().context("cannot start linux.uml")?;
        return read_status(&status, ended, &boot_log);
    }
    // A duplicate without close-on-exec: the machine's console is handed over by descriptor number.
    let console = rustix::io::dup(File::create(&boot_log)?)?;
    uml.arg(format!("con0=null,fd:{}", console.as_raw_fd()));
    uml.args(["ssl=null", "ssl0=null,fd:1", "ssl1=null,fd:2"]);
    uml.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = uml.spawn().context("cannot start linux.uml")?;
    let pumps = [
        child.stdout.take().map(|from| pump(from, stdout)),
        child
            .stderr
            .take()
            .map(|from| pump(from, std::io::stderr())),
    ];
    let ended = wait(&mut child, machine.timeout);
    end_group(&mut child);
    for pump in pumps.into_iter().flatten() {
        pump.join().ok();
    }
    read_status(&status, ended?, &boot_log)
}

/// The kernel's command line up to where its consoles go.
fn kernel(machine: Machine, folder: &Path) -> Result<Command> {
    let mut uml = Command::new("linux.uml");
    if let Some(library) = xstate_library(folder)? {
        uml.env("LD_PRELOAD", library);
    }
    uml.arg(format!("mem={}M", machine.mem));
    uml.args([
        "rootfstype=hostfs",
        "rootflags=/",
        "rw",
        "quiet",
        "con=null",
    ]);
    uml.arg(format!("init={}", folder.join("init").display()));
    // Its memory is a file in /dev/shm by choice; a container may have too little there.
    let wanted = u64::from(machine.mem) << 20;
    if rustix::fs::statvfs("/dev/shm").is_ok_and(|shm| shm.f_bavail * shm.f_frsize < wanted) {
        uml.env("TMPDIR", std::env::temp_dir());
    }
    Ok(uml)
}

/// What the machine needs to run on processors with AMX: a library put before the C library's (see there).
const XSTATE: &str = include_str!("xstate.c");

/// Builds that library where it is needed.
fn xstate_library(folder: &Path) -> Result<Option<PathBuf>> {
    let flags = fs::read_to_string("/proc/cpuinfo")?;
    if !flags.contains(" amx_tile") {
        return Ok(None);
    }
    let (source, library) = (folder.join("xstate.c"), folder.join("xstate.so"));
    fs::write(&source, XSTATE)?;
    let built = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .context("cannot start cc")?;
    if !built.success() {
        bail!("cc failed on {}", source.display());
    }
    Ok(Some(library))
}

/// Writes the script that the machine runs as process 1.
fn write_init(folder: &Path, command: &[OsString]) -> Result<()> {
    let mut exports = String::new();
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            exports.push_str(&format!("export {name}={}\n", quote(&value)?));
        }
    }
    let cwd = quote(std::env::current_dir()?.as_os_str())?;
    let status = quote(folder.join("status").as_os_str())?;
    let run = if command.is_empty() {
        format!("cd {cwd}\nsetsid -cw bash </dev/tty0 >/dev/tty0 2>&1\necho $? >{status}\n")
    } else {
        let words = command
            .iter()
            .map(|word| quote(word))
            .collect::<Result<Vec<_>>>()?
            .join(" ");
        format!(
            "stty -F /dev/ttyS0 -opost; stty -F /dev/ttyS1 -opost\n\
             (cd {cwd} && exec {words}) </dev/null >/dev/ttyS0 2>/dev/ttyS1\necho $? >{status}\n"
        )
    };
    let script = format!(
        "#!/bin/sh\n{exports}\
         export PATH=\"$PATH\":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         mount -t proc proc /proc; mount -t sysfs sysfs /sys\n\
         mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts\n\
         mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /run\n\
         mkdir -p /run/m/lib/modules /run/lock /run/xl2tpd /run/pppd /run/netns\n\
         ln -s /usr/lib/uml/modules/$(uname -r) /run/m/lib/modules/$(uname -r)\n\
         modprobe -d /run/m -a {MODULES}\nip link set lo up\n{run}sync\nhalt -f\n"
    );
    let path = folder.join("init");
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(())
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
fn read_status(status: &Path, ended: ExitStatus, boot_log: &Path) -> Result<u8> {
    match fs::read_to_string(status)
        .ok()
        .and_then(|text| text.trim().parse().ok())
    {
        Some(code) => Ok(code),
        None => {
            eprint!("{}", fs::read_to_string(boot_log).unwrap_or_default());
            bail!("the machine stopped before COMMAND ended ({ended})");
        }
    }
}
