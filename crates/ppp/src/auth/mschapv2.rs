//! What MS-CHAPv2 puts into CHAP's packets (RFC 2759).

use crypto::mschapv2;
use wire::Writer;
use wire::ppp::{MsChapV2Failure, MsChapV2Response, MsChapV2Success};

use super::clip;
use crate::Credentials;

/// Room for a Success or Failure message, in octets.
const MESSAGE: usize = 512;

/// The value of our Response.
pub(super) fn response(
    credentials: &Credentials,
    authenticator_challenge: &[u8; 16],
    peer_challenge: &[u8; 16],
) -> [u8; MsChapV2Response::LENGTH] {
    let nt_response = nt_response(credentials, authenticator_challenge, peer_challenge);
    MsChapV2Response {
        peer_challenge: *peer_challenge,
        nt_response,
    }
    .encode()
}

/// Whether the message of a Success proves that the authenticator knows our password.
pub(super) fn is_genuine(
    message: &[u8],
    credentials: &Credentials,
    authenticator_challenge: &[u8; 16],
    peer_challenge: &[u8; 16],
) -> bool {
    let Ok(success) = MsChapV2Success::decode(message) else {
        return false;
    };
    let expected = mschapv2::authenticator_response(
        &credentials.password.to_text(),
        &nt_response(credentials, authenticator_challenge, peer_challenge),
        peer_challenge,
        authenticator_challenge,
        credentials.user_name.as_bytes(),
    );
    crypto::eq(&expected, &success.authenticator_response)
}

fn nt_response(
    credentials: &Credentials,
    authenticator_challenge: &[u8; 16],
    peer_challenge: &[u8; 16],
) -> [u8; 24] {
    let (name, password) = (
        credentials.user_name.as_bytes(),
        credentials.password.to_text(),
    );
    mschapv2::nt_response(authenticator_challenge, peer_challenge, name, &password)
}

/// The message of our Success.
pub(super) fn success(authenticator_response: [u8; 20], message: &str) -> Box<[u8]> {
    let success = MsChapV2Success {
        authenticator_response,
        message: clip(message),
    };
    let mut room = [0; MESSAGE];
    let mut w = Writer::new(&mut room);
    // It fits: the message is clipped.
    let _ = success.encode(&mut w);
    w.written().into()
}

/// The message of our Failure: the wrong name or password, and no second try.
pub(super) fn failure(challenge: [u8; 16], message: &str) -> Box<[u8]> {
    let failure = MsChapV2Failure {
        error: MsChapV2Failure::AUTHENTICATION_FAILURE,
        retry: false,
        challenge: Some(challenge),
        message: clip(message),
    };
    let mut room = [0; MESSAGE];
    let mut w = Writer::new(&mut room);
    // It fits: the message is clipped.
    let _ = failure.encode(&mut w);
    w.written().into()
}
