//! Control messages of a peer that the test plays.

use wire::Writer;
use wire::l2tp::{Attribute, Avps, ControlHeader, FramingTypes, Header, MessageType, ResultCode};

/// A message that our node sent to the stranger.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) header: ControlHeader,
    pub(crate) message_type: Option<MessageType>,
    pub(crate) avps: Vec<u8>,
}

/// A control message.
pub(crate) fn message(header: ControlHeader, attributes: &[Attribute<'_>]) -> Vec<u8> {
    let mut body = [0; 1024];
    let mut w = Writer::new(&mut body);
    for attribute in attributes {
        attribute.encode(&mut w).unwrap();
    }
    let mut out = [0; 1100];
    let mut o = Writer::new(&mut out);
    header.encode(w.len(), &mut o).unwrap();
    o.bytes(w.written()).unwrap();
    o.written().to_vec()
}

pub(crate) fn header(tunnel_id: u16, ns: u16, nr: u16) -> ControlHeader {
    ControlHeader {
        tunnel_id,
        session_id: 0,
        ns,
        nr,
    }
}

pub(crate) fn introduction(message_type: MessageType, id: u16) -> Vec<Attribute<'static>> {
    vec![
        Attribute::MessageType(message_type),
        Attribute::ProtocolVersion(1, 0),
        Attribute::FramingCapabilities(FramingTypes::all()),
        Attribute::HostName(b"stranger"),
        Attribute::AssignedTunnelId(id),
    ]
}

pub(crate) fn sccrq(id: u16) -> Vec<u8> {
    message(header(0, 0, 0), &introduction(MessageType::SCCRQ, id))
}

pub(crate) fn just(message_type: MessageType, header: ControlHeader) -> Vec<u8> {
    message(header, &[Attribute::MessageType(message_type)])
}

pub(crate) fn icrq(header: ControlHeader, id: u16) -> Vec<u8> {
    message(
        header,
        &[
            Attribute::MessageType(MessageType::ICRQ),
            Attribute::AssignedSessionId(id),
            Attribute::CallSerialNumber(1),
        ],
    )
}

pub(crate) fn read(datagram: &[u8]) -> Sent {
    let Ok((Header::Control(header), avps)) = Header::decode(datagram) else {
        panic!("{datagram:?}")
    };
    let attribute =
        |avp: wire::l2tp::Avp<'_>| match Attribute::decode(avp.attribute_type()?, avp.value) {
            Ok(Some(Attribute::MessageType(message_type))) => Some(message_type),
            _ => None,
        };
    Sent {
        header,
        message_type: Avps::new(avps).flatten().find_map(attribute),
        avps: avps.to_vec(),
    }
}

impl Sent {
    pub(crate) fn find<T>(&self, f: impl Fn(Attribute<'_>) -> Option<T>) -> T {
        Avps::new(&self.avps)
            .flatten()
            .find_map(|avp| f(Attribute::decode(avp.attribute_type()?, avp.value).ok()??))
            .unwrap_or_else(|| panic!("{self:?}"))
    }

    pub(crate) fn tunnel_id(&self) -> u16 {
        self.find(|a| match a {
            Attribute::AssignedTunnelId(id) => Some(id),
            _ => None,
        })
    }

    pub(crate) fn result(&self) -> u16 {
        self.find(|a| match a {
            Attribute::ResultCode(ResultCode { result, .. }) => Some(result),
            _ => None,
        })
    }
}
