//! The IP Control Protocol's options (RFC 1332, RFC 1877).

use std::net::Ipv4Addr;

use sansio::Rng;
use serde::{Deserialize, Serialize};
use wire::ppp::iana::ipcp_option as kind;
use wire::ppp::{IpcpOption, Protocol, RawOption};
use wire::{BufferFull, Writer};

use crate::io::Timer;
use crate::layer::{Opinion, Options, Stuck};
use crate::{Ipv4Config, LinkConfig, Negotiation};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ipcp {
    pub(crate) config: Ipv4Config,
    /// The address that we ask for; absent when the peer rejects the option.
    address: Option<Ipv4Addr>,
    /// The DNS servers that we ask for; absent those that we do not or that the peer rejects.
    dns: [Option<Ipv4Addr>; 2],
    /// The peer's address, as agreed.
    peer: Option<Ipv4Addr>,
}

impl Ipcp {
    /// Our address, once open. Without one there is no IPv4.
    pub(crate) fn local(&self) -> Option<Ipv4Addr> {
        self.address
            .or(self.config.local)
            .filter(|a| !a.is_unspecified())
    }

    /// The peer's address, once open; 0.0.0.0 when nobody knows it.
    pub(crate) fn peer(&self) -> Ipv4Addr {
        self.peer
            .or(self.config.peer)
            .unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// The DNS servers that the peer told us.
    pub(crate) fn dns(&self) -> [Option<Ipv4Addr>; 2] {
        self.dns
            .map(|server| server.filter(|a| !a.is_unspecified()))
    }

    /// What we think of the address that the peer wants to have.
    fn consider_address(
        &self,
        wanted: Ipv4Addr,
        asked: &mut Option<Ipv4Addr>,
        naks: &mut Writer<'_>,
    ) -> Result<Opinion, BufferFull> {
        let free = self.config.peer.is_none() || self.config.accept_peer;
        if self.config.peer == Some(wanted) || (free && is_host(wanted)) {
            *asked = Some(wanted);
            return Ok(Opinion::Ack);
        }
        give(self.config.peer, IpcpOption::Address, naks)
    }
}

/// Whether an address can be that of one host elsewhere: a peer that gives itself or us another means trouble, or knows no better.
fn is_host(address: Ipv4Addr) -> bool {
    // Class E and the broadcast address (RFC 1112 section 4), "this" network (RFC 1122 section 3.2.1.3).
    let is_reserved = address.octets()[0] >= 240 || address.octets()[0] == 0;
    !(is_reserved || address.is_loopback() || address.is_multicast())
}

/// Naks with the value that we have for the peer, or rejects where we have none.
fn give(
    ours: Option<Ipv4Addr>,
    form: fn(Ipv4Addr) -> IpcpOption<'static>,
    naks: &mut Writer<'_>,
) -> Result<Opinion, BufferFull> {
    match ours {
        Some(address) => form(address).encode(naks).map(|()| Opinion::Nak),
        None => Ok(Opinion::Reject),
    }
}

impl Options for Ipcp {
    const PROTOCOL: Protocol = Protocol::IPCP;
    const TIMER: Timer = Timer::Ipcp;
    type Asked = Option<Ipv4Addr>;

    fn negotiation(config: &LinkConfig) -> &Negotiation {
        &config.ipcp
    }

    fn reset(&mut self, _config: &LinkConfig, _rng: &mut dyn Rng) {
        self.address = Some(self.config.local.unwrap_or(Ipv4Addr::UNSPECIFIED));
        self.dns = [self.config.ask_dns.then_some(Ipv4Addr::UNSPECIFIED); 2];
    }

    fn request(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        let [primary, secondary] = self.dns;
        let options = [
            self.address.map(IpcpOption::Address),
            primary.map(IpcpOption::PrimaryDns),
            secondary.map(IpcpOption::SecondaryDns),
        ];
        options
            .into_iter()
            .flatten()
            .try_for_each(|option| option.encode(w))
    }

    fn consider(
        &mut self,
        option: RawOption<'_>,
        asked: &mut Option<Ipv4Addr>,
        naks: &mut Writer<'_>,
        _config: &LinkConfig,
        _rng: &mut dyn Rng,
    ) -> Result<Opinion, BufferFull> {
        // One of a wrong length is taken for a question, and so is answered by one of the right length.
        let question = RawOption {
            kind: option.kind,
            data: &[0; 4],
        };
        let Ok(known) = IpcpOption::decode(option).or_else(|_| IpcpOption::decode(question)) else {
            return Ok(Opinion::Reject);
        };
        let Ipv4Config { dns, nbns, .. } = self.config;
        let (wanted, ours, form): (_, _, fn(Ipv4Addr) -> IpcpOption<'static>) = match known {
            IpcpOption::Address(wanted) => return self.consider_address(wanted, asked, naks),
            IpcpOption::PrimaryDns(wanted) => (wanted, dns[0], IpcpOption::PrimaryDns),
            IpcpOption::SecondaryDns(wanted) => (wanted, dns[1], IpcpOption::SecondaryDns),
            IpcpOption::PrimaryNbns(wanted) => (wanted, nbns[0], IpcpOption::PrimaryNbns),
            IpcpOption::SecondaryNbns(wanted) => (wanted, nbns[1], IpcpOption::SecondaryNbns),
            IpcpOption::Other(_) => return Ok(Opinion::Reject),
        };
        if ours == Some(wanted) {
            Ok(Opinion::Ack)
        } else {
            give(ours, form, naks)
        }
    }

    fn missing(
        &mut self,
        asked: &Option<Ipv4Addr>,
        naks: &mut Writer<'_>,
        _rng: &mut dyn Rng,
    ) -> Result<(), BufferFull> {
        match self.config.peer {
            // The naks may hold it already, for a request that asked for another.
            Some(peer) if asked.is_none() && naks.is_empty() => {
                IpcpOption::Address(peer).encode(naks)
            }
            _ => Ok(()),
        }
    }

    fn agreed(&mut self, asked: Option<Ipv4Addr>, _request: &[u8]) {
        self.peer = asked;
    }

    fn naked(
        &mut self,
        option: RawOption<'_>,
        _config: &LinkConfig,
        _rng: &mut dyn Rng,
    ) -> Result<(), Stuck> {
        match IpcpOption::decode(option) {
            Ok(IpcpOption::Address(address)) => {
                let free = self.config.local.is_none() || self.config.accept_local;
                if free && is_host(address) {
                    self.address = Some(address);
                }
            }
            Ok(IpcpOption::PrimaryDns(server)) if self.dns[0].is_some() => {
                self.dns[0] = Some(server);
            }
            Ok(IpcpOption::SecondaryDns(server)) if self.dns[1].is_some() => {
                self.dns[1] = Some(server);
            }
            _ => {}
        }
        Ok(())
    }

    fn rejected(&mut self, kind: u8) -> Result<(), Stuck> {
        match kind {
            kind::IP_ADDRESS => self.address = None,
            kind::PRIMARY_DNS => self.dns[0] = None,
            kind::SECONDARY_DNS => self.dns[1] = None,
            _ => {}
        }
        Ok(())
    }
}
