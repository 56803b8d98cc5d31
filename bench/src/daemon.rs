//! The release daemon as a child process with a null datapath: what it costs, seen from outside.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use api::{Client, Request, Statistics, SystemStatus};
use tempfile::TempDir;

/// A running daemon with files of its own. It is killed when dropped.
pub struct Daemon {
    child: Child,
    directory: TempDir,
    address: SocketAddr,
}

impl Daemon {
    /// Starts the `openl2tpd` beside this program on the UDP port of `address`, and returns when it serves.
    pub fn start(address: &str, configuration: &str) -> Result<Self> {
        let address: SocketAddr = address.parse()?;
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join("conf"), configuration)?;
        let program = std::env::current_exe()?.with_file_name("openl2tpd");
        let mut child = Command::new(&program)
            .args([
                "-f",
                "--datapath",
                "null",
                "-u",
                &address.port().to_string(),
            ])
            .args(["-c", "conf", "-P", "pid", "--socket", "socket"])
            .current_dir(directory.path())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let mut log = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let serves = log
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("serves UDP port"));
        // Somebody has to read the rest, or it would stop there.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        let daemon = Self {
            child,
            directory,
            address,
        };
        ensure!(serves, "the daemon ended");
        Ok(daemon)
    }

    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Octets of memory that it has now (RSS).
    pub fn memory(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// The most octets of memory that it had (RSS).
    pub fn peak_memory(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    /// Lets [`Daemon::peak_memory`] begin anew.
    pub fn forget_peak(&self) -> Result<()> {
        let file = format!("/proc/{}/clear_refs", self.child.id());
        std::fs::write(file, "5").context("cannot reset VmHWM")
    }

    /// Writes another configuration file, which it reads when it is told.
    pub fn write(&self, configuration: &str) -> Result<()> {
        Ok(std::fs::write(
            self.directory.path().join("conf"),
            configuration,
        )?)
    }

    /// A client of its interface.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(&self.directory.path().join("socket"))?)
    }

    fn status(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("no such field")?.parse::<u64>()? * 1024)
    }

    /// Seconds of processor time that it took, user's and system's.
    pub fn processor(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields = stat.rsplit_once(") ").context("no such field")?.1;
        let mut ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        let (user, system) = (ticks.next(), ticks.next());
        let sum = user.context("no utime")?? + system.context("no stime")??;
        // The kernel shows hundredths (USER_HZ) on every architecture that we build for.
        Ok(sum / 100.0)
    }

    /// How many of its sessions carry traffic.
    pub fn sessions(&self) -> Result<usize> {
        let client = self.client()?;
        let status: SystemStatus = client.call(&Request::SystemShow)?;
        Ok(status.sessions_established as usize)
    }

    /// Datagrams that it lost before its engine saw them: where its sockets queue them, and where its shard does.
    pub fn lost(&self) -> Result<(u64, u64)> {
        let sockets = std::fs::read_to_string(format!("/proc/{}/net/udp", self.child.id()))?;
        let port = format!(":{:04X}", self.address.port());
        let its = sockets.lines().filter(|line| {
            let local = line.split_whitespace().nth(1);
            local.is_some_and(|local| local.ends_with(&port))
        });
        let drops = its.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
        let client = self.client()?;
        let counted: Statistics = client.call(&Request::SystemStatistics)?;
        let backlog = counted.0.get("dropped.backlog").copied();
        Ok((drops.sum(), backlog.unwrap_or_default()))
    }

    /// Ends it in order: every peer is told.
    pub fn end(mut self) -> Result<()> {
        let id = self.child.id().to_string();
        ensure!(Command::new("kill").arg(&id).status()?.success(), "kill");
        let end = crate::after(Duration::from_secs(30));
        while self.child.try_wait()?.is_none() {
            ensure!(crate::until(end).is_some(), "it does not end");
            crate::pause(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
