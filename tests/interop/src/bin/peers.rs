//! xl2tpd and pppd against our daemon, in both directions, in User-Mode Linux: `cargo xtask test --only peers` with our sessions on TUN devices,
//! `--only kernel` with those of one end or both in the kernel.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that measures reads the clock"
)]

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use interop::capture::{CDN, Capture, Extent, Recording, STOP_CCN};
use interop::netns::{self, Bed, Namespace};
use interop::ours::{self, Ours};
use interop::traffic::{has_address, ping, transfer};
use interop::xl2tpd::{Settings, Xl2tpd};
use interop::{Auth, INNER_LAC, INNER_LNS, Mppe, PASSWORD, Role, Side, Suite, until};
use rustix::mount::{MountFlags, mount};

/// Octets that the TCP transfer sends each way.
const TRANSFER: usize = 2_000_000;

/// How long a session may take to come up, or to be gone: pppd's timers are 3 seconds, and programs start slowly here.
const PATIENCE: Duration = Duration::from_secs(40);

/// xl2tpd and pppd against openl2tpd.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    suite: Suite,
    /// Our sessions are in the kernel, which its own counters have to confirm.
    #[arg(long)]
    kernel: bool,
    /// Leave our daemon out: xl2tpd against xl2tpd, which shows whether the test bed itself works.
    #[arg(long)]
    control: bool,
}

/// A program at one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Xl2tpd,
    /// openl2tpd, whose datapath is `tun`.
    Tun,
    /// openl2tpd, whose datapath is the kernel's.
    Kernel,
    /// The same, with pppd as its PPP.
    Pppd,
}

impl Program {
    /// Its sessions are ours, in the kernel.
    fn is_in_kernel(self) -> bool {
        matches!(self, Self::Kernel | Self::Pppd)
    }

    /// PPP in it is ours.
    fn speaks_ppp(self) -> bool {
        matches!(self, Self::Kernel | Self::Tun)
    }
}

/// How the session ends.
#[derive(Clone, Copy, Debug)]
struct Ending {
    by: Role,
    /// The whole tunnel, with StopCCN; or else the session alone, with CDN.
    tunnel: bool,
}

impl Ending {
    const ALL: [Self; 4] = [
        Self {
            by: Role::Lac,
            tunnel: false,
        },
        Self {
            by: Role::Lns,
            tunnel: true,
        },
        Self {
            by: Role::Lac,
            tunnel: true,
        },
        Self {
            by: Role::Lns,
            tunnel: false,
        },
    ];
}

impl Ending {
    /// Who sends what.
    fn on_the_wire(self) -> (Ipv4Addr, u16) {
        let from = if self.by == Role::Lac {
            netns::LAC
        } else {
            netns::LNS
        };
        (from, if self.tunnel { STOP_CCN } else { CDN })
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    lac: Program,
    lns: Program,
    auth: Auth,
    secret: bool,
    /// Data messages have sequence numbers, both ways.
    sequenced: bool,
    /// Packets are encrypted.
    mppe: Option<Mppe>,
    ending: Ending,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |program| match program {
            Program::Xl2tpd => "xl2tpd",
            Program::Tun => "openl2tpd",
            Program::Kernel => "ours/kernel",
            Program::Pppd => "ours/pppd",
        };
        let secret = match (self.secret, self.sequenced) {
            _ if self.mppe.is_some() => "mppe",
            (false, false) => "open",
            (true, false) => "secret",
            (false, true) => "seq",
            (true, true) => "hidden seq",
        };
        let message = if self.ending.tunnel { "StopCCN" } else { "CDN" };
        let by = if self.ending.by == Role::Lac {
            "LAC"
        } else {
            "LNS"
        };
        let (lac, lns) = (name(self.lac), name(self.lns));
        write!(
            f,
            "{lac:>11} -> {lns:<11} {:<8} {secret:<10} {message:>7} by {by}",
            self.auth
        )?;
        self.mppe.map_or(Ok(()), |mppe| write!(f, ", {mppe}"))
    }
}

fn main() -> Result<ExitCode> {
    let Options {
        suite,
        kernel,
        control,
    } = Options::parse();
    prepare()?;
    let programs = suite.programs()?;
    let mut report = suite.report();
    let directions: &[_] = match (control, kernel) {
        (true, _) => &[(Program::Xl2tpd, Program::Xl2tpd)],
        (_, false) => &[
            (Program::Xl2tpd, Program::Tun),
            (Program::Tun, Program::Xl2tpd),
        ],
        (_, true) => &[
            (Program::Xl2tpd, Program::Kernel),
            (Program::Kernel, Program::Xl2tpd),
            (Program::Tun, Program::Kernel),
            (Program::Kernel, Program::Tun),
            (Program::Kernel, Program::Kernel),
            (Program::Xl2tpd, Program::Pppd),
            (Program::Pppd, Program::Xl2tpd),
            (Program::Tun, Program::Pppd),
            (Program::Kernel, Program::Pppd),
            (Program::Pppd, Program::Kernel),
            (Program::Pppd, Program::Pppd),
        ],
    };
    let cases = match kernel {
        true => pairwise(directions),
        false => cases(directions),
    };
    for case in cases {
        report.case(&case.to_string(), || run(case, &programs));
    }
    Ok(report.conclude())
}

/// Makes the folders of pppd and xl2tpd our own. They are the host's otherwise, whose files are not ours to write.
fn prepare() -> Result<()> {
    let machine = std::fs::read_to_string("/proc/cpuinfo")?;
    ensure!(
        machine.contains("User Mode Linux"),
        "run this in User-Mode Linux: it covers /etc/ppp and /etc/xl2tpd"
    );
    for folder in ["/etc/ppp", "/etc/xl2tpd"] {
        mount("tmpfs", folder, "tmpfs", MountFlags::empty(), None)
            .with_context(|| format!("cannot cover {folder}"))?;
    }
    Ok(())
}

/// How packets may be encrypted between these. The kernel has no keys of 56 bits, and pppd is asked of each of its own.
fn encryptions(lac: Program, lns: Program) -> Vec<Mppe> {
    let mut lengths = vec![128, 40];
    if ![lac, lns].contains(&Program::Xl2tpd) {
        lengths.truncate(1);
    }
    let mppe = |bits| [false, true].map(|stateful| Mppe { bits, stateful });
    lengths.into_iter().flat_map(mppe).collect()
}

/// In each direction every authentication, with and without a secret, and every encryption; the endings in turn.
fn cases(directions: &[(Program, Program)]) -> Vec<Case> {
    let mut endings = Ending::ALL.into_iter().cycle();
    let mut cases = Vec::new();
    for &(lac, lns) in directions {
        for secret in [false, true] {
            for auth in Auth::ALL {
                cases.extend(endings.next().map(|ending| Case {
                    lac,
                    lns,
                    auth,
                    secret,
                    sequenced: false,
                    mppe: None,
                    ending,
                }));
            }
        }
        for mppe in encryptions(lac, lns) {
            cases.extend(endings.next().map(|ending| Case {
                lac,
                lns,
                auth: Auth::MsChapV2,
                secret: false,
                sequenced: false,
                mppe: Some(mppe),
                ending,
            }));
        }
        for secret in [false, true] {
            cases.extend(endings.next().map(|ending| Case {
                lac,
                lns,
                auth: Auth::Chap,
                secret,
                sequenced: true,
                mppe: None,
                ending,
            }));
        }
    }
    cases
}

/// In each direction every authentication and every ending, with and without a secret and numbers, and encrypted, with xl2tpd by either length;
/// any two of these meet in some direction.
fn pairwise(directions: &[(Program, Program)]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (direction, &(lac, lns)) in directions.iter().enumerate() {
        let ending = |number| Ending::ALL[(number + direction) % 4];
        for (number, auth) in Auth::ALL.into_iter().enumerate() {
            let mix = number ^ (direction / 2);
            cases.push(Case {
                lac,
                lns,
                auth,
                secret: mix & 1 != 0,
                sequenced: mix & 2 != 0,
                mppe: None,
                ending: ending(number),
            });
        }
        let mut lengths = vec![128, 40];
        if ![lac, lns].contains(&Program::Xl2tpd) {
            // One of the two, in turn.
            lengths.remove(direction % 2);
        }
        for (number, bits) in lengths.into_iter().enumerate() {
            // Two pppds agree on stateless mode, whatever they may.
            let ours = [lac, lns].iter().any(|program| program.speaks_ppp());
            let stateful = ours && (number + direction) % 2 == 1;
            cases.push(Case {
                lac,
                lns,
                auth: Auth::MsChapV2,
                secret: direction % 2 == 1,
                sequenced: false,
                mppe: Some(Mppe { bits, stateful }),
                ending: ending(number),
            });
        }
    }
    cases
}

fn run(case: Case, programs: &Path) -> Result<String> {
    let bed = Bed::to_be_recorded()?;
    let folder = tempfile::tempdir_in("/run")?;
    let capture = Capture::start(
        &bed.lns,
        &folder.path().join("underlay.pcap"),
        Extent::Control,
    )?;
    let backlog = backlog_drops()?;
    let all = if case.sequenced || case.mppe.is_some() {
        let file = folder.path().join("data.pcap");
        Some(Capture::start(&bed.lns, &file, Extent::All)?)
    } else {
        None
    };
    let mut lns = start(case, Role::Lns, &bed, folder.path(), programs)?;
    let mut lac = match start(case, Role::Lac, &bed, folder.path(), programs) {
        Ok(lac) => lac,
        Err(error) => return Err(error.context(format!("LNS:\n{}", lns.log()))),
    };
    let lived = live(case, &bed, &mut *lac, &mut *lns, &capture);
    let counted = match all.map(Capture::finish).transpose() {
        Ok(Some(recording)) if lived.is_ok() && case.sequenced => {
            is_sequenced(&recording, &bed, backlog)
        }
        Ok(Some(recording)) if lived.is_ok() => is_encrypted(&recording),
        other => other.map(drop),
    };
    lived
        .and_then(|text| counted.map(|()| text))
        .with_context(|| {
            let ladder = capture.ladder();
            format!(
                "{case}\n-- LAC:\n{}\n-- LNS:\n{}\n-- underlay:\n{ladder}",
                lac.log(),
                lns.log()
            )
        })
}

fn start(
    case: Case,
    role: Role,
    bed: &Bed,
    folder: &Path,
    programs: &Path,
) -> Result<Box<dyn Side>> {
    let (program, name) = match role {
        Role::Lac => (case.lac, "lac"),
        Role::Lns => (case.lns, "lns"),
    };
    Ok(match program {
        Program::Xl2tpd => {
            let settings = Settings {
                auth: case.auth,
                secret: case.secret,
                sequenced: case.sequenced,
                mppe: case.mppe,
            };
            Box::new(Xl2tpd::start(bed, folder, role, settings)?)
        }
        Program::Tun | Program::Kernel | Program::Pppd => {
            let mut configuration = match role {
                Role::Lac => ours::lac(case.secret, &netns::LNS.to_string(), PASSWORD),
                Role::Lns => ours::lns(case.auth, case.secret),
            };
            if case.sequenced {
                configuration.push_str(ours::SEQUENCED);
            }
            configuration.extend(case.mppe.map(ours::encrypted));
            let datapath = if program == Program::Tun {
                "tun"
            } else {
                "kernel"
            };
            configuration.push_str(&format!(
                "session profile modify profile_name=default datapath={datapath}\n"
            ));
            if program == Program::Pppd {
                configuration.push_str(ours::PPPD);
            }
            if role == Role::Lac && case.auth == Auth::MsChapV1 {
                configuration.push_str(ours::MSCHAPV1);
            }
            Box::new(Ours::start(
                programs,
                bed.side(role),
                folder,
                name,
                &configuration,
            )?)
        }
    })
}

/// Both sides numbered their data messages, one after the other, from the first that they numbered on; but for those that their own socket had
/// no room for, that the kernel dropped between the two ends since it had dropped `backlog`, and that tcpdump was too slow for.
fn is_sequenced(recording: &Recording, bed: &Bed, backlog: u64) -> Result<()> {
    let backlog = backlog_drops()?.saturating_sub(backlog);
    for (from, place) in [(netns::LAC, &bed.lac), (netns::LNS, &bed.lns)] {
        let unsent = unsent_datagrams(place)? + backlog;
        let numbers = recording.numbers(from);
        let (mut expected, mut count, mut skipped) = (0_u16, 0, 0);
        for ns in numbers.iter().skip_while(|ns| ns.is_none()) {
            let ns = ns.with_context(|| format!("{from} stopped numbering after {count}"))?;
            skipped += u64::from(ns.wrapping_sub(expected));
            ensure!(
                skipped <= recording.missed + unsent,
                "{from} sent {ns} where {expected} was due, {unsent} did not leave, and tcpdump missed {} frames",
                recording.missed
            );
            expected = ns.wrapping_add(1);
            count += 1;
        }
        let without = numbers.len() - count;
        ensure!(
            count > TRANSFER / 1500 && without < 10,
            "{from} sent {count} messages with numbers and {without} without"
        );
    }
    Ok(())
}

/// Both sides sent the transfer encrypted, and not one packet in clear.
fn is_encrypted(recording: &Recording) -> Result<()> {
    for from in [netns::LAC, netns::LNS] {
        let protocols = recording.protocols(from);
        let count = |protocol| protocols.get(&protocol).copied().unwrap_or(0);
        let (clear, encrypted) = (count(0x21) + count(0x57), count(0xfd));
        ensure!(
            clear == 0 && encrypted > TRANSFER / 1500,
            "{from} sent {clear} packets in clear and {encrypted} encrypted"
        );
    }
    Ok(())
}

/// Where a side counts what went through its session, it has seen numbers both ways, and missed those only that its socket had no room
/// for: on the one processor of the machine it may have to wait for the sender.
/// Of a side whose sessions are the kernel's, `missing` datagrams never came: the driver gives up on the order only when four more came in vain.
fn check_counters(
    side: &dyn Side,
    program: Program,
    place: &Namespace,
    missing: u64,
) -> Result<()> {
    let Some(traffic) = side.traffic()? else {
        return Ok(());
    };
    for flag in ["tx_sequenced", "rx_sequenced"] {
        ensure!(traffic[flag] == true, "{flag}: {traffic}");
    }
    let dropped = dropped_datagrams(place)?;
    let lost = traffic["rx_lost"].as_u64();
    ensure!(
        lost.is_some_and(|lost| lost <= dropped),
        "{dropped} dropped by the socket: {traffic}"
    );
    let discarded = traffic["rx_discarded"].as_u64();
    let most = match program {
        Program::Kernel | Program::Pppd => 5 * missing,
        Program::Tun | Program::Xl2tpd => 0,
    };
    ensure!(
        discarded.is_some_and(|discarded| discarded <= most),
        "rx_discarded, of which {most} may be: {traffic}"
    );
    for none in ["rx_out_of_order", "rx_unnumbered"] {
        ensure!(traffic[none] == 0, "{none}: {traffic}");
    }
    for many in ["rx_packets", "tx_packets"] {
        let count = traffic[many].as_u64().unwrap_or(0);
        ensure!(count > TRANSFER as u64 / 1500, "{many}: {traffic}");
    }
    Ok(())
}

/// The only session of a namespace is the kernel's, which carried the transfer both ways.
fn is_in_kernel(place: &Namespace) -> Result<()> {
    let table = place.enter(|| Ok(std::fs::read_to_string("/proc/thread-self/net/pppol2tp")?))?;
    let mut lines = table.lines();
    // A tunnel has a session 0 that is only its own.
    let is_session = |line: &str| line.contains("SESSION '") && !line.contains("/0' ");
    let session = lines.position(is_session);
    session.with_context(|| format!("no session: {table}"))?;
    // Then its options, then `nr/ns packets/octets/errors packets/octets/errors`, sent and received.
    let counts = lines.nth(1).unwrap_or_default();
    let packets = counts.split_whitespace().skip(1).map(|count| {
        let packets = count.split('/').next().unwrap_or_default();
        packets.parse::<usize>()
    });
    let packets: Vec<_> = packets.collect::<Result<_, _>>()?;
    ensure!(
        packets.len() == 2 && packets.iter().all(|&count| count > TRANSFER / 1500),
        "the kernel did not carry the transfer: {table}"
    );
    Ok(())
}

/// How many datagrams the sockets of a namespace had no room for: the last column of its table of them.
fn dropped_datagrams(place: &Namespace) -> Result<u64> {
    let table = place.enter(|| Ok(std::fs::read_to_string("/proc/thread-self/net/udp")?))?;
    let drops = table.lines().skip(1).map(|line| {
        let last = line.split_whitespace().last().unwrap_or_default();
        last.parse::<u64>()
    });
    Ok(drops.sum::<Result<u64, _>>()?)
}

/// How many datagrams of a namespace did not leave because a socket's send queue was full.
fn unsent_datagrams(place: &Namespace) -> Result<u64> {
    place.udp("SndbufErrors")
}

/// How many packets the machine dropped because a processor's queue of received ones was full: a veth pair's other end gets its packets there.
fn backlog_drops() -> Result<u64> {
    let table = std::fs::read_to_string("/proc/net/softnet_stat")?;
    let drops = table.lines().map(|line| {
        let dropped = line.split_whitespace().nth(1).unwrap_or_default();
        u64::from_str_radix(dropped, 16)
    });
    Ok(drops.sum::<Result<u64, _>>()?)
}

/// The session's life: it comes up, carries traffic and ends, and nothing is left of it.
fn live<'a>(
    case: Case,
    bed: &Bed,
    lac: &'a mut (dyn Side + 'static),
    lns: &'a mut (dyn Side + 'static),
    capture: &Capture,
) -> Result<String> {
    let began = Instant::now();
    let backlog = backlog_drops()?;
    until(PATIENCE, "the LAC has its address", || {
        Ok(has_address(&bed.lac, INNER_LAC)?.then_some(()))
    })?;
    let up = began.elapsed().as_secs_f64();
    let rate = transfer(bed, INNER_LNS, TRANSFER)?;
    let received = ping(&bed.lac, &INNER_LNS.to_string(), 3)?.received;
    ensure!(received == 3, "{received} of 3 pings were answered");
    if case.sequenced {
        let unsent = unsent_datagrams(&bed.lac)? + unsent_datagrams(&bed.lns)?;
        let missing = unsent + backlog_drops()?.saturating_sub(backlog);
        check_counters(lac, case.lac, &bed.lac, missing)?;
        check_counters(lns, case.lns, &bed.lns, missing)?;
    }
    if let Some(mppe) = case.mppe {
        for said in [lac.encryption()?, lns.encryption()?] {
            let said = said.unwrap_or_else(|| mppe.to_string());
            ensure!(said == mppe.to_string(), "encrypted: {said}, not {mppe}");
        }
    }
    for (program, place) in [(case.lac, &bed.lac), (case.lns, &bed.lns)] {
        if program.is_in_kernel() {
            is_in_kernel(place)?;
        }
    }
    for (program, side) in [(case.lac, &*lac), (case.lns, &*lns)] {
        let loaded = side.log().contains("pppol2tp plugin of OpenL2TP");
        ensure!(
            loaded == (program == Program::Pppd),
            "its log says otherwise of our plugin"
        );
    }
    let (ender, other) = match case.ending.by {
        Role::Lac => (lac, lns),
        Role::Lns => (lns, lac),
    };
    if case.ending.tunnel {
        ender.shut_down()?;
    } else {
        ender.close_session()?;
        until(
            PATIENCE,
            "the side that ended the session is done with it",
            || Ok(ender.idle()?.then_some(())),
        )?;
    }
    until(PATIENCE, "the other side is done with the session", || {
        Ok(other.idle()?.then_some(()))
    })?;
    until(PATIENCE, "the LAC's address is gone", || {
        Ok((!has_address(&bed.lac, INNER_LAC)?).then_some(()))
    })?;
    if !case.ending.tunnel {
        ender.shut_down()?;
    }
    other.shut_down()?;
    let (from, message) = case.ending.on_the_wire();
    capture.wait_for(
        "an acknowledged end by the side that was told to end it",
        |recording| recording.acknowledged(from, message),
    )?;
    Ok(format!("up in {up:.1} s, {rate:.0} Mbit/s"))
}
