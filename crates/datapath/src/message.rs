//! Data messages: how every engine tells them from control messages, and how it makes them.

use std::net::IpAddr;

use wire::Writer;
use wire::l2tp::{DataHeader, Header, Sequence};

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

/// The header of a session's next data message; `ns` counts those that carry sequence numbers (RFC 2661 section 5.4).
pub fn header(encapsulation: &Encapsulation, ns: &mut u16) -> DataHeader {
    let Encapsulation::V2 {
        peer,
        send_sequence,
        ..
    } = *encapsulation;
    let sequence = send_sequence.then(|| {
        let this = *ns;
        *ns = ns.wrapping_add(1);
        Sequence { ns: this, nr: 0 }
    });
    DataHeader {
        tunnel_id: peer.tunnel,
        session_id: peer.session,
        sequence,
        offset: None,
        has_length: false,
        priority: false,
    }
}

/// Octets around an IP packet of a session: the outer IP header toward `remote`, UDP, L2TP with or without sequence numbers, PPP.
pub fn overhead(remote: IpAddr, send_sequence: bool, framing: Framing) -> u16 {
    const UDP: u16 = 8;
    let ip = if remote.is_ipv4() { 20 } else { 40 };
    let l2tp = if send_sequence { 10 } else { 6 };
    let address_control = if framing.address_control_compression {
        0
    } else {
        2
    };
    let protocol = if framing.protocol_compression { 1 } else { 2 };
    ip + UDP + l2tp + address_control + protocol
}

/// Makes a whole data message of a PPP frame in `out`, in place of what it held.
pub fn encapsulate(encapsulation: &Encapsulation, ns: &mut u16, frame: &[u8], out: &mut Vec<u8>) {
    let header = header(encapsulation, ns);
    let mut head = [0; DataHeader::MAX_LEN];
    let mut w = Writer::new(&mut head);
    // Without a Length field nothing limits the payload, and the buffer holds the longest header.
    let encoded = header.encode(frame.len(), &mut w);
    debug_assert!(encoded.is_ok());
    out.clear();
    out.extend_from_slice(w.written());
    out.extend_from_slice(frame);
}
