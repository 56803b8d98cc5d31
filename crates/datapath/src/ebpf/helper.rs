//! The pair of devices on which streams are merged, and what killed processes left of theirs.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use aya::programs::TcAttachType;
use aya::programs::links::Link;
use aya::programs::tc::SchedClassifierLink;

use super::links::{OF_OTHERS, OF_OURS, has_tcx};
use crate::ethtool;
use crate::netlink::{Ethernet, Netlink};

/// How many numbers are tried of those that daemons usually have, and then of others: anybody can hold one back, and have a device of its name.
const TRIES: u32 = 64;

/// What the names of near ends begin with.
const NEAR: &str = "l2tp-in";

/// The pair of devices on which streams are merged.
pub(super) struct Helper {
    pub(super) near: Ethernet,
    pub(super) far: Ethernet,
    /// Nobody else takes the pair for left behind while this is open.
    _claim: UnixDatagram,
}

impl Helper {
    /// Makes a pair, after what killed processes left is removed.
    pub(super) fn make(netlink: &Netlink) -> Result<Self, String> {
        remove_left(netlink)?;
        let mut why = "every number is taken".to_owned();
        for number in (0..TRIES).chain((0..TRIES).map(|_| any_number())) {
            let Some(claim) = claim(number)? else {
                continue;
            };
            match make_claimed(netlink, &names(number), claim) {
                Ok(helper) => return Ok(helper),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Removes both ends.
    pub(super) fn remove(&self, netlink: &Netlink) {
        if let Err(error) = netlink.remove_index(self.near.index) {
            tracing::warn!("remove device {}: {error}", self.near.name);
        }
    }

    fn set_up(&self, netlink: &Netlink) -> Result<(), String> {
        // Only what the sending end does not segment itself is merged at the other.
        for (end, set) in [
            (&self.near, ethtool::segment_no_tcp as fn(&str) -> _),
            (&self.far, ethtool::merge),
        ] {
            set(&end.name).map_err(|e: io::Error| format!("offloads of {}: {e}", end.name))?;
        }
        // Paths are looked up as those of packets that came through this device. Where IPv6's can't be, `tun` says so of sessions over it.
        let forwarded = netlink.forward_ipv4(self.near.index);
        forwarded.map_err(|e| e.to_string())?;
        let ipv6 = format!("/proc/sys/net/ipv6/conf/{}/forwarding", self.near.name);
        let _ = fs::write(ipv6, "1");
        for end in [&self.near, &self.far] {
            let up = netlink.bring_up_quietly(end.index);
            up.map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

fn make_claimed(
    netlink: &Netlink,
    names: &[String; 2],
    claim: UnixDatagram,
) -> Result<Helper, String> {
    let queues = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let [near, far] = names;
    let made = netlink.add_pair([near, far], queues);
    made.map_err(|e| e.to_string())?;
    let all = netlink.ethernets().map_err(|e| e.to_string())?;
    let find = |name: &String| all.iter().find(|device| device.name == *name).cloned();
    let [Some(near), Some(far)] = [near, far].map(find) else {
        return Err("the helper's devices are gone".to_owned());
    };
    let helper = Helper {
        near,
        far,
        _claim: claim,
    };
    let set_up = helper.set_up(netlink);
    set_up.inspect_err(|_| helper.remove(netlink))?;
    Ok(helper)
}

fn names(number: u32) -> [String; 2] {
    [NEAR, "l2tp-gro"].map(|end| format!("{end}{number}"))
}

/// A number with as many digits as a name has room for.
pub(super) fn any_number() -> u32 {
    RandomState::new().hash_one(()) as u32 % 1_000_000
}

/// The number in the name of a pair's near end.
fn number_of(near: &Ethernet) -> Option<u32> {
    near.name.strip_prefix(NEAR)?.parse().ok()
}

/// Takes a pair's number for this process, unless another one of this network namespace has it: an abstract socket goes with who made it,
/// while devices stay.
fn claim(number: u32) -> Result<Option<UnixDatagram>, String> {
    let name = SocketAddr::from_abstract_name(format!("openl2tp-helper-{number}"));
    match name.and_then(|name| UnixDatagram::bind_addr(&name)) {
        Ok(claim) => Ok(Some(claim)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(format!("claim a number: {error}")),
    }
}

/// Removes the pairs that are nobody's, and their programs.
fn remove_left(netlink: &Netlink) -> Result<(), String> {
    let all = netlink.ethernets().map_err(|e| e.to_string())?;
    for near in all.iter().filter(|device| device.is_helper) {
        let Some(number) = number_of(near) else {
            continue;
        };
        let Some(_claim) = claim(number)? else {
            continue;
        };
        // First what is known by the near end's index.
        remove_programs(netlink, &all, near.index);
        // The other end goes with it.
        let _ = netlink.remove_index(near.index);
    }
    Ok(())
}

/// Removes the programs with this handle: those of a `clsact` stay with the device, and it with them.
fn remove_programs(netlink: &Netlink, devices: &[Ethernet], handle: u32) {
    if has_tcx() {
        return;
    }
    for device in devices {
        let detach = |priority| {
            let to = TcAttachType::Ingress;
            let left = SchedClassifierLink::attached(&device.name, to, priority, handle);
            left.is_ok_and(|left| left.detach().is_ok())
        };
        detach(OF_OTHERS);
        if detach(OF_OURS)
            && let Err(error) = netlink.remove_unused_clsact(device.index)
        {
            tracing::debug!("{error}");
        }
    }
}
