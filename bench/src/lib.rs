//! Whole-program benchmarks, each printing one JSON line. `cargo xtask bench NAME` runs them.

pub mod daemon;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use api::{Range, Response, Selector, SessionFilter};
use config::Model;
use engine::Command;
use sim::{NodeId, Quality, World};
use wire::Writer;
use wire::l2tp::{Attribute, Avps, ControlHeader, FramingTypes, Header, MessageType};

/// The LNS of both session benchmarks: CHAP, a pool, nobody's limit in the way.
const LNS: &str = "
    ppp profile modify profile_name=default auth_pap=no auth_mschapv2=no ip_pool_name=pool
    ip_pool create pool_name=pool range=10.0.0.1-10.3.255.254
    user create user_name=u password=pw
";

/// Windows as they are between machines that mean business.
const WINDOWS: &str =
    "tunnel profile modify profile_name=default rx_window_size=64 tx_window_size=64\n";

/// A LAC and an LNS in one process, with sessions between them.
pub struct Pair {
    /// Both, and the network that loses nothing and takes no time.
    pub world: World,
    /// The client.
    pub lac: NodeId,
    /// The server.
    pub lns: NodeId,
}

impl Pair {
    /// A LAC with `tunnels` established tunnels to an LNS, and no session.
    pub fn new(tunnels: usize) -> Result<Self> {
        let load = |text: &str| match Model::load("bench", text) {
            Ok(loaded) => Ok(loaded.model),
            Err(diagnostics) => Err(anyhow::anyhow!("{}", diagnostics[0])),
        };
        let quality = Quality {
            delay: Duration::ZERO,
            ..Quality::PERFECT
        };
        let mut world = World::new(1, quality);
        let line = |i| format!("tunnel create tunnel_name=t{i} dest_ipaddr=192.0.2.2\n");
        let client = load(&(WINDOWS.to_owned() + &(0..tunnels).map(line).collect::<String>()))?;
        let wanted = client.tunnels.clone();
        let lac = world.add(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), Arc::new(client));
        let lns = world.add(
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
            Arc::new(load(&(WINDOWS.to_owned() + LNS))?),
        );
        let mut pair = Self { world, lac, lns };
        for tunnel in wanted {
            pair.ask(pair.lac, Command::TunnelCreate(Box::new(tunnel)))?;
        }
        pair.world.run_for(Duration::from_secs(5));
        Ok(pair)
    }

    /// Asks the LAC for `sessions` more, spread over its tunnels, and runs until they carry traffic at both ends.
    pub fn open(&mut self, tunnels: usize, sessions: usize) -> Result<()> {
        let before = self.established(self.lns)?;
        for i in 0..sessions {
            let session = config::Session {
                tunnel_name: Some(format!("t{}", i % tunnels)),
                params: config::SessionParams {
                    user_name: Some("u".to_owned()),
                    user_password: Some("pw".into()),
                    ..Default::default()
                },
                ..Default::default()
            };
            self.ask(self.lac, Command::SessionCreate(Box::new(session)))?;
        }
        let all = before + sessions;
        let mut worlds_end = 0;
        while self.established(self.lns)? < all || self.established(self.lac)? < all {
            self.world.run_for(Duration::from_millis(100));
            worlds_end += 1;
            if worlds_end > 6_000 {
                bail!(
                    "only {} of {all} sessions came up",
                    self.established(self.lns)?
                );
            }
        }
        Ok(())
    }

    /// How many sessions of a node carry traffic.
    pub fn established(&mut self, node: NodeId) -> Result<usize> {
        match self.ask(node, Command::SystemShow)? {
            Response::System(status) => Ok(status.sessions_established as usize),
            other => bail!("not a system status: {other:?}"),
        }
    }

    /// Asks a node something that it answers at once.
    pub fn ask(&mut self, node: NodeId, command: Command) -> Result<Response> {
        let answer = self.world.command(node, command).context("no answer")?;
        answer.map_err(anyhow::Error::from)
    }

    /// Whether a session of the first tunnel is still there: what a benchmark measured must be alive.
    pub fn check_one(&mut self) -> Result<()> {
        let list = Command::SessionList(SessionFilter::default(), Range::default());
        let Response::Sessions(page) = self.ask(self.lac, list)? else {
            bail!("not a list")
        };
        let id = page
            .items
            .first()
            .and_then(|s| Some((s.tunnel_id?, s.session_id?)))
            .context("no session")?;
        let show = Command::SessionShow(Selector::Id(id.0), Selector::Id(id.1));
        self.ask(self.lac, show).map(|_| ())
    }
}

/// Runs `f` and tells how long it took on the clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark is where the clock is read"
)]
pub fn timed<T>(f: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = f();
    (start.elapsed(), result)
}

/// The median of some readings.
pub fn median(readings: &mut [f64]) -> f64 {
    readings.sort_by(f64::total_cmp);
    readings[readings.len() / 2]
}

/// The reading that so many in a hundred are not above.
pub fn percentile(readings: &mut [f64], percent: usize) -> f64 {
    readings.sort_by(f64::total_cmp);
    readings[(readings.len() * percent).div_ceil(100).max(1) - 1]
}

/// The file of a LAC whose tunnels go to an LNS on this port of 127.0.0.1, from 127.0.0.2, so many sessions on each: by the user that a tunnel of
/// this number has, whose password is `pw`.
pub fn lac(port: u16, tunnels: usize, sessions: usize, user: impl Fn(usize) -> String) -> String {
    let tunnel = |t| {
        let user = user(t);
        let session =
            format!("session create tunnel_name=t{t} user_name={user} user_password=pw\n");
        format!(
            "tunnel create tunnel_name=t{t} dest_ipaddr=127.0.0.1 peer_udp_port={port} src_ipaddr=127.0.0.2 persist=yes\n{}",
            session.repeat(sessions)
        )
    };
    (0..tunnels).map(tunnel).collect()
}

/// The time that is so far from now.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark is where the clock is read"
)]
pub fn after(duration: Duration) -> Instant {
    Instant::now() + duration
}

/// How long it is until then, if it is not past.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark is where the clock is read"
)]
pub fn until(then: Instant) -> Option<Duration> {
    then.checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
}

/// Lets some time pass.
#[expect(
    clippy::disallowed_methods,
    reason = "a daemon of its own is watched from outside"
)]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// A control message.
fn message(header: ControlHeader, attributes: &[Attribute<'_>]) -> Result<Vec<u8>> {
    let mut body = [0; 512];
    let mut w = Writer::new(&mut body);
    for attribute in attributes {
        attribute.encode(&mut w)?;
    }
    let mut out = [0; 512];
    let mut o = Writer::new(&mut out);
    header.encode(w.len(), &mut o)?;
    o.bytes(w.written())?;
    Ok(o.written().to_vec())
}

/// An SCCRQ: with what it must have, or with what daemons usually say as well.
pub fn sccrq(id: u16, host_name: &[u8], usual: bool) -> Result<Vec<u8>> {
    let mut attributes = vec![
        Attribute::MessageType(MessageType::SCCRQ),
        Attribute::ProtocolVersion(1, 0),
        Attribute::FramingCapabilities(FramingTypes::all()),
        Attribute::HostName(host_name),
        Attribute::AssignedTunnelId(id),
    ];
    if usual {
        attributes.push(Attribute::ReceiveWindowSize(4));
        attributes.push(Attribute::FirmwareRevision(0x690));
        attributes.push(Attribute::VendorName(b"bench"));
    }
    message(header(0, 0, 0), &attributes)
}

fn header(tunnel_id: u16, ns: u16, nr: u16) -> ControlHeader {
    ControlHeader {
        tunnel_id,
        session_id: 0,
        ns,
        nr,
    }
}

/// Sends a message until there is an answer, as often as its time-out says; how many octets that has.
fn ask(socket: &UdpSocket, message: &[u8], answer: &mut [u8]) -> Result<usize> {
    for _ in 0..5 {
        socket.send(message)?;
        if let Ok(received) = socket.recv(answer) {
            return Ok(received);
        }
    }
    bail!("no answer")
}

/// Opens a tunnel with whoever `socket` is connected to, and returns when that has acknowledged it; its Tunnel ID.
pub fn open_tunnel(socket: &UdpSocket, id: u16) -> Result<u16> {
    let mut buffer = [0; 2048];
    let request = sccrq(id, b"lac.example.net", true)?;
    let received = ask(socket, &request, &mut buffer).context("SCCRQ")?;
    let Ok((Header::Control(_), avps)) = Header::decode(&buffer[..received]) else {
        bail!("no control message");
    };
    let assigned =
        |avp: wire::l2tp::Avp<'_>| match Attribute::decode(avp.attribute_type()?, avp.value) {
            Ok(Some(Attribute::AssignedTunnelId(id))) => Some(id),
            _ => None,
        };
    let tunnel = Avps::new(avps).flatten().find_map(assigned);
    let tunnel = tunnel.context("no Assigned Tunnel ID")?;
    let connected = [Attribute::MessageType(MessageType::SCCCN)];
    let connected = message(header(tunnel, 1, 1), &connected)?;
    ask(socket, &connected, &mut buffer).context("SCCCN")?;
    Ok(tunnel)
}

/// A tunnel whose peer says again and again that it has a message. It says so at once of one that it had before, where a new one's acknowledgement waits
/// for more to go with it (RFC 2661 section 5.8).
pub struct Probe {
    socket: UdpSocket,
    hello: Vec<u8>,
}

impl Probe {
    /// Opens one from this address.
    pub fn open(from: &str, to: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(from)?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let tunnel = open_tunnel(&socket, 1)?;
        let hello = [Attribute::MessageType(MessageType::HELLO)];
        let hello = message(header(tunnel, 2, 1), &hello)?;
        let probe = Self { socket, hello };
        probe.ask()?;
        Ok(probe)
    }

    /// Sends the same Hello again; how long until it is acknowledged.
    pub fn ask(&self) -> Result<Duration> {
        let (took, answered) = timed(|| ask(&self.socket, &self.hello, &mut [0; 2048]));
        answered.map(|_| took).context("Hello")
    }
}
