//! A thousand tunnels with twenty sessions each that all come back in the same second: two daemons on their shipped defaults, over loopback.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bench::daemon::Daemon;
use bench::timed;

const TUNNELS: usize = 1_000;
const SESSIONS: usize = 20;
const ALL: usize = TUNNELS * SESSIONS;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(300);

const LNS: &str = "
    ppp profile modify profile_name=default local_ipaddr=10.0.0.1 ip_pool_name=pool
    ip_pool create pool_name=pool range=10.0.0.2-10.3.255.254
    user create user_name=u password=pw
";
const LNS_ADDRESS: &str = "127.0.0.1:17092";
const LAC_ADDRESS: &str = "127.0.0.2:17093";

/// Waits until every session carries traffic at both ends.
fn all_up(lns: &Daemon, lac: &Daemon) -> Result<()> {
    let end = bench::after(PATIENCE);
    loop {
        let (served, dialled) = (lns.sessions()?, lac.sessions()?);
        if (served, dialled) == (ALL, ALL) {
            return Ok(());
        }
        if bench::until(end).is_none() {
            bail!("only {served} and {dialled} of {ALL} sessions are up");
        }
        bench::pause(Duration::from_millis(50));
    }
}

fn main() -> Result<()> {
    let lns = Daemon::start(LNS_ADDRESS, LNS)?;
    let lac = bench::lac(17_092, TUNNELS, SESSIONS, |_| "u".to_owned());
    let lac = Daemon::start(LAC_ADDRESS, &lac)?;
    let (first, done) = timed(|| all_up(&lns, &lac));
    done.context("at first")?;
    let before = lac.processor()?;
    lns.end()?;
    let lns = Daemon::start(LNS_ADDRESS, LNS)?;
    let (again, done) = timed(|| all_up(&lns, &lac));
    done.context("after the restart")?;
    let seconds = |d: Duration| (d.as_secs_f64() * 100.0).round() / 100.0;
    let line = serde_json::json!({
        "bench": "reconnect",
        "seconds": seconds(again),
        "seconds_first": seconds(first),
        "missing": 0,
        "tunnels": TUNNELS,
        "sessions": ALL,
        "lns_peak_memory_kib": lns.peak_memory()? / 1024,
        "lac_peak_memory_kib": lac.peak_memory()? / 1024,
        "lns_processor_seconds": lns.processor()?,
        "lac_processor_seconds": ((lac.processor()? - before) * 100.0).round() / 100.0,
    });
    println!("{line}");
    Ok(())
}
