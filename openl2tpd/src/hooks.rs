//! The program that is run when tunnels, sessions and their PPP come up and go down. What it is told is in `docs/hooks.md`.
//!
//! The shard only leaves word here. A lane runs one program at a time, and a tunnel's events are all of one lane, so that they are in order.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::Model;
use engine::Event;
use rustix::process::{Pid, Signal, kill_process_group};
use sansio::Time;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::clock;

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
    lanes: [VecDeque<(Time, Event)>; LANES],
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
    pub(crate) fn offer(&self, event: &Event) {
        let (Event::TunnelUp { tunnel, .. }
        | Event::TunnelDown {
            tunnel,
            was_up: true,
            ..
        }
        | Event::SessionUp { tunnel, .. }
        | Event::SessionDown {
            tunnel,
            was_up: true,
            ..
        }) = event
        else {
            return;
        };
        let lane = usize::from(*tunnel) % LANES;
        let mut state = self.state();
        if state.script.is_none() {
            return;
        }
        if state.lanes[lane].len() == WAITING {
            state.lanes[lane].pop_front();
            state.lost += 1;
            state.counts.lost += 1;
        }
        state.lanes[lane].push_back((clock::now(), event.clone()));
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
        let mut known = Known::default();
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
                Some(((at, event), (script, limit))) => {
                    for call in known.calls(&event, at) {
                        let outcome = call.run(&script, limit).await;
                        self.count(&outcome);
                    }
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

/// What was said of those that are up, for the events that say less.
#[derive(Default)]
struct Known {
    tunnels: BTreeMap<u16, (Time, SocketAddr, String)>,
    sessions: BTreeMap<(u16, u16), Up>,
}

#[derive(Clone)]
struct Up {
    since: Time,
    user: Option<String>,
    device: String,
    ipv4: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// One run of the program.
struct Call {
    event: &'static str,
    variables: Vec<(&'static str, String)>,
    arguments: Vec<String>,
}

impl Known {
    /// The runs that an event asks for, in order.
    fn calls(&mut self, event: &Event, now: Time) -> Vec<Call> {
        match event {
            Event::TunnelUp {
                tunnel,
                remote,
                host_name,
            } => {
                self.tunnels
                    .insert(*tunnel, (now, *remote, host_name.clone()));
                vec![self.tunnel("tunnel-up", *tunnel)]
            }
            Event::TunnelDown { tunnel, reason, .. } => {
                let mut call = self.tunnel("tunnel-down", *tunnel);
                call.ended(self.tunnels.get(tunnel).map(|up| now - up.0), reason);
                self.tunnels.remove(tunnel);
                self.sessions.retain(|id, _| id.0 != *tunnel);
                vec![call]
            }
            Event::SessionUp {
                tunnel,
                session,
                user,
                device,
                ipv4,
            } => {
                let before = self.sessions.get(&(*tunnel, *session)).map(|up| up.since);
                let up = Up {
                    since: before.unwrap_or(now),
                    user: user.clone(),
                    device: device.clone(),
                    ipv4: *ipv4,
                };
                self.sessions.insert((*tunnel, *session), up.clone());
                // PPP can come up again with other addresses.
                let events: &[_] = if before.is_some() {
                    &["ppp-up"]
                } else {
                    &["session-up", "ppp-up"]
                };
                events
                    .iter()
                    .map(|event| self.session(event, *tunnel, *session, Some(&up)))
                    .collect()
            }
            Event::SessionDown {
                tunnel,
                session,
                reason,
                ..
            } => {
                let up = self.sessions.remove(&(*tunnel, *session));
                let calls = ["ppp-down", "session-down"].map(|event| {
                    let mut call = self.session(event, *tunnel, *session, up.as_ref());
                    call.ended(up.as_ref().map(|up| now - up.since), reason);
                    call
                });
                calls.into()
            }
            _ => Vec::new(),
        }
    }

    fn tunnel(&self, event: &'static str, tunnel: u16) -> Call {
        let mut variables = vec![("OPENL2TP_TUNNEL_ID", tunnel.to_string())];
        if let Some((_, remote, host_name)) = self.tunnels.get(&tunnel) {
            variables.push(("OPENL2TP_PEER", remote.ip().to_string()));
            variables.push(("OPENL2TP_PEER_PORT", remote.port().to_string()));
            variables.push(("OPENL2TP_HOST_NAME", host_name.clone()));
        }
        Call {
            event,
            variables,
            arguments: Vec::new(),
        }
    }

    fn session(&self, event: &'static str, tunnel: u16, session: u16, up: Option<&Up>) -> Call {
        let mut call = self.tunnel(event, tunnel);
        call.variables
            .push(("OPENL2TP_SESSION_ID", session.to_string()));
        let Some(up) = up else {
            return call;
        };
        let user = up.user.clone().unwrap_or_default();
        let addresses = up
            .ipv4
            .map(|(local, peer)| (local.to_string(), peer.to_string()));
        let (local, peer) = addresses.unwrap_or_default();
        call.variables.extend([
            ("OPENL2TP_USER", user.clone()),
            ("PEERNAME", user),
            ("IFNAME", up.device.clone()),
            ("IPLOCAL", local.clone()),
            ("IPREMOTE", peer.clone()),
            ("DEVICE", String::new()),
            ("SPEED", "0".to_owned()),
        ]);
        // As pppd calls ip-up: device, terminal, speed, our address, the peer's.
        call.arguments = vec![
            up.device.clone(),
            String::new(),
            "0".to_owned(),
            local,
            peer,
        ];
        call
    }
}

impl Call {
    fn ended(&mut self, lasted: Option<Duration>, reason: &str) {
        self.variables.push(("OPENL2TP_REASON", reason.to_owned()));
        if let Some(lasted) = lasted {
            self.variables
                .push(("CONNECT_TIME", lasted.as_secs().to_string()));
        }
    }

    async fn run(self, script: &str, limit: Duration) -> Outcome {
        let mut command = Command::new(script);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
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

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn what_ends_is_described_as_it_began() {
        let mut known = Known::default();
        let remote = "192.0.2.1:1701".parse().unwrap();
        known.calls(
            &Event::TunnelUp {
                tunnel: 7,
                remote,
                host_name: "lac".to_owned(),
            },
            at(1),
        );
        let up = Event::SessionUp {
            tunnel: 7,
            session: 9,
            user: Some("u".to_owned()),
            device: "l2tp0".to_owned(),
            ipv4: Some(([10, 0, 0, 1].into(), [10, 0, 0, 2].into())),
        };
        let events = |calls: &[Call]| calls.iter().map(|call| call.event).collect::<Vec<_>>();
        assert_eq!(events(&known.calls(&up, at(2))), ["session-up", "ppp-up"]);
        assert_eq!(events(&known.calls(&up, at(3))), ["ppp-up"]);
        let down = Event::SessionDown {
            tunnel: 7,
            session: 9,
            remote,
            user: None,
            reason: "bye".to_owned(),
            was_up: true,
        };
        let calls = known.calls(&down, at(12));
        assert_eq!(events(&calls), ["ppp-down", "session-down"]);
        for (name, value) in [
            ("IFNAME", "l2tp0"),
            ("CONNECT_TIME", "10"),
            ("OPENL2TP_PEER", "192.0.2.1"),
            ("PEERNAME", "u"),
        ] {
            assert!(
                calls[0].variables.contains(&(name, value.to_owned())),
                "{name}"
            );
        }
        assert_eq!(
            calls[0].arguments,
            ["l2tp0", "", "0", "10.0.0.1", "10.0.0.2"]
        );
    }

    #[test]
    fn values_from_outside_are_one_short_line() {
        assert_eq!(clean("a\n\x1b[2Jb\0"), "a??[2Jb?");
        assert_eq!(clean(&"\u{e4}".repeat(300)).len(), 254);
    }
}
