//! The RFCs' own vectors, and values that other people's daemons sent.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crypto::hiding::{HidingError, hide, unhide};
use crypto::{chap, mschapv1, mschapv2};
use proptest::collection::vec;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(char::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

/// The test suite of RFC 1321 appendix A.5, split into the three inputs in every way.
#[test]
fn md5_of_rfc_1321() {
    for (text, digest) in [
        ("a", "0cc175b9c0f1b6a831c399e269772661"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
        ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        (
            "abcdefghijklmnopqrstuvwxyz",
            "c3fcd3d76192e4007dfb496cca67e13b",
        ),
    ] {
        let (id, rest) = text.as_bytes().split_first().unwrap();
        for at in 0..=rest.len() {
            assert_eq!(
                chap::response(*id, &rest[..at], &rest[at..]),
                array(digest),
                "{text}"
            );
        }
    }
}

/// pppd as peer answered pppd as authenticator, with the password "pw".
#[test]
fn a_recorded_chap_response() {
    let challenge = hex("451d33bc42814af43994bd7faf6f4e6d891e5c18c7");
    assert_eq!(
        chap::response(0xc5, b"pw", &challenge),
        array("a8672debeef760d45601dd3d1f748633")
    );
}

/// xl2tpd as LNS answered xl2tpd as LAC, and the other way round, with the secret "s3cret".
#[test]
fn recorded_tunnel_authentication() {
    let to_lns = hex("9a0c57e95b4f38a13793b7f2810164a6");
    assert_eq!(
        chap::response(2, b"s3cret", &to_lns),
        array("a7df2e0e1806636dabf51024b492c14d")
    );
    let to_lac = hex("50976c3041f47a2132c4a3a620b4abc6");
    assert_eq!(
        chap::response(3, b"s3cret", &to_lac),
        array("f642e7f91008eb247c02c0d21cca6a72")
    );
}

/// RFC 2433 section B.2.
#[test]
fn the_example_of_ms_chap_v1() {
    assert_eq!(
        mschapv1::nt_response(&array("102DB5DF085D3041"), "MyPw"),
        array("4E9D3C8F9CFD385D5BF4D3246791956CA4C351AB409A3D61")
    );
}

/// RFC 2759 section 9.2.
mod ms_chap_v2 {
    use super::*;

    const AUTHENTICATOR: &str = "5B5D7C7D7B3F2F3E3C2C602132262628";
    const PEER: &str = "21402324255E262A28295F2B3A337C7E";
    const NT_RESPONSE: &str = "82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF";

    #[test]
    fn the_rfc_s_example() {
        let response =
            mschapv2::nt_response(&array(AUTHENTICATOR), &array(PEER), b"User", "clientPass");
        assert_eq!(response, array(NT_RESPONSE));
        let proof = |name: &[u8]| {
            mschapv2::authenticator_response(
                "clientPass",
                &response,
                &array(PEER),
                &array(AUTHENTICATOR),
                name,
            )
        };
        assert_eq!(
            proof(b"User"),
            array("407A5589115FD0D6209F510FE9C04566932CDA56")
        );
        assert_eq!(proof(b"BIGCO\\User"), proof(b"User"));
        assert_ne!(proof(b"user"), proof(b"User"));
    }

    #[test]
    fn the_domain_is_no_part_of_the_hash() {
        let response = mschapv2::nt_response(
            &array(AUTHENTICATOR),
            &array(PEER),
            b"BIGCO\\User",
            "clientPass",
        );
        assert_eq!(response, array(NT_RESPONSE));
    }
}

/// The Message Type, Assigned Session ID and Call Serial Number AVPs of an ICRQ of OpenL2TP 1.8.
#[test]
fn recorded_hidden_avps() {
    let vector = hex("c19d36b5b09d99ff6093ae0e2eca310d0f641673877e0aa1d479ee7d03a325c1");
    let mut out = Vec::new();
    let open = |attribute, value: &str, out: &mut Vec<u8>| {
        unhide(attribute, b"s3cret", &vector, &hex(value), out).map(<[u8]>::to_vec)
    };
    assert_eq!(
        open(14, "0d3acae2d6a48b7b58c2", &mut out).map(|id| id.len()),
        Ok(2)
    );
    assert_eq!(
        open(15, "ac006dfecbd7ee0b9207af09ddac3579a8", &mut out),
        Ok(vec![0, 0, 0, 3])
    );
    assert!(
        unhide(
            15,
            b"other",
            &vector,
            &hex("ac006dfecbd7ee0b9207af09ddac3579a8"),
            &mut out
        )
        .is_err()
    );
}

/// A value of one and of three blocks, computed with another MD5.
#[test]
fn a_chain_of_blocks() {
    let mut out = vec![0xee];
    hide(7, b"secret", &[1; 16], b"host", &[0; 2], &mut out);
    assert_eq!(out[1..], hex(HOST));
    out.clear();
    hide(7, b"secret", &[1; 16], &[b'x'; 33], &[], &mut out);
    assert_eq!(out, hex(LONG));
}

const HOST: &str = "0cd94dafbaa2ffe6";
const LONG: &str = "0cfc5db8b1ae879e62d8ee9519c6d12ec48b0221cb87db0ce37ff18c3110dd621406d7";

#[test]
fn what_does_not_open_says_why() {
    let mut out = Vec::new();
    assert_eq!(
        unhide(7, b"s", b"v", &[], &mut out),
        Err(HidingError::TooShort(0))
    );
    assert_eq!(
        unhide(7, b"s", b"v", &[9], &mut out),
        Err(HidingError::TooShort(1))
    );
    // The subformat of an empty value, whose length is changed from 0 to 3 while one octet of padding follows.
    let mut hidden = Vec::new();
    hide(7, b"s", b"v", &[], &[0], &mut hidden);
    hidden[1] ^= 3;
    assert_eq!(
        unhide(7, b"s", b"v", &hidden, &mut out),
        Err(HidingError::BadLength {
            claimed: 3,
            present: 1
        })
    );
    hidden[1] ^= 3 ^ 1;
    assert_eq!(unhide(7, b"s", b"v", &hidden, &mut out), Ok(&[0][..]));
}

proptest! {
    #[test]
    fn what_was_hidden_opens(
        attribute: u16,
        secret in vec(any::<u8>(), 0..40),
        vector in vec(any::<u8>(), 0..40),
        value in vec(any::<u8>(), 0..200),
        padding in vec(any::<u8>(), 0..40),
    ) {
        let (mut hidden, mut out) = (Vec::new(), vec![7; 3]);
        hide(attribute, &secret, &vector, &value, &padding, &mut hidden);
        prop_assert_eq!(hidden.len(), 2 + value.len() + padding.len());
        prop_assert_eq!(unhide(attribute, &secret, &vector, &hidden, &mut out), Ok(&value[..]));
    }
}
