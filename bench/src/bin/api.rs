//! What the management interface takes with twenty thousand sessions up, and what it costs the shard meanwhile; and a reload of a large file.
//! The release daemon with a null datapath, over loopback and its Unix socket.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::{
    Client, Page, Parameters, Range, ReloadReport, Request, Selector, SessionFilter, SessionStatus,
};
use bench::daemon::Daemon;
use bench::{Probe, percentile, timed};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

const RUNS: usize = 5;
const TUNNELS: usize = 1_000;
const SESSIONS: usize = 20;
const ALL: usize = TUNNELS * SESSIONS;
/// Sessions that are shown in a run, and that are deleted.
const SHOWN: usize = 1_000;
const DELETED: usize = 100;
/// Hellos in a run while nothing else is asked.
const HELLOS: usize = 1_000;
const PEER_PROFILES: usize = 10_000;
const USERS: usize = 50_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);

const LNS_ADDRESS: &str = "127.0.0.1:17094";
const LAC_ADDRESS: &str = "127.0.0.2:17095";

/// The LNS's file: a user for each tunnel.
fn lns() -> Result<String> {
    let mut text = "
        ppp profile modify profile_name=default local_ipaddr=10.0.0.1 ip_pool_name=pool
        ip_pool create pool_name=pool range=10.0.0.2-10.3.255.254
    "
    .to_owned();
    for t in 0..TUNNELS {
        writeln!(text, "user create user_name=u{t} password=pw")?;
    }
    Ok(text)
}

/// Waits until every session carries traffic.
fn all_up(lns: &Daemon) -> Result<()> {
    let end = bench::after(PATIENCE);
    while lns.sessions()? != ALL {
        if bench::until(end).is_none() {
            bail!("only {} of {ALL} sessions are up", lns.sessions()?);
        }
        bench::pause(Duration::from_millis(50));
    }
    Ok(())
}

/// Milliseconds that many of the same kind took.
#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1000.0);
    }
}

/// What each run came to, of something that is measured many times in a run.
#[derive(Default)]
struct Runs {
    p50: Vec<f64>,
    p99: Vec<f64>,
    sum: Vec<f64>,
}

impl Runs {
    fn add(&mut self, Times(mut times): Times) {
        self.p50.push(percentile(&mut times, 50));
        self.p99.push(percentile(&mut times, 99));
        self.sum.push(times.iter().sum());
    }

    /// Medians of the runs, with the least and the most.
    fn report(mut self) -> Value {
        json!({ "p50_ms": spread(&mut self.p50), "p99_ms": spread(&mut self.p99) })
    }

    /// The same of a list, of which a page is what is measured.
    fn report_list(mut self) -> Value {
        json!({
            "seconds": spread(&mut self.sum.iter().map(|ms| ms / 1000.0).collect::<Vec<_>>()),
            "page_p50_ms": spread(&mut self.p50),
            "page_p99_ms": spread(&mut self.p99),
        })
    }
}

/// Median, least and most.
fn spread(readings: &mut [f64]) -> Value {
    let round = |x: f64| (x * 1000.0).round() / 1000.0;
    let median = round(bench::median(readings));
    let (least, most) = (readings[0], readings[readings.len() - 1]);
    json!({ "median": median, "min": round(least), "max": round(most) })
}

/// Walks through a list; how many items it has, and what each page took.
fn walk(client: &Client, filter: &SessionFilter) -> Result<(usize, Times)> {
    let (mut count, mut times, mut range) = (0, Times::default(), Range::default());
    loop {
        let request = Request::SessionList(filter.clone(), range.clone());
        let (took, page) = timed(|| client.call::<Page<IgnoredAny>>(&request));
        times.add(took);
        let page = page?;
        count += page.items.len();
        range.after = page.next;
        if range.after.is_none() {
            return Ok((count, times));
        }
    }
}

/// Ids of sessions, from anywhere in the list.
fn some(client: &Client, count: usize) -> Result<Vec<(Selector, Selector)>> {
    let list = Request::SessionList(SessionFilter::default(), Range::default());
    let all: Vec<SessionStatus> = client.list(list).collect::<Result<_, _>>()?;
    let ids = all.iter().filter_map(|session| {
        let (tunnel, session) = (session.tunnel_id?, session.session_id?);
        Some((Selector::Id(tunnel), Selector::Id(session)))
    });
    let ids: Vec<_> = ids.step_by((ALL / count).max(1)).take(count).collect();
    ensure!(ids.len() == count, "only {} sessions", ids.len());
    Ok(ids)
}

/// What is asked with all sessions up.
#[derive(Default)]
struct Asked {
    list: Runs,
    list_of_user: Runs,
    show: Runs,
    delete: Runs,
    hello_idle: Runs,
    hello_while_listing: Runs,
}

impl Asked {
    fn run(&mut self, daemon: &Daemon, probe: &Probe) -> Result<()> {
        let client = daemon.client()?;
        let mut idle = Times::default();
        for _ in 0..HELLOS {
            idle.add(probe.ask()?);
            bench::pause(Duration::from_millis(1));
        }
        self.hello_idle.add(idle);
        self.hello_while_listing.add(while_listing(daemon, probe)?);

        let (count, times) = walk(&client, &SessionFilter::default())?;
        ensure!(count == ALL, "{count} sessions are listed");
        self.list.add(times);
        let user = Some("u7".to_owned());
        let (count, times) = walk(
            &client,
            &SessionFilter {
                user,
                ..Default::default()
            },
        )?;
        ensure!(count == SESSIONS, "{count} sessions of the user are listed");
        self.list_of_user.add(times);

        let mut times = Times::default();
        for (tunnel, session) in some(&client, SHOWN)? {
            let request = Request::SessionShow(tunnel, session);
            let (took, shown) = timed(|| client.call::<IgnoredAny>(&request));
            shown?;
            times.add(took);
        }
        self.show.add(times);

        let mut times = Times::default();
        for (tunnel, session) in some(&client, DELETED)? {
            let request = Request::SessionDelete(tunnel, session);
            let (took, deleted) = timed(|| client.call::<()>(&request));
            deleted?;
            times.add(took);
        }
        self.delete.add(times);
        Ok(())
    }

    fn report(self) -> Value {
        json!({
            "list": self.list.report_list(),
            "list_of_user": self.list_of_user.report_list(),
            "show": self.show.report(),
            "delete": self.delete.report(),
            "hello_idle": self.hello_idle.report(),
            "hello_while_listing": self.hello_while_listing.report(),
        })
    }
}

/// What Hellos take while another client walks through all sessions again and again.
fn while_listing(daemon: &Daemon, probe: &Probe) -> Result<Times> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let lists = scope.spawn(|| -> Result<usize> {
            let client = daemon.client()?;
            let mut lists = 0;
            while !done.load(Ordering::Relaxed) {
                walk(&client, &SessionFilter::default())?;
                lists += 1;
            }
            Ok(lists)
        });
        let mut times = Times::default();
        let asked = (0..HELLOS).try_for_each(|_| -> Result<()> {
            times.add(probe.ask()?);
            bench::pause(Duration::from_millis(1));
            Ok(())
        });
        done.store(true, Ordering::Relaxed);
        let lists = lists.join().ok().context("a thread panicked")??;
        ensure!(lists > 1, "nothing was listed meanwhile");
        asked.map(|()| times)
    })
}

/// A large file. `edition` changes a tenth of its users and a tenth of its profiles.
fn large(edition: usize) -> Result<String> {
    let mut text = String::new();
    for p in 0..PEER_PROFILES {
        let edition = if p % 10 == 0 { edition } else { 0 };
        writeln!(
            text,
            "peer profile create profile_name=p{p} peer_port={edition}"
        )?;
    }
    for u in 0..USERS {
        let edition = if u % 10 == 0 { edition } else { 0 };
        writeln!(text, "user create user_name=u{u} password=secret{edition}")?;
    }
    Ok(text)
}

/// Reloads a file; seconds, and by how many KiB its peak is above the memory before.
fn reload(daemon: &Daemon, configuration: &str, changes: (usize, usize)) -> Result<(f64, f64)> {
    let client = daemon.client()?;
    daemon.write(configuration)?;
    daemon.forget_peak()?;
    let before = daemon.memory()?;
    let request = Request::ConfigReload(Parameters::new());
    let (took, report) = timed(|| client.call::<ReloadReport>(&request));
    let report = report?;
    let counts = (report.added.count as usize, report.changed.count as usize);
    ensure!(
        counts == changes,
        "{counts:?} objects were added and changed"
    );
    let grown = daemon.peak_memory()?.saturating_sub(before);
    Ok((took.as_secs_f64(), grown as f64 / 1024.0))
}

fn reloads() -> Result<Value> {
    let all = PEER_PROFILES + USERS;
    let (mut first, mut changed) = (<[Vec<f64>; 2]>::default(), <[Vec<f64>; 2]>::default());
    for run in 1..=RUNS {
        eprintln!("reload {run} of {RUNS}");
        let daemon = Daemon::start(LNS_ADDRESS, "")?;
        for (readings, edition, changes) in
            [(&mut first, 0, (all, 0)), (&mut changed, 1, (0, all / 10))]
        {
            let (seconds, grown) = reload(&daemon, &large(edition)?, changes)?;
            readings[0].push(seconds);
            readings[1].push(grown);
        }
    }
    let report = |[mut seconds, mut grown]: [Vec<f64>; 2]| json!({ "seconds": spread(&mut seconds), "peak_memory_grown_kib": spread(&mut grown) });
    Ok(json!({
        "peer_profiles": PEER_PROFILES,
        "users": USERS,
        "of_nothing_before": report(first),
        "of_a_tenth_changed": report(changed),
    }))
}

fn main() -> Result<()> {
    let reload = reloads().context("reload")?;
    let lns = Daemon::start(LNS_ADDRESS, &lns()?)?;
    let lac = bench::lac(17_094, TUNNELS, SESSIONS, |t| format!("u{t}"));
    let lac = Daemon::start(LAC_ADDRESS, &lac)?;
    let probe = Probe::open("127.0.0.3:0", lns.address())?;
    let mut asked = Asked::default();
    for run in 1..=RUNS {
        all_up(&lns)?;
        eprintln!("run {run} of {RUNS}, with {ALL} sessions up");
        asked.run(&lns, &probe)?;
    }
    drop(lac);
    let line = json!({
        "bench": "api",
        "sessions": ALL,
        "tunnels": TUNNELS,
        "runs": RUNS,
        "asked": asked.report(),
        "reload": reload,
    });
    println!("{line}");
    Ok(())
}
