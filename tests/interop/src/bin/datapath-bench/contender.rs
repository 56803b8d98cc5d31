//! What is compared: two ends in namespaces of their own, the way between them, and a host behind the server.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use interop::l2tpns::L2tpns;
use interop::netns::{self, Bed, Namespace, UNDERLAY};
use interop::ours::{self, Ours};
use interop::process::Process;
use interop::traffic::has_address;
use interop::{Auth, INNER_LAC, INNER_LNS, PASSWORD, Side, USER, until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::loops::{Ends, Loop};

/// The network of the host behind the server, and the two on it.
const LAN: &str = "10.97.0.0/24";
const LAN_LNS: &str = "10.97.0.1/24";
const HOST: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 2);

/// What carries packets between the ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Nothing: the wire.
    Veth,
    /// The kernel's own tunnel.
    Vxlan,
    /// Our engine in user space.
    Tun,
    /// Our programs in the kernel, without UDP checksums.
    Ebpf,
    /// Our programs with UDP checksums, as they are by default.
    EbpfSums,
    /// Whatever ours chooses.
    Auto,
    /// Our client and another's server.
    L2tpns,
    /// A call for each packet.
    Naive,
    /// The copies alone that user space cannot be without.
    Copies,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Veth,
        Self::Vxlan,
        Self::Tun,
        Self::Ebpf,
        Self::EbpfSums,
        Self::Auto,
        Self::L2tpns,
        Self::Naive,
        Self::Copies,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Veth => "veth",
            Self::Vxlan => "vxlan",
            Self::Tun => "tun",
            Self::Ebpf => "ebpf",
            Self::EbpfSums => "ebpf-sums",
            Self::Auto => "auto",
            Self::L2tpns => "l2tpns",
            Self::Naive => "naive",
            Self::Copies => "copies",
        }
    }
}

/// What the wire is like.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Mode {
    /// As veth is: what is larger than a frame crosses it whole.
    Full,
    /// As a plain network card is: no frame is larger than 1500 octets, and the receiver may merge them.
    Wire,
}

impl Mode {
    pub(crate) const ALL: [Self; 2] = [Self::Full, Self::Wire];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Wire => "wire",
        }
    }

    fn features(self) -> &'static [&'static str] {
        match self {
            Self::Full => &[
                "tso",
                "on",
                "gro",
                "off",
                "tx-udp-segmentation",
                "on",
                "tx-udp_tnl-segmentation",
                "on",
            ],
            Self::Wire => &[
                "tso",
                "off",
                "gro",
                "on",
                "tx-udp-segmentation",
                "off",
                "tx-udp_tnl-segmentation",
                "off",
            ],
        }
    }
}

/// What is kept running for it.
#[expect(dead_code, reason = "they run until they are dropped")]
enum Running {
    Nothing,
    Loops(Ends),
    Ours(Ours, Ours),
    L2tpns(L2tpns, Ours),
}

/// One that takes part.
pub(crate) struct Contender {
    pub(crate) kind: Kind,
    running: Running,
    _iperf: [Process; 2],
    bed: Bed,
    host: Namespace,
    folder: TempDir,
}

/// The ends of a transfer.
pub(crate) struct Way<'a> {
    pub(crate) from: &'a Namespace,
    pub(crate) to: &'a Namespace,
    pub(crate) address: Ipv4Addr,
}

impl Contender {
    pub(crate) fn set_up(kind: Kind, programs: &Path) -> Result<Self> {
        let bed = Bed::new()?;
        let folder = tempfile::tempdir()?;
        let host = behind(&bed)?;
        let running = match kind {
            Kind::Veth => Running::Nothing,
            Kind::Vxlan => vxlan(&bed)?,
            Kind::Naive => Running::Loops(Ends::start(&bed, Loop::Naive)?),
            Kind::Copies => Running::Loops(Ends::start(&bed, Loop::Copies)?),
            Kind::Tun | Kind::Ebpf | Kind::EbpfSums | Kind::Auto => {
                ours(&bed, kind, folder.path(), programs)?
            }
            Kind::L2tpns => {
                let lns = L2tpns::start(&bed, folder.path(), Auth::Chap)?;
                Running::L2tpns(lns, dial(&bed, kind, folder.path(), programs)?)
            }
        };
        let via = match kind {
            Kind::Veth => format!("via {}", netns::LNS),
            Kind::Vxlan => format!("via {INNER_LNS}"),
            _ => format!("dev {}", device(kind)),
        };
        bed.lac.ip(&format!("route replace {LAN} {via}\n"))?;
        let iperf = [("lns", &bed.lns), ("host", &host)].map(|(name, namespace)| {
            let mut command = Command::new("iperf3");
            command.arg("--server");
            let log = folder.path().join(format!("iperf-{name}.log"));
            Process::spawn(namespace, command, &log)
        });
        let [lns, host_iperf] = iperf;
        let this = Self {
            kind,
            running,
            _iperf: [lns?, host_iperf?],
            bed,
            host,
            folder,
        };
        for way in [this.to_lns(), this.to_host()] {
            let target = way.address.to_string();
            until(Duration::from_secs(20), "the other end answers", || {
                let pings = interop::traffic::ping(way.from, &target, 1)?;
                Ok((pings.received == 1).then_some(()))
            })?;
        }
        Ok(this)
    }

    /// To the server itself.
    pub(crate) fn to_lns(&self) -> Way<'_> {
        let address = match self.kind {
            Kind::Veth => netns::LNS,
            _ => INNER_LNS,
        };
        Way {
            from: &self.bed.lac,
            to: &self.bed.lns,
            address,
        }
    }

    /// To the host behind it.
    pub(crate) fn to_host(&self) -> Way<'_> {
        Way {
            from: &self.bed.lac,
            to: &self.host,
            address: HOST,
        }
    }

    pub(crate) fn set_mode(&self, mode: Mode) -> Result<()> {
        let wires = [
            (&self.bed.lac, UNDERLAY),
            (&self.bed.lns, UNDERLAY),
            (&self.bed.lns, "lan"),
            (&self.host, "lan"),
        ];
        for (namespace, device) in wires {
            let status = namespace.enter(|| {
                let mut ethtool = Command::new("ethtool");
                ethtool.args(["-K", device]).args(mode.features());
                ethtool.stdout(std::process::Stdio::null());
                ethtool.status().context("cannot run ethtool")
            })?;
            ensure!(status.success(), "ethtool -K {device}: {status}");
        }
        Ok(())
    }

    /// Who carries the session of ours at each end, and which part of its octets programs in the kernel.
    pub(crate) fn carried(&self) -> Result<Option<Value>> {
        let Running::Ours(lns, lac) = &self.running else {
            return Ok(None);
        };
        let lns = carried_at(lns, &self.bed.lns, "l2tp0")?;
        Ok(Some(json!({
            "lns": lns,
            "lac": carried_at(lac, &self.bed.lac, device(self.kind))?,
        })))
    }

    /// So many more sessions of the server, which carry nothing, of a client of its own.
    pub(crate) fn crowd(&self, count: u32, programs: &Path) -> Result<Ours> {
        let sessions: String = (0..count)
            .map(|i| format!("session create tunnel_name=t{} session_name=s{i} user_name={USER} user_password={PASSWORD}\n", i / 1000))
            .collect();
        let tunnels: String = (0..count.div_ceil(1000))
            .map(|i| {
                format!(
                    "tunnel create tunnel_name=t{i} dest_ipaddr={}\n",
                    netns::LNS
                )
            })
            .collect();
        let configuration = tunnels + &sessions;
        let mut command = Ours::command(programs, self.folder.path(), "crowd", &configuration)?;
        command.args(["--datapath", "null", "-u", "1702"]);
        let crowd = Ours::run(
            command,
            programs,
            &self.bed.lac,
            self.folder.path(),
            "crowd",
        )?;
        until(Duration::from_secs(120), "every session is up", || {
            std::thread::sleep(Duration::from_millis(200));
            let status = crowd.query(&["system", "show"])?;
            Ok((status["sessions_established"].as_u64() == Some(count.into())).then_some(()))
        })?;
        Ok(crowd)
    }

    /// What its programs wrote, for a failure.
    pub(crate) fn story(&self) -> String {
        let log =
            |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!(
            "{}\nlac:\n{}lns:\n{}",
            self.kind.name(),
            log("lac.log"),
            log("lns.log")
        )
    }
}

/// The engine of a daemon's session, and which parts of its octets and its packets programs in the kernel carried.
fn carried_at(daemon: &Ours, namespace: &Namespace, device: &str) -> Result<Value> {
    let session = daemon.established(Duration::from_secs(5))?;
    if session["datapath"] != "ebpf" {
        return Ok(json!({ "datapath": session["datapath"] }));
    }
    Ok(json!({
        "datapath": session["datapath"],
        "octets_by_programs": octets_by_programs(daemon, namespace, device)?,
        "packets_by_programs": packets_by_programs(daemon)?,
    }))
}

/// Octets that did not go through the TUN device, by all: the kernel's count of what came to user space, not ours.
fn octets_by_programs(daemon: &Ours, namespace: &Namespace, device: &str) -> Result<f64> {
    let through = daemon.traffic()?.context("no traffic")?;
    let shown = namespace.enter(|| {
        let mut ip = Command::new("ip");
        ip.args(["-s", "-j", "link", "show", device]);
        Ok(ip.output()?.stdout)
    })?;
    let shown: Value = serde_json::from_slice(&shown)?;
    let on_device = &shown[0]["stats64"];
    let all = sum([&through["rx_bytes"], &through["tx_bytes"]])?;
    let left = sum([&on_device["rx"]["bytes"], &on_device["tx"]["bytes"]])?;
    Ok(part((all - left).max(0.0), all))
}

/// Packets as they are on the wire, which a TUN device does not count: there a super-packet is one.
fn packets_by_programs(daemon: &Ours) -> Result<f64> {
    let statistics = daemon.query(&["system", "show", "statistics"])?;
    let packets = |engine: &str| {
        let name = |way| format!("engines.{engine}.{way}_packets");
        sum(["rx", "tx"].map(|way| &statistics[name(way)]))
    };
    let (programs, tun) = (packets("ebpf")?, packets("tun")?);
    Ok(part(programs, programs + tun))
}

/// Of both directions. A counter that is missing must not pass for one at zero.
fn sum(both: [&Value; 2]) -> Result<f64> {
    let figures = both.map(|value| value.as_f64().context("no such counter"));
    figures.into_iter().sum()
}

fn part(of: f64, all: f64) -> f64 {
    (of / all.max(1.0) * 1e4).round() / 1e4
}

fn device(kind: Kind) -> &'static str {
    match kind {
        Kind::Veth => UNDERLAY,
        Kind::Vxlan => "vx0",
        Kind::Naive | Kind::Copies => "loop0",
        Kind::Tun | Kind::Ebpf | Kind::EbpfSums | Kind::Auto | Kind::L2tpns => "ppp0",
    }
}

/// A host that the server routes to.
fn behind(bed: &Bed) -> Result<Namespace> {
    let host = Namespace::new(&format!("host-of-{}", bed.lns.name()))?;
    bed.lns.ip(&format!(
        "link add lan type veth peer name lan netns {}\naddress add {LAN_LNS} dev lan\nlink set lan up\n",
        host.name()
    ))?;
    host.ip(&format!(
        "address add {HOST}/24 dev lan\nlink set lan up\nroute add default via 10.97.0.1\n"
    ))?;
    bed.lns
        .enter(|| Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))?;
    Ok(host)
}

fn vxlan(bed: &Bed) -> Result<Running> {
    let ends = [
        (&bed.lac, netns::LAC, netns::LNS, INNER_LAC),
        (&bed.lns, netns::LNS, netns::LAC, INNER_LNS),
    ];
    for (namespace, local, remote, inner) in ends {
        namespace.ip(&format!(
            "link add vx0 type vxlan id 7 local {local} remote {remote} dstport 4789\naddress add {inner}/24 dev vx0\nlink set vx0 up\n"
        ))?;
    }
    Ok(Running::Nothing)
}

fn ours(bed: &Bed, kind: Kind, folder: &Path, programs: &Path) -> Result<Running> {
    let configuration = profiles(kind)
        + &format!(
            "ppp profile modify profile_name=default local_ipaddr={INNER_LNS} ip_pool_name=pool\n\
         ip_pool create pool_name=pool range={INNER_LAC}-10.0.255.254\n\
         user create user_name={USER} password={PASSWORD}\n"
        );
    let lns = Ours::start(programs, &bed.lns, folder, "lns", &configuration)?;
    let lac = dial(bed, kind, folder, programs)?;
    Ok(Running::Ours(lns, lac))
}

/// What both of our ends have.
fn profiles(kind: Kind) -> String {
    let datapath = match kind {
        Kind::Tun => "tun",
        Kind::Ebpf | Kind::EbpfSums => "ebpf",
        _ => "auto",
    };
    // Of a super-packet whose last segment is shorter than the others programs can't say the checksums, and leave it to `tun`.
    let checksums = match kind {
        Kind::Ebpf => "tunnel profile modify profile_name=default use_udp_checksums=no\n",
        _ => "",
    };
    format!("session profile modify profile_name=default datapath={datapath}\n{checksums}")
}

fn dial(bed: &Bed, kind: Kind, folder: &Path, programs: &Path) -> Result<Ours> {
    let configuration = profiles(kind) + &ours::lac(false, &netns::LNS.to_string(), PASSWORD);
    let lac = Ours::start(programs, &bed.lac, folder, "lac", &configuration)?;
    until(
        Duration::from_secs(40),
        "the client has its address",
        || Ok(has_address(&bed.lac, INNER_LAC)?.then_some(())),
    )?;
    Ok(lac)
}
