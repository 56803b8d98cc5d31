//! The kernel's MPPE, `ppp_mppe`, on a unit (`linux/ppp-ioctl.h`, `linux/ppp-comp.h`).
//!
//! It gets the keys, and takes the rest from CCP's packets that pass over the unit. With each Configure-Ack it makes the first key of the one that it has, of
//! that the next, and so on, so that one Ack too many spoils it: each request of ours and each Ack goes with the key anew, and the kernel looks at one Ack of
//! the peer's for one request. At a Configure-Request it stops, without a word, and with packets in clear.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crypto::mppe::{StartKey, StartKeys};
use libc::c_int;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};
use wire::ppp::Protocol;
use wire::ppp::iana::code;
use zeroize::Zeroizing;

use crate::{Encryption, NetworkSpec};

const PPPIOCSCOMPRESS: Opcode = opcode::write::<OptionData>(b't', 77);
const PPPIOCSMRU: Opcode = opcode::write::<c_int>(b't', 82);

const PPPIOCSPASS: Opcode = opcode::write::<libc::sock_fprog>(b't', 71);
const PPPIOCSFLAGS: Opcode = opcode::write::<c_int>(b't', 89);
const PPPIOCGFLAGS: Opcode = opcode::read::<c_int>(b't', 90);
const PPPIOCSNPMODE: Opcode = opcode::write::<NetworkMode>(b't', 75);

/// `PPP_IP` and `PPP_IPV6`.
const NETWORK_LAYERS: [c_int; 2] = [0x21, 0x57];

/// `SC_CCP_OPEN`: CCP's packets are looked at.
const SC_CCP_OPEN: c_int = 0x40;
/// `SC_CCP_UP`: encrypted packets may go out.
const SC_CCP_UP: c_int = 0x80;
/// `SC_MUST_COMP`: none may in clear.
const SC_MUST_COMP: c_int = 0x0040_0000;

/// `SC_COMP_RUN` and `SC_DECOMP_RUN`: packets are encrypted, and decrypted.
const SC_RUNNING: c_int = SC_COMP_RUN | 0x2000;
const SC_COMP_RUN: c_int = 0x1000;

/// What the kernel's filter of packets sees first of one that goes out.
const OUTBOUND: u32 = 1;

/// The MPPE option (RFC 3078 section 2) as the kernel wants to know it beforehand, without the bits that CCP decides on.
const OPTION: [u8; 6] = [18, 6, 0, 0, 0, 0];

/// `struct ppp_option_data`.
#[repr(C)]
struct OptionData {
    option: *const u8,
    length: u32,
    /// Whether it is for what is sent.
    transmit: c_int,
}

/// `struct npioctl`.
#[repr(C)]
struct NetworkMode {
    protocol: c_int,
    /// 0: packets pass; 1: they are dropped.
    mode: c_int,
}

/// The encryption of a unit, from its keys until packets flow.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    keys: Option<StartKeys>,
    /// The unit's flags, but for what is said of CCP.
    flags: c_int,
    /// The next Configure-Ack of the peer's is the answer to our request.
    listens: bool,
    /// Our last Configure-Ack.
    acknowledged: Vec<u8>,
}

impl Negotiation {
    /// Takes what the owner says: `flags` are those that have nothing to do with CCP.
    pub(super) fn set_up(
        &mut self,
        unit: BorrowedFd<'_>,
        network: &NetworkSpec,
        flags: c_int,
    ) -> io::Result<()> {
        self.flags = flags;
        let carries = network.ipv4.is_some() || network.ipv6.is_some();
        let Some(encryption) = &network.encryption else {
            (self.keys, self.listens) = (None, false);
            return set_flags(unit, flags);
        };
        if encryption.mode.is_none() {
            set_keys(unit, encryption)?;
            (self.listens, self.acknowledged) = (true, Vec::new());
        }
        if encryption.mode.is_none() || !carries {
            self.keys = Some(encryption.keys.clone());
            return self.listen(unit, self.listens);
        }
        // A request that came late, and was not worth an answer.
        if running(unit)? & SC_COMP_RUN == 0 && !self.acknowledged.is_empty() {
            let acknowledged = std::mem::take(&mut self.acknowledged);
            self.write(unit, &acknowledged)?;
        }
        self.keys = None;
        set_flags(unit, flags | SC_CCP_OPEN | SC_CCP_UP | SC_MUST_COMP)?;
        match running(unit)? {
            SC_RUNNING => Ok(()),
            _ => Err(io::Error::other("it has stopped")),
        }
    }

    /// Sends one frame, which begins with a protocol field of two octets, past the kernel's CCP.
    pub(super) fn write(&mut self, unit: BorrowedFd<'_>, frame: &[u8]) -> io::Result<()> {
        match (frame.get(2), &self.keys) {
            (Some(&code::CONFIGURE_REQUEST), Some(keys)) => {
                set_key(unit, &keys.receive, false)?;
                self.listens = true;
                self.listen(unit, true)?;
                rustix::io::write(unit, frame)?;
            }
            (Some(&code::CONFIGURE_ACK), Some(keys)) => {
                set_key(unit, &keys.send, true)?;
                self.acknowledged = frame.to_vec();
                self.listen(unit, true)?;
                rustix::io::write(unit, frame)?;
                self.listen(unit, self.listens)?;
            }
            _ => drop(rustix::io::write(unit, frame)?),
        }
        Ok(())
    }

    /// This frame came, and the kernel saw it.
    pub(super) fn heard(&mut self, unit: BorrowedFd<'_>, frame: &[u8]) -> io::Result<()> {
        let is_ack = frame.starts_with(&Protocol::CCP.0.to_be_bytes())
            && frame.get(2) == Some(&code::CONFIGURE_ACK);
        if is_ack && self.listens && self.keys.is_some() {
            self.listens = false;
            self.listen(unit, false)?;
        }
        Ok(())
    }

    /// Lets the kernel look at Configure-Acks, or not.
    fn listen(&self, unit: BorrowedFd<'_>, listens: bool) -> io::Result<()> {
        // Without the first of the two it would forget the keys.
        let ccp = if listens {
            SC_CCP_OPEN
        } else {
            SC_CCP_OPEN | SC_CCP_UP
        };
        set_flags(unit, self.flags | ccp)
    }
}

fn set_flags(unit: BorrowedFd<'_>, flags: c_int) -> io::Result<()> {
    // SAFETY: the number's argument is a pointer to one `int`.
    Ok(unsafe { ioctl(unit, Setter::<PPPIOCSFLAGS, c_int>::new(flags)) }?)
}

/// What of [`SC_RUNNING`] is so.
fn running(unit: BorrowedFd<'_>) -> io::Result<c_int> {
    // SAFETY: the number's argument is a pointer to one `int`, which is written.
    let flags: c_int = unsafe { ioctl(unit, Getter::<PPPIOCGFLAGS, c_int>::new()) }?;
    Ok(flags & SC_RUNNING)
}

/// Lets no packet in that comes in clear, or all: the kernel's own flag is only for what it sends. A packet that it decrypts is a new one, of no link-layer
/// protocol, while one in clear is still the IP packet that L2TP came in. Refused by a kernel without filters of PPP.
pub(super) fn refuse_clear(unit: impl AsFd, refuse: bool) -> io::Result<()> {
    let step = |code: u32, jt, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf: 0,
        k,
    };
    let mut program = [
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 3, OUTBOUND),
        step(
            libc::BPF_LD | libc::BPF_H | libc::BPF_ABS,
            0,
            (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32,
        ),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 1),
    ];
    let len = if refuse { program.len() } else { 0 };
    let program = libc::sock_fprog {
        len: len as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the number's argument is a pointer to one `sock_fprog`, whose steps outlive the call, in which the kernel copies them.
    Ok(unsafe { ioctl(unit, Setter::<PPPIOCSPASS, libc::sock_fprog>::new(program)) }?)
}

/// Lets the packets of the network layers that are open pass, IPv4's and IPv6's, and no others: what the kernel says of its own accord is not to be
/// said in clear.
pub(super) fn let_pass(unit: impl AsFd + Copy, open: [bool; 2]) -> io::Result<()> {
    for (protocol, open) in NETWORK_LAYERS.into_iter().zip(open) {
        let mode = (!open).into();
        let mode = NetworkMode { protocol, mode };
        // SAFETY: the number's argument is a pointer to one `npioctl`.
        unsafe { ioctl(unit, Setter::<PPPIOCSNPMODE, NetworkMode>::new(mode)) }?;
    }
    Ok(())
}

/// Gives a unit its keys, before CCP begins.
fn set_keys(unit: impl AsFd + Copy, encryption: &Encryption) -> io::Result<()> {
    set_key(unit, &encryption.keys.send, true)?;
    set_key(unit, &encryption.keys.receive, false)?;
    // Decrypted packets have no more room than this.
    let mru = c_int::from(encryption.mru);
    // SAFETY: the number's argument is a pointer to one `int`.
    Ok(unsafe { ioctl(unit, Setter::<PPPIOCSMRU, c_int>::new(mru)) }?)
}

/// Gives a unit one key. An error where there is no `ppp_mppe`, which the kernel loads if it may.
pub(super) fn set_key(unit: impl AsFd, key: &StartKey, transmit: bool) -> io::Result<()> {
    let mut option = Zeroizing::new([0; OPTION.len() + 16]);
    option[..OPTION.len()].copy_from_slice(&OPTION);
    option[OPTION.len()..].copy_from_slice(key.as_bytes());
    let data = OptionData {
        option: option.as_ptr(),
        length: option.len() as u32,
        transmit: transmit.into(),
    };
    // SAFETY: the number's argument is a pointer to one `ppp_option_data`, whose octets outlive the call, in which the kernel copies them.
    Ok(unsafe { ioctl(unit, Setter::<PPPIOCSCOMPRESS, OptionData>::new(data)) }?)
}
