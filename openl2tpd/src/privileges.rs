//! What we may do once we serve: no more than what later requests take. Hooks inherit it.

use std::io;

use config::Model;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};
use tracing::debug;

/// What stays, and why.
const KEPT: [(CapabilitySet, &str); 3] = [
    (
        CapabilitySet::NET_ADMIN,
        "devices, addresses and routes of sessions",
    ),
    (
        CapabilitySet::NET_RAW,
        "listeners that are bound to a device",
    ),
    (
        CapabilitySet::NET_BIND_SERVICE,
        "listeners below port 1024 that are made later",
    ),
];

/// Gives up all other capabilities of this thread, of those that it starts from now on, and of programs that these run; for good.
///
/// CAP_SYS_ADMIN, without which no network namespace can be entered, stays where the configuration has a listener in another one.
///
/// # Errors
///
/// The kernel refuses, which it has no reason for.
pub(crate) fn give_up(model: &Model) -> io::Result<()> {
    let elsewhere = model.listeners.values().any(|l| l.netns().is_some());
    let kept = KEPT
        .iter()
        .fold(CapabilitySet::empty(), |kept, (one, _)| kept | *one)
        | if elsewhere {
            CapabilitySet::SYS_ADMIN
        } else {
            CapabilitySet::empty()
        };
    let have = capabilities(None)?;
    // First what the others need: to lower the bound takes a capability that goes next.
    if have.effective.contains(CapabilitySet::SETPCAP) {
        for one in CapabilitySet::all().difference(kept).iter() {
            // A capability that the kernel does not know is in no set of its.
            if capability_is_in_bounding_set(one).unwrap_or(false) {
                remove_capability_from_bounding_set(one)?;
            }
        }
    }
    set_no_new_privs(true)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: have.effective & kept,
            permitted: have.permitted & kept,
            inheritable: have.inheritable & kept,
        },
    )?;
    debug!("capabilities left: {:?}", have.permitted & kept);
    Ok(())
}
