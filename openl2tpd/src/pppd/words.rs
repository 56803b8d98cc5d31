//! The messages of `openl2tp.so`, which documents them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crypto::mppe::{KeyLength, Mode};
use engine::{PppdEvent, PppdNetwork, PppdRequest};
use ppp::{AuthAttempt, AuthProtocol, EncryptionCause, Phase, Proof, Verdict};
use wire::Writer;
use wire::l2tp::TransmissionMaps;
use wire::ppp::MsChapV2Success;

/// A message: its fields by name.
#[derive(Default)]
pub(crate) struct Message(BTreeMap<String, String>);

impl Message {
    /// Takes one line of it; whether it was the last, which is empty.
    pub(crate) fn add(&mut self, line: &str) -> bool {
        if let Some((name, value)) = line.split_once('=') {
            self.0.insert(name.to_owned(), value.to_owned());
        }
        line.is_empty()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn octets(&self, name: &str) -> Option<Vec<u8>> {
        let text = self.get(name)?.as_bytes();
        let (pairs, rest) = text.as_chunks::<2>();
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let octet = |[high, low]: &[u8; 2]| Some((digit(*high)? << 4 | digit(*low)?) as u8);
        rest.is_empty().then(|| pairs.iter().map(octet).collect())?
    }

    /// What it says; none where it is not as it should be.
    pub(crate) fn event(&self, number: u32) -> Option<PppdEvent> {
        Some(match self.get("event")? {
            "phase" => PppdEvent::Phase(match self.get("phase")? {
                "establish" => Phase::Establish,
                "authenticate" => Phase::Authenticate,
                "network" => Phase::Network,
                "terminate" => Phase::Terminate,
                _ => Phase::Dead,
            }),
            "up" => PppdEvent::Up {
                interface: self.get("interface")?.to_owned(),
                network: self.network()?,
                mppe: self.mode(),
                dns: self.name_servers()?,
                auth: self.auth(),
            },
            "down" => PppdEvent::Down {
                ipv6: self.get("protocol")? == "ipv6",
            },
            "accm" => {
                let map = |name| u32::from_str_radix(self.get(name)?, 16).ok();
                PppdEvent::Maps(TransmissionMaps {
                    send: map("send")?,
                    receive: map("receive")?,
                })
            }
            "authenticate" => PppdEvent::Authenticate(AuthAttempt {
                number,
                user_name: self.octets("name")?,
                proof: self.proof()?,
            }),
            "unencrypted" => PppdEvent::Unencrypted(match self.get("why")? {
                "rejected" => EncryptionCause::Rejected,
                _ => EncryptionCause::NotConverged,
            }),
            "early" => PppdEvent::Ready,
            "address" => PppdEvent::NetworkWanted,
            _ => return None,
        })
    }

    fn network(&self) -> Option<PppdNetwork> {
        let (local, peer) = (self.get("local")?, self.get("peer")?);
        Some(match self.get("protocol")? {
            "ip" => PppdNetwork::Ipv4(local.parse().ok()?, peer.parse().ok()?),
            _ => PppdNetwork::Ipv6(local.parse().ok()?, peer.parse().ok()?),
        })
    }

    fn mode(&self) -> Option<Mode> {
        let length = match self.get("mppe")? {
            "40" => KeyLength::Bits40,
            _ => KeyLength::Bits128,
        };
        let stateful = self.get("stateful") == Some("1");
        Some(Mode { length, stateful })
    }

    fn name_servers(&self) -> Option<[Option<Ipv4Addr>; 2]> {
        let mut servers = self.get("dns").into_iter().flat_map(|text| text.split(','));
        let mut next = || servers.next().map(str::parse).transpose().ok();
        Some([next()?, next()?])
    }

    /// By what we proved who we are.
    fn auth(&self) -> Option<AuthProtocol> {
        Some(match self.get("auth")? {
            "pap" => AuthProtocol::Pap,
            "5" => AuthProtocol::ChapMd5,
            "128" => AuthProtocol::MsChapV1,
            "129" => AuthProtocol::MsChapV2,
            _ => return None,
        })
    }

    fn proof(&self) -> Option<Proof> {
        let protocol = self.get("protocol")?;
        if protocol == "pap" {
            let password = self.octets("password")?.into();
            return Some(Proof::Pap { password });
        }
        let identifier = self.get("identifier")?.parse().ok()?;
        let (challenge, response) = (self.octets("challenge")?, self.octets("response")?);
        let part = |range: std::ops::Range<usize>| response.get(range);
        Some(match protocol.parse().ok()? {
            5_u8 => Proof::ChapMd5 {
                identifier,
                challenge,
                response: response.as_slice().try_into().ok()?,
            },
            0x80 => Proof::MsChapV1 {
                identifier,
                challenge: challenge.as_slice().try_into().ok()?,
                nt_response: part(24..48)?.try_into().ok()?,
            },
            0x81 => Proof::MsChapV2 {
                identifier,
                authenticator_challenge: challenge.as_slice().try_into().ok()?,
                peer_challenge: part(0..16)?.try_into().ok()?,
                nt_response: part(24..48)?.try_into().ok()?,
            },
            _ => return None,
        })
    }
}

/// The message of a Success of MS-CHAPv2 (RFC 2759 section 5).
fn success(authenticator_response: [u8; 20], message: &str) -> Option<String> {
    let mut room = [0; 255];
    let mut w = Writer::new(&mut room);
    let success = MsChapV2Success {
        authenticator_response,
        message: message.as_bytes(),
    };
    success.encode(&mut w).ok()?;
    String::from_utf8(w.written().to_vec()).ok()
}

/// The answer that a request is to a question; none where it is no answer.
pub(crate) fn answer(request: &PppdRequest) -> Option<String> {
    Some(match request {
        PppdRequest::Judge {
            verdict:
                Verdict::Accept {
                    message,
                    authenticator_response,
                    mppe_keys,
                },
        } => {
            let text = match authenticator_response {
                Some(proof) => success(*proof, message)?,
                None => message.clone(),
            };
            let mut answer = format!("verdict=accept\nmessage={text}\n");
            if let Some(keys) = mppe_keys {
                let [send, receive] =
                    [&keys.send, &keys.receive].map(|key| hexadecimal(key.as_bytes()));
                answer += &format!("mppe_send={send}\nmppe_receive={receive}\n");
            }
            answer + "\n"
        }
        PppdRequest::Judge {
            verdict: Verdict::Reject { message },
        } => format!("verdict=reject\nmessage={message}\n\n"),
        PppdRequest::Early(frames) => {
            let frames: Vec<String> = frames.iter().map(|frame| hexadecimal(frame)).collect();
            format!("frames={}\n\n", frames.join(","))
        }
        PppdRequest::Address(Some(address)) => format!("address={address}\n\n"),
        PppdRequest::Address(None) => "address=none\n\n".to_owned(),
        PppdRequest::Start(_) | PppdRequest::Stop { .. } => return None,
    })
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Option<PppdEvent> {
        let mut message = Message::default();
        for line in text.split(' ') {
            assert!(!message.add(line));
        }
        assert!(message.add(""), "an empty line ends it");
        message.event(1)
    }

    #[test]
    fn what_is_not_as_documented_is_nothing() {
        for text in [
            "x",
            "event=none",
            "event=phase",
            "event=up protocol=ip interface=ppp0",
            "event=up protocol=ip interface=ppp0 local=10.0.0.1 peer=10.0.0.2 dns=10.0.0.x",
            "event=unencrypted",
            "event=up protocol=ip interface=ppp0 local=10.0.0.1 peer=fe80::1",
            "event=up protocol=ipv6 interface=ppp0 local=10.0.0.1 peer=10.0.0.2",
            "event=accm send=0 receive=100000000",
            "event=authenticate protocol=pap name=0 password=00",
            "event=authenticate protocol=pap name=zz password=00",
            "event=authenticate protocol=6 name=61 identifier=1 challenge=00 response=00",
            "event=authenticate protocol=5 name=61 identifier=256 challenge=00 response=00",
            "event=authenticate protocol=5 name=61 identifier=1 challenge=00 response=00",
            "event=authenticate protocol=129 name=61 identifier=1 challenge=00 response=00",
        ] {
            assert!(event(text).is_none(), "{text}");
        }
    }

    #[test]
    fn what_a_client_was_given_and_how_it_proved_itself_is_taken() {
        let text = "event=up protocol=ip interface=ppp0 local=10.0.0.1 peer=10.0.0.2";
        let told = |more: &str| match event(&format!("{text}{more}")) {
            Some(PppdEvent::Up { dns, auth, .. }) => (dns, auth),
            _ => panic!("not taken"),
        };
        let server = |last| Some(Ipv4Addr::new(10, 0, 0, last));
        let both = " dns=10.0.0.53,10.0.0.54 auth=129";
        assert_eq!(
            told(both),
            ([server(53), server(54)], Some(AuthProtocol::MsChapV2))
        );
        assert_eq!(told(""), ([None; 2], None));
    }

    #[test]
    fn a_chap_response_of_any_challenge_is_taken() {
        let response = "11".repeat(16);
        let text = format!(
            "event=authenticate protocol=5 name=e9 identifier=7 challenge=0102030405 response={response}"
        );
        let Some(PppdEvent::Authenticate(attempt)) = event(&text) else {
            panic!("not taken");
        };
        assert_eq!(attempt.user_name, [0xe9]);
        let Proof::ChapMd5 { challenge, .. } = attempt.proof else {
            panic!("another proof");
        };
        assert_eq!(challenge, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_success_of_ms_chap_v2_has_its_form_and_the_keys_go_along() {
        let keys = crypto::mppe::StartKeys {
            send: [1; 16].into(),
            receive: [2; 16].into(),
        };
        let said = answer(&PppdRequest::Judge {
            verdict: Verdict::Accept {
                message: "welcome".to_owned(),
                authenticator_response: Some([0xab; 20]),
                mppe_keys: Some(keys),
            },
        });
        let expected = format!(
            "verdict=accept\nmessage=S={} M=welcome\nmppe_send={}\nmppe_receive={}\n\n",
            "AB".repeat(20),
            "01".repeat(16),
            "02".repeat(16)
        );
        assert_eq!(said.as_deref(), Some(expected.as_str()));
    }
}
