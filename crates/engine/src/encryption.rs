//! The encryption of a session's packets: what passes between its PPP, which negotiates it, and the datapath, which does it.

use crypto::mppe::{KeyLength, Mode, StartKeys};
use datapath::{DatapathError, Encryption};
use ppp::{Cause, EncryptionCause};
use sansio::Time;

use crate::Engine;
use crate::policy::PppSetup;
use crate::sessions::Session;

impl Engine {
    /// PPP has keys: the datapath gets them before anything is negotiated.
    pub(crate) fn encryption_wanted(&mut self, tunnel: u16, id: u16, keys: StartKeys) {
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        session.encryption = Some(Encryption {
            keys,
            mode: None,
            mru: session.setup.link.mru.max(ppp::DEFAULT_MRU),
        });
        self.configure_in_datapath(tunnel, id);
    }

    /// The datapath has the keys, or can't do anything with them.
    pub(crate) fn encryption_prepared(
        &mut self,
        tunnel: u16,
        id: u16,
        error: Option<&DatapathError>,
        now: Time,
    ) {
        let Some(t) = self.tunnels.get_mut(&tunnel) else {
            return;
        };
        let Some(session) = t.sessions.get_mut(&id) else {
            return;
        };
        let engine = session.engine.unwrap_or(datapath::Engine::Tun);
        let lengths = match error {
            None => engine.key_lengths(),
            Some(_) => &[],
        };
        let outlives_requests = engine.outlives_requests();
        session
            .link
            .encrypt(lengths, outlives_requests, now, &mut self.rng);
        if let Some(error) = error {
            self.trace_decision(tunnel, id, |_| format!("no MPPE: {error}"));
        }
        self.settle_session(tunnel, id, now);
        self.settle(tunnel, now);
    }

    /// CCP is up: the datapath knows it before the peer's first packet comes.
    pub(crate) fn encryption_up(&mut self, tunnel: u16, id: u16, mode: Mode) {
        if let Some(session) = self.session_mut(tunnel, id)
            && let Some(encryption) = &mut session.encryption
        {
            encryption.mode = Some(mode);
            self.configure_in_datapath(tunnel, id);
        }
    }

    pub(crate) fn encryption_down(&mut self, tunnel: u16, id: u16) {
        if let Some(session) = self.session_mut(tunnel, id)
            && session.encryption.take().is_some()
        {
            self.configure_in_datapath(tunnel, id);
        }
    }

    /// The datapath does not know any more where in the stream of keys the two ends are.
    pub(crate) fn encryption_lost(&mut self, tunnel: u16, id: u16, now: Time) {
        let cause = Cause::NotEncrypted(EncryptionCause::Lost);
        let _ = self.end_link(tunnel, id, cause, now);
    }
}

impl PppSetup {
    /// The key lengths that may be agreed on, if packets may be encrypted.
    pub(crate) fn key_lengths(&self) -> Vec<KeyLength> {
        let wanted = self.link.mppe.as_ref();
        wanted.map_or_else(Vec::new, |mppe| mppe.lengths.clone())
    }
}

impl Session {
    /// Whether the datapath has the keys, and it is not known yet how long they will be.
    pub(crate) fn negotiates_encryption(&self) -> bool {
        self.encryption.as_ref().is_some_and(|e| e.mode.is_none())
    }

    /// What encryption adds to each packet, octets.
    pub(crate) fn encryption_overhead(&self) -> u16 {
        match self.encryption {
            Some(_) => datapath::message::MPPE_OVERHEAD,
            None => 0,
        }
    }
}
