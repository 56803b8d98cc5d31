//! pppd as the PPP of sessions: what it is asked, and what becomes of what it tells. The test is the pppd.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

mod common;

use std::net::Ipv4Addr;

use api::{Role, SessionState};
use common::{LAC, LNS, Pair, ask, established, sessions, tunnel};
use datapath::Handle;
use engine::{Command, Input, PppdEnd, PppdEvent, PppdNetwork, PppdRequest, PppdSetup};
use ppp::{AuthAttempt, AuthProtocol, EncryptionCause, Phase, Proof, Verdict};
use wire::l2tp::TransmissionMaps;

const PPPD: &str = "\nppp profile modify profile_name=default ppp_engine=pppd\n";

/// A LAC of our own PPP, and an LNS whose sessions have pppd; it was started.
struct Served {
    pair: Pair,
    handle: Handle,
    setup: Box<PppdSetup>,
}

impl Served {
    fn start(more: &str) -> Self {
        let mut pair = Pair::new(LAC, &format!("{LNS}{PPPD}{more}"));
        pair.run(1);
        let asked = pair.world.take_pppd(pair.lns);
        let [(handle, PppdRequest::Start(setup))] = &asked[..] else {
            panic!("{asked:?}");
        };
        Self {
            handle: *handle,
            setup: setup.clone(),
            pair,
        }
    }

    fn tell(&mut self, event: PppdEvent) {
        let handle = self.handle;
        let input = Input::Pppd { handle, event };
        self.pair.world.input(self.pair.lns, input);
    }

    /// What it is asked since.
    fn asked(&mut self) -> Vec<PppdRequest> {
        let asked = self.pair.world.take_pppd(self.pair.lns).into_iter();
        asked.map(|(_, request)| request).collect()
    }

    fn authenticate(&mut self, password: &str) -> Verdict {
        self.tell(PppdEvent::Authenticate(AuthAttempt {
            number: 1,
            user_name: b"alice".to_vec(),
            proof: Proof::Pap {
                password: password.into(),
            },
        }));
        match &self.asked()[..] {
            [PppdRequest::Judge { verdict }] => verdict.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn come_up(&mut self) {
        assert!(matches!(
            self.authenticate("wonderland"),
            Verdict::Accept { .. }
        ));
        self.tell(PppdEvent::NetworkWanted);
        let [PppdRequest::Address(Some(peer))] = self.asked()[..] else {
            panic!("no address");
        };
        self.tell(PppdEvent::Up {
            interface: "ppp7".to_owned(),
            network: PppdNetwork::Ipv4(Ipv4Addr::new(10, 0, 0, 1), peer),
            mppe: None,
            dns: [None; 2],
            auth: None,
        });
    }

    /// Ends the process so: why the LNS says that the session ended, and the code of the PPP cause (RFC 3145) in its CDN.
    fn end(mut self, end: PppdEnd) -> (String, u16) {
        self.pair.ends(self.pair.lns);
        self.tell(PppdEvent::Ended(end));
        self.pair.run(1);
        let reasons = self.pair.ends(self.pair.lns);
        let at_lac = sessions(&mut self.pair.world, self.pair.lac).remove(0);
        let told = at_lac.last_end.and_then(|end| end.ppp_cause);
        (reasons[0].clone(), told.map_or(0, |cause| cause.code))
    }
}

fn exit(status: u8) -> PppdEnd {
    PppdEnd::Exit(status, "the last words".to_owned())
}

#[test]
fn pppd_is_told_its_part_and_what_the_profile_says() {
    let served =
        Served::start("ppp profile modify profile_name=default mtu=1400 lcp_echo_interval=9\n");
    let setup = &served.setup;
    assert_eq!(setup.role, Role::Lns);
    assert!(setup.demands_auth && setup.credentials.is_none() && !setup.numbers);
    assert_eq!(setup.local, Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!((setup.mtu, setup.profile.lcp_echo_interval()), (1400, 9));
}

#[test]
fn a_client_of_pppd_has_its_own_name_and_device_and_demands_nothing() {
    let lac = format!("{} interface_name=vpn0\n{PPPD}", LAC.trim_end());
    let mut pair = Pair::new(&lac, LNS);
    pair.run(1);
    let asked = pair.world.take_pppd(pair.lac);
    let [(_, PppdRequest::Start(setup))] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_eq!(
        (setup.role, setup.demands_auth, setup.local),
        (Role::Lac, false, None)
    );
    assert_eq!(setup.interface.as_deref(), Some("vpn0"));
    let known = setup.credentials.as_ref().unwrap();
    assert_eq!(known.user_name, "alice");
    assert!(!format!("{asked:?}").contains("wonderland"), "in no log");
}

#[test]
fn what_the_peer_says_before_pppd_runs_waits_for_it() {
    let mut served = Served::start("");
    served.tell(PppdEvent::Ready);
    let [PppdRequest::Early(frames)] = &served.asked()[..] else {
        panic!("no frames");
    };
    // The client's LCP Configure-Request, sent once it was connected.
    assert_eq!(frames[0][..5], [0xff, 0x03, 0xc0, 0x21, 1]);
    served.pair.client_says(&[0xc0, 0x21, 9, 1, 0, 4]);
    served.tell(PppdEvent::Ready);
    assert!(matches!(&served.asked()[..], [PppdRequest::Early(none)] if none.is_empty()));
}

#[test]
fn who_the_peer_may_be_and_its_address_are_said_as_for_ppp_of_our_own() {
    let mut served = Served::start("");
    assert!(matches!(
        served.authenticate("wrong"),
        Verdict::Reject { .. }
    ));
    served.tell(PppdEvent::Phase(Phase::Authenticate));
    let shown = sessions(&mut served.pair.world, 1).remove(0);
    assert_eq!(shown.state, SessionState::Authenticating);
    served.come_up();
    let shown = sessions(&mut served.pair.world, 1).remove(0);
    assert_eq!(shown.state, SessionState::Established);
    assert_eq!(shown.user_name.as_deref(), Some("alice"));
    assert_eq!(shown.auth_protocol.as_deref(), Some("PAP"));
    assert_eq!(shown.interface_name.as_deref(), Some("ppp7"));
    assert_eq!(shown.remote_ipaddr, Some(Ipv4Addr::new(10, 0, 0, 2)));
}

#[test]
fn a_user_s_own_address_is_given_where_it_has_one() {
    let mut served = Served::start("user modify user_name=alice ip_address=10.9.9.8\n");
    served.authenticate("wonderland");
    served.tell(PppdEvent::NetworkWanted);
    let given = Ipv4Addr::new(10, 9, 9, 8);
    assert!(
        matches!(served.asked()[..], [PppdRequest::Address(Some(address))] if address == given)
    );
}

#[test]
fn network_layers_come_and_go_with_pppd_s_word() {
    let mut served = Served::start("");
    served.come_up();
    assert_eq!(established(&mut served.pair.world, 1), 1);
    served.tell(PppdEvent::Down { ipv6: false });
    assert_eq!(established(&mut served.pair.world, 1), 0);
}

#[test]
fn each_end_of_pppd_has_its_cause() {
    let cases = [
        (exit(0), "the peer terminated the link", 3),
        (exit(1), "closed here: pppd: the last words", 1),
        (exit(12), "idle", 1),
        (exit(15), "5 LCP echo requests", 8),
        (exit(17), "looped back", 7),
        (PppdEnd::Signal(9), "pppd: ended by signal 9", 1),
        (
            PppdEnd::Failed("no such file".to_owned()),
            "pppd: no such file",
            1,
        ),
    ];
    for (end, text, code) in cases {
        let mut served = Served::start("");
        served.come_up();
        let (reason, told) = served.end(end.clone());
        assert!(reason.contains(text), "{end:?}: {reason}");
        assert_eq!(told, code, "{end:?}: {reason}");
    }
    let (reason, code) = Served::start("").end(exit(10));
    assert!(reason.contains("does not answer LCP"), "{reason}");
    assert_ne!(code, 0);
    let mut served = Served::start("");
    served.tell(PppdEvent::Phase(Phase::Network));
    let (reason, _) = served.end(exit(10));
    assert!(reason.contains("no address could be agreed on"), "{reason}");
}

#[test]
fn what_is_lacking_here_is_told_here_in_full_and_to_the_peer_by_its_kind() {
    let mut served = Served::start("");
    let failed = "cannot run /opt/secret/pppd: No such file".to_owned();
    served.pair.ends(served.pair.lns);
    served.tell(PppdEvent::Ended(PppdEnd::Failed(failed)));
    served.pair.run(1);
    let ours = served.pair.world.take_events(served.pair.lns);
    let faults = ours.iter().filter_map(|event| match event {
        engine::Event::SessionDown { reason, fault, .. } => Some((reason.as_str(), *fault)),
        _ => None,
    });
    let full = "closed here: pppd: cannot run /opt/secret/pppd: No such file";
    assert_eq!(faults.collect::<Vec<_>>(), [(full, true)]);
    let at_lac = sessions(&mut served.pair.world, served.pair.lac).remove(0);
    let end = at_lac.last_end.unwrap();
    assert_eq!(end.result, 4, "lack of appropriate facilities, temporarily");
    assert!(!format!("{end:?}").contains("secret"), "{end:?}");
}

#[test]
fn what_ends_for_want_of_encryption_says_so() {
    for (network, why, text, code) in [
        (true, EncryptionCause::Rejected, "does not speak CCP", 4),
        (
            true,
            EncryptionCause::NotConverged,
            "no key length and mode",
            4,
        ),
        (false, EncryptionCause::Rejected, "does not answer LCP", 0),
    ] {
        let mut served = Served::start("");
        if network {
            served.tell(PppdEvent::Phase(Phase::Network));
        }
        served.tell(PppdEvent::Unencrypted(why));
        let (reason, told) = served.end(exit(10));
        assert!(reason.contains(text), "{why:?}: {reason}");
        assert!(code == 0 || told == code, "{why:?}: {told}");
    }
}

#[test]
fn the_addresses_of_what_comes_up_first_are_told() {
    let mut served = Served::start("");
    let [local, peer] = [1, 2].map(|n| std::net::Ipv6Addr::from(0xfe80_u128 << 112 | n));
    served.pair.world.take_events(served.pair.lns);
    served.tell(PppdEvent::Up {
        interface: "ppp7".to_owned(),
        network: PppdNetwork::Ipv6(local, peer),
        mppe: None,
        dns: [None; 2],
        auth: None,
    });
    let told = served.pair.world.take_events(served.pair.lns);
    let up = told.iter().find_map(|event| match event {
        engine::Event::SessionUp { addresses, .. } => *addresses,
        _ => None,
    });
    assert_eq!(up, Some((local.into(), peer.into())));
}

#[test]
fn a_client_of_pppd_shows_its_name_servers_and_how_it_proved_itself() {
    let mut pair = Pair::new(&format!("{}\n{PPPD}", LAC.trim_end()), LNS);
    pair.run(1);
    let handle = pair.world.take_pppd(pair.lac)[0].0;
    let dns = [Some(Ipv4Addr::new(10, 0, 0, 53)), None];
    let event = PppdEvent::Up {
        interface: "ppp7".to_owned(),
        network: PppdNetwork::Ipv4(Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 1)),
        mppe: None,
        dns,
        auth: Some(AuthProtocol::MsChapV2),
    };
    pair.world.input(pair.lac, Input::Pppd { handle, event });
    let shown = sessions(&mut pair.world, pair.lac).remove(0);
    assert_eq!(shown.dns, [Ipv4Addr::new(10, 0, 0, 53)]);
    assert_eq!(shown.auth_protocol.as_deref(), Some("MS-CHAPv2"));
}

#[test]
fn an_administrator_s_end_is_pppd_s_in_order_and_the_reason_is_kept() {
    let mut served = Served::start("");
    served.come_up();
    let shown = sessions(&mut served.pair.world, 1).remove(0);
    let of = |id: Option<u16>| api::Selector::Id(id.unwrap());
    let delete = Command::SessionDelete(of(shown.tunnel_id), of(shown.session_id));
    ask(&mut served.pair.world, 1, delete).unwrap();
    assert!(matches!(
        served.asked()[..],
        [PppdRequest::Stop { in_order: true }]
    ));
    assert_eq!(
        served.pair.ends(1),
        Vec::<String>::new(),
        "not before it has ended"
    );
    let (reason, code) = served.end(exit(5));
    assert!(reason.contains("administrat"), "{reason}");
    assert_eq!(code, 1);
}

#[test]
fn a_call_that_the_peer_ends_takes_pppd_with_it_at_once() {
    let mut served = Served::start("");
    served.come_up();
    ask(
        &mut served.pair.world,
        0,
        Command::TunnelDelete(tunnel("t")),
    )
    .unwrap();
    served.pair.run(1);
    assert!(matches!(
        served.asked()[..],
        [PppdRequest::Stop { in_order: false }]
    ));
    assert_eq!(sessions(&mut served.pair.world, 1).len(), 0);
    served.tell(PppdEvent::Ended(exit(16)));
}

#[test]
fn a_pppd_that_does_not_come_up_in_time_is_ended() {
    let mut served = Served::start("system modify session_establish_timeout=20\n");
    served.pair.run(18);
    assert!(served.asked().is_empty());
    served.pair.run(3);
    assert!(matches!(
        served.asked()[..],
        [PppdRequest::Stop { in_order: true }]
    ));
    let (reason, _) = served.end(PppdEnd::Signal(9));
    assert!(reason.contains("not established in time"), "{reason}");
}

#[test]
fn the_lac_hears_of_the_maps_that_pppd_agreed_on() {
    let mut served = Served::start("");
    served.tell(PppdEvent::Maps(TransmissionMaps {
        send: 0,
        receive: 0xa0000,
    }));
    served.pair.run(1);
    let at_lac = sessions(&mut served.pair.world, 0).remove(0);
    assert_eq!(at_lac.line.and_then(|line| line.accm), Some((0, 0xa0000)));
    let at_lns = sessions(&mut served.pair.world, 1).remove(0);
    assert_eq!(at_lns.line.and_then(|line| line.accm), Some((0, 0xa0000)));
}
