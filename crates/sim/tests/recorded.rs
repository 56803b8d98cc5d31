//! Recorded daemons against a live engine: each capture's LAC is played to our LNS and each capture's LNS to our LAC, up to the first data
//! packet.
//!
//! A recording can't know the ids that our engine gives out, so the ids in its headers are replaced by those; everything else
//! is sent as it was. Nor can it answer a challenge of ours: where it answered its own peer's, ours is not sent, and the answer is ignored.

mod common;
#[path = "../../../tests/captures/frames.rs"]
mod frames;

use std::net::SocketAddr;
use std::time::Duration;

use api::SessionState;
use common::{address, counter, model, sessions, start, tunnels};
use frames::Frame;
use sim::{NodeId, Quality, World};
use wire::l2tp::{Avps, Header, MessageType};

const SERVER: &str = "
    tunnel profile modify profile_name=default secret=s3cret
    ppp profile modify profile_name=default ip_pool_name=pool
    ip_pool create pool_name=pool range=10.0.0.1-10.0.0.99
";
const CLIENT: &str = "
    tunnel profile modify profile_name=default secret=s3cret
    tunnel create tunnel_name=t dest_ipaddr=192.0.2.9
    session create tunnel_name=t user_name=u0 user_password=pw
";

/// The recordings whose set-up fails by what the recorded peer itself says, and what it says.
const FAILING: [(&str, &str); 1] =
    [("xl2tpd-openl2tp-chap-hidden", "the recorded daemons can't read each other and say StopCCN before any call is up")];

fn message_type(frame: &Frame) -> Option<MessageType> {
    let Ok((Header::Control(_), body)) = Header::decode(&frame.payload) else { return None };
    let first = Avps::new(body).next()?.ok()?;
    Some(MessageType(u16::from_be_bytes(first.value.try_into().ok()?)))
}

/// The datagram with our ids in its header, where it has any.
fn to_us(frame: &Frame, tunnel: u16, session: u16) -> Vec<u8> {
    let mut datagram = frame.payload.clone();
    let ids = match Header::decode(&datagram) {
        Ok((Header::Data(header), _)) => 2 + 2 * usize::from(header.has_length),
        _ => 4,
    };
    for (at, id) in [(ids, tunnel), (ids + 2, session)] {
        if datagram[at..at + 2] != [0, 0] {
            datagram[at..at + 2].copy_from_slice(&id.to_be_bytes());
        }
    }
    datagram
}

/// The ids of the first tunnel and session of a node, 0 where there is none.
fn ids(world: &mut World, node: NodeId) -> (u16, u16) {
    let tunnel = tunnels(world, node).first().and_then(|t| t.tunnel_id).unwrap_or(0);
    let session = sessions(world, node).first().and_then(|s| s.session_id).unwrap_or(0);
    (tunnel, session)
}

/// Plays what one end of a recording said to a node, up to its first data packet, that one included.
fn play(name: &str, lac: bool, world: &mut World, node: NodeId) {
    let peer = SocketAddr::new(address(9), 1701);
    for frame in frames::read(name).iter().filter(|frame| frame.from_lac == lac) {
        let (tunnel, session) = ids(world, node);
        world.datagram(node, peer, &to_us(frame, tunnel, session));
        world.run_for(Duration::from_millis(20));
        if message_type(frame).is_none() && matches!(Header::decode(&frame.payload), Ok((Header::Data(_), _))) {
            return;
        }
        // A recording that repeats itself, as it heard no answer, does not know that we gave one.
    }
}

fn assert_up(name: &str, world: &mut World, node: NodeId) {
    if FAILING.iter().any(|(failing, _)| *failing == name) {
        return;
    }
    let all = sessions(world, node);
    let past_the_call = |s: &api::SessionStatus| {
        matches!(s.state, SessionState::Link | SessionState::Authenticating | SessionState::Network | SessionState::Established)
    };
    assert!(all.iter().any(past_the_call), "{name}: {all:?}\n{:?}", world.take_events(node));
    assert_eq!(counter(world, node, "datagrams.unknown_session"), 0, "{name}");
}

#[test]
fn every_recorded_lac_gets_its_session_from_our_lns() {
    for name in frames::names() {
        let mut world = World::new(1, Quality::PERFECT);
        let lns = world.add(address(2), model(SERVER));
        play(&name, true, &mut world, lns);
        assert_up(&name, &mut world, lns);
    }
}

#[test]
fn every_recorded_lns_serves_our_lac() {
    for name in frames::names() {
        let mut world = World::new(1, Quality::PERFECT);
        let client = model(CLIENT);
        let lac = world.add(address(1), client.clone());
        start(&mut world, lac, &client);
        play(&name, false, &mut world, lac);
        assert_up(&name, &mut world, lac);
    }
}
