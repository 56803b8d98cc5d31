//! Frames of the peer's as they came, before pppd reads them: from `FF 03` or the protocol field on, as its hook for received packets has them.

/// What a peer gave to prove who it is, octet for octet. pppd asks who judges it with names and passwords in which it has spelled what is not ASCII: `M-C)` is
/// an é, or those four characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub name: Vec<u8>,
    /// The password, with PAP.
    pub password: Vec<u8>,
}

impl Identity {
    /// That of an Authenticate-Request of PAP (RFC 1334 section 2.2.1) or a Response of CHAP (RFC 1994 section 4.1); none of another frame.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let (protocol, code, data) = parts(frame)?;
        let (first, rest) = counted(data)?;
        match (protocol, code) {
            (0xc023, 1) => Some(Self {
                name: first.to_vec(),
                password: counted(rest)?.0.to_vec(),
            }),
            (0xc223, 2) => Some(Self {
                name: rest.to_vec(),
                password: Vec::new(),
            }),
            _ => None,
        }
    }
}

/// Whether the frame is a Configure-Nak of LCP that is about the authentication protocol (RFC 1661 section 6.2).
pub fn is_another_authentication(frame: &[u8]) -> bool {
    let Some((0xc021, 3, mut options)) = parts(frame) else {
        return false;
    };
    while let [kind, length, ..] = *options {
        if kind == 3 {
            return true;
        }
        let Some(rest) = options.get(usize::from(length.max(2))..) else {
            return false;
        };
        options = rest;
    }
    false
}

/// The protocol, code and data of a frame of a control protocol.
fn parts(frame: &[u8]) -> Option<(u16, u8, &[u8])> {
    let frame = frame.strip_prefix(&[0xff, 0x03]).unwrap_or(frame);
    let (protocol, packet) = frame.split_first_chunk()?;
    let (&[code, _, high, low], _) = packet.split_first_chunk()?;
    let data = packet.get(4..u16::from_be_bytes([high, low]).into())?;
    Some((u16::from_be_bytes(*protocol), code, data))
}

/// What has its length in front, and what follows.
fn counted(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = data.split_first()?;
    rest.split_at_checked(length.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_those_of_the_packet() {
        let request = b"\xff\x03\xc0\x23\x01\x07\x00\x0b\x03l\xc3\xa9\x02\xff\\padding";
        let heard = Identity::of(request).unwrap();
        assert_eq!(heard.name, "l\u{e9}".as_bytes());
        assert_eq!(heard.password, b"\xff\\");
        let response = b"\xc2\x23\x02\x07\x00\x0a\x02abl\xc3\xa9";
        let heard = Identity::of(response).unwrap();
        assert_eq!(heard.name, "l\u{e9}".as_bytes());
        assert!(heard.password.is_empty());
    }

    #[test]
    fn what_is_no_proof_or_is_cut_off_is_none() {
        for frame in [
            &b""[..],
            b"\xff\x03\xc0",
            b"\xc0\x23\x01\x07\x00\x04",
            b"\xc0\x23\x01\x07\x00\x0b\x03l\xc3\xa9\x03\xff\\",
            b"\xc0\x23\x01\x07\x00\x02\x03l\xc3\xa9\x02\xff\\",
            b"\xc0\x23\x02\x07\x00\x0b\x03l\xc3\xa9\x02\xff\\",
            b"\xc2\x23\x01\x07\x00\x0a\x02abl\xc3\xa9",
            b"\xc0\x21\x01\x07\x00\x0a\x02abl\xc3\xa9",
        ] {
            assert!(Identity::of(frame).is_none(), "{frame:x?}");
        }
    }

    #[test]
    fn a_nak_of_the_authentication_protocol_is_told_from_others() {
        assert!(is_another_authentication(
            b"\xff\x03\xc0\x21\x03\x01\x00\x0d\x01\x04\x05\xdc\x03\x05\xc2\x23\x05"
        ));
        for frame in [
            &b"\xc0\x21\x03\x01\x00\x08\x01\x04\x05\xdc"[..],
            b"\xc0\x21\x02\x01\x00\x09\x03\x05\xc2\x23\x05",
            b"\xc0\x21\x03\x01\x00\x06\x01\x00",
            b"\xc0\x21\x03\x01\x00\x06\x01\xff",
        ] {
            assert!(!is_another_authentication(frame), "{frame:x?}");
        }
    }
}
