//! What sessions change on the host: devices, addresses, routes. On a thread of its own, as the kernel takes its time over them.
//!
//! Jobs are done in the order of their submission, but for the removal of devices, which is slow: they go when nothing else is to be done, all at
//! once. Everything that was added is remembered and taken away again: with its session, or at the latest when the thread ends.

mod shared;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;

use crate::device::Interface;
use crate::netlink::{Address, Netlink, Proxy, RouteEntry};
use crate::thread;
use crate::{DatapathError, Device, Handle, NetworkSpec, Stats, Token};

/// The smallest MTU that IPv6 runs on (RFC 8200 section 5).
const IPV6_MIN_MTU: u16 = 1280;
/// How often kept paths to peers are looked after.
const PATH_INTERVAL: Duration = Duration::from_secs(1);
/// How many devices may wait for their removal.
const LEAVING_MAX: usize = 256;

/// How an engine makes its devices.
pub(crate) trait Maker {
    /// What a session's own device is made from.
    type Seed;
    /// What it makes.
    type Device: Interface;

    /// Makes a device of this name; without one, `pppN`. It is down and has no address.
    fn make(
        &self,
        name: Option<&str>,
        seed: &Self::Seed,
        netlink: &Netlink,
    ) -> Result<Self::Device, DatapathError>;
}

/// The device that sessions share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SharedDevice {
    /// Its name, at most 15 octets.
    pub(crate) name: String,
    /// Its MTU, octets.
    pub(crate) mtu: u16,
}

/// What is asked of the host's thread.
pub(crate) enum Job<M: Maker> {
    /// Makes the host send and take a session's packets as `spec` says, in place of what was said before.
    Configure {
        token: Token,
        handle: Handle,
        device: Device,
        seed: M::Seed,
        /// The peer's outer address.
        remote: SocketAddr,
        spec: Arc<NetworkSpec>,
    },
    /// Reads what a session's device counts, beside `stats`.
    Count {
        token: Token,
        handle: Handle,
        stats: Stats,
    },
    /// Takes away what a session added. `stats` are its last, but for what its device counts.
    Remove {
        token: Token,
        handle: Handle,
        stats: Stats,
    },
    /// The device of this index is no more.
    DeviceGone(u32),
    /// The shared device has these addresses, whether a session has them or not.
    Reserve { nets: Vec<IpNet>, seed: M::Seed },
}

/// What the host's thread answers.
pub(crate) enum Report<D> {
    Configured {
        token: Token,
        handle: Handle,
        spec: Arc<NetworkSpec>,
        result: Result<Arc<D>, DatapathError>,
    },
    /// The shared device is there, for no session yet.
    Shared(Arc<D>),
    /// Counted, or removed.
    Stats { token: Token, stats: Stats },
}

/// Starts the thread that does jobs until no one is left to submit any, in the caller's network namespace. An error when the kernel's routing
/// configuration can't be reached.
pub(crate) fn start<M>(
    name: &str,
    maker: M,
    shared: SharedDevice,
    report: impl FnMut(Report<M::Device>) + Send + 'static,
) -> Result<(Sender<Job<M>>, JoinHandle<()>), DatapathError>
where
    M: Maker + Send + 'static,
    Job<M>: Send,
{
    let (jobs, queue) = mpsc::channel();
    let (opened, ready) = mpsc::channel();
    let thread = thread::spawn(name, move || match Netlink::open() {
        Ok(netlink) => {
            let _ = opened.send(Ok(()));
            run(netlink, maker, shared, &queue, report);
        }
        Err(error) => {
            let _ = opened.send(Err(error));
        }
    })?;
    match ready.recv() {
        Ok(Err(error)) => Err(error),
        _ => Ok((jobs, thread)),
    }
}

/// Does jobs until no one is left to submit any, then takes away everything that is left.
fn run<M: Maker>(
    netlink: Netlink,
    maker: M,
    shared: SharedDevice,
    jobs: &Receiver<Job<M>>,
    mut report: impl FnMut(Report<M::Device>),
) {
    let mut host = Host::new(netlink, maker, shared);
    loop {
        let job = match host.next(jobs) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) if !host.leaving.is_empty() => {
                host.remove_leaving(&mut report);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {
                host.restore_outer_paths();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        };
        match job {
            Job::Configure {
                token,
                handle,
                device,
                seed,
                remote,
                spec,
            } => {
                if host.is_leaving(&device) {
                    host.remove_leaving(&mut report);
                }
                let result = host.configure(handle, (&device, &seed), remote.ip(), &spec);
                report(Report::Configured {
                    token,
                    handle,
                    spec,
                    result,
                });
            }
            Job::Remove {
                token,
                handle,
                stats,
            } => {
                let stats = host.count(handle, stats);
                match host.remove(handle) {
                    Some(device) => host.leaving.push(Leaving {
                        device,
                        token,
                        stats,
                    }),
                    None => report(Report::Stats { token, stats }),
                }
                if host.leaving.len() >= LEAVING_MAX {
                    host.remove_leaving(&mut report);
                }
            }
            Job::Count {
                token,
                handle,
                stats,
            } => {
                let stats = host.count(handle, stats);
                report(Report::Stats { token, stats });
            }
            Job::DeviceGone(index) => host.forget_device(index),
            Job::Reserve { nets, seed } => {
                if let Some(device) = host.reserve(nets.into_iter().collect(), &seed) {
                    report(Report::Shared(device));
                }
            }
        }
    }
    host.remove_leaving(&mut report);
    host.remove_everything();
}

/// One thing that a session needs of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Item {
    /// The present path to the peer's outer address, kept when a route of ours would swallow it.
    OuterPath(IpAddr),
    Address(Address),
    Route(RouteEntry),
    /// Answers for the peer's address on the network that it is in.
    Proxy(Ipv4Addr),
}

/// What a session has on the host now.
struct Held<D> {
    device: Arc<D>,
    mtu: u16,
    items: Vec<Item>,
    /// What its peer may be on the shared device: no other session may have the same.
    destinations: Vec<IpNet>,
}

/// A session that has no more on the host than its own device.
struct Leaving<D> {
    device: Arc<D>,
    token: Token,
    stats: Stats,
}

/// Something that several sessions need, and how many do.
#[derive(Default)]
struct Shared<T> {
    users: usize,
    added: T,
}

struct Host<M: Maker> {
    netlink: Netlink,
    maker: M,
    shared: SharedDevice,
    shared_device: Option<Arc<M::Device>>,
    sessions: BTreeMap<Handle, Held<M::Device>>,
    leaving: Vec<Leaving<M::Device>>,
    /// Who has a destination on the shared device.
    destinations: BTreeMap<IpNet, Handle>,
    /// Local addresses, by device.
    addresses: BTreeMap<(u32, IpAddr), Shared<()>>,
    /// Host routes to peers' outer addresses; without a route where the peer is this host.
    outer_paths: BTreeMap<IpAddr, Shared<Option<RouteEntry>>>,
    /// Addresses for which we answer; without an entry where we are in no network of theirs, or others answer.
    proxies: BTreeMap<Ipv4Addr, Shared<Option<Proxy>>>,
    /// What is on the shared device, whether a session has it or not.
    reserved: BTreeSet<IpNet>,
}

impl<M: Maker> Host<M> {
    fn new(netlink: Netlink, maker: M, shared: SharedDevice) -> Self {
        Self {
            netlink,
            maker,
            shared,
            shared_device: None,
            sessions: BTreeMap::new(),
            leaving: Vec::new(),
            destinations: BTreeMap::new(),
            addresses: BTreeMap::new(),
            outer_paths: BTreeMap::new(),
            proxies: BTreeMap::new(),
            reserved: BTreeSet::new(),
        }
    }

    /// The next job. `Timeout` when there is time for something else.
    fn next(&self, jobs: &Receiver<Job<M>>) -> Result<Job<M>, RecvTimeoutError> {
        if !self.leaving.is_empty() {
            return jobs.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            });
        }
        match self.next_check() {
            Some(interval) => jobs.recv_timeout(interval),
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// Whether a device that is about to be removed has this one's name.
    fn is_leaving(&self, device: &Device) -> bool {
        let Device::Own { name: Some(name) } = device else {
            return false;
        };
        self.leaving.iter().any(|l| l.device.name() == name)
    }

    fn remove_leaving(&mut self, mut report: impl FnMut(Report<M::Device>)) {
        let leaving = std::mem::take(&mut self.leaving);
        if leaving.is_empty() {
            return;
        }
        let devices: Vec<_> = leaving.iter().map(|l| Arc::clone(&l.device)).collect();
        warn_of(self.netlink.remove_devices(&devices));
        drop(devices);
        for Leaving {
            device,
            token,
            stats,
        } in leaving
        {
            drop(device);
            report(Report::Stats { token, stats });
        }
    }

    /// A session whose configuration fails keeps what it had before.
    fn configure(
        &mut self,
        handle: Handle,
        (device, seed): (&Device, &M::Seed),
        remote: IpAddr,
        spec: &NetworkSpec,
    ) -> Result<Arc<M::Device>, DatapathError> {
        check(remote, spec)?;
        let shared = *device == Device::Shared;
        let destinations: Vec<IpNet> = if shared {
            spec.inner_destinations().collect()
        } else {
            Vec::new()
        };
        self.check_free(handle, &destinations)?;
        let known = self.sessions.remove(&handle);
        let keep = known.is_some();
        let mut held = match known {
            Some(held) => held,
            None => self.new_held(device, seed, spec)?,
        };
        let shared_mtu = shared.then_some(self.shared.mtu);
        let wanted = plan(held.device.index(), shared_mtu, remote, spec);
        let result = self.change(&mut held, shared, spec.mtu, wanted);
        if result.is_ok() {
            self.give_up_destinations(&held);
            self.destinations
                .extend(destinations.iter().map(|&net| (net, handle)));
            held.destinations = destinations;
        }
        let device = Arc::clone(&held.device);
        if result.is_ok() || keep {
            self.sessions.insert(handle, held);
        } else if let Some(device) = self.own_device(held) {
            warn_of(self.netlink.remove_device(&*device));
        }
        result.map(|()| device)
    }

    /// An error if another session has one of `destinations`.
    fn check_free(&self, handle: Handle, destinations: &[IpNet]) -> Result<(), DatapathError> {
        let taken = |net: &&IpNet| self.destinations.get(net).is_some_and(|&by| by != handle);
        match destinations.iter().find(taken) {
            Some(net) => Err(DatapathError::AddressInUse(net.addr())),
            None => Ok(()),
        }
    }

    fn give_up_destinations(&mut self, held: &Held<M::Device>) {
        for net in &held.destinations {
            self.destinations.remove(net);
        }
    }

    /// A session's device, with nothing of the session on it yet.
    fn new_held(
        &mut self,
        device: &Device,
        seed: &M::Seed,
        spec: &NetworkSpec,
    ) -> Result<Held<M::Device>, DatapathError> {
        let (device, mtu) = match device {
            Device::Own { name } => (self.new_device(name.as_deref(), seed, spec.mtu)?, spec.mtu),
            Device::Shared => {
                let device = self.shared_device(seed)?;
                (device, self.shared.mtu)
            }
        };
        Ok(Held {
            device,
            mtu,
            items: Vec::new(),
            destinations: Vec::new(),
        })
    }

    fn new_device(
        &self,
        name: Option<&str>,
        seed: &M::Seed,
        mtu: u16,
    ) -> Result<Arc<M::Device>, DatapathError> {
        let device = self.maker.make(name, seed, &self.netlink)?;
        self.netlink.bring_up(&device, mtu)?;
        Ok(Arc::new(device))
    }

    /// Brings a session from what it holds to what it wants; back again when that fails.
    fn change(
        &mut self,
        held: &mut Held<M::Device>,
        shared: bool,
        mtu: u16,
        wanted: Vec<Item>,
    ) -> Result<(), DatapathError> {
        if !shared && held.mtu != mtu {
            self.netlink.bring_up(&*held.device, mtu)?;
            held.mtu = mtu;
        }
        let before = std::mem::take(&mut held.items);
        // Two routes may differ in their MTU alone, and the kernel may take one for the other: the old goes first.
        for item in before.iter().rev().filter(|item| !wanted.contains(item)) {
            self.take_away(item);
        }
        held.items = before
            .iter()
            .copied()
            .filter(|item| wanted.contains(item))
            .collect();
        let kept = held.items.len();
        for item in &wanted {
            if held.items[..kept].contains(item) {
                continue;
            }
            if let Err(error) = self.add(item) {
                for item in held.items.drain(kept..).rev() {
                    self.take_away(&item);
                }
                let restored = before.iter().filter(|item| !wanted.contains(item));
                for item in restored.filter(|item| self.add(item).is_ok()) {
                    held.items.push(*item);
                }
                return Err(error);
            }
            held.items.push(*item);
        }
        Ok(())
    }

    fn add(&mut self, item: &Item) -> Result<(), DatapathError> {
        match item {
            Item::OuterPath(remote) => self.keep_outer_path(*remote),
            Item::Address(address) => {
                let key = (address.device, address.local);
                if !self.addresses.contains_key(&key) {
                    self.netlink.add_address(address)?;
                }
                self.addresses.entry(key).or_default().users += 1;
                Ok(())
            }
            Item::Route(route) => self.netlink.add_route(route),
            Item::Proxy(address) => self.answer_for(*address),
        }
    }

    fn answer_for(&mut self, address: Ipv4Addr) -> Result<(), DatapathError> {
        if let Some(proxy) = self.proxies.get_mut(&address) {
            proxy.users += 1;
            return Ok(());
        }
        let added = match self.netlink.network_of(address)? {
            Some(device) => {
                let proxy = Proxy { device, address };
                self.netlink.add_proxy(&proxy)?.then_some(proxy)
            }
            None => {
                tracing::warn!("this host is in no network of {address}: no proxy ARP for it");
                None
            }
        };
        self.proxies.insert(address, Shared { users: 1, added });
        Ok(())
    }

    fn keep_outer_path(&mut self, remote: IpAddr) -> Result<(), DatapathError> {
        if let Some(path) = self.outer_paths.get_mut(&remote) {
            path.users += 1;
            return Ok(());
        }
        let added = self.netlink.path_to(remote)?;
        if let Some(path) = &added {
            self.netlink.add_route(path)?;
        }
        self.outer_paths.insert(remote, Shared { users: 1, added });
        Ok(())
    }

    /// When to look after the paths that are kept, if any are.
    fn next_check(&self) -> Option<Duration> {
        (!self.outer_paths.is_empty()).then_some(PATH_INTERVAL)
    }

    /// Adds the paths again that the kernel dropped with their link, and does not bring back with it.
    fn restore_outer_paths(&self) {
        for path in self
            .outer_paths
            .values()
            .filter_map(|path| path.added.as_ref())
        {
            // It fails for as long as the link is down.
            let _ = self.netlink.add_route(path);
        }
    }

    /// Undoes [`add`](Self::add).
    fn take_away(&mut self, item: &Item) {
        let result = match item {
            Item::OuterPath(remote) => match release(&mut self.outer_paths, remote) {
                Some(Some(path)) => self.netlink.remove_route(&path),
                _ => Ok(()),
            },
            Item::Address(address) => {
                match release(&mut self.addresses, &(address.device, address.local)) {
                    Some(()) => self.netlink.remove_address(address),
                    None => Ok(()),
                }
            }
            Item::Route(route) => self.netlink.remove_route(route),
            Item::Proxy(address) => match release(&mut self.proxies, address) {
                Some(Some(proxy)) => self.netlink.remove_proxy(&proxy),
                _ => Ok(()),
            },
        };
        warn_of(result);
    }

    fn count(&self, handle: Handle, stats: Stats) -> Stats {
        match self.sessions.get(&handle) {
            Some(held) => held.device.stats(&self.netlink, stats),
            None => stats,
        }
    }

    /// Takes away all that a session has but its own device, which is returned.
    fn remove(&mut self, handle: Handle) -> Option<Arc<M::Device>> {
        let held = self.sessions.remove(&handle)?;
        self.give_up_destinations(&held);
        for item in held.items.iter().rev() {
            self.take_away(item);
        }
        self.own_device(held)
    }

    fn own_device(&self, held: Held<M::Device>) -> Option<Arc<M::Device>> {
        let shared = self.shared_device.as_ref();
        let is_shared = shared.is_some_and(|shared| Arc::ptr_eq(shared, &held.device));
        (!is_shared).then_some(held.device)
    }

    /// Forgets what was on a device that someone else removed.
    fn forget_device(&mut self, index: u32) {
        let on_it = |(&handle, held): (&Handle, &Held<M::Device>)| {
            (held.device.index() == index).then_some(handle)
        };
        let orphans: Vec<Handle> = self.sessions.iter().filter_map(on_it).collect();
        for handle in orphans {
            self.remove(handle);
        }
        self.shared_device.take_if(|device| device.index() == index);
    }

    fn remove_everything(mut self) {
        let mut devices = Vec::new();
        while let Some(&handle) = self.sessions.keys().next() {
            devices.extend(self.remove(handle));
        }
        devices.extend(self.shared_device.take());
        if !devices.is_empty() {
            warn_of(self.netlink.remove_devices(&devices));
        }
    }
}

/// What can't be removed is said and left.
fn warn_of(result: Result<(), DatapathError>) {
    if let Err(error) = result {
        tracing::warn!("{error}");
    }
}

/// One user less; what was added for them, when that was the last.
fn release<K: Ord, T>(users: &mut BTreeMap<K, Shared<T>>, key: &K) -> Option<T> {
    let shared = users.get_mut(key)?;
    shared.users -= 1;
    if shared.users > 0 {
        return None;
    }
    users.remove(key).map(|shared| shared.added)
}

fn check(remote: IpAddr, spec: &NetworkSpec) -> Result<(), DatapathError> {
    if spec.ipv4.is_some_and(|link| link.local == remote) {
        return Err(DatapathError::Unsupported(format!(
            "{remote} as our address: what is sent to the peer's own would come to us"
        )));
    }
    if spec.ipv6.is_some() && spec.mtu < IPV6_MIN_MTU {
        return Err(DatapathError::Unsupported(format!(
            "IPv6 with an MTU of {}: it needs {IPV6_MIN_MTU}",
            spec.mtu
        )));
    }
    Ok(())
}

/// What a session needs of the host, in the order in which it has to come: on the device of this index, which is the shared one, with the
/// MTU that it has, or the session's own.
fn plan(device: u32, shared_mtu: Option<u16>, remote: IpAddr, spec: &NetworkSpec) -> Vec<Item> {
    let ipv4 = spec
        .ipv4
        .map(|link| (IpAddr::from(link.local), IpAddr::from(link.peer)));
    let ipv6 = spec
        .ipv6
        .map(|link| (IpAddr::from(link.local), IpAddr::from(link.peer)));
    let route = |to: IpNet, metric: Option<u32>| {
        Item::Route(RouteEntry {
            to,
            device,
            gateway: None,
            source: ipv4.map(|(local, _)| local).filter(|_| to.addr().is_ipv4()),
            mtu: shared_mtu.filter(|&mtu| spec.mtu < mtu).map(|_| spec.mtu),
            metric,
        })
    };
    let mut items = Vec::new();
    if spec.open_routes().any(|route| route.to.contains(&remote)) {
        items.push(Item::OuterPath(remote));
    }
    for (local, peer) in ipv4.into_iter().chain(ipv6) {
        // A route to the peer's outer address would lead the tunnel into itself.
        let peer = Some(peer).filter(|&peer| peer != remote && !peer.is_unspecified());
        if shared_mtu.is_none() {
            items.push(Item::Address(Address {
                device,
                local,
                peer,
            }));
        } else {
            items.push(Item::Address(Address {
                device,
                local,
                peer: None,
            }));
            items.extend(peer.map(|peer| route(peer.into(), None)));
        }
    }
    items.extend(spec.open_routes().map(|r| route(r.to.trunc(), r.metric)));
    let neighbour = spec.ipv4.map(|link| link.peer);
    let neighbour = neighbour.filter(|peer| spec.proxy_arp && !peer.is_unspecified());
    items.extend(neighbour.map(Item::Proxy));
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Framing, Ipv4Link, Ipv6Link, Route};

    const REMOTE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn spec(routes: &[&str]) -> NetworkSpec {
        let route = |to: &&str| Route {
            to: to.parse().unwrap(),
            metric: Some(7),
        };
        NetworkSpec {
            ipv4: Some(Ipv4Link {
                local: "10.0.0.1".parse().unwrap(),
                peer: "10.0.0.2".parse().unwrap(),
            }),
            ipv6: None,
            mtu: 1400,
            framing: Framing::default(),
            routes: routes.iter().map(route).collect(),
            encryption: None,
            proxy_arp: false,
        }
    }

    fn said(items: &[Item]) -> Vec<String> {
        let say = |item: &Item| match item {
            Item::OuterPath(remote) => format!("keep {remote}"),
            Item::Address(address) => address.to_string(),
            Item::Proxy(address) => format!("proxy ARP for {address}"),
            Item::Route(route) => match route.mtu {
                Some(mtu) => format!("{route} mtu {mtu}"),
                None => route.to_string(),
            },
        };
        items.iter().map(say).collect()
    }

    #[test]
    fn a_device_of_its_own_has_the_peer_in_its_address() {
        let mut spec = spec(&[]);
        spec.ipv6 = Some(Ipv6Link {
            local: "fe80::1".parse().unwrap(),
            peer: "fe80::2".parse().unwrap(),
        });
        assert_eq!(
            said(&plan(5, None, REMOTE, &spec)),
            [
                "address 10.0.0.1 peer 10.0.0.2",
                "address fe80::1 peer fe80::2"
            ]
        );
    }

    #[test]
    fn who_is_to_be_answered_for_is_reachable_before() {
        let mut spec = spec(&["10.9.0.0/16"]);
        spec.proxy_arp = true;
        let items = plan(5, Some(1400), REMOTE, &spec);
        assert_eq!(said(&items).last().unwrap(), "proxy ARP for 10.0.0.2");
        spec.ipv4 = None;
        assert_eq!(plan(5, Some(1400), REMOTE, &spec), []);
    }

    #[test]
    fn a_smaller_mtu_is_a_routes_on_the_shared_device() {
        assert_eq!(
            said(&plan(5, Some(1500), REMOTE, &spec(&["10.9.0.0/16"]))),
            [
                "address 10.0.0.1",
                "route to 10.0.0.2/32 mtu 1400",
                "route to 10.9.0.0/16 mtu 1400"
            ]
        );
        assert_eq!(
            said(&plan(5, Some(1400), REMOTE, &spec(&[]))),
            ["address 10.0.0.1", "route to 10.0.0.2/32"]
        );
    }

    #[test]
    fn the_outer_path_is_kept_when_a_route_would_swallow_it() {
        for (route, kept) in [
            ("0.0.0.0/0", true),
            ("192.0.2.0/24", true),
            ("198.51.100.0/24", false),
        ] {
            let items = plan(5, None, REMOTE, &spec(&[route]));
            assert_eq!(items[0] == Item::OuterPath(REMOTE), kept, "{route}");
        }
    }

    #[test]
    fn no_route_leads_the_tunnel_into_itself() {
        let mut spec = spec(&[]);
        spec.ipv4.as_mut().unwrap().peer = "192.0.2.1".parse().unwrap();
        assert_eq!(said(&plan(5, None, REMOTE, &spec)), ["address 10.0.0.1"]);
        assert_eq!(
            said(&plan(5, Some(1500), REMOTE, &spec)),
            ["address 10.0.0.1"]
        );
    }

    #[test]
    fn routes_of_a_network_layer_that_is_not_open_wait() {
        let items = plan(5, None, REMOTE, &spec(&["2001:db8::/32"]));
        assert_eq!(said(&items), ["address 10.0.0.1 peer 10.0.0.2"]);
    }
}
