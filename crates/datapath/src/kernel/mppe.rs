//! The kernel's MPPE, `ppp_mppe`, on a unit (`linux/ppp-ioctl.h`, `linux/ppp-comp.h`).
//!
//! It gets the keys, and takes the rest from CCP's Configure-Acks that pass over the unit: from the peer's for what it decrypts, from ours for what it encrypts.

use std::io;
use std::os::fd::AsFd;

use crypto::mppe::StartKey;
use libc::c_int;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use zeroize::Zeroizing;

use crate::{Encryption, NetworkSpec};

const PPPIOCSCOMPRESS: Opcode = opcode::write::<OptionData>(b't', 77);
const PPPIOCSMRU: Opcode = opcode::write::<c_int>(b't', 82);

const PPPIOCSNPMODE: Opcode = opcode::write::<NetworkMode>(b't', 75);

/// `PPP_IP` and `PPP_IPV6`.
const NETWORK_LAYERS: [c_int; 2] = [0x21, 0x57];

/// `SC_CCP_OPEN`: CCP's packets are looked at.
const SC_CCP_OPEN: c_int = 0x40;
/// `SC_CCP_UP`: encrypted packets may go out.
const SC_CCP_UP: c_int = 0x80;
/// `SC_MUST_COMP`: none may in clear.
const SC_MUST_COMP: c_int = 0x0040_0000;

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

/// The flags of a unit. Until there is a network layer the peer may not have heard our Configure-Ack: the kernel must look at the next one too.
pub(super) fn flags(network: &NetworkSpec) -> c_int {
    let carries = network.ipv4.is_some() || network.ipv6.is_some();
    match &network.encryption {
        None => 0,
        Some(Encryption { mode: Some(_), .. }) if carries => SC_CCP_OPEN | SC_CCP_UP | SC_MUST_COMP,
        Some(_) => SC_CCP_OPEN,
    }
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
pub(super) fn set_keys(unit: impl AsFd + Copy, encryption: &Encryption) -> io::Result<()> {
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
