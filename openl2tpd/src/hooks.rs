//! The program that is run when tunnels, sessions and their PPP come up and go down. What it is told is in `docs/hooks.md`.
//!
//! The shard only leaves word here. A lane runs one program at a time, and a tunnel's events are all of one lane, so that they are in order.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::Role;
use config::Model;
use engine::{Hook, HookEnd, HookEvent, HookSession, HookTunnel};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

/// Where programs that we run find others.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Programs that run at once.
const LANES: usize = 8;
/// Events of a lane that wait; of more the oldest are lost.
const WAITING: usize = 1024;
/// How long a program that was asked to end may take.
const GRACE: Duration = Duration::from_secs(2);
/// How much of what a program says is logged, octets.
const SAID: u64 = 16_384;
/// The most octets of a value from outside.
const LONGEST: usize = 255;

/// Where events are left, and what is run for them.
#[derive(Clone, Default)]
pub(crate) struct Hooks(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: [Notify; LANES],
}

#[derive(Default)]
struct State {
    script: Option<(String, Duration)>,
    lanes: [VecDeque<Box<Hook>>; LANES],
    /// Not logged yet.
    lost: u64,
    counts: HookCounts,
    ends: bool,
}

/// What became of the program's runs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct HookCounts {
    /// It ended well.
    pub(crate) done: u64,
    /// It could not be run, or said that it failed.
    pub(crate) failed: u64,
    /// It was ended for taking too long.
    pub(crate) timed_out: u64,
    /// Events for which it was not run: too many waited.
    pub(crate) lost: u64,
}

/// How a run ended.
enum Outcome {
    Done,
    Failed,
    TimedOut,
}

impl Hooks {
    /// Takes the program and its time from a configuration.
    pub(crate) fn configure(&self, model: &Model) {
        let system = &model.system;
        let limit = Duration::from_secs(system.event_script_timeout().into());
        self.state().script = system
            .event_script()
            .map(|script| (script.to_owned(), limit));
    }

    /// Leaves word of an event, and never waits.
    pub(crate) fn offer(&self, hook: Box<Hook>) {
        let lane = usize::from(hook.tunnel.id) % LANES;
        let mut state = self.state();
        if state.script.is_none() {
            return;
        }
        if state.lanes[lane].len() == WAITING {
            state.lanes[lane].pop_front();
            state.lost += 1;
            state.counts.lost += 1;
        }
        state.lanes[lane].push_back(hook);
        self.0.more[lane].notify_one();
    }

    /// Runs programs until [`Hooks::finish`], and then for what is left.
    pub(crate) fn start(&self) -> JoinSet<()> {
        (0..LANES).map(|lane| self.clone().run(lane)).collect()
    }

    /// No event comes any more.
    pub(crate) async fn finish(&self, mut lanes: JoinSet<()>) {
        let patience = {
            let mut state = self.state();
            state.ends = true;
            state
                .script
                .as_ref()
                .map_or(Duration::ZERO, |(_, limit)| *limit)
        };
        self.0.more.iter().for_each(Notify::notify_one);
        let all = async { while lanes.join_next().await.is_some() {} };
        if timeout(patience + GRACE, all).await.is_err() {
            warn!("event_script was not run for all that ended");
        }
    }

    async fn run(self, lane: usize) {
        loop {
            let (next, lost, ends) = {
                let mut state = self.state();
                let next = state.lanes[lane].pop_front().zip(state.script.clone());
                (next, std::mem::take(&mut state.lost), state.ends)
            };
            if lost > 0 {
                warn!("event_script is too slow: {lost} events were lost");
            }
            match next {
                Some((hook, (script, limit))) => {
                    let outcome = Call::new(&hook).run(&script, limit).await;
                    self.count(&outcome);
                }
                None if ends => return,
                None => self.0.more[lane].notified().await,
            }
        }
    }

    /// What became of all runs so far.
    pub(crate) fn counts(&self) -> HookCounts {
        self.state().counts
    }

    fn count(&self, outcome: &Outcome) {
        let counts = &mut self.state().counts;
        *match outcome {
            Outcome::Done => &mut counts.done,
            Outcome::Failed => &mut counts.failed,
            Outcome::TimedOut => &mut counts.timed_out,
        } += 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One run of the program.
struct Call {
    event: &'static str,
    variables: Vec<(&'static str, String)>,
    arguments: Vec<String>,
}

impl Call {
    /// The run that a hook asks for. A variable without a value is not set.
    fn new(hook: &Hook) -> Self {
        let mut variables = Variables(Vec::new());
        variables.tunnel(&hook.tunnel);
        if let Some(session) = &hook.session {
            variables.session(session);
        }
        let (event, addresses, end) = match &hook.event {
            HookEvent::TunnelUp => ("tunnel-up", None, None),
            HookEvent::TunnelDown(end) => ("tunnel-down", None, Some(end)),
            HookEvent::SessionUp => ("session-up", None, None),
            HookEvent::SessionDown(end) => ("session-down", None, Some(end)),
            HookEvent::PppUp(local, peer) => ("ppp-up", Some((*local, *peer)), None),
            HookEvent::PppDown(local, peer, end) => ("ppp-down", Some((*local, *peer)), Some(end)),
        };
        if let Some((local, _)) = addresses {
            let family = if local.is_ipv4() { "ipv4" } else { "ipv6" };
            variables.set("OPENL2TP_FAMILY", family);
        }
        if let Some(end) = end {
            variables.end(end);
        }
        let arguments = hook.session.as_ref().map(|session| {
            let [ipv4, ipv6] = session.networks;
            let (local, peer) = addresses.or(ipv4).or(ipv6).unzip();
            let text = |ip: Option<IpAddr>| ip.map_or_else(String::new, |ip| ip.to_string());
            // As pppd calls ip-up: device, terminal, speed, our address, the peer's.
            let speed = session.speed.to_string();
            let (local, peer) = (text(local), text(peer));
            vec![session.device.clone(), String::new(), speed, local, peer]
        });
        Self {
            event,
            variables: variables.0,
            arguments: arguments.unwrap_or_default(),
        }
    }

    async fn run(self, script: &str, limit: Duration) -> Outcome {
        let mut command = Command::new(script);
        command
            .env_clear()
            .env("PATH", PATH)
            .env("OPENL2TP_EVENT", self.event)
            .envs(
                self.variables
                    .iter()
                    .map(|(name, value)| (name, clean(value))),
            )
            .args(self.arguments.iter().map(|argument| clean(argument)))
            .current_dir("/")
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        match command.spawn() {
            Ok(child) => supervise(child, self.event, limit).await,
            Err(error) => {
                warn!("event_script {script} cannot be run: {error}");
                Outcome::Failed
            }
        }
    }
}

/// The environment of a run.
struct Variables(Vec<(&'static str, String)>);

impl Variables {
    fn set(&mut self, name: &'static str, value: impl ToString) {
        self.0.push((name, value.to_string()));
    }

    fn set_if(&mut self, name: &'static str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    fn tunnel(&mut self, tunnel: &HookTunnel) {
        self.set("OPENL2TP_TUNNEL_ID", tunnel.id);
        self.set_if("OPENL2TP_TUNNEL_NAME", tunnel.name.as_ref());
        self.set("OPENL2TP_PEER", tunnel.remote.ip());
        self.set("OPENL2TP_PEER_PORT", tunnel.remote.port());
        self.set("OPENL2TP_HOST_NAME", &tunnel.host_name);
        self.set("OPENL2TP_PEER_PROFILE", &tunnel.peer_profile);
    }

    fn session(&mut self, session: &HookSession) {
        self.set("OPENL2TP_SESSION_ID", session.id);
        self.set("OPENL2TP_ROLE", session.role);
        self.set_if("OPENL2TP_USER", session.user.as_ref());
        self.set("IFNAME", &session.device);
        self.set("DEVICE", "");
        self.set("SPEED", session.speed);
        // Who we are at a server of ours is not who it is.
        let peer = session.user.as_ref().filter(|_| session.role == Role::Lns);
        self.set_if("PEERNAME", peer);
        self.set_if("OPENL2TP_SESSION_NAME", session.name.as_ref());
        self.set_if("LINKNAME", session.name.as_ref());
        let names = [("IPLOCAL", "IPREMOTE"), ("LLLOCAL", "LLREMOTE")];
        for ((ours, theirs), network) in names.into_iter().zip(session.networks) {
            let (local, peer) = network.unzip();
            self.set_if(ours, local);
            self.set_if(theirs, peer);
        }
        for (name, server) in ["DNS1", "DNS2"].into_iter().zip(session.dns) {
            self.set_if(name, server);
        }
    }

    fn end(&mut self, end: &HookEnd) {
        self.set_if("OPENL2TP_REASON", end.reason.as_ref());
        self.set("CONNECT_TIME", end.lasted.as_secs());
        self.set_if("BYTES_SENT", end.carried.map(|stats| stats.tx_bytes));
        self.set_if("BYTES_RCVD", end.carried.map(|stats| stats.rx_bytes));
    }
}

/// Waits for a program, and ends it and all that it started when its time is up.
async fn supervise(mut child: Child, event: &'static str, limit: Duration) -> Outcome {
    let group = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // What it left behind may keep its output open: that is not waited for.
    let mut said = JoinSet::new();
    child
        .stdout
        .take()
        .map(|output| said.spawn(log(output, event)));
    child
        .stderr
        .take()
        .map(|output| said.spawn(log(output, event)));
    let signal = |signal| {
        if let Some(group) = group {
            // One that has just ended needs no signal.
            let _ = kill_process_group(group, signal);
        }
    };
    let in_time = timeout(limit, child.wait()).await;
    let timed_out = in_time.is_err();
    let status = match in_time {
        Ok(status) => status,
        Err(_) => {
            warn!(
                "event_script for {event} took more than {} s and was ended",
                limit.as_secs()
            );
            signal(Signal::TERM);
            let ended = timeout(GRACE, child.wait()).await;
            signal(Signal::KILL);
            match ended {
                Ok(status) => status,
                Err(_) => child.wait().await,
            }
        }
    };
    let rest = async { while said.join_next().await.is_some() {} };
    let _ = timeout(Duration::from_millis(100), rest).await;
    match status {
        Ok(status) if status.success() => {
            debug!("event_script for {event}: done");
            if !timed_out {
                return Outcome::Done;
            }
        }
        Ok(status) => warn!("event_script for {event}: {status}"),
        Err(error) => warn!("event_script for {event}: {error}"),
    }
    if timed_out {
        Outcome::TimedOut
    } else {
        Outcome::Failed
    }
}

async fn log(output: impl AsyncRead + Unpin, event: &'static str) {
    let mut output = BufReader::new(output.take(SAID));
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line).await, Ok(1..)) {
        info!(
            "event_script for {event}: {}",
            clean(String::from_utf8_lossy(&line).trim_end())
        );
        line.clear();
    }
    // Whoever says more is heard, so that it is not stopped, but not logged.
    let mut rest = output.into_inner().into_inner();
    let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
}

/// A value from outside: what could break a line or steer a terminal is a question mark, and the rest of what is too long is left out.
fn clean(value: &str) -> String {
    let end = value.floor_char_boundary(LONGEST);
    value[..end].replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel() -> HookTunnel {
        HookTunnel {
            id: 7,
            name: None,
            remote: "192.0.2.1:1701".parse().unwrap(),
            host_name: "lac".to_owned(),
            peer_profile: "default".to_owned(),
        }
    }

    fn session() -> HookSession {
        let ends = |local: &str, peer: &str| Some((local.parse().unwrap(), peer.parse().unwrap()));
        HookSession {
            id: 9,
            name: Some("home".to_owned()),
            role: Role::Lns,
            user: Some("u".to_owned()),
            device: "l2tp0".to_owned(),
            speed: 64_000,
            networks: [ends("10.0.0.1", "10.0.0.2"), ends("fe80::1", "fe80::2")],
            dns: [Some([10, 0, 0, 53].into()), None],
        }
    }

    fn call(event: HookEvent) -> Call {
        let (tunnel, session) = (tunnel(), Some(session()));
        Call::new(&Hook {
            event,
            tunnel,
            session,
        })
    }

    fn end() -> HookEnd {
        HookEnd {
            reason: Some("bye".to_owned()),
            lasted: Duration::from_secs(10),
            carried: Some(datapath::Stats {
                rx_bytes: 100,
                tx_bytes: 200,
                ..Default::default()
            }),
        }
    }

    #[test]
    fn each_network_layer_is_told_as_pppd_tells_it() {
        for (local, peer, family) in [
            ("10.0.0.1", "10.0.0.2", "ipv4"),
            ("fe80::1", "fe80::2", "ipv6"),
        ] {
            let call = call(HookEvent::PppUp(
                local.parse().unwrap(),
                peer.parse().unwrap(),
            ));
            assert_eq!(call.event, "ppp-up");
            assert_eq!(call.arguments, ["l2tp0", "", "64000", local, peer]);
            assert!(
                call.variables
                    .contains(&("OPENL2TP_FAMILY", family.to_owned()))
            );
        }
    }

    #[test]
    fn an_end_says_all_that_was_and_what_is_not_known_is_not_set() {
        let ppp_down = HookEvent::PppDown([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), end());
        let call = call(ppp_down);
        for (name, value) in [
            ("IFNAME", Some("l2tp0")),
            ("IPLOCAL", Some("10.0.0.1")),
            ("LLREMOTE", Some("fe80::2")),
            ("PEERNAME", Some("u")),
            ("LINKNAME", Some("home")),
            ("SPEED", Some("64000")),
            ("DNS1", Some("10.0.0.53")),
            ("DNS2", None),
            ("CONNECT_TIME", Some("10")),
            ("BYTES_SENT", Some("200")),
            ("BYTES_RCVD", Some("100")),
            ("OPENL2TP_PEER", Some("192.0.2.1")),
            ("OPENL2TP_TUNNEL_NAME", None),
            ("OPENL2TP_REASON", Some("bye")),
        ] {
            let found = call.variables.iter().find(|(known, _)| *known == name);
            assert_eq!(found.map(|(_, value)| value.as_str()), value, "{name}");
        }
    }

    #[test]
    fn who_we_are_as_a_client_is_not_who_the_peer_is() {
        let session = HookSession {
            role: Role::Lac,
            ..session()
        };
        let call = Call::new(&Hook {
            event: HookEvent::SessionUp,
            tunnel: tunnel(),
            session: Some(session),
        });
        let names: Vec<_> = call.variables.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&"OPENL2TP_USER") && !names.contains(&"PEERNAME"));
    }

    #[test]
    fn values_from_outside_are_one_short_line() {
        assert_eq!(clean("a\n\x1b[2Jb\0"), "a??[2Jb?");
        assert_eq!(clean(&"\u{e4}".repeat(300)).len(), 254);
    }
}
