//! Our LAC and our LNS, end to end in network namespaces: what goes through, how it ends, and what is said when it does not
//! work.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use interop::capture::{self, CDN, Capture, Extent, STOP_CCN};
use interop::netns::{self, Bed, Namespace};
use interop::ours::{self, Ours};
use interop::process::Process;
use interop::relay::Relay;
use interop::traffic::{has_address, ping, transfer};
use interop::{Auth, INNER_LAC, INNER_LNS, PASSWORD, Role, Side, Suite, USER, until};
use pcap_file::pcap::PcapReader;
use rustix::process::Signal;
use tempfile::TempDir;

/// Octets that a TCP transfer sends each way.
const TRANSFER: usize = 8_000_000;

/// How long anything may take that needs no lost packet to be noticed.
const PROMPT: Duration = Duration::from_secs(15);

/// How long a dead peer may take to be noticed and a tunnel to be made again.
const RECOVERY: Duration = Duration::from_secs(60);

/// Our LAC and our LNS in network namespaces. Needs root.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    suite: Suite,
}

/// One case; what it returns is its remark in the report.
type Case = fn(&World) -> Result<String>;

const CASES: &[(&str, Case)] = &[
    ("traffic crosses: IPv4, IPv6, TCP", traffic),
    ("an LNS calls out on the tunnel of its LAC", |world| {
        outgoing(world, Role::Lac)
    }),
    ("an LNS calls out on its own tunnel", |world| {
        outgoing(world, Role::Lns)
    }),
    ("SIGTERM to the LAC takes all down", |world| {
        sigterm(world, Role::Lac)
    }),
    ("SIGTERM to the LNS takes all down", |world| {
        sigterm(world, Role::Lns)
    }),
    ("a wrong password is told to both sides", wrong_password),
    ("a wrong tunnel secret is told", wrong_secret),
    (
        "an empty pool refuses one and spares the others",
        empty_pool,
    ),
    ("a killed LNS is dialled again", killed_lns),
    ("the LNS answers from the address asked", other_address),
    (
        "a host beside the LNS: proxy ARP there, the default route back",
        beside_the_lns,
    ),
    ("over IPv6, without checksums, on a narrow path", over_ipv6),
    (
        "over IPv6, from the address and port asked for",
        addresses_of_ipv6,
    ),
    ("listeners in other namespaces", other_namespaces),
    ("listeners come and go", listeners_at_run_time),
    ("the LAC follows an answer from another port", other_port),
    ("the port is in use", port_in_use),
    ("no privilege", no_privilege),
    ("no /dev/net/tun", no_tun),
    ("a wrong configuration line", wrong_configuration),
];

fn main() -> Result<ExitCode> {
    let Options { suite } = Options::parse();
    let programs = suite.programs()?;
    let mut report = suite.report();
    for (name, case) in CASES {
        report.case(name, || {
            let world = World::new(&programs)?;
            case(&world).with_context(|| world.story())
        });
    }
    Ok(report.conclude())
}

/// What a case has: a bed, a folder for files, and our programs.
struct World {
    bed: Bed,
    folder: TempDir,
    programs: PathBuf,
}

impl World {
    fn new(programs: &Path) -> Result<Self> {
        Ok(Self {
            bed: Bed::to_be_recorded()?,
            folder: tempfile::tempdir()?,
            programs: programs.to_owned(),
        })
    }

    fn start(&self, role: Role, configuration: &str) -> Result<Ours> {
        let name = format!("{role:?}");
        Ours::start(
            &self.programs,
            self.bed.side(role),
            self.folder.path(),
            &name,
            configuration,
        )
    }

    /// An LNS with CHAP and a tunnel secret, and a LAC that dials it.
    fn pair(&self) -> Result<(Ours, Ours)> {
        let lns = self.start(Role::Lns, &ours::lns(Auth::Chap, true))?;
        let lac = self.start(
            Role::Lac,
            &ours::lac(true, &netns::LNS.to_string(), PASSWORD),
        )?;
        Ok((lac, lns))
    }

    fn capture(&self, extent: Extent) -> Result<Capture> {
        Capture::start(
            &self.bed.lns,
            &self.folder.path().join("underlay.pcap"),
            extent,
        )
    }

    /// The daemons' logs, for the report of a failure.
    fn story(&self) -> String {
        let log = |role: Role| {
            fs::read_to_string(self.folder.path().join(format!("{role:?}.log"))).unwrap_or_default()
        };
        format!("\n-- LAC:\n{}-- LNS:\n{}", log(Role::Lac), log(Role::Lns))
    }

    /// Runs an `openl2tpd` that is to fail in the LNS's namespace: its exit status and what it says.
    fn refusal(&self, mut command: Command) -> Result<(i32, String)> {
        command.env_remove("RUST_LOG");
        let log = self.folder.path().join("refusal.log");
        let mut process = Process::spawn(&self.bed.lns, command, &log)?;
        let status = process.wait(PROMPT).with_context(|| process.log())?;
        let said = process.log().trim_end().to_owned();
        let code = status.code().context("it died of a signal")?;
        ensure!(code != 0, "it ended with status 0, saying: {said}");
        Ok((code, said))
    }

    /// As [`Self::refusal`], for what is to be said in one line that holds each of `parts`.
    fn refused(&self, command: Command, parts: &[&str]) -> Result<String> {
        let (_, said) = self.refusal(command)?;
        ensure!(said.lines().count() == 1, "not one line: {said}");
        for part in parts {
            ensure!(said.contains(part), "`{part}` is not in: {said}");
        }
        Ok(said)
    }

    /// The command line of an `openl2tpd` that is to fail.
    fn command(&self, configuration: &str) -> Result<Command> {
        Ours::command(&self.programs, self.folder.path(), "refused", configuration)
    }
}

fn traffic(world: &World) -> Result<String> {
    let capture = world.capture(Extent::All)?;
    let (lac, lns) = world.pair()?;
    let session = lac.established(PROMPT)?;
    lns.established(PROMPT)?;
    ensure!(
        session["local_ipaddr"] == INNER_LAC.to_string(),
        "the LAC's address: {session}"
    );
    ensure!(
        session["remote_ipaddr"] == INNER_LNS.to_string(),
        "the LNS's address: {session}"
    );

    let inner_v6 = session["remote_ipv6"]
        .as_str()
        .context("no link-local address of the LNS")?;
    for target in [INNER_LNS.to_string(), format!("{inner_v6}%ppp0")] {
        let received = ping(&world.bed.lac, &target, 5)?.received;
        ensure!(
            received == 5,
            "{received} of 5 pings to {target} were answered"
        );
    }
    let rate = transfer(&world.bed, INNER_LNS, TRANSFER)?;
    let users = lns.query(&["user", "list"])?;
    ensure!(users[0]["user_name"] == USER, "the LNS's users: {users}");

    drop((lac, lns));
    let outside = capture.finish()?.octets_outside();
    ensure!(
        outside == 0,
        "{outside} octets crossed outside UDP port 1701"
    );
    Ok(format!("{rate:.0} Mbit/s"))
}

/// An outgoing call on a tunnel that `opener` has opened.
fn outgoing(world: &World, opener: Role) -> Result<String> {
    let tunnel = |to| format!("tunnel create tunnel_name=office dest_ipaddr={to} persist=yes\n");
    let mut dials = format!(
        "peer profile modify profile_name=default lac_lns=laclns\n\
         session profile modify profile_name=default user_name={USER} user_password={PASSWORD} interface_name=ppp0\n"
    );
    let mut serves = ours::lns(Auth::Chap, false);
    match opener {
        Role::Lac => dials += &tunnel(netns::LNS),
        Role::Lns => serves += &tunnel(netns::LAC),
    }
    let lns = world.start(Role::Lns, &serves)?;
    let lac = world.start(Role::Lac, &dials)?;
    let id = until(RECOVERY, "an established tunnel", || {
        let tunnels = lns.tunnels()?;
        let mut up = tunnels.iter().filter(|t| t["state"] == "established");
        Ok(up.next().map(|tunnel| tunnel["tunnel_id"].to_string()))
    })?;
    let tunnel = format!("tunnel_id={id}");
    let called = ["session_type=lnoc", "called_number=5551234"];
    lns.query(&[&["session", "create", &tunnel][..], &called].concat())?;
    let at_lac = lac.established(PROMPT)?;
    let at_lns = lns.established(PROMPT)?;
    ensure!(
        at_lac["session_type"] == "laoc" && at_lac["called_number"] == "5551234",
        "the LAC's session: {at_lac}"
    );
    ensure!(at_lns["user_name"] == USER, "the LNS's session: {at_lns}");
    carries(world, "the session does not carry")?;
    Ok(String::new())
}

fn sigterm(world: &World, role: Role) -> Result<String> {
    let side = world.bed.side(role);
    let before = side.state()?;
    let capture = world.capture(Extent::Control)?;
    let (mut lac, mut lns) = world.pair()?;
    lac.established(PROMPT)?;
    lns.established(PROMPT)?;
    ensure!(side.state()? != before, "no device or route of a session");
    let (ended, other, address) = match role {
        Role::Lac => (&mut lac, &mut lns, netns::LAC),
        Role::Lns => (&mut lns, &mut lac, netns::LNS),
    };
    ended.shut_down()?;
    ensure!(
        side.state()? == before,
        "before:\n{before}after:\n{}",
        side.state()?
    );
    until(PROMPT, "the other side is done with the session", || {
        Ok(other.idle()?.then_some(()))
    })?;
    ensure!(
        !has_address(&world.bed.lac, INNER_LAC)?,
        "the LAC still has its address inside"
    );
    capture.wait_for("an acknowledged StopCCN", |seen| {
        seen.acknowledged(address, STOP_CCN)
    })?;
    Ok(String::new())
}

/// A tunnel to the LNS that is kept, and with it the reason of its last end.
fn persistent() -> String {
    format!("{} persist=yes", netns::LNS)
}

/// Waits for the reason that a LAC's session or tunnel gives for its last end.
fn last_error(lac: &Ours, of: fn(&Ours) -> Result<Vec<serde_json::Value>>) -> Result<String> {
    until(PROMPT, "a last_error", || {
        Ok(of(lac)?
            .iter()
            .find_map(|object| object["last_error"].as_str().map(str::to_owned)))
    })
}

fn wrong_password(world: &World) -> Result<String> {
    let capture = world.capture(Extent::Control)?;
    let lns = world.start(Role::Lns, &ours::lns(Auth::Chap, false))?;
    let lac = world.start(Role::Lac, &ours::lac(false, &persistent(), "wrong"))?;
    let reason = last_error(&lac, Ours::sessions)?;
    ensure!(
        reason.to_lowercase().contains("authentication"),
        "the LAC's reason: {reason}"
    );
    let said = lns.log();
    ensure!(
        said.lines()
            .any(|line| line.contains(USER) && line.contains("failed to authenticate")),
        "the LNS does not say who failed to authenticate"
    );
    capture.wait_for("a CDN", |seen| seen.has(CDN))?;
    Ok(reason)
}

fn wrong_secret(world: &World) -> Result<String> {
    let capture = world.capture(Extent::Control)?;
    let _lns = world.start(Role::Lns, &ours::lns(Auth::Chap, true))?;
    let configuration = ours::lac(true, &persistent(), PASSWORD).replace(interop::SECRET, "wrong");
    let lac = world.start(Role::Lac, &configuration)?;
    let reason = last_error(&lac, Ours::tunnels)?;
    capture.wait_for("a StopCCN", |seen| seen.has(STOP_CCN))?;
    Ok(reason)
}

fn empty_pool(world: &World) -> Result<String> {
    let configuration = ours::lns(Auth::Chap, false)
        .replace(&interop::POOL_END.to_string(), &INNER_LAC.to_string());
    let lns = world.start(Role::Lns, &configuration)?;
    let lac = world.start(Role::Lac, &ours::lac(false, &persistent(), PASSWORD))?;
    lac.established(PROMPT)?;
    let user = format!("user_name={USER}");
    let password = format!("user_password={PASSWORD}");
    lac.query(&[
        "session",
        "create",
        "tunnel_name=office",
        "session_name=second",
        &user,
        &password,
    ])?;
    let reason = last_error(&lac, Ours::sessions)?;
    ensure!(
        lns.log().contains("pool"),
        "the LNS does not say that the pool is empty"
    );
    carries(world, "the first session no longer carries")?;
    Ok(reason)
}

/// Pings cross the session, or the error is `otherwise`.
fn carries(world: &World, otherwise: &'static str) -> Result<()> {
    let pings = ping(&world.bed.lac, &INNER_LNS.to_string(), 3)?;
    ensure!(pings.received == 3, "{otherwise}: {}", pings.text);
    Ok(())
}

/// A host on a network that the LNS is in too, and forwards to.
fn neighbour(world: &World) -> Result<Namespace> {
    let host = Namespace::new("host")?;
    world.bed.lns.ip(&format!(
        "link add lan type veth peer name lan netns {}\naddress add 192.168.7.1/24 dev lan\nlink set lan up\n",
        host.name()
    ))?;
    host.ip("address add 192.168.7.9/24 dev lan\nlink set lan up\n")?;
    world
        .bed
        .lns
        .enter(|| Ok(fs::write("/proc/sys/net/ipv4/ip_forward", "1")?))?;
    Ok(host)
}

/// A subscriber with an address of a network beside the LNS: its hosts reach it where the LNS answers for it, and it them where its default
/// route leads through the session.
fn beside_the_lns(world: &World) -> Result<String> {
    let host = neighbour(world)?;
    let before = world.bed.lac.state()?;
    for (proxy_arp, default_route, expected) in
        [("no", "yes", 0), ("yes", "no", 0), ("yes", "yes", 3)]
    {
        let user = format!("password={PASSWORD}\n");
        let with_address = format!("password={PASSWORD} ip_address=192.168.7.100\n");
        let profile = "ppp profile modify profile_name=default";
        let lns = ours::lns(Auth::Chap, false).replace(&user, &with_address);
        let lns = world.start(
            Role::Lns,
            &format!("{lns}{profile} proxy_arp={proxy_arp}\n"),
        )?;
        let lac = ours::lac(false, &netns::LNS.to_string(), PASSWORD);
        let mut lac = world.start(
            Role::Lac,
            &format!("{profile} default_route={default_route}\n{lac}"),
        )?;
        lac.established(PROMPT)?;
        lns.established(PROMPT)?;
        let received = ping(&host, "192.168.7.100", 3)?.received;
        ensure!(
            received == expected,
            "proxy_arp={proxy_arp} default_route={default_route}: {received} pings of 3 were answered"
        );
        lac.shut_down()?;
        until(PROMPT, "the LNS is done with the session", || {
            Ok(lns.sessions()?.is_empty().then_some(()))
        })?;
        let left = world.bed.lns.enter(|| {
            let neighbours = Command::new("ip").args(["neigh", "show", "proxy"]).output();
            Ok(neighbours?.stdout)
        })?;
        ensure!(left.is_empty(), "{}", String::from_utf8_lossy(&left));
    }
    ensure!(
        world.bed.lac.state()? == before,
        "the LAC's routes are not as before"
    );
    Ok(String::new())
}

/// A tunnel profile with everything that changes the headers around data.
const HEADERS: &str = "tunnel profile modify profile_name=default do_pmtu_discovery=yes \
     use_udp_checksums=no control_dscp=46 use_ecn=yes\n\
     session profile modify profile_name=default session_dscp=10\n";

/// The traffic classes of L2TP's packets over IPv6 in a capture, and whether they have UDP checksums: of control messages, and of data messages.
fn headers(capture: &Path) -> Result<[BTreeSet<(u8, bool)>; 2]> {
    let mut reader = PcapReader::new(fs::File::open(capture)?)?;
    let mut seen = <[BTreeSet<_>; 2]>::default();
    while let Some(packet) = reader.next_raw_packet() {
        if let Some((ip, udp)) = udp_over_ipv6(&packet?.data) {
            let class = ip[0] << 4 | ip[1] >> 4;
            let is_data = udp[8] & 0x80 == 0;
            seen[usize::from(is_data)].insert((class, udp[6..8] != [0, 0]));
        }
    }
    Ok(seen)
}

/// The IPv6 and UDP headers of a frame that has both, each with all that follows it, which is something.
fn udp_over_ipv6(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let ip = frame.get(14..).filter(|_| frame[12..14] == [0x86, 0xdd])?;
    let udp = ip.get(40..).filter(|udp| udp.len() > 8 && ip[6] == 17)?;
    Some((ip, udp))
}

fn over_ipv6(world: &World) -> Result<String> {
    let (_, address) = world.bed.with_ipv6()?;
    let device = netns::UNDERLAY;
    world
        .bed
        .lac
        .ip(&format!("route add {address} dev {device} mtu 1400\n"))?;
    let lns = world.start(
        Role::Lns,
        &format!("{HEADERS}{}", ours::lns(Auth::Chap, false)),
    )?;
    let capture = world.capture(Extent::All)?;
    let lac = ours::lac(false, &address.to_string(), PASSWORD);
    let lac = world.start(Role::Lac, &format!("{HEADERS}{lac}"))?;
    lac.established(PROMPT)?;
    lns.established(PROMPT)?;
    let tunnel = lac.tunnels()?.into_iter().next().context("no tunnel")?;
    ensure!(tunnel["path_mtu"] == 1400, "not the path's MTU: {tunnel}");
    // 40 octets of IPv6, 8 of UDP, 10 of L2TP with the numbers that may come, at most 4 of PPP.
    let mtu = |of: &Ours| Ok::<_, anyhow::Error>(of.established(PROMPT)?["mtu"].clone());
    let (narrow, wide) = (mtu(&lac)?, mtu(&lns)?);
    let expected = (1400 - 62)..=(1400 - 59);
    ensure!(
        narrow.as_u64().is_some_and(|mtu| expected.contains(&mtu)),
        "the session's MTU is {narrow}"
    );
    ensure!(wide.as_u64() > narrow.as_u64(), "the LNS's path is wider");
    carries(world, "it does not carry")?;
    capture.finish()?;
    let seen = headers(&world.folder.path().join("underlay.pcap"))?;
    let expected = [(46 << 2, true), (10 << 2, false)].map(|one| BTreeSet::from([one]));
    ensure!(seen == expected, "traffic classes and checksums: {seen:?}");
    let rate = transfer(&world.bed, INNER_LNS, TRANSFER)?;
    Ok(format!("{rate:.0} Mbit/s with an MTU of {narrow}"))
}

/// The LAC sends from the address and port of its own that its tunnel names; the LNS answers from the second address, which was asked.
fn addresses_of_ipv6(world: &World) -> Result<String> {
    const ASKED: &str = "fd99::3";
    const OURS: &str = "fd99::4";
    const PORT: u16 = 4001;
    world.bed.with_ipv6()?;
    for (end, address) in [(&world.bed.lns, ASKED), (&world.bed.lac, OURS)] {
        let device = netns::UNDERLAY;
        end.ip(&format!("address add {address}/64 dev {device} nodad\n"))?;
    }
    let lns = world.start(Role::Lns, &ours::lns(Auth::Chap, false))?;
    let capture = world.capture(Extent::All)?;
    let dest = format!("{ASKED} src_ipaddr={OURS} our_udp_port={PORT}");
    let lac = world.start(Role::Lac, &ours::lac(false, &dest, PASSWORD))?;
    lac.established(PROMPT)?;
    lns.established(PROMPT)?;
    carries(world, "it does not carry")?;
    capture.finish()?;
    let ours = SocketAddr::new(OURS.parse()?, PORT);
    let asked = SocketAddr::new(ASKED.parse()?, capture::L2TP_PORT);
    let seen = sockets(&world.folder.path().join("underlay.pcap"))?;
    ensure!(
        seen == BTreeSet::from([ours, asked]),
        "datagrams came from {seen:?}"
    );
    Ok(String::new())
}

/// Where the UDP datagrams over IPv6 in a capture came from.
fn sockets(capture: &Path) -> Result<BTreeSet<SocketAddr>> {
    let mut reader = PcapReader::new(fs::File::open(capture)?)?;
    let mut seen = BTreeSet::new();
    while let Some(packet) = reader.next_raw_packet() {
        if let Some((ip, udp)) = udp_over_ipv6(&packet?.data) {
            let source = <[u8; 16]>::try_from(&ip[8..24])?;
            let port = u16::from_be_bytes([udp[0], udp[1]]);
            seen.insert(SocketAddr::new(Ipv6Addr::from(source).into(), port));
        }
    }
    Ok(seen)
}

/// Both daemons have nothing but their listeners in the network that joins them.
fn other_namespaces(world: &World) -> Result<String> {
    let listener = |namespace: &netns::Namespace| {
        format!(
            "listener create listener_name=wire netns={} interface_name={}\n",
            namespace.name(),
            netns::UNDERLAY
        )
    };
    let (office, home) = (
        netns::Namespace::new("office")?,
        netns::Namespace::new("home")?,
    );
    let start = |namespace: &netns::Namespace, name: &str, configuration: &str| {
        let folder = world.folder.path();
        Ours::start(&world.programs, namespace, folder, name, configuration)
    };
    let lns = ours::lns(Auth::Chap, true);
    let lns = start(
        &office,
        "Lns",
        &format!("{}{lns}", listener(&world.bed.lns)),
    )?;
    let dest = format!("{} listener_name=wire", netns::LNS);
    let lac = ours::lac(true, &dest, PASSWORD);
    let lac = start(&home, "Lac", &format!("{}{lac}", listener(&world.bed.lac)))?;
    lac.established(PROMPT)?;
    lns.established(PROMPT)?;
    for of in [&lac, &lns] {
        let tunnel = of.tunnels()?.into_iter().next().context("no tunnel")?;
        ensure!(
            tunnel["listener_name"] == "wire",
            "not its listener: {tunnel}"
        );
    }
    let received = ping(&home, &INNER_LNS.to_string(), 3)?.received;
    ensure!(received == 3, "{received} of 3 pings were answered");
    ensure!(
        !has_address(&world.bed.lac, INNER_LAC)?,
        "the device is where the listener is"
    );
    Ok(String::new())
}

fn listeners_at_run_time(world: &World) -> Result<String> {
    let here = format!(
        "listener create listener_name=first ipaddr=127.0.0.1\n{}",
        ours::lns(Auth::Chap, false)
    );
    let lns = world.start(Role::Lns, &here)?;
    let lac = world.start(Role::Lac, &ours::lac(false, &persistent(), PASSWORD))?;
    let reason = last_error(&lac, Ours::tunnels)?;
    ensure!(
        reason.contains("refused"),
        "no hint of the network's: {reason}"
    );
    let address = format!("ipaddr={}", netns::LNS);
    lns.query(&["listener", "create", "listener_name=second", &address])?;
    lac.established(RECOVERY)?;
    let taken = lns.query(&["listener", "create", "listener_name=third", &address]);
    let said = taken.map_or_else(|e| e.to_string(), |answer| answer.to_string());
    ensure!(
        said.contains("`second` has this address"),
        "the same address twice: {said}"
    );
    lns.query(&["listener", "delete", "listener_name=first"])?;
    until(PROMPT, "the address is free again", || {
        let again = [
            "listener",
            "create",
            "listener_name=third",
            "ipaddr=127.0.0.1",
        ];
        Ok(lns.query(&again).ok())
    })?;
    carries(world, "the session no longer carries")?;
    Ok(reason)
}

fn killed_lns(world: &World) -> Result<String> {
    let configuration = ours::lns(Auth::Chap, false);
    let mut lns = world.start(Role::Lns, &configuration)?;
    let tunnel = format!("{} hello_timeout=2 max_retries=2", persistent());
    let lac = world.start(Role::Lac, &ours::lac(false, &tunnel, PASSWORD))?;
    lac.established(PROMPT)?;
    lns.process().signal(Signal::KILL)?;
    lns.process().wait(PROMPT)?;
    drop(lns);
    // Over what the killed daemon left: its pid file and its socket.
    let lns = world.start(Role::Lns, &configuration)?;
    lns.established(RECOVERY)?;
    lac.established(PROMPT)?;
    carries(world, "the new session does not carry")?;
    Ok(String::new())
}

fn other_address(world: &World) -> Result<String> {
    const SECOND: &str = "10.99.0.3";
    world.bed.lns.ip(&format!(
        "address add {SECOND}/24 dev {}\n",
        netns::UNDERLAY
    ))?;
    let capture = world.capture(Extent::Control)?;
    let _lns = world.start(Role::Lns, &ours::lns(Auth::Chap, false))?;
    let lac = world.start(Role::Lac, &ours::lac(false, SECOND, PASSWORD))?;
    lac.established(PROMPT)?;
    carries(world, "the session does not carry")?;
    let elsewhere = capture
        .so_far()?
        .controls()
        .any(|sent| *sent.from.ip() == netns::LNS);
    ensure!(
        !elsewhere,
        "an answer came from another address:\n{}",
        capture.ladder()
    );
    Ok(String::new())
}

fn other_port(world: &World) -> Result<String> {
    const SERVER: u16 = 1702;
    const ANSWERING: u16 = 4000;
    let mut command = Ours::command(
        &world.programs,
        world.folder.path(),
        "Lns",
        &ours::lns(Auth::Chap, false),
    )?;
    command.args(["-u", &SERVER.to_string()]);
    let _lns = Process::spawn(
        &world.bed.lns,
        command,
        &world.folder.path().join("Lns.log"),
    )?;
    let _relay = Relay::start(&world.bed.lns, capture::L2TP_PORT, ANSWERING, SERVER)?;
    let lac = world.start(Role::Lac, &ours::lac(false, &persistent(), PASSWORD))?;
    lac.established(PROMPT)?;
    carries(world, "the session does not carry")?;
    let remote = lac
        .tunnels()?
        .first()
        .map(|tunnel| tunnel["remote"].to_string())
        .unwrap_or_default();
    ensure!(
        remote.contains(&format!(":{ANSWERING}")),
        "the LAC's peer is {remote}"
    );
    Ok(String::new())
}

fn port_in_use(world: &World) -> Result<String> {
    let configuration = ours::lns(Auth::Chap, false);
    let _first = world.start(Role::Lns, &configuration)?;
    world.refused(world.command(&configuration)?, &["1701", "in use"])
}

fn no_privilege(world: &World) -> Result<String> {
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-net_admin");
    world.refused(
        through(command, &world.command(&ours::lns(Auth::Chap, false))?),
        &["CAP_NET_ADMIN"],
    )
}

/// `inner` started by another program, which takes it as the last of its arguments.
fn through(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    outer
}

fn no_tun(world: &World) -> Result<String> {
    // A mount namespace of its own, in which the folder of the device is empty.
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none /dev/net && exec \"$@\"",
        "sh",
    ]);
    world.refused(
        through(command, &world.command(&ours::lns(Auth::Chap, false))?),
        &["/dev/net/tun"],
    )
}

fn wrong_configuration(world: &World) -> Result<String> {
    let configuration = format!(
        "{}tunnel create tunnel_nmae=x\n",
        ours::lns(Auth::Chap, false)
    );
    let place = format!("refused.conf:{}:15", configuration.lines().count());
    let (status, said) = world.refusal(world.command(&configuration)?)?;
    ensure!(status == 2, "exit status {status}");
    for part in [place.as_str(), "tunnel_name"] {
        ensure!(said.contains(part), "`{part}` is not in: {said}");
    }
    Ok(place)
}
