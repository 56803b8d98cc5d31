//! The types of values: how each is read from text, written as text, and described.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crypto::Secret;
use serde::{Deserialize, Serialize};

use crate::Object;
use crate::words::pick;

/// What sort of text a parameter takes: for help, completion and the messages of errors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A number, decimal or with `0x` in front; the parameter's range bounds it.
    Number,
    /// `yes` or `no`; `on`, `off`, `true`, `false`, `enable`, `disable`, `1`, `0` are understood.
    Boolean,
    /// Text without control characters; the parameter's range bounds its octets.
    Text,
    /// Text that is never shown.
    Secret,
    /// One of these words, or a prefix that only one of them has.
    Choice(&'static [&'static str]),
    /// Any of these words, separated by commas; or `all`, or a number whose bits they are from the lowest on.
    Flags(&'static [(&'static str, u32)]),
    /// An IPv4 or IPv6 address.
    Address,
    /// An IPv4 address.
    Ipv4Address,
    /// A host name or an address.
    Host,
    /// A netmask, or the length of a prefix.
    Netmask,
    /// Two IPv4 addresses with `-` between them.
    AddressRange,
    /// Bits a second: `tx` or `rx:tx`.
    Speed,
    /// The name of a network device.
    Device,
    /// The absolute path of a program; the parameter's range bounds its octets.
    Program,
    /// Octets, two hexadecimal digits each, with or without `0x` in front; the parameter's range bounds how many.
    Octets,
    /// Octets as those of [`Kind::Octets`] that are never shown.
    SecretOctets,
    /// The name of an object of this class.
    Name(Object),
}

impl Kind {
    /// Whether a number may stand for the text, where values have types.
    pub const fn takes_numbers(self) -> bool {
        matches!(
            self,
            Self::Number | Self::Flags(_) | Self::Netmask | Self::Speed
        )
    }
}

/// A type that parameters can have.
pub trait Value: Sized + Clone + PartialEq {
    /// How an accessor hands it out: by value when it is small, borrowed when it is text.
    type View<'a>
    where
        Self: 'a;
    /// What text it takes.
    const KIND: Kind;
    /// The range when the declaration gives none: of the number, or of the octets of the text.
    const RANGE: Option<(u64, u64)> = None;

    /// Reads it.
    fn parse(text: &str) -> Option<Self>;
    /// What [`Value::parse`] reads as the same value.
    fn print(view: Self::View<'_>) -> String;
    /// Hands it out.
    fn view(&self) -> Self::View<'_>;
    /// What a range applies to.
    fn measure(&self) -> Option<u64> {
        None
    }
}

/// Implements [`Value`] for types that are copied and print themselves.
macro_rules! copied {
    ($($type:ty: $kind:expr, $parse:expr $(, $range:expr, $measure:expr)?;)+) => {$(
        impl Value for $type {
            type View<'a> = Self;
            const KIND: Kind = $kind;
            $(const RANGE: Option<(u64, u64)> = Some($range);)?

            fn parse(text: &str) -> Option<Self> {
                $parse(text)
            }
            fn print(view: Self) -> String {
                view.to_string()
            }
            fn view(&self) -> Self {
                *self
            }
            $(fn measure(&self) -> Option<u64> {
                Some($measure(*self))
            })?
        }
    )+};
}

copied! {
    u16: Kind::Number, |text| number(text)?.try_into().ok(), (0, u16::MAX as u64), u64::from;
    u32: Kind::Number, |text| number(text)?.try_into().ok(), (0, u32::MAX as u64), u64::from;
    IpAddr: Kind::Address, |text: &str| text.parse().ok();
    Ipv4Addr: Kind::Ipv4Address, |text: &str| text.parse().ok();
    Netmask: Kind::Netmask, Netmask::parse;
    AddressRange: Kind::AddressRange, AddressRange::parse;
    ConnectSpeed: Kind::Speed, ConnectSpeed::parse;
    TraceFlags: Kind::Flags(TraceFlags::CATEGORIES), TraceFlags::parse;
}

/// The digits of a number as the command line has always taken it, decimal or hexadecimal after `0x`, and their base.
fn digits(text: &str) -> (&str, u32) {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    hexadecimal.map_or((text, 10), |digits| (digits, 16))
}

/// Whether `text` is a number, be it as large as it may.
pub(crate) fn is_number(text: &str) -> bool {
    let (digits, base) = digits(text);
    !digits.is_empty() && digits.chars().all(|c| c.is_digit(base))
}

/// A number, if it is not too large.
pub(crate) fn number(text: &str) -> Option<u64> {
    let (digits, base) = digits(text);
    // `from_str_radix` would take a sign.
    is_number(text)
        .then(|| u64::from_str_radix(digits, base).ok())
        .flatten()
}

impl Value for bool {
    type View<'a> = Self;
    const KIND: Kind = Kind::Boolean;

    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" | "enable" | "1" => Some(true),
            "no" | "off" | "false" | "disable" | "0" => Some(false),
            _ => None,
        }
    }
    fn print(view: Self) -> String {
        if view { "yes" } else { "no" }.to_owned()
    }
    fn view(&self) -> Self {
        *self
    }
}

impl Value for Secret {
    type View<'a> = &'a Self;
    const KIND: Kind = Kind::Secret;
    const RANGE: Option<(u64, u64)> = Some((1, 255));

    fn parse(text: &str) -> Option<Self> {
        is_plain(text).then(|| Self::from(text))
    }
    fn print(view: &Self) -> String {
        view.to_text().to_string()
    }
    fn view(&self) -> &Self {
        self
    }
    fn measure(&self) -> Option<u64> {
        Some(self.as_bytes().len() as u64)
    }
}

/// Octets as they are, written in hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Octets(Vec<u8>);

impl Value for Octets {
    type View<'a> = &'a [u8];
    const KIND: Kind = Kind::Octets;
    const RANGE: Option<(u64, u64)> = Some((1, 255));

    fn parse(text: &str) -> Option<Self> {
        let prefixed = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let digits: Option<Vec<_>> = prefixed
            .unwrap_or(text)
            .chars()
            .map(|c| c.to_digit(16))
            .collect();
        let (octets, rest) = digits.as_deref()?.as_chunks::<2>();
        let octets = octets.iter().map(|[high, low]| (high << 4 | low) as u8);
        rest.is_empty().then(|| Self(octets.collect()))
    }
    fn print(view: &[u8]) -> String {
        view.iter().map(|octet| format!("{octet:02x}")).collect()
    }
    fn view(&self) -> &[u8] {
        &self.0
    }
    fn measure(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

/// [`Octets`] that are never shown. They are kept as their digits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretOctets(Secret);

impl Value for SecretOctets {
    type View<'a> = &'a Secret;
    const KIND: Kind = Kind::SecretOctets;
    const RANGE: Option<(u64, u64)> = Octets::RANGE;

    fn parse(text: &str) -> Option<Self> {
        let octets = Octets::parse(text)?;
        Some(Self(Secret::from(Octets::print(octets.view()).as_str())))
    }
    fn print(view: &Secret) -> String {
        view.to_text().to_string()
    }
    fn view(&self) -> &Secret {
        &self.0
    }
    fn measure(&self) -> Option<u64> {
        Some(self.0.as_bytes().len() as u64 / 2)
    }
}

/// Whether a line of a file can hold the text.
fn is_plain(text: &str) -> bool {
    !text.contains(char::is_control)
}

/// Implements [`Value`] for kinds of text.
macro_rules! texts {
    ($($type:ident: $kind:expr, $range:expr, $is_valid:expr, $make:expr, $text:expr;)+) => {$(
        impl Value for $type {
            type View<'a> = &'a str;
            const KIND: Kind = $kind;
            const RANGE: Option<(u64, u64)> = Some($range);

            fn parse(text: &str) -> Option<Self> {
                $is_valid(text).then(|| $make(text.to_owned()))
            }
            fn print(view: &str) -> String {
                view.to_owned()
            }
            fn view(&self) -> &str {
                $text(self)
            }
            fn measure(&self) -> Option<u64> {
                Some(self.view().len() as u64)
            }
        }
    )+};
}

texts! {
    String: Kind::Text, (1, 255), is_plain, std::convert::identity, String::as_str;
    Host: Kind::Host, (1, 253), Host::is_valid, Host, Host::as_str;
    Program: Kind::Program, (2, 255), Program::is_valid, Program, Program::as_str;
    InterfaceName: Kind::Device, (1, 15), InterfaceName::is_valid, InterfaceName, InterfaceName::as_str;
}

/// A host name or a literal address. It is resolved when it is used, each time anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host(String);

impl Host {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name that ends in a number is a wrong address, of which the resolver would make another (RFC 1123 section 2.1).
    fn is_valid(text: &str) -> bool {
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        let last = text
            .trim_end_matches('.')
            .rsplit('.')
            .next()
            .unwrap_or_default();
        text.parse::<IpAddr>().is_ok()
            || (!last.is_empty() && number(last).is_none() && text.chars().all(is_name))
    }
}

/// Where a program is, whatever the working directory of who runs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program(String);

impl Program {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_valid(text: &str) -> bool {
        text.starts_with('/') && is_plain(text)
    }
}

/// The name of a network device, as the kernel allows it; not a template, which `%` would make of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_valid(text: &str) -> bool {
        !matches!(text, "." | "..")
            && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "/:%".contains(c))
    }
}

/// A netmask: how many leading bits of an address count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Netmask(u8);

impl Netmask {
    /// The bits that count: at most 32 of an IPv4 address, 128 of an IPv6 one.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The netmask of which only `address` itself is part.
    pub const fn full(address: IpAddr) -> Self {
        Self(if address.is_ipv4() { 32 } else { 128 })
    }

    /// Whether the counting bits of both addresses are the same.
    pub fn matches(self, a: IpAddr, b: IpAddr) -> bool {
        let differing = match (a, b) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros(),
            _ => return false,
        };
        differing >= u32::from(self.min(Self::full(a)).0)
    }

    fn parse(text: &str) -> Option<Self> {
        if let Ok(mask) = text.parse::<Ipv4Addr>() {
            let mask = u32::from(mask);
            return (mask.leading_ones() + mask.trailing_zeros() >= 32)
                .then(|| Self(mask.count_ones() as u8));
        }
        let bits = number(text.strip_prefix('/').unwrap_or(text))?;
        (bits <= 128).then_some(Self(bits as u8))
    }
}

impl fmt::Display for Netmask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// IPv4 addresses from the first to the last, both of them included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressRange {
    /// The lowest address.
    pub first: Ipv4Addr,
    /// The highest address, not below the first.
    pub last: Ipv4Addr,
}

impl AddressRange {
    /// How many addresses there are: at least one.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> u64 {
        u64::from(u32::from(self.last)) - u64::from(u32::from(self.first)) + 1
    }

    /// Whether `address` is one of them.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some(Self { first, last })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// The speeds of the (Tx) Connect Speed and Rx Connect Speed AVPs (RFC 2661 section 4.4.4), bits a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectSpeed {
    /// From the LAC to the subscriber.
    pub tx: u32,
    /// From the subscriber to the LAC; 0: not said, and so the same.
    pub rx: u32,
}

impl ConnectSpeed {
    fn parse(text: &str) -> Option<Self> {
        let speed = |text| number(text)?.try_into().ok();
        match text.split_once(':') {
            Some((rx, tx)) => Some(Self {
                tx: speed(tx)?,
                rx: speed(rx)?,
            }),
            None => Some(Self {
                tx: speed(text)?,
                rx: 0,
            }),
        }
    }
}

impl fmt::Display for ConnectSpeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rx != 0 {
            write!(f, "{}:", self.rx)?;
        }
        self.tx.fmt(f)
    }
}

/// What to log in detail.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TraceFlags(u32);

impl TraceFlags {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(0x7ff);
    /// Control messages.
    pub const PROTOCOL: Self = Self(1);
    /// Changes of state.
    pub const FSM: Self = Self(2);
    /// Requests of management.
    pub const API: Self = Self(4);
    /// The names of AVPs.
    pub const AVP_INFO: Self = Self(8);
    /// Hidden AVPs.
    pub const AVP_HIDE: Self = Self(16);
    /// The values of AVPs.
    pub const AVP_DATA: Self = Self(32);
    /// What was decided.
    pub const FUNC: Self = Self(64);
    /// Acknowledgements and repetitions of control messages.
    pub const TRANSPORT: Self = Self(128);
    /// What the datapath is asked to do.
    pub const DATA: Self = Self(256);
    /// The daemon as a whole.
    pub const SYSTEM: Self = Self(512);
    /// PPP's control frames.
    pub const PPP_CONTROL: Self = Self(1024);
    /// The categories and their bits, which are OpenL2TP's.
    pub const CATEGORIES: &[(&str, u32)] = &[
        ("protocol", 1),
        ("fsm", 2),
        ("api", 4),
        ("avp_info", 8),
        ("avp_hide", 16),
        ("avp_data", 32),
        ("func", 64),
        ("transport", 128),
        ("data", 256),
        ("system", 512),
        ("ppp_control", 1024),
    ];

    /// The categories of these bits; others mean nothing.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Those that are on in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are on in one of the two.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether any is on that is in `others`, too.
    pub const fn meets(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Whether none is on.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether the category of this name is on.
    pub fn has(self, category: &str) -> bool {
        Self::CATEGORIES
            .iter()
            .any(|&(name, bit)| name == category && self.0 & bit != 0)
    }

    /// Reads a number, `all`, or categories separated by commas, of which a prefix is enough that only one has.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(bits) = number(text) {
            return u32::try_from(bits)
                .ok()
                .filter(|bits| bits & !Self::ALL.0 == 0)
                .map(Self);
        }
        if text.eq_ignore_ascii_case("all") {
            return Some(Self::ALL);
        }
        text.split(',').try_fold(Self::NONE, |flags, name| {
            let bit = pick(Self::CATEGORIES, name.trim(), String::new).ok()?;
            Some(Self(flags.0 | bit))
        })
    }
}

impl fmt::Display for TraceFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on: Vec<_> = Self::CATEGORIES
            .iter()
            .filter(|c| self.0 & c.1 != 0)
            .map(|c| c.0)
            .collect();
        if on.is_empty() {
            f.write_str("0")
        } else {
            f.write_str(&on.join(","))
        }
    }
}

/// Declares enumerations whose values are words.
macro_rules! choices {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $help:literal])+ $variant:ident = $word:literal $(| $alias:literal)*,)+ })+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
        pub enum $name {
            $($(#[doc = $help])+ #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            const ALL: &[(&'static str, Self)] = &[$(($word, Self::$variant)),+];
            /// Other words that are understood, but no beginnings of them, which would make those of the names ambiguous.
            const ALIASES: &[(&'static str, Self)] = &[$($(($alias, Self::$variant),)*)+];

            fn parse(text: &str) -> Option<Self> {
                let is_it = |(alias, _): &&(&str, Self)| alias.eq_ignore_ascii_case(text);
                let alias = Self::ALIASES.iter().find(is_it).map(|(_, value)| *value);
                alias.or_else(|| pick(Self::ALL, text, String::new).ok())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)+ })
            }
        }

        copied! {
            $name: Kind::Choice(&[$($word),+]), $name::parse;
        }
    )+};
}

choices! {
    /// What a tunnel asks of its peer before it is established.
    AuthMode {
        /// Nothing.
        None = "none",
        /// That a peer profile matches it.
        Simple = "simple",
        /// That it answers a challenge with the tunnel's secret (RFC 2661 section 5.1.1).
        Challenge = "challenge",
    }
    /// Which datapath carries a session.
    Datapath {
        /// The kernel's for a session with a device of its own, where the machine has it; else `ebpf` where that can carry it and its tunnel has `use_udp_checksums=no`, else `tun`.
        Auto = "auto",
        /// The Linux kernel's L2TP and PPP.
        Kernel = "kernel",
        /// Programs in the kernel, for what is common on TUN devices; `tun` has the rest.
        Ebpf = "ebpf",
        /// User space, on a TUN device.
        Tun = "tun",
        /// None: the session is there, and carries nothing.
        Null = "null",
    }
    /// What a peer is, in the calls that it places.
    LacLns {
        /// A LAC: it places incoming calls.
        Lac = "lac",
        /// An LNS: it places outgoing calls.
        Lns = "lns",
        /// Both.
        LacLns = "laclns" | "lnslac",
    }
    /// The kinds of call: which end of it we are, and which way it goes (RFC 2661 sections 7.4 and 7.5).
    SessionType {
        /// We are the LAC of an incoming call, and placed it.
        Laic = "laic",
        /// We are the LNS of an incoming call, which the peer placed.
        Lnic = "lnic",
        /// We are the LAC of an outgoing call, which the peer placed.
        Laoc = "laoc",
        /// We are the LNS of an outgoing call, and placed it.
        Lnoc = "lnoc",
    }
    /// Who speaks PPP in a session.
    PppEngine {
        /// The daemon itself.
        Builtin = "builtin",
        /// A process of pppd for each session, over the kernel's L2TP.
        Pppd = "pppd",
    }
    /// How the line of a PPP client is framed.
    SyncMode {
        /// Synchronous.
        Sync = "sync",
        /// Asynchronous.
        Async = "async",
        /// Not known.
        Any = "any",
    }
    /// Whether PPP's packets are encrypted by MPPE (RFC 3078).
    Mppe {
        /// No.
        No = "no",
        /// If the peer does it too.
        Optional = "optional",
        /// Yes, or there is no session.
        Required = "required",
    }
    /// How long the keys of MPPE are, in bits.
    MppeBits {
        /// The longest that both ends have.
        Any = "any",
        /// 40.
        Bits40 = "40",
        /// 56.
        Bits56 = "56",
        /// 128.
        Bits128 = "128",
    }
    /// How a client authenticated itself to its LAC (RFC 2661 section 4.4.5, Proxy Authen Type), by name or number.
    ProxyAuthType {
        /// With a user name and a password as text.
        Text = "text" | "1",
        /// With CHAP.
        Chap = "chap" | "2",
        /// With PAP.
        Pap = "pap" | "3",
        /// Not at all.
        None = "none" | "4" | "0",
        /// With MS-CHAPv1.
        MsChap = "mschap" | "5",
    }
    /// Framing, as a type or a capability (RFC 2661 section 4.4.3, Framing Capabilities).
    Framing {
        /// Neither.
        None = "none",
        /// Synchronous.
        Sync = "sync",
        /// Asynchronous.
        Async = "async",
        /// Both.
        Any = "any",
    }
    /// Bearer, as a type or a capability (RFC 2661 section 4.4.3, Bearer Capabilities).
    Bearer {
        /// Neither.
        None = "none",
        /// Digital.
        Digital = "digital",
        /// Analog.
        Analog = "analog",
        /// Both.
        Any = "any",
    }
}

impl LacLns {
    /// Whether it is a LAC.
    pub const fn is_lac(self) -> bool {
        matches!(self, Self::Lac | Self::LacLns)
    }

    /// Whether it is an LNS.
    pub const fn is_lns(self) -> bool {
        matches!(self, Self::Lns | Self::LacLns)
    }
}

impl SessionType {
    /// The kind in words.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Laic => "LAC Incoming Call",
            Self::Lnic => "LNS Incoming Call",
            Self::Laoc => "LAC Outgoing Call",
            Self::Lnoc => "LNS Outgoing Call",
        }
    }
}

impl Framing {
    /// The word for a set of framing.
    pub const fn new(sync: bool, r#async: bool) -> Self {
        match (sync, r#async) {
            (false, false) => Self::None,
            (true, false) => Self::Sync,
            (false, true) => Self::Async,
            (true, true) => Self::Any,
        }
    }

    /// Whether synchronous framing is among it.
    pub const fn is_sync(self) -> bool {
        matches!(self, Self::Sync | Self::Any)
    }

    /// Whether asynchronous framing is among it.
    pub const fn is_async(self) -> bool {
        matches!(self, Self::Async | Self::Any)
    }
}

impl Bearer {
    /// The word for a set of bearers.
    pub const fn new(digital: bool, analog: bool) -> Self {
        match (digital, analog) {
            (false, false) => Self::None,
            (true, false) => Self::Digital,
            (false, true) => Self::Analog,
            (true, true) => Self::Any,
        }
    }

    /// Whether a digital bearer is among it.
    pub const fn is_digital(self) -> bool {
        matches!(self, Self::Digital | Self::Any)
    }

    /// Whether an analog bearer is among it.
    pub const fn is_analog(self) -> bool {
        matches!(self, Self::Analog | Self::Any)
    }
}
