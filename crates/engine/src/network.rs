//! The network layer of a session: which addresses its ends get, and what the datapath is told of them.

use std::net::{IpAddr, Ipv4Addr};

use api::Role;
use datapath::message::overhead;
use datapath::{Framing, NetworkSpec, Request, Route};
use ipnet::{IpNet, Ipv4Net};
use ppp::{Cause, NetworkConfig};
use sansio::Time;

use crate::policy::PppSetup;
use crate::pppd::PppdRequest;
use crate::sessions::{Pending, Session};
use crate::{Engine, Output};

/// IPv6 can't be carried by a link of less (RFC 8200 section 5).
const IPV6_MINIMUM_MTU: u16 = 1280;

/// What every host of IPv4 takes (RFC 791 section 3.1).
const IPV4_MINIMUM_MTU: u16 = 576;

impl Engine {
    /// Authentication is over: the link gets its addresses, or its end.
    pub(crate) fn network_wanted(&mut self, tunnel: u16, id: u16, user: Option<String>, now: Time) {
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        let setup = session.setup.clone();
        if setup.demands_auth && user.is_none() {
            // The profile allows nothing that could be asked for.
            let reason = "authentication is demanded, and no protocol for it is allowed";
            let _ = self.end_link(tunnel, id, Cause::NoResources(reason.to_owned()), now);
            return;
        }
        if let Some(user) = &user {
            session.user = Some(user.as_str().into());
        }
        if let Some(old) = session.lent.take() {
            self.addresses.give_back(old);
        }
        let client = self
            .session_mut(tunnel, id)
            .is_some_and(|s| s.role == Role::Lac);
        let peer = if client {
            Ok(setup.profile.remote_ipaddr())
        } else {
            self.lend(&setup, user.as_deref())
        };
        let ipv4 = match peer {
            Ok(peer) => setup.ipv4_config(peer, client),
            Err(reason) => {
                self.counters.refused.no_address += 1;
                let _ = self.end_link(tunnel, id, Cause::NoResources(reason), now);
                return;
            }
        };
        let Some(t) = self.tunnels.get_mut(&tunnel) else {
            return;
        };
        let Some(session) = t.sessions.get_mut(&id) else {
            return;
        };
        let address = ipv4.as_ref().and_then(|ipv4| ipv4.peer);
        session.lent = address.filter(|_| !client);
        if session.pppd.is_some() {
            let handle = session.handle;
            return self.ask_pppd(handle, PppdRequest::Address(address));
        }
        let network = NetworkConfig {
            ipv4,
            ipv6: setup.ipv6_config(),
        };
        session.link.configure_network(network, now, &mut self.rng);
    }

    /// The address for a peer that we serve: its user's own, the profile's, or one of the profile's pool.
    fn lend(&mut self, setup: &PppSetup, user: Option<&str>) -> Result<Option<Ipv4Addr>, String> {
        let own = user
            .and_then(|name| self.policy.model().users.get(name))
            .and_then(|user| user.ip_address);
        if let Some(address) = own.or(setup.profile.remote_ipaddr()) {
            let free = self.addresses.lend_exactly(address);
            return if free {
                Ok(Some(address))
            } else {
                Err(format!("the address {address} is in use"))
            };
        }
        let Some(pool) = setup.profile.ip_pool_name() else {
            return Ok(None);
        };
        match self.addresses.lend(pool) {
            Some(address) => Ok(Some(address)),
            None => Err(format!("no address is left in the pool {pool}")),
        }
    }

    /// The network layer agreed on something, or no longer does.
    pub(crate) fn network_changed(
        &mut self,
        tunnel: u16,
        id: u16,
        change: impl FnOnce(&mut Session),
        now: Time,
    ) {
        self.networks_told(tunnel, id, change, now);
        self.configure_in_datapath(tunnel, id);
    }

    /// The same, where whoever agreed sees to it that it is carried.
    pub(crate) fn networks_told(
        &mut self,
        tunnel: u16,
        id: u16,
        change: impl FnOnce(&mut Session),
        now: Time,
    ) {
        if let Some(session) = self.session_mut(tunnel, id) {
            let before = session.networks();
            change(session);
            self.networks_changed(tunnel, id, before, now);
        }
    }

    /// Tells the datapath what the network layer agreed on.
    pub(crate) fn configure_in_datapath(&mut self, tunnel: u16, id: u16) {
        let Some(session) = self.session_mut(tunnel, id) else {
            return;
        };
        session.configuring += 1;
        let (handle, network) = (session.handle, session.network());
        let token = self.expect(Pending::Configure(handle, tunnel, id));
        self.outputs.push_back(Output::Datapath(Request::Configure {
            token,
            handle,
            network,
        }));
    }
}

impl Session {
    /// The largest IP packet to send: what the profile says, within what the peer receives and the path takes whole. Of a path that takes less than
    /// every host has to, it is fragments that it takes.
    pub(crate) fn mtu(&self) -> u16 {
        let more = self.encryption_overhead();
        let agreed = self.setup.mtu.min(self.link.peer_mru()) - more;
        let around = overhead(self.remote, self.framing()) + more;
        let least = match self.ipv6 {
            Some(_) => IPV6_MINIMUM_MTU,
            None => IPV4_MINIMUM_MTU,
        };
        self.path_mtu.map_or(agreed, |path| {
            agreed.min(path.saturating_sub(around).max(least))
        })
    }

    fn framing(&self) -> Framing {
        Framing {
            protocol_compression: self.link.peer_accepts_pfc(),
            address_control_compression: self.link.peer_accepts_acfc(),
        }
    }

    /// Whether the datapath is to carry a network layer.
    pub(crate) fn has_network(&self) -> bool {
        self.ipv4.is_some() || self.ipv6.is_some()
    }

    /// Forgets what was asked of a datapath that is gone; true when the next one is to carry a network layer.
    pub(crate) fn lose_datapath(&mut self) -> bool {
        self.configuring = 0;
        self.tally.lose_datapath();
        if let Some(pppd) = &mut self.pppd {
            pppd.lose_process();
            (self.ipv4, self.ipv6) = (None, None);
        }
        self.has_network()
    }

    fn network(&self) -> NetworkSpec {
        let everything = Route {
            to: IpNet::V4(Ipv4Net::default()),
            metric: None,
        };
        let default_route =
            self.role == Role::Lac && self.setup.profile.default_route() && self.ipv4.is_some();
        NetworkSpec {
            ipv4: self.ipv4,
            ipv6: self.ipv6.filter(|_| self.mtu() >= IPV6_MINIMUM_MTU),
            mtu: self.mtu(),
            framing: self.framing(),
            routes: if default_route {
                vec![everything]
            } else {
                Vec::new()
            },
            encryption: self.encryption.clone(),
            proxy_arp: self.setup.profile.proxy_arp(),
        }
    }

    /// Name servers that the peer gave us.
    pub(crate) fn name_servers(&self) -> Vec<IpAddr> {
        self.dns.iter().flatten().copied().map(IpAddr::V4).collect()
    }
}
