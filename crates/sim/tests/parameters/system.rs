use api::{Response, Selector};
use engine::Command;

use crate::common::{LNS, Pair, ask, counter, sessions};
use crate::lac;

#[test]
fn reset_statistics_counts_everything_from_zero_again() {
    let mut pair = Pair::new(&lac(""), LNS);
    pair.up();
    pair.world.count_packets(0, 7);
    let packets = |pair: &mut Pair| {
        let status = sessions(&mut pair.world, 0).remove(0);
        let [tunnel, session] =
            [status.tunnel_id, status.session_id].map(|id| Selector::Id(id.unwrap()));
        match ask(&mut pair.world, 0, Command::SessionShow(tunnel, session)) {
            Ok(Response::Session(status)) => status.traffic.unwrap().tx_packets,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(packets(&mut pair), 7);
    assert_eq!(counter(&mut pair.world, 0, "control.sent.sccrq"), 1);
    ask(&mut pair.world, 0, Command::StatisticsReset).unwrap();
    assert_eq!(packets(&mut pair), 0);
    assert_eq!(counter(&mut pair.world, 0, "control.sent.sccrq"), 0);
    pair.world.count_packets(0, 3);
    assert_eq!(packets(&mut pair), 3);
    let delete = Command::TunnelDelete(crate::common::tunnel("t"));
    ask(&mut pair.world, 0, delete).unwrap();
    pair.run(1);
    assert_eq!(counter(&mut pair.world, 0, "control.sent.stop_ccn"), 1);
    assert_eq!(counter(&mut pair.world, 0, "data.tx_packets"), 3);
}
