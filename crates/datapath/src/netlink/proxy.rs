//! Hosts of our networks for whom we answer (proxy ARP).

use std::cmp::Reverse;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use super::{Netlink, OURS, gone, is};
use crate::DatapathError;

/// On a device we answer that somebody else's address is ours. The kernel does so for what it forwards to another device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proxy {
    /// Interface index.
    pub device: u32,
    /// The address.
    pub address: Ipv4Addr,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proxy ARP for {}", self.address)
    }
}

impl Netlink {
    /// The device of the network that we are in and an address is of: of several that of the longest prefix, among those that ask by ARP.
    pub fn network_of(&self, address: Ipv4Addr) -> Result<Option<u32>, DatapathError> {
        let failed = |e: io::Error| {
            DatapathError::system(format!("find the network that {address} is in"), &e)
        };
        let mut query = AddressMessage::default();
        query.header.family = AddressFamily::Inet;
        let query = RouteNetlinkMessage::GetAddress(query);
        let replies = self.request(query, NLM_F_DUMP).map_err(failed)?;
        let mut networks: Vec<_> = replies
            .iter()
            .filter_map(|reply| match reply {
                RouteNetlinkMessage::NewAddress(known) => Some((network(known)?, known)),
                _ => None,
            })
            .filter(|(network, _)| network.addr() != address && network.contains(&address))
            .map(|(network, known)| (network.prefix_len(), known.header.index))
            .collect();
        networks.sort_by_key(|&(prefix, _)| Reverse(prefix));
        for (_, device) in networks {
            if self.asks_by_arp(device).map_err(failed)? {
                return Ok(Some(device));
            }
        }
        Ok(None)
    }

    fn asks_by_arp(&self, device: u32) -> io::Result<bool> {
        let mut query = LinkMessage::default();
        query.header.index = device;
        let replies = self.request(RouteNetlinkMessage::GetLink(query), 0)?;
        Ok(replies.iter().any(|reply| match reply {
            RouteNetlinkMessage::NewLink(link) => {
                let flags = link.header.flags;
                flags.contains(LinkFlags::Up | LinkFlags::Broadcast)
                    && !flags.contains(LinkFlags::Noarp)
            }
            _ => false,
        }))
    }

    /// Answers from now on; false if somebody else has seen to it already, which is theirs to end.
    pub fn add_proxy(&self, proxy: &Proxy) -> Result<bool, DatapathError> {
        let failed = |e: io::Error| DatapathError::system(format!("add {proxy}"), &e);
        let query = RouteNetlinkMessage::GetNeighbour(message(proxy));
        // A kernel that can't be asked for a single one knows no owners either.
        let known = self.request(query, 0).unwrap_or_default();
        let is_of_others = known.iter().any(|reply| match reply {
            RouteNetlinkMessage::NewNeighbour(known) => !known
                .attributes
                .contains(&NeighbourAttribute::Protocol(OURS)),
            _ => false,
        });
        if is_of_others {
            return Ok(false);
        }
        let mut message = message(proxy);
        message.attributes.push(NeighbourAttribute::Protocol(OURS));
        let message = RouteNetlinkMessage::NewNeighbour(message);
        self.request(message, NLM_F_CREATE).map_err(failed)?;
        Ok(true)
    }

    /// Answers no longer.
    pub fn remove_proxy(&self, proxy: &Proxy) -> Result<(), DatapathError> {
        let message = RouteNetlinkMessage::DelNeighbour(message(proxy));
        match gone(self.request(message, 0)) {
            Err(e) if !is(&e, Errno::NOENT) => {
                Err(DatapathError::system(format!("remove {proxy}"), &e))
            }
            _ => Ok(()),
        }
    }
}

/// The network that an address of ours is in; none where the device leads to one host alone.
fn network(known: &AddressMessage) -> Option<Ipv4Net> {
    let find = |wanted: fn(&AddressAttribute) -> Option<IpAddr>| match known
        .attributes
        .iter()
        .find_map(wanted)?
    {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    })?;
    let peer = find(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    Ipv4Net::new(local, known.header.prefix_len)
        .ok()
        .filter(|_| peer.is_none_or(|peer| peer == local))
}

fn message(proxy: &Proxy) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = proxy.device;
    message.header.flags = NeighbourFlags::Proxy;
    let address = NeighbourAddress::Inet(proxy.address);
    message.attributes = vec![NeighbourAttribute::Destination(address)];
    message
}
