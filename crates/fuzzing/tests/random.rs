//! Random octets in every target: what a fuzzer does with patience, without one.

use fuzzing::TARGETS;
use proptest::prelude::*;

/// Octets as a fuzzer would choose them: small numbers are choices more often than large ones.
fn octets(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![3 => 0..24_u8, 1 => any::<u8>()], 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_octets_break_anything(octets in octets(300)) {
        for target in TARGETS {
            (target.run)(&octets);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_conversation_breaks_a_tunnel(octets in octets(600)) {
        fuzzing::run("tunnel", &octets);
    }

    #[test]
    fn no_conversation_breaks_a_link(octets in octets(600)) {
        fuzzing::run("link", &octets);
    }
}
