use api::{Selector, SessionState};
use engine::Command;

use crate::common::{LNS, Pair, ask, established, sessions, tunnel};
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
