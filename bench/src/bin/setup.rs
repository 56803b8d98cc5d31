//! How many PPP sessions a second two engines set up between them: in memory, CHAP, one thread, both ends' work counted.

use anyhow::Result;
use bench::{Pair, median, timed};

const TUNNELS: usize = 10;
const SESSIONS: usize = 10_000;
const RUNS: usize = 5;

fn main() -> Result<()> {
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let mut pair = Pair::new(TUNNELS)?;
        let (took, done) = timed(|| pair.open(TUNNELS, SESSIONS));
        done?;
        pair.check_one()?;
        rates.push(SESSIONS as f64 / took.as_secs_f64());
    }
    let rate = median(&mut rates);
    let line = serde_json::json!({
        "bench": "setup",
        "sessions_per_second": rate.round(),
        "min": rates[0].round(),
        "max": rates[RUNS - 1].round(),
        "runs": RUNS,
        "sessions": SESSIONS,
        "tunnels": TUNNELS,
        "authentication": "CHAP",
    });
    println!("{line}");
    Ok(())
}
