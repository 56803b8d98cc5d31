//! What goes through a session, beside the wire without one and the tunnels of others: `cargo xtask bench datapath` runs it, and prints its JSON line.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that measures reads the clock"
)]

mod contender;
mod load;
mod loops;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use interop::flood;
use interop::spread::Spread;
use serde_json::{Value, json};

use contender::{Contender, Kind, Mode};
use load::{Direction, Tcp};
use table::Samples;

/// Half of the time between two LCP echoes of a session.
const KEPT_ALIVE: Duration = Duration::from_secs(15);

/// The least part of what the row `ebpf` carries that has to go by programs.
const BY_PROGRAMS: f64 = 0.99;

/// Throughput, packet rates and latency of our datapaths in network namespaces, each as a ratio to plain veth of the same repetition. Needs root.
#[derive(Debug, Parser)]
struct Options {
    /// Seconds of each transfer.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// How often everything is measured, the contenders taking turns.
    #[arg(long, default_value_t = 5)]
    repetitions: u32,
    /// How often throughput is measured among other sessions.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Measure these only, beside plain veth.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Sessions of others on the device of the server, of which throughput is to be no less.
    #[arg(long, default_value_t = 10_000)]
    sessions: u32,
    /// Where openl2tpd and l2tpconfig are; by default beside this program.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let program = std::env::current_exe()?;
    let beside = program.parent().context("no folder")?;
    let programs = options.programs.as_deref().unwrap_or(beside);
    let wanted =
        |kind: &Kind| *kind == Kind::Veth || options.only.is_empty() || options.only.contains(kind);
    let mut contenders = Vec::new();
    for &kind in Kind::ALL.iter().filter(|kind| wanted(kind)) {
        eprintln!("{} is set up", kind.name());
        contenders.push(Contender::set_up(kind, programs).with_context(|| kind.name())?);
    }
    let samples = measured(&contenders, &options)?;
    let mut many = serde_json::Map::new();
    let may_be_crowded = |c: &&Contender| matches!(c.kind, Kind::Tun | Kind::Ebpf);
    if options.sessions > 0 {
        for alone in contenders.iter().filter(may_be_crowded) {
            let among = among_others(alone, &options, programs);
            many.insert(
                alone.kind.name().to_owned(),
                among.with_context(|| alone.story())?,
            );
        }
    }
    let carried: serde_json::Map<String, Value> = contenders
        .iter()
        .filter_map(|c| Some((c.kind.name().to_owned(), c.carried().transpose()?)))
        .map(|(name, carried)| Ok((name, carried?)))
        .collect::<Result<_>>()?;
    eprint!(
        "{}\n{}\n{}",
        samples.table(),
        samples.summary(),
        samples.others()
    );
    println!(
        "{}",
        json!({
            "seconds": options.seconds,
            "repetitions": options.repetitions,
            "modes": samples.json(),
            "among_sessions": Value::from(many),
            "carried": carried,
        })
    );
    let lacking = carried.get(Kind::Ebpf.name()).map(lacking);
    for line in lacking.iter().flatten() {
        eprintln!("{line}");
    }
    Ok(match lacking.is_none_or(|lines| lines.is_empty()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// What of the row `ebpf` others carried too much of: it is worth nothing then.
fn lacking(ends: &Value) -> Vec<String> {
    let parts = ["lns", "lac"].into_iter().flat_map(|end| {
        ["octets_by_programs", "packets_by_programs"].map(|what| (end, what, &ends[end][what]))
    });
    parts
        .filter(|(_, _, part)| part.as_f64() < Some(BY_PROGRAMS))
        .map(|(end, what, part)| {
            format!("ebpf failed: {what} at the {end} is {part}, less than {BY_PROGRAMS}")
        })
        .collect()
}

/// Everything of everybody, who take turns.
fn measured(contenders: &[Contender], options: &Options) -> Result<Samples> {
    let mut samples = Samples::default();
    for repetition in 1..=options.repetitions {
        for mode in Mode::ALL {
            for contender in contenders {
                eprintln!(
                    "{repetition} of {}: {}, {}",
                    options.repetitions,
                    mode.name(),
                    contender.kind.name()
                );
                measure(contender, mode, options.seconds, &mut samples)
                    .with_context(|| contender.story())?;
            }
        }
    }
    Ok(samples)
}

/// One repetition of one contender in one mode.
fn measure(contender: &Contender, mode: Mode, seconds: u32, samples: &mut Samples) -> Result<()> {
    contender.set_mode(mode)?;
    let mut put = |what: &str, value| samples.put(mode, contender.kind, what, value);
    for streams in [1, 4] {
        for direction in Direction::ALL {
            let Tcp { gbit, gbit_a_cpu } =
                load::tcp(&contender.to_lns(), streams, direction, seconds)?;
            put(&format!("x{streams} {}", direction.name()), gbit);
            put(
                &format!("x{streams} {} a CPU-second", direction.name()),
                gbit_a_cpu,
            );
        }
    }
    // Its packets do not fill what a router has to hand on.
    if contender.kind == Kind::Copies {
        return Ok(());
    }
    for direction in Direction::ALL {
        let through = load::tcp(&contender.to_host(), 1, direction, seconds)?;
        put(&format!("forwarded {}", direction.name()), through.gbit);
    }
    if mode == Mode::Full {
        let path = contender.to_lns();
        for (name, lengths) in [("64 B", flood::SMALL), ("IMIX", flood::IMIX)] {
            let rates = flood::flood(path.from, path.to, path.address, lengths)?;
            put(&format!("{name} delivered, kpps"), rates.delivered / 1e3);
            put(&format!("{name} loss-free, kpps"), rates.loss_free / 1e3);
        }
        let latency = load::latency_under_load(&path, seconds)?;
        put("latency p50, us", latency.p50_us);
        put("latency p99, us", latency.p99_us);
    }
    Ok(())
}

/// Throughput of a session that so many others are beside on the server's device, by that of one without: both take turns, as they share a machine that is
/// busy with the others, too. How busy is told.
fn among_others(alone: &Contender, options: &Options, programs: &Path) -> Result<Value> {
    let Options {
        sessions, seconds, ..
    } = *options;
    eprintln!("{}: {sessions} more sessions come up", alone.kind.name());
    let crowded = Contender::set_up(alone.kind, programs)?;
    let _others = crowded.crowd(sessions, programs)?;
    for contender in [alone, &crowded] {
        contender.set_mode(Mode::Full)?;
    }
    let before = load::busy()?;
    std::thread::sleep(KEPT_ALIVE);
    let kept_alive = (load::busy()? - before) / KEPT_ALIVE.as_secs_f64();
    let mut result = serde_json::Map::new();
    for direction in Direction::ALL {
        let tcp = |of: &Contender| load::tcp(&of.to_lns(), 1, direction, seconds);
        let ratios: Result<Vec<f64>> = (0..options.rounds)
            .map(|_| Ok(tcp(&crowded)?.gbit / tcp(alone)?.gbit))
            .collect();
        let spread = Spread::of(ratios?).context("no reading")?;
        let [median, least, most] = [spread.median, spread.least, spread.most].map(table::rounded);
        let told = json!({ "ratio": median, "ratio_min": least, "ratio_max": most });
        result.insert(direction.name().to_owned(), told);
    }
    result.insert("sessions".to_owned(), sessions.into());
    let kept_alive = table::rounded(kept_alive).into();
    result.insert("cpus_that_keep_them_alive".to_owned(), kept_alive);
    Ok(result.into())
}
