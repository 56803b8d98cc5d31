//! What the network says of datagrams of ours that did not arrive: ICMP errors, from the sockets' error queues.

use std::io::IoSliceMut;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

/// Octets of control messages with one error: the error, who reported it, and what the receiving socket asked for besides.
const CONTROL: usize = 512;
/// Errors taken from one socket at a time.
const BATCH: usize = 32;

/// One datagram that did not arrive.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// Where it was to go.
    pub(crate) remote: SocketAddr,
    /// Why it did not.
    pub(crate) error: nix::Error,
}

impl Complaint {
    /// Whether it was too large for its path.
    pub(crate) fn is_about_size(&self) -> bool {
        self.error == nix::Error::EMSGSIZE
    }
}

/// Takes the errors that wait at a socket, as many as are taken at a time.
pub(super) fn take(socket: &UdpSocket) -> impl Iterator<Item = Complaint> {
    let mut control = vec![0; CONTROL];
    (0..BATCH)
        .map_while(move |_| take_one(socket, &mut control))
        .flatten()
}

/// The next error, if one waits; in it nothing when it can't be read.
fn take_one(socket: &UdpSocket, control: &mut [u8]) -> Option<Option<Complaint>> {
    let mut octet = [0];
    let mut slices = [IoSliceMut::new(&mut octet)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let fd = socket.as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(control), flags).ok()?;
    let errno = message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => {
            i32::try_from(error.ee_errno).ok()
        }
        _ => None,
    });
    let complaint = || {
        Some(Complaint {
            remote: address(message.address.as_ref()?)?,
            error: nix::Error::from_raw(errno?),
        })
    };
    Some(complaint())
}

fn address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address
        .as_sockaddr_in()
        .map(|ip| SocketAddrV4::from(*ip).into());
    v4.or_else(|| {
        address
            .as_sockaddr_in6()
            .map(|ip| SocketAddrV6::from(*ip).into())
    })
}
