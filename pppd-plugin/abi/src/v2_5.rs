//! The interface of pppd 2.5: functions, where 2.4.9 had variables. Of its headers, as of 2.5.2; nothing of it was ever run, as Debian 12 has no such pppd.
//!
//! Two variables stayed in pppd, which exports all that it has, but are in no header of its any more: `listen_time` and `req_ifname`.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void};

use crate::{NotifyFunction, PppdOption};

/// What its versions begin with.
pub(crate) const SERIES: &str = "2.5.";
/// That of Debian 13.
pub(crate) const USUAL: &str = "2.5.2";

/// What of IPCP one end wants, allows or has: `ipcp_options`, 52 octets.
#[repr(C)]
pub struct IpcpOptions {
    _before: [c_uchar; 6],
    /// Van Jacobson's compression of headers.
    pub van_jacobson: c_uchar,
    _between: [c_uchar; 3],
    /// Whether to ask for a first and a second name server.
    pub ask_dns: [c_uchar; 2],
    _ask_wins: [c_uchar; 2],
    _compression: [c_uint; 3],
    /// The address of the end whose options these are, in the order of the network.
    pub ours: u32,
    /// That of the other end.
    pub theirs: u32,
    /// Name servers, 0 where there is none.
    pub dns: [u32; 2],
    _wins: [u32; 2],
}

/// The same of IPv6CP: `ipv6cp_options`, 64 octets, as it may take the interface identifier of the peer's number.
#[repr(C)]
pub struct Ipv6cpOptions {
    _before: [c_uint; 12],
    /// The interface identifier of the end whose options these are.
    pub ours: [u8; 8],
    /// That of the other end.
    pub theirs: [u8; 8],
}

unsafe extern "C" {
    static mut req_ifname: [c_char; 16];

    /// Adds a list of options, which [`PppdOption::END`] ends.
    #[link_name = "ppp_add_options"]
    pub fn add_options(options: *mut PppdOption);
    fn ppp_add_notify(event: c_int, function: NotifyFunction, given: *mut c_void);
    fn ppp_ifunit() -> c_int;
    fn ppp_ifname() -> *const c_char;
    fn ppp_peer_authname(room: *mut c_char, size: usize) -> *const c_char;
    fn ppp_set_modem(on: bool);
    fn ppp_set_pppdevnam(name: *const c_char) -> c_int;
    #[link_name = "ppp_generic_establish"]
    pub(crate) fn establish_ppp(descriptor: c_int) -> c_int;
    #[link_name = "ppp_generic_disestablish"]
    pub(crate) fn disestablish_ppp(descriptor: c_int);
    #[link_name = "ppp_timeout"]
    pub(crate) fn timeout(
        function: extern "C" fn(*mut c_void),
        given: *mut c_void,
        seconds: c_int,
        microseconds: c_int,
    );
    fn mppe_set_keys(send: *mut u8, receive: *mut u8, length: c_int);
    #[link_name = "ppp_option_error"]
    pub(crate) fn option_error(format: *const c_char, ...);
}

/// What can be told, by the numbers of `ppp_notify_t`.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// Another phase of the link, whose number goes along.
    Phase = 1,
    /// IPv4 is up.
    IpUp = 4,
    /// And down again.
    IpDown = 5,
    /// IPv6 is up.
    Ipv6Up = 6,
    /// And down again.
    Ipv6Down = 7,
}

/// Has a function called, with what is given, each time that something happens.
///
/// # Safety
/// What is given is what the function takes, and lives as long as pppd.
pub unsafe fn notify(event: Event, function: NotifyFunction, given: *mut c_void) {
    // SAFETY: the caller says so.
    unsafe { ppp_add_notify(event as c_int, function, given) };
}

/// The number of the unit, -1 while there is none.
pub fn unit() -> c_int {
    // SAFETY: pppd's one thread.
    unsafe { ppp_ifunit() }
}

/// The name of its device.
pub fn interface() -> &'static CStr {
    // SAFETY: pppd ends it with NUL.
    unsafe { CStr::from_ptr(ppp_ifname()) }
}

/// The name that the peer has proved, as pppd spells it; empty if none.
pub fn peer_name() -> &'static CStr {
    // SAFETY: without room it gives its own text, which ends with NUL.
    let name = unsafe { ppp_peer_authname(std::ptr::null_mut(), 0) };
    match name.is_null() {
        true => c"",
        // SAFETY: as above.
        false => unsafe { CStr::from_ptr(name) },
    }
}

/// There is no modem to be controlled.
pub fn no_modem() {
    // SAFETY: pppd's one thread.
    unsafe { ppp_set_modem(false) };
}

/// What the channel's device is called in messages.
pub fn name_device(name: &CStr) {
    // SAFETY: pppd copies it.
    unsafe { ppp_set_pppdevnam(name.as_ptr()) };
}

/// The name that the unit's device is to have: 15 octets and NUL.
pub fn name_interface(name: &[c_char; 16]) {
    // SAFETY: pppd's one thread.
    unsafe { req_ifname = *name };
}

/// The start keys (RFC 3079) of MPPE: of what we send and of what we receive.
pub fn set_mppe_keys(mut send: [u8; 16], mut receive: [u8; 16]) {
    let length = send.len() as c_int;
    // SAFETY: both have that length; pppd copies and wipes them.
    unsafe { mppe_set_keys(send.as_mut_ptr(), receive.as_mut_ptr(), length) };
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// As a C compiler has it of ipcp.h of pppd 2.5.2.
    #[test]
    fn the_layout_of_ipcp_is_that_of_pppd_2_5() {
        assert_eq!(size_of::<IpcpOptions>(), 52);
        assert_eq!(offset_of!(IpcpOptions, van_jacobson), 6);
        assert_eq!(offset_of!(IpcpOptions, ask_dns), 10);
        assert_eq!(offset_of!(IpcpOptions, ours), 28);
        assert_eq!(offset_of!(IpcpOptions, theirs), 32);
        assert_eq!(offset_of!(IpcpOptions, dns), 36);
    }

    /// As a C compiler has it of ipv6cp.h of pppd 2.5.2: ten words, whether and how Van Jacobson's compression is used, two identifiers.
    #[test]
    fn the_layout_of_ipv6cp_is_that_of_pppd_2_5() {
        assert_eq!(size_of::<Ipv6cpOptions>(), 64);
        assert_eq!(offset_of!(Ipv6cpOptions, ours), 48);
        assert_eq!(offset_of!(Ipv6cpOptions, theirs), 56);
    }

    /// In the order of `ppp_notify_t` in pppd.h of pppd 2.5.2.
    #[test]
    fn events_have_the_numbers_of_pppd_2_5() {
        let order = [
            "pid",
            "phase",
            "exit",
            "signal",
            "IPv4 up",
            "IPv4 down",
            "IPv6 up",
            "IPv6 down",
        ];
        for (event, name) in [
            (Event::Phase, "phase"),
            (Event::IpUp, "IPv4 up"),
            (Event::IpDown, "IPv4 down"),
            (Event::Ipv6Up, "IPv6 up"),
            (Event::Ipv6Down, "IPv6 down"),
        ] {
            assert_eq!(order[event as usize], name);
        }
    }
}
