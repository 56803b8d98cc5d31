//! `cargo xtask fuzz`: libFuzzer over the targets of the `fuzzing` package, the time divided among them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;
use fuzzing::{TARGETS, Target};

use crate::apt;
use crate::test::cargo;

/// How long, and what.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long the search may take in all.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Only this target; may be given several times.
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    /// List the targets.
    #[arg(long)]
    list: bool,
}

/// Where cargo-fuzz works.
const FOLDER: &str = "fuzz";
/// Octets that take longer than so many seconds are a finding too.
const TOO_LONG: u32 = 20;
/// So is a target that wants so many MiB.
const TOO_MUCH: u32 = 1024;

/// What became of one target.
struct Outcome {
    executions: u64,
    kept: usize,
    crashes: Vec<PathBuf>,
}

/// Searches, keeps what is worth keeping, and says what was found.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.list {
        for target in TARGETS {
            println!("{}", target.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let targets = chosen(&options.target)?;
    apt::ensure(&[apt::CXX])?;
    apt::ensure_cargo("cargo-fuzz")?;
    if !cargo_fuzz("build").status()?.success() {
        bail!("the fuzzers do not build");
    }
    let shares: u32 = targets.iter().map(|target| target.share).sum();
    let mut total = Outcome {
        executions: 0,
        kept: 0,
        crashes: Vec::new(),
    };
    for target in targets {
        let seconds = (options.minutes * 60 * u64::from(target.share) / u64::from(shares)).max(1);
        let outcome = search(target, seconds)?;
        println!(
            "{:12} {seconds:5} s {:12} executions, {} new in the corpus, {} crashes",
            target.name,
            outcome.executions,
            outcome.kept,
            outcome.crashes.len()
        );
        total.executions += outcome.executions;
        total.kept += outcome.kept;
        total.crashes.extend(outcome.crashes);
    }
    for crash in &total.crashes {
        println!("crash: {}", crash.display());
    }
    println!(
        "{} executions, {} new in the corpora, {} crashes",
        total.executions,
        total.kept,
        total.crashes.len()
    );
    Ok(if total.crashes.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(names: &[String]) -> Result<Vec<&'static Target>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| TARGETS.iter().all(|target| target.name != **name))
    {
        bail!("no target named {unknown}; --list shows them");
    }
    Ok(TARGETS
        .iter()
        .filter(|target| names.is_empty() || names.iter().any(|name| name == target.name))
        .collect())
}

/// Lets one target search for so long, and takes into its corpus what reaches code that the corpus does not.
fn search(target: &Target, seconds: u64) -> Result<Outcome> {
    let folder = |of: &str| Path::new(FOLDER).join(of).join(target.name);
    let (corpus, found) = (folder("corpus"), folder("found"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&found)?;
    let (before, crashed_before) = (files(&corpus), files(&folder("artifacts")));
    let limits = [
        format!("-max_len={}", target.max_len),
        format!("-max_total_time={seconds}"),
        format!("-timeout={TOO_LONG}"),
        format!("-rss_limit_mb={TOO_MUCH}"),
        "-print_final_stats=1".to_owned(),
    ];
    let (ended_well, executions) = fuzzer(target, &[&found, &corpus], &limits)?;
    let mut crashes = files(&folder("artifacts"));
    crashes.retain(|crash| !crashed_before.contains(crash));
    if !ended_well && crashes.is_empty() {
        bail!("the fuzzer of {} did not run", target.name);
    }
    // What no other octets reach, be it once or a hundred times: the corpora stay small.
    if crashes.is_empty() {
        let merge = ["-merge=1", "-use_counters=0"].map(str::to_owned);
        fuzzer(target, &[&corpus, &found], &merge)?;
        fs::remove_dir_all(&found)?;
    }
    let kept = files(&corpus).len() - before.len();
    Ok(Outcome {
        executions,
        kept,
        crashes,
    })
}

/// Runs a target's fuzzer; whether it ended well, and how often it called the target. It speaks only when something is wrong.
fn fuzzer(target: &Target, folders: &[&Path], options: &[String]) -> Result<(bool, u64)> {
    let mut command = cargo_fuzz("run");
    command.arg(target.name);
    for folder in folders {
        command.arg(std::path::absolute(folder)?);
    }
    let mut child = command
        .arg("--")
        .args(options)
        .stderr(Stdio::piped())
        .spawn()?;
    let output = child.stderr.take().context("it has a standard error")?;
    let (mut executions, mut said) = (0, Vec::new());
    for line in BufReader::new(output).lines() {
        let line = line?;
        if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            executions = number.trim().parse()?;
        }
        said.push(line);
    }
    let ended_well = child.wait()?.success();
    if !ended_well {
        let last = said.len().saturating_sub(40);
        eprintln!("{}", said[last..].join("\n"));
    }
    Ok((ended_well, executions))
}

/// A subcommand of cargo-fuzz on the stable toolchain: without sanitizers, which are nightly's, and which Rust without `unsafe` would hardly
/// feed.
fn cargo_fuzz(subcommand: &str) -> Command {
    cargo(&[
        "fuzz",
        subcommand,
        "--fuzz-dir",
        FOLDER,
        "--sanitizer",
        "none",
    ])
}

/// The files in a folder; none if it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}
