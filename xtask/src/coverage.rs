//! `cargo xtask coverage`: which lines of the protocol crates their tests reach.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::apt;
use crate::test::{cargo, programs};

/// The crates that are measured.
const CRATES: [&str; 3] = ["wire", "l2tp", "ppp"];
/// The packages whose tests may reach them: their own, the replayed corpora, and the simulations.
const TESTED_BY: [&str; 5] = ["wire", "l2tp", "ppp", "fuzzing", "sim"];

/// A source file's lines: each one's number, and how often it ran.
type Lines = BTreeMap<u32, u64>;

/// Runs the tests and prints the lines that they reach: a line for each crate, then the rest of each file.
pub(crate) fn run() -> Result<ExitCode> {
    apt::ensure(&[apt::LLVM_COV])?;
    apt::ensure_cargo("cargo-llvm-cov")?;
    let output = programs("coverage.info")?;
    let mut command = cargo(&["llvm-cov", "test", "--quiet", "--lcov", "--output-path"]);
    command.arg(&output);
    for package in TESTED_BY {
        command.args(["--package", package]);
    }
    // A day of protocol takes a counted build many minutes, and reaches no line that the others do not.
    command.args(["--", "--skip", "none_dies_on_the_way"]);
    // The compiler brings no tools that read its profiles; those of Debian's LLVM 19 read version 10, which this one writes.
    command.env("LLVM_COV", "llvm-cov-19");
    command.env("LLVM_PROFDATA", "llvm-profdata-19");
    // Standard output is the report's.
    command.stdout(std::io::stderr());
    if !command.status()?.success() {
        bail!("the tests did not all pass");
    }
    let report = fs::read_to_string(&output).with_context(|| output.display().to_string())?;
    let files = parse(&report);
    for name in CRATES {
        let folder = format!("crates/{name}/src/");
        let of_crate: Vec<_> = files
            .iter()
            .filter_map(|(path, lines)| Some((path.split_once(&folder)?.1, lines)))
            .collect();
        let total: usize = of_crate.iter().map(|(_, lines)| lines.len()).sum();
        let unreached: usize = of_crate.iter().map(|(_, lines)| missed(lines).len()).sum();
        let per_cent = 100.0 * (total - unreached) as f64 / total.max(1) as f64;
        println!("{name}: {per_cent:.1} % of {total} lines");
        for (file, lines) in of_crate {
            let missed = missed(lines);
            if !missed.is_empty() {
                println!("  {file}: not {}", ranges(&missed));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads an lcov report.
fn parse(report: &str) -> BTreeMap<String, Lines> {
    let mut files = BTreeMap::<String, Lines>::new();
    let mut path = "";
    for line in report.lines() {
        if let Some(file) = line.strip_prefix("SF:") {
            path = file;
        } else if let Some((number, count)) = line
            .strip_prefix("DA:")
            .and_then(|data| data.split_once(','))
            && let (Ok(number), Ok(count)) = (number.parse(), count.parse::<u64>())
        {
            let lines = files.entry(path.to_owned()).or_default();
            *lines.entry(number).or_default() += count;
        }
    }
    files
}

fn missed(lines: &Lines) -> Vec<u32> {
    let never = lines.iter().filter(|(_, count)| **count == 0);
    never.map(|(number, _)| *number).collect()
}

/// Numbers in order, for people: `3-5, 9`.
fn ranges(numbers: &[u32]) -> String {
    let follows = |a: &u32, b: &u32| a + 1 == *b;
    let words = numbers.chunk_by(follows).map(|run| match run {
        [only] => only.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_which_lines_never_ran() {
        let files = parse("SF:/a.rs\nFN:1,f\nDA:3,0\nDA:4,0\nDA:5,7\nDA:9,0\nend_of_record\n");
        let missed = missed(&files["/a.rs"]);
        assert_eq!(ranges(&missed), "3-4, 9");
    }
}
