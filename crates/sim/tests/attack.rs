//! What attackers try on an engine, and what everybody else has of it meanwhile and afterwards.

mod common;

use std::net::SocketAddr;

use common::{LAC, LNS, Pair, address, counter, is_up, sessions, tunnels};

const ATTACKER: u8 = 66;

/// A control message that is the first of its sender, to tunnel 0: these AVPs, each with its M bit.
fn first_message(avps: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (attribute, value) in avps {
        body.extend((0x8000 | (6 + value.len() as u16)).to_be_bytes());
        body.extend([0, 0]);
        body.extend(attribute.to_be_bytes());
        body.extend(*value);
    }
    let length = 12 + body.len() as u16;
    let mut message = vec![0xc8, 2];
    message.extend(length.to_be_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// An SCCRQ of a peer whose Tunnel ID is `peer_id`.
fn sccrq(peer_id: u16) -> Vec<u8> {
    first_message(&[
        (0, &[0, 1]),
        (2, &[1, 0]),
        (7, b"attacker"),
        (3, &[0, 0, 0, 3]),
        (9, &peer_id.to_be_bytes()),
    ])
}

impl Pair {
    fn attack_from(&mut self, source: u8, datagram: &[u8]) {
        let attacker = SocketAddr::from(([198, 51, 100, source], 1701));
        self.world.datagram(self.lns, attacker, datagram);
    }

    fn attack(&mut self, port: u16, datagram: &[u8]) {
        let attacker = SocketAddr::new(address(ATTACKER), port);
        self.world.datagram(self.lns, attacker, datagram);
    }
}

/// Half-open tunnels keep nobody out, however many are asked for: the oldest make room, those of the source first.
#[test]
fn half_open_tunnels_cost_neither_the_others_nor_the_core() {
    let mut pair = Pair::new(LAC, LNS);
    pair.world.cut_off(pair.lac, true);
    for peer_id in 1..=10_000 {
        pair.attack(1000, &sccrq(peer_id));
    }
    assert_eq!(tunnels(&mut pair.world, pair.lns).len(), 2_048);
    pair.world.cut_off(pair.lac, false);
    pair.up();

    for peer_id in 1..=u16::MAX {
        pair.attack(1001, &sccrq(peer_id));
    }
    for source in 0..100 {
        for peer_id in 1..=100 {
            pair.attack_from(source, &sccrq(peer_id));
        }
    }
    assert_eq!(tunnels(&mut pair.world, pair.lns).len(), 3_072 + 1);
    assert!(counter(&mut pair.world, pair.lns, "limits.half_open_of_source") >= 70_000);
    assert!(counter(&mut pair.world, pair.lns, "limits.half_open") >= 5_000);
    assert_eq!(
        counter(&mut pair.world, pair.lns, "refused.no_tunnel_id"),
        0
    );
    assert!(is_up(&sessions(&mut pair.world, pair.lac)[0]));

    pair.run(60);
    assert_eq!(tunnels(&mut pair.world, pair.lns).len(), 1);
    assert!(is_up(&sessions(&mut pair.world, pair.lac)[0]));
}
