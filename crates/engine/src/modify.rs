//! Changes of tunnels and sessions that live: what was agreed on with the peer stays, all else is taken at once.

use std::sync::Arc;

use api::{CommandError, ErrorKind};
use config::Parameters;
use datapath::{Request, Sequencing};
use sansio::Time;

use crate::clients::ClientId;
use crate::commands::{Which, WhichSession};
use crate::policy::{PppSetup, TunnelSetup};
use crate::{Engine, Output};

impl Engine {
    /// Changes the parameters of a tunnel that `change` sets, wholly or not at all.
    pub(crate) fn modify_tunnel(
        &mut self,
        which: Which,
        change: config::Tunnel,
        now: Time,
    ) -> Result<(), CommandError> {
        let setup = self.setup_of(which);
        let gone = || CommandError::new(ErrorKind::NotFound, "the tunnel is gone");
        let setup = self
            .policy
            .changed_tunnel(setup.ok_or_else(gone)?, &change.params)?;
        match which {
            Which::Client(id) => self.modify_client(id, change, &setup)?,
            Which::Peer(_)
                if change.persist.is_some()
                    || change.tunnel_name.is_some()
                    || change.interface_name.is_some() =>
            {
                return Err(CommandError::new(
                    ErrorKind::Invalid,
                    "persist, tunnel_name and interface_name are of tunnels that we open: the peer opened this one",
                ));
            }
            Which::Peer(_) => {}
        }
        if let Some(tunnel) = self.tunnel_id(which) {
            self.take_setup(tunnel, setup, now);
        }
        Ok(())
    }

    /// Changes what can be changed of a session, wholly or not at all: what is of its data at once, the rest with its next attempt, which has all of it
    /// if it is one that we were told to make.
    pub(crate) fn modify_session(
        &mut self,
        which: WhichSession,
        change: config::Session,
    ) -> Result<(), CommandError> {
        let config::Session {
            session_name,
            params,
            ..
        } = change;
        let is_later = params.sequencing_required.is_some() || params.reorder_timeout.is_some();
        if let WhichSession::Call(..) = which
            && (is_later || session_name.is_some())
        {
            return Err(CommandError::new(
                ErrorKind::Invalid,
                "session_name, sequencing_required and reorder_timeout are of sessions that we place: the peer placed this one",
            ));
        }
        if params.use_sequence_numbers.is_some() {
            self.chooses_numbers(which)?;
        }
        if let WhichSession::Created(holder, number) = which
            && let Some(created) = self.created_mut(holder)
        {
            if let Some(name) = session_name {
                created.rename(number, name)?;
            }
            if let Some(session) = created.get_mut(number) {
                session.config.params = params.merged_over(&session.config.params);
            }
        }
        if let Some((tunnel, call)) = self.call_of(which) {
            self.change_data(tunnel, call, &params);
        }
        Ok(())
    }

    /// Takes what is of the data of a session.
    fn change_data(&mut self, tunnel: u16, call: u16, params: &config::SessionParams) {
        let Some(session) = self.session_mut(tunnel, call) else {
            return;
        };
        if let Some(flags) = params.trace_flags {
            session.trace_flags = Some(flags);
        }
        if let Some(send) = params.use_sequence_numbers {
            let (handle, sequencing) = (session.handle, Sequencing::Own(send));
            session.sequencing = sequencing;
            self.set_sequencing(handle, sequencing);
        }
    }

    /// Changes what a tunnel's next attempts are made with.
    fn modify_client(
        &mut self,
        id: ClientId,
        change: config::Tunnel,
        setup: &Arc<TunnelSetup>,
    ) -> Result<(), CommandError> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(());
        };
        if let Some(name) = &change.tunnel_name {
            let holder = self.client_names.get(name);
            if holder.is_some_and(|holder| *holder != id) {
                return Err(CommandError::new(
                    ErrorKind::Exists,
                    "a tunnel of this name exists",
                ));
            }
            if let Some(old) = &client.config.tunnel_name {
                self.client_names.remove(old);
            }
            self.client_names.insert(name.clone(), id);
        }
        client.config = change.merged_over(&client.config);
        client.setup = Arc::clone(setup);
        Ok(())
    }

    /// Runs a tunnel and its sessions by another setup from now on.
    fn take_setup(&mut self, id: u16, setup: Arc<TunnelSetup>, now: Time) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        tunnel.control.set_config(Arc::clone(&setup.tunnel), now);
        let no_checksum = !setup.params.use_udp_checksums();
        let other_checksums = no_checksum == tunnel.setup.params.use_udp_checksums();
        let other_mtu = setup.params.mtu() != tunnel.setup.params.mtu();
        tunnel.setup = setup;
        let sessions: Vec<u16> = tunnel.sessions.keys().copied().collect();
        if other_checksums {
            self.change_checksums(id, no_checksum);
        }
        if other_mtu {
            for session in sessions {
                self.change_mtu(id, session);
            }
        }
        if self
            .tunnels
            .get(&id)
            .is_some_and(|t| t.control.state() == l2tp::TunnelState::Established)
        {
            self.start_idling(id, now);
        }
        self.settle(id, now);
    }

    /// Sessions of calls that are being established have theirs, too.
    fn change_checksums(&mut self, tunnel: u16, no_checksum: bool) {
        let Some(tunnel) = self.tunnels.get(&tunnel) else {
            return;
        };
        let established = tunnel.sessions.values().map(|session| session.handle);
        let prepared = tunnel.prepared.values().map(|prepared| prepared.handle);
        let change = |handle| {
            Output::Datapath(Request::SetChecksums {
                handle,
                no_checksum,
            })
        };
        self.outputs.extend(established.chain(prepared).map(change));
    }

    /// What we send is bounded by the tunnel's new `mtu` at once; what the peer sends, from the next LCP on.
    fn change_mtu(&mut self, tunnel: u16, id: u16) {
        let Some(t) = self.tunnels.get_mut(&tunnel) else {
            return;
        };
        let most = t.setup.params.mtu();
        let Some(session) = t.sessions.get_mut(&id) else {
            return;
        };
        session.setup = Arc::new(PppSetup {
            mtu: session.setup.profile.mtu().min(most),
            ..PppSetup::clone(&session.setup)
        });
        if session.has_network() {
            self.configure_in_datapath(tunnel, id);
        }
    }
}
