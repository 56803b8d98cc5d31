//! An address of IPv6 has its routes a moment after the kernel has said yes to it, as it looks for duplicates elsewhere first even where it is not to.

use std::time::Duration;

use netlink_packet_route::route::RouteType;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::doorbell::Doorbell;
use super::{Address, Netlink};
use crate::clock::Clock;

/// The group of rtnetlink that hears of routes of IPv6 (`linux/rtnetlink.h`).
const IPV6_ROUTES: u32 = 11;

/// How long it is waited for at most. Whoever sends too early is told that there is no route.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often it is looked at where there are no news.
const INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// Waits until packets come and go by an address that was added, which they do not while somebody has the device down.
pub(super) fn settle(netlink: &Netlink, address: &Address) {
    if is_in_use(netlink, address) || !netlink.is_up(address.device) {
        return;
    }
    let clock = Clock::start();
    let until = clock.now() + PATIENCE;
    // Who can't hear of routes looks now and then.
    let bell = Doorbell::open(NETLINK_ROUTE, &[IPV6_ROUTES]).ok();
    while !is_in_use(netlink, address) && clock.now() < until {
        let mut news = bell.as_ref().map(|bell| PollFd::new(bell, PollFlags::IN));
        // A signal is as good as news.
        let _ = poll(news.as_mut_slice(), Some(&INTERVAL));
        bell.as_ref().map(Doorbell::has_rung);
    }
}

/// Whether what comes to the address is taken, and there is a path to the other end. A route to the address itself is there from the beginning.
fn is_in_use(netlink: &Netlink, address: &Address) -> bool {
    let path = |to| netlink.look_up(to, Some(address.device)).ok().flatten();
    path(address.local).is_some_and(|path| path.header.kind == RouteType::Local)
        && address.peer.is_none_or(|peer| path(peer).is_some())
}
