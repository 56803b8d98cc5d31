use api::Role;
use engine::Command;
use wire::l2tp::{Attribute, Header, MessageType};

use crate::common::{LNS, Pair, address, ask, sessions, tunnels};
use crate::frames::mrus;
use crate::lac;

#[test]
fn session_profile_name_of_a_peer_says_how_sessions_of_its_tunnels_are_run() {
    let lns = LNS.to_owned()
        + "session profile create profile_name=numbered use_sequence_numbers=yes
           peer profile create profile_name=elsewhere session_profile_name=numbered";
    for (host_name, numbered) in [("elsewhere", true), ("here", false)] {
        let mut pair = Pair::new(&lac(&format!("host_name={host_name}")), &lns);
        pair.world.record();
        let (_, at_lns) = pair.up();
        assert_eq!(at_lns.profile_name == "numbered", numbered);
        let data = |sent: &sim::Sent| match Header::decode(&sent.payload) {
            Ok((Header::Data(data), _)) if sent.from.ip() == address(2) => Some(data),
            _ => None,
        };
        let sent = pair.world.record();
        let mut sent = sent.iter().filter_map(data).peekable();
        assert!(sent.peek().is_some());
        assert!(sent.all(|data| data.sequence.is_some() == numbered));
    }
}

/// Which calls come up that a peer places at an LNS whose peer profile says this: incoming ones, outgoing ones.
fn placed(lac_lns: &str) -> [bool; 2] {
    // Neither has an address of its own, so that it takes the one that it is given where it is the client.
    let serves = |user: &str| {
        format!(
            "ppp profile modify profile_name=default ip_pool_name=pool
             ip_pool create pool_name=pool range=10.0.0.2-10.0.0.9
             user create user_name={user}\n"
        )
    };
    let there =
        serves("bob password=builder") + "tunnel create tunnel_name=t dest_ipaddr=192.0.2.2";
    let here = format!(
        "{}session profile modify profile_name=default user_name=bob user_password=builder
         peer profile modify profile_name=default lac_lns={lac_lns}",
        serves("alice password=wonderland")
    );
    ["laic", "lnoc"].map(|kind| {
        let mut pair = Pair::new(&there, &here);
        pair.run(1);
        let id = tunnels(&mut pair.world, 0)[0].tunnel_id.unwrap();
        let text = format!(
            "session create tunnel_id={id} session_type={kind} user_name=alice user_password=wonderland"
        );
        let session: config::Session = config::parse_command(&text).unwrap().build().unwrap();
        // It is refused at once where the peer said that it takes none.
        let created = ask(
            &mut pair.world,
            0,
            Command::SessionCreate(Box::new(session)),
        );
        pair.run(10);
        let sessions = sessions(&mut pair.world, 1);
        let up = sessions.iter().any(crate::common::is_up);
        assert!(created.is_ok() || !up);
        if up {
            let role = if kind == "laic" { Role::Lns } else { Role::Lac };
            assert_eq!(sessions[0].role, role);
        }
        up
    })
}

#[test]
fn lac_lns_of_a_peer_says_which_calls_it_may_place() {
    assert_eq!(placed("lac"), [true, false]);
    assert_eq!(placed("lns"), [false, true]);
    assert_eq!(placed("laclns"), [true, true]);
    assert_eq!(placed("lnslac"), [true, true]);
}

#[test]
fn profile_name_of_a_peer_is_the_host_name_by_which_it_is_known() {
    let lns = LNS.to_owned()
        + "tunnel profile create profile_name=a
           tunnel profile modify profile_name=a host_name=for_the_branch
           peer profile create profile_name=branch tunnel_profile_name=a";
    for (peer, greeted_by) in [("branch", "for_the_branch"), ("stranger", "node1")] {
        let lac = lac(&format!("host_name={peer}"));
        let reply = Pair::recorded(&lac, &lns).message(1, MessageType::SCCRP);
        let name = reply.find(|a| match a {
            Attribute::HostName(name) => Some(name.to_vec()),
            _ => None,
        });
        assert_eq!(name, greeted_by.as_bytes());
    }
}

#[test]
fn ppp_profile_name_of_a_peer_says_how_ppp_runs_in_sessions_of_its_tunnels() {
    let lns = LNS.to_owned()
        + "ppp profile create profile_name=narrow
           ppp profile modify profile_name=narrow mru=1300
           peer profile create profile_name=branch ppp_profile_name=narrow";
    for (peer, mru) in [("branch", 1300), ("stranger", 1460)] {
        let lac = lac(&format!("host_name={peer}"));
        assert_eq!(mrus(&mut Pair::new(&lac, &lns), 1), [mru]);
    }
}
