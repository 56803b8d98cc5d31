//! The programs in the kernel and their maps: what `l2tp.bpf.c` declares, as Rust has it.

use std::array;
use std::net::IpAddr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::programs::SchedClassifier;
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader, Pod};
use ipnet::IpNet;

use crate::{Choice, Device, Framing, Ids, NetworkSpec, SessionSpec, Stats, UNCARRIED};

/// `l2tp.bpf.c`, compiled by clang 14 of Debian 12.
static OBJECT: &[u8] = aya::include_bytes_aligned!("l2tp.bpf.o");

pub(super) const ENCAP: &str = "l2tp_encap";
pub(super) const DECAP: &str = "l2tp_decap";
pub(super) const MERGED: &str = "l2tp_merged";

/// Nothing is put in place of what is there (`linux/bpf.h`).
const BPF_NOEXIST: u64 = 1;

const HAS_IPV4: u8 = 1;
const HAS_IPV6: u8 = 2;
const ECN: u8 = 4;
const CHECKSUM: u8 = 8;
const UNASKED: u8 = 16;
const OWN_DEVICE: u8 = 32;
const OUTER_IPV6: u8 = 64;

/// {tunnel id, session id} as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(super) struct WireIds([u8; 4]);

impl From<Ids> for WireIds {
    fn from(ids: Ids) -> Self {
        let ([a, b], [c, d]) = (ids.tunnel.to_be_bytes(), ids.session.to_be_bytes());
        Self([a, b, c, d])
    }
}

/// `struct session`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(C)]
pub(super) struct Record {
    device: u32,
    local: [u8; 16],
    remote: [u8; 16],
    peer4: [u8; 4],
    peer6: [u8; 16],
    local_port: [u8; 2],
    remote_port: [u8; 2],
    mtu: u16,
    flags: u8,
    tos: u8,
    head_len: u8,
    head: [u8; 10],
    reserved: u8,
}

impl Record {
    /// Of a session with this TUN device. One that does not ask for programs has what `tun` is better for left to that.
    pub(super) fn of(spec: &SessionSpec, network: &NetworkSpec, device: u32) -> Self {
        let (local, remote) = (spec.transport.local, spec.transport.remote);
        let crate::Encapsulation::V2 { peer, .. } = spec.encapsulation;
        let (head_len, head) = head(peer, network.framing);
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        Self {
            device,
            local: octets(local.ip()),
            remote: octets(remote.ip()),
            peer4: network.ipv4.map_or([0; 4], |link| link.peer.octets()),
            peer6: network.ipv6.map_or([0; 16], |link| link.peer.octets()),
            local_port: local.port().to_be_bytes(),
            remote_port: remote.port().to_be_bytes(),
            mtu: network.mtu,
            flags: flag(network.ipv4.is_some(), HAS_IPV4)
                | flag(network.ipv6.is_some(), HAS_IPV6)
                | flag(spec.outer.ecn, ECN)
                | flag(!spec.outer.no_checksum, CHECKSUM)
                | flag(spec.choice != Choice::Ebpf, UNASKED)
                | flag(spec.device != Device::Shared, OWN_DEVICE)
                | flag(remote.is_ipv6(), OUTER_IPV6),
            tos: spec.outer.dscp << 2,
            head_len,
            head,
            reserved: 0,
        }
    }
}

/// An address as the programs have it: of IPv4 the first four octets.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// The L2TP and PPP headers before an IPv4 packet.
fn head(peer: Ids, framing: Framing) -> (u8, [u8; 10]) {
    let WireIds(ids) = peer.into();
    let mut head = vec![0, 2];
    head.extend(ids);
    if !framing.address_control_compression {
        head.extend([0xff, 3]);
    }
    if !framing.protocol_compression {
        head.push(0);
    }
    head.push(0x21);
    let len = head.len();
    head.resize(10, 0);
    let mut octets = [0; 10];
    octets.copy_from_slice(&head);
    (len as u8, octets)
}

/// `struct counters`.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
struct Counters {
    rx_packets: u64,
    rx_bytes: u64,
    tx_packets: u64,
    tx_bytes: u64,
    supers: u64,
}

/// `struct host`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(C)]
pub(super) struct Here {
    /// The shared device's index; 0: there is none.
    pub(super) shared: u32,
    /// The index of the helper's near end; 0: there is none.
    pub(super) helper: u32,
    /// The index of a device of ours that forwards; 0, in tests: paths are not looked up.
    pub(super) path: u32,
    /// Octets before IP on TUN devices.
    pub(super) link_len: u32,
    /// The MAC address of the helper's far end.
    pub(super) far: [u8; 6],
    pub(super) reserved: [u8; 2],
}

// SAFETY: both are `repr(transparent)` or `repr(C)` of integers, without padding.
unsafe impl Pod for WireIds {}
// SAFETY: 4 + 32 + 20 + 4 + 2 + 3 + 10 + 1 octets of integers, without padding.
unsafe impl Pod for Record {}
// SAFETY: five integers of one size.
unsafe impl Pod for Counters {}
// SAFETY: 16 + 6 + 2 octets of integers, without padding.
unsafe impl Pod for Here {}

/// The maps that say what is carried. Only one thread changes them.
pub(super) struct Maps {
    sessions: HashMap<MapData, WireIds, Record>,
    counted: PerCpuHashMap<MapData, WireIds, Counters>,
    own_devices: HashMap<MapData, u32, WireIds>,
    inside4: Inside<4>,
    inside6: Inside<16>,
    cpus: usize,
}

/// Inner destinations of one family, whose addresses have so many octets: single addresses, and networks.
struct Inside<const N: usize> {
    hosts: HashMap<MapData, [u8; N], WireIds>,
    nets: LpmTrie<MapData, [u8; N], WireIds>,
}

impl<const N: usize> Inside<N> {
    fn insert(&mut self, network: [u8; N], length: u8, ids: WireIds) -> Result<(), MapError> {
        match usize::from(length) == 8 * N {
            true => self.hosts.insert(network, ids, 0),
            false => self.nets.insert(&Key::new(length.into(), network), ids, 0),
        }
    }

    /// Takes a destination out, if it is this session's still.
    fn forget(&mut self, network: [u8; N], length: u8, ids: WireIds) {
        if usize::from(length) == 8 * N {
            if self.hosts.get(&network, 0).is_ok_and(|known| known == ids) {
                let _ = self.hosts.remove(&network);
            }
            return;
        }
        let prefix = Key::new(length.into(), network);
        if self.nets.get(&prefix, 0).is_ok_and(|known| known == ids) {
            let _ = self.nets.remove(&prefix);
        }
    }
}

/// The programs, and the maps that say where packets go on this host.
pub(super) struct Programs {
    ebpf: Ebpf,
    here: Array<MapData, Here>,
    near_ends: HashMap<MapData, u32, u32>,
    /// The kernel has no compiler for them, or does not use it.
    pub(super) interpreted: bool,
}

/// Why the programs did not carry packets of sessions: counts that any thread reads.
pub struct Uncarried {
    reasons: PerCpuArray<MapData, u64>,
    cpus: usize,
}

impl Uncarried {
    /// How many packets there were for each of [`UNCARRIED`], in its order; what is cut into packets later counts once.
    #[must_use]
    pub fn counts(&self) -> [u64; UNCARRIED.len()] {
        array::from_fn(|reason| {
            let counted = self.reasons.get(&(reason as u32), 0);
            counted.map_or(0, |of_cpus| of_cpus.iter().sum())
        })
    }

    /// Counts from zero again.
    pub(super) fn reset(&mut self) -> Result<(), String> {
        for reason in 0..UNCARRIED.len() as u32 {
            let nothing = PerCpuValues::try_from(vec![0; self.cpus]).map_err(|e| refusal(&e))?;
            let set = self.reasons.set(reason, nothing, 0);
            set.map_err(|e| refusal(&e))?;
        }
        Ok(())
    }
}

/// The kernel's refusal, or that of the object, in one line.
pub(super) fn refusal(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = in_one_line(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = in_one_line(&cause.to_string());
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// An error without the log of the verifier, of which the reason alone is left: that is its last line, but for those of figures.
fn in_one_line(text: &str) -> String {
    let (error, log) = text.split_once("Verifier output:").unwrap_or((text, ""));
    let figures = ["processed ", "verification time ", "stack depth "];
    let is_reason = |line: &&str| {
        !line.trim().is_empty() && !figures.iter().any(|figure| line.starts_with(figure))
    };
    let reason = log.lines().rfind(is_reason).unwrap_or_default();
    let mut words = error.split_whitespace().chain(reason.split_whitespace());
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |line, word| line + " " + word)
}

/// The maps that take memory for all that they may hold.
const HASHES: [&str; 6] = [
    "sessions",
    "own_devices",
    "near_ends",
    "counted",
    "hosts4",
    "hosts6",
];

/// Has the kernel take maps and programs; each hash with room for `most` at most, where that is said.
pub(super) fn load(most: Option<u32>) -> Result<(Programs, Maps, Uncarried), String> {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    if let Some(most) = most {
        for name in HASHES {
            loader.set_max_entries(name, most);
        }
    }
    let mut ebpf = loader.load(OBJECT).map_err(|e| refusal(&e))?;
    let mut interpreted = false;
    for name in [ENCAP, DECAP, MERGED] {
        let program = ebpf
            .program_mut(name)
            .ok_or_else(|| format!("no program {name}"))?;
        let program: &mut SchedClassifier = program.try_into().map_err(|e| refusal(&e))?;
        program
            .load()
            .map_err(|e| format!("load {name}: {}", refusal(&e)))?;
        let info = program.info().map_err(|e| refusal(&e))?;
        interpreted |= info.size_jitted() == 0;
    }
    let mut take = |name: &str| ebpf.take_map(name).ok_or_else(|| format!("no map {name}"));
    let cpus = nr_cpus().map_err(|(what, e)| format!("{what}: {e}"))?;
    let maps = Maps {
        sessions: take("sessions")?.try_into().map_err(|e| refusal(&e))?,
        own_devices: take("own_devices")?.try_into().map_err(|e| refusal(&e))?,
        counted: take("counted")?.try_into().map_err(|e| refusal(&e))?,
        inside4: Inside {
            hosts: take("hosts4")?.try_into().map_err(|e| refusal(&e))?,
            nets: take("inside4")?.try_into().map_err(|e| refusal(&e))?,
        },
        inside6: Inside {
            hosts: take("hosts6")?.try_into().map_err(|e| refusal(&e))?,
            nets: take("inside6")?.try_into().map_err(|e| refusal(&e))?,
        },
        cpus,
    };
    let uncarried = Uncarried {
        reasons: take("reasons")?.try_into().map_err(|e| refusal(&e))?,
        cpus,
    };
    let here = take("this_host")?.try_into().map_err(|e| refusal(&e))?;
    let near_ends = take("near_ends")?.try_into().map_err(|e| refusal(&e))?;
    let programs = Programs {
        ebpf,
        here,
        near_ends,
        interpreted,
    };
    Ok((programs, maps, uncarried))
}

impl Programs {
    pub(super) fn get(&mut self, name: &str) -> Result<&mut SchedClassifier, String> {
        let program = self.ebpf.program_mut(name);
        let program = program.ok_or_else(|| format!("no program {name}"))?;
        program.try_into().map_err(|e| refusal(&e))
    }

    pub(super) fn set_here(&mut self, here: Here) -> Result<(), String> {
        self.here.set(0, here, 0).map_err(|e| refusal(&e))
    }

    /// Says which devices may end on this machine, or nowhere.
    pub(super) fn set_near_ends(&mut self, devices: &[u32]) -> Result<(), String> {
        let known: Vec<u32> = self.near_ends.keys().flatten().collect();
        for gone in known.iter().filter(|index| !devices.contains(index)) {
            let _ = self.near_ends.remove(gone);
        }
        for new in devices.iter().filter(|index| !known.contains(index)) {
            let added = self.near_ends.insert(new, 0, 0);
            added.map_err(|e| refusal(&e))?;
        }
        Ok(())
    }
}

impl Maps {
    /// Carries a session from now on, or carries it as this says.
    pub(super) fn open(
        &mut self,
        ids: Ids,
        record: Record,
        before: &[IpNet],
        inside: &[IpNet],
    ) -> Result<(), String> {
        let key = WireIds::from(ids);
        let nothing = PerCpuValues::try_from(vec![Counters::default(); self.cpus]);
        let nothing = nothing.map_err(|e| refusal(&e))?;
        // It is an error where the session was carried before, whose counters go on.
        let _ = self.counted.insert(key, nothing, BPF_NOEXIST);
        let opened = self.sessions.insert(key, record, 0);
        opened.map_err(|e| refusal(&e))?;
        if record.flags & OWN_DEVICE != 0 {
            let added = self.own_devices.insert(record.device, key, 0);
            added.map_err(|e| refusal(&e))?;
        }
        for net in before.iter().filter(|net| !inside.contains(net)) {
            self.forget(net, key);
        }
        for net in inside {
            match net {
                IpNet::V4(net) => {
                    let network = net.network().octets();
                    self.inside4.insert(network, net.prefix_len(), key)
                }
                IpNet::V6(net) => {
                    let network = net.network().octets();
                    self.inside6.insert(network, net.prefix_len(), key)
                }
            }
            .map_err(|e| refusal(&e))?;
        }
        Ok(())
    }

    /// Carries a session no more; what was counted stays.
    pub(super) fn close(&mut self, ids: Ids, inside: &[IpNet]) {
        let key = WireIds::from(ids);
        if let Ok(Record { device, flags, .. }) = self.sessions.get(&key, 0)
            && flags & OWN_DEVICE != 0
        {
            let _ = self.own_devices.remove(&device);
        }
        let _ = self.sessions.remove(&key);
        for net in inside {
            self.forget(net, key);
        }
    }

    /// What was carried of a session, and is no longer known.
    pub(super) fn forget_counters(&mut self, ids: Ids) -> Stats {
        let stats = self.stats(ids);
        let _ = self.counted.remove(&WireIds::from(ids));
        stats
    }

    pub(super) fn stats(&self, ids: Ids) -> Stats {
        let mut stats = Stats::default();
        let Ok(counted) = self.counted.get(&WireIds::from(ids), 0) else {
            return stats;
        };
        for cpu in counted.iter() {
            stats.rx_packets += cpu.rx_packets;
            stats.rx_bytes += cpu.rx_bytes;
            stats.tx_packets += cpu.tx_packets;
            stats.tx_bytes += cpu.tx_bytes;
        }
        stats.by_programs = stats.whole();
        stats
    }

    fn forget(&mut self, net: &IpNet, key: WireIds) {
        match net {
            IpNet::V4(net) => {
                let network = net.network().octets();
                self.inside4.forget(network, net.prefix_len(), key);
            }
            IpNet::V6(net) => {
                let network = net.network().octets();
                self.inside6.forget(network, net.prefix_len(), key);
            }
        }
    }
}
