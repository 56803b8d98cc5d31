//! Sessions over a wire that loses, doubles and overtakes. The seed is in the message of a failure.

mod common;

use std::time::Duration;

use common::*;
use ppp::{AuthProtocol, Event, LinkConfig};

const SEEDS: u64 = 200;

fn server(auth: AuthProtocol) -> Host {
    let config = LinkConfig {
        require_auth: vec![auth],
        echo_interval: Some(Duration::from_secs(30)),
        echo_failures: 15,
        ..LinkConfig::default()
    };
    Host::new(config, None, server_network())
}

#[test]
fn sessions_come_up_stay_and_go_down_in_foul_weather() {
    for auth in AuthProtocol::ALL {
        for seed in 0..SEEDS {
            let mut pair = Pair::with_weather(server(auth), Host::client(), Weather::FOUL, seed);
            pair.open(Duration::from_secs(60));
            assert!(
                pair.is_up(),
                "{auth}, seed {seed}: {:?}",
                pair.hosts.map(|h| h.link.status())
            );
            pair.run(Duration::from_secs(1800));
            assert!(
                pair.is_up(),
                "{auth}, seed {seed}: {:?}",
                pair.hosts.map(|h| h.events)
            );
            pair.close(CLIENT, Duration::from_secs(60));
            assert!(pair.client().closed().is_some(), "{auth}, seed {seed}");
        }
    }
}

#[test]
fn a_challenge_now_and_then_does_not_hurt_in_foul_weather() {
    for auth in [
        AuthProtocol::ChapMd5,
        AuthProtocol::MsChapV1,
        AuthProtocol::MsChapV2,
    ] {
        for seed in 0..SEEDS {
            let config = LinkConfig {
                require_auth: vec![auth],
                chap_interval: Some(Duration::from_secs(10)),
                ..LinkConfig::default()
            };
            let server = Host::new(config, None, server_network());
            let mut pair = Pair::with_weather(server, Host::client(), Weather::FOUL, seed);
            pair.open(Duration::from_secs(600));
            assert!(
                pair.is_up(),
                "{auth}, seed {seed}: {:?}",
                pair.hosts.map(|h| h.link.status())
            );
            let asked = pair.server().events.iter();
            assert!(
                asked
                    .filter(|e| matches!(e, Event::Authenticate(_)))
                    .count()
                    > 30
            );
        }
    }
}

#[test]
fn a_day_passes() {
    for seed in 0..3 {
        let mut pair = Pair::with_weather(
            server(AuthProtocol::ChapMd5),
            Host::client(),
            Weather::FOUL,
            seed,
        );
        pair.open(Duration::from_secs(86_400));
        assert!(
            pair.is_up(),
            "seed {seed}: {:?}",
            pair.hosts.map(|h| h.link.status())
        );
        assert_eq!(pair.server().link.counters().malformed, 0);
    }
}
