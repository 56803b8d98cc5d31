//! pppd as it was recorded, against a live link: its proofs hold, and a link does with it what the recorded other end did.
#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;
#[path = "../../../tests/captures/frames.rs"]
mod frames;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use common::*;
use ppp::{AuthAttempt, AuthProtocol, Ipv4Config, LinkConfig, NetworkConfig, Proof, Verdict};
use wire::l2tp::Header;
use wire::ppp::iana::code;
use wire::ppp::{
    ChapPacket, Frame, IpcpOption, LcpOption, MsChapV2Response, MsChapV2Success, Packet, Protocol,
};

/// The control packets of one PPP session.
#[derive(Default)]
struct Session {
    /// Whether the LAC sent it, and the frame.
    frames: Vec<(bool, Vec<u8>)>,
}

impl Session {
    fn packets(&self, from_lac: bool) -> Vec<Sent> {
        let frames = self.frames.iter().filter(|(lac, _)| *lac == from_lac);
        frames.map(|(_, frame)| sent(frame)).collect()
    }

    /// The last packet of this kind.
    fn last(&self, from_lac: bool, protocol: Protocol, code: u8) -> Option<Sent> {
        let mut packets = self.packets(from_lac);
        packets.retain(|p| p.protocol == protocol && p.code == code);
        packets.pop()
    }

    /// The authentication that the LNS demanded in the end.
    fn auth(&self) -> Option<AuthProtocol> {
        let request = self.last(false, Protocol::LCP, code::CONFIGURE_REQUEST)?;
        let packet = Packet {
            code: request.code,
            identifier: 0,
            data: &request.data,
        };
        packet
            .options()
            .flatten()
            .find_map(|option| match LcpOption::decode(option) {
                Ok(LcpOption::Authentication {
                    protocol: Protocol::PAP,
                    ..
                }) => Some(AuthProtocol::Pap),
                Ok(LcpOption::Authentication { data: [5], .. }) => Some(AuthProtocol::ChapMd5),
                Ok(LcpOption::Authentication { data: [0x81], .. }) => Some(AuthProtocol::MsChapV2),
                _ => None,
            })
    }

    /// The address that an end had in the end.
    fn address(&self, lac: bool) -> Option<Ipv4Addr> {
        let request = self.last(lac, Protocol::IPCP, code::CONFIGURE_REQUEST)?;
        let packet = Packet {
            code: request.code,
            identifier: 0,
            data: &request.data,
        };
        packet
            .options()
            .flatten()
            .find_map(|option| match IpcpOption::decode(option) {
                Ok(IpcpOption::Address(address)) => Some(address),
                _ => None,
            })
    }
}

/// What one end of a session sent: frame numbers and frames.
type Half = Vec<(usize, Vec<u8>)>;

/// The sessions of a capture that came up. The two directions of a session have different ids: what pairs them is the magic number
/// that a Configure-Ack repeats.
fn sessions(name: &str) -> Vec<Session> {
    let mut halves: BTreeMap<(bool, u16, u16), Half> = BTreeMap::new();
    for captured in frames::read(name) {
        let Ok((Header::Data(header), octets)) = Header::decode(&captured.payload) else {
            continue;
        };
        if Frame::decode(octets).is_ok_and(|frame| !frame.protocol.is_network_layer()) {
            let key = (captured.from_lac, header.tunnel_id, header.session_id);
            halves
                .entry(key)
                .or_default()
                .push((captured.number, octets.to_vec()));
        }
    }
    let lcp = |half: &Half, code| {
        let packets = half.iter().map(|(_, frame)| sent(frame));
        let mut found: Vec<_> = packets
            .filter(|p| p.protocol == Protocol::LCP && p.code == code)
            .collect();
        found.pop().map(|p| p.data)
    };
    let mut sessions = Vec::new();
    for (_, lac) in halves.iter().filter(|((from_lac, ..), _)| *from_lac) {
        let acknowledged = lcp(lac, code::CONFIGURE_ACK);
        let lns = halves.iter().find(|((from_lac, ..), half)| {
            !from_lac
                && acknowledged.is_some()
                && lcp(half, code::CONFIGURE_REQUEST) == acknowledged
        });
        if let Some((_, lns)) = lns {
            let both = lac
                .iter()
                .map(|f| (true, f))
                .chain(lns.iter().map(|f| (false, f)));
            let mut all: Vec<_> = both
                .map(|(lac, (n, frame))| (*n, lac, frame.clone()))
                .collect();
            all.sort();
            sessions.push(Session {
                frames: all.into_iter().map(|(_, lac, f)| (lac, f)).collect(),
            });
        }
    }
    sessions
}

fn all_sessions() -> Vec<(String, Session)> {
    let all = frames::names().into_iter();
    all.flat_map(|name| sessions(&name).into_iter().map(move |s| (name.clone(), s)))
        .collect()
}

#[test]
fn the_recorded_proofs_hold_and_others_do_not() {
    let mut seen: BTreeMap<AuthProtocol, usize> = BTreeMap::new();
    for (name, session) in all_sessions() {
        let (Some(challenge), Some(response), Some(success)) = (
            session.last(false, Protocol::CHAP, 1),
            session.last(true, Protocol::CHAP, 2),
            session.last(false, Protocol::CHAP, 3),
        ) else {
            continue;
        };
        let identifier = response.identifier;
        let (challenge, response) = (
            ChapPacket::decode(&challenge.packet()),
            ChapPacket::decode(&response.packet()),
        );
        let (Ok(ChapPacket::Challenge(challenge)), Ok(ChapPacket::Response(response))) =
            (challenge, response)
        else {
            panic!("{name}")
        };
        let auth = session.auth().unwrap();
        let proof = match auth {
            // pppd's MD5 challenges have any length; an attempt of ours holds 16 octets.
            AuthProtocol::ChapMd5 => {
                let expected =
                    crypto::chap::response(identifier, PASSWORD.as_bytes(), challenge.value);
                assert_eq!(expected, response.value, "{name}");
                *seen.entry(auth).or_default() += 1;
                continue;
            }
            _ => {
                let MsChapV2Response {
                    peer_challenge,
                    nt_response,
                } = MsChapV2Response::decode(response.value).unwrap();
                let authenticator_challenge = challenge.value.try_into().unwrap();
                Proof::MsChapV2 {
                    identifier,
                    authenticator_challenge,
                    peer_challenge,
                    nt_response,
                }
            }
        };
        let attempt = AuthAttempt {
            number: 1,
            user_name: response.name.to_vec(),
            proof,
        };
        assert_eq!(attempt.check(&"wrong".into()), None);
        let Some(Verdict::Accept {
            authenticator_response,
            ..
        }) = attempt.check(&PASSWORD.into())
        else {
            panic!("{name}")
        };
        let success = MsChapV2Success::decode(&success.data).unwrap();
        assert_eq!(
            authenticator_response,
            Some(success.authenticator_response),
            "{name}"
        );
        *seen.entry(auth).or_default() += 1;
    }
    assert!(
        seen[&AuthProtocol::ChapMd5] >= 10 && seen[&AuthProtocol::MsChapV2] >= 3,
        "{seen:?}"
    );
}

/// Plays one recorded end to a live link: what it said, in order, but for its answers to requests that differ now; those requests it
/// simply agrees to.
fn play(solo: &mut Solo, packets: Vec<Sent>) -> Vec<Sent> {
    let mut said = agree(solo, Vec::new());
    for packet in packets {
        let ncp = packet.protocol == Protocol::LCP || packet.protocol == Protocol::IPCP;
        if ncp && packet.code != code::CONFIGURE_REQUEST {
            continue;
        }
        let answers = solo.say(
            packet.protocol,
            packet.code,
            packet.identifier,
            &packet.data,
        );
        said.extend(agree(solo, answers));
    }
    said
}

/// Acknowledges what the link asks for until it asks for nothing more.
fn agree(solo: &mut Solo, mut said: Vec<Sent>) -> Vec<Sent> {
    said.extend(solo.take());
    let mut next = 0;
    while let Some(packet) = said.get(next).cloned() {
        next += 1;
        let ncp = packet.protocol == Protocol::LCP || packet.protocol == Protocol::IPCP;
        if ncp && packet.code == code::CONFIGURE_REQUEST {
            said.extend(solo.say(
                packet.protocol,
                code::CONFIGURE_ACK,
                packet.identifier,
                &packet.data,
            ));
        }
    }
    said
}

#[test]
fn recorded_clients_come_up_at_a_live_server() {
    let mut played = 0;
    for (name, session) in all_sessions() {
        if session.auth() != Some(AuthProtocol::Pap) {
            continue;
        }
        let (local, peer) = (
            session.address(false).unwrap(),
            session.address(true).unwrap(),
        );
        let mut host = Host::server(&[AuthProtocol::Pap]);
        host.any_user = true;
        host.network = NetworkConfig {
            ipv4: Some(Ipv4Config {
                local: Some(local),
                peer: Some(peer),
                ..Ipv4Config::default()
            }),
            ipv6: None,
        };
        let mut solo = Solo::new(host);
        play(&mut solo, session.packets(true));
        assert_eq!(solo.host.link.status().ipv4, Some((local, peer)), "{name}");
        played += 1;
    }
    assert!(played >= 8, "{played}");
}

#[test]
fn a_live_client_gives_the_recorded_responses_to_recorded_servers() {
    let mut played = 0;
    for (name, session) in all_sessions() {
        if session.auth() != Some(AuthProtocol::ChapMd5) {
            continue;
        }
        let Some(recorded) = session.last(true, Protocol::CHAP, 2) else {
            continue;
        };
        let user = String::from_utf8(recorded.data[17..].to_vec()).unwrap();
        let address = session.address(true);
        let network = NetworkConfig {
            ipv4: Some(Ipv4Config {
                local: address,
                ..Ipv4Config::default()
            }),
            ipv6: None,
        };
        let host = Host::new(LinkConfig::default(), Some((&user, PASSWORD)), network);
        let mut solo = Solo::new(host);
        let said = play(&mut solo, session.packets(false));
        let response = said.iter().find(|p| p.protocol == Protocol::CHAP);
        assert_eq!(response, Some(&recorded), "{name}");
        let expected = Some((address.unwrap(), session.address(false).unwrap()));
        assert_eq!(solo.host.link.status().ipv4, expected, "{name}");
        played += 1;
    }
    assert!(played >= 10, "{played}");
}

#[test]
fn whatever_was_recorded_does_no_harm_in_any_order() {
    for (_, session) in all_sessions() {
        for from_lac in [true, false] {
            let mut frames: Vec<_> = session.packets(from_lac);
            frames.reverse();
            for host in [Host::server(&[AuthProtocol::ChapMd5]), Host::client()] {
                let mut solo = Solo::new(host);
                for packet in &frames {
                    solo.say(
                        packet.protocol,
                        packet.code,
                        packet.identifier,
                        &packet.data,
                    );
                }
            }
        }
    }
}
