//! `cargo xtask bpf`: compiles the programs of the engine `ebpf`. Their object is checked in, so that nobody else needs a compiler of C.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::tally::Counts;
use crate::test::root;

const SOURCE: &str = "l2tp.bpf.c";
const OBJECT: &str = "l2tp.bpf.o";
/// What `sha256sum` says of both: an object that is older than its source is found without a compiler.
const SUMS: &str = "l2tp.bpf.sha256";

fn folder() -> PathBuf {
    root().join("crates/datapath/src/ebpf")
}

/// Compiles the programs into the source tree.
pub(crate) fn write() -> Result<ExitCode> {
    apt::ensure(&[apt::CLANG])?;
    compile(&folder().join(OBJECT))?;
    let sums = Command::new("sha256sum")
        .args([SOURCE, OBJECT])
        .current_dir(folder())
        .output()
        .context("sha256sum")?;
    if !sums.status.success() {
        bail!("sha256sum: {}", String::from_utf8_lossy(&sums.stderr));
    }
    std::fs::write(folder().join(SUMS), sums.stdout).context(SUMS)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether what is checked in is what the compiler makes of the source.
pub(crate) fn check() -> Result<Counts> {
    let made = root().join("target").join(OBJECT);
    compile(&made)?;
    let same = std::fs::read(&made).context("the object")? == std::fs::read(folder().join(OBJECT))?;
    if !same {
        println!(
            "{OBJECT} is not what {} makes of {SOURCE}: cargo xtask bpf",
            apt::CLANG.program
        );
    }
    Ok(Counts {
        passed: same.into(),
        failed: (!same).into(),
        ..Counts::default()
    })
}

fn compile(object: &Path) -> Result<()> {
    let mut clang = Command::new(apt::CLANG.program);
    // Debian has asm/types.h, which linux/bpf.h includes, in a folder of the processor's.
    let processors = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    clang.args([
        "-target", "bpf", "-mcpu=v2", "-O2", "-Wall", "-Wextra", "-Werror",
    ]);
    clang.args([&processors, "-c", SOURCE, "-o"]).arg(object);
    let status = clang.current_dir(folder()).status().context("clang")?;
    if !status.success() {
        bail!("{} does not take {SOURCE}", apt::CLANG.program);
    }
    Ok(())
}
