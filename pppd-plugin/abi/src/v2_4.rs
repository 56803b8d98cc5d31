//! The interface of pppd 2.4.9: its own variables, and lists of who is told.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void};

use crate::{NotifyFunction, PppdOption};

/// What its versions begin with.
pub(crate) const SERIES: &str = "2.4.";
/// That of Debian 12.
pub(crate) const USUAL: &str = "2.4.9";

/// What of IPCP one end wants, allows or has: `ipcp_options`, 48 octets.
#[repr(C)]
pub struct IpcpOptions {
    _before: [c_uchar; 6],
    /// Van Jacobson's compression of headers.
    pub van_jacobson: c_uchar,
    _between: [c_uchar; 3],
    /// Whether to ask for a first and a second name server.
    pub ask_dns: [c_uchar; 2],
    _compression: [c_uint; 3],
    /// The address of the end whose options these are, in the order of the network.
    pub ours: u32,
    /// That of the other end.
    pub theirs: u32,
    /// Name servers, 0 where there is none.
    pub dns: [u32; 2],
    _wins: [u32; 2],
}

/// The same of IPv6CP: `ipv6cp_options`, 60 octets.
#[repr(C)]
pub struct Ipv6cpOptions {
    _before: [c_uint; 11],
    /// The interface identifier of the end whose options these are.
    pub ours: [u8; 8],
    /// That of the other end.
    pub theirs: [u8; 8],
}

/// A list of those who are told of something: `struct notifier`.
#[repr(C)]
struct Notifier {
    _private: [u8; 0],
}

unsafe extern "C" {
    static mut modem: c_uchar;
    static ifunit: c_int;
    static ifname: [c_char; 32];
    static mut req_ifname: [c_char; 32];
    static peer_authname: [c_char; 256];
    static mut ppp_devnam: [c_char; 4096];
    static mut mppe_send_key: [u8; 16];
    static mut mppe_recv_key: [u8; 16];
    static mut mppe_keys_set: c_int;
    static mut phasechange: *mut Notifier;
    static mut ip_up_notifier: *mut Notifier;
    static mut ip_down_notifier: *mut Notifier;
    static mut ipv6_up_notifier: *mut Notifier;
    static mut ipv6_down_notifier: *mut Notifier;

    /// Adds a list of options, which [`PppdOption::END`] ends.
    pub fn add_options(options: *mut PppdOption);
    fn add_notifier(list: *mut *mut Notifier, function: NotifyFunction, given: *mut c_void);
    #[link_name = "generic_establish_ppp"]
    pub(crate) fn establish_ppp(descriptor: c_int) -> c_int;
    #[link_name = "generic_disestablish_ppp"]
    pub(crate) fn disestablish_ppp(descriptor: c_int);
    pub(crate) fn timeout(
        function: extern "C" fn(*mut c_void),
        given: *mut c_void,
        seconds: c_int,
        microseconds: c_int,
    );
    pub(crate) fn option_error(format: *const c_char, ...);
}

/// What can be told.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Another phase of the link, whose number goes along.
    Phase,
    /// IPv4 is up.
    IpUp,
    /// And down again.
    IpDown,
    /// IPv6 is up.
    Ipv6Up,
    /// And down again.
    Ipv6Down,
}

/// Has a function called, with what is given, each time that something happens.
///
/// # Safety
/// What is given is what the function takes, and lives as long as pppd.
pub unsafe fn notify(event: Event, function: NotifyFunction, given: *mut c_void) {
    let list = match event {
        Event::Phase => &raw mut phasechange,
        Event::IpUp => &raw mut ip_up_notifier,
        Event::IpDown => &raw mut ip_down_notifier,
        Event::Ipv6Up => &raw mut ipv6_up_notifier,
        Event::Ipv6Down => &raw mut ipv6_down_notifier,
    };
    // SAFETY: the caller says so; it is one of pppd's lists.
    unsafe { add_notifier(list, function, given) };
}

/// The number of the unit, -1 while there is none.
pub fn unit() -> c_int {
    // SAFETY: pppd's one thread.
    unsafe { ifunit }
}

/// The name of its device.
pub fn interface() -> &'static CStr {
    // SAFETY: pppd ends it with NUL.
    unsafe { CStr::from_ptr((&raw const ifname).cast()) }
}

/// The name that the peer has proved, as pppd spells it; empty if none.
pub fn peer_name() -> &'static CStr {
    // SAFETY: pppd ends it with NUL.
    unsafe { CStr::from_ptr((&raw const peer_authname).cast()) }
}

/// There is no modem to be controlled.
pub fn no_modem() {
    // SAFETY: pppd's one thread.
    unsafe { modem = 0 };
}

/// What the channel's device is called in messages.
pub fn name_device(name: &CStr) {
    let octets = name.to_bytes_with_nul();
    let place = (&raw mut ppp_devnam).cast::<u8>();
    // SAFETY: pppd's one thread; what does not fit is left, and the last octet is NUL already.
    unsafe { place.copy_from_nonoverlapping(octets.as_ptr(), octets.len().min(4095)) };
}

/// The name that the unit's device is to have: 15 octets and NUL.
pub fn name_interface(name: &[c_char; 16]) {
    let place = (&raw mut req_ifname).cast::<c_char>();
    // SAFETY: pppd's one thread; its array is longer.
    unsafe { place.copy_from_nonoverlapping(name.as_ptr(), name.len()) };
}

/// The start keys (RFC 3079) of MPPE: of what we send and of what we receive.
pub fn set_mppe_keys(send: [u8; 16], receive: [u8; 16]) {
    // SAFETY: pppd's one thread.
    unsafe {
        (mppe_send_key, mppe_recv_key) = (send, receive);
        mppe_keys_set = 1;
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// As a C compiler has it of ipcp.h of pppd 2.4.9 with Debian's `replacedefaultroute`.
    #[test]
    fn the_layout_of_ipcp_is_that_of_pppd_2_4() {
        assert_eq!(size_of::<IpcpOptions>(), 48);
        assert_eq!(offset_of!(IpcpOptions, van_jacobson), 6);
        assert_eq!(offset_of!(IpcpOptions, ask_dns), 10);
        assert_eq!(offset_of!(IpcpOptions, ours), 24);
        assert_eq!(offset_of!(IpcpOptions, theirs), 28);
        assert_eq!(offset_of!(IpcpOptions, dns), 32);
    }

    /// As a C compiler has it of ipv6cp.h of pppd 2.4.9.
    #[test]
    fn the_layout_of_ipv6cp_is_that_of_pppd_2_4() {
        assert_eq!(size_of::<Ipv6cpOptions>(), 60);
        assert_eq!(offset_of!(Ipv6cpOptions, ours), 44);
        assert_eq!(offset_of!(Ipv6cpOptions, theirs), 52);
    }
}
