//! The AVPs that we send, bit by bit (RFC 2661 sections 4.1 and 4.4).
#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::time::Duration;

use common::{Pair, call_params, secret_config};
use l2tp::{CallParams, StopReason, TunnelConfig};
use wire::l2tp::{AttributeType, BearerTypes};

const SECOND: Duration = Duration::from_secs(1);

/// Two ends that say all that they can.
fn talkative(config: TunnelConfig) -> Pair {
    let config = TunnelConfig {
        vendor_name: "us".into(),
        bearer_capabilities: BearerTypes::DIGITAL,
        ..config
    };
    let mut pair = Pair::new(config.clone(), config, 1);
    let params = CallParams {
        bearer_type: Some(BearerTypes::DIGITAL),
        physical_channel_id: Some(3),
        sub_address: Some("sub".into()),
        rx_connect_speed: Some(2_000_000),
        private_group_id: Some(b"group".to_vec()),
        sequencing_required: true,
        ..call_params()
    };
    let (now, mut rng) = (pair.now, common::rng(9));
    let id = pair
        .lac()
        .place_incoming_call(params, now, &mut rng)
        .unwrap();
    pair.run(SECOND);
    assert_eq!(pair.established_calls(1), 1);
    pair.close_call(0, id);
    pair.run(SECOND);
    pair.lac().close(StopReason::clear("enough"));
    pair.settle();
    pair.run(SECOND);
    pair
}

#[test]
fn every_avp_that_we_send_has_the_bits_of_its_definition() {
    use AttributeType as T;
    // The AVPs of section 4.4 that a receiver may ignore, and those that may not be hidden.
    let optional = [
        T::FIRMWARE_REVISION,
        T::VENDOR_NAME,
        T::RX_CONNECT_SPEED,
        T::PHYSICAL_CHANNEL_ID,
        T::PRIVATE_GROUP_ID,
    ];
    let open = [
        T::MESSAGE_TYPE,
        T::RANDOM_VECTOR,
        T::RESULT_CODE,
        T::PROTOCOL_VERSION,
        T::HOST_NAME,
        T::RECEIVE_WINDOW_SIZE,
        T::SEQUENCING_REQUIRED,
    ];
    let hiding = TunnelConfig {
        hide_avps: true,
        ..secret_config("s3cret")
    };
    for config in [secret_config("s3cret"), hiding] {
        let mut seen = std::collections::BTreeSet::new();
        for (_, _, message) in &talkative(config).sent {
            let mut random_vector = false;
            for (place, avp) in message.avps().enumerate() {
                let attribute = avp.attribute_type().expect("reserved bits of 0");
                seen.insert(attribute);
                random_vector |= attribute == T::RANDOM_VECTOR;
                assert_eq!(attribute == T::MESSAGE_TYPE, place == 0, "{attribute}");
                assert_eq!(avp.mandatory, !optional.contains(&attribute), "{attribute}");
                assert!(!avp.hidden || !open.contains(&attribute), "{attribute}");
                assert!(!avp.hidden || random_vector, "{attribute}");
            }
        }
        for attribute in optional {
            assert!(seen.contains(&attribute), "{attribute} was not sent");
        }
    }
}
