//! The kernel's generic PPP, `/dev/ppp` (`linux/ppp-ioctl.h`): channels, which take and give PPP frames, and units, which are network interfaces.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crypto::mppe::StartKey;
use libc::c_int;
use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{NoArg, Opcode, Setter, Updater, ioctl, opcode};
use wire::ppp::iana::code;

use super::mppe;
use super::session::Session;
use crate::device::{Interface, check_name, index_of};
use crate::netlink::Netlink;
use crate::{DatapathError, NetworkSpec, Stats};

const PPPIOCBRIDGECHAN: Opcode = opcode::write::<c_int>(b't', 53);
const PPPIOCATTCHAN: Opcode = opcode::write::<c_int>(b't', 56);
const PPPIOCCONNECT: Opcode = opcode::write::<c_int>(b't', 58);
const PPPIOCDISCONN: Opcode = opcode::none(b't', 57);
const PPPIOCNEWUNIT: Opcode = opcode::read_write::<c_int>(b't', 62);
const PPPIOCSFLAGS: Opcode = opcode::write::<c_int>(b't', 89);

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
    /// What is to be encrypted with, until something is.
    send_key: Mutex<Option<StartKey>>,
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
            send_key: Mutex::new(None),
        })
    }

    /// Whose it is.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// What may be left out of frames, and how packets are encrypted.
    pub(super) fn set_up(&self, network: &NetworkSpec) -> Result<(), DatapathError> {
        let keys = network.encryption.as_ref().filter(|e| e.mode.is_none());
        if let Some(encryption) = keys {
            let set = mppe::set_keys(&self.file, encryption);
            set.map_err(|e| DatapathError::system("encrypt by ppp_mppe", &e))?;
        }
        let carries = network.ipv4.is_some() || network.ipv6.is_some();
        let negotiated = network.encryption.as_ref().filter(|_| !carries);
        *self.send_key() = negotiated.map(|encryption| encryption.keys.send.clone());
        let compressed = if network.framing.protocol_compression {
            SC_COMP_PROT
        } else {
            0
        };
        let flags = compressed | mppe::flags(network);
        let open = [network.ipv4.is_some(), network.ipv6.is_some()];
        // What is not to pass is stopped before the encryption ends, what is begins after it.
        let set = match (self.session.spec.mppe.is_empty(), open) {
            (true, _) => self.set_flags(flags),
            (false, [false, false]) => {
                mppe::let_pass(&self.file, open).and_then(|()| self.set_flags(flags))
            }
            (false, _) => self
                .set_flags(flags)
                .and_then(|()| mppe::let_pass(&self.file, open)),
        };
        set.map_err(|e| DatapathError::system("set up a device", &e))
    }

    fn set_flags(&self, flags: c_int) -> io::Result<()> {
        // SAFETY: the number's argument is a pointer to one `int`.
        Ok(unsafe { ioctl(&self.file, Setter::<PPPIOCSFLAGS, c_int>::new(flags)) }?)
    }

    fn send_key(&self) -> MutexGuard<'_, Option<StartKey>> {
        self.send_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one frame, which begins with a protocol field of two octets, past the kernel's CCP.
    pub(super) fn write(&self, frame: &[u8]) -> io::Result<()> {
        // With a Configure-Ack encryption begins, or begins again if the peer missed the last one, and nothing was sent: always from the key that was given.
        if frame.get(2) == Some(&code::CONFIGURE_ACK)
            && let Some(key) = &*self.send_key()
        {
            mppe::set_key(&self.file, key, true)?;
        }
        rustix::io::write(&self.file, frame)?;
        Ok(())
    }

    /// Takes one frame that the interface does not, from its protocol field on; `WouldBlock` when there is none, no octets when it is gone.
    pub(super) fn read(&self, frame: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.file, frame)?)
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
