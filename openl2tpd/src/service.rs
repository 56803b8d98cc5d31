//! The service manager: what it is told, the watchdog that it keeps, and the sockets that it opened for us. Without one, nothing happens.

use std::io;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::mailbox::{Mail, Mailbox};

/// What its socket of the management interface is called (`FileDescriptorName=`).
const API: &str = "api";
/// And that of its read-only one.
const READ_ONLY: &str = "api-readonly";

/// Everything is in place.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] ends that.
pub(crate) fn reloading() {
    // The manager takes no RELOADING without the time, and the clock is always there.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The daemon is on its way to its end.
pub(crate) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("the service manager is not told: {error}");
    }
}

/// Tells the watchdog that we live, for as long as the shard does: one that hangs answers no more, and then nor do we.
pub(crate) async fn keep_watchdog(mailbox: Mailbox) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    let step = patience / 3;
    loop {
        match shard_answers(&mailbox, step).await {
            true => tell(&[NotifyState::Watchdog]),
            false => warn!("the shard does not answer: the watchdog is not told that we live"),
        }
        sleep(step).await;
    }
}

async fn shard_answers(mailbox: &Mailbox, patience: Duration) -> bool {
    let (answer, answered) = oneshot::channel();
    mailbox.send(Mail::Alive(answer));
    matches!(timeout(patience, answered).await, Ok(Ok(())))
}

/// The sockets that the service manager opened for us.
#[derive(Debug, Default)]
pub(crate) struct Activated {
    /// Where the interface is served.
    pub(crate) api: Option<UnixListener>,
    /// Where it is served to those who may only look.
    pub(crate) read_only: Option<UnixListener>,
}

impl Activated {
    /// Takes them.
    ///
    /// # Errors
    ///
    /// One has a name that we do not know, or is not a listening Unix socket.
    pub(crate) fn take() -> io::Result<Self> {
        let mut sockets = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        // A manager that gives no names gives one socket.
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let mut activated = Self::default();
        for index in 0..sockets.len() {
            let name = names.next().unwrap_or(API);
            let place = match name {
                API => &mut activated.api,
                READ_ONLY => &mut activated.read_only,
                other => {
                    let message =
                        format!("a socket is called {other}, which is none of: {API}, {READ_ONLY}");
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
                }
            };
            *place = sockets.take_unix_listener(index)?;
        }
        Ok(activated)
    }
}
