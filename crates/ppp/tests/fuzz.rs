//! Any octets in any phase: nothing panics, nothing runs away.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::time::Duration;

use common::*;
use ppp::{AuthProtocol, LinkConfig, Phase};
use proptest::prelude::*;

/// A pair of hosts some way into a session.
fn pair_after(which: usize, auth: AuthProtocol) -> Pair {
    let config = LinkConfig {
        require_auth: vec![auth],
        echo_interval: Some(Duration::from_secs(5)),
        chap_interval: Some(Duration::from_secs(7)),
        ..LinkConfig::default()
    };
    let server = Host::new(config, Some((USER, PASSWORD)), server_network());
    let mut pair = Pair::new(server, Host::client());
    match which {
        // Not opened.
        0 => {}
        // Just opened.
        1 => pair.open(Duration::ZERO),
        // In the middle of it: a round trip takes 20 ms.
        2 => pair.open(Duration::from_millis(15)),
        3 => pair.open(Duration::from_millis(35)),
        4 => pair.open(Duration::from_millis(55)),
        // The verdict is awaited.
        5 => {
            pair.hosts[SERVER].thinking = Duration::from_secs(30);
            pair.open(Duration::from_secs(1));
        }
        // Open.
        6 => pair.open(Duration::from_secs(1)),
        // Going down.
        7 => {
            pair.open(Duration::from_secs(1));
            pair.mute = [true; 2];
            pair.close(SERVER, Duration::from_millis(1));
        }
        // Over.
        _ => {
            pair.open(Duration::from_secs(1));
            pair.close(SERVER, Duration::from_secs(20));
        }
    }
    pair
}

/// Octets that get past the first checks: a known protocol, a likely code, a right length.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let protocols = [
        0xc021_u16, 0xc023, 0xc223, 0x8021, 0x8057, 0x80fd, 0xc227, 0x0021,
    ];
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        // Options, well formed.
        prop::collection::vec((0..20_u8, prop::collection::vec(any::<u8>(), 0..9)), 0..5).prop_map(
            |options| {
                let one = |(kind, data): (u8, Vec<u8>)| {
                    [vec![kind, u8::try_from(data.len() + 2).unwrap()], data].concat()
                };
                options.into_iter().flat_map(one).collect()
            }
        ),
    ];
    let shaped = (0..protocols.len(), 0..15_u8, any::<u8>(), body).prop_map(
        move |(protocol, code, identifier, body)| {
            let length = u16::try_from(body.len() + 4).unwrap().to_be_bytes();
            let protocol = protocols[protocol].to_be_bytes();
            [&protocol[..], &[code, identifier], &length, &body].concat()
        },
    );
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..80), 4 => shaped]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_octets_in_any_phase(
        phase in 0..9_usize,
        auth in 0..AuthProtocol::ALL.len(),
        frames in prop::collection::vec((0..2_usize, frame(), 0..4000_u64), 1..12),
    ) {
        let mut pair = pair_after(phase, AuthProtocol::ALL[auth]);
        for (to, octets, wait) in &frames {
            pair.inject(*to, octets);
            pair.run(Duration::from_millis(*wait));
        }
        pair.mute = [false; 2];
        // Whatever happened, a link that is not over is in a session that can live or ends by itself.
        pair.run(Duration::from_secs(600));
        for host in pair.hosts.iter().filter(|_| phase > 0) {
            let phase = host.link.phase();
            prop_assert!(matches!(phase, Phase::Network | Phase::Dead), "{:?}", host.link.status());
            prop_assert_eq!(phase == Phase::Dead, host.closed().is_some());
        }
    }
}
