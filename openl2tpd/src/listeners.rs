//! The listeners of the configuration, as they come, go and change while the daemon runs.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use api::{
    CommandError, ErrorKind, Origin, Range, Response, Selector, TunnelFilter, TunnelState,
    TunnelStatus,
};
use config::{Model, Tunnel};
use datapath::socket::Socket;
use engine::Command;
use tokio::time::sleep;
use tracing::error;

use crate::backend::Daemon;
use crate::mailbox::Mail;
use crate::sockets::served;

/// How often it is seen whether a socket is closed, and how long apart.
const LOOKS: u32 = 200;
const APART: Duration = Duration::from_millis(10);

/// A change of what is served. `None` is the daemon's own port.
#[derive(Default)]
pub(crate) struct Shift {
    /// What is served no more, or elsewhere.
    pub(crate) leaves: Vec<Option<String>>,
    /// Open already, and none of ours yet.
    opened: Vec<Arc<Socket>>,
    /// What can be opened only when those that leave have left.
    waits: Vec<Option<String>>,
}

impl Daemon {
    /// What it takes to serve what another configuration serves. All that can be open beside what is served now is open; an error is that
    /// something can't be, and nothing has changed.
    pub(crate) async fn shift(&self, old: &Model, new: &Model) -> Result<Shift, CommandError> {
        let (mut before, mut after) = (served(old), served(new));
        if self.sockets.have_own() {
            before.insert(None, None);
            if self.starts_tunnels(old, new).await {
                after.insert(None, None);
            }
        }
        let leaves = before
            .iter()
            .filter(|(name, was)| after.get(*name) != Some(*was));
        let mut shift = Shift {
            leaves: leaves.map(|(name, _)| name.clone()).collect(),
            ..Shift::default()
        };
        let comes = after
            .into_iter()
            .filter(|(name, is)| before.get(name) != Some(is));
        for (name, listener) in comes {
            match self.sockets.open(listener, 0) {
                Ok(opened) => shift.opened.extend(opened),
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && self.sockets.are_in_the_way(&shift.leaves, listener) =>
                {
                    shift.waits.push(name);
                }
                Err(error) => return Err(unbound(&error)),
            }
        }
        Ok(shift)
    }

    /// Whether tunnels of ours start, or are to start, from the daemon's own port.
    async fn starts_tunnels(&self, old: &Model, new: &Model) -> bool {
        let own = self.sockets.port();
        let from_own = |tunnel: &Tunnel| {
            let params = new.tunnel_params(tunnel);
            params.listener_name().is_none() && [0, own].contains(&params.our_udp_port())
        };
        if new.tunnels.iter().any(from_own) {
            return true;
        }
        // The file's are as the file now has them.
        let of_file = |tunnel: &TunnelStatus| {
            let name = &tunnel.tunnel_name;
            name.is_some() && old.tunnels.iter().any(|one| one.tunnel_name == *name)
        };
        let ours = self.tunnels(Origin::Admin, None).await;
        ours.iter()
            .any(|tunnel| !of_file(tunnel) && tunnel.local.is_none_or(|local| local.port() == own))
    }

    /// Serves what is to be served, and no more what is not. What could not be opened, after all, of what had to wait; it is as it was before.
    pub(crate) async fn carry_out_shift(
        &self,
        shift: Shift,
        old: &Model,
    ) -> Vec<(Option<String>, CommandError)> {
        let mut left = Vec::new();
        for name in &shift.leaves {
            left.extend(self.close_listener(name.as_deref()).await);
        }
        self.take_in(shift.opened);
        // Who comes next finds the address free.
        closed(&left).await;
        let model = self.present();
        let mut failed = Vec::new();
        for name in shift.waits {
            let listener = name.as_ref().and_then(|name| model.listeners.get(name));
            match self.sockets.open(listener, 0) {
                Ok(opened) => self.take_in(opened),
                Err(error) => failed.push((name, unbound(&error))),
            }
        }
        if !failed.is_empty() {
            self.restore(&failed, old);
        }
        failed
    }

    /// Has the configuration and the sockets of listeners that cannot be opened as they were.
    fn restore(&self, failed: &[(Option<String>, CommandError)], old: &Model) {
        let mut model = Model::clone(&self.present());
        for name in failed.iter().filter_map(|(name, _)| name.as_ref()) {
            put_back(&mut model, old, name);
        }
        self.install(model);
        let model = self.present();
        for listener in served(&model).into_values() {
            // What is open is left alone.
            if let Err(error) = self.open_sockets(listener, 0) {
                error!("cannot go on with what was served: {error}");
            }
        }
    }

    fn take_in(&self, opened: Vec<Arc<Socket>>) {
        self.sockets.add(&opened);
        let mail = opened.into_iter().map(Mail::Socket);
        mail.for_each(|socket| self.mail(socket));
    }

    /// Closes the sockets of a listener, when the peers whose tunnels it has have been told. Tunnels of ours are not ended: those of the file a
    /// reload makes anew, and others that are persistent find out by themselves.
    async fn close_listener(&self, name: Option<&str>) -> Vec<Weak<()>> {
        for tunnel in self.tunnels_of_peers(name).await {
            if let Some(id) = tunnel.tunnel_id {
                // One that is gone already is as it is to be.
                let _ = self.ask(Command::TunnelDelete(Selector::Id(id))).await;
            }
        }
        self.close_sockets(name)
    }

    /// The tunnels that peers opened by way of a listener, or of the daemon's own port, and that are not about to end.
    pub(crate) async fn tunnels_of_peers(&self, listener: Option<&str>) -> Vec<TunnelStatus> {
        let mut its = self.tunnels(Origin::Peer, listener).await;
        let own = self.sockets.port();
        its.retain(|tunnel| {
            let is_own = || tunnel.local.is_some_and(|local| local.port() == own);
            tunnel.state != TunnelState::Closing && (listener.is_some() || is_own())
        });
        its
    }

    async fn tunnels(&self, made_by: Origin, listener: Option<&str>) -> Vec<TunnelStatus> {
        let filter = TunnelFilter {
            created_by: Some(made_by),
            ..TunnelFilter::default()
        };
        let (mut found, mut range) = (Vec::new(), Range::default());
        loop {
            let list = Command::TunnelList(filter.clone(), range);
            let Ok(Response::Tunnels(page)) = self.ask(list).await else {
                return found;
            };
            let its = |tunnel: &TunnelStatus| tunnel.listener_name.as_deref() == listener;
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

    fn close_sockets(&self, listener: Option<&str>) -> Vec<Weak<()>> {
        let closed = self.sockets.close(listener);
        let seen = closed.iter().map(|socket| socket.watch()).collect();
        let mail = closed.into_iter().map(Mail::SocketGone);
        mail.for_each(|socket| self.mail(socket));
        seen
    }
}

/// Has a listener in `model` as it was in `old`: it may not have been.
pub(crate) fn put_back(model: &mut Model, old: &Model, name: &str) {
    match old.listeners.get(name) {
        Some(was) => model.listeners.insert(name.to_owned(), was.clone()),
        None => model.listeners.remove(name),
    };
}

/// Waits until sockets are closed, which the last session that sends through one does. It is not waited for for ever.
async fn closed(sockets: &[Weak<()>]) {
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
