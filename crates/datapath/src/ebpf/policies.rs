//! IPsec policies of this host (xfrm): what they cover is not for the programs, which are before them on the way in and past them on the way out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer};
use netlink_sys::{Socket, protocols::NETLINK_XFRM};

use crate::Transport;
use crate::netlink::Doorbell;

/// `linux/xfrm.h`: a dump of policies, one of them, and the group that is told of changes.
const XFRM_MSG_NEWPOLICY: u16 = 0x13;
const XFRM_MSG_GETPOLICY: u16 = 0x15;
const XFRMNLGRP_POLICY: u32 = 4;
/// `linux/netlink.h`.
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const HEADER: usize = 16;
/// `struct xfrm_userpolicy_id`.
const POLICY_ID: usize = 64;
/// `struct xfrm_selector`.
const SELECTOR: usize = 56;
const UDP: u8 = 17;

/// What a policy applies to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Policy {
    to: IpNet,
    from: IpNet,
    /// 0: any.
    protocol: u8,
}

impl Policy {
    /// Whether it may be about a session's messages, in either direction. Ports are not looked at: who protects anything of UDP between two hosts is
    /// not to find L2TP in clear there.
    pub(super) fn covers(&self, path: &Transport) -> bool {
        let (local, remote) = (path.local.ip(), path.remote.ip());
        let between = |from: IpAddr, to: IpAddr| self.from.contains(&from) && self.to.contains(&to);
        matches!(self.protocol, 0 | UDP) && (between(local, remote) || between(remote, local))
    }
}

/// A socket that can be read when policies have changed; none where the kernel has no IPsec.
pub(super) fn doorbell() -> io::Result<Option<Doorbell>> {
    where_there_is_ipsec(Doorbell::open(NETLINK_XFRM, &[XFRMNLGRP_POLICY]))
}

fn where_there_is_ipsec<T>(socket: io::Result<T>) -> io::Result<Option<T>> {
    match socket {
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Ok(None),
        socket => socket.map(Some),
    }
}

/// The policies of this network namespace; none where the kernel has no IPsec.
pub(super) fn all() -> io::Result<Vec<Policy>> {
    let Some(mut socket) = where_there_is_ipsec(Socket::new(NETLINK_XFRM))? else {
        return Ok(Vec::new());
    };
    socket.bind_auto()?;
    let mut request = vec![0; HEADER + POLICY_ID];
    request[..4].copy_from_slice(&((HEADER + POLICY_ID) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&XFRM_MSG_GETPOLICY.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    socket.send(&request, 0)?;
    let mut policies = Vec::new();
    loop {
        let (octets, _) = socket.recv_from_full()?;
        let mut rest = &octets[..];
        while let Ok(message) = NetlinkBuffer::new_checked(rest) {
            match message.message_type() {
                XFRM_MSG_NEWPOLICY => policies.extend(policy(message.payload())),
                NLMSG_DONE => return Ok(policies),
                NLMSG_ERROR => return Err(io::Error::other("the dump of policies was refused")),
                _ => {}
            }
            let len = (message.length() as usize).next_multiple_of(4);
            rest = rest.get(len..).unwrap_or_default();
        }
    }
}

/// What a `struct xfrm_userpolicy_info` begins with; one for both families is two.
fn policy(octets: &[u8]) -> Vec<Policy> {
    let Some(selector) = octets.first_chunk::<SELECTOR>() else {
        return Vec::new();
    };
    let family = i32::from(u16::from_ne_bytes([selector[40], selector[41]]));
    let any = family == libc::AF_UNSPEC;
    let of = |ipv6: bool| {
        let net = |at: usize, len: u8| {
            let octets: [u8; 16] = selector[at..at + 16].try_into().ok()?;
            let [a, b, c, d, ..] = octets;
            let address: IpAddr = match ipv6 {
                true => Ipv6Addr::from(octets).into(),
                false => Ipv4Addr::new(a, b, c, d).into(),
            };
            IpNet::new(address, if any { 0 } else { len }).ok()
        };
        Some(Policy {
            to: net(0, selector[42])?,
            from: net(16, selector[43])?,
            protocol: selector[44],
        })
    };
    let ipv4 = (any || family == libc::AF_INET).then(|| of(false));
    let ipv6 = (any || family == libc::AF_INET6).then(|| of(true));
    [ipv4, ipv6].into_iter().flatten().flatten().collect()
}

/// Whether one of them is about a session's messages.
pub(super) fn cover(policies: &[Policy], path: &Transport) -> bool {
    policies.iter().any(|policy| policy.covers(path))
}
