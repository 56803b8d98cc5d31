//! The engine of programs in the kernel (TC, eBPF). It carries the common packets of sessions of `tun`.
//!
//! ```text
//!   host ──▶ TUN ─── l2tp_encap ─────────▶ uplink            TUN ◀─ l2tp_merged ◀─ helper ◀─ l2tp_decap ◀── uplink
//!              │ what is not carried                           ▲                                │ what is not carried
//!              ▼                                               │                                ▼
//!             tun ───────▶ UDP socket ───▶ uplink              └───────────── tun ◀──────── UDP socket
//! ```
//!
//! A session is always `tun`'s too: whatever the programs leave, it takes, and a session that they are not to carry any more loses nothing.
//! So nothing here has to work, and where something does not, it is said why.
//!
//! The programs are in `l2tp.bpf.c`, compiled beside it (`cargo xtask bpf`). The worker of `tun` changes the maps; the thread of `links` attaches
//! the programs and follows the devices of this host. All of it goes with the process: nothing is pinned.

mod check;
mod helper;
mod links;
mod policies;
mod programs;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rustix::thread::CapabilitySet;

use crate::device::{Interface, TunDevice};
use crate::tun::{Candidate, Why};
use crate::{Choice, Device, Encapsulation, Ids, NetworkSpec, Sequencing, SessionSpec, Stats};
use links::Links;
pub(crate) use links::Notice;
use policies::Policy;
pub use programs::Uncarried;
use programs::{Maps, Programs, Record};
pub(crate) use trial::{try_pair, try_uplinks};

/// The programs, taken by the kernel and tried, and attached to nothing yet.
pub struct Loaded {
    programs: Programs,
    maps: Maps,
    uncarried: Arc<Uncarried>,
}

impl Loaded {
    /// Whether the kernel interprets them, which takes several times as long, and more of its stack, than what it compiles.
    pub(crate) const fn is_interpreted(&self) -> bool {
        self.programs.interpreted
    }

    /// What they count of packets that they do not carry.
    pub(crate) fn uncarried(&self) -> Arc<Uncarried> {
        Arc::clone(&self.uncarried)
    }
}

/// Has the kernel take the programs and tries them on a packet each way. Only this needs CAP_BPF and CAP_PERFMON; the rest is done with CAP_NET_ADMIN.
///
/// # Errors
///
/// Why this kernel, or what we may do with it, is not enough, in one line.
pub fn load() -> Result<Loaded, String> {
    load_for(None)
}

/// The same for trials, without the memory for many sessions.
pub(crate) fn load_small() -> Result<Loaded, String> {
    load_for(Some(16))
}

fn load_for(most: Option<u32>) -> Result<Loaded, String> {
    let (mut programs, mut maps, mut uncarried) =
        programs::load(most).map_err(with_what_we_lack)?;
    check::self_test(&mut programs, &mut maps)?;
    uncarried.reset()?;
    Ok(Loaded {
        programs,
        maps,
        uncarried: Arc::new(uncarried),
    })
}

/// Why programs are refused, and the privileges that we lack, which may be it.
fn with_what_we_lack(why: String) -> String {
    let have = rustix::thread::capabilities(None).map_or(CapabilitySet::all(), |c| c.effective);
    let lacks = |one| !have.intersects(one | CapabilitySet::SYS_ADMIN);
    match lacks(CapabilitySet::BPF) || lacks(CapabilitySet::PERFMON) {
        true => format!("{why}; CAP_BPF and CAP_PERFMON are needed"),
        false => why,
    }
}

/// The programs, as the worker of `tun` has them.
pub(crate) struct Accelerator {
    maps: Maps,
    links: Links,
    /// The TUN devices that they were asked to be attached to, by index: whether they are.
    devices: HashMap<u32, Result<(), Why>>,
    /// Those of IPsec, or why they are not known.
    policies: Result<Vec<Policy>, String>,
    /// Why there are no uplinks for sessions that leave the choice to us.
    uplinks: Result<(), &'static str>,
    carried: HashMap<Ids, Vec<IpNet>>,
}

impl Accelerator {
    /// Attaches the programs when the first session wants them, in the network namespace of the calling thread. `notify` is called from another one.
    pub(crate) fn start(
        loaded: Loaded,
        notify: impl FnMut(Notice) + Send + 'static,
    ) -> Result<Self, String> {
        let Loaded { programs, maps, .. } = loaded;
        let links = Links::start(programs, notify)?;
        Ok(Self {
            maps,
            links,
            devices: HashMap::new(),
            policies: Ok(Vec::new()),
            uplinks: Ok(()),
            carried: HashMap::new(),
        })
    }

    /// Takes what the thread of the links says, which says the same again at each change of a device or an address; whether sessions are to be
    /// looked at again.
    pub(crate) fn take(&mut self, notice: Notice) -> bool {
        match notice {
            Notice::Policies(policies) => {
                return mem::replace(&mut self.policies, policies) != self.policies;
            }
            Notice::Uplinks(far) => return mem::replace(&mut self.uplinks, far) != far,
            Notice::Attached(index, result) => {
                // It may be gone by now.
                if let Some(state) = self.devices.get_mut(&index) {
                    *state = result.map_err(Some);
                }
            }
            Notice::Detached(why) => {
                tracing::warn!("datapath ebpf: {why}; tun carries all until they are there again");
                // Whoever is looked at next asks anew.
                self.devices.clear();
            }
        }
        true
    }

    /// Carries a session, as it is now, if it can be carried: why not, if not.
    pub(crate) fn update(&mut self, session: &Candidate<'_>) -> Result<(), Why> {
        let ids = local_ids(session.spec);
        match self.record(session) {
            Ok((record, inside)) => {
                let before = self.carried.remove(&ids).unwrap_or_default();
                if let Err(why) = self.maps.open(ids, record, &before, &inside) {
                    self.maps.close(ids, &[before, inside].concat());
                    return Err(Some(why));
                }
                self.carried.insert(ids, inside);
                Ok(())
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

    /// A TUN device is gone, or about to go.
    pub(crate) fn lose(&mut self, device: u32) {
        if self.devices.remove(&device).is_some() {
            self.links.leave(device);
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

    fn record(&mut self, session: &Candidate<'_>) -> Result<(Record, Vec<IpNet>), Why> {
        let (network, device) = may_be_carried(session)?;
        let index = device.index();
        let state = self.devices.entry(index).or_insert_with(|| {
            let shared = session.spec.device == Device::Shared;
            self.links.attach(index, device.name(), shared);
            Err(None)
        });
        state.clone()?;
        let policies = self.policies.as_ref().map_err(|why| Some(why.clone()))?;
        if policies::cover(policies, &session.spec.transport) {
            return Err(Some(
                "an IPsec policy of this host covers its path".to_owned(),
            ));
        }
        if session.spec.choice != Choice::Ebpf {
            self.may_do_by_itself(session.spec).map_err(Some)?;
        }
        let record = Record::of(session.spec, network, index);
        Ok((record, inside(session.spec, network)))
    }

    /// What is against carrying a session that does not ask for it, although it could be carried.
    fn may_do_by_itself(&self, spec: &SessionSpec) -> Result<(), String> {
        self.uplinks?;
        match spec.outer.no_checksum {
            true => Ok(()),
            // Super-packets with a short last segment are `tun`'s then, and what follows them would overtake them.
            false => Err("its messages have UDP checksums (use_udp_checksums), with which some packets would overtake others".to_owned()),
        }
    }
}

/// What of a session, if anything, keeps it from being carried.
fn may_be_carried<'a>(
    session: &Candidate<'a>,
) -> Result<(&'a Arc<NetworkSpec>, &'a Arc<TunDevice>), Why> {
    let Candidate { spec, network, .. } = session;
    let Encapsulation::V2 { sequencing, .. } = spec.encapsulation;
    let why = match network {
        _ if matches!(spec.choice, Choice::Tun | Choice::Kernel | Choice::Null) => {
            "its profile chooses another"
        }
        _ if session.captured => "it is captured",
        _ if spec.lent || !spec.mppe.is_empty() => "its packets may be encrypted",
        _ if session.sends_numbers || sequencing == Sequencing::Required => {
            "its messages have sequence numbers"
        }
        _ if is_link_local(spec.transport.remote.ip()) => "its peer's address is link-local",
        _ if session.elsewhere => "its listener has a device or a network namespace",
        Some((network, _)) if network.encryption.is_some() => "its packets are encrypted",
        Some(network) => return Ok(*network),
        None => return Err(None),
    };
    Err(Some(why.to_owned()))
}

/// Whether it takes a device to know where an address is.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The inner destinations that say that a packet is a session's.
fn inside(spec: &SessionSpec, network: &NetworkSpec) -> Vec<IpNet> {
    match spec.device {
        Device::Shared => network.inner_destinations().collect(),
        Device::Own { .. } => Vec::new(),
    }
}

fn local_ids(spec: &SessionSpec) -> Ids {
    let Encapsulation::V2 { local, .. } = spec.encapsulation;
    local
}
