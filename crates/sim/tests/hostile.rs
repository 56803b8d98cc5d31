//! Bad input by name. Each time: the right answer or silence, a counter, the engine alive, and a legitimate peer still served.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

mod common;

use std::net::SocketAddr;

use api::SessionState;
use common::{LAC, LNS, Pair, address, ask, counter, is_up, sessions};
use engine::Command;
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
        Self::to("", SECRET)
    }

    /// The same to an LNS that has these lines more; with a secret, it is the legitimate LAC's too.
    fn to(lns: &str, secret: &str) -> Self {
        let mut pair = Pair::new(&format!("{secret}{LAC}"), &format!("{secret}{LNS}{lns}"));
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
        self.hear(wanted)
    }

    /// What was said to it since it heard last.
    fn hear(&mut self, wanted: AttributeType) -> (Vec<Answer>, u16) {
        let (mut answers, mut found) = (Vec::new(), 0);
        for sent in self.pair.world.record() {
            if sent.to != Self::peer() {
                continue;
            }
            match Header::decode(&sent.payload) {
                Ok((Header::Control(header), payload)) => {
                    self.take(&header, payload, wanted, &mut answers, &mut found);
                }
                // PPP of a call that is up.
                Ok((Header::Data(_), _)) => {}
                Err(error) => panic!("{error} {sent:?}"),
            }
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
fn a_session_id_of_0_in_an_icrp() {
    // Our node is the LAC here: it places a call in the hostile peer's tunnel.
    let mut hostile = Hostile::to(
        "peer profile modify profile_name=default lac_lns=laclns\n",
        "",
    );
    assert_eq!(hostile.say(0, &sccrq(&[])), [(MessageType::SCCRP, None)]);
    assert_eq!(hostile.say(0, &message(MessageType::SCCCN, &[])), []);
    let (world, lns) = (&mut hostile.pair.world, hostile.pair.lns);
    let text = "tunnel create tunnel_name=t dest_ipaddr=192.0.2.9
        session create tunnel_name=t session_type=laic user_name=a user_password=b";
    let mut session = common::model(text).sessions[0].clone();
    (session.tunnel_id, session.tunnel_name) = (Some(hostile.tunnel), None);
    ask(world, lns, Command::SessionCreate(Box::new(session))).unwrap();
    let (answers, id) = hostile.hear(AttributeType::ASSIGNED_SESSION_ID);
    assert_eq!(answers, [(MessageType::ICRQ, None)]);
    let icrp = message(MessageType::ICRP, &[must(14, &[0, 0])]);
    let expected = [(MessageType::CDN, Some((2, Some(3))))];
    assert_eq!(hostile.say(id, &icrp), expected);
    hostile.aftermath(MALFORMED);
}

/// How far the hostile peer has come.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Stage {
    HalfOpen,
    Established,
    Calling,
    Connected,
}

impl Stage {
    /// A peer that has come so far, and the id of its call, if it has one.
    fn reach(self) -> (Hostile, u16) {
        match self {
            Self::HalfOpen => (Hostile::half_open(), 0),
            Self::Established => (Hostile::established(), 0),
            Self::Calling => Hostile::calling(),
            Self::Connected => {
                let (mut hostile, id) = Hostile::calling();
                let speed = [must(24, &[0, 0, 0, 9]), must(19, &[0, 0, 0, 1])];
                let answers = hostile.say(id, &message(MessageType::ICCN, &speed));
                assert_eq!(answers, []);
                (hostile, id)
            }
        }
    }
}

/// A message as it should be, but for its time.
fn sound(kind: MessageType) -> Vec<u8> {
    use MessageType as M;
    let speed = || vec![must(24, &[0, 0, 0, 9]), must(19, &[0, 0, 0, 1])];
    match kind {
        M::SCCRQ => sccrq(&[]),
        M::ICRQ => icrq(6, &[]),
        M::SCCRP => message(
            kind,
            &[
                must(2, &[1, 0]),
                must(7, b"hostile"),
                must(3, &[0, 0, 0, 3]),
                must(9, &[0, 77]),
            ],
        ),
        M::OCRQ => message(
            kind,
            &[
                must(14, &[0, 6]),
                must(15, &[0, 0, 0, 1]),
                must(16, &[0; 4]),
                must(17, &[0xff; 4]),
                must(18, &[0, 0, 0, 1]),
                must(19, &[0, 0, 0, 1]),
                must(21, b"1"),
            ],
        ),
        M::ICRP | M::OCRP => message(kind, &[must(14, &[0, 6])]),
        M::ICCN | M::OCCN => message(kind, &speed()),
        M::WEN => message(kind, &[must(34, &[0; 26])]),
        M::SLI => message(kind, &[must(35, &[0; 10])]),
        _ => message(kind, &[]),
    }
}

/// What a message that does not belong is answered with, and the counter that has it; `None` for one that belongs.
fn out_of_place(stage: Stage, kind: MessageType) -> Option<(Option<Answer>, &'static str)> {
    use MessageType as M;
    let stop = (STOPPED, Some((7, Some(0))));
    let clear = (M::CDN, Some((2, Some(5))));
    match (stage, kind) {
        (Stage::HalfOpen, M::SCCCN)
        | (Stage::Established, M::ICRQ)
        | (Stage::Calling, M::ICCN)
        | (Stage::Connected, M::WEN) => None,
        (Stage::HalfOpen, _) | (_, M::SCCRQ | M::SCCRP | M::SCCCN) => {
            Some((Some(stop), UNEXPECTED))
        }
        // It belongs, but to a LAC.
        (Stage::Established, M::OCRQ) => {
            let refused = (M::CDN, Some((5, Some(0))));
            Some((Some(refused), "control.received.ocrq"))
        }
        (Stage::Established, _) => Some((None, "control.unknown_sessions")),
        // What is said of a line ends nothing.
        (_, M::WEN | M::SLI) => Some((None, UNEXPECTED)),
        (Stage::Calling | Stage::Connected, _) => Some((Some(clear), UNEXPECTED)),
    }
}

#[test]
fn every_message_in_every_state_where_it_does_not_belong() {
    for stage in [
        Stage::HalfOpen,
        Stage::Established,
        Stage::Calling,
        Stage::Connected,
    ] {
        for kind in [1, 2, 3, 7, 8, 9, 10, 11, 12, 15, 16].map(MessageType) {
            let Some((answer, counted)) = out_of_place(stage, kind) else {
                continue;
            };
            let (mut hostile, id) = stage.reach();
            let session = if kind.is_about_session() { id } else { 0 };
            let answers = hostile.say(session, &sound(kind));
            assert_eq!(answers, Vec::from_iter(answer), "{stage:?} {kind}");
            hostile.aftermath(counted);
        }
    }
}

#[test]
fn a_hidden_avp_under_a_wrong_secret() {
    let hide = |secret: &[u8]| {
        let mut value = Vec::new();
        crypto::hiding::hide(14, secret, &[7; 16], &[0, 5], &[], &mut value);
        let mut avps = message(MessageType::ICRQ, &[must(36, &[7; 16])]);
        avps.extend(avp(M | H, 6 + value.len() as u16, 0, 14, &value));
        avps.extend(must(15, &[0, 0, 0, 1]));
        avps
    };
    let mut hostile = Hostile::established();
    let answers = hostile.say(0, &hide(b"guess"));
    assert_eq!(answers, [(MessageType::CDN, Some((2, Some(3))))]);
    // Under the right one the same message is a request.
    assert_eq!(
        hostile.say(0, &hide(b"s3cret")),
        [(MessageType::ICRP, None)]
    );
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

/// A data message of a session.
fn data(ids: [u16; 2], frame: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0, 2];
    datagram.extend(ids.iter().flat_map(|id| id.to_be_bytes()));
    datagram.extend(frame);
    datagram
}

#[test]
fn data_before_its_session_is_established() {
    let (mut hostile, id) = Hostile::calling();
    let echo = [0xff, 0x03, 0xc0, 0x21, 9, 1, 0, 8, 0, 0, 0, 0];
    let frame = data([hostile.tunnel, id], &echo);
    assert_eq!(
        hostile.throw(&frame, AttributeType::ASSIGNED_SESSION_ID).0,
        []
    );
    let lns = hostile.pair.lns;
    let all = sessions(&mut hostile.pair.world, lns);
    assert!(all.iter().any(|s| s.state == SessionState::WaitConnect));
    hostile.aftermath("datagrams.unknown_session");
}

#[test]
fn calls_that_are_placed_and_never_established() {
    let mut hostile = Hostile::to("\nsystem modify max_sessions=5", "");
    hostile.say(0, &sccrq(&[]));
    hostile.say(0, &message(MessageType::SCCCN, &[]));
    // The datapath has a session for each call that it is answered, and those count as any other does.
    let answers = (1..=20).flat_map(|id| hostile.say(0, &icrq(id, &[])));
    let (answered, refused): (Vec<_>, Vec<_>) = answers
        .collect::<Vec<_>>()
        .into_iter()
        .partition(|answer| *answer == (MessageType::ICRP, None));
    assert_eq!(answered.len(), 4);
    assert_eq!(refused, [(MessageType::CDN, Some((4, Some(0)))); 16]);
    let lns = hostile.pair.lns;
    assert_eq!(hostile.pair.world.datapath_sessions(lns), 5);
    while hostile.pair.world.datapath_sessions(lns) > 1 {
        hostile.pair.run(10);
        hostile.say(0, &message(MessageType::HELLO, &[]));
        assert!(hostile.ns < 50);
    }
    // Then there is room again; its window is full of what it was told meanwhile.
    let mut answers = hostile.say(0, &icrq(21, &[]));
    while !answers.contains(&(MessageType::ICRP, None)) {
        answers = hostile.say(0, &message(MessageType::HELLO, &[]));
        assert!(hostile.ns < 60, "{answers:?}");
    }
    hostile.aftermath("refused.call_limit");
}

#[test]
fn a_lac_that_says_it_has_authenticated_its_client() {
    let (mut hostile, id) = Hostile::calling();
    // LCP as agreed, PAP, alice, the right password.
    let said = [
        must(24, &[0, 0, 0, 9]),
        must(19, &[0, 0, 0, 1]),
        avp(0, 10, 0, 27, &[3, 4, 0xc0, 0x23]),
        avp(0, 8, 0, 29, &[0, 3]),
        avp(0, 11, 0, 30, b"alice"),
        avp(0, 16, 0, 33, b"wonderland"),
    ];
    assert_eq!(hostile.say(id, &message(MessageType::ICCN, &said)), []);
    let lns = hostile.pair.lns;
    let all = sessions(&mut hostile.pair.world, lns);
    let its = all.iter().find(|s| s.session_id == Some(id)).unwrap();
    // LCP begins anew, and authentication after it.
    assert_eq!(
        (its.state, its.user_name.as_deref()),
        (SessionState::Link, None)
    );
    hostile.aftermath("control.received.iccn");
}

#[test]
fn ids_cannot_be_guessed_from_others() {
    let mut hostile = Hostile::stranger();
    let mut ids = Vec::new();
    for assigned in 100_u16..120 {
        let mut request = must(0, &[0, 1]);
        let own = must(9, &assigned.to_be_bytes());
        request.extend(
            [
                must(2, &[1, 0]),
                must(7, b"many"),
                must(3, &[0, 0, 0, 3]),
                own,
            ]
            .concat(),
        );
        hostile.tunnel = 0;
        hostile.throw(
            &datagram([0; 4], &request),
            AttributeType::ASSIGNED_TUNNEL_ID,
        );
        ids.push(hostile.tunnel);
    }
    let near = ids.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 16);
    assert!(near.count() < 2 && !ids.contains(&0), "{ids:?}");
    hostile.aftermath("control.received.sccrq");
}
