//! An address of IPv6 has its routes a moment after the kernel has said yes to it, as it looks for duplicates elsewhere first even where it is not to.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Address, Netlink, family, host_prefix};

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
    let bell = doorbell()?;
    // SAFETY: the socket is open for as long as this function runs.
    let rings = unsafe { BorrowedFd::borrow_raw(bell.as_raw_fd()) };
    let mut news = Vec::with_capacity(1 << 12);
    for _ in 0..PATIENCE {
        if is_in_use(netlink, address) {
            break;
        }
        // A signal is as good as news.
        let _ = poll(&mut [PollFd::new(&rings, PollFlags::IN)], Some(&NEWS));
        while bell.recv(&mut news, 0).is_ok() {
            news.clear();
        }
    }
    Ok(())
}

/// A socket that can be read when routes have changed.
fn doorbell() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    socket.add_membership(IPV6_ROUTES)?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Whether what comes to the address is taken, and there is a path to the other end. A route to the address itself is there from the beginning.
fn is_in_use(netlink: &Netlink, address: &Address) -> bool {
    let path = |to| netlink.path_on(address.device, to);
    path(address.local) == Some(RouteType::Local)
        && address.peer.is_none_or(|peer| path(peer).is_some())
}

impl Netlink {
    /// What packets to an address would meet on a device.
    fn path_on(&self, device: u32, to: IpAddr) -> Option<RouteType> {
        let mut query = RouteMessage::default();
        query.header.address_family = family(to);
        query.header.destination_prefix_length = host_prefix(to);
        query.attributes = vec![
            RouteAttribute::Destination(to.into()),
            RouteAttribute::Oif(device),
        ];
        let path = self.request(RouteNetlinkMessage::GetRoute(query), 0);
        path.ok()?.into_iter().find_map(|reply| match reply {
            RouteNetlinkMessage::NewRoute(route) => Some(route.header.kind),
            _ => None,
        })
    }
}
