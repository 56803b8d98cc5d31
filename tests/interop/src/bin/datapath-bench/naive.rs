//! The loop that everybody writes first: a call for each packet to read it, and one to write it.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use datapath::device::TunDevice;
use interop::netns::{self, Bed, Namespace};
use interop::{INNER_LAC, INNER_LNS};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What an L2TP data message and PPP have before an IPv4 packet, with ids of 1.
const BEFORE: [u8; 10] = [0, 2, 0, 1, 0, 1, 0xff, 3, 0, 0x21];
/// What a device has before a packet.
const DEVICE: usize = 10;

/// Both ends, which stop when this is dropped.
pub(crate) struct Naive {
    over: Arc<AtomicBool>,
    ends: Vec<JoinHandle<()>>,
}

impl Naive {
    pub(crate) fn start(bed: &Bed) -> Result<Self> {
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
                let device = TunDevice::create(Some("naive0"))?;
                let socket = UdpSocket::bind(("0.0.0.0", 1701))?;
                socket.connect((remote, 1701))?;
                Ok((device, socket))
            })?;
            plain(namespace)?;
            namespace.ip(&format!(
                "link set naive0 mtu 1400 up\naddress add {inner} peer {peer} dev naive0\n"
            ))?;
            let over = Arc::clone(&this.over);
            this.ends
                .push(thread::spawn(move || carry(&device, &socket, &over)));
        }
        Ok(this)
    }
}

impl Drop for Naive {
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
        let mut ethtool = std::process::Command::new("ethtool");
        ethtool.args([
            "-K", "naive0", "tx", "off", "sg", "off", "tso", "off", "gso", "off",
        ]);
        ethtool
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        ethtool.status().context("cannot run ethtool")
    })?;
    ensure!(status.success(), "ethtool -K naive0: {status}");
    Ok(())
}

fn carry(device: &TunDevice, socket: &UdpSocket, over: &AtomicBool) {
    let mut room = [0; 2048];
    let timeout = Timespec::try_from(Duration::from_millis(100)).ok();
    while !over.load(Ordering::Relaxed) {
        let mut ready = [
            PollFd::new(device, PollFlags::IN),
            PollFd::new(socket, PollFlags::IN),
        ];
        if poll(&mut ready, timeout.as_ref()).is_err() {
            continue;
        }
        let [outward, inward] = ready.map(|fd| fd.revents().contains(PollFlags::IN));
        // The header of the device and ours happen to be of one length.
        if outward && let Ok(len) = device.read(&mut room) {
            room[..DEVICE].copy_from_slice(&BEFORE);
            let _ = socket.send(&room[..len]);
        }
        if inward
            && let Ok(len) = socket.recv(&mut room)
            && len > DEVICE
        {
            let _ = device.write(&[0; DEVICE], &room[DEVICE..len]);
        }
    }
}
