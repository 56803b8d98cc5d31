//! The management runtime: the interface, name resolution, signals, and the way to an orderly end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use api::server;
use config::TraceFlags;
use engine::Input;
use tokio::net::{UnixListener, lookup_host};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::backend::Daemon;
use crate::mailbox::{Mail, Mailbox};
use crate::pppd::{Order, Pppds};
use crate::service;
use crate::shard::{Broken, Question};
use crate::trace::{self, SYSTEM};

/// How long the peers may take to acknowledge that we close.
const FAREWELL: Duration = Duration::from_secs(5);

/// What management works with.
pub(crate) struct Management {
    /// What requests are about.
    pub(crate) daemon: Arc<Daemon>,
    /// The shard.
    pub(crate) mailbox: Mailbox,
    /// Names to resolve for the shard.
    pub(crate) questions: mpsc::UnboundedReceiver<Question>,
    /// The processes of pppd.
    pub(crate) pppds: Pppds,
    /// What the shard wants of them.
    pub(crate) ordered: mpsc::UnboundedReceiver<Order>,
    /// Told when the shard has ended; dropped when it panicked.
    pub(crate) ended: oneshot::Receiver<Result<(), Broken>>,
    /// Where the interface is served.
    pub(crate) listener: Option<std::os::unix::net::UnixListener>,
    /// Where it is served to those who may only look.
    pub(crate) read_only: Option<std::os::unix::net::UnixListener>,
    /// What came since they were taken is waiting.
    pub(crate) signals: Signals,
}

impl Management {
    /// Works until a signal ends the daemon. `ready` is called once, when everything is in place.
    pub(crate) async fn run(
        mut self,
        ready: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if let Some(listener) = self.listener {
            let listener = UnixListener::from_std(listener)?;
            tokio::spawn(server::serve(listener, Arc::clone(&self.daemon)));
        }
        if let Some(listener) = self.read_only {
            let listener = UnixListener::from_std(listener)?;
            tokio::spawn(server::serve_read_only(listener, Arc::clone(&self.daemon)));
        }
        tokio::spawn(resolve(self.questions, self.mailbox.clone()));
        tokio::spawn(service::keep_watchdog(self.mailbox.clone()));
        let pppds = tokio::spawn(self.pppds.run(self.ordered));
        let lanes = self.daemon.hooks.start();
        ready()?;
        let daemon = Arc::clone(&self.daemon);
        let opening = tokio::spawn(async move { daemon.open_configured().await });
        tokio::select! {
            signal = self.signals.end(&self.daemon) => info!("{signal}: closing every tunnel"),
            ended = &mut self.ended => return Err(broken(ended)),
        }
        service::stopping("closing every tunnel");
        opening.abort();
        tokio::select! {
            ended = async {
                let ended = end(&self.daemon, &self.mailbox, self.ended).await;
                // The shard orders no more: they end.
                let _ = pppds.await;
                self.daemon.hooks.finish(lanes).await;
                ended
            } => ended,
            signal = self.signals.end(&self.daemon) => bail!("{signal} again: ended at once; peers may not know"),
        }
    }
}

/// Closes every tunnel, then takes the datapath down.
async fn end(
    daemon: &Daemon,
    mailbox: &Mailbox,
    ended: oneshot::Receiver<Result<(), Broken>>,
) -> anyhow::Result<()> {
    if timeout(FAREWELL, daemon.shut_down()).await.is_err() {
        warn!("some peers did not acknowledge that we close");
    }
    mailbox.send(Mail::Stop);
    match ended.await {
        Ok(Ok(())) => {
            info!("ended");
            Ok(())
        }
        ended => Err(broken(ended)),
    }
}

fn broken(ended: Result<Result<(), Broken>, oneshot::error::RecvError>) -> anyhow::Error {
    match ended {
        Ok(Err(Broken)) => {
            anyhow::anyhow!("a timer of the engine panics again and again, which is a bug")
        }
        Ok(Ok(())) | Err(_) => anyhow::anyhow!("the shard ended by itself, which is a bug"),
    }
}

/// Reads the configuration again, as SIGHUP asks for; the log says what came of it.
async fn reload(daemon: Arc<Daemon>) {
    daemon.log.reopen();
    info!("SIGHUP: the configuration is read again");
    service::reloading();
    let status = match daemon.reload(false).await {
        Ok(_) => "serves; the configuration was read again",
        Err(_) => "serves; the configuration is wrong and was not taken: see the log",
    };
    service::ready(status);
}

/// Answers the shard's questions, each in its own time.
async fn resolve(mut questions: mpsc::UnboundedReceiver<Question>, mailbox: Mailbox) {
    while let Some(Question { token, host }) = questions.recv().await {
        let mailbox = mailbox.clone();
        tokio::spawn(async move {
            let result = match lookup_host((host.as_str(), 0)).await {
                Ok(found) => Ok(found.map(|address| address.ip()).collect()),
                Err(error) => Err(format!("cannot resolve {host}: {error}")),
            };
            if trace::everywhere().meets(TraceFlags::SYSTEM) {
                tracing::trace!(target: SYSTEM, "{host} is {result:?}");
            }
            // A shard that is gone asks no more.
            mailbox.send(Mail::Input(Input::Resolved { token, result }));
        });
    }
}

/// The signals that we take. SIGPIPE is ignored by the standard library's start-up.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    debug: Signal,
    reserved: Signal,
}

impl Signals {
    /// Takes them from now on, within a runtime.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            debug: signal(SignalKind::user_defined1())?,
            reserved: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for one that ends the daemon, and does what the others ask for; its name.
    async fn end(&mut self, daemon: &Arc<Daemon>) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hang_up.recv() => {
                    tokio::spawn(reload(Arc::clone(daemon)));
                }
                _ = self.debug.recv() => daemon.toggle_debug(),
                _ = self.reserved.recv() => info!("SIGUSR2: nothing to do"),
            }
        }
    }
}
