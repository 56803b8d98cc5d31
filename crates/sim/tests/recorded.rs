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
use engine::Event;
use frames::Frame;
use sim::{NodeId, Quality, World};
use wire::l2tp::Header;

const SERVER: &str = "
    tunnel profile modify profile_name=default secret=s3cret
    ppp profile modify profile_name=default ip_pool_name=pool
    ip_pool create pool_name=pool range=10.0.0.1-10.0.0.99
";
const CLIENT: &str = "
    tunnel profile modify profile_name=default secret=s3cret
    tunnel create tunnel_name=t dest_ipaddr=192.0.2.9
";
const SESSION: &str = "session create tunnel_name=t user_name=u0 user_password=pw\n";
/// The most calls that a recorded LAC placed on its tunnel.
const CALLS: usize = 3;

/// The recordings whose set-up fails by what the recorded peer itself says, and what it says.
const FAILING: [(&str, &str); 2] = [
    (
        "openl2tp-openl2tp-chap-hidden",
        "StopCCN of the LAC: it does not accept the LNS's challenge response",
    ),
    (
        "xl2tpd-openl2tp-chap-hidden",
        "StopCCN: the two can't read each other's hidden AVPs",
    ),
];

/// Our ids for those of a recording: the calls of both begin in the same order.
#[derive(Default)]
struct Ids {
    /// Session IDs as the recording's headers have them, in order of appearance.
    recorded: Vec<u16>,
    /// Ours, in order of appearance.
    ours: Vec<u16>,
}

impl Ids {
    /// The datagram with our ids in its header, where it has any. A recorded call that we have no counterpart of keeps its id.
    fn addressed(&mut self, frame: &Frame, world: &mut World, node: NodeId) -> Vec<u8> {
        let tunnel = tunnels(world, node)
            .first()
            .and_then(|t| t.tunnel_id)
            .unwrap_or(0);
        for id in sessions(world, node).iter().filter_map(|s| s.session_id) {
            note(&mut self.ours, id);
        }
        let mut datagram = frame.payload.clone();
        let (at, recorded) = match Header::decode(&datagram) {
            Ok((Header::Data(header), _)) => {
                (2 + 2 * usize::from(header.has_length), header.session_id)
            }
            Ok((Header::Control(header), _)) => (4, header.session_id),
            Err(error) => panic!("frame {}: {error}", frame.number),
        };
        if datagram[at..at + 2] != [0, 0] {
            datagram[at..at + 2].copy_from_slice(&tunnel.to_be_bytes());
        }
        if recorded != 0
            && let Some(ours) = self.ours.get(note(&mut self.recorded, recorded))
        {
            datagram[at + 2..at + 4].copy_from_slice(&ours.to_be_bytes());
        }
        datagram
    }
}

/// The position of an id among those that were seen, itself included.
fn note(seen: &mut Vec<u16>, id: u16) -> usize {
    seen.iter().position(|s| *s == id).unwrap_or_else(|| {
        seen.push(id);
        seen.len() - 1
    })
}

/// Plays what one end of a recording said to a node, up to its first data packet, that one included.
fn play(name: &str, lac: bool, world: &mut World, node: NodeId) {
    let peer = SocketAddr::new(address(9), 1701);
    let mut ids = Ids::default();
    for frame in frames::read(name)
        .iter()
        .filter(|frame| frame.from_lac == lac)
    {
        let datagram = ids.addressed(frame, world, node);
        world.datagram(node, peer, &datagram);
        world.run_for(Duration::from_millis(20));
        if matches!(Header::decode(&frame.payload), Ok((Header::Data(_), _))) {
            return;
        }
    }
}

/// What is wrong with the outcome of a recording.
fn fault(name: &str, world: &mut World, node: NodeId) -> Option<String> {
    if FAILING.iter().any(|(failing, _)| *failing == name) {
        return None;
    }
    let past_the_call = [
        SessionState::Link,
        SessionState::Authenticating,
        SessionState::Network,
    ];
    let up = sessions(world, node)
        .iter()
        .any(|s| past_the_call.contains(&s.state));
    let heard = counter(world, node, "ppp.received");
    let fine = up && heard == 1 && counter(world, node, "datagrams.unknown_session") == 0;
    let strays = counter(world, node, "datagrams.unknown_session");
    (!fine).then(|| {
        format!(
            "{name}: up {up}, PPP heard {heard}, strays {strays}\n{:?}",
            world.take_events(node)
        )
    })
}

#[test]
fn every_recorded_lac_gets_its_session_from_our_lns() {
    let faults = frames::names().into_iter().filter_map(|name| {
        let mut world = World::new(1, Quality::PERFECT);
        let lns = world.add(address(2), model(SERVER));
        play(&name, true, &mut world, lns);
        fault(&name, &mut world, lns)
    });
    assert_eq!(faults.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn every_recorded_lns_serves_our_lac() {
    let faults = frames::names().into_iter().filter_map(|name| {
        let mut world = World::new(1, Quality::PERFECT);
        let client = model(&format!("{CLIENT}{}", SESSION.repeat(CALLS)));
        let lac = world.add(address(1), client.clone());
        start(&mut world, lac, &client);
        play(&name, false, &mut world, lac);
        fault(&name, &mut world, lac)
    });
    assert_eq!(faults.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_stop_ccn_to_tunnel_0_ends_the_tunnel_that_it_names() {
    let mut world = World::new(1, Quality::PERFECT);
    let lns = world.add(address(2), model(SERVER));
    play("xl2tpd-openl2tp-chap-hidden", true, &mut world, lns);
    let events = world.take_events(lns);
    let told = |e: &Event| matches!(e, Event::TunnelDown { reason, .. } if reason.contains("Invalid Hidden AVP"));
    assert!(events.iter().any(told), "{events:?}");
}
