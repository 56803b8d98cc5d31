//! TUN devices: the network interfaces that packets of sessions come from and go to.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{IntegerSetter, Updater, ioctl, opcode};
use rustix::net::{AddressFamily, SocketType, netdevice};

use crate::netlink::Netlink;
use crate::{DatapathError, Stats};

/// The longest name of a network interface, in octets.
pub const NAME_MAX: usize = 15;

/// Lets the kernel put the lowest free number in place of `%d`.
const ANY_PPP: &str = "ppp%d";

const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

/// `TUNSETIFF` of `linux/if_tun.h`; its argument is a pointer to an `ifreq`, whatever the size in its number says.
const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);

/// `TUNSETOFFLOAD`; its argument is the flags.
const TUNSETOFFLOAD: rustix::ioctl::Opcode = opcode::write::<u32>(b'T', 208);

/// `TUN_F_CSUM`, `TUN_F_TSO4`, `TUN_F_TSO6`, `TUN_F_TSO_ECN`: checksums that are not made, TCP that is not segmented.
const LARGE_TCP: usize = 0x01 | 0x02 | 0x04 | 0x08;
/// `TUN_F_USO4`, `TUN_F_USO6` (Linux 6.2): UDP that is not segmented.
const LARGE_UDP: usize = 0x20 | 0x40;

/// `struct ifreq` of `linux/if.h`, as far as `TUNSETIFF` uses it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_MAX + 1],
    flags: u16,
    rest_of_union: [u8; 22],
}

/// A network interface of ours.
pub trait Interface {
    /// Its name.
    fn name(&self) -> &str;

    /// Its index.
    fn index(&self) -> u32;

    /// How many packets it is to hold for us while we do something else, where that is to be said.
    fn queue(&self) -> Option<u32> {
        None
    }

    /// What its session has carried, where the kernel counts it; `so_far` is the rest.
    fn stats(&self, netlink: &Netlink, so_far: Stats) -> Stats {
        let _ = netlink;
        so_far
    }
}

/// A TUN device that lives as long as this does.
#[derive(Debug)]
pub struct TunDevice {
    queue: OwnedFd,
    name: String,
    index: u32,
    large_tcp: bool,
    large_udp: bool,
}

impl TunDevice {
    /// Makes a device of this name, where `%d` at its end stands for the lowest free number; without one `pppN`. It is down and has no address.
    pub fn create(name: Option<&str>) -> Result<Self, DatapathError> {
        if let Some(name) = name {
            check_name(name)?;
        }
        let queue = open_clone_device().map_err(|e| failed("open /dev/net/tun", &e))?;
        let template = name.unwrap_or(ANY_PPP);
        let what = || format!("create device {}", name.unwrap_or("pppN"));
        let name = attach(&queue, template).map_err(|e| failed(&what(), &e))?;
        let index = index_of(&name).map_err(|e| failed(&what(), &e))?;
        let large_udp = offload(&queue, LARGE_TCP | LARGE_UDP);
        let large_tcp = large_udp || offload(&queue, LARGE_TCP);
        if !large_tcp {
            tracing::debug!("{name} takes only packets that fit it");
        }
        Ok(Self {
            queue,
            name,
            index,
            large_tcp,
            large_udp,
        })
    }

    /// Takes one IP packet that the host sent into the device, behind its header (`struct virtio_net_hdr`, 10 octets): up to 65,545 octets;
    /// `WouldBlock` when there is none.
    pub fn read(&self, packet: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.queue, packet)?)
    }

    /// Gives one IP packet to the host.
    pub fn write(&self, header: &[u8], packet: &[u8]) -> io::Result<()> {
        rustix::io::writev(&self.queue, &[IoSlice::new(header), IoSlice::new(packet)])?;
        Ok(())
    }

    /// Whether the host gives segments of TCP in one packet.
    pub fn takes_large_tcp(&self) -> bool {
        self.large_tcp
    }

    /// Whether the host takes UDP datagrams of a flow in one packet, as it always takes TCP's.
    pub fn takes_large_udp(&self) -> bool {
        self.large_udp
    }
}

impl Interface for TunDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn index(&self) -> u32 {
        self.index
    }

    /// Of the smallest, what comes in some milliseconds, for which a scheduler lets others run where all processors are busy.
    fn queue(&self) -> Option<u32> {
        Some(4000)
    }
}

impl AsFd for TunDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

fn open_clone_device() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::open("/dev/net/tun", flags, Mode::empty())?)
}

/// Makes the device and returns its name.
fn attach(queue: &OwnedFd, template: &str) -> io::Result<String> {
    let mut request = InterfaceRequest {
        name: [0; NAME_MAX + 1],
        flags: IFF_TUN | IFF_NO_PI | IFF_VNET_HDR,
        rest_of_union: [0; 22],
    };
    request.name[..template.len()].copy_from_slice(template.as_bytes());
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `InterfaceRequest` is in size and layout.
    unsafe { ioctl(queue, Updater::<TUNSETIFF, _>::new(&mut request)) }?;
    let name = request.name.split(|&octet| octet == 0).next();
    Ok(String::from_utf8_lossy(name.unwrap_or_default()).into_owned())
}

/// Lets the host give and take what is larger than a link; says whether it does.
fn offload(queue: &OwnedFd, what: usize) -> bool {
    // SAFETY: TUNSETOFFLOAD takes a number and touches no memory of ours.
    unsafe { ioctl(queue, IntegerSetter::<TUNSETOFFLOAD>::new_usize(what)) }.is_ok()
}

pub(crate) fn index_of(name: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(netdevice::name_to_index(socket, name)?)
}

/// What the kernel would refuse with a bare "invalid argument", and a `%` other than that of a template's end.
pub(crate) fn check_name(name: &str) -> Result<(), DatapathError> {
    let legal = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':' | '%');
    let chosen = name.strip_suffix("%d").unwrap_or(name);
    let reason = if chosen.is_empty() || name.len() > NAME_MAX {
        format!("its name must have 1 to {NAME_MAX} octets")
    } else if matches!(name, "." | "..") || !chosen.chars().all(legal) {
        "its name has a character that no interface's name can have".to_owned()
    } else {
        return Ok(());
    };
    Err(DatapathError::System {
        what: format!("create device {name}"),
        reason,
    })
}

fn failed(what: &str, error: &io::Error) -> DatapathError {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => {
            "this kernel has no TUN driver, or the container does not show it".to_owned()
        }
        io::ErrorKind::ResourceBusy => "a device of this name exists".to_owned(),
        _ => return DatapathError::system(what, error),
    };
    DatapathError::System {
        what: what.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_names_are_refused_with_a_reason() {
        for name in [
            "",
            "%d",
            "sixteen-octets-x",
            "a b",
            "a/b",
            "p%dp",
            "ppp%s",
            "ppp%d%d",
            "..",
            "a:b",
        ] {
            let error = TunDevice::create(Some(name)).unwrap_err();
            assert!(error.to_string().contains("its name"), "{error}");
        }
        assert_eq!(check_name("fifteen-octets-"), Ok(()));
    }

    #[test]
    fn a_request_is_as_large_as_the_kernels() {
        assert_eq!(size_of::<InterfaceRequest>(), 40);
    }
}
