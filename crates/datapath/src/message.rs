//! Data messages: how every engine tells them from control messages, and how it makes them.

use std::net::IpAddr;

use wire::Writer;
use wire::l2tp::{DataHeader, Header, Sequence};
use wire::ppp::iana::code;
use wire::ppp::{Frame, Protocol};

use crate::{Encapsulation, Event, Framing, Ids, Transport};

/// What a datagram that came on a path is to the control plane: [`Event::Frame`] for a data message, [`Event::Control`] for anything else.
pub fn classify(path: Transport, datagram: &[u8]) -> Event {
    let Transport {
        listener,
        local,
        remote,
    } = path;
    match Header::decode(datagram) {
        Ok((Header::Data(header), frame)) => {
            let ids = Ids {
                tunnel: header.tunnel_id,
                session: header.session_id,
            };
            Event::Frame {
                listener,
                local,
                remote,
                ids,
                ns: header.sequence.map(|sequence| sequence.ns),
                frame: frame.to_vec(),
            }
        }
        _ => Event::Control {
            listener,
            local,
            remote,
            payload: datagram.to_vec(),
        },
    }
}

/// The header of a data message of a session, with this Ns or none.
pub fn header(encapsulation: &Encapsulation, ns: Option<u16>) -> DataHeader {
    let Encapsulation::V2 { peer, .. } = *encapsulation;
    DataHeader {
        tunnel_id: peer.tunnel,
        session_id: peer.session,
        sequence: ns.map(|ns| Sequence { ns, nr: 0 }),
        offset: None,
        has_length: false,
        priority: false,
    }
}

/// What MPPE adds to a packet, octets: its header, and the protocol field that is encrypted with it.
pub const MPPE_OVERHEAD: u16 = 4;

/// The most octets around an IP packet of a session: the outer IP header toward `remote`, UDP, L2TP with the sequence numbers that may come at
/// any time, PPP.
pub fn overhead(remote: IpAddr, framing: Framing) -> u16 {
    const UDP: u16 = 8;
    const L2TP: u16 = 10;
    let ip = if remote.is_ipv4() { 20 } else { 40 };
    let address_control = if framing.address_control_compression {
        0
    } else {
        2
    };
    let protocol = if framing.protocol_compression { 1 } else { 2 };
    ip + UDP + L2TP + address_control + protocol
}

/// Makes a whole data message of a PPP control frame in `out`, in place of what it held.
pub fn encapsulate(
    encapsulation: &Encapsulation,
    ns: Option<u16>,
    frame: &[u8],
    out: &mut Vec<u8>,
) {
    let header = DataHeader {
        priority: is_echo(frame),
        ..header(encapsulation, ns)
    };
    let mut head = [0; DataHeader::MAX_LEN];
    let mut w = Writer::new(&mut head);
    // Without a Length field nothing limits the payload, and the buffer holds the longest header.
    let encoded = header.encode(frame.len(), &mut w);
    debug_assert!(encoded.is_ok());
    out.clear();
    out.extend_from_slice(w.written());
    out.extend_from_slice(frame);
}

/// Whether a frame is one of LCP's echoes: a link that is busy is not to look dead for it (RFC 2661 section 3.1).
fn is_echo(frame: &[u8]) -> bool {
    Frame::decode(frame).is_ok_and(|frame| {
        frame.protocol == Protocol::LCP
            && matches!(frame.payload, [code::ECHO_REQUEST | code::ECHO_REPLY, ..])
    })
}
