//! Ethernet devices: which there are, and pairs of them of our own.

use std::collections::BTreeSet;
use std::io;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::address::{AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Netlink, gone};
use crate::DatapathError;

/// An Ethernet device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ethernet {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// One end of a pair, of which the other is on this machine too.
    pub(crate) is_veth: bool,
    pub(crate) mac: [u8; 6],
}

impl Netlink {
    /// All Ethernet devices.
    pub(crate) fn ethernets(&self) -> Result<Vec<Ethernet>, DatapathError> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let replies = self
            .request(message, NLM_F_DUMP)
            .map_err(|e| DatapathError::system("list devices", &e))?;
        Ok(replies.iter().filter_map(ethernet).collect())
    }

    /// The devices that have an address, by index; one of IPv6 that is link-local, as every device has, is none.
    pub(crate) fn addressed(&self) -> Result<BTreeSet<u32>, DatapathError> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let replies = self
            .request(message, NLM_F_DUMP)
            .map_err(|e| DatapathError::system("list addresses", &e))?;
        let index = |reply: RouteNetlinkMessage| match reply {
            RouteNetlinkMessage::NewAddress(AddressMessage { header, .. })
                if header.family == AddressFamily::Inet || header.scope != AddressScope::Link =>
            {
                Some(header.index)
            }
            _ => None,
        };
        Ok(replies.into_iter().filter_map(index).collect())
    }

    /// Makes a veth pair with so many queues at each end.
    pub(crate) fn add_pair(&self, ends: [&str; 2], queues: u32) -> Result<(), DatapathError> {
        let [mut near, far] = ends.map(|name| {
            let mut end = LinkMessage::default();
            end.attributes = vec![
                LinkAttribute::IfName(name.to_owned()),
                LinkAttribute::NumTxQueues(queues),
                LinkAttribute::NumRxQueues(queues),
            ];
            end
        });
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
        let mut quiet = LinkMessage::default();
        quiet.header.index = index;
        quiet.attributes = vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
            vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)],
        )])];
        // A kernel without IPv6 refuses this, and has no need of it.
        let _ = self.request(RouteNetlinkMessage::SetLink(quiet), 0);
        let mut up = LinkMessage::default();
        up.header.index = index;
        up.header.flags = LinkFlags::Up | LinkFlags::Noarp;
        up.header.change_mask = LinkFlags::Up | LinkFlags::Noarp;
        self.request(RouteNetlinkMessage::SetLink(up), 0)
            .map(drop)
            .map_err(|e| DatapathError::system(format!("bring up device {index}"), &e))
    }

    /// Removes a device, if it is there.
    pub(crate) fn remove_index(&self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        gone(self.request(RouteNetlinkMessage::DelLink(message), 0))
    }
}

fn ethernet(reply: &RouteNetlinkMessage) -> Option<Ethernet> {
    let RouteNetlinkMessage::NewLink(link) = reply else {
        return None;
    };
    if link.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let mut found = Ethernet {
        index: link.header.index,
        name: String::new(),
        is_veth: false,
        mac: [0; 6],
    };
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => found.name.clone_from(name),
            LinkAttribute::Address(mac) => found.mac = mac.as_slice().try_into().ok()?,
            LinkAttribute::LinkInfo(infos) => {
                found.is_veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
            _ => {}
        }
    }
    Some(found)
}
