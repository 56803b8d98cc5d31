//! Hidden AVPs: opened, and made.

use crypto::hiding;

use crate::choices::Choices;

/// Whatever is there opens or does not; whatever is hidden opens with the secret that it was hidden with.
pub(crate) fn hidden(octets: &[u8]) {
    let mut choices = Choices::new(octets);
    let Some(attribute) = choices.short() else {
        return;
    };
    let [secret, vector, value, padding] = [(); 4].map(|()| choices.octets().unwrap_or_default());
    let mut scratch = Vec::new();
    if let Ok(opened) = hiding::unhide(attribute, secret, vector, value, &mut scratch) {
        assert!(opened.len() + 2 <= value.len());
    }
    let mut hidden = Vec::new();
    hiding::hide(attribute, secret, vector, value, padding, &mut hidden);
    assert_eq!(hidden.len(), 2 + value.len() + padding.len());
    let opened = hiding::unhide(attribute, secret, vector, &hidden, &mut scratch);
    assert_eq!(opened, Ok(value));
}
