//! Runs cases one after the other, and prints what became of each.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

/// What became of the cases so far.
#[derive(Debug)]
pub struct Report {
    start: Instant,
    only: Option<String>,
    lines: Vec<String>,
    passed: u32,
    failed: u32,
}

impl Report {
    /// No case yet. With `only`, cases whose names do not contain it are left out.
    pub fn new(only: Option<String>) -> Self {
        Self {
            start: Instant::now(),
            only,
            lines: Vec::new(),
            passed: 0,
            failed: 0,
        }
    }

    /// Runs one case. What it returns is its remark in the table.
    pub fn case(&mut self, name: &str, run: impl FnOnce() -> Result<String>) {
        if self
            .only
            .as_ref()
            .is_some_and(|only| !name.contains(only.as_str()))
        {
            return;
        }
        println!("{:7.1}  {name}", self.start.elapsed().as_secs_f64());
        let began = Instant::now();
        let result = run();
        let seconds = began.elapsed().as_secs_f64();
        let (verdict, remark) = match result {
            Ok(remark) => {
                self.passed += 1;
                ("ok    ", remark)
            }
            Err(error) => {
                self.failed += 1;
                println!(
                    "{:7.1}  FAILED {name}: {error:#}",
                    self.start.elapsed().as_secs_f64()
                );
                (
                    "FAILED",
                    error
                        .root_cause()
                        .to_string()
                        .lines()
                        .next()
                        .unwrap_or_default()
                        .to_owned(),
                )
            }
        };
        self.lines
            .push(format!("{verdict} {seconds:5.1} s  {name}  {remark}"));
    }

    /// Prints the table and the counts; the program's exit status.
    pub fn conclude(self) -> ExitCode {
        println!();
        for line in &self.lines {
            println!("{line}");
        }
        println!("{} passed, {} failed, 0 skipped", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
