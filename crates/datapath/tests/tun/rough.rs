//! A path on which datagrams are lost and overtake each other: no packet is lost beyond those, and what sequence numbers promise is kept.

use std::collections::VecDeque;
use std::io::{Error, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use datapath::{Choice, Sequencing, SessionSpec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use super::bed::{Bed, End, Namespace, Udp, both_ends, network, sequenced};

/// The engines that can be tried anywhere.
const ENGINES: &[Choice] = match cfg!(feature = "ebpf") {
    true => &[Choice::Tun, Choice::Ebpf],
    false => &[Choice::Tun],
};

/// How long a session waits for what is missing; a message is overtaken for less.
const WAIT: Duration = Duration::from_millis(400);
/// After how long without another datagram nothing is held back any more.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// What became of a datagram that came to the middle-box on one of its sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Dropped,
    /// Now, or after some later ones.
    Passed,
}

/// The sides of the middle-box.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Lns,
    Lac,
}

/// What happens to datagrams of L2TP, in parts of a thousand.
#[derive(Clone, Copy)]
struct Plan {
    dropped: u64,
    overtaken: u64,
}

/// Joins the two namespaces in place of the cable, for as long as it lives.
struct MiddleBox {
    fates: Receiver<(Side, Fate)>,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl MiddleBox {
    fn between(bed: &Bed, plan: Plan) -> Self {
        let place = Namespace::new().unwrap();
        bed.lns.run("ip link del wire");
        let sides = [(&bed.lns, "lns"), (&bed.lac, "lac")].map(|(end, side)| {
            end.run(&format!("ip link add wire type veth peer name {side}"));
            end.run(&format!("ip link set {side} netns {}", place.path()));
            // Frames as on a cable: of one packet each, with their checksums.
            end.run("ethtool -K wire tso off tx-udp-segmentation off tx off gso on gro on");
            place.sysctl(&[&format!("ipv6/conf/{side}/disable_ipv6=1")]);
            place.run(&format!("ethtool -K {side} gro off"));
            place.run(&format!("ip link set {side} up"));
            place.enter(|| frames_of(side)).unwrap()
        });
        bed.address_wires();
        let (told, fates) = channel();
        let (stop, stopped) = rustix::pipe::pipe().unwrap();
        let stop = Some(stopped).zip(Some(stop));
        let (stopped, stop) = stop.unwrap();
        let thread = thread::spawn(move || {
            let ways = [Way::new(1, plan), Way::new(2, plan)];
            forward(sides, ways, &stop, &told);
            drop(place);
        });
        Self {
            fates,
            stop: Some(stopped),
            thread: Some(thread),
        }
    }

    /// What became of the next datagram from one side.
    fn fate(&self, from: Side) -> Fate {
        loop {
            let (side, fate) = self.fates.recv_timeout(Duration::from_secs(5)).unwrap();
            if side == from {
                return fate;
            }
        }
    }
}

impl Drop for MiddleBox {
    fn drop(&mut self) {
        self.stop = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A socket of all frames of a device (`struct sockaddr_ll`).
fn frames_of(device: &str) -> std::io::Result<Socket> {
    let everything = (libc::ETH_P_ALL as u16).to_be();
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    let name = std::ffi::CString::new(device)?;
    // SAFETY: the name ends with a zero and is alive for the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: everything,
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let (octets, len) = ((&raw const address).cast(), size_of_val(&address));
    // SAFETY: the address is alive for the call, and its size is given.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), octets, len as libc::socklen_t) };
    if bound != 0 {
        return Err(Error::last_os_error());
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// One way through the middle-box.
struct Way {
    random: u64,
    plan: Plan,
    /// Frames, and how many datagrams are to overtake each.
    held: VecDeque<(u64, Vec<u8>)>,
}

impl Way {
    fn new(seed: u64, plan: Plan) -> Self {
        Self {
            random: seed,
            plan,
            held: VecDeque::new(),
        }
    }

    /// SplitMix64: what becomes of the nth datagram is the same in every run.
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    /// Takes a datagram: what becomes of it, and the frames that leave now.
    fn take(&mut self, frame: &[u8]) -> (Fate, Vec<Vec<u8>>) {
        let (chance, by) = (self.random(1000), 1 + self.random(5));
        if chance < self.plan.dropped {
            return (Fate::Dropped, Vec::new());
        }
        let mut leave = Vec::new();
        if chance < self.plan.dropped + self.plan.overtaken {
            self.held.push_back((by, frame.to_vec()));
        } else {
            leave.push(frame.to_vec());
            self.held.iter_mut().for_each(|(left, _)| *left -= 1);
            let (gone, held) = self.held.drain(..).partition(|(left, _)| *left == 0);
            self.held = held;
            let gone: VecDeque<(u64, Vec<u8>)> = gone;
            leave.extend(gone.into_iter().map(|(_, frame)| frame));
        }
        (Fate::Passed, leave)
    }
}

/// Forwards between two sides until `stop` is closed at its other end.
fn forward(sides: [Socket; 2], mut ways: [Way; 2], stop: &OwnedFd, told: &Sender<(Side, Fate)>) {
    loop {
        let mut ready = [
            PollFd::new(&sides[0], PollFlags::IN),
            PollFd::new(&sides[1], PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        let holds = ways.iter().any(|way| !way.held.is_empty());
        match poll(&mut ready, holds.then_some(&PAUSE)) {
            Ok(0) => {
                for (way, to) in ways.iter_mut().zip([&sides[1], &sides[0]]) {
                    let held = way.held.drain(..).map(|(_, frame)| frame);
                    held.for_each(|frame| send(to, &frame));
                }
            }
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => panic!("{error}"),
        }
        if !ready[2].revents().is_empty() {
            return;
        }
        for (at, side) in [Side::Lns, Side::Lac].into_iter().enumerate() {
            let (from, to) = (&sides[at], &sides[1 - at]);
            let mut frame = [0; 2048];
            while let Ok(len) = (&mut &*from).read(&mut frame) {
                let frame = &frame[..len];
                if !is_l2tp(frame) {
                    send(to, frame);
                    continue;
                }
                let (fate, leave) = ways[at].take(frame);
                leave.iter().for_each(|frame| send(to, frame));
                // Nobody may want to know.
                let _ = told.send((side, fate));
            }
        }
    }
}

fn send(mut to: &Socket, frame: &[u8]) {
    to.write_all(frame).unwrap();
}

/// Whether a frame has a datagram to port 1701, over IPv4 without options.
fn is_l2tp(frame: &[u8]) -> bool {
    let has = |at: usize, octets: &[u8]| frame.get(at..at + octets.len()) == Some(octets);
    has(12, &[8, 0, 0x45]) && has(23, &[17]) && has(36, &1701_u16.to_be_bytes())
}

/// Two ends with a middle-box between them.
struct Path {
    middle: MiddleBox,
    lns: End,
    _lac: End,
    sender: Udp,
    receiver: Udp,
    bed: Bed,
}

/// What came of packets.
struct Came {
    sent: usize,
    /// Those that the middle-box let through.
    passed: usize,
    numbers: Vec<u32>,
    /// Those that the engine counted as dropped for their sequence number.
    discarded: usize,
}

impl Path {
    fn new(choice: Choice, plan: Plan, change: impl Fn(&mut SessionSpec)) -> Option<Self> {
        let bed = Bed::new()?;
        let middle = MiddleBox::between(&bed, plan);
        // The kernel says things of its own accord over IPv6.
        for end in [&bed.lns, &bed.lac] {
            end.sysctl(&["ipv6/conf/default/disable_ipv6=1"]);
        }
        let ends = [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")];
        let sides = ends.map(|(local, peer)| network(local, peer));
        let (lns, lac) = both_ends(&bed, choice, sides, change);
        let (sender, receiver) = (bed.lac.udp("10.0.0.2:5000"), bed.lns.udp("10.0.0.1:5000"));
        sender.connect("10.0.0.1:5000").unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        Some(Self {
            middle,
            lns,
            _lac: lac,
            sender,
            receiver,
            bed,
        })
    }

    /// Sends numbered packets from the LAC. With `nudge` one more follows where not all came: the kernel's driver looks whether something has waited long
    /// enough when the next message comes.
    fn send(&mut self, count: u32, nudge: bool) -> Came {
        let mut came = Came {
            sent: 0,
            passed: 0,
            numbers: Vec::new(),
            discarded: 0,
        };
        let mut numbers = 0..;
        while came.sent < count as usize {
            // No more than sockets hold.
            for number in numbers.by_ref().take(64) {
                self.send_one(number, &mut came);
            }
            for _ in 0..100 {
                if came.numbers.len() + came.discarded >= came.passed {
                    break;
                }
                let mut octets = [0; 4];
                if self.receiver.recv(&mut octets).is_ok() {
                    came.numbers.push(u32::from_be_bytes(octets));
                    continue;
                }
                let stats = self.lns.stats(1).sequencing;
                came.discarded = stats.rx_discarded as usize;
                if nudge {
                    self.send_one(numbers.next().unwrap(), &mut came);
                }
            }
        }
        came.discarded = self.lns.stats(1).sequencing.rx_discarded as usize;
        came
    }

    fn send_one(&self, number: u32, came: &mut Came) {
        self.sender.send(&number.to_be_bytes()).unwrap();
        came.sent += 1;
        came.passed += usize::from(self.middle.fate(Side::Lac) == Fate::Passed);
    }
}

/// Without sequence numbers all comes that is let through, as it comes.
fn nothing_more_is_lost(engines: &[Choice]) {
    let plan = Plan {
        dropped: 20,
        overtaken: 150,
    };
    for (&engine, no_checksum) in engines.iter().flat_map(|e| [(e, false), (e, true)]) {
        let path = Path::new(engine, plan, |spec| spec.outer.no_checksum = no_checksum);
        let Some(mut path) = path else { return };
        let mut came = path.send(1024, false);
        let what = format!("{engine:?}, without checksum: {no_checksum}");
        assert!(came.passed < came.sent, "nothing was dropped: {what}");
        assert!(!came.numbers.is_sorted(), "nothing was overtaken: {what}");
        came.numbers.sort_unstable();
        came.numbers.dedup();
        assert_eq!(came.numbers.len(), came.passed, "{what}");
        assert_eq!(path.lns.stats(1).rx_errors, 0, "{what}");
    }
}

/// With sequence numbers packets come in order, and with time to wait all of them.
fn sequence_numbers_keep_what_they_promise(engines: &[Choice]) {
    let plan = Plan {
        dropped: 5,
        overtaken: 100,
    };
    for (&engine, wait) in engines
        .iter()
        .flat_map(|engine| [(engine, Duration::ZERO), (engine, WAIT)])
    {
        let path = Path::new(engine, plan, |spec| {
            *spec = sequenced(spec.clone(), Sequencing::Required, wait);
        });
        let Some(mut path) = path else { return };
        let in_kernel = engine == Choice::Kernel;
        let came = path.send(512, in_kernel);
        let what = format!("{engine:?} {wait:?}");
        assert!(came.passed < came.sent, "nothing was dropped: {what}");
        let in_order = came.numbers.is_sorted_by(|a, b| a < b);
        assert!(in_order, "{what}: {:?}", came.numbers);
        // None goes without being counted.
        assert_eq!(
            came.numbers.len() + came.discarded,
            came.passed,
            "{what}: {} discarded",
            came.discarded
        );
        match wait.is_zero() {
            true => assert!(came.discarded > 0, "none was late: {what}"),
            // The kernel's driver drops what has waited for too long, where ours goes on with it.
            false if in_kernel => {}
            false => assert_eq!(came.discarded, 0, "{what}"),
        }
    }
}

/// A stream is whole, and the kernel has found no checksum wrong.
fn streams_are_whole(engines: &[Choice]) {
    let plan = Plan {
        dropped: 5,
        overtaken: 30,
    };
    for (&engine, no_checksum) in engines.iter().flat_map(|e| [(e, false), (e, true)]) {
        let path = Path::new(engine, plan, |spec| spec.outer.no_checksum = no_checksum);
        let Some(path) = path else { return };
        let Bed { lns, lac } = &path.bed;
        Bed::transfer(lac, lns, "10.0.0.1", 1 << 20);
        Bed::transfer(lns, lac, "10.0.0.2", 1 << 20);
        for end in [lns, lac] {
            let wrong = end.wrong_sums();
            assert_eq!(wrong, [0; 3], "{engine:?} {no_checksum}");
        }
    }
}

#[test]
fn no_packet_is_lost_beyond_what_the_path_lost() {
    nothing_more_is_lost(ENGINES);
}

#[test]
fn with_sequence_numbers_packets_come_in_order_and_none_is_uncounted() {
    // Programs leave such sessions to `tun`.
    sequence_numbers_keep_what_they_promise(&[Choice::Tun]);
}

#[test]
fn streams_are_whole_over_a_path_that_loses_and_reorders() {
    streams_are_whole(ENGINES);
}

/// The same over the kernel's driver.
mod kernel {
    use super::*;

    const ENGINES: &[Choice] = &[Choice::Kernel];

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn no_packet_is_lost_beyond_what_the_path_lost() {
        nothing_more_is_lost(ENGINES);
    }

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn with_sequence_numbers_packets_come_in_order_and_none_is_uncounted() {
        sequence_numbers_keep_what_they_promise(ENGINES);
    }

    #[test]
    #[ignore = "needs the kernel's l2tp_ppp"]
    fn streams_are_whole_over_a_path_that_loses_and_reorders() {
        streams_are_whole(ENGINES);
    }
}
