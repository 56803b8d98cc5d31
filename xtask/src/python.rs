//! Programs of PyPI, in an environment of their own in the target folder.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{apt, test};

/// Where a program is once its package is there.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    Ok(environment()?.join("bin").join(name))
}

/// Installs a package, `NAME==VERSION`, if just that version is not there.
pub(crate) fn ensure(requirement: &str) -> Result<()> {
    let environment = environment()?;
    let done = environment.join(requirement);
    if done.exists() {
        return Ok(());
    }
    eprintln!("installing {requirement} for Python");
    make(&environment)?;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        requirement,
    ]);
    run(&mut pip)?;
    fs::write(done, "")?;
    Ok(())
}

fn environment() -> Result<PathBuf> {
    Ok(test::target()?.join("python"))
}

/// Makes an environment; Debian has what that takes in a package of its own.
fn make(environment: &PathBuf) -> Result<()> {
    let venv = || {
        run(Command::new("python3")
            .args(["-m", "venv"])
            .arg(environment))
    };
    if apt::exists("python3") && venv().is_ok() {
        return Ok(());
    }
    apt::install(&["python3-venv"])?;
    venv()
}

/// Standard output is ours.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
