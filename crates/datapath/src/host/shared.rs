//! The device that sessions share, and the addresses that are its whether a session has them or not.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Host, Maker, warn_of};
use crate::DatapathError;
use crate::device::Interface;
use crate::netlink::RouteEntry;

impl<M: Maker> Host<M> {
    /// The shared device, which is made for whoever wants it first.
    pub(super) fn shared_device(
        &mut self,
        seed: &M::Seed,
    ) -> Result<Arc<M::Device>, DatapathError> {
        if let Some(device) = &self.shared_device {
            return Ok(Arc::clone(device));
        }
        let name = self.shared.name.clone();
        let device = self.new_device(Some(&name), seed, self.shared.mtu)?;
        for &net in &self.reserved {
            warn_of(self.netlink.add_route(&reserved(net, device.index())));
        }
        self.warn_of_gateways(&self.reserved, device.index());
        Ok(Arc::clone(self.shared_device.insert(device)))
    }

    /// Has the shared device have these addresses in place of those before; it goes with the process, and its routes with it. Returns it where it
    /// has any.
    pub(super) fn reserve(
        &mut self,
        nets: BTreeSet<IpNet>,
        seed: &M::Seed,
    ) -> Option<Arc<M::Device>> {
        let before = std::mem::replace(&mut self.reserved, nets);
        if let Some(device) = &self.shared_device {
            let route = |net: &IpNet| reserved(*net, device.index());
            for net in before.difference(&self.reserved) {
                warn_of(self.netlink.remove_route(&route(net)));
            }
            let new: BTreeSet<IpNet> = self.reserved.difference(&before).copied().collect();
            for net in &new {
                warn_of(self.netlink.add_route(&route(net)));
            }
            self.warn_of_gateways(&new, device.index());
        }
        if self.reserved.is_empty() {
            return None;
        }
        self.shared_device(seed)
            .inspect_err(|error| {
                tracing::warn!("addresses of pools are not kept for sessions: {error}");
            })
            .ok()
    }

    /// Says which gateways of this host have an address that goes to sessions from now on: what is routed through them gets no further.
    fn warn_of_gateways(&self, nets: &BTreeSet<IpNet>, shared: u32) {
        // The kernel's routes may be many.
        if nets.is_empty() {
            return;
        }
        let gateways = match self.netlink.gateways() {
            Ok(gateways) => gateways,
            Err(error) => return tracing::warn!("{error}"),
        };
        for (gateway, device) in gateways.into_iter().filter(|(_, device)| *device != shared) {
            let taken =
                || matches!(self.netlink.path_to(gateway), Ok(Some(path)) if path.device == shared);
            if let Some(net) = nets.iter().find(|net| net.contains(&gateway))
                && taken()
            {
                let name = self.netlink.name_of(device);
                tracing::warn!(
                    "addresses of a pool, {net}, have the gateway {gateway} of {name} among them, which is cut off"
                );
            }
        }
    }
}

/// The last route of all to `net`.
fn reserved(net: IpNet, device: u32) -> RouteEntry {
    RouteEntry {
        to: net,
        device,
        gateway: None,
        source: None,
        mtu: None,
        metric: Some(u32::MAX),
    }
}
