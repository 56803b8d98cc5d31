//! User-Mode Linux: a kernel with l2tp_ppp, as an ordinary process on the live file system.
//!
//! Debian's `user-mode-linux` boots in about three seconds with the host's root as its own root: what COMMAND reads and
//! writes are the host's files, except under `/run` and `/dev/shm`, which are its own. COMMAND's standard output and error come through two
//! serial lines.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{BOOT_LOG, Machine, STATUS, quote, run_shell, shell_command};

/// The modules loaded before COMMAND runs.
const MODULES: &str = "l2tp_ppp ppp_mppe veth tun xfrm_user sch_ingress cls_bpf cls_u32";

/// Boots a machine, runs `command` in it in the current directory, and returns the command's exit status.
/// Its standard output goes to `stdout`, its standard error to ours. An empty `command` is an interactive shell.
pub(crate) fn run(
    machine: Machine,
    command: &[OsString],
    stdout: impl Write + Send + 'static,
) -> Result<u8> {
    let folder = tempfile::Builder::new().prefix("uml-").tempdir()?;
    let folder = folder.path();
    write_init(folder, command)?;
    let mut uml = kernel(machine, folder)?;
    if command.is_empty() {
        uml.arg("con0=fd:0,fd:1");
        return run_shell(uml, folder);
    }
    // A duplicate without close-on-exec: the machine's console is handed over by descriptor number.
    let console = rustix::io::dup(File::create(folder.join(BOOT_LOG))?)?;
    uml.arg(format!("con0=null,fd:{}", console.as_raw_fd()));
    uml.args(["ssl=null", "ssl0=null,fd:1", "ssl1=null,fd:2"]);
    super::run(uml, machine.timeout, folder, stdout)
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
    let status = quote(folder.join(STATUS).as_os_str())?;
    let run = shell_command(command, "/dev/tty0", ["/dev/ttyS0", "/dev/ttyS1"])?;
    let script = format!(
        "mount -t proc proc /proc; mount -t sysfs sysfs /sys\n\
         mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts\n\
         mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /run\n\
         mkdir -p /run/m/lib/modules /run/lock /run/xl2tpd /run/pppd /run/netns\n\
         ln -s /usr/lib/uml/modules/$(uname -r) /run/m/lib/modules/$(uname -r)\n\
         modprobe -d /run/m -a {MODULES}\nip link set lo up\n\
         stty -F /dev/ttyS0 -opost; stty -F /dev/ttyS1 -opost\n\
         {run}\necho $? >{status}\nsync\nhalt -f\n"
    );
    super::write_init(folder, &script)
}
