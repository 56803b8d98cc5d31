//! l2tpns as the LNS, and the FreeRADIUS that it asks about users. Both keep to a namespace of the test's and to its folder.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::capture::L2TP_PORT;
use crate::netns::{self, Bed, Namespace};
use crate::process::Process;
use crate::{Auth, INNER_LAC, INNER_LNS, PASSWORD, SECRET, USER, until};

/// How long either may take to start: l2tpns first looks for others of its kind.
const START: Duration = Duration::from_secs(20);
/// What the two of them share.
const RADIUS_SECRET: &str = "radius";

/// A running l2tpns.
#[derive(Debug)]
pub struct L2tpns {
    l2tpns: Process,
    _radius: Process,
}

impl L2tpns {
    /// Starts both at the LNS's side of the bed: users prove themselves by `auth`, tunnels with [`SECRET`] if at all.
    ///
    /// # Errors
    /// One of them cannot be started, or ended at once.
    pub fn start(bed: &Bed, folder: &Path, auth: Auth) -> Result<Self> {
        let radius = radius(&bed.lns, folder)?;
        let etc = folder.join("l2tpns");
        fs::create_dir(&etc)?;
        fs::write(etc.join("startup-config"), configuration(folder, auth))?;
        // Read whether they are needed or not.
        fs::write(etc.join("ip_pool"), "")?;
        fs::write(etc.join("users"), "")?;
        // It has the folder of its files built in: here, in a mount namespace of its own, that is ours.
        // A process group of its own too: when it ends it signals all of its group.
        let mut command = Command::new("unshare");
        command.process_group(0);
        command.args(["--mount", "sh", "-c"]);
        command.arg("mount --bind \"$1\" /etc/l2tpns && exec l2tpns -v");
        command.arg("sh").arg(&etc);
        let mut l2tpns = Process::spawn(&bed.lns, command, &folder.join("l2tpns.log"))?;
        until(START, "l2tpns serves its port", || {
            ensure!(l2tpns.running()?, "l2tpns ended:\n{}", l2tpns.log());
            let bound = || Ok(UdpSocket::bind((netns::LNS, L2TP_PORT)).is_err());
            Ok(bed.lns.enter(bound)?.then_some(()))
        })?;
        // What answers there is the system, to which l2tpns hands what comes for it.
        bed.lns
            .ip(&format!("address add {INNER_LNS}/32 dev lo\n"))?;
        Ok(Self {
            l2tpns,
            _radius: radius,
        })
    }

    /// Has it end its tunnels and then itself.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn shut_down(&mut self) -> Result<()> {
        self.l2tpns.signal(Signal::QUIT)
    }
}

fn configuration(folder: &Path, auth: Auth) -> String {
    format!(
        "set debug 3\n\
         set pid_file \"{}\"\n\
         set hostname \"l2tpns\"\n\
         set l2tp_secret \"{SECRET}\"\n\
         set primary_radius 127.0.0.1\n\
         set radius_secret \"{RADIUS_SECRET}\"\n\
         set radius_authtypes \"{auth}\"\n\
         set allow_duplicate_users yes\n\
         set bind_address {}\n\
         set cli_bind_address 127.0.0.1\n\
         set peer_address {INNER_LNS}\n\
         set cluster_interface {}\n\
         set cluster_hb_timeout 31\n",
        folder.join("l2tpns.pid").display(),
        netns::LNS,
        netns::UNDERLAY,
    )
}

/// A FreeRADIUS that knows one user and where that one's session ends.
fn radius(namespace: &Namespace, folder: &Path) -> Result<Process> {
    let raddb = folder.join("raddb");
    fs::create_dir(&raddb)?;
    fs::write(raddb.join("radiusd.conf"), RADIUSD)?;
    fs::write(
        raddb.join("clients.conf"),
        format!("client lns {{\n ipaddr = 127.0.0.1\n secret = {RADIUS_SECRET}\n}}\n"),
    )?;
    fs::write(
        raddb.join("users"),
        format!("{USER} Cleartext-Password := \"{PASSWORD}\"\n\tFramed-IP-Address = {INNER_LAC}\n"),
    )?;
    let mut command = Command::new("freeradius");
    command
        .args(["-f", "-xx", "-l", "stdout", "-d"])
        .arg(&raddb);
    let mut process = Process::spawn(namespace, command, &folder.join("radius.log"))?;
    until(START, "FreeRADIUS is ready", || {
        ensure!(process.running()?, "FreeRADIUS ended:\n{}", process.log());
        Ok(process
            .log()
            .contains("Ready to process requests")
            .then_some(()))
    })?;
    Ok(process)
}

/// The least that serves PAP and CHAP.
const RADIUSD: &str = "\
prefix = /usr
libdir = /usr/lib/freeradius
logdir = ${confdir}
run_dir = ${confdir}
$INCLUDE clients.conf
modules {
    pap {
    }
    chap {
    }
    files {
        usersfile = ${confdir}/users
    }
}
server default {
    listen {
        type = auth
        ipaddr = 127.0.0.1
        port = 1812
    }
    authorize {
        chap
        files
        pap
    }
    authenticate {
        Auth-Type PAP {
            pap
        }
        Auth-Type CHAP {
            chap
        }
    }
}
";
