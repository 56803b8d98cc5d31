//! What the fuzz targets do with their octets, as ordinary functions: libFuzzer calls them (`cargo xtask fuzz`), and so do this crate's
//! tests, which need no fuzzer: they replay the corpora of `fuzz/corpus` and drive the models with random octets.
//!
//! A target panics when something does not hold. The decoders' targets decode, and ask that what was understood is written and read
//! back as the same. The machines' (`tunnel`, `link`) take their octets for a list of things to do, do them to a machine and to a
//! model of what it may do, and compare.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a target says that something does not hold"
)]

mod choices;
mod decoders;
mod grammar;
mod hidden;
mod link;
mod snapshot;
mod tunnel;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also its corpus's folder.
    pub name: &'static str,
    /// The most octets that are worth trying.
    pub max_len: usize,
    /// Its part of the time there is, beside those of the others.
    pub share: u32,
    /// Does what the target does; panics if something does not hold.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("l2tp_header", 256, decoders::l2tp_header),
    target("l2tp_avps", 1100, decoders::l2tp_avps),
    target("l2tp_hidden", 512, hidden::hidden),
    target("l2tp_sccrq", 512, tunnel::sccrq),
    machine("tunnel", 1024, tunnel::tunnel),
    target("ppp_frame", 128, decoders::ppp_frame),
    target("ppp_packet", 256, decoders::ppp_packet),
    target("ppp_lcp", 256, decoders::ppp_lcp),
    target("ppp_ipcp", 256, decoders::ppp_ipcp),
    target("ppp_ccp", 256, decoders::ppp_ccp),
    target("ppp_ipv6cp", 256, decoders::ppp_ipv6cp),
    target("ppp_pap", 256, decoders::ppp_pap),
    target("ppp_chap", 256, decoders::ppp_chap),
    machine("link", 1024, link::link),
    machine("config", 2048, grammar::config),
];

/// A codec, which is soon searched.
const fn target(name: &'static str, max_len: usize, run: fn(&[u8])) -> Target {
    Target {
        name,
        max_len,
        share: 1,
        run,
    }
}

/// A machine with many states.
const fn machine(name: &'static str, max_len: usize, run: fn(&[u8])) -> Target {
    Target {
        share: 5,
        ..target(name, max_len, run)
    }
}

/// Runs the target of this name. Panics, too, if there is none.
pub fn run(name: &str, octets: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target's name").run)(octets);
}
