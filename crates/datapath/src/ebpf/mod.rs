//! The engine of programs in the kernel (TC, eBPF). It carries the common packets of sessions on the shared device of `tun`.
//!
//! ```text
//!   host ──▶ l2tp0 ─ l2tp_encap ─────────▶ uplink          l2tp0 ◀─ l2tp_merged ◀─ helper ◀─ l2tp_decap ◀── uplink
//!              │ what is not carried                           ▲                                │ what is not carried
//!              ▼                                               │                                ▼
//!             tun ───────▶ UDP socket ───▶ uplink              └───────────── tun ◀──────── UDP socket
//! ```
//!
//! A session is always `tun`'s too: whatever the programs leave, it takes, and a session that they are not to carry any more loses nothing.
//! So nothing here has to work, and where something does not, it is said why.
//!
//! The programs are in `l2tp.bpf.c`, compiled beside it (`cargo xtask bpf`). The worker of `tun` changes the maps; the thread of [`links`] attaches
//! the programs and follows the devices of this host. All of it goes with the process: nothing is pinned.

mod check;
mod links;
mod programs;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use crate::device::{Interface, TunDevice};
use crate::{Choice, Device, Encapsulation, Ids, NetworkSpec, Sequencing, SessionSpec, Stats};
use links::Links;
pub(crate) use links::Notice;
use programs::{Maps, Record};

/// A session of `tun` that the programs may carry.
pub(crate) struct Candidate<'a> {
    pub(crate) spec: &'a SessionSpec,
    /// Its open network side.
    pub(crate) network: Option<(&'a Arc<NetworkSpec>, &'a Arc<TunDevice>)>,
    /// What we send has sequence numbers.
    pub(crate) sends_numbers: bool,
    /// Its socket is bound to a device, or in another network namespace.
    pub(crate) elsewhere: bool,
}

/// The programs, as the worker of `tun` has them.
pub(crate) struct Accelerator {
    maps: Maps,
    links: Links,
    /// The shared device that they were asked to be attached for.
    asked: Option<u32>,
    /// Why they carry nothing, or the device that they are attached for.
    ready: Result<u32, String>,
    carried: HashMap<Ids, Vec<IpNet>>,
}

impl Accelerator {
    /// Has the kernel take the programs, which are attached when the first session wants it. `notify` is called from another thread.
    pub(crate) fn start(notify: impl FnMut(Notice) + Send + 'static) -> Result<Self, String> {
        let (mut programs, mut maps) = programs::load()?;
        check::self_test(&mut programs, &mut maps)?;
        let links = Links::start(programs, notify)?;
        Ok(Self {
            maps,
            links,
            asked: None,
            ready: Err("they are being attached".to_owned()),
            carried: HashMap::new(),
        })
    }

    /// Takes what the thread of the links says; whether sessions are to be looked at again.
    pub(crate) fn take(&mut self, notice: Notice) -> bool {
        self.ready = match notice {
            Notice::Ready(index) => Ok(index),
            Notice::NotReady(why) => {
                tracing::warn!("datapath ebpf: {why}; tun carries all");
                Err(why)
            }
        };
        true
    }

    /// Carries a session, as it is now, if it can be carried: why not, if not.
    pub(crate) fn update(&mut self, session: &Candidate<'_>) -> Result<(), String> {
        let ids = local_ids(session.spec);
        match self.record(session) {
            Ok((record, inside)) => {
                let before = self.carried.get(&ids).map(Vec::as_slice);
                let opened = self
                    .maps
                    .open(ids, record, before.unwrap_or_default(), &inside);
                let both = [before.unwrap_or_default(), &inside].concat();
                if opened.is_err() {
                    self.maps.close(ids, &both);
                    self.carried.remove(&ids);
                } else {
                    self.carried.insert(ids, inside);
                }
                opened
            }
            Err(why) => {
                self.leave(session.spec);
                Err(why)
            }
        }
    }

    /// Carries a session no more.
    pub(crate) fn leave(&mut self, spec: &SessionSpec) {
        let ids = local_ids(spec);
        if let Some(inside) = self.carried.remove(&ids) {
            self.maps.close(ids, &inside);
        }
    }

    /// A session is gone: what was carried of it.
    pub(crate) fn forget(&mut self, spec: &SessionSpec) -> Stats {
        self.leave(spec);
        self.maps.forget_counters(local_ids(spec))
    }

    /// What was carried of a session.
    pub(crate) fn stats(&self, spec: &SessionSpec) -> Stats {
        self.maps.stats(local_ids(spec))
    }

    fn record(&mut self, session: &Candidate<'_>) -> Result<(Record, Vec<IpNet>), String> {
        let (network, device) = may_be_carried(session)?;
        let index = device.index();
        if self.asked != Some(index) {
            self.asked = Some(index);
            self.ready = Err("they are being attached".to_owned());
            self.links.attach(index, device.name());
        }
        if *self.ready.as_ref().map_err(Clone::clone)? != index {
            return Err("they are being attached".to_owned());
        }
        let far_only = session.spec.choice != Choice::Ebpf;
        let record = Record::of(session.spec, network, far_only);
        let record = record.ok_or_else(|| "its outer addresses are IPv6".to_owned())?;
        Ok((record, network.inner_destinations().collect()))
    }
}

/// What of a session, if anything, keeps it from being carried.
fn may_be_carried<'a>(
    session: &Candidate<'a>,
) -> Result<(&'a Arc<NetworkSpec>, &'a Arc<TunDevice>), String> {
    let Candidate { spec, network, .. } = session;
    let Encapsulation::V2 { sequencing, .. } = spec.encapsulation;
    let why = match network {
        _ if matches!(spec.choice, Choice::Tun | Choice::Kernel | Choice::Null) => {
            "its profile chooses another"
        }
        _ if spec.device != Device::Shared => "it has a device of its own",
        _ if spec.lent || !spec.mppe.is_empty() => "its packets may be encrypted",
        _ if session.sends_numbers || sequencing == Sequencing::Required => {
            "its messages have sequence numbers"
        }
        _ if session.elsewhere => "its listener has a device or a network namespace",
        Some((network, _)) if network.encryption.is_some() => "its packets are encrypted",
        Some(network) => return Ok(*network),
        None => "it is not open",
    };
    Err(why.to_owned())
}

fn local_ids(spec: &SessionSpec) -> Ids {
    let Encapsulation::V2 { local, .. } = spec.encapsulation;
    local
}
