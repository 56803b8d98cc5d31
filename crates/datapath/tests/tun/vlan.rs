//! The engine `ebpf` with a VLAN for its uplink, whose tags are in frames or beside them, as a network card has them that puts them in itself.

use std::mem::MaybeUninit;

use datapath::Choice;
use socket2::{Domain, Socket, Type};

use super::bed::{Bed, Namespace, both_ends, dual_stack, sum};
use super::ebpf::through_tun;

/// The VLAN's number.
const VLAN: u16 = 7;
/// What is before the rest of a frame that has its tag (IEEE 802.1Q).
const TAG: [u8; 4] = [0x81, 0, 0, VLAN as u8];

/// Gives the IPv4 addresses of the wire to a VLAN on it. The wire keeps those of IPv6, so programs are attached to it, too.
fn on_vlan(bed: &Bed) {
    for (end, number) in [(&bed.lns, 1), (&bed.lac, 2)] {
        end.run(&format!("ip addr del 10.9.0.{number}/24 dev wire"));
        end.run(&format!(
            "ip link add link wire name wire.{VLAN} type vlan id {VLAN}"
        ));
        end.run(&format!("ip link set wire.{VLAN} addrgenmode none"));
        end.run(&format!("ip addr add 10.9.0.{number}/24 dev wire.{VLAN}"));
        end.run(&format!("ip link set wire.{VLAN} up"));
    }
}

/// Sees the frames on every device.
fn frames(place: &Namespace) -> Socket {
    let everything = i32::from((libc::ETH_P_ALL as u16).to_be());
    let open = || Socket::new(Domain::PACKET, Type::RAW, Some(everything.into()));
    let socket = place.enter(open).unwrap();
    let patience = std::time::Duration::from_secs(5);
    socket.set_read_timeout(Some(patience)).unwrap();
    socket
}

/// The next data message of ours that leaves through a device, from the frame's type on.
fn sent(frames: &Socket, device: i32) -> Vec<u8> {
    loop {
        let mut octets = [MaybeUninit::new(0_u8); 2048];
        let (len, from) = frames.recv_from(&mut octets).unwrap();
        // SAFETY: a packet socket's addresses are `sockaddr_ll`, for which there is room and which `from` outlives.
        let place = unsafe { &*from.as_ptr().cast::<libc::sockaddr_ll>() };
        // SAFETY: every octet was written before the call.
        let frame = octets[..len]
            .iter()
            .map(|octet| unsafe { octet.assume_init() });
        let frame: Vec<u8> = frame.skip(12).collect();
        let datagram = frame.strip_prefix(&TAG).unwrap_or(&frame);
        let ours = place.sll_ifindex == device && place.sll_pkttype == libc::PACKET_OUTGOING;
        if ours && datagram.starts_with(&[8, 0, 0x45]) && datagram[11] == 17 {
            return frame;
        }
    }
}

/// An IP packet with a data message of session 1 from the LAC to the LNS, with a packet of so many octets in it: its headers are right.
fn check(datagram: &[u8], inner: usize) {
    let field = |at: usize| usize::from(u16::from_be_bytes([datagram[at], datagram[at + 1]]));
    assert_eq!(sum(&datagram[..20]), 0xffff);
    assert_eq!((field(2), field(24)), (datagram.len(), datagram.len() - 20));
    assert_eq!(field(6), 0x4000, "DF");
    assert_eq!(datagram[12..20], [10, 9, 0, 2, 10, 9, 0, 1]);
    assert_eq!((field(20), field(22)), (1701, 1701));
    let head = [0, 2, 0, 100, 0, 101, 0xff, 3, 0, 0x21, 0x45];
    assert_eq!(datagram[28..39], head);
    assert_eq!(datagram.len(), 38 + inner);
    let len = (datagram.len() as u16 - 20).to_be_bytes();
    let pseudo = [&datagram[12..20], &[0, 17], &len, &datagram[20..]].concat();
    assert_eq!(sum(&pseudo), 0xffff, "UDP");
}

fn carried(offloaded: bool) {
    let Some(bed) = Bed::new() else { return };
    on_vlan(&bed);
    let state = if offloaded { "on" } else { "off" };
    for end in [&bed.lns, &bed.lac] {
        end.run(&format!(
            "ethtool -K wire txvlan {state} tso off tx-udp_tnl-segmentation off gso on gro on"
        ));
    }
    let mut ends = both_ends(&bed, Choice::Ebpf, dual_stack(), |_| {});
    let wrong = [&bed.lns, &bed.lac].map(|end| end.wrong_sums());
    let link = bed.lac.run("ip -o link show wire");
    let device = link.split(':').next().unwrap().parse().unwrap();
    let seen = frames(&bed.lac);
    bed.lac.ping("-s 100 10.0.0.1");
    for _ in 0..5 {
        let frame = sent(&seen, device);
        let datagram = match offloaded {
            true => &frame[2..],
            false => frame
                .strip_prefix(&TAG)
                .unwrap()
                .strip_prefix(&[8, 0])
                .unwrap(),
        };
        check(datagram, 128);
    }
    Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 1 << 20);
    Bed::transfer(&bed.lns, &bed.lac, "10.0.0.2", 1 << 20);
    assert_eq!([&bed.lns, &bed.lac].map(|end| end.wrong_sums()), wrong);
    let (lns, lac) = &mut ends;
    let packets = lns.stats(1).tx_packets + lac.stats(1).tx_packets;
    let left = through_tun(&bed.lns) + through_tun(&bed.lac);
    assert!(left < packets / 10, "{left} of {packets} were left to tun");
}

#[test]
#[ignore = "needs the kernel's 8021q"]
fn a_tag_that_the_device_puts_in_is_right_and_programs_carry() {
    carried(true);
}

#[test]
#[ignore = "needs the kernel's 8021q"]
fn a_tag_in_the_frame_is_right_and_programs_carry() {
    carried(false);
}
