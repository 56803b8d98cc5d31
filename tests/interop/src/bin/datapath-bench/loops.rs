//! Two loops that everybody could write: that which everybody writes first, and one that does nothing but what no engine in user space can be without.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use datapath::device::TunDevice;
use interop::netns::{self, Bed, Namespace};
use interop::{INNER_LAC, INNER_LNS};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What an L2TP data message and PPP have before an IPv4 packet, with ids of 1.
const BEFORE: [u8; 10] = [0, 2, 0, 1, 0, 1, 0xff, 3, 0, 0x21];
/// What a device has before a packet.
const DEVICE: usize = 10;
/// What is larger has no room in a datagram, with what is before it.
const LARGEST: u16 = 60_000;
/// Octets of the datagrams that the kernel would cut a large one into.
const SEGMENT: i32 = 1400;
/// Packets that are looked for at one end before the other has its turn.
const TURN: usize = 16;

/// What the ends do with a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loop {
    /// A call to read it and one to write it, with an L2TP header before it.
    Naive,
    /// The same with what is 60,000 octets and has no checksum yet, which the kernel cuts and merges on the way: nothing is added, and of what comes no more is
    /// looked at than where it ends.
    Copies,
}

/// Both ends, which stop when this is dropped.
pub(crate) struct Ends {
    over: Arc<AtomicBool>,
    ends: Vec<JoinHandle<()>>,
}

impl Ends {
    pub(crate) fn start(bed: &Bed, what: Loop) -> Result<Self> {
        let mut this = Self {
            over: Arc::default(),
            ends: Vec::new(),
        };
        let ends = [
            (&bed.lac, netns::LNS, INNER_LAC, INNER_LNS),
            (&bed.lns, netns::LAC, INNER_LNS, INNER_LAC),
        ];
        for (namespace, remote, inner, peer) in ends {
            let (device, socket) = namespace.enter(|| {
                let device = TunDevice::create(Some("loop0"))?;
                let socket = UdpSocket::bind(("0.0.0.0", 1701))?;
                socket.connect((remote, 1701))?;
                Ok((device, socket))
            })?;
            let room = match what {
                Loop::Naive => {
                    plain(namespace)?;
                    String::new()
                }
                Loop::Copies => {
                    large(&socket)?;
                    format!("gso_max_size {LARGEST} txqueuelen 4000")
                }
            };
            namespace.ip(&format!(
                "link set loop0 mtu 1400 {room} up\naddress add {inner} peer {peer} dev loop0\n"
            ))?;
            let over = Arc::clone(&this.over);
            this.ends
                .push(thread::spawn(move || carry(what, &device, &socket, &over)));
        }
        Ok(this)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for end in self.ends.drain(..) {
            let _ = end.join();
        }
    }
}

/// No packet is larger than the device, and none without its checksum.
fn plain(namespace: &Namespace) -> Result<()> {
    let status = namespace.enter(|| {
        let mut ethtool = Command::new("ethtool");
        ethtool.args([
            "-K", "loop0", "tx", "off", "sg", "off", "tso", "off", "gso", "off",
        ]);
        ethtool
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        ethtool.status().context("cannot run ethtool")
    })?;
    ensure!(status.success(), "ethtool -K loop0: {status}");
    Ok(())
}

/// What is larger than a frame leaves in one piece, and comes so.
fn large(socket: &UdpSocket) -> Result<()> {
    socket.set_nonblocking(true)?;
    setsockopt(&socket.as_fd(), sockopt::UdpGsoSegment, &SEGMENT)?;
    setsockopt(&socket.as_fd(), sockopt::UdpGroSegment, &true)?;
    let room = 4 << 20;
    setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &room)?;
    setsockopt(&socket.as_fd(), sockopt::SndBufForce, &room)?;
    Ok(())
}

fn carry(what: Loop, device: &TunDevice, socket: &UdpSocket, over: &AtomicBool) {
    let mut room = vec![0; 1 << 16];
    let mut stream = Stream::default();
    let timeout = Timespec::try_from(Duration::from_millis(100)).ok();
    let turn = if what == Loop::Naive { 1 } else { TURN };
    while !over.load(Ordering::Relaxed) {
        let mut ready = [
            PollFd::new(device, PollFlags::IN),
            PollFd::new(socket, PollFlags::IN),
        ];
        if poll(&mut ready, timeout.as_ref()).is_err() {
            continue;
        }
        let [outward, inward] = ready.map(|fd| fd.revents().contains(PollFlags::IN));
        for _ in 0..if outward { turn } else { 0 } {
            let Ok(len) = device.read(&mut room) else {
                break;
            };
            // The header of the device and ours happen to be of one length.
            if what == Loop::Naive {
                room[..DEVICE].copy_from_slice(&BEFORE);
            }
            let _ = socket.send(&room[..len]);
        }
        for _ in 0..if inward { turn } else { 0 } {
            let taken = match what {
                Loop::Naive => socket.recv(&mut room).map(|len| {
                    let packet = room[..len].get(DEVICE..).unwrap_or_default();
                    let _ = device.write(&[0; DEVICE], packet);
                }),
                Loop::Copies => stream.take(socket, device),
            };
            if taken.is_err() {
                break;
            }
        }
    }
}

/// What has come and is not handed on: packets of IPv4, each behind what a device has before it, one after the other.
struct Stream {
    octets: Vec<u8>,
    len: usize,
}

impl Default for Stream {
    fn default() -> Self {
        let octets = vec![0; 1 << 17];
        Self { octets, len: 0 }
    }
}

impl Stream {
    fn take(&mut self, socket: &UdpSocket, device: &TunDevice) -> io::Result<()> {
        if self.len > self.octets.len() / 2 {
            self.len = 0;
        }
        self.len += socket.recv(&mut self.octets[self.len..])?;
        let mut at = 0;
        while let Some(head) = self.octets[at..self.len].get(..DEVICE + 4) {
            let end =
                at + DEVICE + usize::from(u16::from_be_bytes([head[DEVICE + 2], head[DEVICE + 3]]));
            if head[DEVICE] != 0x45 {
                // Something was lost, or is no packet of IPv4.
                at = self.len;
            } else if end <= self.len {
                let (before, packet) = self.octets[at..end].split_at(DEVICE);
                let _ = device.write(before, packet);
                at = end.max(at + DEVICE + 4);
            } else {
                break;
            }
        }
        self.octets.copy_within(at..self.len, 0);
        self.len -= at;
        Ok(())
    }
}
