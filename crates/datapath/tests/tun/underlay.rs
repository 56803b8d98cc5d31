//! The network below changes while sessions run: traffic flows again by itself.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use datapath::Choice;

use super::bed::{Bed, both_ends, dual_stack};

/// The engines that can be tried anywhere.
const ENGINES: &[Choice] = match cfg!(feature = "ebpf") {
    true => &[Choice::Tun, Choice::Ebpf],
    false => &[Choice::Tun],
};

/// A TCP connection through session 1 that goes on for as long as it can.
struct Connection([TcpStream; 2]);

impl Connection {
    fn open(bed: &Bed) -> Self {
        let listener = bed.lns.enter(|| TcpListener::bind("10.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let here = bed.lac.enter(|| TcpStream::connect(address)).unwrap();
        let (there, _) = listener.accept().unwrap();
        for end in [&here, &there] {
            // TCP tries again after longer and longer.
            end.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        }
        Self([here, there])
    }

    /// Some octets each way, whatever it takes.
    fn goes_on(&mut self, what: &str) {
        let [here, there] = &mut self.0;
        for (from, to) in [(&*here, &*there), (&*there, &*here)] {
            let (mut from, mut to) = (from, to);
            from.write_all(&[7; 3000]).unwrap();
            let mut octets = [0; 3000];
            to.read_exact(&mut octets)
                .unwrap_or_else(|e| panic!("{what}: {e}"));
        }
    }
}

/// What changes, and how.
type Change<'a> = (&'a str, &'a dyn Fn(&Bed));

/// Carries out what changes the network below, between the beginning and the end of a connection, with two sessions of TCP after it.
fn after(engine: Choice, changes: &[Change<'_>]) {
    let Some(bed) = Bed::new() else { return };
    for end in [&bed.lns, &bed.lac] {
        end.run("ethtool -K wire tx off");
    }
    let ends = both_ends(&bed, engine, dual_stack(), |_| {});
    let mut connection = Connection::open(&bed);
    connection.goes_on("before");
    for (what, change) in changes {
        change(&bed);
        let what = format!("{engine:?}: {what}");
        connection.goes_on(&what);
        Bed::transfer(&bed.lac, &bed.lns, "10.0.0.1", 1 << 18);
        Bed::transfer(&bed.lns, &bed.lac, "10.0.0.2", 1 << 18);
        bed.lac.ping("-s 1300 10.0.0.1");
    }
    drop(ends);
}

fn on_both(bed: &Bed, command: &str) {
    for end in [&bed.lns, &bed.lac] {
        end.run(command);
    }
}

#[test]
fn an_mtu_that_changes_and_changes_back() {
    for &engine in ENGINES {
        after(
            engine,
            &[
                ("an MTU of 900", &|bed| {
                    on_both(bed, "ip link set wire mtu 900");
                }),
                ("one of 1500 again", &|bed| {
                    on_both(bed, "ip link set wire mtu 1500");
                }),
                ("one of 9000", &|bed| {
                    on_both(bed, "ip link set wire mtu 9000");
                }),
            ],
        );
    }
}

#[test]
fn a_link_that_is_set_down_and_up() {
    for &engine in ENGINES {
        after(
            engine,
            &[
                ("the LNS's end", &|bed| {
                    bed.lns.run("ip link set wire down");
                    assert!(
                        !bed.lac
                            .run_in_vain("ping -n -c 1 -W 1 10.0.0.1")
                            .contains(" 0% ")
                    );
                    bed.lns.run("ip link set wire up");
                }),
                ("both ends", &|bed| {
                    on_both(bed, "ip link set wire down");
                    on_both(bed, "ip link set wire up");
                }),
            ],
        );
    }
}

#[test]
fn a_link_that_is_deleted_and_made_anew() {
    for &engine in ENGINES {
        let anew: &dyn Fn(&Bed) = &|bed| {
            bed.lns.run("ip link del wire");
            assert!(
                !bed.lac
                    .run_in_vain("ping -n -c 1 -W 1 10.0.0.1")
                    .contains(" 0% ")
            );
            bed.wire();
            on_both(bed, "ethtool -K wire tx off");
        };
        after(engine, &[("once", anew), ("twice", anew)]);
    }
}
