//! What the worker has to do with the engine `ebpf`: which of its sessions are carried by that, too.

use std::mem;

use super::table::{Session, Slot};
use super::worker::Worker;
use crate::ebpf::{Accelerator, Candidate, Notice};
use crate::{Choice, DatapathError, Device, Engine, Event, Handle, Stats};

impl Worker {
    /// Lets programs in the kernel carry what they can, where this machine takes them.
    pub(super) fn accelerate(&mut self, notify: impl FnMut(Notice) + Send + 'static) {
        self.accelerator = Accelerator::start(notify);
    }

    /// Why there is no engine `ebpf`, for a session that wants no other.
    pub(super) fn without_ebpf(&self, choice: Choice) -> Result<(), DatapathError> {
        match (&self.accelerator, choice) {
            (Err(why), Choice::Ebpf) => {
                let why = format!("programs in the kernel (ebpf): {why}");
                Err(DatapathError::Unsupported(why))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn stats(&mut self, handle: Handle) -> Result<Stats, DatapathError> {
        let session = self.session(handle)?;
        let mut stats = session.stats();
        if session.spec.device == Device::Shared {
            let spec = session.spec.clone();
            if let Ok(accelerator) = &self.accelerator {
                stats += accelerator.stats(&spec);
            }
        }
        Ok(stats)
    }

    /// What programs carried of a session that was removed.
    pub(super) fn carried_of(&mut self, session: &Session) -> Stats {
        if session.accelerated {
            session.socket.leave_unmerged(false);
        }
        match &mut self.accelerator {
            Ok(accelerator) if session.spec.device == Device::Shared => {
                accelerator.forget(&session.spec)
            }
            _ => Stats::default(),
        }
    }

    pub(super) fn take_notice(&mut self, notice: Notice) {
        let Ok(accelerator) = &mut self.accelerator else {
            return;
        };
        if accelerator.take(notice) {
            let all = self.traffic.table.all();
            self.traffic.changed.extend(all);
            self.reconsider_sessions();
        }
    }

    /// A session is another from now on.
    pub(super) fn reconsider(&mut self, handle: Handle) {
        let slot = self.traffic.table.by_handle(handle);
        self.traffic.changed.extend(slot);
        self.reconsider_sessions();
    }

    /// Looks at what has become of sessions that changed: who carries them now.
    pub(super) fn reconsider_sessions(&mut self) {
        for slot in mem::take(&mut self.traffic.changed) {
            let (Ok(accelerator), Some(session)) =
                (&mut self.accelerator, self.traffic.table.get_mut(slot))
            else {
                continue;
            };
            let now = accelerator.update(&candidate(session)).is_ok();
            if mem::replace(&mut session.accelerated, now) != now {
                session.socket.leave_unmerged(now);
                let engine = if now { Engine::Ebpf } else { Engine::Tun };
                let handle = session.handle;
                self.traffic.events.push(Event::Moved { handle, engine });
            }
        }
    }

    /// Lets `tun` alone carry a session until it is [looked at again](Self::reconsider).
    pub(super) fn pause(&mut self, handle: Handle) {
        if let Some(slot) = self.traffic.table.by_handle(handle) {
            self.decelerate(slot);
        }
    }

    pub(super) fn decelerate(&mut self, slot: Slot) {
        if let (Ok(accelerator), Some(session)) =
            (&mut self.accelerator, self.traffic.table.get_mut(slot))
        {
            accelerator.leave(&session.spec);
        }
    }
}

fn candidate(session: &Session) -> Candidate<'_> {
    let network = session.network.as_ref();
    Candidate {
        spec: &session.spec,
        network: network.map(|network| (&network.spec, &network.device)),
        sends_numbers: session.sequencer.sends(),
        elsewhere: session.socket.is_elsewhere(),
    }
}
