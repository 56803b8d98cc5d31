use api::{Selector, SessionState};
use engine::Command;
use wire::l2tp::{Attribute, AttributeType, Avp, Avps, MessageType};

use crate::common::{LNS, Pair, ask, established, sessions, tunnel};
use crate::frames::mrus;
use crate::lac;

#[test]
fn no_ppp_leaves_a_session_with_its_call_and_its_data_alone() {
    let without =
        |base: &str| format!("{base}\nsession profile modify profile_name=default no_ppp=yes\n");
    let mut pair = Pair::new(&without(&lac("")), &without(LNS));
    pair.run(300);
    for node in [pair.lac, pair.lns] {
        assert_eq!(established(&mut pair.world, node), 1);
        let status = sessions(&mut pair.world, node).remove(0);
        assert_eq!(status.state, SessionState::Established);
        assert_eq!(status.local_ipaddr, None);
        assert_eq!(pair.world.datapath_sessions(node), 0);
    }
    let session = Selector::Name("s".to_owned());
    let delete = Command::SessionDelete(tunnel("t"), session);
    ask(&mut pair.world, 0, delete).unwrap();
    pair.run(1);
    assert_eq!(sessions(&mut pair.world, pair.lns), []);
}

/// A LAC with a session of these parameters, which knows two profiles of each kind.
fn lac_with(session: &str) -> String {
    format!(
        "ppp profile create profile_name=narrow
         ppp profile modify profile_name=narrow mru=1300
         ppp profile create profile_name=narrower
         ppp profile modify profile_name=narrower mru=1200
         session profile create profile_name=blue
         session profile modify profile_name=blue priv_group_id=Blue ppp_profile_name=narrow
         session profile create profile_name=red
         session profile modify profile_name=red priv_group_id=Red
         {} {session}\n",
        lac("").trim_end()
    )
}

#[test]
fn profile_name_of_a_session_says_whose_parameters_it_has() {
    for (profile, group) in [("blue", "Blue"), ("red", "Red")] {
        let lac = lac_with(&format!("profile_name={profile}"));
        let connected = Pair::recorded(&lac, LNS).message(0, MessageType::ICCN);
        let told = connected.find(|a| match a {
            Attribute::PrivateGroupId(group) => Some(group.to_vec()),
            _ => None,
        });
        assert_eq!(told, group.as_bytes());
    }
    let without = Pair::recorded(&lac_with(""), LNS).message(0, MessageType::ICCN);
    let of_group = |avp: Avp<'_>| avp.attribute_type() == Some(AttributeType::PRIVATE_GROUP_ID);
    assert!(!Avps::new(&without.avps).flatten().any(of_group));
}

#[test]
fn ppp_profile_name_of_a_session_or_its_profile_says_how_its_ppp_runs() {
    for (session, mru) in [
        ("", 1460),
        ("ppp_profile_name=narrower", 1200),
        ("profile_name=blue", 1300),
        ("profile_name=blue ppp_profile_name=narrower", 1200),
        ("profile_name=red", 1460),
    ] {
        let mut pair = Pair::new(&lac_with(session), LNS);
        assert_eq!(mrus(&mut pair, 0), [mru], "{session}");
    }
}
