//! `pppol2tp.so`, a plugin of pppd: PPP over a socket of the kernel's L2TP driver, whose descriptor pppd inherits.
//!
//! `pppd plugin pppol2tp.so pppol2tp FD` with what options beside it, which docs/pppd.md lists.

use std::ffi::{CStr, CString, c_char, c_int, c_uchar, c_void};
use std::mem::size_of;
use std::ptr::{addr_of_mut, null_mut};

use pppd_abi::{Channel, Event, Level, PppdOption, log, phase};

/// Of `<linux/socket.h>` and `<linux/if_pppox.h>`.
const AF_PPPOX: u16 = 24;
const PX_PROTO_OL2TP: u32 = 1;
const SOL_PPPOL2TP: c_int = 273;
/// Of `<linux/if_pppol2tp.h>`; its `SO_DEBUG` is 1.
const SO_DEBUG: c_int = 1;
const SO_RECVSEQ: c_int = 2;
const SO_SENDSEQ: c_int = 3;
const SO_LNSMODE: c_int = 4;
const SO_REORDERTO: c_int = 5;
/// Of `<fcntl.h>` and `<signal.h>`.
const O_RDWR: c_int = 0o2;
const O_CLOEXEC: c_int = 0o2_000_000;
const SIGURG: c_int = 23;
/// Of `<sys/socket.h>`.
const MSG_DONTWAIT: c_int = 0x40;
/// The longest name of an interface, NUL counted.
const IFNAMSIZ: usize = 16;

unsafe extern "C" {
    fn setsockopt(
        socket: c_int,
        level: c_int,
        name: c_int,
        value: *const c_void,
        length: u32,
    ) -> c_int;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn recv(socket: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> isize;
    fn getsockname(socket: c_int, address: *mut c_void, length: *mut u32) -> c_int;
}

/// The version of pppd that this is for.
#[unsafe(no_mangle)]
pub static pppd_version: [u8; 16] = pppd_abi::pppd_version();

/// Our id of the tunnel, 0 if none was given. Other plugins read it.
#[unsafe(no_mangle)]
pub static mut pppol2tp_tunnel_id: c_int = 0;

/// Our id of the session, the same.
#[unsafe(no_mangle)]
pub static mut pppol2tp_session_id: c_int = 0;

/// Who is told of the ACCMs that LCP agreed on: ids of tunnel and session, that of sending and that of receiving. Other plugins set it.
#[unsafe(no_mangle)]
pub static mut pppol2tp_send_accm_hook: Option<extern "C" fn(c_int, c_int, u32, u32)> = None;

/// Who is told that IPv4 is up, 1, or down again, 0; with the same ids. Other plugins set it.
#[unsafe(no_mangle)]
pub static mut pppol2tp_ip_updown_hook: Option<extern "C" fn(c_int, c_int, c_int)> = None;

static mut SOCKET: c_int = -1;
/// What takes the socket's place when it hangs up.
static mut NOTHING: c_int = -1;
static mut LNS_MODE: c_uchar = 0;
static mut SEND_SEQUENCE: c_uchar = 0;
static mut RECEIVE_SEQUENCE: c_uchar = 0;
static mut REORDER_TIMEOUT: c_int = 0;
static mut DEBUG_MASK: c_int = 0;
static mut INTERFACE: [c_char; IFNAMSIZ] = [0; IFNAMSIZ];
static mut LISTEN: c_int = 0;
/// What came before there was a channel.
static mut EARLY: Vec<Vec<u8>> = Vec::new();
static mut SEND_ACCM: u32 = u32::MAX;
/// The phase of the link.
static mut PHASE: c_int = 0;

/// The options; pppd notes in them who has set which.
static mut OPTIONS: [PppdOption; 11] = [
    PppdOption::device(
        c"pppol2tp",
        take_socket,
        c"Descriptor of a connected PPPoL2TP socket",
    ),
    PppdOption::flag(
        c"pppol2tp_lns_mode",
        addr_of_mut!(LNS_MODE),
        c"We are the LNS, which decides whether there are sequence numbers",
    ),
    PppdOption::flag(
        c"pppol2tp_send_seq",
        addr_of_mut!(SEND_SEQUENCE),
        c"Number what is sent",
    ),
    PppdOption::flag(
        c"pppol2tp_recv_seq",
        addr_of_mut!(RECEIVE_SEQUENCE),
        c"Drop what has no number",
    ),
    PppdOption::int(
        c"pppol2tp_reorderto",
        addr_of_mut!(REORDER_TIMEOUT),
        c"How long a packet waits for those before it, milliseconds",
    ),
    PppdOption::int(
        c"pppol2tp_debug_mask",
        addr_of_mut!(DEBUG_MASK),
        c"What the driver logs of it",
    ),
    PppdOption::text(
        c"pppol2tp_ifname",
        addr_of_mut!(INTERFACE).cast(),
        IFNAMSIZ as c_int,
        c"Name of the interface",
    ),
    PppdOption::int(
        c"pppol2tp_listen",
        addr_of_mut!(LISTEN),
        c"How long to wait for the peer to speak first, milliseconds",
    ),
    PppdOption::int(
        c"pppol2tp_tunnel_id",
        addr_of_mut!(pppol2tp_tunnel_id),
        c"Our id of the tunnel",
    ),
    PppdOption::int(
        c"pppol2tp_session_id",
        addr_of_mut!(pppol2tp_session_id),
        c"Our id of the session",
    ),
    PppdOption::END,
];

static CHANNEL: Channel = Channel {
    options: (&raw mut OPTIONS).cast(),
    process_extra_options: None,
    check_options: Some(check_options),
    connect: Some(connect),
    disconnect: Some(disconnect),
    establish_ppp: Some(establish_ppp),
    disestablish_ppp: Some(pppd_abi::disestablish),
    send_config: Some(send_config),
    receive_config: Some(receive_config),
    cleanup: None,
    close: None,
};

/// pppd has loaded it.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_init() {
    // SAFETY: the list lives as long as pppd, and ends with what ends it; the function is given nothing.
    unsafe {
        pppd_abi::add_options((&raw mut OPTIONS).cast());
        pppd_abi::notify(Event::Phase, new_phase, null_mut());
        pppd_abi::notify(Event::IpUp, ip_up, null_mut());
        pppd_abi::notify(Event::IpDown, ip_down, null_mut());
    }
    pppd_abi::loaded("pppol2tp");
}

extern "C" fn new_phase(_: *mut c_void, number: c_int) {
    // SAFETY: pppd's one thread.
    unsafe { PHASE = number };
}

extern "C" fn ip_up(_: *mut c_void, _: c_int) {
    tell_ip(1);
}

extern "C" fn ip_down(_: *mut c_void, _: c_int) {
    tell_ip(0);
}

fn tell_ip(up: c_int) {
    // SAFETY: pppd's one thread.
    unsafe {
        if let Some(hook) = pppol2tp_ip_updown_hook {
            hook(pppol2tp_tunnel_id, pppol2tp_session_id, up);
        }
    }
}

/// Takes the option that names the socket, and with it the place of the channel that carries PPP.
extern "C" fn take_socket(values: *const *const c_char) -> c_int {
    // SAFETY: pppd gives the value of the option.
    let text = unsafe { CStr::from_ptr(*values) }.to_string_lossy();
    let Some(socket) = text.parse().ok().filter(|&socket| is_pppol2tp(socket)) else {
        log(
            Level::Option,
            &format!("pppol2tp: `{text}` is no descriptor of a PPPoL2TP socket"),
        );
        return 0;
    };
    // SAFETY: pppd's one thread.
    unsafe {
        SOCKET = socket;
        pppd_abi::the_channel = &raw const CHANNEL;
    }
    pppd_abi::no_modem();
    pppd_abi::name_device(&CString::new(format!("pppol2tp {socket}")).unwrap_or_default());
    1
}

/// Whether a descriptor is a socket of the L2TP driver: its address begins with its family and its protocol, without padding.
fn is_pppol2tp(socket: c_int) -> bool {
    let mut address = [0_u8; 128];
    let mut length = address.len() as u32;
    // SAFETY: the address is written into the array, whose length is given.
    let named = unsafe { getsockname(socket, address.as_mut_ptr().cast(), &raw mut length) } == 0;
    let (family, rest) = address.split_at(2);
    named
        && length >= 6
        && family == AF_PPPOX.to_ne_bytes()
        && rest[..4] == PX_PROTO_OL2TP.to_ne_bytes()
}

/// No compression that L2TP has no use for; MPPE, which is CCP's, stays as the options say.
extern "C" fn check_options() {
    // SAFETY: pppd's one thread.
    unsafe {
        for lcp in [
            &raw mut pppd_abi::lcp_wantoptions[0],
            &raw mut pppd_abi::lcp_allowoptions[0],
        ] {
            (*lcp).protocol_compression = 0;
            (*lcp).address_compression = 0;
        }
        for ccp in [
            &raw mut pppd_abi::ccp_wantoptions[0],
            &raw mut pppd_abi::ccp_allowoptions[0],
        ] {
            (*ccp).bsd_compress = 0;
            (*ccp).deflate = 0;
            (*ccp).predictor_1 = 0;
            (*ccp).predictor_2 = 0;
        }
        for ipcp in [
            &raw mut pppd_abi::ipcp_wantoptions[0],
            &raw mut pppd_abi::ipcp_allowoptions[0],
        ] {
            (*ipcp).van_jacobson = 0;
        }
        // pppd names the device when it makes it, where that was asked for.
        if INTERFACE[0] != 0 {
            let name = INTERFACE;
            pppd_abi::name_interface(&name);
        }
    }
}

/// Sets what the options say of the socket; its descriptor, or -1 if the driver refuses.
extern "C" fn connect() -> c_int {
    // SAFETY: pppd's one thread.
    let (socket, wanted) = unsafe {
        let wanted = [
            ("pppol2tp_lns_mode", SO_LNSMODE, c_int::from(LNS_MODE)),
            ("pppol2tp_send_seq", SO_SENDSEQ, c_int::from(SEND_SEQUENCE)),
            (
                "pppol2tp_recv_seq",
                SO_RECVSEQ,
                c_int::from(RECEIVE_SEQUENCE),
            ),
            ("pppol2tp_reorderto", SO_REORDERTO, REORDER_TIMEOUT),
            ("pppol2tp_debug_mask", SO_DEBUG, DEBUG_MASK),
        ];
        if SEND_SEQUENCE != 0 {
            pppd_abi::snoop_send_hook = Some(number_again);
        }
        (SOCKET, wanted)
    };
    watch_hang_up();
    // SAFETY: pppd's one thread.
    unsafe { pppd_abi::listen_time = LISTEN };
    for (option, name, value) in wanted.into_iter().filter(|&(_, _, value)| value != 0) {
        if let Err(why) = set(name, value) {
            log(Level::Error, &format!("{option} {value}: {why}"));
            return -1;
        }
    }
    socket
}

fn set(name: c_int, value: c_int) -> std::io::Result<()> {
    let (place, size) = ((&raw const value).cast(), size_of::<c_int>() as u32);
    // SAFETY: the value is a number that lives as long as the call.
    match unsafe { setsockopt(SOCKET, SOL_PPPOL2TP, name, place, size) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// What a peer sends before it has seen a number has none, which switches ours off, but in LNS mode, where it would be dropped: we begin anew with each
/// packet until the network layer is up.
extern "C" fn number_again(_: *mut c_uchar, _: c_int) {
    // SAFETY: pppd's one thread.
    if unsafe { PHASE } < phase::RUNNING {
        // The packet goes without.
        let _ = set(SO_SENDSEQ, 1);
    }
}

/// SIGURG, which nobody else sends, hangs up as a modem would: the session is gone once nobody has its socket, and pppd ends without a word to the peer.
fn watch_hang_up() {
    // SAFETY: the path is text; the handler calls what a signal's handler may call.
    unsafe {
        NOTHING = open(c"/dev/null".as_ptr(), O_RDWR | O_CLOEXEC);
        if NOTHING >= 0 {
            signal(SIGURG, hang_up);
        }
    }
}

extern "C" fn hang_up(_: c_int) {
    // SAFETY: both are descriptors that stay open.
    unsafe { dup2(NOTHING, SOCKET) };
}

extern "C" fn disconnect() {}

/// Makes the socket a channel and a unit. What the peer sent before waits in the socket, and can be read only until then: LCP gets it once it has begun.
unsafe extern "C" fn establish_ppp(socket: c_int) -> c_int {
    let mut frame = [0_u8; 2048];
    loop {
        // SAFETY: what is received is written into the array, whose length is given.
        let length = unsafe { recv(socket, frame.as_mut_ptr().cast(), frame.len(), MSG_DONTWAIT) };
        let Some(frame) = usize::try_from(length).ok().and_then(|n| frame.get(..n)) else {
            break;
        };
        // SAFETY: pppd's one thread, and nobody else has it meanwhile.
        let early = unsafe { &mut *early() };
        early.push(frame.to_vec());
    }
    // SAFETY: it is the socket that `connect` gave; pppd's one thread.
    unsafe {
        let unit = pppd_abi::establish(socket);
        if unit >= 0 {
            pppd_abi::later(hear_early, 0);
        }
        unit
    }
}

fn early() -> *mut Vec<Vec<u8>> {
    &raw mut EARLY
}

extern "C" fn hear_early(_: *mut c_void) {
    // SAFETY: as above.
    for mut frame in std::mem::take(unsafe { &mut *early() }) {
        pppd_abi::hear(&mut frame);
    }
}

extern "C" fn send_config(_mtu: c_int, accm: u32, _protocol: c_int, _address: c_int) {
    // SAFETY: pppd's one thread.
    unsafe { SEND_ACCM = accm };
}

/// LCP has agreed: pppd tells of sending first.
extern "C" fn receive_config(_mru: c_int, accm: u32, _protocol: c_int, _address: c_int) {
    // SAFETY: pppd's one thread.
    unsafe {
        if let Some(tell) = pppol2tp_send_accm_hook {
            tell(pppol2tp_tunnel_id, pppol2tp_session_id, SEND_ACCM, accm);
        }
    }
}
