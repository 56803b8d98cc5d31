//! Two network namespaces joined by a veth pair, and engines in them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use datapath::auto::Auto;
use datapath::kernel::Means;
use datapath::socket::Socket;
use datapath::tun::TunConfig;
use datapath::{
    Choice, Completion, Datapath, DatapathError, Device, Encapsulation, Engine, Event, EventSink,
    Framing, Handle, Ids, Ipv4Link, Ipv6Link, NetworkSpec, Outer, Request, Sequencing, SessionSpec,
    Stats, Token, Transport,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use socket2::{Domain, Socket as Socket2, Type};

use super::{LAC, LNS};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(5);

/// A network namespace that goes with its last user.
pub(crate) struct Namespace(File);

impl Namespace {
    pub(crate) fn new() -> std::io::Result<Self> {
        let made = thread::spawn(|| {
            // SAFETY: the thread shares its files with the others still, and ends here.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net")
        });
        made.join().unwrap().map(Self)
    }

    /// Runs `work` in a thread inside. Sockets, engines and programs that it starts stay there.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap()
    }

    /// Runs a program inside, which must end well, and returns what it printed.
    pub(crate) fn run(&self, command: &str) -> String {
        let done = self.output(command);
        let out = String::from_utf8_lossy(&done.stdout).into_owned();
        let err = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{command}: {out}{err}");
        out
    }

    /// Runs a program inside, however it ends, and returns what it printed.
    pub(crate) fn run_in_vain(&self, command: &str) -> String {
        let done = self.output(command);
        String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
    }

    fn output(&self, command: &str) -> Output {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap();
        self.enter(|| Command::new(program).args(words).output())
            .unwrap_or_else(|e| panic!("{command}: {e}"))
    }

    /// Five pings, all answered.
    pub(crate) fn ping(&self, destination: &str) {
        let out = self.run(&format!("ping -n -q -c 5 -i 0.02 -W 2 {destination}"));
        assert!(out.contains(" 0% packet loss"), "{out}");
    }

    /// All addresses and routes, to see that nothing is left.
    pub(crate) fn configuration(&self) -> String {
        ["-4 route", "-6 route", "addr"]
            .map(|what| self.run(&format!("ip {what} show")))
            .concat()
    }

    /// Its path, for programs and sockets that enter it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// What the kernel's TCP and UDP found wrong, checksums above all: errors of TCP, and wrong sums of both. A SYN that comes again late is no error of ours,
    /// as TCP counts it.
    pub(crate) fn wrong_sums(&self) -> [u64; 3] {
        let [errors, challenges, tcp, udp] = self.counts([
            ("Tcp:", "InErrs"),
            ("TcpExt:", "TCPSYNChallenge"),
            ("Tcp:", "InCsumErrors"),
            ("Udp:", "InCsumErrors"),
        ]);
        [errors - challenges, tcp, udp]
    }

    /// What the kernel has counted: of a protocol, by its names.
    pub(crate) fn counts<const N: usize>(&self, names: [(&str, &str); N]) -> [u64; N] {
        let said = self.run("cat /proc/thread-self/net/snmp /proc/thread-self/net/netstat");
        let lines: Vec<&str> = said.lines().collect();
        names.map(|(of, wanted)| {
            let mut pairs = lines
                .chunks_exact(2)
                .filter(|pair| pair[0].starts_with(of))
                .flat_map(|pair| pair[0].split(' ').zip(pair[1].split(' ')));
            let found = pairs.find(|(name, _)| *name == wanted);
            found.unwrap().1.parse().unwrap()
        })
    }

    /// Sets kernel parameters of the network, `name=value` each.
    pub(crate) fn sysctl(&self, settings: &[&str]) {
        self.enter(|| {
            for setting in settings {
                let (name, value) = setting.split_once('=').unwrap();
                std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
            }
        });
    }

    /// Sees the IP packets on every device from now on.
    pub(crate) fn wire(&self) -> Wire {
        let everything = i32::from((libc::ETH_P_ALL as u16).to_be());
        let open = || Socket2::new(Domain::PACKET, Type::DGRAM, Some(everything.into()));
        let socket = self.enter(open).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Wire(socket)
    }

    pub(crate) fn udp(&self, address: &str) -> Udp {
        let socket = self.enter(|| bind(|| UdpSocket::bind(address)));
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Udp(socket)
    }
}

/// A socket whose reads go on after a signal, which ends them where they have a time limit: many tests are one process, and have children.
pub(crate) struct Udp(UdpSocket);

impl Udp {
    pub(crate) fn recv(&self, octets: &mut [u8]) -> io::Result<usize> {
        whatever_signals(|| self.0.recv(octets))
    }

    pub(crate) fn recv_from(&self, octets: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        whatever_signals(|| self.0.recv_from(octets))
    }
}

impl Deref for Udp {
    type Target = UdpSocket;

    fn deref(&self) -> &UdpSocket {
        &self.0
    }
}

/// Binds a socket to an address that may have been another's just now: a child that another test starts has all sockets of this process, those too
/// that are closed meanwhile, until it is another program.
fn bind<T>(socket: impl Fn() -> io::Result<T>) -> T {
    let mut tries = 100_000;
    loop {
        tries -= 1;
        match socket() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {
                thread::yield_now();
            }
            bound => return bound.unwrap(),
        }
    }
}

fn whatever_signals<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The two namespaces: `lns` has 10.9.0.1 and fd09::1 on its `wire`, `lac` has 10.9.0.2 and fd09::2.
pub(crate) struct Bed {
    pub(crate) lns: Namespace,
    pub(crate) lac: Namespace,
}

impl Bed {
    /// Nothing without the privilege to make namespaces, which is said aloud, and no excuse in continuous integration.
    pub(crate) fn new() -> Option<Self> {
        let made = Namespace::new().and_then(|lns| Ok((lns, Namespace::new()?)));
        let (lns, lac) = match made {
            Ok(both) => both,
            Err(error) if std::env::var_os("CI").is_some() => panic!("network namespaces: {error}"),
            Err(error) => {
                eprintln!("SKIPPED: this test needs root to make network namespaces: {error}");
                return None;
            }
        };
        let bed = Self { lns, lac };
        bed.wire();
        for end in [&bed.lns, &bed.lac] {
            end.run("ip link set lo up");
        }
        Some(bed)
    }

    /// Joins the two.
    pub(crate) fn wire(&self) {
        let Self { lns, lac } = self;
        lns.run("ip link add wire type veth peer name other");
        lns.run(&format!("ip link set other netns {}", lac.path()));
        lac.run("ip link set other name wire");
        self.address_wires();
    }

    /// Gives what joins the two its addresses.
    pub(crate) fn address_wires(&self) {
        let Self { lns, lac } = self;
        for (end, number) in [(lns, 1), (lac, 2)] {
            // No address whose state changes with time.
            end.run("ip link set wire addrgenmode none");
            end.run(&format!("ip addr add 10.9.0.{number}/24 dev wire"));
            end.run(&format!("ip addr add fd09::{number}/64 dev wire nodad"));
            end.run("ip link set wire up");
        }
        for end in [lns, lac] {
            // The kernel notices the carrier when it gets to it.
            let up = |_| end.run("ip link show wire").contains("state UP");
            assert!((0..1000).any(up), "the veth pair does not come up");
        }
    }

    /// A network behind `lns`, which becomes a router to it, on a link of this MTU: it has 10.8.0.1 and fd08::1.
    pub(crate) fn behind_a_router(&self, mtu: u16) -> Namespace {
        let far = Namespace::new().unwrap();
        let (router, lac) = (&self.lns, &self.lac);
        router.run("ip link add narrow type veth peer name other");
        router.run(&format!("ip link set other netns {}", far.path()));
        far.run("ip link set other name narrow");
        for (end, number) in [(router, 254), (&far, 1)] {
            end.run("ip link set lo up");
            end.run(&format!("ip link set narrow mtu {mtu} addrgenmode none"));
            end.run(&format!("ip addr add 10.8.0.{number}/24 dev narrow"));
            end.run(&format!("ip addr add fd08::{number}/64 dev narrow nodad"));
            // A router looks for its neighbours from such an address.
            end.run(&format!("ip addr add fe80::{number}/64 dev narrow nodad"));
            end.run("ip link set narrow up");
        }
        router.sysctl(&["ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1"]);
        lac.run("ip route add 10.8.0.0/24 via 10.9.0.1");
        lac.run("ip route add fd08::/64 via fd09::1");
        far.run("ip route add 10.9.0.0/24 via 10.8.0.254");
        far.run("ip route add fd09::/64 via fd08::254");
        let up = |_| far.run("ip link show narrow").contains("state UP");
        assert!((0..1000).any(up), "the narrow link does not come up");
        far
    }

    /// Sends `octets` of TCP from one namespace to an address in the other.
    pub(crate) fn transfer(from: &Namespace, to: &Namespace, address: &str, octets: usize) {
        let listener = to.enter(|| TcpListener::bind((address, 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let sent: Vec<u8> = (0..octets).map(|i| (i % 251) as u8).collect();
        let received = thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                received
            });
            let remote: SocketAddr = SocketAddr::new(address.parse().unwrap(), port);
            let stream = from.enter(|| TcpStream::connect_timeout(&remote, PATIENCE));
            stream.unwrap().write_all(&sent).unwrap();
            receiver.join().unwrap()
        });
        assert!(received == sent, "{} of {octets} octets", received.len());
    }
}

/// A socket that sees every packet.
pub(crate) struct Wire(Socket2);

impl Wire {
    /// The next packet that `wanted` makes something of.
    pub(crate) fn find<T>(&self, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> T {
        let mut packet = [0; 2048];
        loop {
            let len = whatever_signals(|| (&self.0).read(&mut packet)).expect("a packet");
            if let Some(found) = wanted(&packet[..len]) {
                return found;
            }
        }
    }
}

struct Recorder(Mutex<Sender<Event>>);

impl EventSink for Recorder {
    fn deliver(&self, events: &mut Vec<Event>) {
        let sender = self.0.lock().unwrap();
        events.drain(..).for_each(|event| drop(sender.send(event)));
    }
}

/// Engines with one socket.
pub(crate) struct End {
    engines: Auto,
    /// The kernel's engine opens sockets where it is called.
    place: Option<Namespace>,
    pub(crate) socket: Arc<Socket>,
    recorder: Arc<Recorder>,
    events: Receiver<Event>,
    tokens: u64,
    /// What came while a completion was waited for.
    meanwhile: VecDeque<Event>,
    carriers: Vec<(Handle, Engine)>,
}

impl End {
    /// Starts `tun` in a namespace, on this address.
    pub(crate) fn start(namespace: &Namespace, address: &str) -> Self {
        namespace.enter(|| Self::start_here(address))
    }

    /// Starts `tun` in the namespace of this thread, with its privileges. It looks after paths ten times a second.
    pub(crate) fn start_here(address: &str) -> Self {
        Self::start_engines(address, None, false)
    }

    /// Starts the kernel's engine and `tun` in a namespace.
    pub(crate) fn start_with_kernel(namespace: &Namespace, address: &str) -> Self {
        Self::start_by(Means::All, namespace, address)
    }

    /// The same, by these means.
    pub(crate) fn start_by(means: Means, namespace: &Namespace, address: &str) -> Self {
        let mut end = namespace.enter(|| Self::start_engines(address, Some(means), false));
        end.place = Some(Namespace(namespace.0.try_clone().unwrap()));
        assert_eq!(end.engines.without_kernel(), None);
        end
    }

    #[cfg(feature = "ebpf")]
    /// Starts `tun` in a namespace, with programs in the kernel.
    pub(crate) fn start_with_ebpf(namespace: &Namespace, address: &str) -> Self {
        namespace.enter(|| Self::start_with_programs_here(address))
    }

    #[cfg(feature = "ebpf")]
    /// Starts `tun` in the namespace of this thread, with its privileges, and with programs in the kernel if those are enough.
    pub(crate) fn start_with_programs_here(address: &str) -> Self {
        Self::start_engines(address, None, true)
    }

    #[cfg(feature = "ebpf")]
    /// Starts the same, with a shared device of this name: one of several in the namespace.
    pub(crate) fn start_one_of_several(namespace: &Namespace, address: &str, device: &str) -> Self {
        namespace.enter(|| Self::start_with_device(address, device, None, true))
    }

    fn start_engines(address: &str, kernel: Option<Means>, ebpf: bool) -> Self {
        Self::start_with_device(address, "l2tp0", kernel, ebpf)
    }

    fn start_with_device(address: &str, device: &str, kernel: Option<Means>, ebpf: bool) -> Self {
        let address = address.parse().unwrap();
        let socket = bind(|| Socket::bind(address));
        let config = TunConfig {
            shared_device: device.to_owned(),
            path_interval: Duration::from_millis(100),
            ..TunConfig::default()
        };
        let (sender, events) = channel();
        let recorder = Arc::new(Recorder(Mutex::new(sender)));
        let sink = Arc::clone(&recorder) as Arc<dyn EventSink>;
        let sockets = vec![Arc::clone(&socket)];
        let ebpf = match ebpf {
            true => datapath::ebpf::load().map_err(Some),
            false => Err(None),
        };
        let engines = Auto::start(config, kernel, ebpf, sockets, sink).unwrap();
        Self {
            engines,
            place: None,
            socket,
            recorder,
            events,
            tokens: 0,
            meanwhile: VecDeque::new(),
            carriers: Vec::new(),
        }
    }

    pub(crate) fn engines(&self) -> &Auto {
        &self.engines
    }

    /// Who carried this session when it was made.
    pub(crate) fn carrier(&self, handle: u64) -> Engine {
        let made = self.carriers.iter().rev();
        made.clone().find(|(h, _)| *h == Handle(handle)).unwrap().1
    }

    pub(crate) fn submit(&mut self, request: Request) {
        let engines = &mut self.engines;
        match &self.place {
            Some(place) => place.enter(|| engines.submit(&mut vec![request])),
            None => engines.submit(&mut vec![request]),
        }
    }

    /// Submits requests while whoever has an answer to give waits with it: the thread that does what is slow has all of them before it
    /// is through with the first. Returns what they ask for in the order in which it is done.
    pub(crate) fn submit_in_one(
        &mut self,
        asked: usize,
        requests: Vec<Request>,
    ) -> Vec<(Token, Completion)> {
        let recorder = Arc::clone(&self.recorder);
        let held = recorder.0.lock().unwrap();
        for request in requests {
            self.submit(request);
        }
        drop(held);
        let mut done = Vec::new();
        while done.len() < asked {
            match self.events.recv_timeout(PATIENCE).expect("a completion") {
                Event::Completed { token, result } => done.push((token, result.unwrap())),
                other => self.meanwhile.push_back(other),
            }
        }
        done
    }

    /// The next event that is not a completion.
    pub(crate) fn event(&self) -> Event {
        loop {
            match self.events.recv_timeout(PATIENCE).expect("an event") {
                Event::Completed { .. } => {}
                event => return event,
            }
        }
    }

    /// The next event that is not a completion, of those too that came while one was waited for.
    pub(crate) fn any_event(&mut self) -> Event {
        self.meanwhile.pop_front().unwrap_or_else(|| self.event())
    }

    fn ask(&mut self, request: impl FnOnce(Token) -> Request) -> Result<Completion, DatapathError> {
        let asked = self.begin(request);
        self.completed(asked)
    }

    /// Asks for something that is waited for later.
    pub(crate) fn begin(&mut self, request: impl FnOnce(Token) -> Request) -> Token {
        self.tokens += 1;
        let asked = Token(self.tokens);
        self.submit(request(asked));
        asked
    }

    pub(crate) fn completed(&mut self, asked: Token) -> Result<Completion, DatapathError> {
        loop {
            match self.events.recv_timeout(PATIENCE).expect("a completion") {
                Event::Completed { token, result } if token == asked => return result,
                other => {
                    eprintln!("meanwhile: {other:?}");
                    self.meanwhile.push_back(other);
                }
            }
        }
    }

    pub(crate) fn create(&mut self, handle: u64, spec: SessionSpec) -> Result<(), DatapathError> {
        let handle = Handle(handle);
        let completion = self.ask(|token| Request::Create {
            token,
            handle,
            spec,
        })?;
        let Completion::Created(engine) = completion else {
            panic!("{completion:?}");
        };
        self.carriers.push((handle, engine));
        Ok(())
    }

    /// Returns the device's name.
    pub(crate) fn configure(
        &mut self,
        handle: u64,
        network: NetworkSpec,
    ) -> Result<String, DatapathError> {
        let handle = Handle(handle);
        match self.ask(|token| Request::Configure {
            token,
            handle,
            network,
        })? {
            Completion::Device(name) => Ok(name),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn remove(&mut self, handle: u64) -> Result<Stats, DatapathError> {
        let handle = Handle(handle);
        match self.ask(|token| Request::Remove { token, handle })? {
            Completion::Stats(stats) => Ok(stats),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn join(&mut self, handle: u64, with: u64) -> Result<(), DatapathError> {
        let (handle, with) = (Handle(handle), Handle(with));
        let completion = self.ask(|token| Request::Join {
            token,
            handle,
            with,
        })?;
        assert_eq!(completion, Completion::Joined);
        Ok(())
    }

    pub(crate) fn stats(&mut self, handle: u64) -> Stats {
        let handle = Handle(handle);
        match self.ask(|token| Request::Stats { token, handle }) {
            Ok(Completion::Stats(stats)) => stats,
            other => panic!("{other:?}"),
        }
    }
}

/// Session 1 between two ends on an engine, with these networks, changed: on shared devices, or with the kernel's on devices of its own.
pub(crate) fn both_ends(
    bed: &Bed,
    choice: Choice,
    [lns_side, lac_side]: [NetworkSpec; 2],
    change: impl Fn(&mut SessionSpec),
) -> (End, End) {
    let start = |place: &Namespace, lns: bool, network: NetworkSpec| {
        let (local, remote) = if lns { (LNS, LAC) } else { (LAC, LNS) };
        let (mut end, device) = match choice {
            Choice::Kernel => (End::start_with_kernel(place, local), own()),
            #[cfg(feature = "ebpf")]
            Choice::Ebpf => (End::start_with_ebpf(place, local), Device::Shared),
            _ => (End::start(place, local), Device::Shared),
        };
        let mut spec = session(1, lns, local, remote, device);
        spec.choice = choice;
        change(&mut spec);
        end.create(1, spec).unwrap();
        end.configure(1, network).unwrap();
        let moved = Event::Moved {
            handle: Handle(1),
            engine: Engine::Ebpf,
        };
        while choice == Choice::Ebpf && end.any_event() != moved {}
        end
    };
    (
        start(&bed.lns, true, lns_side),
        start(&bed.lac, false, lac_side),
    )
}

pub(crate) fn own() -> Device {
    Device::Own { name: None }
}

/// A session whose ids are 100 + `number` at the LNS and 200 + `number` at the LAC, from one end.
pub(crate) fn session(
    number: u16,
    lns: bool,
    local: &str,
    remote: &str,
    device: Device,
) -> SessionSpec {
    let ids = |base: u16| Ids {
        tunnel: base,
        session: base + number,
    };
    let (local_ids, peer_ids) = if lns {
        (ids(100), ids(200))
    } else {
        (ids(200), ids(100))
    };
    SessionSpec {
        transport: Transport {
            listener: None,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        },
        encapsulation: Encapsulation::V2 {
            local: local_ids,
            peer: peer_ids,
            sequencing: Sequencing::AsPeer,
            reorder_timeout: Duration::ZERO,
        },
        outer: Outer::default(),
        device,
        choice: Choice::Auto,
        mppe: Vec::new(),
        lent: false,
    }
}

/// A session with these sequence numbers, which waits so long for what is missing.
pub(crate) fn sequenced(mut spec: SessionSpec, with: Sequencing, wait: Duration) -> SessionSpec {
    let Encapsulation::V2 {
        sequencing,
        reorder_timeout,
        ..
    } = &mut spec.encapsulation
    else {
        panic!("{spec:?}")
    };
    (*sequencing, *reorder_timeout) = (with, wait);
    spec
}

/// The networks of both ends, the LNS's first: IPv4 and IPv6.
pub(crate) fn dual_stack() -> [NetworkSpec; 2] {
    [("1", "2"), ("2", "1")].map(|(own, other)| {
        let address = |prefix: &str, host: &str| format!("{prefix}{host}");
        let mut network = network(&address("10.0.0.", own), &address("10.0.0.", other));
        network.ipv6 = ipv6(&address("fe80::", own), &address("fe80::", other));
        network
    })
}

pub(crate) fn network(local: &str, peer: &str) -> NetworkSpec {
    NetworkSpec {
        ipv4: Some(Ipv4Link {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
        }),
        ipv6: None,
        mtu: 1400,
        framing: Framing::default(),
        routes: Vec::new(),
        encryption: None,
        proxy_arp: false,
    }
}

pub(crate) fn ipv6(local: &str, peer: &str) -> Option<Ipv6Link> {
    Some(Ipv6Link {
        local: local.parse().unwrap(),
        peer: peer.parse().unwrap(),
    })
}

/// The Internet checksum's sum of some octets (RFC 1071): 0xffff where they have a right one in them.
pub(crate) fn sum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let sum: u32 = octets.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

/// A UDP packet of IPv6 with its checksum, as a host behind the peer would send it.
pub(crate) fn ipv6_udp(source: &str, destination: &str, port: u16, payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u16;
    let octets = |address: &str| address.parse::<Ipv6Addr>().unwrap().octets();
    let addresses = [octets(source), octets(destination)].concat();
    let ports = [4000_u16.to_be_bytes(), port.to_be_bytes()].concat();
    let len = len.to_be_bytes();
    let datagram = |checksum: u16| [&ports, &len[..], &checksum.to_be_bytes(), payload].concat();
    let covered = [&addresses, &[0, 17][..], &len, &datagram(0)].concat();
    let checksum = match !sum(&covered) {
        0 => 0xffff,
        other => other,
    };
    let head = [&[0x60, 0, 0, 0], &len[..], &[17, 64], &addresses].concat();
    [head, datagram(checksum)].concat()
}

/// A UDP packet of IPv4 without checksum, as a host behind the peer would send it.
pub(crate) fn ipv4_udp(source: &str, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(ip) => panic!("{ip}"),
    };
    let udp_len = 8 + payload.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp_len).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(octets(source.parse().unwrap()));
    packet.extend(octets(destination.ip()));
    let checksum = !sum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(4000u16.to_be_bytes());
    packet.extend(destination.port().to_be_bytes());
    packet.extend(udp_len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}
