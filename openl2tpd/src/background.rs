//! Becoming a daemon: the process that was started runs itself again in a session of its own, and stays until that
//! one serves or has failed, so that its status says how the start went.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::process::{Command, ExitCode, Stdio};

/// What the process in the background says on its standard output when it serves.
const READY: &[u8] = b"ready\n";

/// Starts the process in the background. Its errors are on our standard error by the time that this returns.
pub(crate) fn start() -> io::Result<ExitCode> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut said)?;
    }
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// In the process in the background: leaves the terminal's session, so that its end does not end us.
pub(crate) fn leave_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// In the process in the background: says that it serves, and lets go of the terminal and the working directory.
pub(crate) fn ready() -> io::Result<()> {
    io::stdout().write_all(READY)?;
    io::stdout().flush()?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    std::env::set_current_dir("/")
}
