//! What goes through a session, beside the wire without one and the tunnels of others: `cargo xtask bench datapath` runs it, and prints its JSON line.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that measures reads the clock"
)]

mod contender;
mod load;
mod naive;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use interop::flood;
use interop::spread::Spread;
use serde_json::{Value, json};

use contender::{Contender, Kind, Mode};
use load::{Direction, Tcp};
use table::Samples;

/// Throughput, packet rates and latency of our datapaths in network namespaces, each as a ratio to plain veth of the same repetition. Needs root.
#[derive(Debug, Parser)]
struct Options {
    /// Seconds of each transfer.
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// How often everything is measured, the contenders taking turns.
    #[arg(long, default_value_t = 5)]
    repetitions: u32,
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

fn main() -> Result<()> {
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
    let mut samples = Samples::default();
    for repetition in 1..=options.repetitions {
        for mode in Mode::ALL {
            for contender in &contenders {
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
    let many = match contenders.iter().find(|c| c.kind == Kind::Tun) {
        Some(tun) if options.sessions > 0 => {
            among_others(tun, options.sessions, options.seconds, programs)?
        }
        _ => Value::Null,
    };
    let carried: serde_json::Map<String, Value> = contenders
        .iter()
        .filter_map(|c| Some((c.kind.name().to_owned(), c.carried().transpose()?)))
        .map(|(name, carried)| Ok((name, carried?)))
        .collect::<Result<_>>()?;
    eprint!("{}", samples.table());
    println!(
        "{}",
        json!({
            "seconds": options.seconds,
            "repetitions": options.repetitions,
            "modes": samples.json(),
            "among_sessions": many,
            "carried": carried,
        })
    );
    Ok(())
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

/// Throughput of one session before and after so many others joined it on the server's device.
fn among_others(
    tun: &Contender,
    count: u32,
    seconds: u32,
    programs: &std::path::Path,
) -> Result<Value> {
    tun.set_mode(Mode::Full)?;
    let alone = throughput(tun, seconds)?;
    eprintln!("{count} more sessions come up");
    let _others = tun.crowd(count, programs)?;
    let ratio = middle_of_three(|| Ok(throughput(tun, seconds)? / alone))?;
    Ok(json!({ "sessions": count, "ratio": table::rounded(ratio) }))
}

fn throughput(contender: &Contender, seconds: u32) -> Result<f64> {
    middle_of_three(|| Ok(load::tcp(&contender.to_lns(), 1, Direction::Up, seconds)?.gbit))
}

fn middle_of_three(mut read: impl FnMut() -> Result<f64>) -> Result<f64> {
    let readings = vec![read()?, read()?, read()?];
    Ok(Spread::of(readings).context("no reading")?.median)
}
