//! What this machine can do for each engine.

use datapath::Engine;
use datapath::survey::{Finding, Surveyor, UPLINKS};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::bed::Bed;

fn of(engine: Engine, findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings
        .iter()
        .filter(move |finding| finding.engine == engine)
}

#[test]
fn what_is_tried_leaves_nothing_behind_and_can_be_tried_again() {
    let Some(bed) = Bed::new() else { return };
    let before = bed.lns.run("ip link show");
    let (first, second) = bed.lns.enter(|| {
        let mut surveyor = Surveyor::new();
        (surveyor.survey(), surveyor.survey())
    });
    assert_eq!(bed.lns.run("ip link show"), before);
    assert_eq!(first, second);
    for finding in of(Engine::Tun, &first).filter(|finding| finding.needed) {
        assert_eq!(finding.result, Ok("with vnet_hdr".to_owned()));
    }
    let ebpf: Vec<_> = of(Engine::Ebpf, &first).map(|f| f.what).collect();
    assert_eq!(
        ebpf,
        ["programs", "self-test", "attachment", "veth", UPLINKS]
    );
    for finding in of(Engine::Ebpf, &first).filter(|finding| finding.needed) {
        assert_eq!(
            finding.result.is_ok(),
            cfg!(feature = "ebpf"),
            "{finding:?}"
        );
    }
}

#[test]
fn what_is_missing_is_said_with_its_reason() {
    let Some(bed) = Bed::new() else { return };
    let findings = bed.lns.enter(|| {
        let mut surveyor = Surveyor::new();
        let mut have = capabilities(None).unwrap();
        have.effective.remove(CapabilitySet::NET_ADMIN);
        have.permitted.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, have).unwrap();
        surveyor.survey()
    });
    let why = |engine, what| {
        let found = of(engine, &findings).find(|finding| finding.what == what);
        found.unwrap().result.clone().unwrap_err()
    };
    let device = why(Engine::Tun, "/dev/net/tun");
    assert!(device.contains("CAP_NET_ADMIN is needed"), "{device}");
    assert_eq!(why(Engine::Tun, "TSO"), "there is no device");
    assert!(!why(Engine::Ebpf, "attachment").is_empty());
}

#[test]
#[cfg(feature = "ebpf")]
fn the_uplinks_that_programs_send_into_by_themselves_are_named() {
    let Some(bed) = Bed::new() else { return };
    let uplinks = || {
        let findings = bed.lns.enter(|| Surveyor::new().survey());
        let of_it = findings.into_iter().find(|finding| finding.what == UPLINKS);
        of_it.unwrap().result
    };
    // A bridge without a port leads nowhere.
    bed.lns.run("ip link add idle type bridge");
    bed.lns.run("ip addr add 10.8.0.1/24 dev idle");
    let veth = uplinks().unwrap_err();
    assert!(veth.contains("veth"), "{veth}");
    // The kernel makes checksums for one that says that it does not.
    bed.lns.run("ethtool -K wire tx off");
    assert_eq!(uplinks(), Ok("wire".to_owned()));
    for device in ["idle", "wire"] {
        bed.lns.run(&format!("ip addr flush dev {device}"));
    }
    let none = uplinks().unwrap_err();
    assert!(none.contains("address"), "{none}");
}
