//! Passwords that are not ASCII, of MS-CHAP: what their octets are as text, peers disagree on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests only")]

use crypto::Secret;
use ppp::{AuthAttempt, Proof, Verdict};

const OURS: [u8; 16] = [1; 16];
const THEIRS: [u8; 16] = [2; 16];

fn v2(user: &str, text: &str) -> AuthAttempt {
    AuthAttempt {
        number: 1,
        user_name: user.as_bytes().to_vec(),
        proof: Proof::MsChapV2 {
            identifier: 1,
            authenticator_challenge: OURS,
            peer_challenge: THEIRS,
            nt_response: crypto::mschapv2::nt_response(&OURS, &THEIRS, user.as_bytes(), text),
        },
    }
}

fn v1(text: &str) -> AuthAttempt {
    AuthAttempt {
        number: 1,
        user_name: b"zo\xc3\xab".to_vec(),
        proof: Proof::MsChapV1 {
            identifier: 1,
            challenge: [3; 8],
            nt_response: crypto::mschapv1::nt_response(&[3; 8], text),
        },
    }
}

/// The octets of a text, each as a character.
fn widened(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

#[test]
fn a_peer_that_knows_unicode_and_one_that_widens_octets_are_both_let_in() {
    let password = "g\u{fc}n\u{20ac}";
    let secret = Secret::from(password);
    for text in [password.to_owned(), widened(password)] {
        let Some(Verdict::Accept {
            authenticator_response,
            mppe_keys,
            ..
        }) = v2("zo\u{eb}", &text).check(&secret)
        else {
            panic!("{text:?} is refused");
        };
        // What we prove, and the keys, are of the same text.
        let response = crypto::mschapv2::nt_response(&OURS, &THEIRS, "zo\u{eb}".as_bytes(), &text);
        let proof = crypto::mschapv2::authenticator_response(
            &text,
            &response,
            &THEIRS,
            &OURS,
            "zo\u{eb}".as_bytes(),
        );
        assert_eq!(authenticator_response, Some(proof));
        let keys = crypto::mppe::StartKeys::of_ms_chap_v2(&text, &response);
        assert_eq!(mppe_keys, Some(keys));
        assert!(v1(&text).check(&secret).is_some());
    }
}

#[test]
fn a_password_of_octets_that_are_no_text_is_good_for_who_widens() {
    let secret = Secret::from(vec![b'g', 0xfc]);
    assert!(v2("u", "g\u{fc}").check(&secret).is_some());
    assert!(v2("u", "g").check(&secret).is_none());
}

#[test]
fn no_other_password_is_let_in() {
    let secret = Secret::from("g\u{fc}n");
    for text in ["", "gun", "g\u{fd}n", "g\u{fc}n "] {
        assert!(v2("u", text).check(&secret).is_none(), "{text}");
        assert!(v1(text).check(&secret).is_none(), "{text}");
    }
    // One of ASCII has no second reading.
    assert_eq!(Secret::from("plain").texts().len(), 1);
}
