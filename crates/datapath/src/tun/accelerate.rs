//! What the worker has to do with the engine `ebpf`: which of its sessions are carried by that, too.

use std::mem;
use std::sync::Arc;

use super::table::{Session, Slot};
use super::worker::Worker;
use crate::capture::Tap;
use crate::device::TunDevice;
use crate::ebpf::{Accelerator, Loaded, Notice};
use crate::{Choice, DatapathError, Engine, Event, Handle, NetworkSpec, SessionSpec, Stats};

/// Why a session is not carried; nothing where that passes by itself.
pub(crate) type Why = Option<String>;

/// A session of `tun` that the programs may carry.
#[cfg_attr(
    not(feature = "ebpf"),
    expect(dead_code, reason = "nobody looks at it")
)]
pub(crate) struct Candidate<'a> {
    pub(crate) spec: &'a SessionSpec,
    /// Its open network side.
    pub(crate) network: Option<(&'a Arc<NetworkSpec>, &'a Arc<TunDevice>)>,
    /// Somebody sees its packets.
    pub(crate) captured: bool,
    /// What we send has sequence numbers.
    pub(crate) sends_numbers: bool,
    /// Its socket is bound to a device, or in another network namespace.
    pub(crate) elsewhere: bool,
}

impl Worker {
    /// Lets programs in the kernel carry what they can, where this machine takes them.
    pub(super) fn accelerate(
        &mut self,
        loaded: Result<Loaded, Why>,
        notify: impl FnMut(Notice) + Send + 'static,
    ) {
        self.accelerator =
            loaded.and_then(|loaded| Accelerator::start(loaded, notify).map_err(Some));
    }

    /// Why there is no engine `ebpf`, for a session that wants no other.
    pub(super) fn without_ebpf(&self, choice: Choice) -> Result<(), DatapathError> {
        match (&self.accelerator, choice) {
            (Err(why), Choice::Ebpf) => {
                let why = why.as_deref().unwrap_or("switched off");
                let why = format!("programs in the kernel (ebpf): {why}");
                Err(DatapathError::Unsupported(why))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn stats(&mut self, handle: Handle) -> Result<Stats, DatapathError> {
        let table = &mut self.traffic.table;
        let slot = table.by_handle(handle);
        let session = slot.and_then(|slot| table.get_mut(slot));
        let session = session.ok_or(DatapathError::NoSuchSession)?;
        let mut stats = session.stats();
        if let Ok(accelerator) = &self.accelerator {
            stats += accelerator.stats(&session.spec);
        }
        Ok(stats)
    }

    /// What programs carried of a session that was removed.
    pub(super) fn carried_of(&mut self, session: &Session) -> Stats {
        if session.accelerated && takes_checksums(session) {
            session.socket.leave_unmerged(false);
        }
        match &mut self.accelerator {
            Ok(accelerator) => accelerator.forget(&session.spec),
            Err(_) => Stats::default(),
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

    /// Lets somebody see a session's packets; those who look no more are forgotten.
    pub(super) fn capture(&mut self, handle: Handle, tap: Option<Arc<dyn Tap>>) {
        let Ok(session) = self.session(handle) else {
            return;
        };
        session.taps.retain(|tap| tap.is_open());
        session.taps.extend(tap);
        self.reconsider(handle);
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
            let Some(session) = self.traffic.table.get_mut(slot) else {
                continue;
            };
            let outcome = match &mut self.accelerator {
                Ok(accelerator) => accelerator.update(&candidate(session)),
                Err(why) => Err(why.as_ref().map(|why| format!("ebpf: {why}"))),
            };
            let now = outcome.is_ok();
            let handle = session.handle;
            let moved = mem::replace(&mut session.accelerated, now) != now;
            if moved {
                let engine = if now { Engine::Ebpf } else { Engine::Tun };
                self.traffic.events.push(Event::Moved { handle, engine });
            }
            let socket = moved.then(|| (Arc::clone(&session.socket), takes_checksums(session)));
            let why = outcome.err().flatten();
            if why.is_some() && session.network.is_some() && session.slower != why {
                session.slower.clone_from(&why);
                let why = why.unwrap_or_default();
                self.traffic.events.push(Event::NoFaster { handle, why });
            }
            if now {
                session.slower = None;
            }
            if let Some((socket, unmerged)) = socket {
                // What is merged already can't be taken apart afterwards.
                if now {
                    self.take_waiting(&socket);
                }
                if unmerged {
                    socket.leave_unmerged(now);
                }
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

/// Whether programs take what has UDP checksums, too, which must not be merged before: other sessions of the socket pay for that.
fn takes_checksums(session: &Session) -> bool {
    session.spec.choice == Choice::Ebpf
}

fn candidate(session: &Session) -> Candidate<'_> {
    let network = session.network.as_ref();
    Candidate {
        spec: &session.spec,
        network: network.map(|network| (&network.spec, &network.device)),
        captured: !session.taps.is_empty(),
        sends_numbers: session.sequencer.sends(),
        elsewhere: session.socket.is_elsewhere(),
    }
}
