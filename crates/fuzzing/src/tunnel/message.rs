//! The messages that a peer can make: right ones, and ones that are wrong in some way.

use crypto::{chap, hiding};
use wire::Writer;
use wire::l2tp::{
    AccessLineType, Attribute, AttributeType, Avp, Avps, BearerTypes, CallErrors, ControlHeader,
    DisconnectCause, DisconnectCode, ErrorCode, Extension, FramingTypes, Header, MessageType,
    ProxyAuthenType, Q931Cause, Q931CauseCode, ResultCode, SpeedUpdate, TransmissionMaps,
};

use super::PEER;
use super::model::Model;
use crate::choices::Choices;

/// What both ends know, if the tunnel knows one.
pub(super) const SECRET: &str = "s3cret";
/// What the peer hides with.
const VECTOR: &[u8] = b"0123456789abcdef";

/// An AVP that owns its value.
#[derive(Clone)]
struct OwnAvp {
    mandatory: bool,
    hidden: bool,
    reserved: u8,
    vendor_id: u16,
    attribute: u16,
    value: Vec<u8>,
}

impl From<&Attribute<'_>> for OwnAvp {
    fn from(attribute: &Attribute<'_>) -> Self {
        let mut buf = [0; Avp::MAX_VALUE_LEN];
        let mut w = Writer::new(&mut buf);
        attribute.encode_value(&mut w).expect("a value that fits");
        Self {
            mandatory: attribute.attribute_type().is_mandatory(),
            hidden: false,
            reserved: 0,
            vendor_id: 0,
            attribute: attribute.attribute_type().0,
            value: w.written().to_vec(),
        }
    }
}

/// A control message's AVPs.
pub(super) struct Message(Vec<OwnAvp>);

/// The type that an octet stands for: most are assigned.
pub(super) fn chosen_type(octet: u8) -> MessageType {
    MessageType(u16::from(octet % 32))
}

impl Message {
    /// A ZLB.
    pub(super) fn empty() -> Self {
        Self(Vec::new())
    }

    /// Ns of a control message that was decoded before.
    pub(super) fn number_of(datagram: &[u8]) -> u16 {
        match Header::decode(datagram) {
            Ok((Header::Control(header), _)) => header.ns,
            other => panic!("{other:?}"),
        }
    }

    /// The message of this type as it should be, in its shortest form.
    pub(super) fn assemble(
        message_type: MessageType,
        choices: &mut Choices<'_>,
        model: Option<&Model>,
    ) -> Option<Self> {
        use Attribute as A;
        let mut avps = vec![A::MessageType(message_type)];
        let response = model
            .and_then(Model::challenge)
            .map(|challenge| chap::response(message_type.0 as u8, SECRET.as_bytes(), challenge));
        let window = match message_type {
            MessageType::SCCRQ | MessageType::SCCRP => choices.octet()?,
            _ => 0,
        };
        match message_type {
            MessageType::SCCRQ | MessageType::SCCRP => {
                avps.extend([
                    A::ProtocolVersion(1, 0),
                    A::FramingCapabilities(FramingTypes::all()),
                    A::HostName(b"peer"),
                    A::AssignedTunnelId(PEER),
                ]);
                avps.extend((window != 0).then_some(A::ReceiveWindowSize(window.into())));
                avps.extend((window & 1 != 0).then_some(A::Challenge(b"prove it")));
                avps.extend((window & 2 != 0).then_some(A::TieBreaker(7)));
                avps.extend((window & 4 != 0).then_some(A::BearerCapabilities(BearerTypes::all())));
                avps.extend(response.map(A::ChallengeResponse));
            }
            MessageType::SCCCN => avps.extend(response.map(A::ChallengeResponse)),
            MessageType::STOP_CCN => avps.extend([A::AssignedTunnelId(PEER), result(choices)?]),
            MessageType::OCRQ => {
                avps.extend([
                    A::AssignedSessionId(choices.octet()?.into()),
                    A::CallSerialNumber(1),
                    A::MinimumBps(1),
                    A::MaximumBps(64_000),
                    A::BearerType(BearerTypes::ANALOG),
                    A::FramingType(FramingTypes::SYNC),
                    A::CalledNumber(b"0123"),
                ]);
            }
            MessageType::ICRQ => {
                avps.extend([
                    A::AssignedSessionId(choices.octet()?.into()),
                    A::CallSerialNumber(1),
                ]);
            }
            MessageType::ICRP | MessageType::OCRP => {
                avps.push(A::AssignedSessionId(choices.octet()?.into()));
            }
            MessageType::ICCN | MessageType::OCCN => {
                avps.extend([
                    A::TxConnectSpeed(64_000),
                    A::FramingType(FramingTypes::SYNC),
                ]);
            }
            MessageType::CDN => {
                avps.extend([
                    A::AssignedSessionId(choices.octet()?.into()),
                    result(choices)?,
                ]);
            }
            MessageType::WEN => avps.push(A::CallErrors(CallErrors::default())),
            MessageType::CSUN | MessageType::CSURQ => {
                avps.push(A::Extension(Extension::ConnectSpeedUpdate(SpeedUpdate {
                    session_id: choices.octet()?.into(),
                    tx: 1_000,
                    rx: 2_000,
                })));
            }
            MessageType::SLI => avps.push(A::Accm(TransmissionMaps {
                send: 1,
                receive: 2,
            })),
            _ => {}
        }
        Some(Self(avps.iter().map(OwnAvp::from).collect()))
    }

    /// Changes the message so often.
    pub(super) fn spoil(&mut self, choices: &mut Choices<'_>, times: usize) -> Option<()> {
        for _ in 0..times {
            let (what, place) = (choices.below(10)?, choices.below(self.0.len())?);
            match what {
                0 => self.0[place].mandatory ^= true,
                1 => self.0[place].hidden ^= true,
                2 => self.0[place].reserved = choices.octet()? & 15,
                3 => {
                    self.0[place].vendor_id = choices.one_of(&[0, 9, AccessLineType::VENDOR_ID])?
                }
                4 => self.0[place].attribute = choices.octet()?.into(),
                5 => self.0[place].value = choices.octets()?.to_vec(),
                6 => {
                    self.0.remove(place);
                }
                7 => self.0.insert(place, self.0[place].clone()),
                8 => self.hide(),
                _ => self.0.push(OwnAvp::from(&extra(choices)?)),
            }
            if self.0.is_empty() {
                break;
            }
        }
        Some(())
    }

    /// Hides what may be hidden, as a peer does that knows the secret.
    fn hide(&mut self) {
        self.0
            .insert(1, OwnAvp::from(&Attribute::RandomVector(VECTOR)));
        for avp in &mut self.0[2..] {
            if AttributeType(avp.attribute).may_be_hidden() && !avp.hidden {
                let (secret, mut value) = (SECRET.as_bytes(), Vec::new());
                hiding::hide(avp.attribute, secret, VECTOR, &avp.value, b"", &mut value);
                (avp.hidden, avp.value) = (true, value);
            }
        }
    }

    /// The whole datagram.
    pub(super) fn datagram(&self, header: &ControlHeader) -> Vec<u8> {
        let mut buf = vec![0; 0x1_0000];
        let mut avps = Writer::new(&mut buf);
        for avp in &self.0 {
            let avp = Avp {
                mandatory: avp.mandatory,
                hidden: avp.hidden,
                reserved: avp.reserved,
                vendor_id: avp.vendor_id,
                attribute: avp.attribute,
                value: &avp.value,
            };
            avp.encode(&mut avps).expect("an AVP that fits");
        }
        let mut datagram = vec![0; ControlHeader::LEN];
        header
            .encode(avps.len(), &mut Writer::new(&mut datagram))
            .expect("a message that fits");
        datagram.extend_from_slice(avps.written());
        datagram
    }
}

fn result(choices: &mut Choices<'_>) -> Option<Attribute<'static>> {
    let result = choices.octet()?;
    Some(Attribute::ResultCode(ResultCode {
        result: u16::from(result & 15),
        error: (result & 16 != 0).then_some(ErrorCode(u16::from(result >> 5))),
        message: if result & 16 != 0 { b"why" } else { b"" },
    }))
}

/// An AVP that is not needed.
fn extra(choices: &mut Choices<'_>) -> Option<Attribute<'static>> {
    use Attribute as A;
    let number = u32::from(choices.octet()?);
    choices.one_of(&[
        A::FirmwareRevision(number as u16),
        A::VendorName(b"vendor"),
        A::BearerType(number.into()),
        A::FramingType(number.into()),
        A::PhysicalChannelId(number),
        A::CalledNumber(b"1"),
        A::CallingNumber(b"2"),
        A::SubAddress(b"3"),
        A::RxConnectSpeed(number),
        A::PrivateGroupId(b"group"),
        A::SequencingRequired,
        A::ProxyAuthenType(ProxyAuthenType::PAP),
        A::ProxyAuthenName(b"u0"),
        A::ProxyAuthenChallenge(b"challenge"),
        A::ProxyAuthenId(number as u8),
        A::ProxyAuthenResponse(b"pw"),
        A::InitialReceivedLcpConfReq(&[1, 4, 5, 0xd4]),
        A::LastSentLcpConfReq(&[1, 4, 5, 0xd4]),
        A::LastReceivedLcpConfReq(&[1, 4, 5, 0xd4]),
        A::Q931CauseCode(Q931Cause {
            code: Q931CauseCode(16),
            message: 69,
            advisory: b"",
        }),
        A::ReceiveWindowSize(number as u16),
        A::Challenge(b"again"),
        A::ChallengeResponse([7; 16]),
        A::RandomVector(VECTOR),
        A::Extension(Extension::DisconnectCause(DisconnectCause {
            code: DisconnectCode(3),
            protocol: 0xc021,
            direction: 1,
            message: b"why",
        })),
        A::Extension(Extension::ControlConnectionDs(number as u16)),
        A::Extension(Extension::SessionDs(number as u16)),
        A::Extension(Extension::LcpWantOptions(&[1, 4, 5, 0xd4])),
        A::Extension(Extension::LcpAllowOptions(&[1, 4, 5, 0xd4])),
        A::Extension(Extension::ConnectSpeedUpdateEnable),
        A::Extension(Extension::EcnCapability),
    ])
}

/// The value of an attribute in what the tunnel sent, opened if it is hidden.
pub(super) fn value_of(avps: &[u8], attribute: AttributeType) -> Option<Vec<u8>> {
    let mut vector = None;
    for avp in Avps::new(avps).flatten() {
        if avp.attribute_type() == Some(AttributeType::RANDOM_VECTOR) {
            vector = Some(avp.value);
        }
        if avp.attribute_type() == Some(attribute) {
            if !avp.hidden {
                return Some(avp.value.to_vec());
            }
            let (secret, mut scratch) = (SECRET.as_bytes(), Vec::new());
            let vector = vector.expect("a hidden AVP follows a Random Vector");
            let opened = hiding::unhide(avp.attribute, secret, vector, avp.value, &mut scratch);
            return Some(opened.expect("our hidden AVPs open").to_vec());
        }
    }
    None
}
