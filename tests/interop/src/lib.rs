//! A test bed: two network namespaces joined by a veth pair, a capture of what crosses it, and the daemons on its ends.
//!
//! The namespaces are called `lac` and `lns` after what runs in them. Everything here needs root and Linux; what it
//! makes it removes when it is dropped, and every process that it ends it ends by that process's own id.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

pub mod bridge;
pub mod capture;
pub mod container;
pub mod flood;
pub mod kernel;
pub mod l2tpns;
pub mod meant;
pub mod netns;
pub mod ours;
pub mod process;
pub mod relay;
pub mod report;
pub mod spread;
pub mod talk;
pub mod terminal;
pub mod traffic;
pub mod tshark;
pub mod wire;
pub mod xl2tpd;

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::report::Report;

/// The PPP user of every test, whose password is [`PASSWORD`].
pub const USER: &str = "u0";
/// The password of [`USER`].
pub const PASSWORD: &str = "pw";
/// The tunnel secret, where there is one.
pub const SECRET: &str = "s3cret";
/// The LNS's own address inside the tunnel.
pub const INNER_LNS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The address that the LNS gives to the first session.
pub const INNER_LAC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The end of the LNS's address pool, which begins at [`INNER_LAC`].
pub const POOL_END: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// What every suite that runs our programs can be told.
#[derive(Debug, clap::Args)]
pub struct Suite {
    /// Run only the cases whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// Where openl2tpd and l2tpconfig are; by default beside this program.
    #[arg(long)]
    programs: Option<PathBuf>,
}

impl Suite {
    /// A report with no case yet.
    pub fn report(&self) -> Report {
        Report::new(self.only.clone())
    }

    /// The folder of openl2tpd and l2tpconfig.
    ///
    /// # Errors
    /// This program does not know where it is.
    pub fn programs(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.programs {
            return Ok(folder.clone());
        }
        let program = std::env::current_exe()?;
        Ok(program.parent().context("no folder")?.to_owned())
    }
}

/// Which end of the tunnel a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The L2TP access concentrator: the client, which dials.
    Lac,
    /// The L2TP network server: it authenticates, and gives the addresses.
    Lns,
}

/// How the LNS authenticates the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// RFC 1334.
    Pap,
    /// RFC 1994, with MD5.
    Chap,
    /// RFC 2433.
    MsChapV1,
    /// RFC 2759.
    MsChapV2,
}

impl Auth {
    /// Every method.
    pub const ALL: [Self; 4] = [Self::Pap, Self::Chap, Self::MsChapV1, Self::MsChapV2];
}

impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pap => "pap",
            Self::Chap => "chap",
            Self::MsChapV1 => "mschapv1",
            Self::MsChapV2 => "mschapv2",
        })
    }
}

/// That packets are encrypted by MPPE, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mppe {
    /// How long the keys are.
    pub bits: u8,
    /// Whether in stateful mode.
    pub stateful: bool,
}

impl fmt::Display for Mppe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.stateful {
            "stateful"
        } else {
            "stateless"
        };
        write!(f, "{} {kind}", self.bits)
    }
}

/// A daemon at one end of the tunnel.
pub trait Side {
    /// Ends the PPP session and leaves the tunnel.
    ///
    /// # Errors
    /// The daemon did not take the order.
    fn close_session(&mut self) -> Result<()>;

    /// Ends the tunnel and the daemon with it.
    ///
    /// # Errors
    /// The daemon did not take the order, did not end in time, or ended with an error.
    fn shut_down(&mut self) -> Result<()>;

    /// Whether it knows of no session any more, and nothing of one is left in the system.
    ///
    /// # Errors
    /// The daemon does not say.
    fn idle(&mut self) -> Result<bool>;

    /// What went through its only session, where it says so.
    ///
    /// # Errors
    /// It has no session, or does not answer.
    fn traffic(&self) -> Result<Option<serde_json::Value>> {
        Ok(None)
    }

    /// How it says that its only session is encrypted; none where it does not say.
    ///
    /// # Errors
    /// It has no session, or does not answer.
    fn encryption(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// What it wrote so far.
    fn log(&self) -> String;
}

/// Polls until there is a value; `what` says in the error what did not come about in time.
///
/// # Errors
/// The time was up, or `poll` failed.
pub fn until<T>(
    timeout: Duration,
    what: &str,
    mut poll: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = poll()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("not within {} s: {what}", timeout.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
