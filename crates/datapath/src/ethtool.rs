//! Offloads of devices (`linux/ethtool.h`).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `linux/sockios.h`.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGRO: u32 = 0x2c;

/// `struct ifreq` of `linux/if.h` with a pointer in it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    value: *mut [u32; 2],
    rest_of_union: [u8; 16],
}

/// Whether a device makes the checksums of what is sent into it, or says so; the kernel does where it does not. One of which it is not
/// known may.
pub(crate) fn makes_checksums(device: &str) -> bool {
    !ask(device, ETHTOOL_GTXCSUM, 0).is_ok_and(|on| on == 0)
}

/// Has the kernel cut TCP into segments before a device.
pub(crate) fn segment_no_tcp(device: &str) -> io::Result<()> {
    ask(device, ETHTOOL_STSO, 0).map(drop)
}

/// Has a device merge what it receives (GRO).
pub(crate) fn merge(device: &str) -> io::Result<()> {
    ask(device, ETHTOOL_SGRO, 1).map(drop)
}

/// Says a value of a device, or asks for one: what it is then.
fn ask(device: &str, what: u32, value: u32) -> io::Result<u32> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    let mut value = [what, value];
    let mut request = Request {
        name: [0; 16],
        value: &raw mut value,
        rest_of_union: [0; 16],
    };
    let octets = device.as_bytes();
    request
        .name
        .get_mut(..octets.len())
        .ok_or(io::ErrorKind::InvalidInput)?
        .copy_from_slice(octets);
    // SAFETY: SIOCETHTOOL reads one `ifreq`, and reads and writes through its pointer an `ethtool_value`, which is two words; both live until the call is over.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    match result {
        0 => Ok(value[1]),
        _ => Err(io::Error::last_os_error()),
    }
}
