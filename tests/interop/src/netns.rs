//! Network namespaces: made by `ip`, entered by a thread.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Role;

/// The device that joins each namespace to the other.
pub const UNDERLAY: &str = "eth0";
/// The LAC's address on the underlay.
pub const LAC: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The LNS's address on the underlay.
pub const LNS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

/// A named network namespace, removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
    /// Whether dropping it leaves it there.
    kept: bool,
}

impl Namespace {
    fn create(name: String) -> Result<Self> {
        ip(&[], &format!("netns add {name}\n"))?;
        let handle = File::open(format!("/run/netns/{name}"))?;
        Ok(Self {
            name,
            handle,
            kept: false,
        })
    }

    /// Makes one that has nothing but its loopback, named after this process and `what` it is.
    ///
    /// # Errors
    /// Not root, or `ip` failed.
    pub fn new(what: &str) -> Result<Self> {
        let made = Self::create(format!("openl2tp-{}-{what}", std::process::id()))?;
        made.ip("link set lo up\n")?;
        Ok(made)
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` in a thread inside the namespace. Sockets that it opens and programs that it starts stay there.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `work` failed.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let inside = || {
            move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter the namespace {}", self.name))?;
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|_| Err(anyhow!("a thread in the namespace {} panicked", self.name)))
    }

    /// Its devices and its IPv4 routes, as text that is the same when they are.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn state(&self) -> Result<String> {
        self.enter(|| {
            let devices = std::fs::read_to_string("/proc/thread-self/net/dev")?;
            let names = devices
                .lines()
                .skip(2)
                .filter_map(|line| line.split(':').next())
                .map(str::trim);
            let mut names: Vec<_> = names.collect();
            names.sort_unstable();
            let routes = std::fs::read_to_string("/proc/thread-self/net/route")?;
            Ok(format!("{}\n{routes}", names.join(" ")))
        })
    }

    /// What the kernel counts of UDP there, by its name in `/proc/net/snmp`.
    ///
    /// # Errors
    /// The namespace cannot be entered, or there is no such counter.
    pub fn udp(&self, counter: &str) -> Result<u64> {
        let table = self.enter(|| Ok(std::fs::read_to_string("/proc/thread-self/net/snmp")?))?;
        let mut udp = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = udp.next().zip(udp.next()).context("no UDP in the table")?;
        let mut columns = names.split(' ').zip(values.split(' '));
        let (_, count) = columns
            .find(|&(name, _)| name == counter)
            .with_context(|| format!("no {counter} in the table"))?;
        Ok(count.parse()?)
    }

    /// Runs commands of `ip` inside, one a line.
    ///
    /// # Errors
    /// One of them failed.
    pub fn ip(&self, commands: &str) -> Result<()> {
        ip(&["-n", &self.name], commands)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing to be done about a failure; `ip` said why.
            ip(&[], &format!("netns del {}\n", self.name)).ok();
        }
    }
}

/// Two namespaces and the wire between them.
#[derive(Debug)]
pub struct Bed {
    /// Where the client runs.
    pub lac: Namespace,
    /// Where the server runs.
    pub lns: Namespace,
}

impl Bed {
    /// Makes the namespaces, named after this process, and joins them. IPv6 is off on the wire, so that all that
    /// crosses it was sent by what is tested, ARP aside.
    ///
    /// # Errors
    /// Not root, or `ip` failed.
    pub fn new() -> Result<Self> {
        static BEDS: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), BEDS.fetch_add(1, Ordering::Relaxed));
        let name = |role| match number {
            0 => format!("openl2tp-{process}-{role}"),
            _ => format!("openl2tp-{process}-{number}-{role}"),
        };
        let bed = Self {
            lac: Namespace::create(name("lac"))?,
            lns: Namespace::create(name("lns"))?,
        };
        let (lac, lns) = (bed.lac.name(), bed.lns.name());
        ip(
            &[],
            &format!(
                "link add {UNDERLAY} netns {lac} type veth peer name {UNDERLAY} netns {lns}\n"
            ),
        )?;
        for (namespace, address) in [(&bed.lac, LAC), (&bed.lns, LNS)] {
            namespace.enter(|| {
                std::fs::write(
                    format!("/proc/sys/net/ipv6/conf/{UNDERLAY}/disable_ipv6"),
                    "1",
                )
                .context("cannot turn IPv6 off on the wire")
            })?;
            namespace.ip(&format!(
                "link set lo up\naddress add {address}/24 dev {UNDERLAY}\nlink set {UNDERLAY} up\n"
            ))?;
        }
        Ok(bed)
    }

    /// The same with a wire on which no frame holds more than one datagram, as one that is recorded has to be: a recording does not say where
    /// the others begin.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn to_be_recorded() -> Result<Self> {
        let bed = Self::new()?;
        for end in [&bed.lac, &bed.lns] {
            end.ip(&format!("link set {UNDERLAY} gso_max_segs 1\n"))?;
        }
        Ok(bed)
    }

    /// Turns IPv6 on, on the wire; returns the addresses of the LAC and the LNS there.
    ///
    /// # Errors
    /// `ip` failed.
    pub fn with_ipv6(&self) -> Result<(Ipv6Addr, Ipv6Addr)> {
        let address = |last| Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, last);
        let (lac, lns) = (address(1), address(2));
        for (namespace, address) in [(&self.lac, lac), (&self.lns, lns)] {
            namespace.enter(|| {
                std::fs::write(
                    format!("/proc/sys/net/ipv6/conf/{UNDERLAY}/disable_ipv6"),
                    "0",
                )
                .context("cannot turn IPv6 on")
            })?;
            namespace.ip(&format!("address add {address}/64 dev {UNDERLAY} nodad\n"))?;
        }
        Ok((lac, lns))
    }

    /// The namespace of a role.
    pub fn side(&self, role: Role) -> &Namespace {
        match role {
            Role::Lac => &self.lac,
            Role::Lns => &self.lns,
        }
    }

    /// Leaves the namespaces there when this is dropped.
    pub fn keep(&mut self) {
        self.lac.kept = true;
        self.lns.kept = true;
    }
}

/// Runs several commands in one `ip`, which matters where starting a program is dear.
fn ip(options: &[&str], commands: &str) -> Result<()> {
    let mut ip = Command::new("ip");
    ip.args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = ip.spawn().context("cannot start ip")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(commands.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "ip: {}: {}",
            commands.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
