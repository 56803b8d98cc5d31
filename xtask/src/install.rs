//! `cargo xtask install`: builds all that a system needs to have, and puts it where it belongs; what packages are made of.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::test::{build_packages, cargo, programs, root};

/// Where to.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The folder that stands for the root of the system
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
}

/// What is built, and where it goes.
const BUILT: [(&str, &str); 4] = [
    ("openl2tpd", "usr/sbin/openl2tpd"),
    ("l2tpconfig", "usr/bin/l2tpconfig"),
    ("libpppol2tp.so", "usr/lib/openl2tp/pppol2tp.so"),
    ("libopenl2tp.so", "usr/lib/openl2tp/openl2tp.so"),
];

/// Builds everything and installs it. Files that are there already are replaced, but no configuration is among them.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let mut build = cargo(&["build", "--quiet", "--release"]);
    // The plugins are for the pppd of this machine, if it has one.
    if let Some(version) = pppd_version() {
        build.env("PPPD_VERSION", version);
    }
    let packages = [
        "openl2tpd",
        "l2tpconfig",
        "pppol2tp-plugin",
        "openl2tp-plugin",
    ];
    build_packages(&mut build, &packages)?;
    let built = programs("release")?;
    for (name, place) in BUILT {
        put(&built.join(name), &options.root.join(place), 0o755)?;
    }
    for page in ["l2tpconfig.1", "openl2tpd.8", "openl2tpd.conf.5"] {
        let section = page.rsplit('.').next().unwrap_or_default();
        let place = format!("usr/share/man/man{section}/{page}");
        let page = root().join("docs/man").join(page);
        put(&page, &options.root.join(place), 0o644)?;
    }
    for unit in [
        "openl2tpd.service",
        "openl2tpd.socket",
        "openl2tpd@.service",
    ] {
        let place = options.root.join("usr/lib/systemd/system").join(unit);
        put(&root().join("packaging/systemd").join(unit), &place, 0o644)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What pppd says that it is: `pppd version 2.4.9`.
fn pppd_version() -> Option<String> {
    let said = Command::new("/usr/sbin/pppd")
        .arg("--version")
        .output()
        .ok()?;
    let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    let version = said.trim().strip_prefix("pppd version ")?;
    Some(version.to_owned())
}

/// Copies a file, in place of one that may be running.
fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let folder = to.parent().context("it has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let new = to.with_extension("new");
    let copied = fs::copy(from, &new)
        .and_then(|_| fs::set_permissions(&new, Permissions::from_mode(mode)))
        .and_then(|()| fs::rename(&new, to));
    copied.with_context(|| format!("cannot write {}", to.display()))?;
    println!("{}", to.display());
    Ok(())
}
