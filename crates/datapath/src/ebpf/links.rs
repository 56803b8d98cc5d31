//! Where the programs are attached: a thread of its own that follows the devices of this host, as the kernel takes its time over them.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use aya::programs::TcAttachType;
use aya::programs::tc::{NlOptions, SchedClassifierLinkId, TcAttachOptions};
use aya::util::KernelVersion;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::event::{PollFd, PollFlags, poll};

use super::helper::Helper;
use super::policies::{self, Policy};
use super::programs::{DECAP, ENCAP, Here, MERGED, Programs, refusal};
use crate::netlink::{Doorbell, Ethernet, Netlink};
use crate::thread::{self, Wake};

/// Groups of rtnetlink: devices, addresses (`linux/rtnetlink.h`).
const DEVICES: u32 = 1;
const IPV4_ADDRESSES: u32 = 5;
const IPV6_ADDRESSES: u32 = 9;

/// Where programs come among those of a `clsact`: after all others. They are in the first place from the end where a daemon added it, which goes
/// with the last of them, and in the second where it was there before.
pub(super) const OF_OURS: u16 = u16::MAX;
pub(super) const OF_OTHERS: u16 = OF_OURS - 1;

/// What is asked of the thread.
enum Command {
    /// Attach to this TUN device, and everything else if it is the first.
    Attach {
        index: u32,
        name: String,
        shared: bool,
    },
    /// This TUN device is gone, and everything else goes with the last.
    Leave(u32),
    Stop,
}

/// What the thread says.
pub(crate) enum Notice {
    /// The programs carry what comes through the TUN device of this index, or can't: why.
    Attached(u32, Result<(), String>),
    /// Whether there are uplinks that programs send into without being told to; why not.
    Uplinks(Result<(), &'static str>),
    /// The IPsec policies of this host from now on, or why they are not known.
    Policies(Result<Vec<Policy>, String>),
    /// They carry nothing any more: why.
    Detached(String),
}

/// The way to the thread. Dropping it detaches everything.
pub(super) struct Links {
    commands: Sender<Command>,
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Links {
    pub(super) fn start(
        programs: Programs,
        notify: impl FnMut(Notice) + Send + 'static,
    ) -> Result<Self, String> {
        let (commands, queue) = mpsc::channel();
        let wake = Arc::new(Wake::new().map_err(|e| e.to_string())?);
        let groups = [DEVICES, IPV4_ADDRESSES, IPV6_ADDRESSES];
        let doorbell =
            Doorbell::open(NETLINK_ROUTE, &groups).map_err(|e| format!("hear of devices: {e}"))?;
        let of_policies =
            policies::doorbell().map_err(|e| format!("hear of IPsec policies: {e}"))?;
        let its_wake = Arc::clone(&wake);
        let thread = thread::spawn("ebpf-links", move || match Netlink::open() {
            Ok(netlink) => {
                let bells = [Some(&doorbell), of_policies.as_ref()];
                Host::new(programs, netlink, notify).run(&queue, &its_wake, bells);
            }
            Err(error) => tracing::error!("the ebpf engine stops: {error}"),
        });
        Ok(Self {
            commands,
            wake,
            thread: Some(thread.map_err(|e| e.to_string())?),
        })
    }

    /// Has everything attached for a TUN device; [`Notice::Attached`] follows.
    pub(super) fn attach(&self, index: u32, name: &str, shared: bool) {
        let name = name.to_owned();
        self.tell(Command::Attach {
            index,
            name,
            shared,
        });
    }

    /// A TUN device is gone.
    pub(super) fn leave(&self, index: u32) {
        self.tell(Command::Leave(index));
    }

    fn tell(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.wake.wake();
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            thread::join(thread);
        }
    }
}

/// What the programs are attached to.
struct Attached {
    helper: Helper,
    here: Here,
    merged: SchedClassifierLinkId,
    /// TUN devices, by their index.
    devices: BTreeMap<u32, SchedClassifierLinkId>,
    uplinks: BTreeMap<u32, SchedClassifierLinkId>,
}

struct Host<F> {
    programs: Programs,
    netlink: Netlink,
    notify: F,
    attached: Option<Attached>,
    /// Which programs of a `clsact` are ours: the index of the helper's near end, which outlives a killed process, and is no other daemon's.
    handle: u32,
    /// The devices that have a `clsact` of ours.
    with_clsact: BTreeSet<u32>,
}

impl<F: FnMut(Notice)> Host<F> {
    fn new(programs: Programs, netlink: Netlink, notify: F) -> Self {
        Self {
            programs,
            netlink,
            notify,
            attached: None,
            handle: 0,
            with_clsact: BTreeSet::new(),
        }
    }

    /// Does what is asked and follows what changes, which `bells` tell: of devices and addresses, and of IPsec policies.
    fn run(mut self, commands: &Receiver<Command>, wake: &Wake, bells: [Option<&Doorbell>; 2]) {
        loop {
            let mut ready = vec![PollFd::new(&wake, PollFlags::IN)];
            let open = bells.iter().flatten();
            ready.extend(open.map(|bell| PollFd::new(*bell, PollFlags::IN)));
            if let Err(error) = poll(&mut ready, None)
                && error != rustix::io::Errno::INTR
            {
                tracing::error!("the ebpf engine stops: poll: {error}");
                break;
            }
            let [devices, of_policies] = bells.map(|bell| bell.is_some_and(Doorbell::has_rung));
            if devices {
                self.follow();
            }
            if of_policies && self.attached.is_some() {
                self.tell_policies();
            }
            wake.clear();
            while let Ok(command) = commands.try_recv() {
                match command {
                    Command::Attach {
                        index,
                        name,
                        shared,
                    } => {
                        let result = self.attach(index, &name, shared);
                        (self.notify)(Notice::Attached(index, result));
                    }
                    Command::Leave(index) => self.leave(index),
                    Command::Stop => return self.detach(),
                }
            }
        }
        self.detach();
    }

    fn tell_policies(&mut self) {
        let policies = policies::all();
        (self.notify)(Notice::Policies(policies.map_err(|error| {
            format!("it is not known what IPsec policies this host has: {error}")
        })));
    }

    /// Attaches to a TUN device.
    fn attach(&mut self, index: u32, name: &str, shared: bool) -> Result<(), String> {
        if self.attached.is_none() {
            self.tell_policies();
            self.begin()?;
        }
        let hooked = self.hook(ENCAP, (index, name), TcAttachType::Egress);
        let encap = hooked.inspect_err(|_| self.end_if_unused())?;
        let Some(attached) = &mut self.attached else {
            return Err("what the programs need is gone".to_owned());
        };
        attached.devices.insert(index, encap);
        if shared {
            attached.here.shared = index;
        }
        self.programs.set_here(attached.here)
    }

    /// Makes what every TUN device needs.
    fn begin(&mut self) -> Result<(), String> {
        let helper = Helper::make(&self.netlink)?;
        self.handle = helper.near.index;
        let far = (helper.far.index, helper.far.name.as_str());
        let hooked = self.hook(MERGED, far, TcAttachType::Ingress);
        let merged = hooked.inspect_err(|_| helper.remove(&self.netlink))?;
        let here = Here {
            helper: helper.near.index,
            path: helper.near.index,
            far: helper.far.mac,
            ..Here::default()
        };
        self.attached = Some(Attached {
            helper,
            here,
            merged,
            devices: BTreeMap::new(),
            uplinks: BTreeMap::new(),
        });
        self.follow_uplinks().inspect_err(|_| self.detach())
    }

    /// A TUN device is gone.
    fn leave(&mut self, index: u32) {
        let attached = self.attached.as_mut();
        if let Some(encap) = attached.and_then(|attached| attached.devices.remove(&index)) {
            self.unhook(ENCAP, index, encap);
        }
        self.end_if_unused();
    }

    fn end_if_unused(&mut self) {
        let unused = |attached: &Attached| attached.devices.is_empty();
        if self.attached.as_ref().is_some_and(unused) {
            self.detach();
        }
    }

    /// Attaches a program to a device, after all that are there.
    fn hook(
        &mut self,
        program: &str,
        (index, name): (u32, &str),
        to: TcAttachType,
    ) -> Result<SchedClassifierLinkId, String> {
        let attached = if has_tcx() {
            self.programs.get(program)?.attach(name, to)
        } else {
            let added = self.netlink.add_clsact(index).map_err(|e| e.to_string())?;
            let is_ours = || self.netlink.has_filters(index, |place| place == OF_OURS);
            let priority = match added || is_ours().map_err(|e| e.to_string())? {
                true => {
                    self.with_clsact.insert(index);
                    OF_OURS
                }
                false => OF_OTHERS,
            };
            let place = TcAttachOptions::Netlink(NlOptions {
                priority,
                handle: self.handle,
            });
            let program = self.programs.get(program)?;
            program.attach_with_options(name, to, place)
        };
        attached.map_err(|error| {
            self.leave_clsact(index);
            format!("attach {program} to {name}: {}", refusal(&error))
        })
    }

    /// Devices or addresses have changed.
    fn follow(&mut self) {
        if self.attached.is_none() {
            return;
        }
        if let Err(why) = self.follow_uplinks() {
            self.detach();
            (self.notify)(Notice::Detached(why));
        }
    }

    /// Attaches to the Ethernet devices that have an address by now.
    fn follow_uplinks(&mut self) -> Result<(), String> {
        let all = self.netlink.ethernets().map_err(|e| e.to_string())?;
        let mut uplinks = self.netlink.uplinks(&all).map_err(|e| e.to_string())?;
        let Some(mut attached) = self.attached.take() else {
            return Ok(());
        };
        let ends = [&attached.helper.near, &attached.helper.far].map(|end| end.index);
        let [near_end, far_end] =
            ends.map(|end| all.iter().find(|link| link.index == end && link.is_up));
        uplinks.retain(|link| !ends.contains(&link.index));
        let far = far(&uplinks).map(drop);
        let near_ends = all.iter().filter(|link| link.is_near);
        let near_ends: Vec<u32> = near_ends.map(|link| link.index).collect();
        let gone: Vec<u32> = attached.uplinks.keys().copied().collect();
        for index in gone {
            if !uplinks.iter().any(|uplink| uplink.index == index)
                && let Some(link) = attached.uplinks.remove(&index)
            {
                self.unhook(DECAP, index, link);
            }
        }
        for uplink in uplinks {
            if attached.uplinks.contains_key(&uplink.index) {
                continue;
            }
            let device = (uplink.index, uplink.name.as_str());
            match self.hook(DECAP, device, TcAttachType::Ingress) {
                Ok(link) => drop(attached.uplinks.insert(uplink.index, link)),
                // What comes there is `tun`'s.
                Err(why) => tracing::warn!("{why}"),
            }
        }
        let (Some(_), Some(far_end)) = (near_end, far_end) else {
            self.attached = Some(attached);
            return Err("somebody removed the helper's devices, or took them down".to_owned());
        };
        let here = Here {
            far: far_end.mac,
            ..attached.here
        };
        let is_other = mem::replace(&mut attached.here, here) != here;
        self.attached = Some(attached);
        if is_other {
            self.programs.set_here(here)?;
        }
        (self.notify)(Notice::Uplinks(far));
        self.programs.set_near_ends(&near_ends)
    }

    fn unhook(&mut self, program: &str, device: u32, link: SchedClassifierLinkId) {
        // A device that is gone took the link along.
        if let Ok(program) = self.programs.get(program)
            && let Err(error) = program.detach(link)
        {
            tracing::debug!("detach: {}", refusal(&error));
        }
        self.leave_clsact(device);
    }

    /// Nothing of ours is on a device any more.
    fn leave_clsact(&mut self, device: u32) {
        if self.with_clsact.remove(&device)
            && let Err(error) = self.netlink.remove_unused_clsact(device)
        {
            tracing::debug!("{error}");
        }
    }

    fn detach(&mut self) {
        let Some(attached) = self.attached.take() else {
            return;
        };
        for (device, link) in attached.devices {
            self.unhook(ENCAP, device, link);
        }
        for (device, link) in attached.uplinks {
            self.unhook(DECAP, device, link);
        }
        let far = attached.helper.far.index;
        self.unhook(MERGED, far, attached.merged);
        attached.helper.remove(&self.netlink);
        tracing::debug!("ebpf: detached");
    }
}

/// Those of `uplinks` that programs send into without being told to; why there are none.
pub(super) fn far<'a>(uplinks: &[&'a Ethernet]) -> Result<Vec<&'a Ethernet>, &'static str> {
    let far = uplinks.iter().copied().filter(|uplink| !uplink.is_near);
    let far: Vec<&Ethernet> = far.collect();
    match (uplinks.is_empty(), far.is_empty()) {
        (true, _) => Err("no Ethernet device has an address"),
        (_, true) => Err(
            "each uplink may end in a program on this machine, as a veth does; datapath=ebpf is for those that do not",
        ),
        _ => Ok(far),
    }
}

/// Whether devices take programs without a queueing discipline, and `aya` attaches them so.
pub(super) fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}
