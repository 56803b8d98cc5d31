//! Lists in pages: complete, filtered, and never more than a page's work at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;

use api::{
    Cursor, ErrorKind, LARGEST_PAGE, Origin, Page, Range, Response, SessionFilter, SessionState,
    SessionStatus, TunnelFilter, UserFilter,
};
use common::{LAC, LNS, Pair, address, ask, counter, established, tunnel, tunnels, users};
use engine::Command;
use sim::{NodeId, World};

/// Sessions of the large pair; more than are up wait at the LAC.
const SESSIONS: usize = 5_000;

/// A LAC with so many sessions up, one of which is bob's.
fn large() -> Pair {
    let mut lac = "tunnel create tunnel_name=t dest_ipaddr=192.0.2.2\n".to_owned();
    for i in 0..SESSIONS {
        let user = match i {
            4_321 => "user_name=bob user_password=builder",
            _ => "user_name=alice user_password=wonderland",
        };
        writeln!(lac, "session create tunnel_name=t session_name=s{i} {user}").unwrap();
    }
    let mut pair = Pair::new(&lac, LNS);
    pair.run(60);
    assert_eq!(established(&mut pair.world, 1), SESSIONS);
    pair
}

fn page(
    world: &mut World,
    node: NodeId,
    filter: &SessionFilter,
    range: Range,
) -> Page<SessionStatus> {
    match ask(world, node, Command::SessionList(filter.clone(), range)) {
        Ok(Response::Sessions(page)) => page,
        other => panic!("{other:?}"),
    }
}

/// Follows a list to its end; every page must have cost no more than it may. What was listed, and over how many pages.
fn follow(
    world: &mut World,
    node: NodeId,
    filter: &SessionFilter,
    limit: u16,
) -> (Vec<SessionStatus>, usize) {
    let mut all = Vec::new();
    let mut after = None;
    for pages in 1.. {
        let before = counter(world, node, "lists.examined");
        let range = Range {
            limit: Some(limit),
            after,
        };
        let Page { items, next } = page(world, node, filter, range);
        let examined = counter(world, node, "lists.examined") - before;
        assert!(examined <= u64::from(LARGEST_PAGE), "{examined} at once");
        assert!(items.len() <= usize::from(limit));
        all.extend(items);
        if next.is_none() {
            return (all, pages);
        }
        after = next;
    }
    unreachable!("a list ends")
}

#[test]
fn a_list_of_5000_sessions_costs_no_more_than_a_page_at_a_time() {
    let mut pair = large();
    let everything = SessionFilter::default();
    for node in [pair.lac, pair.lns] {
        let (all, _) = follow(&mut pair.world, node, &everything, 256);
        let ids: BTreeSet<_> = all.iter().map(|s| (s.tunnel_id, s.session_id)).collect();
        assert_eq!((all.len(), ids.len()), (SESSIONS, SESSIONS), "each once");
    }

    // What matches next to nothing is not searched for at one go.
    let bob = SessionFilter {
        user: Some("bob".to_owned()),
        ..SessionFilter::default()
    };
    let (found, pages) = follow(&mut pair.world, pair.lns, &bob, 256);
    assert_eq!(found.len(), 1);
    assert!(pages >= SESSIONS / 256, "{pages} pages");
    let of_tunnel = SessionFilter::of_tunnel(tunnel("t"));
    let (all, _) = follow(&mut pair.world, pair.lac, &of_tunnel, 100);
    assert_eq!(all.len(), SESSIONS);

    let before = counter(&mut pair.world, pair.lns, "lists.examined");
    let filter = UserFilter {
        name: Some("bob".to_owned()),
    };
    let list = Command::UserList(filter, Range::default());
    let Ok(Response::Users(_)) = ask(&mut pair.world, pair.lns, list) else {
        panic!("no list")
    };
    let examined = counter(&mut pair.world, pair.lns, "lists.examined") - before;
    assert!(examined <= u64::from(LARGEST_PAGE), "{examined}");
    assert_eq!(users(&mut pair.world, pair.lns).len(), SESSIONS);
}

const FOUR: &str = "
    tunnel create tunnel_name=t dest_ipaddr=192.0.2.2
    session create tunnel_name=t session_name=one user_name=alice user_password=wonderland
    session create tunnel_name=t session_name=two user_name=alice user_password=wonderland
    session create tunnel_name=t session_name=three user_name=bob user_password=builder
    tunnel create tunnel_name=far dest_ipaddr=192.0.2.99 persist=yes
    session create tunnel_name=far session_name=four user_name=eve
";

#[test]
fn a_list_goes_on_where_it_was_when_objects_have_gone() {
    let mut pair = Pair::new(FOUR, LNS);
    pair.run(10);
    let world = &mut pair.world;
    let everything = SessionFilter::default();
    let one_at_a_time = |after| Range {
        limit: Some(1),
        after,
    };
    let first = page(world, 0, &everything, one_at_a_time(None));
    let name = |s: &SessionStatus| s.session_name.clone().unwrap();
    let seen = name(&first.items[0]);
    ask(world, 0, Command::SessionDelete(tunnel("t"), tunnel(&seen))).unwrap();
    pair.run(5);
    let mut names = BTreeSet::from([seen]);
    let mut after = first.next;
    while after.is_some() {
        let page = page(&mut pair.world, 0, &everything, one_at_a_time(after));
        names.extend(page.items.iter().map(name));
        after = page.next;
    }
    assert_eq!(
        names,
        ["four", "one", "three", "two"].map(str::to_owned).into()
    );
}

#[test]
fn filters_let_through_what_they_say() {
    let mut pair = Pair::new(FOUR, LNS);
    pair.run(10);
    let all = SessionFilter::default;
    for (filter, names) in [
        (all(), &["four", "one", "three", "two"][..]),
        (
            SessionFilter {
                user: Some("bob".to_owned()),
                ..all()
            },
            &["three"],
        ),
        (
            SessionFilter {
                state: Some(SessionState::WaitTunnel),
                ..all()
            },
            &["four"],
        ),
        (
            SessionFilter {
                created_by: Some(Origin::Peer),
                ..all()
            },
            &[],
        ),
        (
            SessionFilter {
                interface: Some("null".to_owned()),
                ..all()
            },
            &["one", "three", "two"],
        ),
        (SessionFilter::of_tunnel(tunnel("far")), &["four"]),
        (
            SessionFilter {
                user: Some("alice".to_owned()),
                ..SessionFilter::of_tunnel(tunnel("t"))
            },
            &["one", "two"],
        ),
    ] {
        let (found, _) = follow(&mut pair.world, 0, &filter, 256);
        let found: BTreeSet<_> = found
            .iter()
            .map(|s| s.session_name.as_deref().unwrap())
            .collect();
        assert_eq!(found, names.iter().copied().collect(), "{filter:?}");
    }
    let unknown = SessionFilter::of_tunnel(tunnel("x"));
    let error = ask(
        &mut pair.world,
        0,
        Command::SessionList(unknown, Range::default()),
    )
    .unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);

    let all = TunnelFilter::default;
    for (filter, names) in [
        (
            TunnelFilter {
                peer: Some(address(2)),
                ..all()
            },
            &["t"][..],
        ),
        (
            TunnelFilter {
                name: Some("far".to_owned()),
                ..all()
            },
            &["far"],
        ),
        (
            TunnelFilter {
                state: Some(api::TunnelState::Established),
                ..all()
            },
            &["t"],
        ),
        (
            TunnelFilter {
                created_by: Some(Origin::Peer),
                ..all()
            },
            &[],
        ),
    ] {
        let list = Command::TunnelList(filter.clone(), Range::default());
        let Ok(Response::Tunnels(page)) = ask(&mut pair.world, 0, list) else {
            panic!("no list")
        };
        let found: Vec<_> = page
            .items
            .iter()
            .map(|t| t.tunnel_name.as_deref().unwrap())
            .collect();
        assert_eq!(found, names, "{filter:?}");
    }
}

#[test]
fn what_is_no_cursor_of_the_list_is_refused() {
    let mut pair = Pair::new(LAC, LNS);
    pair.up();
    for text in [
        "",
        "call",
        "call-1",
        "call-1-65536",
        "call-1-2-3",
        "tunnel--1-0",
        "user-1-x",
        "name-61",
    ] {
        let range = || Range {
            limit: None,
            after: Some(Cursor(text.to_owned())),
        };
        for list in [
            Command::TunnelList(TunnelFilter::default(), range()),
            Command::SessionList(SessionFilter::default(), range()),
            Command::UserList(UserFilter::default(), range()),
            Command::PeerList(range()),
        ] {
            let error = ask(&mut pair.world, 0, list.clone()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Invalid, "{list:?}");
        }
    }
}

#[test]
fn peers_are_listed_while_there_are_tunnels_with_them() {
    let mut pair = Pair::new(LAC, LNS);
    pair.up();
    let peers = |world: &mut World| match ask(world, 1, Command::PeerList(Range::default())) {
        Ok(Response::Peers(page)) => page.items,
        other => panic!("{other:?}"),
    };
    let there = peers(&mut pair.world);
    let of = |p: &api::PeerStatus| (p.local_ipaddr, p.peer_ipaddr, p.tunnels);
    assert_eq!(
        there.iter().map(of).collect::<Vec<_>>(),
        [(address(2), address(1), 1)]
    );
    let show = Command::PeerShow(address(2), address(1));
    let shown = ask(&mut pair.world, 1, show.clone()).unwrap();
    assert_eq!(shown, Response::Peer(there[0].clone()));

    ask(&mut pair.world, 0, Command::TunnelDelete(tunnel("t"))).unwrap();
    pair.run(60);
    assert_eq!(tunnels(&mut pair.world, 1), []);
    assert_eq!(peers(&mut pair.world), []);
    assert_eq!(
        ask(&mut pair.world, 1, show).unwrap_err().kind,
        ErrorKind::NotFound
    );
}
