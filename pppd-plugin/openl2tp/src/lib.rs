//! `openl2tp.so`, a plugin of pppd: tells openl2tpd what becomes of a session, and asks it who the peer may be and which address it gets.
//!
//! To be loaded after `pppol2tp.so`, which knows the ids. It connects to openl2tpd's socket and says what happens in messages, each of which is fields as
//! `NAME=VALUE`, a line each, and an empty line:
//!
//! | field | of | what |
//! |---|---|---|
//! | `event` | all | `phase`, `early`, `up`, `down`, `accm`, `authenticate` or `address` |
//! | `tunnel_id`, `session_id` | all | ours, decimal |
//! | `phase` | `phase` | `establish`, `authenticate`, `network`, `terminate` or `dead` |
//! | `protocol` | `up`, `down` | `ip` or `ipv6` |
//! | `unit`, `interface` | `up`, `down` | the PPP unit's number, and the name of its device |
//! | `user` | `up`, `down` | whom the peer has proved to be, hexadecimal; absent if nobody |
//! | `local`, `peer` | `up` | our address and the peer's |
//! | `mppe`, `stateful` | `up` | the bits of MPPE's keys, and 1 in stateful mode, 0 otherwise; absent where nothing is encrypted |
//! | `send`, `receive` | `accm` | the maps that LCP agreed on, hexadecimal |
//! | `protocol` | `authenticate` | `pap`, or the number of a kind of CHAP (RFC 1994 section 3) |
//! | `name`, `password` | `authenticate` | what the peer gave, hexadecimal; the password with PAP |
//! | `identifier`, `challenge`, `response` | `authenticate` | with CHAP, the latter two hexadecimal |
//!
//! `authenticate` is answered by a message with `verdict`, which is `accept` or `reject`, and `message`, the text for the peer, with `mppe_send` and `mppe_receive`,
//! the start keys of MPPE, hexadecimal, where there are any; `address` by one with
//! `address`: that of the peer, or `none`; `early` by one with `frames`: those that came before the kernel had the session, hexadecimal, with a comma between
//! them. Where openl2tpd is gone, pppd ends.

mod ask;

use std::ffi::{CStr, c_char, c_int, c_uchar, c_void};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ptr::addr_of_mut;

use pppd_abi::{ChapDigest, PppdOption, Words, phase};

use ask::{ask, tell};

/// The longest path of a socket, NUL counted (unix(7)).
const PATH: usize = 108;

/// Kinds of CHAP whose failures have a form (RFC 2433 section 8, RFC 2759 section 6).
const MS_CHAP: c_int = 0x80;
const MS_CHAP_V2: c_int = 0x81;

unsafe extern "C" {
    static pppol2tp_tunnel_id: c_int;
    static pppol2tp_session_id: c_int;
    static mut pppol2tp_send_accm_hook: Option<extern "C" fn(c_int, c_int, u32, u32)>;
}

/// The version of pppd that this is for.
#[unsafe(no_mangle)]
pub static pppd_version: [u8; 16] = pppd_abi::pppd_version();

static mut SOCKET: [c_char; PATH] = [0; PATH];
static mut AUTHENTICATE: c_uchar = 0;
static mut ADDRESS: c_uchar = 0;
/// The address that the peer may have, in the order of the network; 0: none.
static mut GIVEN: u32 = 0;

static mut OPTIONS: [PppdOption; 4] = [
    PppdOption::text(
        c"openl2tp_socket",
        addr_of_mut!(SOCKET).cast(),
        PATH as c_int,
        c"openl2tpd's socket for what becomes of the session",
    ),
    PppdOption::flag(
        c"openl2tp_authenticate",
        addr_of_mut!(AUTHENTICATE),
        c"openl2tpd says who the peer may be",
    ),
    PppdOption::flag(
        c"openl2tp_address",
        addr_of_mut!(ADDRESS),
        c"openl2tpd says which IPv4 address the peer gets",
    ),
    PppdOption::END,
];

/// What a notifier is given: which protocol, and whether it came or went.
static TOLD: [(&str, &str); 4] = [
    ("up", "ip"),
    ("down", "ip"),
    ("up", "ipv6"),
    ("down", "ipv6"),
];

/// pppd has loaded it.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_init() {
    // SAFETY: pppd's one thread; the lists and what is given live as long as pppd.
    unsafe {
        pppd_abi::add_options((&raw mut OPTIONS).cast());
        let lists = [
            &raw mut pppd_abi::ip_up_notifier,
            &raw mut pppd_abi::ip_down_notifier,
            &raw mut pppd_abi::ipv6_up_notifier,
            &raw mut pppd_abi::ipv6_down_notifier,
        ];
        for (list, told) in lists.into_iter().zip(&TOLD) {
            let told: *const (&str, &str) = told;
            pppd_abi::add_notifier(list, network_layer, told.cast_mut().cast());
        }
        pppd_abi::add_notifier(
            &raw mut pppd_abi::phasechange,
            new_phase,
            std::ptr::null_mut(),
        );
        pppol2tp_send_accm_hook = Some(accm);
        pppd_abi::pap_check_hook = Some(can_authenticate);
        pppd_abi::pap_auth_hook = Some(judge_pap);
        pppd_abi::chap_check_hook = Some(can_authenticate);
    }
    pppd_abi::loaded("openl2tp");
}

/// What a C string holds.
unsafe fn octets<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: the caller says that it ends with NUL.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// What has its length in front.
unsafe fn counted<'a>(octets: *const c_uchar) -> &'a [u8] {
    // SAFETY: the caller says so.
    unsafe { std::slice::from_raw_parts(octets.add(1), usize::from(*octets)) }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // A String takes all.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// What openl2tpd wrote in digits.
fn octets_of(digits: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

extern "C" fn new_phase(_: *mut c_void, number: c_int) {
    let name = match number {
        phase::ESTABLISH => "establish",
        phase::AUTHENTICATE => "authenticate",
        phase::NETWORK | phase::RUNNING => "network",
        phase::TERMINATE => "terminate",
        _ => "dead",
    };
    // The options are known now. SAFETY: pppd's one thread.
    unsafe {
        if AUTHENTICATE != 0 {
            pppd_abi::chap_verify_hook = Some(judge_chap);
        }
        if ADDRESS != 0 {
            pppd_abi::ip_choose_hook = Some(choose_address);
            pppd_abi::allowed_address_hook = Some(is_allowed);
        }
    }
    tell("phase", &format!("phase={name}\n"));
    if number == phase::ESTABLISH {
        // Once LCP has begun. SAFETY: pppd's one thread.
        unsafe { pppd_abi::timeout(hear_early, std::ptr::null_mut(), 0, 0) };
    }
}

/// What came before the kernel had the session, openl2tpd has.
extern "C" fn hear_early(_: *mut c_void) {
    let answer = ask("early", "");
    for frame in answer.get("frames").unwrap_or_default().split(',') {
        pppd_abi::hear(&mut octets_of(frame));
    }
}

extern "C" fn network_layer(told: *mut c_void, _: c_int) {
    // SAFETY: it is what `plugin_init` gave; pppd's one thread, whose texts end with NUL.
    let ((event, protocol), unit, interface, user) = unsafe {
        (
            *told.cast::<(&str, &str)>(),
            pppd_abi::ifunit,
            String::from_utf8_lossy(octets((&raw const pppd_abi::ifname).cast())),
            octets((&raw const pppd_abi::peer_authname).cast()),
        )
    };
    let mut text = format!("protocol={protocol}\nunit={unit}\ninterface={interface}\n");
    if !user.is_empty() {
        text += &format!("user={}\n", hexadecimal(user));
    }
    if event == "up" {
        let (local, peer) = addresses(protocol);
        text += &format!("local={local}\npeer={peer}\n");
        // SAFETY: pppd's one thread.
        let mppe = unsafe { pppd_abi::ccp_gotoptions[0].mppe };
        if mppe & 3 != 0 {
            let bits = if mppe & 2 != 0 { 128 } else { 40 };
            text += &format!("mppe={bits}\nstateful={}\n", mppe >> 2 & 1);
        }
    }
    tell(event, &text);
}

/// Our address and the peer's.
fn addresses(protocol: &str) -> (String, String) {
    // SAFETY: pppd's one thread.
    unsafe {
        if protocol == "ip" {
            let text = |address: u32| Ipv4Addr::from(address.to_ne_bytes()).to_string();
            let (ours, theirs) = (&pppd_abi::ipcp_gotoptions[0], &pppd_abi::ipcp_hisoptions[0]);
            (text(ours.ours), text(theirs.theirs))
        } else {
            let text = |id: [u8; 8]| {
                Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(u64::from_be_bytes(id))).to_string()
            };
            let ours = &pppd_abi::ipv6cp_gotoptions[0];
            (text(ours.ours), text(pppd_abi::ipv6cp_hisoptions[0].theirs))
        }
    }
}

extern "C" fn accm(_tunnel: c_int, _session: c_int, send: u32, receive: u32) {
    tell("accm", &format!("send={send:08x}\nreceive={receive:08x}\n"));
}

/// Whether openl2tpd judges: 1; -1 where pppd is to look into its own files.
extern "C" fn can_authenticate() -> c_int {
    // SAFETY: pppd's one thread.
    if unsafe { AUTHENTICATE } != 0 { 1 } else { -1 }
}

extern "C" fn judge_pap(
    name: *mut c_char,
    password: *mut c_char,
    message: *mut *const c_char,
    _addresses: *mut *mut Words,
    _options: *mut *mut Words,
) -> c_int {
    if can_authenticate() < 0 {
        return -1;
    }
    // SAFETY: pppd's texts end with NUL; it copies the message.
    let (name, password) = unsafe {
        *message = c"".as_ptr();
        (hexadecimal(octets(name)), hexadecimal(octets(password)))
    };
    let answer = ask(
        "authenticate",
        &format!("protocol=pap\nname={name}\npassword={password}\n"),
    );
    c_int::from(answer.get("verdict") == Some("accept"))
}

extern "C" fn judge_chap(
    name: *mut c_char,
    _ours: *mut c_char,
    identifier: c_int,
    digest: *const ChapDigest,
    challenge: *const c_uchar,
    response: *const c_uchar,
    message: *mut c_char,
    room: c_int,
) -> c_int {
    // SAFETY: pppd gives text with NUL, octets with their length in front, and a kind.
    let question = unsafe {
        format!(
            "protocol={}\nname={}\nidentifier={identifier}\nchallenge={}\nresponse={}\n",
            (*digest).code,
            hexadecimal(octets(name)),
            hexadecimal(counted(challenge)),
            hexadecimal(counted(response)),
        )
    };
    let answer = ask("authenticate", &question);
    let right = answer.get("verdict") == Some("accept");
    // SAFETY: as above.
    let error = match unsafe { (*digest).code } {
        MS_CHAP | MS_CHAP_V2 if !right => "E=691 R=0 V=3 M=",
        _ => "",
    };
    let text = error.to_owned() + answer.get("message").unwrap_or_default();
    let text = text.as_bytes();
    let length = text.len().min(usize::try_from(room - 1).unwrap_or(0));
    // SAFETY: there is room for it and the NUL.
    unsafe {
        message
            .cast::<u8>()
            .copy_from_nonoverlapping(text.as_ptr(), length);
        message.add(length).write(0);
    }
    let key = |name| <[u8; 16]>::try_from(octets_of(answer.get(name)?)).ok();
    if let (Some(send), Some(receive)) = (key("mppe_send"), key("mppe_receive")) {
        // SAFETY: pppd's one thread.
        unsafe {
            (pppd_abi::mppe_send_key, pppd_abi::mppe_recv_key) = (send, receive);
            pppd_abi::mppe_keys_set = 1;
        }
    }
    c_int::from(right)
}

unsafe extern "C" fn choose_address(address: *mut u32) {
    let answer = ask("address", "");
    let given: Option<Ipv4Addr> = answer.get("address").and_then(|text| text.parse().ok());
    let given = given.map_or(0, |address| u32::from_ne_bytes(address.octets()));
    // SAFETY: pppd's one thread; it gives the place for the address.
    unsafe {
        GIVEN = given;
        *address = given;
    }
}

extern "C" fn is_allowed(address: u32) -> c_int {
    // SAFETY: pppd's one thread.
    let given = unsafe { GIVEN };
    c_int::from(given != 0 && address == given)
}
