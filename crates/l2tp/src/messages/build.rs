use crypto::{Secret, hiding};
use sansio::Rng;
use wire::Writer;
use wire::l2tp::{Attribute, Avp, MessageType};

use super::hidden::append;

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
        let mut buf = [0; Avp::HEADER_LEN + Avp::MAX_VALUE_LEN];
        let mut w = Writer::new(&mut buf);
        let attribute_type = attribute.attribute_type();
        match self
            .hiding
            .as_ref()
            .filter(|_| attribute_type.may_be_hidden())
        {
            None if attribute.encode(&mut w).is_ok() => self.avps.extend_from_slice(w.written()),
            Some(with) if attribute.encode_value(&mut w).is_ok() => {
                let padding = &with.padding[..usize::from(with.padding[0] % 16)];
                let mut value = Vec::new();
                let (secret, vector) = (with.secret.as_bytes(), &with.random_vector);
                hiding::hide(
                    attribute_type.0,
                    secret,
                    vector,
                    w.written(),
                    padding,
                    &mut value,
                );
                let mandatory = attribute_type.is_mandatory();
                let avp = Avp {
                    mandatory,
                    hidden: true,
                    reserved: 0,
                    vendor_id: 0,
                    attribute: attribute_type.0,
                    value: &value,
                };
                append(&avp, &mut self.avps);
            }
            _ => debug_assert!(false, "no AVP can hold {attribute:?}"),
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
