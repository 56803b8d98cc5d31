//! Programs that the suites and the demo need, of Debian's packages or PyPI's, installed when they are missing.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Result, bail};

use crate::{python, test};

/// A program and the package that brings it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// Looked for in PATH and the system folders.
    pub program: &'static str,
    /// The package that has it.
    pub package: Package,
}

/// Where a program comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Package {
    /// A Debian package.
    Debian(&'static str),
    /// A Debian package of which nothing but the program is wanted, least of all the service: it is unpacked into the target folder.
    Unpacked(&'static str),
    /// A package of PyPI with its version, in an environment of ours.
    Python(&'static str),
}

macro_rules! tools {
    ($($name:ident = $program:literal in $package:literal;)*) => {
        $(#[doc = concat!("`", $program, "`")] pub(crate) const $name: Tool = Tool { program: $program, package: Package::Debian($package) };)*
    };
}

tools! {
    BASH = "bash" in "bash";
    CLANG = "clang-14" in "clang-14";
    CPIO = "cpio" in "cpio";
    CURL = "curl" in "curl";
    CXX = "c++" in "g++";
    ETHTOOL = "ethtool" in "ethtool";
    FISH = "fish" in "fish";
    FREERADIUS = "freeradius" in "freeradius";
    IP = "ip" in "iproute2";
    IPERF3 = "iperf3" in "iperf3";
    L2TPNS = "l2tpns" in "l2tpns";
    LLVM_COV = "llvm-cov-19" in "llvm-19";
    MANDOC = "mandoc" in "mandoc";
    MODPROBE = "modprobe" in "kmod";
    NM = "nm" in "binutils";
    PING = "ping" in "iputils-ping";
    PPPD = "pppd" in "ppp";
    QEMU = "qemu-system-x86_64" in "qemu-system-x86";
    SYSTEMD = "systemd-analyze" in "systemd";
    TCPDUMP = "tcpdump" in "tcpdump";
    TMUX = "tmux" in "tmux";
    TSHARK = "tshark" in "tshark";
    UML = "linux.uml" in "user-mode-linux";
    XL2TPD = "xl2tpd" in "xl2tpd";
    ZSH = "zsh" in "zsh";
}

/// Tries the interface of the daemon by its description.
pub(crate) const SCHEMATHESIS: Tool = Tool {
    program: "schemathesis",
    package: Package::Python("schemathesis==4.32.5"),
};

/// Reads OpenMetrics; a library.
pub(crate) const PROMETHEUS_CLIENT: Tool = Tool {
    program: "python",
    package: Package::Python("prometheus-client==0.26.0"),
};

/// Reads what Prometheus would.
pub(crate) const PROMTOOL: Tool = Tool {
    program: "promtool",
    package: Package::Unpacked("prometheus"),
};

/// Installs the packages of those `tools` that are not there. An error says which are still missing and why.
pub(crate) fn ensure(tools: &[Tool]) -> Result<()> {
    let debian = |tool: &Tool| match tool.package {
        Package::Debian(package) => (!exists(tool.program)).then_some(package),
        Package::Unpacked(_) | Package::Python(_) => None,
    };
    install(&tools.iter().filter_map(debian).collect::<Vec<_>>())?;
    tools.iter().try_for_each(|tool| match tool.package {
        Package::Debian(_) => Ok(()),
        Package::Unpacked(package) => unpack(package, tool.program),
        Package::Python(requirement) => python::ensure(requirement),
    })
}

/// Installs Debian packages that are missing.
pub(crate) fn install(missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = missing.join(" ");
    if !exists("apt-get") {
        bail!("not installed: {wanted} (and there is no apt-get to install them)");
    }
    if !rustix::process::getuid().is_root() {
        bail!("not installed: {wanted} (as root: apt-get install {wanted})");
    }
    eprintln!("installing {wanted}");
    update();
    let _silence = Silence::impose();
    let mut install = apt_get();
    install
        .args([
            "install",
            "--yes",
            "--no-install-recommends",
            "-o",
            "Dpkg::Use-Pty=0",
        ])
        .args(missing);
    if !install.status()?.success() {
        bail!("apt-get could not install {wanted}");
    }
    Ok(())
}

/// Where the program of a package is once that is unpacked.
pub(crate) fn unpacked(program: &str) -> Result<PathBuf> {
    Ok(test::target()?.join("debian/usr/bin").join(program))
}

fn unpack(package: &str, program: &str) -> Result<()> {
    if unpacked(program)?.exists() {
        return Ok(());
    }
    unpack_into(&test::target()?.join("debian"), package)
}

/// Unpacks a Debian package into a folder, without installing it.
pub(crate) fn unpack_into(folder: &Path, package: &str) -> Result<()> {
    if !exists("apt-get") {
        bail!(
            "no {package} in {} (and there is no apt-get to get it with)",
            folder.display()
        );
    }
    eprintln!("unpacking {package}");
    update();
    let download = folder.join("download");
    fs::create_dir_all(&download)?;
    let mut get = apt_get();
    // Its own user may not write there.
    get.args(["-o", "APT::Sandbox::User=root", "download", package]);
    get.current_dir(&download);
    if !get.status()?.success() {
        bail!("apt-get could not download {package}");
    }
    for file in fs::read_dir(&download)? {
        let file = file?.path();
        let mut unpack = Command::new("dpkg-deb");
        if !unpack.arg("-x").arg(&file).arg(folder).status()?.success() {
            bail!("dpkg-deb could not unpack {}", file.display());
        }
        fs::remove_file(file)?;
    }
    Ok(())
}

/// The package that a metapackage stands for.
pub(crate) fn dependency_of(metapackage: &str) -> Result<String> {
    if !exists("apt-cache") {
        bail!("no {metapackage} (and there is no apt-cache to find it with)");
    }
    update();
    let mut depends = Command::new("apt-cache");
    depends.args(["depends", "--important", metapackage]);
    let output = depends.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut packages = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    match packages.next() {
        Some(package) => Ok(package.to_owned()),
        None => bail!("apt-cache knows no package that {metapackage} stands for"),
    }
}

/// While it lives, packages do not start the daemons that they bring: Debian's scripts ask this file first.
struct Silence;

impl Silence {
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    /// Nothing where the machine has a policy of its own, or takes none.
    fn impose() -> Option<Self> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(Self::POLICY)
            .ok()?;
        let imposed = Self;
        file.write_all(b"#!/bin/sh\nexit 101\n").ok()?;
        Some(imposed)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        fs::remove_file(Self::POLICY).ok();
    }
}

/// Installs a cargo subcommand of this name from crates.io, if it is not there.
pub(crate) fn ensure_cargo(program: &str) -> Result<()> {
    if exists(program) {
        return Ok(());
    }
    eprintln!("installing {program}");
    let mut install = test::cargo(&["install", "--locked", "--quiet", program]);
    if !install.status()?.success() {
        bail!("cargo could not install {program}");
    }
    Ok(())
}

/// Refreshes the package lists, once a run. A failure shows when the installation fails.
fn update() {
    static DONE: OnceLock<bool> = OnceLock::new();
    DONE.get_or_init(|| {
        apt_get()
            .arg("update")
            .status()
            .is_ok_and(|status| status.success())
    });
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .arg("-qq")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    // Standard output is ours: the demo's last line is read by programs.
    command.stdout(std::io::stderr());
    command
}

/// Whether a program is in PATH or one of the system folders, which a user's PATH may lack.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|folder| Path::new(&folder).join(program).is_file())
}
