//! `openl2tp.so`, a plugin of pppd: tells openl2tpd what becomes of a session, and asks it who the peer may be and which address it gets.
//!
//! To be loaded after `pppol2tp.so`, which knows the ids. It connects to openl2tpd's socket and says what happens in messages, each of which is fields as
//! `NAME=VALUE`, a line each, and an empty line:
//!
//! | field | of | what |
//! |---|---|---|
//! | `event` | all | `phase`, `early`, `up`, `down`, `accm`, `unencrypted`, `authenticate` or `address` |
//! | `tunnel_id`, `session_id` | all | ours, decimal |
//! | `phase` | `phase` | `establish`, `authenticate`, `network`, `terminate` or `dead` |
//! | `why` | `unencrypted` | `rejected` or `disagreed`: the link ends, and MPPE, which was asked for, is not there |
//! | `protocol` | `up`, `down` | `ip` or `ipv6` |
//! | `unit`, `interface` | `up`, `down` | the PPP unit's number, and the name of its device |
//! | `user` | `up`, `down` | whom the peer has proved to be, hexadecimal; absent if nobody |
//! | `local`, `peer` | `up` | our address and the peer's |
//! | `dns` | `up` | name servers that the peer gave us, with a comma between them; absent if none |
//! | `auth` | `up` | by what we proved who we are: `pap`, or the number of a kind of CHAP; absent if by nothing |
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

use pppd_abi::heard::{Identity, is_another_authentication};
use pppd_abi::{ChapDigest, Event, PppdOption, Snoop, Words, phase};

use ask::{ask, tell};

/// The longest path of a socket, NUL counted (unix(7)).
const PATH: usize = 108;

/// The state of an automaton that has agreed (RFC 1661 section 4.2).
const OPENED: c_int = 9;
/// The last of those of one that has no link.
const STARTING: c_int = 1;
/// The first of those of one that is still agreeing.
const REQUEST_SENT: c_int = 6;

/// Kinds of CHAP, as LCP's options have them.
const KIND_MS_CHAP_V2: c_uchar = 1;
const KIND_MS_CHAP: c_uchar = 2;
const KIND_MD5: c_uchar = 4;

/// MD5's number.
const MD5: c_int = 5;
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

/// What the peer gave last to prove who it is, as it came.
static mut GAVE: Option<Identity> = None;
/// The kinds of CHAP that the peer may prove itself by; 0: not known yet.
static mut KINDS: c_uchar = 0;
/// IPv6 is up and openl2tpd not told, as IPv4 is still to come.
static mut WITHHELD: bool = false;
/// Who else sees what comes.
static mut SNOOP: Option<Snoop> = None;

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
    let events = [Event::IpUp, Event::IpDown, Event::Ipv6Up, Event::Ipv6Down];
    // SAFETY: pppd's one thread; the lists and what is given live as long as pppd.
    unsafe {
        for (event, told) in events.into_iter().zip(&TOLD) {
            let told: *const (&str, &str) = told;
            pppd_abi::notify(event, network_layer, told.cast_mut().cast());
        }
        pppd_abi::notify(Event::Phase, new_phase, std::ptr::null_mut());
        pppd_abi::add_options((&raw mut OPTIONS).cast());
        pppol2tp_send_accm_hook = Some(accm);
        pppd_abi::pap_check_hook = Some(can_authenticate);
        pppd_abi::pap_auth_hook = Some(judge_pap);
        pppd_abi::chap_check_hook = Some(can_authenticate);
        SNOOP = pppd_abi::snoop_recv_hook;
        pppd_abi::snoop_recv_hook = Some(hear);
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
    if number == phase::ESTABLISH {
        // The options are known now.
        begin();
    }
    if number == phase::TERMINATE {
        tell_unencrypted();
    }
    tell("phase", &format!("phase={name}\n"));
    if number == phase::ESTABLISH {
        // Once LCP has begun.
        pppd_abi::later(hear_early, 0);
    }
}

/// Sets what the options ask for.
fn begin() {
    // SAFETY: pppd's one thread.
    unsafe {
        if AUTHENTICATE != 0 {
            pppd_abi::chap_verify_hook = Some(judge_chap);
            strongest_first();
        }
        if ADDRESS != 0 {
            pppd_abi::ip_choose_hook = Some(choose_address);
            pppd_abi::allowed_address_hook = Some(is_allowed);
        } else if SOCKET[0] != 0 {
            pppd_abi::ip_choose_hook = Some(ask_dns);
        }
    }
}

/// Of the kinds of CHAP that are allowed pppd asks for MD5 first: it is to ask for MS-CHAPv2, and for another once the peer has declined.
fn strongest_first() {
    // SAFETY: pppd's one thread.
    unsafe {
        let wanted = &raw mut pppd_abi::lcp_wantoptions[0].chap_kinds;
        if KINDS == 0 {
            KINDS = *wanted;
        }
        if KINDS & KIND_MS_CHAP_V2 != 0 {
            *wanted = KIND_MS_CHAP_V2;
        }
    }
}

/// Sees each packet that comes before pppd does.
extern "C" fn hear(packet: *mut c_uchar, length: c_int) {
    // SAFETY: pppd gives a packet and its length; its one thread.
    unsafe {
        if let Some(other) = SNOOP {
            other(packet, length);
        }
        let frame = std::slice::from_raw_parts(packet, usize::try_from(length).unwrap_or(0));
        if AUTHENTICATE == 0 {
            return;
        }
        if let Some(identity) = Identity::of(frame) {
            GAVE = Some(identity);
        }
        if is_another_authentication(frame) {
            // What the peer would rather have is taken if it is one of them; if not, pppd drops the first and asks for the next.
            pppd_abi::lcp_gotoptions[0].chap_kinds |= KINDS;
        }
    }
}

/// Says so where MPPE is asked for and not agreed on.
fn tell_unencrypted() {
    // SAFETY: pppd's one thread.
    let (wanted, state) = unsafe {
        (
            pppd_abi::ccp_wantoptions[0].mppe,
            pppd_abi::ccp_fsm[0].state,
        )
    };
    if wanted != 0 && state != OPENED {
        // Once the peer rejects the protocol it is down for pppd.
        let why = if state <= STARTING {
            "rejected"
        } else {
            "disagreed"
        };
        tell("unencrypted", &format!("why={why}\n"));
    }
}

/// A client asks for name servers, without pppd's option for it, which writes them into files of the system.
unsafe extern "C" fn ask_dns(_: *mut u32) {
    // SAFETY: pppd's one thread, which calls this once it has set what to ask for.
    unsafe { pppd_abi::ipcp_gotoptions[0].ask_dns = [1, 1] };
}

/// What came before the kernel had the session, openl2tpd has.
extern "C" fn hear_early(_: *mut c_void) {
    let answer = ask("early", "");
    for frame in answer.get("frames").unwrap_or_default().split(',') {
        pppd_abi::hear(&mut octets_of(frame));
    }
}

extern "C" fn network_layer(told: *mut c_void, _: c_int) {
    // SAFETY: it is what `plugin_init` gave; pppd's one thread.
    let (event, protocol) = unsafe { *told.cast::<(&str, &str)>() };
    let is_first = protocol == "ipv6" && event == "up" && ipv4_is_to_come();
    // SAFETY: pppd's one thread.
    let withheld = unsafe { std::ptr::replace(&raw mut WITHHELD, is_first) };
    match (event, protocol) {
        _ if is_first => pppd_abi::later(tell_withheld, 1),
        // openl2tpd knows of no IPv6 yet.
        ("down", "ipv6") if withheld => {}
        ("up", "ip") if withheld => {
            tell_network(event, protocol);
            tell_network(event, "ipv6");
        }
        _ => tell_network(event, protocol),
    }
}

/// Whether IPCP is still agreeing. A session is up once one network layer is, and who waits for that means IPv4, if it is there at all.
fn ipv4_is_to_come() -> bool {
    // SAFETY: pppd's one thread.
    (REQUEST_SENT..OPENED).contains(&unsafe { pppd_abi::ipcp_fsm[0].state })
}

/// Tells of IPv6 alone once IPCP has given up.
extern "C" fn tell_withheld(_: *mut c_void) {
    // SAFETY: pppd's one thread.
    if !unsafe { WITHHELD } {
        return;
    }
    if ipv4_is_to_come() {
        return pppd_abi::later(tell_withheld, 1);
    }
    // SAFETY: as above.
    unsafe { WITHHELD = false };
    tell_network("up", "ipv6");
}

fn tell_network(event: &str, protocol: &str) {
    let (unit, interface) = (pppd_abi::unit(), pppd_abi::interface().to_string_lossy());
    let user = pppd_abi::peer_name().to_bytes();
    let mut text = format!("protocol={protocol}\nunit={unit}\ninterface={interface}\n");
    if !user.is_empty() {
        text += &format!("user={}\n", hexadecimal(user));
    }
    if event == "up" {
        let (local, peer) = addresses(protocol);
        text += &format!("local={local}\npeer={peer}\n");
        text += &name_servers();
        text += &our_proof();
        // SAFETY: pppd's one thread.
        let mppe = unsafe { pppd_abi::ccp_gotoptions[0].mppe };
        if mppe & 3 != 0 {
            let bits = if mppe & 2 != 0 { 128 } else { 40 };
            text += &format!("mppe={bits}\nstateful={}\n", mppe >> 2 & 1);
        }
    }
    tell(event, &text);
}

/// The name servers that the peer gave us.
fn name_servers() -> String {
    // SAFETY: pppd's one thread.
    let (dns, asked) = unsafe {
        let got = &raw const pppd_abi::ipcp_gotoptions[0];
        ((*got).dns, (*got).ask_dns)
    };
    let given = dns.into_iter().zip(asked);
    let given = given.filter(|&(address, asked)| asked != 0 && address != 0);
    let text: Vec<_> = given
        .map(|(address, _)| Ipv4Addr::from(address.to_ne_bytes()).to_string())
        .collect();
    match text.is_empty() {
        true => String::new(),
        false => format!("dns={}\n", text.join(",")),
    }
}

/// By what we proved who we are.
fn our_proof() -> String {
    // SAFETY: pppd's one thread.
    let (pap, chap, kinds) = unsafe {
        let his = &raw const pppd_abi::lcp_hisoptions[0];
        ((*his).pap, (*his).chap, (*his).chap_kinds)
    };
    match kinds {
        KIND_MD5 if chap != 0 => format!("auth={MD5}\n"),
        KIND_MS_CHAP if chap != 0 => format!("auth={MS_CHAP}\n"),
        KIND_MS_CHAP_V2 if chap != 0 => format!("auth={MS_CHAP_V2}\n"),
        _ if pap != 0 => "auth=pap\n".to_owned(),
        _ => String::new(),
    }
}

/// Our address and the peer's.
fn addresses(protocol: &str) -> (String, String) {
    // SAFETY: pppd's one thread.
    unsafe {
        if protocol == "ip" {
            let text = |address: u32| Ipv4Addr::from(address.to_ne_bytes()).to_string();
            let (ours, theirs) = (
                pppd_abi::ipcp_gotoptions[0].ours,
                pppd_abi::ipcp_hisoptions[0].theirs,
            );
            (text(ours), text(theirs))
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

/// What the peer gave as it came, once.
fn gave() -> Option<Identity> {
    // SAFETY: pppd's one thread.
    unsafe { std::ptr::replace(&raw mut GAVE, None) }
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
    let spelled = unsafe {
        *message = c"".as_ptr();
        (octets(name), octets(password))
    };
    let (name, password) = match gave() {
        Some(gave) => (hexadecimal(&gave.name), hexadecimal(&gave.password)),
        None => (hexadecimal(spelled.0), hexadecimal(spelled.1)),
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
    let gave = gave();
    // SAFETY: pppd gives text with NUL, octets with their length in front, and a kind.
    let question = unsafe {
        let name = gave
            .as_ref()
            .map_or_else(|| octets(name), |gave| &gave.name);
        format!(
            "protocol={}\nname={}\nidentifier={identifier}\nchallenge={}\nresponse={}\n",
            (*digest).code,
            hexadecimal(name),
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
        pppd_abi::set_mppe_keys(send, receive);
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
