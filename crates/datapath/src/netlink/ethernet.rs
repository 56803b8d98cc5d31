//! Ethernet devices: which there are, and pairs of them of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::address::{AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecUnspec, InetDevConf, InfoData, InfoKind, InfoMacVlan, InfoVeth,
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, MacVlanMode,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Netlink, gone};
use crate::{DatapathError, ethtool};

/// The group of devices (`ip link show group`) that the near ends of our pairs are in: a number that nobody comes upon, "eBPF" in ASCII.
const HELPERS: u32 = u32::from_be_bytes(*b"eBPF");

/// An Ethernet device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ethernet {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// The near end of a pair of ours, or of a process like this one.
    pub(crate) is_helper: bool,
    pub(crate) is_up: bool,
    /// A port of a bridge, say.
    pub(crate) is_part: bool,
    /// What is sent into it may come out on this machine as it is, in super-packets and with checksums that are still to be made, or goes nowhere.
    pub(crate) is_near: bool,
    pub(crate) mac: [u8; 6],
}

impl Netlink {
    /// All Ethernet devices.
    pub(crate) fn ethernets(&self) -> Result<Vec<Ethernet>, DatapathError> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let replies = self
            .request(message, NLM_F_DUMP)
            .map_err(|e| DatapathError::system("list devices", &e))?;
        let mut links: Vec<Link> = replies.iter().filter_map(link).collect();
        spread(&mut links);
        Ok(links.into_iter().map(|link| link.device).collect())
    }

    /// Those of `all` through which peers may be reached: that have an address, or are cards that need none, as who routes by next hops of IPv6
    /// has them (RFC 8950). Every device that is up has an address of IPv6 that is link-local.
    pub(crate) fn uplinks<'a>(
        &self,
        all: &'a [Ethernet],
    ) -> Result<Vec<&'a Ethernet>, DatapathError> {
        let scopes = self.addressed()?;
        let is_uplink = |device: &&Ethernet| match scopes.get(&device.index) {
            Some(AddressScope::Link) => !device.is_near && !device.is_part,
            scope => scope.is_some(),
        };
        Ok(all.iter().filter(is_uplink).collect())
    }

    /// The devices that have an address, by index, and whether that is more than link-local.
    fn addressed(&self) -> Result<BTreeMap<u32, AddressScope>, DatapathError> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let replies = self
            .request(message, NLM_F_DUMP)
            .map_err(|e| DatapathError::system("list addresses", &e))?;
        let mut scopes = BTreeMap::new();
        for reply in replies {
            let RouteNetlinkMessage::NewAddress(AddressMessage { header, .. }) = reply else {
                continue;
            };
            if header.family == AddressFamily::Inet || header.scope != AddressScope::Link {
                scopes.insert(header.index, AddressScope::Universe);
            } else {
                scopes.entry(header.index).or_insert(AddressScope::Link);
            }
        }
        Ok(scopes)
    }

    /// Makes a veth pair of ours with so many queues at each end.
    pub(crate) fn add_pair(&self, ends: [&str; 2], queues: u32) -> Result<(), DatapathError> {
        // Who chooses addresses for new devices leaves those alone that came with one.
        let mut end = 0;
        let [mut near, far] = ends.map(|name| {
            end += 1;
            let mut message = LinkMessage::default();
            message.attributes = vec![
                LinkAttribute::IfName(name.to_owned()),
                LinkAttribute::Address(vec![2, b'L', b'2', b'T', b'P', end]),
                LinkAttribute::NumTxQueues(queues),
                LinkAttribute::NumRxQueues(queues),
            ];
            message
        });
        near.attributes.push(LinkAttribute::Group(HELPERS));
        near.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        self.request(
            RouteNetlinkMessage::NewLink(near),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .map(drop)
        .map_err(|e| {
            DatapathError::system(format!("create devices {} and {}", ends[0], ends[1]), &e)
        })
    }

    /// Brings a device up that has no address and gets none.
    pub(crate) fn bring_up_quietly(&self, index: u32) -> Result<(), DatapathError> {
        self.keep_quiet(index);
        let mut up = LinkMessage::default();
        up.header.index = index;
        up.header.flags = LinkFlags::Up | LinkFlags::Noarp;
        up.header.change_mask = LinkFlags::Up | LinkFlags::Noarp;
        self.request(RouteNetlinkMessage::SetLink(up), 0)
            .map(drop)
            .map_err(|e| DatapathError::system(format!("bring up device {index}"), &e))
    }

    /// Switches on that a device forwards IPv4, also where `/proc/sys` is read-only, as in most containers.
    pub(crate) fn forward_ipv4(&self, index: u32) -> Result<(), DatapathError> {
        let mut settings = InetDevConf::default();
        settings.forwarding = 1;
        let settings = AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(settings)]);
        self.set_family(index, settings)
            .map_err(|e| DatapathError::system(format!("let device {index} forward"), &e))
    }

    /// Removes a device, if it is there.
    pub(crate) fn remove_index(&self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        gone(self.request(RouteNetlinkMessage::DelLink(message), 0))
    }
}

/// A device and those that it is joined to.
struct Link {
    device: Ethernet,
    /// What it is on top of.
    lower: Option<u32>,
    /// What it is a part of.
    whole: Option<u32>,
    /// Nothing that is sent into it goes anywhere but into its parts.
    is_whole: bool,
}

fn link(reply: &RouteNetlinkMessage) -> Option<Link> {
    let RouteNetlinkMessage::NewLink(message) = reply else {
        return None;
    };
    if message.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let mut device = Ethernet {
        index: message.header.index,
        name: String::new(),
        is_helper: false,
        is_up: message.header.flags.contains(LinkFlags::Up),
        is_part: false,
        is_near: false,
        mac: [0; 6],
    };
    let (mut lower, mut whole, mut elsewhere) = (None, None, false);
    let mut infos = &Vec::new();
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => device.name.clone_from(name),
            LinkAttribute::Address(mac) => device.mac = mac.as_slice().try_into().ok()?,
            LinkAttribute::LinkInfo(its) => infos = its,
            LinkAttribute::Group(group) => device.is_helper = *group == HELPERS,
            LinkAttribute::Link(index) => lower = Some(*index),
            LinkAttribute::Controller(index) => {
                (whole, device.is_part) = (Some(*index), true);
            }
            // The index of what is below is one of another network namespace.
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            _ => {}
        }
    }
    let is = |kind| infos.contains(&LinkInfo::Kind(kind));
    let is_pair = is(InfoKind::Veth) || is(InfoKind::Netkit);
    let is_switch = is(InfoKind::Other("openvswitch".to_owned()));
    // These and TAPs hand on what they get; the kernel makes checksums for who says that he does not.
    device.is_near = match is_pair || is(InfoKind::Tun) {
        true => ethtool::makes_checksums(&device.name),
        false => is_switch || is(InfoKind::IpVlan) || infos.iter().any(has_neighbours),
    };
    let is_whole = is(InfoKind::Bridge) || is(InfoKind::Dummy);
    let lower = lower.filter(|_| !is_pair && !elsewhere);
    Some(Link {
        device,
        lower,
        whole,
        is_whole,
    })
}

/// Whether it is a macvlan that hands what is for another one of the same card to that itself.
fn has_neighbours(info: &LinkInfo) -> bool {
    let LinkInfo::Data(InfoData::MacVlan(infos)) = info else {
        return false;
    };
    infos.contains(&InfoMacVlan::Mode(MacVlanMode::Bridge))
}

/// What is on top of a near device is near, and what has one as a part, or has no parts where those are all that there is.
fn spread(links: &mut [Link]) {
    let wholes: BTreeSet<u32> = links.iter().filter_map(|link| link.whole).collect();
    for link in links.iter_mut().filter(|link| link.is_whole) {
        link.device.is_near |= !wholes.contains(&link.device.index);
    }
    loop {
        let near: BTreeSet<u32> = links
            .iter()
            .filter(|link| link.device.is_near)
            .flat_map(|link| [Some(link.device.index), link.whole])
            .flatten()
            .collect();
        let mut changed = false;
        for link in links.iter_mut().filter(|link| !link.device.is_near) {
            let on_near = link.lower.is_some_and(|lower| near.contains(&lower));
            link.device.is_near = on_near || near.contains(&link.device.index);
            changed |= link.device.is_near;
        }
        if !changed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_top_of_what_has_a_near_part_or_none_is_near() {
        // Something on a bridge of a card and a pair's end; something on a card; a bridge of a card; something on a bridge of nothing.
        let joined = [
            (1, None, Some(3)),
            (2, None, Some(3)),
            (3, None, None),
            (4, Some(3), None),
            (5, None, None),
            (6, Some(5), None),
            (7, None, Some(8)),
            (8, None, None),
            (9, None, None),
            (10, Some(9), None),
        ];
        let mut links = joined.map(|(index, lower, whole)| Link {
            device: Ethernet {
                index,
                name: String::new(),
                is_helper: false,
                is_up: true,
                is_part: whole.is_some(),
                is_near: index == 2,
                mac: [0; 6],
            },
            lower,
            whole,
            is_whole: [3, 8, 9].contains(&index),
        });
        spread(&mut links);
        let near = links.iter().filter(|link| link.device.is_near);
        let near: Vec<u32> = near.map(|link| link.device.index).collect();
        assert_eq!(near, [2, 3, 4, 9, 10]);
    }
}
