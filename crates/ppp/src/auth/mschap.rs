//! What MS-CHAP puts into CHAP's packets (RFC 2433, RFC 2759).

use crypto::mppe::StartKeys;
use crypto::{mschapv1, mschapv2};
use wire::ppp::{MsChapFailure, MsChapV1Response, MsChapV2Response, MsChapV2Success};
use wire::{BufferFull, Writer};

use super::{clip, text};
use crate::Credentials;

/// Room for a Success or Failure message, in octets.
const MESSAGE: usize = 512;

/// The value of our Response of MS-CHAPv1.
pub(super) fn v1_response(
    credentials: &Credentials,
    challenge: &[u8; 8],
) -> [u8; MsChapV1Response::LENGTH] {
    MsChapV1Response {
        nt_response: mschapv1::nt_response(challenge, &credentials.password.to_text()),
        use_nt: true,
    }
    .encode()
}

/// The value of our Response of MS-CHAPv2.
pub(super) fn v2_response(
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

/// Our keys after MS-CHAPv1 (RFC 3079 section 2.3).
pub(super) fn v1_keys(credentials: &Credentials, challenge: &[u8; 8]) -> StartKeys {
    StartKeys::of_ms_chap_v1(&credentials.password.to_text(), challenge)
}

/// Our keys after MS-CHAPv2 (RFC 3079 section 3).
pub(super) fn v2_keys(
    credentials: &Credentials,
    authenticator_challenge: &[u8; 16],
    peer_challenge: &[u8; 16],
) -> StartKeys {
    let nt_response = nt_response(credentials, authenticator_challenge, peer_challenge);
    StartKeys::of_ms_chap_v2(&credentials.password.to_text(), &nt_response).reversed()
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

/// The message of our Success of MS-CHAPv2.
pub(super) fn success(authenticator_response: [u8; 20], message: &str) -> Box<[u8]> {
    let success = MsChapV2Success {
        authenticator_response,
        message: clip(message),
    };
    written(|w| success.encode(w))
}

/// The message of our Failure: the wrong name or password, and no second try.
pub(super) fn failure<const N: usize>(
    version: u32,
    challenge: [u8; N],
    message: &str,
) -> Box<[u8]> {
    let failure = MsChapFailure {
        error: MsChapFailure::<N>::AUTHENTICATION_FAILURE,
        retry: false,
        challenge: Some(challenge),
        version,
        message: clip(message),
    };
    written(|w| failure.encode(w))
}

/// What the authenticator said of its failure, for people.
pub(super) fn reason<const N: usize>(message: &[u8]) -> String {
    let failure = MsChapFailure::<N>::decode(message);
    match text(failure.message) {
        said if said.is_empty() => format!("error {}", failure.error),
        said => said,
    }
}

fn written(message: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>) -> Box<[u8]> {
    let mut room = [0; MESSAGE];
    let mut w = Writer::new(&mut room);
    // It fits: the text in it is clipped.
    let _ = message(&mut w);
    w.written().into()
}
