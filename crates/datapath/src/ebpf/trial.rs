//! Programs of which nothing is asked but to be tried.

use aya::programs::TcAttachType;

use super::helper::any_number;
use super::links::{far, has_tcx};
use super::programs::{ENCAP, refusal};
use super::{Loaded, check};
use crate::device;
use crate::netlink::Netlink;

impl Loaded {
    /// Runs them on a packet each way.
    pub(crate) fn try_out(&mut self) -> Result<(), String> {
        check::self_test(&mut self.programs, &mut self.maps)
    }

    /// Attaches one to a device and takes it away again: by what means.
    pub(crate) fn try_attach(&mut self, device: &str) -> Result<&'static str, String> {
        let by_tcx = has_tcx();
        if !by_tcx {
            // It goes with the device.
            let netlink = Netlink::open().map_err(|e| e.to_string())?;
            let index = device::index_of(device).map_err(|e| e.to_string())?;
            netlink.add_clsact(index).map_err(|e| e.to_string())?;
        }
        let program = self.programs.get(ENCAP)?;
        let link = program
            .attach(device, TcAttachType::Egress)
            .map_err(|e| refusal(&e))?;
        program.detach(link).map_err(|e| refusal(&e))?;
        Ok(if by_tcx { "TCX" } else { "clsact" })
    }
}

/// Whether a pair of devices can be made, as streams are merged on one.
pub(crate) fn try_pair() -> Result<(), String> {
    let netlink = Netlink::open().map_err(|e| e.to_string())?;
    // Another process has other names.
    let number = any_number();
    let [near, far] = ["a", "b"].map(|end| format!("l2tptry{number}{end}"));
    let made = netlink.add_pair([&near, &far], 1);
    made.map_err(|e| e.to_string())?;
    let index = device::index_of(&near).map_err(|e| e.to_string())?;
    netlink.remove_index(index).map_err(|e| e.to_string())
}

/// The uplinks that programs send into without being told to: their names.
pub(crate) fn try_uplinks() -> Result<String, String> {
    let netlink = Netlink::open().map_err(|e| e.to_string())?;
    let all = netlink.ethernets().map_err(|e| e.to_string())?;
    let uplinks = netlink.uplinks(&all).map_err(|e| e.to_string())?;
    let far = far(&uplinks)?;
    let names: Vec<&str> = far.iter().map(|uplink| uplink.name.as_str()).collect();
    Ok(names.join(", "))
}
