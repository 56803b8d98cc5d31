use crypto::{Secret, hiding};
use wire::Writer;
use wire::l2tp::{AttributeType, Avp, Avps};
use zeroize::Zeroizing;

/// Opens the hidden AVPs of a message's `payload`.
///
/// Without any, this is `payload` itself. Otherwise it is a copy in `scratch` with their values opened and H cleared. An AVP that can't be
/// opened (no secret, no Random Vector before it, nonsense inside, or one that may not be hidden) stays hidden; so does everything
/// from the first AVP on whose length is impossible. What was hidden may be a secret: none of it is left in memory.
pub(crate) fn open_hidden<'a>(
    payload: &'a [u8],
    secret: Option<&Secret>,
    scratch: &'a mut Zeroizing<Vec<u8>>,
) -> &'a [u8] {
    if !Avps::new(payload).flatten().any(|avp| avp.hidden) {
        return payload;
    }
    // With room for all from the start, so that growth leaves no copies behind: opened, AVPs are shorter.
    scratch.clear();
    scratch.reserve(payload.len());
    let mut value = Zeroizing::new(Vec::with_capacity(payload.len()));
    let mut random_vector = None;
    let mut copied = 0;
    for avp in Avps::new(payload) {
        let Ok(avp) = avp else {
            scratch.extend_from_slice(&payload[copied..]);
            break;
        };
        copied += Avp::HEADER_LEN + avp.value.len();
        if avp.attribute_type() == Some(AttributeType::RANDOM_VECTOR) && !avp.hidden {
            random_vector = Some(avp.value);
        }
        let opened = avp
            .hidden
            .then(|| open(&avp, secret, random_vector, &mut value))
            .flatten();
        append(&opened.unwrap_or(avp), scratch);
    }
    scratch
}

fn open<'a>(
    avp: &Avp<'_>,
    secret: Option<&Secret>,
    random_vector: Option<&[u8]>,
    value: &'a mut Vec<u8>,
) -> Option<Avp<'a>> {
    if !avp.may_be_hidden() {
        return None;
    }
    let value = hiding::unhide(
        avp.attribute,
        secret?.as_bytes(),
        random_vector?,
        avp.value,
        value,
    )
    .ok()?;
    let Avp {
        mandatory,
        reserved,
        vendor_id,
        attribute,
        ..
    } = *avp;
    Some(Avp {
        mandatory,
        hidden: false,
        reserved,
        vendor_id,
        attribute,
        value,
    })
}

/// Appends an AVP whose value is no longer than an AVP can hold.
pub(super) fn append(avp: &Avp<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + Avp::HEADER_LEN + avp.value.len(), 0);
    if avp.encode(&mut Writer::new(&mut out[start..])).is_err() {
        out.truncate(start);
    }
}
