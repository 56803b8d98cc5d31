//! An address of IPv6 has its routes a moment after the kernel has said yes to it, as it looks for duplicates elsewhere first even where it is not to.

use std::io;

use netlink_packet_route::route::RouteType;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::doorbell::Doorbell;
use super::{Address, Netlink};

/// The group of rtnetlink that hears of routes of IPv6 (`linux/rtnetlink.h`).
const IPV6_ROUTES: u32 = 11;

/// How often and for how long news are waited for: a fifth of a second at most. Whoever sends too early is told that there is no route.
const PATIENCE: u32 = 20;
const NEWS: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// Waits until packets come and go by an address that was added.
pub(super) fn settle(netlink: &Netlink, address: &Address) -> io::Result<()> {
    if is_in_use(netlink, address) {
        return Ok(());
    }
    let bell = Doorbell::open(NETLINK_ROUTE, &[IPV6_ROUTES])?;
    for _ in 0..PATIENCE {
        if is_in_use(netlink, address) {
            break;
        }
        // A signal is as good as news.
        let _ = poll(&mut [PollFd::new(&bell, PollFlags::IN)], Some(&NEWS));
        bell.has_rung();
    }
    Ok(())
}

/// Whether what comes to the address is taken, and there is a path to the other end. A route to the address itself is there from the beginning.
fn is_in_use(netlink: &Netlink, address: &Address) -> bool {
    let path = |to| netlink.look_up(to, Some(address.device)).ok().flatten();
    path(address.local).is_some_and(|path| path.header.kind == RouteType::Local)
        && address.peer.is_none_or(|peer| path(peer).is_some())
}
