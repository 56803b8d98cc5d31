//! Counts of passed, failed and skipped tests, read off the output of the programs that ran them.

use std::fmt;
use std::io::{self, Write};
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many tests passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Ran and were right.
    pub passed: u32,
    /// Ran and were wrong, or could not end.
    pub failed: u32,
    /// Did not run.
    pub skipped: u32,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

impl Counts {
    /// Reads a summary line of `cargo test`, of nextest or of our own programs; other lines count nothing.
    fn of_line(line: &str) -> Self {
        let words: Vec<_> = line
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect();
        let summary = match *words.as_slice() {
            ["test", "result", ..] | ["Summary", ..] => true,
            [first, "passed", ..] => first.parse::<u32>().is_ok() && line.contains("failed"),
            _ => false,
        };
        let mut counts = Self::default();
        for pair in words.windows(2).filter(|_| summary) {
            let Ok(number) = pair[0].parse::<u32>() else {
                continue;
            };
            match pair[1] {
                "passed" => counts.passed += number,
                "failed" | "timed" => counts.failed += number,
                "ignored" | "skipped" => counts.skipped += number,
                _ => {}
            }
        }
        counts
    }
}

/// Passes a program's output through and counts its summary lines on the way. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    line: Vec<u8>,
    /// What is not printed yet, where it is to wait.
    kept: Option<Vec<u8>>,
}

impl Tally {
    /// One that prints nothing before it is told to: another's output comes meanwhile.
    pub(crate) fn beside() -> Self {
        let tally = Self::default();
        tally.state().kept = Some(Vec::new());
        tally
    }

    /// Prints what was kept.
    pub(crate) fn print(&self) -> io::Result<()> {
        let kept = self.state().kept.take().unwrap_or_default();
        io::stdout().write_all(&kept)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }
}

impl Write for Tally {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        for &octet in buffer {
            if octet == b'\n' {
                let line = std::mem::take(&mut state.line);
                state.counts += Counts::of_line(&String::from_utf8_lossy(&line));
            } else {
                state.line.push(octet);
            }
        }
        match &mut state.kept {
            Some(kept) => kept.extend_from_slice(buffer),
            None => io::stdout().write_all(buffer)?,
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_counted_and_other_lines_are_not() {
        let cases = [
            (
                "test result: ok. 12 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out",
                (12, 1, 3),
            ),
            (
                "     Summary [   0.005s] 9 tests run: 7 passed (1 slow), 1 failed, 1 timed out, 2 skipped",
                (7, 2, 2),
            ),
            ("12 passed, 0 failed, 1 skipped", (12, 0, 1)),
            ("the 12 passed packets failed", (0, 0, 0)),
            ("12 passed", (0, 0, 0)),
        ];
        for (line, (passed, failed, skipped)) in cases {
            assert_eq!(
                Counts::of_line(line),
                Counts {
                    passed,
                    failed,
                    skipped
                },
                "{line}"
            );
        }
    }

    #[test]
    fn a_line_may_come_in_pieces() {
        let mut tally = Tally::default();
        for piece in ["4 passed, 1 fai", "led, 0 skipped", "\n"] {
            tally.write_all(piece.as_bytes()).unwrap();
        }
        assert_eq!(
            tally.counts(),
            Counts {
                passed: 4,
                failed: 1,
                skipped: 0
            }
        );
    }
}
