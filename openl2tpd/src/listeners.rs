//! The listeners of the configuration, as they come, go and change while the daemon runs.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::{CommandError, ErrorKind, Origin, Range, Response, Selector, TunnelFilter, TunnelStatus};
use config::Model;
use datapath::socket::Socket;
use engine::Command;
use tokio::time::sleep;

use crate::backend::Daemon;
use crate::mailbox::Mail;

/// How often it is seen whether a socket is closed, and how long apart.
const LOOKS: u32 = 200;
const APART: Duration = Duration::from_millis(10);

impl Daemon {
    /// Opens the sockets of the listeners that `old` does not have, all or none.
    pub(crate) fn open_listeners(&self, old: &Model, new: &Model) -> Result<(), CommandError> {
        let come = |name: &&String| !old.listeners.contains_key(*name);
        for name in new.listeners.keys().filter(come) {
            if let Err(error) = self.open_sockets(new.listeners.get(name), 0) {
                let all = new.listeners.keys().filter(come);
                all.for_each(|name| drop(self.close_sockets(name)));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Closes the sockets of a listener, when the peers whose tunnels it has have been told. Tunnels of ours are not ended: those of the file a
    /// reload makes anew, and others that are persistent find out by themselves.
    pub(crate) async fn close_listener(&self, name: &str) -> Vec<Weak<Socket>> {
        for tunnel in self.tunnels_of_peers(name).await {
            if let Some(id) = tunnel.tunnel_id {
                // One that is gone already is as it is to be.
                let _ = self.ask(Command::TunnelDelete(Selector::Id(id))).await;
            }
        }
        self.close_sockets(name)
    }

    /// Has a listener that has changed serve what it is to serve now. Where that can't be opened it serves what it served.
    pub(crate) async fn move_listener(&self, name: &str) -> Result<Response, CommandError> {
        let model = self.present();
        let Some(listener) = model.listeners.get(name) else {
            return Ok(Response::Done);
        };
        let opened = match self.sockets.open(Some(listener), 0) {
            Ok(opened) => Some(opened),
            // Its own sockets are in the way.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let own = self.sockets.keeps_port(listener);
                own.then_some(None).ok_or_else(|| unbound(&error))?
            }
            Err(error) => return Err(unbound(&error)),
        };
        let old = self.close_listener(name).await;
        let opened = match opened {
            Some(opened) => opened,
            None => {
                closed(&old).await;
                let opened = self.sockets.open(Some(listener), 0);
                opened.map_err(|error| unbound(&error))?
            }
        };
        self.sockets.add(&opened);
        let mail = opened.into_iter().map(Mail::Socket);
        mail.for_each(|socket| self.mail(socket));
        Ok(Response::Done)
    }

    /// The tunnels that peers opened by way of a listener.
    pub(crate) async fn tunnels_of_peers(&self, listener: &str) -> Vec<TunnelStatus> {
        let filter = TunnelFilter {
            created_by: Some(Origin::Peer),
            ..TunnelFilter::default()
        };
        let (mut found, mut range) = (Vec::new(), Range::default());
        loop {
            let list = Command::TunnelList(filter.clone(), range);
            let Ok(Response::Tunnels(page)) = self.ask(list).await else {
                return found;
            };
            let its = |tunnel: &TunnelStatus| tunnel.listener_name.as_deref() == Some(listener);
            found.extend(page.items.into_iter().filter(its));
            if page.next.is_none() {
                return found;
            }
            range = Range {
                after: page.next,
                limit: None,
            };
        }
    }

    fn close_sockets(&self, listener: &str) -> Vec<Weak<Socket>> {
        let closed = self.sockets.close(listener);
        let seen = closed.iter().map(Arc::downgrade).collect();
        let mail = closed.into_iter().map(Mail::SocketGone);
        mail.for_each(|socket| self.mail(socket));
        seen
    }
}

/// Waits until sockets are closed, which the last session that sends through one does. It is not waited for for ever.
async fn closed(sockets: &[Weak<Socket>]) {
    for _ in 0..LOOKS {
        if sockets.iter().all(|socket| socket.strong_count() == 0) {
            return;
        }
        sleep(APART).await;
    }
}

/// Why there is no socket: what was asked for is somebody else's, or not there, or it is us who can't.
pub(crate) fn unbound(error: &io::Error) -> CommandError {
    let kind = match error.kind() {
        io::ErrorKind::AddrInUse => ErrorKind::Exists,
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => {
            ErrorKind::Invalid
        }
        _ => ErrorKind::Resources,
    };
    CommandError::new(kind, error.to_string())
}
