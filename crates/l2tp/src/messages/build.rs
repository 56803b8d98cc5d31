use crypto::{Secret, hiding};
use sansio::Rng;
use wire::l2tp::{AccessLine, AccessLineType, Attribute, Avp, MessageType};
use wire::{BufferFull, Writer};

use super::hidden::append;
use crate::{StopReason, TunnelId};

/// What hides a message's AVPs.
pub(crate) struct Hiding {
    secret: Secret,
    random_vector: [u8; 16],
    /// Random octets; how many of them pad a value hides its length.
    padding: [u8; 16],
}

impl Hiding {
    pub(crate) fn new(secret: &Secret, rng: &mut dyn Rng) -> Self {
        let mut hiding = Self {
            secret: secret.clone(),
            random_vector: [0; 16],
            padding: [0; 16],
        };
        rng.fill_bytes(&mut hiding.random_vector);
        rng.fill_bytes(&mut hiding.padding);
        hiding
    }
}

/// What an AVP has where nothing else is said.
const EMPTY: Avp<'_> = Avp {
    mandatory: false,
    hidden: false,
    reserved: 0,
    vendor_id: 0,
    attribute: 0,
    value: &[],
};

/// Makes a message: its AVPs, one after the other.
pub(crate) struct Builder {
    avps: Vec<u8>,
    hiding: Option<Hiding>,
}

impl Builder {
    pub(crate) fn new(message_type: MessageType, hiding: Option<Hiding>) -> Self {
        let mut builder = Self {
            avps: Vec::with_capacity(64),
            hiding: None,
        };
        builder.put(Attribute::MessageType(message_type));
        if let Some(hiding) = &hiding {
            builder.put(Attribute::RandomVector(&hiding.random_vector));
        }
        builder.hiding = hiding;
        builder
    }

    /// Adds an AVP, hidden if it may be and this message hides. A value that no AVP can hold is left out; ours are cut before.
    pub(crate) fn put(&mut self, attribute: Attribute<'_>) -> &mut Self {
        let attribute_type = attribute.attribute_type();
        let avp = Avp {
            mandatory: attribute.is_mandatory(),
            attribute: attribute_type.0,
            ..EMPTY
        };
        self.put_avp(avp, |w| attribute.encode_value(w))
    }

    /// Adds an AVP about the access line, as [`put`](Self::put) does.
    pub(crate) fn put_access_line(&mut self, attribute: AccessLine<'_>) -> &mut Self {
        let avp = Avp {
            vendor_id: AccessLineType::VENDOR_ID,
            attribute: attribute.attribute_type().0,
            ..EMPTY
        };
        self.put_avp(avp, |w| attribute.encode_value(w))
    }

    fn put_avp(
        &mut self,
        avp: Avp<'_>,
        encode_value: impl FnOnce(&mut Writer<'_>) -> Result<(), BufferFull>,
    ) -> &mut Self {
        let mut buf = [0; Avp::MAX_VALUE_LEN];
        let mut w = Writer::new(&mut buf);
        if encode_value(&mut w).is_err() {
            debug_assert!(false, "no AVP can hold the value of {avp:?}");
            return self;
        }
        match self.hiding.as_ref().filter(|_| avp.may_be_hidden()) {
            None => {
                let value = w.written();
                append(&Avp { value, ..avp }, &mut self.avps);
            }
            Some(with) => {
                let padding = &with.padding[..usize::from(with.padding[0] % 16)];
                let mut value = Vec::new();
                let (secret, vector) = (with.secret.as_bytes(), &with.random_vector);
                hiding::hide(
                    avp.attribute,
                    secret,
                    vector,
                    w.written(),
                    padding,
                    &mut value,
                );
                let avp = Avp {
                    hidden: true,
                    value: &value,
                    ..avp
                };
                append(&avp, &mut self.avps);
            }
        }
        self
    }

    /// Adds an AVP if there is something to say.
    pub(crate) fn put_some(&mut self, attribute: Option<Attribute<'_>>) -> &mut Self {
        if let Some(attribute) = attribute {
            self.put(attribute);
        }
        self
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.avps)
    }
}

/// A StopCCN of the tunnel that has `local_id` at our end.
pub(crate) fn stop_ccn(local_id: TunnelId, reason: &StopReason) -> Vec<u8> {
    Builder::new(MessageType::STOP_CCN, None)
        .put(Attribute::AssignedTunnelId(local_id))
        .put(Attribute::ResultCode(reason.code()))
        .finish()
}
