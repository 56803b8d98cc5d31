//! Whether this kernel does with the programs what they say: each is run on a packet (BPF_PROG_TEST_RUN) before any is attached.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use ipnet::IpNet;

use super::programs::{DECAP, ENCAP, Here, Maps, Programs, Record, refusal};
use crate::{
    Choice, Device, Encapsulation, Framing, Ids, Ipv4Link, Ipv6Link, NetworkSpec, Outer,
    Sequencing, SessionSpec, Transport,
};

/// Octets of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// What the programs answer when a packet goes to another device (`linux/pkt_cls.h`).
pub(super) const REDIRECT: i32 = 7;
/// And when it is the next program's turn.
pub(super) const PASS: i32 = -1;

/// `BPF_PROG_TEST_RUN` of `linux/bpf.h`.
const TEST_RUN: libc::c_int = 10;
const PACKET_MAX: usize = 1 << 12;

/// `struct { ... } test` of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    answer: u32,
    len_in: u32,
    len_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_len_in: u32,
    context_len_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// Runs a program on a packet that starts with an Ethernet header: its answer, and what it made of the packet.
pub(super) fn run(
    programs: &mut Programs,
    name: &str,
    packet: &[u8],
) -> Result<(i32, Vec<u8>), String> {
    let program = programs.get(name)?.fd().map_err(|e| refusal(&e))?;
    let mut out = vec![0; PACKET_MAX];
    let mut test = TestRun {
        program: program.as_fd().as_raw_fd().cast_unsigned(),
        len_in: packet.len() as u32,
        len_out: out.len() as u32,
        data_in: packet.as_ptr() as u64,
        data_out: out.as_mut_ptr() as u64,
        repeat: 1,
        ..TestRun::default()
    };
    // SAFETY: the kernel reads and writes one attribute of the size that is given, reads `len_in` octets of `packet` and writes at most `len_out` to `out`;
    // all of them live until the call is over.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, TEST_RUN, &raw mut test, size_of::<TestRun>()) };
    if result != 0 {
        return Err(format!("run {name}: {}", io::Error::last_os_error()));
    }
    out.truncate(test.len_out as usize);
    Ok((test.answer.cast_signed(), out))
}

/// Whether a packet each way comes out as it should, of IPv4 and of IPv6, through sessions over either.
pub(super) fn self_test(programs: &mut Programs, maps: &mut Maps) -> Result<(), String> {
    test(&Sample::new(), programs, maps)?;
    test(&Sample::over_ipv6(), programs, maps)
}

pub(super) fn test(
    sample: &Sample,
    programs: &mut Programs,
    maps: &mut Maps,
) -> Result<(), String> {
    sample.open(programs, maps)?;
    let tried = [false, true].into_iter().try_for_each(|ipv6| {
        let (inner, message) = (sample.packet(ipv6, true), sample.sent(ipv6));
        let expected = (REDIRECT, sample.framed(&message));
        let made = run(programs, ENCAP, &sample.framed(&inner))?;
        if made != expected {
            return Err(format!(
                "the kernel makes {made:02x?} of a packet, not {expected:02x?}"
            ));
        }
        let (inner, message) = (sample.packet(ipv6, false), sample.received(ipv6));
        let message = sample.framed(&message);
        let (answer, made) = run(programs, DECAP, &message)?;
        let of_two = ipv6 != sample.spec.transport.remote.is_ipv6();
        if of_two && answer == PASS && made == message {
            // Before Linux 6.3: it is `tun`'s.
            return Ok(());
        }
        if answer != REDIRECT || made.get(ETHERNET..) != Some(&inner[..]) {
            return Err(format!(
                "the kernel makes {answer} {made:02x?} of a message, not {inner:02x?}"
            ));
        }
        Ok(())
    });
    sample.close(maps);
    programs.set_here(Here::default())?;
    tried
}

/// A session that exists nowhere, with addresses that do not either (RFC 5737, RFC 3849).
pub(super) struct Sample {
    pub(super) spec: SessionSpec,
    pub(super) network: NetworkSpec,
}

/// The device that a packet is on when a program is only run.
const LOOPBACK: u32 = 1;
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const LOCAL_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const REMOTE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);

impl Sample {
    pub(super) fn new() -> Self {
        let ids = |tunnel, session| Ids { tunnel, session };
        let spec = SessionSpec {
            transport: Transport {
                listener: None,
                local: SocketAddr::from((LOCAL, 1701)),
                remote: SocketAddr::from((REMOTE, 1702)),
            },
            encapsulation: Encapsulation::V2 {
                local: ids(0x0102, 0x0304),
                peer: ids(0x0506, 0x0708),
                sequencing: Sequencing::AsPeer,
                reorder_timeout: Duration::ZERO,
            },
            outer: Outer {
                no_checksum: true,
                ..Outer::default()
            },
            device: Device::Shared,
            choice: Choice::Ebpf,
            mppe: Vec::new(),
            lent: false,
        };
        let ipv6 = |host| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host);
        let network = NetworkSpec {
            ipv4: Some(Ipv4Link {
                local: [198, 51, 100, 1].into(),
                peer: [198, 51, 100, 2].into(),
            }),
            ipv6: Some(Ipv6Link {
                local: ipv6(1),
                peer: ipv6(2),
            }),
            mtu: 1400,
            framing: Framing::default(),
            routes: Vec::new(),
            encryption: None,
            proxy_arp: false,
        };
        Self { spec, network }
    }

    /// With UDP checksums, as IPv6 has none of its own.
    pub(super) fn over_ipv6() -> Self {
        let mut sample = Self::new();
        let transport = &mut sample.spec.transport;
        transport.local.set_ip(LOCAL_IPV6.into());
        transport.remote.set_ip(REMOTE_IPV6.into());
        sample.spec.outer.no_checksum = false;
        sample
    }

    fn ids(&self) -> Ids {
        super::local_ids(&self.spec)
    }

    pub(super) fn open(&self, programs: &mut Programs, maps: &mut Maps) -> Result<(), String> {
        programs.set_here(Here {
            shared: LOOPBACK,
            link_len: ETHERNET as u32,
            ..Here::default()
        })?;
        let record = Record::of(&self.spec, &self.network, LOOPBACK);
        maps.open(self.ids(), record, &[], &self.inside())
    }

    fn inside(&self) -> Vec<IpNet> {
        super::inside(&self.spec, &self.network)
    }

    pub(super) fn close(&self, maps: &mut Maps) {
        maps.close(self.ids(), &self.inside());
        maps.forget_counters(self.ids());
    }

    /// An IP packet from us or from the peer, with an echo in it.
    pub(super) fn packet(&self, ipv6: bool, ours: bool) -> Vec<u8> {
        let mut echo = vec![if ipv6 { 128 } else { 8 }, 0, 0, 0, 1, 2, 3, 4];
        if ipv6 {
            let ends = self.network.ipv6.map(|link| [link.local, link.peer]);
            let ends = ends.unwrap_or([std::net::Ipv6Addr::UNSPECIFIED; 2]);
            let [from, to] = turn(ends, ours).map(|address| address.octets());
            let pseudo = [&from[..], &to, &[0, 0, 0, 8, 0, 0, 0, 58], &echo].concat();
            let sum = checksum(&pseudo);
            echo[2..4].copy_from_slice(&sum);
            [&[0x60, 0, 0, 0, 0, 8, 58, 64][..], &from, &to, &echo].concat()
        } else {
            let ends = self.network.ipv4.map(|link| [link.local, link.peer]);
            let ends = ends.unwrap_or([std::net::Ipv4Addr::UNSPECIFIED; 2]);
            let [from, to] = turn(ends, ours).map(|address| address.octets());
            let sum = checksum(&echo);
            echo[2..4].copy_from_slice(&sum);
            [&ipv4_header(from, to, 1, 8, 0)[..], &echo].concat()
        }
    }

    /// The IP packet around a packet of ours.
    pub(super) fn sent(&self, ipv6: bool) -> Vec<u8> {
        self.around(ipv6, &self.packet(ipv6, true))
    }

    /// The same around any other.
    pub(super) fn around(&self, ipv6: bool, packet: &[u8]) -> Vec<u8> {
        let head = [0, 2, 5, 6, 7, 8, 0xff, 3, 0, protocol(ipv6)];
        self.datagram(true, 0x4000, &[&head[..], packet].concat())
    }

    /// The IP packet around a packet of the peer's.
    pub(super) fn received(&self, ipv6: bool) -> Vec<u8> {
        let head = [0, 2, 1, 2, 3, 4, 0xff, 3, 0, protocol(ipv6)];
        self.of_peer(&[&head[..], &self.packet(ipv6, false)].concat())
    }

    /// The IP packet around an L2TP message of the peer's.
    pub(super) fn of_peer(&self, message: &[u8]) -> Vec<u8> {
        self.datagram(false, 0, message)
    }

    /// A datagram of ours or of the peer's, with these flags of IPv4.
    fn datagram(&self, ours: bool, flags: u16, payload: &[u8]) -> Vec<u8> {
        let Transport { local, remote, .. } = self.spec.transport;
        let [from, to] = turn([local, remote], ours);
        let len = 8 + payload.len() as u16;
        let ports = [from.port(), to.port()].map(u16::to_be_bytes).concat();
        let mut datagram = [&ports[..], &len.to_be_bytes(), &[0, 0], payload].concat();
        let octets = |address: SocketAddr| match address.ip() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let addresses = [octets(from), octets(to)].concat();
        if !self.spec.outer.no_checksum {
            let pseudo = [&addresses[..], &[0, 17], &len.to_be_bytes(), &datagram].concat();
            let sum = checksum(&pseudo);
            datagram[6..8].copy_from_slice(if sum == [0, 0] { &[0xff, 0xff] } else { &sum });
        }
        let header = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                ipv4_header(from.octets(), to.octets(), 17, len, flags).to_vec()
            }
            _ => {
                let [high, low] = len.to_be_bytes();
                [&[0x60, 0, 0, 0, high, low, 17, 64], &addresses[..]].concat()
            }
        };
        [header, datagram].concat()
    }

    /// With an Ethernet header.
    pub(super) fn framed(&self, packet: &[u8]) -> Vec<u8> {
        let ipv6 = packet.first().is_some_and(|first| first >> 4 == 6);
        let ethertype = if ipv6 { [0x86, 0xdd] } else { [8, 0] };
        [&[0; 12][..], &ethertype, packet].concat()
    }
}

fn protocol(ipv6: bool) -> u8 {
    if ipv6 { 0x57 } else { 0x21 }
}

fn turn<T: Copy>([local, peer]: [T; 2], ours: bool) -> [T; 2] {
    if ours { [local, peer] } else { [peer, local] }
}

fn ipv4_header(from: [u8; 4], to: [u8; 4], protocol: u8, len: u16, flags: u16) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(20 + len).to_be_bytes());
    header[6..8].copy_from_slice(&flags.to_be_bytes());
    header[8..10].copy_from_slice(&[64, protocol]);
    header[12..16].copy_from_slice(&from);
    header[16..].copy_from_slice(&to);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);
    header
}

/// The Internet checksum (RFC 1071) of octets in which its own are zero.
pub(super) fn checksum(octets: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let sum: u32 = octets.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}
