//! The plugins of pppd, built for each of its two interfaces, and what each asks of pppd.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::tally::Counts;
use crate::test::{build_packages, cargo, counted, programs, target};

/// Where pppd is on this machine, if it has one.
const PPPD: &str = "/usr/sbin/pppd";
const PACKAGES: [&str; 2] = ["pppol2tp-plugin", "openl2tp-plugin"];
/// What `openl2tp.so` takes of `pppol2tp.so`, which gives it.
const GIVEN: [&str; 3] = [
    "pppol2tp_send_accm_hook",
    "pppol2tp_session_id",
    "pppol2tp_tunnel_id",
];

/// An interface of pppd's that plugins can be built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Interface {
    /// That of 2.4.
    V2_4,
    /// That of 2.5.
    V2_5,
}

impl Interface {
    /// That of such a version.
    pub(crate) fn of(version: &str) -> Result<Self> {
        let [major, minor, _] = version.splitn(3, '.').collect::<Vec<_>>()[..] else {
            bail!("pppd says that its version is `{version}`, which is none");
        };
        match (major, minor) {
            ("2", "4") => Ok(Self::V2_4),
            ("2", "5") => Ok(Self::V2_5),
            _ => {
                bail!("the plugins are made for pppd 2.4 and 2.5, and this machine's is {version}")
            }
        }
    }

    /// Builds both plugins for it, with such a command of cargo's, and for that version if one is named; the folder of what it builds follows.
    fn build(self, build: &mut Command, version: Option<&str>) -> Result<()> {
        if self == Self::V2_5 {
            let features = PACKAGES.map(|package| format!("{package}/pppd-2-5"));
            build.args(["--features", &features.join(",")]);
            // What was built for 2.4 has the same names.
            build.arg("--target-dir").arg(target()?.join("pppd-2-5"));
        }
        match version {
            Some(version) => build.env("PPPD_VERSION", version),
            None => build.env_remove("PPPD_VERSION"),
        };
        build_packages(build, &PACKAGES)
    }

    fn folder(self, profile: &str) -> Result<PathBuf> {
        match self {
            Self::V2_4 => programs(profile),
            Self::V2_5 => Ok(target()?.join("pppd-2-5").join(profile)),
        }
    }

    /// What a pppd of its exports, of what plugins may ask for.
    fn exports(self) -> BTreeSet<&'static str> {
        let text = match self {
            Self::V2_4 => include_str!("../../pppd-plugin/abi/exports/pppd-2.4"),
            Self::V2_5 => include_str!("../../pppd-plugin/abi/exports/pppd-2.5"),
        };
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    /// The version that they are built for where none is named.
    fn usual(self) -> &'static str {
        match self {
            Self::V2_4 => "2.4.9",
            Self::V2_5 => "2.5.2",
        }
    }
}

/// Builds the plugins for the pppd of this machine, for 2.4.9 if it has none; the folder that they are in.
pub(crate) fn build_for_this_machine() -> Result<PathBuf> {
    let version = pppd_version()?;
    let interface = version
        .as_deref()
        .map_or(Ok(Interface::V2_4), Interface::of)?;
    let mut build = cargo(&["build", "--quiet", "--release"]);
    interface.build(&mut build, version.as_deref())?;
    interface.folder("release")
}

/// What pppd says that it is, if it is there.
fn pppd_version() -> Result<Option<String>> {
    if !Path::new(PPPD).exists() {
        return Ok(None);
    }
    let said = Command::new(PPPD).arg("--version").output();
    let said = said.with_context(|| format!("cannot run {PPPD}"))?;
    let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    version_in(&said).map(|version| Some(version.to_owned()))
}

/// `pppd version 2.4.9`.
fn version_in(said: &str) -> Result<&str> {
    let version = said.trim().strip_prefix("pppd version ");
    version
        .filter(|version| !version.contains(char::is_whitespace))
        .with_context(|| format!("{PPPD} --version says no version: {}", said.trim()))
}

/// The suite: both build; each asks for what its pppd has, and for all that it is said to, and has what pppd looks for.
pub(crate) fn suite() -> Result<Counts> {
    let mut counts = Counts::default();
    for interface in [Interface::V2_4, Interface::V2_5] {
        counts += counted_check(&format!("plugins for {interface:?}"), || check(interface));
    }
    counts += counted_check("the list of 2.4 against this machine's pppd", against_pppd);
    let features = ["--package", "pppd-abi", "--features", "pppd-2-5"];
    counts += counted(cargo(&[&["test", "--quiet"], &features[..]].concat()))?;
    Ok(counts)
}

fn counted_check(name: &str, check: impl FnOnce() -> Result<()>) -> Counts {
    let mut counts = Counts::default();
    match check() {
        Ok(()) => {
            println!("ok   {name}");
            counts.passed += 1;
        }
        Err(error) => {
            println!("FAIL {name}: {error:#}");
            counts.failed += 1;
        }
    }
    counts
}

fn check(interface: Interface) -> Result<()> {
    let mut build = cargo(&["build", "--quiet", "--profile", "test"]);
    interface.build(&mut build, None)?;
    let folder = interface.folder("debug")?;
    let mut asked = BTreeSet::new();
    for library in ["libpppol2tp.so", "libopenl2tp.so"] {
        let library = folder.join(library);
        let given = symbols(&library, "--defined-only")?;
        for name in ["plugin_init", "pppd_version"] {
            ensure!(given.contains(name), "{} has no {name}", library.display());
        }
        let version = format!("{}\0", interface.usual());
        let octets = fs::read(&library)?;
        ensure!(
            octets
                .windows(version.len())
                .any(|part| part == version.as_bytes()),
            "{} is for another version than {}",
            library.display(),
            interface.usual()
        );
        asked.extend(symbols(&library, "--undefined-only")?);
    }
    let given = symbols(&folder.join("libpppol2tp.so"), "--defined-only")?;
    for name in GIVEN {
        ensure!(asked.remove(name), "{name} is asked for no more");
        ensure!(given.contains(name), "{name} is asked for, and not there");
    }
    let exports: BTreeSet<String> = interface.exports().into_iter().map(str::to_owned).collect();
    let more: Vec<_> = asked.difference(&exports).collect();
    ensure!(more.is_empty(), "pppd does not have {more:?}");
    let less: Vec<_> = exports.difference(&asked).collect();
    ensure!(
        less.is_empty(),
        "{less:?} are in the list, and not asked for"
    );
    Ok(())
}

/// Debian 12's pppd has all that the list for it says.
fn against_pppd() -> Result<()> {
    let version = pppd_version()?.context("there is no pppd")?;
    let interface = Interface::of(&version)?;
    let real = symbols(Path::new(PPPD), "--defined-only")?;
    let exports = interface.exports().into_iter();
    let lacking: Vec<_> = exports.filter(|name| !real.contains(*name)).collect();
    ensure!(
        lacking.is_empty(),
        "pppd {version} does not have {lacking:?}"
    );
    Ok(())
}

/// The names of a file's dynamic symbols, but for those of a library's version and those that may be missing.
fn symbols(file: &Path, which: &str) -> Result<BTreeSet<String>> {
    let listed = Command::new("nm")
        .args(["--dynamic", which])
        .arg(file)
        .output();
    let listed = listed.context("cannot run nm, of binutils")?;
    ensure!(
        listed.status.success(),
        "nm: {}",
        String::from_utf8_lossy(&listed.stderr).trim()
    );
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().rev();
        let (name, kind) = (words.next()?, words.next()?);
        (kind != "w" && !name.contains('@')).then(|| name.to_owned())
    });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_pppd_says_which_interface_it_has() {
        assert_eq!(version_in("pppd version 2.4.9\n").unwrap(), "2.4.9");
        assert_eq!(Interface::of("2.4.9").unwrap(), Interface::V2_4);
        assert_eq!(Interface::of("2.5.2").unwrap(), Interface::V2_5);
        assert_eq!(Interface::of("2.5.3-dev").unwrap(), Interface::V2_5);
    }

    #[test]
    fn an_unknown_version_is_said_and_not_guessed() {
        for version in ["2.6.0", "3.0.0", "2.4", "x"] {
            let error = Interface::of(version).unwrap_err().to_string();
            assert!(error.contains(version), "{error}");
        }
        assert!(version_in("Segmentation fault").is_err());
    }
}
