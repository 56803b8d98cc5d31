//! Data messages: how every engine tells them from control messages, and how it makes them.

use std::net::SocketAddr;

use wire::Writer;
use wire::l2tp::{DataHeader, Header, Sequence};

use crate::{Encapsulation, Event, Ids};

/// What a datagram is to the control plane: [`Event::Frame`] for a data message, [`Event::Control`] for anything else.
pub fn classify(local: SocketAddr, remote: SocketAddr, datagram: &[u8]) -> Event {
    match Header::decode(datagram) {
        Ok((Header::Data(header), frame)) => {
            let ids = Ids {
                tunnel: header.tunnel_id,
                session: header.session_id,
            };
            Event::Frame {
                local,
                remote,
                ids,
                frame: frame.to_vec(),
            }
        }
        _ => Event::Control {
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
