//! What pppd exports to its plugins, and takes of them: the layouts of its headers, for a C compiler of this machine.
//!
//! There are two such interfaces: that of pppd 2.4.9, whose plugins read and write its variables, and that of 2.5 (feature `pppd-2-5`), which has functions in
//! their place. What differs is in a module for each (`interface`), and what they have in common here; plugins see no difference.
//!
//! pppd runs plugins on its one thread, so that its variables, and ours that it writes, are never used by two at a time.

use std::ffi::{CStr, c_char, c_int, c_short, c_uchar, c_uint, c_void};
use std::ptr::{null, null_mut};

pub mod heard;
#[cfg(not(feature = "pppd-2-5"))]
#[path = "v2_4.rs"]
mod interface;
#[cfg(feature = "pppd-2-5")]
#[path = "v2_5.rs"]
mod interface;

pub use interface::{
    Event, IpcpOptions, Ipv6cpOptions, add_options, interface, name_device, name_interface,
    no_modem, notify, peer_name, set_mppe_keys, unit,
};
use interface::{SERIES, USUAL, disestablish_ppp, establish_ppp, option_error, timeout};

/// The version of pppd that the plugins are built for, which pppd compares with its own when it loads them. `PPPD_VERSION` at build time says another of the
/// same interface.
pub const PPPD_VERSION: &str = match option_env!("PPPD_VERSION") {
    Some(version) => version,
    None => USUAL,
};

/// The same as C has it, NUL and all.
///
/// # Panics
/// When it is evaluated, which is when a plugin is built: the version has more than 15 octets, or another interface.
pub const fn pppd_version() -> [u8; 16] {
    let mut text = [0; 16];
    let version = PPPD_VERSION.as_bytes();
    assert!(version.len() < text.len(), "PPPD_VERSION is too long");
    let mut at = 0;
    while at < SERIES.len() {
        assert!(
            at < version.len() && version[at] == SERIES.as_bytes()[at],
            "PPPD_VERSION has another interface: the feature pppd-2-5 is for 2.5, and without it 2.4 is meant"
        );
        at += 1;
    }
    let mut at = 0;
    while at < version.len() {
        text[at] = version[at];
        at += 1;
    }
    text
}

/// What kind of value an option takes.
#[derive(Clone, Copy)]
#[repr(C)]
pub enum OptionType {
    /// None; a function is called.
    SpecialWithout = 0,
    /// One, which a function is called with.
    Special = 1,
    /// None: an octet is set.
    Bool = 2,
    /// A whole number.
    Int = 3,
    /// One without sign.
    Uint32 = 4,
    /// Text.
    String = 5,
}

/// An option's value may not be changed once the link was set up (`OPT_INITONLY`).
const INIT_ONLY: c_uint = 0x400_0000;
/// It stands for the device's name (`OPT_DEVEQUIV`).
const DEVICE: c_uint = 0x800_0000;
/// Who is not root may not change what root said (`OPT_PRIVFIX`).
const PRIVILEGED: c_uint = 0x200_0000;
/// It is not printed by `dump` (`OPT_NOPRINT`).
const NOT_PRINTED: c_uint = 0x4000_0000;
/// Text goes into an array of `upper_limit` octets (`OPT_STATIC`).
const STATIC: c_uint = 0x2000;

/// One of a plugin's options: `option_t`, 72 octets. pppd writes in it whose value it has.
#[repr(C)]
pub struct PppdOption {
    name: *const c_char,
    kind: OptionType,
    address: *mut c_void,
    description: *const c_char,
    flags: c_uint,
    address2: *mut c_void,
    upper_limit: c_int,
    lower_limit: c_int,
    source: *const c_char,
    priority: c_short,
    winner: c_short,
}

impl PppdOption {
    const fn new(
        name: &'static CStr,
        kind: OptionType,
        address: *mut c_void,
        description: &'static CStr,
    ) -> Self {
        Self {
            name: name.as_ptr(),
            kind,
            address,
            description: description.as_ptr(),
            flags: PRIVILEGED,
            address2: null_mut(),
            upper_limit: 0,
            lower_limit: 0,
            source: null(),
            priority: 0,
            winner: 0,
        }
    }

    /// What ends a list of them.
    pub const END: Self = Self {
        name: null(),
        flags: 0,
        ..Self::new(c"", OptionType::Special, null_mut(), c"")
    };

    /// One that sets a whole number.
    pub const fn int(name: &'static CStr, value: *mut c_int, description: &'static CStr) -> Self {
        Self::new(name, OptionType::Int, value.cast(), description)
    }

    /// One that sets an octet to 1.
    pub const fn flag(
        name: &'static CStr,
        value: *mut c_uchar,
        description: &'static CStr,
    ) -> Self {
        Self {
            flags: PRIVILEGED | 1,
            ..Self::new(name, OptionType::Bool, value.cast(), description)
        }
    }

    /// One that sets text in an array of `size` octets, NUL counted.
    pub const fn text(
        name: &'static CStr,
        value: *mut c_char,
        size: c_int,
        description: &'static CStr,
    ) -> Self {
        Self {
            flags: PRIVILEGED | STATIC,
            upper_limit: size,
            ..Self::new(name, OptionType::String, value.cast(), description)
        }
    }

    /// One that stands for the device, whose value a function takes: with an array whose first element it is; 1 says that it is good, 0 that it is not,
    /// which it has logged.
    pub const fn device(
        name: &'static CStr,
        take: extern "C" fn(*const *const c_char) -> c_int,
        description: &'static CStr,
    ) -> Self {
        Self {
            flags: PRIVILEGED | INIT_ONLY | DEVICE | NOT_PRINTED,
            ..Self::new(name, OptionType::Special, take as *mut c_void, description)
        }
    }
}

/// What carries PPP: `struct channel`, 88 octets.
#[repr(C)]
pub struct Channel {
    /// Options of the channel.
    pub options: *mut PppdOption,
    /// Reads further options.
    pub process_extra_options: Option<extern "C" fn()>,
    /// Looks at all options once they are known.
    pub check_options: Option<extern "C" fn()>,
    /// Makes it ready for PPP; its descriptor, or -1.
    pub connect: Option<extern "C" fn() -> c_int>,
    /// It is done with.
    pub disconnect: Option<extern "C" fn()>,
    /// Makes it a channel of the kernel's PPP, by its descriptor; that of the unit, or -1.
    pub establish_ppp: Option<unsafe extern "C" fn(c_int) -> c_int>,
    /// Undoes that.
    pub disestablish_ppp: Option<unsafe extern "C" fn(c_int)>,
    /// What is agreed on for sending: MTU, ACCM, whether protocol and address fields are compressed.
    pub send_config: Option<extern "C" fn(c_int, u32, c_int, c_int)>,
    /// The same for receiving.
    pub receive_config: Option<extern "C" fn(c_int, u32, c_int, c_int)>,
    /// At the end, good or bad.
    pub cleanup: Option<extern "C" fn()>,
    /// In children after a fork.
    pub close: Option<extern "C" fn()>,
}

// SAFETY: pppd has one thread, which alone uses it.
unsafe impl Sync for Channel {}

/// What of LCP one end wants, allows or has: `lcp_options`, 68 octets.
#[repr(C)]
pub struct LcpOptions {
    _before: [c_uchar; 5],
    /// PAP.
    pub pap: c_uchar,
    /// CHAP.
    pub chap: c_uchar,
    _between: [c_uchar; 2],
    /// Whether the protocol field may be compressed (RFC 1661 section 6.5).
    pub protocol_compression: c_uchar,
    /// Whether address and control fields may be (section 6.6).
    pub address_compression: c_uchar,
    _others: [c_uchar; 13],
    /// Of which kinds CHAP is: the sum of 1 for MS-CHAPv2, 2 for MS-CHAPv1, 4 for MD5.
    pub chap_kinds: c_uchar,
    _after: [u32; 10],
}

/// The same of CCP: `ccp_options`, 14 octets.
#[repr(C)]
pub struct CcpOptions {
    /// BSD Compress.
    pub bsd_compress: c_uchar,
    /// Deflate.
    pub deflate: c_uchar,
    /// Predictor-1.
    pub predictor_1: c_uchar,
    /// Predictor-2.
    pub predictor_2: c_uchar,
    _deflate: [c_uchar; 2],
    /// MPPE: the sum of 1 for keys of 40 bits, 2 for 128, 4 for stateful mode.
    pub mppe: c_uchar,
    _after: [c_short; 3],
}

/// An automaton of a control protocol: `fsm`, 72 octets.
#[repr(C)]
pub struct Automaton {
    _before: [c_int; 2],
    /// Its state, 9 where it is opened.
    pub state: c_int,
    _after: [c_int; 15],
}

/// A kind of CHAP: the beginning of `struct chap_digest_type`.
#[repr(C)]
pub struct ChapDigest {
    /// Its number (RFC 1994 section 3).
    pub code: c_int,
}

/// A protocol: the beginning of `struct protent`.
#[repr(C)]
pub struct Protocol {
    /// Its number.
    pub number: u16,
    _init: extern "C" fn(c_int),
    /// Takes a packet that came: unit, octets behind the protocol field, how many.
    pub input: unsafe extern "C" fn(c_int, *mut c_uchar, c_int),
}

/// Words in a list that pppd frees: `struct wordlist`.
#[repr(C)]
pub struct Words {
    _private: [u8; 0],
}

/// Judges a PAP request: name, password; the text for the peer, addresses and options that it may have. 1: right, 0: wrong, -1: pppd is to judge.
pub type PapAuth = extern "C" fn(
    *mut c_char,
    *mut c_char,
    *mut *const c_char,
    *mut *mut Words,
    *mut *mut Words,
) -> c_int;

/// Judges a CHAP response: name, ours, identifier, kind, challenge and response with their length in front, where the text for the peer goes and how many
/// octets it has room for. 1: right, 0: wrong.
pub type ChapVerify = extern "C" fn(
    *mut c_char,
    *mut c_char,
    c_int,
    *const ChapDigest,
    *const c_uchar,
    *const c_uchar,
    *mut c_char,
    c_int,
) -> c_int;

/// Sees a packet, and its length.
pub type Snoop = extern "C" fn(*mut c_uchar, c_int);

/// Phases of the link.
pub mod phase {
    /// LCP is being negotiated.
    pub const ESTABLISH: i32 = 4;
    /// One end or both prove who they are.
    pub const AUTHENTICATE: i32 = 5;
    /// The network layer is being negotiated.
    pub const NETWORK: i32 = 7;
    /// It is up.
    pub const RUNNING: i32 = 8;
    /// LCP is being terminated.
    pub const TERMINATE: i32 = 9;
}

/// Who is told: with what was given, and a number.
pub type NotifyFunction = extern "C" fn(*mut c_void, c_int);

unsafe extern "C" {
    /// The channel that carries PPP.
    pub static mut the_channel: *const Channel;
    /// What we ask of the peer.
    pub static mut lcp_wantoptions: [LcpOptions; 1];
    /// What we let the peer ask of us.
    pub static mut lcp_allowoptions: [LcpOptions; 1];
    /// What LCP has given us.
    pub static mut lcp_gotoptions: [LcpOptions; 1];
    /// What it has given the peer.
    pub static lcp_hisoptions: [LcpOptions; 1];
    /// The same.
    pub static mut ccp_wantoptions: [CcpOptions; 1];
    /// The same.
    pub static mut ccp_allowoptions: [CcpOptions; 1];
    /// The same.
    pub static mut ipcp_wantoptions: [IpcpOptions; 1];
    /// The same.
    pub static mut ipcp_allowoptions: [IpcpOptions; 1];
    /// What CCP has given us.
    pub static ccp_gotoptions: [CcpOptions; 1];
    /// What IPCP has given us.
    pub static mut ipcp_gotoptions: [IpcpOptions; 1];
    /// What it has given the peer.
    pub static ipcp_hisoptions: [IpcpOptions; 1];
    /// What IPv6CP has given us.
    pub static ipv6cp_gotoptions: [Ipv6cpOptions; 1];
    /// What it has given the peer.
    pub static ipv6cp_hisoptions: [Ipv6cpOptions; 1];
    /// IPCP.
    pub static ipcp_fsm: [Automaton; 1];
    /// CCP.
    pub static ccp_fsm: [Automaton; 1];
    /// LCP.
    pub static lcp_protent: Protocol;
    /// Whether PAP can be judged.
    pub static mut pap_check_hook: Option<extern "C" fn() -> c_int>;
    /// Who judges it.
    pub static mut pap_auth_hook: Option<PapAuth>;
    /// Whether CHAP can be judged.
    pub static mut chap_check_hook: Option<extern "C" fn() -> c_int>;
    /// Who judges it.
    pub static mut chap_verify_hook: Option<ChapVerify>;
    /// Who chooses the peer's IPv4 address, in the order of the network.
    pub static mut ip_choose_hook: Option<unsafe extern "C" fn(*mut u32)>;
    /// Whether the peer may have an address: 1, or 0.
    pub static mut allowed_address_hook: Option<extern "C" fn(u32) -> c_int>;
    /// How long LCP listens before it speaks, milliseconds: until then or the peer's first packet. A channel's `connect` sets it. No header of 2.5 has it.
    pub static mut listen_time: c_int;
    /// Who sees each packet that came before pppd reads it, and its length.
    pub static mut snoop_recv_hook: Option<Snoop>;
    /// Who sees each packet before it is sent, and its length.
    pub static mut snoop_send_hook: Option<Snoop>;
    fn info(format: *const c_char, ...);
    fn error(format: *const c_char, ...);
}

/// Makes a descriptor a channel and a unit of the kernel's PPP: the descriptor of the unit, or -1.
///
/// # Safety
/// It is that of a PPP channel.
pub unsafe fn establish(descriptor: c_int) -> c_int {
    // SAFETY: the caller says so.
    unsafe { establish_ppp(descriptor) }
}

/// Undoes that.
///
/// # Safety
/// It is the same descriptor.
pub unsafe extern "C" fn disestablish(descriptor: c_int) {
    // SAFETY: the caller says so.
    unsafe { disestablish_ppp(descriptor) };
}

/// Calls a function after so many seconds, 0 for as soon as pppd has done what it is at.
pub fn later(function: extern "C" fn(*mut c_void), seconds: c_int) {
    // SAFETY: pppd's one thread.
    unsafe { timeout(function, null_mut(), seconds, 0) };
}

/// Has LCP take a frame that came before pppd read any, from `FF 03` or the protocol field on; those of other protocols are dropped.
pub fn hear(frame: &mut [u8]) {
    let start = if frame.starts_with(&[0xff, 0x03]) {
        2
    } else {
        0
    };
    if let Some((&mut [0xc0, 0x21], packet)) = frame[start..].split_first_chunk_mut() {
        // SAFETY: the packet is alive for the call.
        unsafe { (lcp_protent.input)(0, packet.as_mut_ptr(), packet.len() as c_int) };
    }
}

/// How much something matters that is logged.
#[derive(Clone, Copy, Debug)]
pub enum Level {
    /// As it should be.
    Info,
    /// It went wrong.
    Error,
    /// An option's value is not good.
    Option,
}

/// Logs that pppd has loaded one of the plugins, and of which version it is.
pub fn loaded(plugin: &str) {
    let version = env!("CARGO_PKG_VERSION");
    log(
        Level::Info,
        &format!("{plugin} plugin of OpenL2TP {version} loaded"),
    );
}

/// Logs a line as pppd does.
pub fn log(level: Level, text: &str) {
    // A NUL ends it.
    let text: Vec<u8> = text.bytes().chain([0]).collect();
    let text = CStr::from_bytes_until_nul(&text).unwrap_or_default();
    let (format, text) = (c"%s".as_ptr(), text.as_ptr());
    // SAFETY: the format takes one text, which lives as long as the call.
    unsafe {
        match level {
            Level::Info => info(format, text),
            Level::Error => error(format, text),
            Level::Option => option_error(format, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// As a C compiler has them of the headers of pppd 2.4.9, and of 2.5.2 (options.h, pppd.h, fsm.h, lcp.h, ccp.h, chap.h), which left them as they were.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn layouts_are_those_of_pppd() {
        assert_eq!(size_of::<PppdOption>(), 72);
        assert_eq!(offset_of!(PppdOption, flags), 32);
        assert_eq!(offset_of!(PppdOption, winner), 66);
        assert_eq!(size_of::<Channel>(), 88);
        assert_eq!(size_of::<LcpOptions>(), 68);
        assert_eq!(offset_of!(LcpOptions, pap), 5);
        assert_eq!(offset_of!(LcpOptions, chap), 6);
        assert_eq!(offset_of!(LcpOptions, chap_kinds), 24);
        assert_eq!(offset_of!(LcpOptions, protocol_compression), 9);
        assert_eq!(offset_of!(LcpOptions, address_compression), 10);
        assert_eq!(size_of::<CcpOptions>(), 14);
        assert_eq!(offset_of!(CcpOptions, mppe), 6);
        assert_eq!(size_of::<Automaton>(), 72);
        assert_eq!(offset_of!(Automaton, state), 8);
        assert_eq!(offset_of!(ChapDigest, code), 0);
        assert_eq!(offset_of!(Protocol, number), 0);
        assert_eq!(offset_of!(Protocol, input), 16);
    }

    #[test]
    fn the_version_ends_with_nul() {
        let version = pppd_version();
        let version = CStr::from_bytes_until_nul(&version).unwrap();
        assert_eq!(version.to_str(), Ok(PPPD_VERSION));
    }
}
