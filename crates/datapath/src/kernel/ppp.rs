//! The kernel's generic PPP, `/dev/ppp` (`linux/ppp-ioctl.h`): channels, which take and give PPP frames, and units, which are network interfaces.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libc::c_int;
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{NoArg, Opcode, Setter, Updater, ioctl, opcode};

use super::mppe::{self, Negotiation};
use super::session::Session;
use crate::device::{Interface, check_name, index_of};
use crate::netlink::Netlink;
use crate::{DatapathError, NetworkSpec, Stats};

const PPPIOCBRIDGECHAN: Opcode = opcode::write::<c_int>(b't', 53);
const PPPIOCATTCHAN: Opcode = opcode::write::<c_int>(b't', 56);
const PPPIOCCONNECT: Opcode = opcode::write::<c_int>(b't', 58);
const PPPIOCDISCONN: Opcode = opcode::none(b't', 57);
const PPPIOCNEWUNIT: Opcode = opcode::read_write::<c_int>(b't', 62);

/// `SC_COMP_PROT`: the protocol field may be one octet in what we send.
const SC_COMP_PROT: c_int = 1;

/// Whether there can be encryption; the kernel's refusal otherwise. It takes an interface for a moment.
pub(super) fn probe_mppe() -> io::Result<()> {
    let (unit, _) = new_unit()?;
    mppe::set_key(&unit, &[0; 16].into(), true)
}

/// A unit of its own, and its number.
fn new_unit() -> io::Result<(OwnedFd, c_int)> {
    let file = open()?;
    let mut number: c_int = -1;
    // SAFETY: the number's argument is a pointer to one `int`, which is read and written.
    unsafe { ioctl(&file, Updater::<PPPIOCNEWUNIT, _>::new(&mut number)) }?;
    Ok((file, number))
}

/// Whether `/dev/ppp` can be opened; the kernel's refusal otherwise.
pub(super) fn probe() -> io::Result<()> {
    open().map(drop)
}

fn open() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::open("/dev/ppp", flags, Mode::empty())?)
}

/// The way of a session's frames. Without a unit all of them come here, with one those whose protocol is 0xc000 or more (RFC 1661 section 2).
#[derive(Debug)]
pub(super) struct Channel {
    file: OwnedFd,
    number: c_int,
}

impl Channel {
    /// Attaches to the channel of this number.
    pub(super) fn attach(number: c_int) -> io::Result<Self> {
        let file = open()?;
        // SAFETY: the number's argument is a pointer to one `int`.
        unsafe { ioctl(&file, Setter::<PPPIOCATTCHAN, c_int>::new(number)) }?;
        Ok(Self { file, number })
    }

    /// Hands the frames of each of two channels to the other (Linux 5.11), until one of them is gone.
    pub(super) fn bridge(&self, other: &Self) -> io::Result<()> {
        // SAFETY: the number's argument is a pointer to one `int`.
        Ok(unsafe {
            ioctl(
                &self.file,
                Setter::<PPPIOCBRIDGECHAN, c_int>::new(other.number),
            )
        }?)
    }

    /// Joins it with a unit: network-layer packets are the interface's from now on.
    fn connect(&self, unit: c_int) -> io::Result<()> {
        // SAFETY: the number's argument is a pointer to one `int`.
        Ok(unsafe { ioctl(&self.file, Setter::<PPPIOCCONNECT, c_int>::new(unit)) }?)
    }

    /// Takes it off its unit again.
    pub(super) fn disconnect(&self) -> io::Result<()> {
        // SAFETY: it has no argument.
        Ok(unsafe { ioctl(&self.file, NoArg::<PPPIOCDISCONN>::new()) }?)
    }

    /// Takes one frame, from its protocol field on; `WouldBlock` when there is none, no octets when the session is gone.
    pub(super) fn read(&self, frame: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.file, frame)?)
    }

    /// Sends one frame, which begins with a protocol field of two octets.
    pub(super) fn write(&self, frame: &[u8]) -> io::Result<()> {
        rustix::io::write(&self.file, frame)?;
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A network interface that lives as long as this does. What it takes from the peer and is neither IP nor IPv6 (IPCP, CCP, what nobody knows)
/// is read from it.
#[derive(Debug)]
pub(super) struct Unit {
    session: Arc<Session>,
    file: OwnedFd,
    name: String,
    index: u32,
    negotiation: Mutex<Negotiation>,
}

impl Unit {
    /// Makes an interface of this name on a session's channel, where `%d` at its end stands for the lowest free number; without one `pppN`.
    ///
    /// The kernel numbers units by themselves, however many there are: only a name with `%d` has its limit of 32,768.
    pub(super) fn create(
        session: &Arc<Session>,
        name: Option<&str>,
        netlink: &Netlink,
    ) -> Result<Self, DatapathError> {
        if let Some(name) = name {
            check_name(name)?;
        }
        let what = || format!("create device {}", name.unwrap_or("pppN"));
        let failed = |error: io::Error| DatapathError::system(what(), &error);
        let (file, number) = new_unit().map_err(failed)?;
        if !session.spec.mppe.is_empty() {
            mppe::let_pass(&file, [false; 2]).map_err(failed)?;
        }
        let given = format!("ppp{number}");
        let index = index_of(&given).map_err(failed)?;
        let name = match name {
            Some(name) => netlink.rename(index, name)?,
            None => given,
        };
        session.channel.connect(number).map_err(failed)?;
        let _ = session.interface.set(name.clone());
        Ok(Self {
            session: Arc::clone(session),
            file,
            name,
            index,
            negotiation: Mutex::default(),
        })
    }

    /// Whose it is.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// What may be left out of frames, and how packets are encrypted.
    pub(super) fn set_up(&self, network: &NetworkSpec) -> Result<(), DatapathError> {
        let flags = if network.framing.protocol_compression {
            SC_COMP_PROT
        } else {
            0
        };
        let mut negotiation = self.negotiation();
        let mut encrypt = || {
            let set = negotiation.set_up(self.file.as_fd(), network, flags);
            let what = match network.encryption {
                Some(_) => "encrypt by ppp_mppe",
                None => "set up a device",
            };
            set.map_err(|e| DatapathError::system(what, &e))
        };
        if self.session.spec.mppe.is_empty() {
            return encrypt();
        }
        let open = [network.ipv4.is_some(), network.ipv6.is_some()];
        let let_pass = || {
            if let Err(error) = mppe::refuse_clear(&self.file, network.encryption.is_some()) {
                tracing::warn!("{}: packets in clear are taken: {error}", self.name);
            }
            let set = mppe::let_pass(&self.file, open);
            set.map_err(|e| DatapathError::system("set up a device", &e))
        };
        // What is not to pass is stopped before the encryption ends, what is begins after it.
        match open {
            [false, false] => let_pass().and_then(|()| encrypt()),
            _ => encrypt().and_then(|()| let_pass()),
        }
    }

    fn negotiation(&self) -> MutexGuard<'_, Negotiation> {
        let negotiation = self.negotiation.lock();
        negotiation.unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one frame, which begins with a protocol field of two octets, past the kernel's CCP.
    pub(super) fn write(&self, frame: &[u8]) -> io::Result<()> {
        self.negotiation().write(self.file.as_fd(), frame)
    }

    /// Takes one frame that the interface does not, from its protocol field on; `WouldBlock` when there is none, no octets when it is gone.
    pub(super) fn read(&self, frame: &mut [u8]) -> io::Result<usize> {
        let len = rustix::io::read(&self.file, &mut *frame)?;
        let heard = frame.get(..len).unwrap_or_default();
        self.negotiation().heard(self.file.as_fd(), heard)?;
        Ok(len)
    }
}

impl Interface for Unit {
    fn name(&self) -> &str {
        &self.name
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn stats(&self, netlink: &Netlink, so_far: Stats) -> Stats {
        let Ok(Some(counts)) = netlink.counts(self.index) else {
            return so_far;
        };
        let [received, sent] = self.session.control();
        Stats {
            rx_packets: counts.rx_packets.saturating_sub(received.0),
            rx_bytes: counts.rx_bytes.saturating_sub(received.1),
            rx_errors: so_far.rx_errors + counts.rx_errors,
            tx_packets: counts.tx_packets.saturating_sub(sent.0),
            tx_bytes: counts.tx_bytes.saturating_sub(sent.1),
            tx_errors: so_far.tx_errors + counts.tx_errors,
            ..so_far
        }
    }
}

impl AsFd for Unit {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
