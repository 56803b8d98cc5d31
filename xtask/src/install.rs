//! `cargo xtask install`: builds all that a system needs to have, and puts it where it belongs; what packages are made of.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::plugins;
use crate::test::{build_packages, cargo, programs, root};

/// Where to.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The folder that stands for the root of the system
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
}

/// The programs, and where they go.
const PROGRAMS: [(&str, &str); 2] = [
    ("openl2tpd", "usr/sbin/openl2tpd"),
    ("l2tpconfig", "usr/bin/l2tpconfig"),
];

/// The plugins of pppd, the same.
const PLUGINS: [(&str, &str); 2] = [
    ("libpppol2tp.so", "usr/lib/openl2tp/pppol2tp.so"),
    ("libopenl2tp.so", "usr/lib/openl2tp/openl2tp.so"),
];

/// Builds everything and installs it. Files that are there already are replaced, but no configuration is among them.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    // First, as this may be a pppd that they are not made for.
    let plugins = plugins::build_for_this_machine()?;
    let mut build = cargo(&["build", "--quiet", "--release"]);
    build_packages(&mut build, &PROGRAMS.map(|(name, _)| name))?;
    for (folder, files) in [(programs("release")?, PROGRAMS), (plugins, PLUGINS)] {
        for (name, place) in files {
            put(&folder.join(name), &options.root.join(place), 0o755)?;
        }
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
