//! A shard: one thread that owns an engine, and carries out what it wants.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use api::server::EventLog;
use datapath::{Event, Request, Transport};
use engine::{Engine, Input, Output, PppdRequest, Token};
use sansio::Time;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::capture::{self, Capture};
use crate::carrier::Carrier;
use crate::hooks::Hooks;
use crate::log_limit::LogLimit;
use crate::mailbox::{Answer, Inbox, Mail};
use crate::pppd::{Order, Orders};
use crate::sockets::Sockets;
use crate::trace::Followers;
use crate::{clock, events, report, trace};

/// A name to resolve, for the management runtime.
pub(crate) struct Question {
    /// Goes into [`Input::Resolved`].
    pub(crate) token: Token,
    /// A host name or a literal address.
    pub(crate) host: String,
}

/// A shard, to run on a thread of its own.
pub(crate) struct Shard {
    engine: Engine,
    carrier: Carrier,
    sockets: Sockets,
    resolver: mpsc::UnboundedSender<Question>,
    /// Those who wait for an answer, by the token of their command.
    callers: BTreeMap<Token, oneshot::Sender<Answer>>,
    last_token: u64,
    /// Collected for one submission.
    requests: Vec<Request>,
    /// To peers, with their DSCP, that wait for the requests to be carried out.
    messages: Vec<(Transport, u8, Vec<u8>)>,
    log_limit: LogLimit,
    /// What happened, for those who follow.
    happened: Arc<EventLog>,
    followers: Followers,
    hooks: Hooks,
    pppds: Orders,
}

/// The engine panics whenever it handles the timeout that is due: it would for ever.
pub(crate) struct Broken;

impl Shard {
    /// A shard over a started datapath.
    pub(crate) fn new(
        engine: Engine,
        carrier: Carrier,
        sockets: Sockets,
        resolver: mpsc::UnboundedSender<Question>,
        happened: Arc<EventLog>,
        hooks: Hooks,
        pppds: Orders,
    ) -> Self {
        Self {
            engine,
            carrier,
            sockets,
            resolver,
            callers: BTreeMap::new(),
            last_token: 0,
            requests: Vec::new(),
            messages: Vec::new(),
            log_limit: LogLimit::default(),
            happened,
            followers: Followers::default(),
            hooks,
            pppds,
        }
    }

    /// Works until it is told to stop. The datapath is down when it returns.
    pub(crate) fn run(mut self, mut inbox: Inbox) -> Result<(), Broken> {
        self.take_outputs(clock::now());
        self.flush();
        while self.wake_up(&mut inbox)? {}
        Ok(())
    }

    /// Carries out what the engine wants done.
    fn take_outputs(&mut self, now: Time) {
        while let Some(output) = self.engine.poll_output() {
            self.take(output, now);
        }
    }

    /// Waits for something to do, and does it; whether to go on. What is done in one wake-up has one time.
    fn wake_up(&mut self, inbox: &mut Inbox) -> Result<bool, Broken> {
        let timers = [
            self.engine.next_timeout(),
            self.carrier.next_timeout(),
            self.log_limit.next(),
        ];
        let mail = inbox.wait(timers.into_iter().flatten().min());
        let now = clock::now();
        for mail in mail {
            match mail {
                Mail::Stop => {
                    self.flush();
                    return Ok(false);
                }
                other => self.receive(other, now),
            }
        }
        let overdue = self.carrier.handle_timeout(now);
        self.receive_events(overdue, now);
        self.handle_timeout(now)?;
        for (source, lines) in self.log_limit.left_out(now) {
            report::left_out(source, lines);
        }
        self.flush();
        Ok(true)
    }

    /// Has the datapath do what it is to do, then tells the peers: who is told of a session may send in it at once.
    fn flush(&mut self) {
        self.carrier.submit(&mut self.requests);
        for (path, dscp, payload) in self.messages.drain(..) {
            self.sockets.transmit(&path, dscp, &payload);
        }
    }

    fn receive(&mut self, mail: Mail, now: Time) {
        match mail {
            Mail::Datapath(events) => {
                let events = self.carrier.receive(events, now);
                self.receive_events(events, now);
            }
            Mail::Command(command, caller) => {
                self.last_token += 1;
                let token = Token(self.last_token);
                self.callers.insert(token, caller);
                self.handle(Input::Command { token, command }, now);
            }
            Mail::Input(input) => {
                self.handle(input, now);
            }
            Mail::Follow(follower) => self.followers.add(follower),
            Mail::Capture(capture) => self.capture(capture),
            Mail::CaptureEnded(handle) => self.carrier.end_capture(handle),
            Mail::Socket(socket) => self.carrier.add_socket(socket),
            Mail::SocketGone(socket) => self.carrier.remove_socket(&socket),
            Mail::Alive(answer) => {
                // Who asked and did not wait knows enough.
                let _ = answer.send(());
            }
            // Ended the loop.
            Mail::Stop => {}
        }
    }

    fn capture(&mut self, capture: Capture) {
        // The datapath is to know all that the engine does.
        self.carrier.submit(&mut self.requests);
        let point = self.engine.capture_point(&capture.tunnel, &capture.session);
        let begun = point.and_then(|point| {
            let begun = self.carrier.capture(&point, capture.tap);
            begun.map_err(|error| capture::refused(&error))?;
            Ok(point.handle)
        });
        // Who asked may be gone.
        let _ = capture.answer.send(begun);
    }

    fn receive_events(&mut self, events: Vec<Event>, now: Time) {
        for event in events {
            report::received(&event);
            report::completed(&event, &self.engine);
            self.handle(Input::Datapath(event), now);
        }
    }

    /// Hands one input to the engine and takes what it wants done; whether the engine took it without a panic.
    ///
    /// A panic there is our bug, and costs what the input was about: one message, one request. The engine is plain data without locks or
    /// unsafe code, so the other tunnels go on with what they have; ending the daemon for it would let one packet end them all.
    fn handle(&mut self, input: Input, now: Time) -> bool {
        self.engine
            .set_tracing(trace::everywhere(), self.followers.any());
        let handled = catch_unwind(AssertUnwindSafe(|| self.engine.handle(input, now))).is_ok();
        if !handled {
            error!("the input that made it panic was dropped");
        }
        self.take_outputs(now);
        handled
    }

    /// Fires the timers that are due.
    fn handle_timeout(&mut self, now: Time) -> Result<(), Broken> {
        let due = self.engine.next_timeout().filter(|&at| at <= now);
        // What panicked without moving on would do so again at once, and again.
        if due.is_some() && !self.handle(Input::Timeout, now) && self.engine.next_timeout() == due {
            return Err(Broken);
        }
        Ok(())
    }

    /// Tells what happened; logs it, unless it is one thing too many of a peer that comes to nothing.
    fn report(&mut self, event: &engine::Event, now: Time) {
        events::push(&self.happened, events::shown(event));
        let stranger = event.about_stranger();
        if stranger.is_none_or(|peer| self.log_limit.admit(peer.ip().into(), now)) {
            report::event(event);
        }
    }

    fn take(&mut self, output: Output, now: Time) {
        match output {
            Output::Transmit {
                listener,
                local,
                remote,
                dscp,
                payload,
            } => {
                let path = Transport {
                    listener,
                    local,
                    remote,
                };
                self.messages.push((path, dscp, payload));
            }
            Output::Datapath(request) => {
                report::request(&request, &self.engine);
                self.requests.push(request);
            }
            Output::Pppd { handle, request } => {
                let starts = matches!(request, PppdRequest::Start(_));
                let socket = starts.then(|| self.carrier.lend(handle));
                // Management ends after us.
                let _ = self.pppds.send(Order {
                    handle,
                    request,
                    socket,
                });
            }
            Output::Resolve { token, host } => {
                // Management ends after us.
                let _ = self.resolver.send(Question { token, host });
            }
            Output::Reply { token, result } => {
                if let Some(caller) = self.callers.remove(&token) {
                    // A caller that went away has no use for the answer.
                    let _ = caller.send(result);
                }
            }
            Output::Event(event) => self.report(&event, now),
            Output::Hook(hook) => self.hooks.offer(hook),
            Output::Trace(trace) => {
                report::traced(&trace);
                self.followers.show(&trace);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use api::{Range, Response, SessionFilter, Statistics, TunnelFilter};
    use config::Model;
    use engine::{Command, EngineConfig};

    use super::*;
    use crate::flags::DatapathName;
    use crate::mailbox::{MAIL_A_WAKE_UP, Mailbox, mailbox};

    /// What an engine is started with that has nothing configured.
    pub(crate) fn unconfigured() -> EngineConfig {
        EngineConfig {
            model: Arc::new(Model::default()),
            udp_port: 1701,
            host_name: "test".to_owned(),
            seed: [0; 32],
            version: "0.0".to_owned(),
            datapath: "null".to_owned(),
        }
    }

    fn shard(mailbox: Mailbox) -> Shard {
        let sockets = Sockets::new(1701);
        let sink = Arc::new(mailbox);
        let carrier = Carrier::start(
            DatapathName::Null,
            Err(None),
            sockets.clone(),
            Vec::new(),
            sink,
        );
        let (resolver, _questions) = mpsc::unbounded_channel();
        Shard::new(
            Engine::new(unconfigured(), clock::now()),
            carrier.unwrap(),
            sockets,
            resolver,
            Arc::new(EventLog::new(1, 1)),
            Hooks::default(),
            mpsc::unbounded_channel().0,
        )
    }

    fn ask(mailbox: &Mailbox, command: Command) -> oneshot::Receiver<Answer> {
        let (caller, answer) = oneshot::channel();
        mailbox.send(Mail::Command(command, caller));
        answer
    }

    #[test]
    fn all_that_waits_is_received_however_much_it_is() {
        let (mailbox, inbox) = mailbox();
        let all = 0..5 * MAIL_A_WAKE_UP;
        let answers: Vec<_> = all.map(|_| ask(&mailbox, Command::SystemShow)).collect();
        mailbox.send(Mail::Stop);
        assert!(shard(mailbox).run(inbox).is_ok());
        for mut answer in answers {
            assert!(matches!(answer.try_recv(), Ok(Ok(_))));
        }
    }

    fn examined(shard: &mut Shard) -> u64 {
        let (caller, mut answer) = oneshot::channel();
        shard.receive(Mail::Command(Command::Statistics, caller), clock::now());
        match answer.try_recv() {
            Ok(Ok(Response::Statistics(Statistics(all)))) => all["lists.examined"],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wake_up_looks_at_256_items_of_lists_at_most_however_many_ask() {
        let (mailbox, mut inbox) = mailbox();
        let mut shard = shard(mailbox.clone());
        for number in 0..300 {
            let text =
                format!("tunnel create tunnel_name=t{number} dest_ipaddr=no.such.host persist=yes");
            let tunnel = Model::load("test", &text).unwrap().model.tunnels.remove(0);
            let (caller, mut answer) = oneshot::channel();
            let create = Command::TunnelCreate(Box::new(tunnel));
            shard.receive(Mail::Command(create, caller), clock::now());
            assert!(matches!(answer.try_recv(), Ok(Ok(_))));
        }
        let mut answers = Vec::new();
        for _ in 0..10 {
            let range = Range::default;
            let short = Range {
                limit: Some(100),
                after: None,
            };
            for command in [
                Command::TunnelList(TunnelFilter::default(), range()),
                Command::SystemShow,
                Command::SessionList(SessionFilter::default(), range()),
                Command::TrafficRead(None, None),
                Command::PeerList(short.clone()),
                Command::PeerList(short),
            ] {
                answers.push(ask(&mailbox, command));
            }
        }
        let mut answered = 0;
        while answered < answers.len() {
            let before = examined(&mut shard);
            assert!(matches!(shard.wake_up(&mut inbox), Ok(true)));
            let looks = examined(&mut shard) - before;
            assert!(looks <= 256, "{looks} in one wake-up");
            let waiting = &mut answers[answered..];
            let now: Vec<bool> = waiting.iter_mut().map(|a| a.try_recv().is_ok()).collect();
            assert!(now[0], "every wake-up answers somebody");
            assert!(
                now.is_sorted_by(|before, after| before >= after),
                "in order"
            );
            answered += now.iter().filter(|answered| **answered).count();
        }
        assert!(examined(&mut shard) > 10 * 256, "the lists are long");
    }
}
