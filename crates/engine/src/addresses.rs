//! Who has which IPv4 address: the pools, and the addresses that users own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Subnets};
use serde::{Deserialize, Serialize};

use crate::pool::Pool;

/// Every address that some session holds.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pools: BTreeMap<String, Pool>,
    /// All that are held: a user's fixed address may lie inside a pool or outside of all.
    held: BTreeSet<Ipv4Addr>,
}

impl Addresses {
    pub(crate) fn new(model: &config::Model) -> Self {
        let mut addresses = Self {
            pools: BTreeMap::new(),
            held: BTreeSet::new(),
        };
        addresses.set_model(model);
        addresses
    }

    /// Takes the pools of a new model; what is held stays held, and a pool that did not change goes on where it is.
    pub(crate) fn set_model(&mut self, model: &config::Model) {
        let mut old = std::mem::take(&mut self.pools);
        let pools = model.ip_pools.iter().filter_map(|(name, pool)| {
            let range = pool.range?;
            let mut pool = Pool::new(range.first, range.last);
            if let Some(same) = old.remove(name).filter(|old| old.covers_what(&pool)) {
                return Some((name.clone(), same));
            }
            for &address in &self.held {
                pool.lend_exactly(address);
            }
            Some((name.clone(), pool))
        });
        self.pools = pools.collect();
    }

    /// The addresses of all pools.
    pub(crate) fn of_pools(&self) -> Vec<IpNet> {
        let nets = |pool: &Pool| {
            let (first, last) = pool.range();
            Ipv4Subnets::new(first, last, 0).map(IpNet::from)
        };
        self.pools.values().flat_map(nets).collect()
    }

    /// Any free address of a pool; none when it is exhausted or does not exist.
    pub(crate) fn lend(&mut self, pool: &str) -> Option<Ipv4Addr> {
        let address = self.pools.get_mut(pool)?.lend()?;
        self.hold(address);
        Some(address)
    }

    /// This very address; false when another session holds it.
    pub(crate) fn lend_exactly(&mut self, address: Ipv4Addr) -> bool {
        !self.held.contains(&address) && {
            self.hold(address);
            true
        }
    }

    /// Takes an address back.
    pub(crate) fn give_back(&mut self, address: Ipv4Addr) {
        self.held.remove(&address);
        for pool in self.pools.values_mut() {
            pool.give_back(address);
        }
    }

    /// Pools may overlap: an address that is held is lent in each.
    fn hold(&mut self, address: Ipv4Addr) {
        self.held.insert(address);
        for pool in self.pools.values_mut() {
            pool.lend_exactly(address);
        }
    }
}
