//! Our daemons with the kernel's datapath at both ends, and what is there when they are gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::netns::{self, Bed, Namespace};
use crate::ours::{self, Ours};
use crate::traffic::ping;
use crate::{Auth, INNER_LNS, PASSWORD, Role, Side, until};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One case; what it returns is its remark in the report.
pub type Case = fn(&World) -> Result<String>;

/// The modules whose users are counted: sockets and channels are theirs.
const MODULES: [&str; 4] = ["l2tp_core", "l2tp_ppp", "pppox", "ppp_generic"];

/// Where a case happens.
#[derive(Debug)]
pub struct World {
    /// The ends, and the wire.
    pub bed: Bed,
    /// For files.
    pub folder: TempDir,
    /// Where openl2tpd and l2tpconfig are.
    pub programs: PathBuf,
}

impl World {
    /// A new one.
    ///
    /// # Errors
    /// Not root, or `ip` failed.
    pub fn new(programs: &Path) -> Result<Self> {
        Ok(Self {
            bed: Bed::new()?,
            folder: tempfile::tempdir_in("/run")?,
            programs: programs.to_owned(),
        })
    }

    /// Starts a daemon whose sessions this datapath carries.
    ///
    /// # Errors
    /// It cannot be started, or ended at once.
    pub fn start(&self, role: Role, datapath: &str) -> Result<Ours> {
        self.start_with(role, datapath, "")
    }

    /// The same with `more` configuration.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(&self, role: Role, datapath: &str, more: &str) -> Result<Ours> {
        let command = self.command(role, datapath, more)?;
        let (place, folder) = (self.bed.side(role), self.folder.path());
        Ours::run(command, &self.programs, place, folder, name(role))
    }

    /// The command line of such a daemon.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn command(&self, role: Role, datapath: &str, more: &str) -> Result<Command> {
        let mut configuration = match role {
            Role::Lac => ours::lac(false, &format!("{} persist=yes", netns::LNS), PASSWORD),
            Role::Lns => ours::lns(Auth::Chap, false),
        };
        configuration.push_str(&format!(
            "session profile modify profile_name=default datapath={datapath}\n\
             system modify session_persist_pend_timeout=1\n{more}"
        ));
        let folder = self.folder.path();
        Ours::command(&self.programs, folder, name(role), &configuration)
    }

    /// Interfaces, routes and UDP sockets at both ends, and the kernel's sessions and tunnels there.
    ///
    /// # Errors
    /// A namespace cannot be entered.
    pub fn ends(&self) -> Result<[String; 2]> {
        Ok([state(&self.bed.lac)?, state(&self.bed.lns)?])
    }

    /// That, and of the whole machine how many use the kernel's modules, and the pppds.
    ///
    /// # Errors
    /// A namespace cannot be entered.
    pub fn state(&self) -> Result<[String; 3]> {
        let users = MODULES.map(|module| {
            let users = fs::read_to_string(format!("/sys/module/{module}/refcnt"));
            format!("{module} {}", users.unwrap_or_default())
        });
        let pppds = format!("{} pppds\n", running("pppd")?);
        let [lac, lns] = self.ends()?;
        Ok([lac, lns, users.concat() + &pppds])
    }

    /// Waits until [`Self::state`] is as it was.
    ///
    /// # Errors
    /// It is not, in time.
    pub fn is_as(&self, before: &[String; 3]) -> Result<()> {
        let same = || Ok((self.state()? == *before).then_some(()));
        until(PATIENCE, "all is as it was", same).with_context(|| {
            let now = self.state().unwrap_or_default();
            format!("before:\n{}now:\n{}", before.concat(), now.concat())
        })
    }

    /// Three pings from the LAC to the LNS are answered.
    ///
    /// # Errors
    /// They are not.
    pub fn is_through(&self) -> Result<()> {
        let received = ping(&self.bed.lac, &INNER_LNS.to_string(), 3)?.received;
        ensure!(received == 3, "{received} of 3 pings were answered");
        Ok(())
    }
}

fn name(role: Role) -> &'static str {
    match role {
        Role::Lac => "lac",
        Role::Lns => "lns",
    }
}

/// How many processes of this name there are.
fn running(name: &str) -> Result<usize> {
    let processes = fs::read_dir("/proc")?.filter_map(|entry| entry.ok());
    let names = processes.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    Ok(names.filter(|its| its.trim_end() == name).count())
}

fn read(place: &Namespace, name: &str) -> Result<String> {
    let path = format!("/proc/thread-self/net/{name}");
    place.enter(|| Ok(fs::read_to_string(path).unwrap_or_default()))
}

/// The kernel's own table of its tunnels and sessions there.
///
/// # Errors
/// The namespace cannot be entered.
pub fn table(place: &Namespace) -> Result<String> {
    read(place, "pppol2tp")
}

/// Whether a line of the table is of a session; a tunnel has a session 0 that is only its own.
pub fn is_session(line: &str) -> bool {
    line.contains("SESSION '") && !line.contains("/0' ")
}

fn state(place: &Namespace) -> Result<String> {
    let sockets = read(place, "sockstat")?;
    let udp = sockets.lines().filter(|line| line.starts_with("UDP:"));
    let udp = udp.filter_map(|line| line.split(" mem").next());
    Ok(place.state()? + &table(place)? + &udp.collect::<String>() + "\n")
}

/// Waits until a daemon has said this.
///
/// # Errors
/// It has not, in time.
pub fn said(daemon: &Ours, words: &str) -> Result<()> {
    let said = || Ok(daemon.log().contains(words).then_some(()));
    until(PATIENCE, &format!("`{words}` in the log"), said)
        .with_context(|| format!("the log:\n{}", daemon.log()))
}

/// Both ends with a session in the kernel, at each of which `loses` takes it away in turn: it comes back, `reason` is logged, and in the end nothing
/// is left.
///
/// # Errors
/// Otherwise.
pub fn comes_back(
    world: &World,
    reason: &str,
    loses: impl Fn(&Namespace, &Value) -> Result<()>,
) -> Result<()> {
    let before = world.state()?;
    let mut lns = world.start(Role::Lns, "kernel")?;
    let mut lac = world.start(Role::Lac, "kernel")?;
    for role in [Role::Lac, Role::Lns] {
        let session = lac.established(PATIENCE)?;
        ensure!(session["datapath"] == "kernel", "{session}");
        let its = match role {
            Role::Lac => session.clone(),
            Role::Lns => lns.established(PATIENCE)?,
        };
        loses(world.bed.side(role), &its)?;
        until(PATIENCE, "another session", || {
            let mut sessions = lac.sessions()?.into_iter();
            let old = &session["session_id"];
            let new = sessions.find(|s| s["state"] == "established" && s["session_id"] != *old);
            Ok(new.filter(|_| lns.sessions().is_ok_and(|its| its.len() == 1)))
        })
        .with_context(|| format!("LAC:\n{}LNS:\n{}", lac.log(), lns.log()))?;
        world.is_through()?;
    }
    said(&lac, reason)?;
    said(&lns, reason)?;
    lac.shut_down()?;
    lns.shut_down()?;
    world.is_as(&before)
}

/// A session whose interface is removed comes back.
///
/// # Errors
/// It does not.
pub fn removed_interface(world: &World) -> Result<String> {
    let loses = |place: &Namespace, _: &Value| place.ip("link del ppp0\n");
    comes_back(world, "its interface was removed", loses)?;
    Ok(String::new())
}

/// A daemon that is killed leaves nothing behind.
///
/// # Errors
/// It does.
pub fn killed(world: &World) -> Result<String> {
    let before = world.state()?;
    for _ in 0..2 {
        let mut lns = world.start(Role::Lns, "kernel")?;
        let mut lac = world.start(Role::Lac, "kernel")?;
        lac.established(PATIENCE)
            .with_context(|| format!("LAC:\n{}LNS:\n{}", lac.log(), lns.log()))?;
        world.is_through()?;
        for daemon in [&mut lac, &mut lns] {
            daemon.process().signal(Signal::KILL)?;
            daemon.process().wait(PATIENCE)?;
        }
        world.is_as(&before)?;
    }
    Ok(String::new())
}
