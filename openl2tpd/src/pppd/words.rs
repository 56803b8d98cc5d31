//! The messages of `openl2tp.so`, which documents them.

use std::collections::BTreeMap;

use crypto::mppe::{KeyLength, Mode};
use engine::{PppdEvent, PppdNetwork, PppdRequest};
use ppp::{AuthAttempt, Phase, Proof, Verdict};
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
            let digits =
                |frame: &Vec<u8>| frame.iter().map(|octet| format!("{octet:02x}")).collect();
            let frames: Vec<String> = frames.iter().map(digits).collect();
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
