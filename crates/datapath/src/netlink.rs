//! Links, addresses and routes of the host, through rtnetlink.
//!
//! Every operation is idempotent: adding what is there and removing what is not there are no errors. An error says what was tried.

#[cfg(feature = "ebpf")]
mod clsact;
mod conversation;
mod doorbell;
#[cfg(feature = "ebpf")]
mod ethernet;
mod proxy;
mod settling;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage, Stats64,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;

use crate::DatapathError;
use crate::device::Interface;

pub(crate) use conversation::{Conversation, receive};
#[cfg(feature = "ebpf")]
pub(crate) use doorbell::Doorbell;
#[cfg(feature = "ebpf")]
pub(crate) use ethernet::Ethernet;
pub use proxy::Proxy;

/// Marks our routes (`ip route show proto 171`): one that is left of a process that was killed is known again, and one that an administrator
/// made is not taken for ours. The kernel's `rtnetlink.h` and the routing daemons leave this number alone.
const OURS: RouteProtocol = RouteProtocol::Other(171);

/// The group of devices (`ip link show group`) that are about to be removed: a number that nobody comes upon, "L2TP" in ASCII.
const LEAVING: u32 = u32::from_be_bytes(*b"L2TP");

/// An address of a point-to-point device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// Interface index.
    pub device: u32,
    /// Our address.
    pub local: IpAddr,
    /// The other end's, to which the kernel adds a host route; none when the device has many ends.
    pub peer: Option<IpAddr>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(peer) => write!(f, "address {} peer {peer}", self.local),
            None => write!(f, "address {}", self.local),
        }
    }
}

/// An entry of the main routing table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteEntry {
    /// The destinations.
    pub to: IpNet,
    /// Interface index.
    pub device: u32,
    /// The next hop; none on a device where each destination is at hand.
    pub gateway: Option<IpAddr>,
    /// The source address to prefer.
    pub source: Option<IpAddr>,
    /// The largest packet to send this way, when smaller than the device's.
    pub mtu: Option<u16>,
    /// Metric; the kernel's default when absent.
    pub metric: Option<u32>,
}

impl fmt::Display for RouteEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route to {}", self.to)
    }
}

/// A connection to the kernel's routing configuration, in the network namespace of the thread that made it. Its calls block for as long as
/// the kernel takes.
pub struct Netlink(Conversation);

impl Netlink {
    /// Opens the connection.
    pub fn open() -> Result<Self, DatapathError> {
        let conversation = Conversation::open(NETLINK_ROUTE);
        Ok(Self(conversation.map_err(|e| {
            DatapathError::system("open rtnetlink", &e)
        })?))
    }

    /// Sets a device's MTU and brings it up, without the link-local address that the kernel would choose: the session's is negotiated.
    pub fn bring_up(&self, device: &impl Interface, mtu: u16) -> Result<(), DatapathError> {
        self.keep_quiet(device.index());
        let mut up = LinkMessage::default();
        up.header.index = device.index();
        up.header.flags = LinkFlags::Up;
        up.header.change_mask = LinkFlags::Up;
        up.attributes = vec![LinkAttribute::Mtu(mtu.into())];
        up.attributes
            .extend(device.queue().map(LinkAttribute::TxQueueLen));
        self.request(RouteNetlinkMessage::SetLink(up), 0)
            .map(drop)
            .map_err(|e| {
                let what = format!("bring up device {} with MTU {mtu}", device.name());
                DatapathError::system(what, &e)
            })
    }

    /// Has the kernel choose no link-local address for a device.
    fn keep_quiet(&self, device: u32) {
        let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        // A kernel without IPv6 refuses this, and has no need of it.
        let _ = self.set_family(device, AfSpecUnspec::Inet6(vec![none]));
    }

    /// Sets what a family of addresses has for a device.
    fn set_family(&self, device: u32, settings: AfSpecUnspec) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = device;
        message.attributes = vec![LinkAttribute::AfSpecUnspec(vec![settings])];
        self.request(RouteNetlinkMessage::SetLink(message), 0)
            .map(drop)
    }

    /// Gives a device that is down another name, where `%d` at its end stands for the lowest free number; the name that it has then.
    pub fn rename(&self, device: u32, name: &str) -> Result<String, DatapathError> {
        let mut message = LinkMessage::default();
        message.header.index = device;
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        let renamed = self.request(RouteNetlinkMessage::SetLink(message), 0);
        renamed.map_err(|e| {
            let what = format!("create device {name}");
            match is(&e, Errno::EXIST) {
                true => DatapathError::System {
                    what,
                    reason: "a device of this name exists".to_owned(),
                },
                false => DatapathError::system(what, &e),
            }
        })?;
        self.link(device)?
            .attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })
            .ok_or_else(|| no_answer(format!("read the name of device {device}")))
    }

    /// What a device has carried, if it is there.
    pub fn counts(&self, device: u32) -> Result<Option<Stats64>, DatapathError> {
        let link = self.link(device)?;
        Ok(link
            .attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Stats64(counts) => Some(counts),
                _ => None,
            }))
    }

    fn link(&self, device: u32) -> Result<LinkMessage, DatapathError> {
        let mut message = LinkMessage::default();
        message.header.index = device;
        let replies = self
            .request(RouteNetlinkMessage::GetLink(message), 0)
            .map_err(|e| DatapathError::system(format!("look at device {device}"), &e))?;
        let link = replies.into_iter().find_map(|reply| match reply {
            RouteNetlinkMessage::NewLink(link) => Some(link),
            _ => None,
        });
        link.ok_or_else(|| no_answer(format!("look at device {device}")))
    }

    /// Removes devices. For each removal the kernel waits until nobody looks at what is removed, some 20 ms; many in one are as quick as one.
    pub(crate) fn remove_devices<D: Interface>(
        &self,
        devices: &[Arc<D>],
    ) -> Result<(), DatapathError> {
        if let [device] = devices {
            return self.remove_device(&**device);
        }
        let mut result = Ok(());
        for device in devices {
            let mut message = LinkMessage::default();
            message.header.index = device.index();
            message.attributes = vec![LinkAttribute::Group(LEAVING)];
            if gone(self.request(RouteNetlinkMessage::SetLink(message), 0)).is_err() {
                result = self.remove_device(&**device).and(result);
            }
        }
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::Group(LEAVING)];
        let removed = gone(self.request(RouteNetlinkMessage::DelLink(message), 0));
        let what = || format!("remove {} devices", devices.len());
        result.and(removed.map_err(|e| DatapathError::system(what(), &e)))
    }

    /// Removes a device. Closing it is not enough: a program that is being started has a copy of every descriptor for a moment.
    pub fn remove_device(&self, device: &impl Interface) -> Result<(), DatapathError> {
        let mut message = LinkMessage::default();
        message.header.index = device.index();
        gone(self.request(RouteNetlinkMessage::DelLink(message), 0))
            .map_err(|e| DatapathError::system(format!("remove device {}", device.name()), &e))
    }

    /// Adds an address. Packets come and go by it from then on.
    pub fn add_address(&self, address: &Address) -> Result<(), DatapathError> {
        let message = RouteNetlinkMessage::NewAddress(address_message(address));
        let added = self.request(message, NLM_F_CREATE | NLM_F_REPLACE);
        added.map_err(|e| DatapathError::system(format!("add {address}"), &e))?;
        if address.local.is_ipv6() {
            settling::settle(self, address);
        }
        Ok(())
    }

    /// Removes an address.
    pub fn remove_address(&self, address: &Address) -> Result<(), DatapathError> {
        let message = RouteNetlinkMessage::DelAddress(address_message(address));
        gone(self.request(message, 0))
            .map_err(|e| DatapathError::system(format!("remove {address}"), &e))
    }

    /// Adds a route, before any other to the same destinations with the same metric (IPv4; an IPv6 one comes after them).
    pub fn add_route(&self, route: &RouteEntry) -> Result<(), DatapathError> {
        let message = RouteNetlinkMessage::NewRoute(route_message(route));
        match self.request(message, NLM_F_CREATE) {
            Ok(_) => Ok(()),
            Err(e) if is(&e, Errno::EXIST) => Ok(()),
            Err(e) => Err(DatapathError::system(format!("add {route}"), &e)),
        }
    }

    /// Removes a route, if it is one of ours.
    pub fn remove_route(&self, route: &RouteEntry) -> Result<(), DatapathError> {
        let message = RouteNetlinkMessage::DelRoute(route_message(route));
        gone(self.request(message, 0))
            .map_err(|e| DatapathError::system(format!("remove {route}"), &e))
    }

    /// The path that packets to `destination` take now, as a host route; none if it is an address of this host.
    pub fn path_to(&self, destination: IpAddr) -> Result<Option<RouteEntry>, DatapathError> {
        let what = || format!("find the path to {destination}");
        let path = self.look_up(destination, None);
        let Some(path) = path.map_err(|e| DatapathError::system(what(), &e))? else {
            return Err(no_answer(what()));
        };
        Ok((path.header.kind == RouteType::Unicast)
            .then(|| host_route(destination, &path))
            .flatten())
    }

    /// The route that the kernel takes to `destination`, on this device or on any.
    fn look_up(
        &self,
        destination: IpAddr,
        device: Option<u32>,
    ) -> io::Result<Option<RouteMessage>> {
        let mut query = RouteMessage::default();
        query.header.address_family = family(destination);
        query.header.destination_prefix_length = host_prefix(destination);
        query
            .attributes
            .push(RouteAttribute::Destination(destination.into()));
        query.attributes.extend(device.map(RouteAttribute::Oif));
        let replies = self.request(RouteNetlinkMessage::GetRoute(query), 0)?;
        Ok(replies.into_iter().find_map(|reply| match reply {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        }))
    }

    /// The next hops of all routes, with the devices that they are on.
    pub(crate) fn gateways(&self) -> Result<BTreeSet<(IpAddr, u32)>, DatapathError> {
        let mut gateways = BTreeSet::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut query = RouteMessage::default();
            query.header.address_family = family;
            let replies = self
                .request(RouteNetlinkMessage::GetRoute(query), NLM_F_DUMP)
                .map_err(|e| DatapathError::system("list routes", &e))?;
            let hops = replies.iter().filter_map(|reply| match reply {
                RouteNetlinkMessage::NewRoute(route) => {
                    host_route(Ipv4Addr::UNSPECIFIED.into(), route)
                }
                _ => None,
            });
            gateways.extend(hops.filter_map(|hop| Some((hop.gateway?, hop.device))));
        }
        Ok(gateways)
    }

    /// A device's name; its number where it is gone.
    pub(crate) fn name_of(&self, device: u32) -> String {
        let link = self.link(device).unwrap_or_default();
        let name = link
            .attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
        name.unwrap_or_else(|| device.to_string())
    }

    /// Whether a device is there and somebody has it up.
    fn is_up(&self, device: u32) -> bool {
        let link = self.link(device);
        link.is_ok_and(|link| link.header.flags.contains(LinkFlags::Up))
    }

    fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.0.ask(message, NLM_F_ACK | flags)
    }
}

fn no_answer(what: String) -> DatapathError {
    DatapathError::System {
        what,
        reason: "the kernel gave no answer".to_owned(),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// The result of a removal, where what is not there is removed already.
fn gone(result: io::Result<Vec<RouteNetlinkMessage>>) -> io::Result<()> {
    const ABSENT: [Errno; 4] = [Errno::SRCH, Errno::NODEV, Errno::NXIO, Errno::ADDRNOTAVAIL];
    match result {
        Err(e) if !ABSENT.iter().any(|&errno| is(&e, errno)) => Err(e),
        _ => Ok(()),
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn host_prefix(address: IpAddr) -> u8 {
    IpNet::from(address).max_prefix_len()
}

fn address_message(address: &Address) -> AddressMessage {
    let link_local = matches!(address.local, IpAddr::V6(local) if local.is_unicast_link_local());
    let mut message = AddressMessage::default();
    message.header.family = family(address.local);
    message.header.prefix_len = host_prefix(address.local);
    message.header.index = address.device;
    message.header.scope = if link_local {
        AddressScope::Link
    } else {
        AddressScope::Universe
    };
    message.attributes = vec![
        AddressAttribute::Local(address.local),
        AddressAttribute::Address(address.peer.unwrap_or(address.local)),
        // Both ends agreed on it already.
        AddressAttribute::Flags(AddressFlags::Nodad),
    ];
    message
}

fn route_message(route: &RouteEntry) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.to.addr());
    message.header.destination_prefix_length = route.to.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = OURS;
    message.header.kind = RouteType::Unicast;
    message.header.scope = match (route.to, route.gateway) {
        (IpNet::V4(_), None) => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(route.to.network().into()));
    attributes.push(RouteAttribute::Oif(route.device));
    attributes.extend(route.gateway.map(|ip| RouteAttribute::Gateway(ip.into())));
    attributes.extend(route.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    attributes.extend(route.metric.map(RouteAttribute::Priority));
    attributes.extend(
        route
            .mtu
            .map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu.into())])),
    );
    message
}

fn host_route(destination: IpAddr, path: &RouteMessage) -> Option<RouteEntry> {
    let device = path.attributes.iter().find_map(|a| match a {
        RouteAttribute::Oif(device) => Some(*device),
        _ => None,
    })?;
    let gateway = path.attributes.iter().find_map(|a| match a {
        RouteAttribute::Gateway(RouteAddress::Inet(ip)) => Some(IpAddr::from(*ip)),
        RouteAttribute::Gateway(RouteAddress::Inet6(ip)) => Some(IpAddr::from(*ip)),
        _ => None,
    });
    Some(RouteEntry {
        to: destination.into(),
        device,
        gateway,
        source: None,
        mtu: None,
        metric: None,
    })
}
