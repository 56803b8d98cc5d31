//! Bad input by name. Each time: the right answer or silence, a counter, the engine alive, and a legitimate peer still served.

mod common;

use std::net::SocketAddr;

use common::{LAC, LNS, Pair, address, counter, is_up, sessions};
use wire::l2tp::{Attribute, AttributeType, Avps, ControlHeader, Header, MessageType, ResultCode};

const SECRET: &str = "tunnel profile modify profile_name=default secret=s3cret\n";

/// An AVP as a hostile peer writes it: flags and length as given.
fn avp(flags: u16, length: u16, vendor: u16, attribute: u16, value: &[u8]) -> Vec<u8> {
    let head = [(flags << 10) | length, vendor, attribute];
    let mut avp: Vec<u8> = head.iter().flat_map(|word| word.to_be_bytes()).collect();
    avp.extend(value);
    avp
}

const M: u16 = 0b10_0000;
const H: u16 = 0b01_0000;

/// A sound AVP, mandatory.
fn must(attribute: u16, value: &[u8]) -> Vec<u8> {
    avp(M, 6 + value.len() as u16, 0, attribute, value)
}

fn message(message_type: MessageType, rest: &[Vec<u8>]) -> Vec<u8> {
    let mut avps = must(0, &message_type.0.to_be_bytes());
    avps.extend(rest.concat());
    avps
}

fn datagram(header: [u16; 4], avps: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0xc8, 2];
    datagram.extend((12 + avps.len() as u16).to_be_bytes());
    datagram.extend(header.iter().flat_map(|word| word.to_be_bytes()));
    datagram.extend(avps);
    datagram
}

fn sccrq(more: &[Vec<u8>]) -> Vec<u8> {
    let mut all = vec![
        must(2, &[1, 0]),
        must(7, b"hostile"),
        must(3, &[0, 0, 0, 3]),
        must(9, &[0, 77]),
    ];
    all.extend_from_slice(more);
    message(MessageType::SCCRQ, &all)
}

fn icrq(id: u16, more: &[Vec<u8>]) -> Vec<u8> {
    let mut all = vec![must(14, &id.to_be_bytes()), must(15, &[0, 0, 0, 1])];
    all.extend_from_slice(more);
    message(MessageType::ICRQ, &all)
}

/// What the LNS said to the hostile peer: message type, and result and error where it has them.
type Answer = (MessageType, Option<(u16, Option<u16>)>);

const STOPPED: MessageType = MessageType::STOP_CCN;

/// A legitimate session, and beside it a peer that says what a test wants.
struct Hostile {
    pair: Pair,
    /// The LNS's Tunnel ID for the hostile peer; 0 before there is one.
    tunnel: u16,
    ns: u16,
    nr: u16,
}

impl Hostile {
    /// No tunnel of its own yet.
    fn stranger() -> Self {
        let mut pair = Pair::new(&format!("{SECRET}{LAC}"), &format!("{SECRET}{LNS}"));
        pair.up();
        pair.world.record();
        Self {
            pair,
            tunnel: 0,
            ns: 0,
            nr: 0,
        }
    }

    /// Its tunnel waits for the SCCCN.
    fn half_open() -> Self {
        let mut hostile = Self::stranger();
        let answers = hostile.say(0, &sccrq(&[]));
        assert_eq!(answers, [(MessageType::SCCRP, None)]);
        hostile
    }

    /// Its tunnel is established.
    fn established() -> Self {
        let mut hostile = Self::half_open();
        assert_eq!(hostile.say(0, &message(MessageType::SCCCN, &[])), []);
        hostile
    }

    /// Its tunnel has a call that waits for the ICCN; our id of it.
    fn calling() -> (Self, u16) {
        let mut hostile = Self::established();
        let (answers, id) =
            hostile.say_and_hear(0, &icrq(5, &[]), AttributeType::ASSIGNED_SESSION_ID);
        assert_eq!(answers, [(MessageType::ICRP, None)]);
        (hostile, id)
    }

    fn peer() -> SocketAddr {
        SocketAddr::new(address(66), 1701)
    }

    /// Says a message in its turn, and gives what comes back at once.
    fn say(&mut self, session: u16, avps: &[u8]) -> Vec<Answer> {
        self.say_and_hear(session, avps, AttributeType::ASSIGNED_TUNNEL_ID)
            .0
    }

    fn say_and_hear(
        &mut self,
        session: u16,
        avps: &[u8],
        wanted: AttributeType,
    ) -> (Vec<Answer>, u16) {
        let header = [self.tunnel, session, self.ns, self.nr];
        self.ns += 1;
        self.throw(&datagram(header, avps), wanted)
    }

    fn throw(&mut self, datagram: &[u8], wanted: AttributeType) -> (Vec<Answer>, u16) {
        let lns = self.pair.lns;
        self.pair.world.datagram(lns, Self::peer(), datagram);
        let (mut answers, mut found) = (Vec::new(), 0);
        for sent in self.pair.world.record() {
            if sent.to != Self::peer() {
                continue;
            }
            let Ok((Header::Control(header), payload)) = Header::decode(&sent.payload) else {
                panic!("{sent:?}");
            };
            self.take(&header, payload, wanted, &mut answers, &mut found);
        }
        (answers, found)
    }

    fn take(
        &mut self,
        header: &ControlHeader,
        payload: &[u8],
        wanted: AttributeType,
        answers: &mut Vec<Answer>,
        found: &mut u16,
    ) {
        let mut answer: Option<Answer> = None;
        for avp in Avps::new(payload).flatten().filter(|avp| !avp.hidden) {
            let Some(attribute) = avp.attribute_type() else {
                panic!("{avp:?}");
            };
            match Attribute::decode(attribute, avp.value) {
                Ok(Some(Attribute::MessageType(kind))) => answer = Some((kind, None)),
                Ok(Some(Attribute::ResultCode(ResultCode { result, error, .. }))) => {
                    if let Some(answer) = &mut answer {
                        answer.1 = Some((result, error.map(|error| error.0)));
                    }
                }
                Ok(Some(Attribute::AssignedTunnelId(id))) if self.tunnel == 0 => self.tunnel = id,
                Ok(Some(Attribute::AssignedSessionId(id))) if attribute == wanted => *found = id,
                _ => {}
            }
        }
        if let Some(answer) = answer {
            self.nr = header.ns.wrapping_add(1);
            answers.push(answer);
        }
    }

    /// It was counted so, and nobody else noticed: the session is up, and another one comes up.
    fn aftermath(mut self, counted: &str) {
        let world = &mut self.pair.world;
        assert!(counter(world, self.pair.lns, counted) > 0, "{counted}");
        self.pair.run(90);
        for node in [self.pair.lac, self.pair.lns] {
            let all = sessions(&mut self.pair.world, node);
            assert!(all.iter().any(is_up), "{all:?}");
        }
    }
}

const MALFORMED: &str = "control.malformed_messages";
const UNEXPECTED: &str = "control.unexpected_messages";

#[test]
fn a_zero_length_avp() {
    let mut hostile = Hostile::established();
    let hello = message(MessageType::HELLO, &[avp(M, 0, 0, 9, &[1, 2])]);
    assert_eq!(hostile.say(0, &hello), [(STOPPED, Some((2, Some(2))))]);
    hostile.aftermath(MALFORMED);
}

#[test]
fn an_avp_that_reaches_past_the_end() {
    let mut hostile = Hostile::established();
    let hello = message(MessageType::HELLO, &[avp(M, 60, 0, 7, b"short")]);
    assert_eq!(hostile.say(0, &hello), [(STOPPED, Some((2, Some(2))))]);
    hostile.aftermath(MALFORMED);
}

#[test]
fn an_avp_of_a_foreign_vendor_with_a_number_of_the_ietfs() {
    // Not mandatory: nothing happens, and no tunnel id is taken from it. Mandatory: unknown.
    let mut hostile = Hostile::established();
    let with = |flags| message(MessageType::HELLO, &[avp(flags, 8, 9, 9, &[0, 1])]);
    assert_eq!(hostile.say(0, &with(0)), []);
    assert_eq!(hostile.say(0, &with(M)), [(STOPPED, Some((2, Some(8))))]);
    hostile.aftermath("control.ignored_avps");
}

#[test]
fn an_unknown_mandatory_avp_in_each_message() {
    let unknown = || avp(M, 7, 0, 999, b"?");
    for kind in (1..=17).chain([28, 29]).map(MessageType) {
        let (mut hostile, id) = Hostile::calling();
        let answers = hostile.say(id, &message(kind, &[unknown()]));
        let expected: &[Answer] = match kind {
            // What ends something ends it.
            MessageType::STOP_CCN | MessageType::CDN => &[],
            _ if kind.is_about_session() => &[(MessageType::CDN, Some((2, Some(8))))],
            _ => &[(STOPPED, Some((2, Some(8))))],
        };
        assert_eq!(answers, expected, "{kind}");
        if kind != MessageType::STOP_CCN {
            hostile.aftermath(MALFORMED);
        }
    }
}

#[test]
fn the_reserved_message_types() {
    for kind in [0, 5, 13] {
        let mut hostile = Hostile::established();
        let answers = hostile.say(0, &message(MessageType(kind), &[]));
        assert_eq!(answers, [(STOPPED, Some((2, Some(8))))], "{kind}");
        hostile.aftermath(MALFORMED);
        // Not mandatory, they are ignored.
        let mut hostile = Hostile::established();
        let mut ignorable = avp(0, 8, 0, 0, &kind.to_be_bytes());
        ignorable.extend(must(999, b"?"));
        assert_eq!(hostile.say(0, &ignorable), [], "{kind}");
        hostile.aftermath("control.received.unknown");
    }
}

#[test]
fn an_icrq_with_a_physical_channel_and_no_bearer() {
    let mut hostile = Hostile::established();
    let channel = must(25, &[0, 0, 0, 3]);
    assert_eq!(
        hostile.say(0, &icrq(5, &[channel])),
        [(MessageType::ICRP, None)]
    );
    hostile.aftermath("control.received.icrq");
}

#[test]
fn an_icrq_before_the_scccn() {
    let mut hostile = Hostile::half_open();
    assert_eq!(
        hostile.say(0, &icrq(5, &[])),
        [(STOPPED, Some((7, Some(0))))]
    );
    hostile.aftermath(UNEXPECTED);
}

#[test]
fn a_session_id_of_0() {
    let mut hostile = Hostile::established();
    let answers = hostile.say(0, &icrq(0, &[]));
    assert_eq!(answers, [(MessageType::CDN, Some((2, Some(3))))]);
    hostile.aftermath(MALFORMED);
}

#[test]
fn a_result_code_without_an_error_code() {
    let (mut hostile, id) = Hostile::calling();
    let cdn = message(MessageType::CDN, &[must(1, &[0, 3]), must(14, &[0, 5])]);
    assert_eq!(hostile.say(id, &cdn), []);
    let stop = message(
        MessageType::STOP_CCN,
        &[must(9, &[0, 77]), must(1, &[0, 1])],
    );
    assert_eq!(hostile.say(0, &stop), []);
    hostile.aftermath("control.received.stop_ccn");
}

#[test]
fn hidden_avps_that_do_not_open() {
    let vector = must(36, &[7; 16]);
    for hidden in [
        // Without a Random Vector; with an absurd length inside, or under a wrong secret; with nothing inside.
        vec![avp(M | H, 10, 0, 14, &[1, 2, 3, 4])],
        vec![vector.clone(), avp(M | H, 26, 0, 14, &[0xff; 20])],
        vec![vector, avp(M | H, 6, 0, 14, &[])],
    ] {
        let mut hostile = Hostile::established();
        let mut request = icrq(5, &[]);
        request.extend(hidden.concat());
        let answers = hostile.say(0, &request);
        assert_eq!(answers, [(MessageType::CDN, Some((2, Some(3))))]);
        hostile.aftermath(MALFORMED);
    }
}

#[test]
fn datagrams_shorter_and_longer_than_they_say() {
    let mut hostile = Hostile::established();
    let header = [hostile.tunnel, 0, hostile.ns, hostile.nr];
    let hello = datagram(header, &message(MessageType::HELLO, &[]));
    let wanted = AttributeType::ASSIGNED_TUNNEL_ID;
    assert_eq!(hostile.throw(&hello[..hello.len() - 1], wanted).0, []);
    let mut long = hello.clone();
    long.extend([0xff; 20]);
    // What is past the length is not the message's.
    assert_eq!(hostile.throw(&long, wanted).0, []);
    assert!(counter(&mut hostile.pair.world, 1, "control.received.hello") > 0);
    hostile.aftermath("datagrams.malformed_header");
}
