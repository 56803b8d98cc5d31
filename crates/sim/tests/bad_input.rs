//! Every truncation and every single-octet corruption of every captured message goes through a live engine, and it goes on serving.

mod common;
#[path = "../../../tests/captures/frames.rs"]
mod frames;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::{LAC, LNS, Pair, address, counter, established, sessions, tunnels};
use wire::l2tp::Header;

const SECRET: &str = "tunnel profile modify profile_name=default secret=s3cret\n";

/// Every captured message once.
fn messages() -> BTreeSet<Vec<u8>> {
    frames::names()
        .iter()
        .flat_map(|name| frames::read(name))
        .map(|frame| frame.payload)
        .collect()
}

/// A LAC and an LNS with one session up.
fn pair() -> Pair {
    let mut pair = Pair::new(&format!("{SECRET}{LAC}"), &format!("{SECRET}{LNS}"));
    pair.up();
    pair
}

/// What the mutations are thrown at: the engines of a pair, each as if its peer sent them.
struct Target {
    pair: Pair,
    thrown: u64,
}

impl Target {
    /// Makes a message one to the node's own tunnel and session, with the number that is expected next, so that it gets past the transport.
    fn address(&mut self, node: usize, message: &[u8]) -> Vec<u8> {
        let tunnel = tunnels(&mut self.pair.world, node)
            .into_iter()
            .find(|t| t.tunnel_id.is_some());
        let session = sessions(&mut self.pair.world, node)
            .first()
            .and_then(|s| s.session_id)
            .unwrap_or(1);
        let mut out = message.to_vec();
        let mut put = |at: usize, v: u16| out[at..at + 2].copy_from_slice(&v.to_be_bytes());
        let id = tunnel.as_ref().and_then(|t| t.tunnel_id).unwrap_or(1);
        match Header::decode(message) {
            Ok((Header::Control(header), _)) if header.tunnel_id != 0 => {
                put(4, id);
                if header.session_id != 0 {
                    put(6, session);
                }
                if let Some(transport) = tunnel.and_then(|t| t.transport) {
                    put(8, transport.nr);
                    put(10, transport.ns);
                }
            }
            Ok((Header::Data(header), _)) => {
                let at = 2 + 2 * usize::from(header.has_length);
                put(at, id);
                put(at + 2, session);
            }
            _ => {}
        }
        out
    }

    fn throw(&mut self, node: usize, datagram: &[u8]) {
        let peer = SocketAddr::new(address(2 - node as u8), 1701);
        self.pair.world.datagram(node, peer, datagram);
        self.thrown += 1;
        // Tunnels that a mutation opened or closed linger: let them go before there are too many.
        if self.thrown.is_multiple_of(2_000) {
            self.pair.run(40);
        }
    }

    /// The pair carries its session again, by itself.
    fn recover(&mut self) {
        let both =
            |world: &mut sim::World| established(world, 0) >= 1 && established(world, 1) >= 1;
        let up =
            self.pair
                .world
                .run_until(Duration::from_secs(1_000), Duration::from_secs(1), both);
        assert!(up, "after {} mutations", self.thrown);
    }
}

#[test]
fn truncations_end_nothing_but_what_they_may() {
    let mut target = Target {
        pair: pair(),
        thrown: 0,
    };
    for message in messages() {
        for node in [0, 1] {
            for len in 0..message.len() {
                let addressed = target.address(node, &message);
                target.throw(node, &addressed[..len]);
            }
        }
    }
    target.recover();
    assert!(counter(&mut target.pair.world, 1, "datagrams.malformed_header") > 1_000);
}

#[test]
fn corruptions_end_nothing_but_what_they_may() {
    let mut target = Target {
        pair: pair(),
        thrown: 0,
    };
    for message in messages() {
        for node in [0, 1] {
            let mut mutant = target.address(node, &message);
            for at in 0..message.len() {
                let right = mutant[at];
                for wrong in (0..=255).filter(|&wrong| wrong != right) {
                    mutant[at] = wrong;
                    target.throw(node, &mutant);
                }
                mutant = target.address(node, &message);
            }
        }
    }
    println!("{} mutations", target.thrown);
    target.recover();
}
