//! xl2tpd with pppd: a LAC or an LNS that is not ours. It needs the kernel's l2tp_ppp, so it runs in User-Mode Linux.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::netns::{self, Bed};
use crate::process::{Process, children, kill};
use crate::{
    Auth, INNER_LAC, INNER_LNS, Mppe, PASSWORD, POOL_END, Role, SECRET, Side, USER, until,
};

/// What a case asks of xl2tpd and its pppd.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How the LNS authenticates the user.
    pub auth: Auth,
    /// Whether there is a tunnel secret.
    pub secret: bool,
    /// It hides its AVPs where there is a secret, and its kernel numbers the data messages.
    pub sequenced: bool,
    /// How packets have to be encrypted.
    pub mppe: Option<Mppe>,
}

/// A running xl2tpd.
#[derive(Debug)]
pub struct Xl2tpd {
    process: Process,
    ppp_log: PathBuf,
}

impl Xl2tpd {
    /// Writes the configuration of a case into `folder` and starts xl2tpd with it. A LAC dials at once.
    ///
    /// # Errors
    /// A file cannot be written, or the program not be started.
    pub fn start(bed: &Bed, folder: &Path, role: Role, settings: Settings) -> Result<Self> {
        Self::run(bed, folder, role, settings, POOL_END)
    }

    fn run(
        bed: &Bed,
        folder: &Path,
        role: Role,
        settings: Settings,
        last: Ipv4Addr,
    ) -> Result<Self> {
        let Settings {
            auth,
            secret,
            sequenced,
            mppe,
        } = settings;
        let file = |name: &str| folder.join(format!("xl2tpd-{role:?}.{name}"));
        let ppp_log = file("pppd.log");
        let (mut options, mut configuration) = (
            ppp_options(role, auth, mppe, &ppp_log),
            configuration(role, secret, last, &file("ppp")),
        );
        if sequenced {
            options.push_str("pppol2tp_send_seq\n");
            configuration.push_str("flow bit = yes\n");
            if secret {
                configuration.push_str("hidden bit = yes\n");
            }
        }
        fs::write(file("ppp"), options)?;
        fs::write(file("conf"), configuration)?;
        fs::write(file("secrets"), format!("* * {SECRET}\n"))?;
        // pppd looks for these nowhere else.
        for name in ["pap-secrets", "chap-secrets"] {
            fs::write(
                Path::new("/etc/ppp").join(name),
                format!("{USER} * {PASSWORD} *\n"),
            )?;
        }
        let mut command = Command::new("xl2tpd");
        command.arg("-D");
        for (option, name) in [
            ("-c", "conf"),
            ("-s", "secrets"),
            ("-p", "pid"),
            ("-C", "control"),
        ] {
            command.arg(option).arg(file(name));
        }
        let process = Process::spawn(bed.side(role), command, &file("log"))?;
        let mut started = Self { process, ppp_log };
        until(Duration::from_secs(20), "xl2tpd listens", || {
            ensure!(
                started.process.running()?,
                "xl2tpd ended:\n{}",
                started.log()
            );
            Ok(started
                .process
                .log()
                .contains("Listening on IP address")
                .then_some(()))
        })?;
        Ok(started)
    }
}

impl Xl2tpd {
    /// Starts an LNS that gives addresses up to `last`, without a secret.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn serve(bed: &Bed, folder: &Path, auth: Auth, last: Ipv4Addr) -> Result<Self> {
        let settings = Settings {
            auth,
            secret: false,
            sequenced: false,
            mppe: None,
        };
        Self::run(bed, folder, Role::Lns, settings, last)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Side for Xl2tpd {
    /// pppd is told to hang up: it terminates LCP, and xl2tpd sends CDN.
    fn close_session(&mut self) -> Result<()> {
        let pppd = *children(self.process.id())
            .first()
            .context("xl2tpd has no pppd")?;
        kill(pppd, Signal::TERM)
    }

    /// At SIGTERM xl2tpd sends StopCCN and ends, always with status 1; now and then it hangs instead, when a pppd of its ends at that moment.
    /// What it said is in the capture, and a process that is left is ended with this value.
    fn shut_down(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(Duration::from_secs(5)).ok();
        Ok(())
    }

    fn idle(&mut self) -> Result<bool> {
        Ok(children(self.process.id()).is_empty())
    }

    fn log(&self) -> String {
        let ppp = fs::read_to_string(&self.ppp_log).unwrap_or_default();
        format!("{}-- pppd:\n{ppp}", self.process.log())
    }
}

fn configuration(role: Role, secret: bool, last: Ipv4Addr, ppp_options: &Path) -> String {
    let ppp_options = ppp_options.display();
    let challenge = if secret { "yes" } else { "no" };
    let common = format!("challenge = {challenge}\nppp debug = yes\npppoptfile = {ppp_options}\n");
    let section = match role {
        Role::Lac => format!(
            "[lac peer]\nlns = {}\nautodial = yes\nname = {USER}\n",
            netns::LNS
        ),
        Role::Lns => format!(
            "[lns default]\nip range = {INNER_LAC}-{last}\nlocal ip = {INNER_LNS}\nname = xl2tpd-lns\n\
             require authentication = yes\n"
        ),
    };
    format!(
        "[global]\nport = 1701\ndebug tunnel = yes\ndebug state = yes\ndebug avp = no\n{section}{common}"
    )
}

fn ppp_options(role: Role, auth: Auth, mppe: Option<Mppe>, log: &Path) -> String {
    let compression = match mppe {
        Some(Mppe { bits, stateful }) => {
            let stateful = if stateful { "mppe-stateful\n" } else { "" };
            format!("require-mppe-{bits}\n{stateful}")
        }
        None => "noccp\n".to_owned(),
    };
    let auth = match (role, auth) {
        (Role::Lac, _) => "noauth",
        (Role::Lns, Auth::Pap) => "require-pap",
        (Role::Lns, Auth::Chap) => "require-chap",
        (Role::Lns, Auth::MsChapV1) => "require-mschap",
        (Role::Lns, Auth::MsChapV2) => "require-mschap-v2",
    };
    format!(
        "{auth}\ndebug\nlogfile {}\nnodefaultroute\n{compression}mtu 1400\nmru 1400\nlcp-echo-interval 5\nlcp-echo-failure 6\n",
        log.display()
    )
}
