use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A password or a shared secret: octets that are wiped when dropped, compared in constant time and never printed.
///
/// Serde sees the octets as they are, because a snapshot has to hold them; whoever prints for people masks them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text that the octets are, with U+FFFD in place of what is not UTF-8.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(String::from_utf8_lossy(&self.0).into_owned())
    }

    /// What people may have meant as the text of an MS-CHAP password (RFC 2433 section 5, RFC 2759 section 4): that of the octets as UTF-8, and, if they are not
    /// ASCII, that of as many characters as there are octets. Unicode is what it is to be, and there are programs, pppd one of them, that know no more of
    /// Unicode than its first 256 characters.
    pub fn texts(&self) -> Vec<Zeroizing<String>> {
        let mut texts = vec![self.to_text()];
        if !self.0.is_ascii() {
            // With room for all, or it would be copied and its old place left as it is.
            let mut widened = Zeroizing::new(String::with_capacity(self.0.len() * 2));
            widened.extend(self.0.iter().map(|&octet| char::from(octet)));
            texts.push(widened);
        }
        texts
    }

    /// Whether there are no octets at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for Secret {
    fn from(octets: Vec<u8>) -> Self {
        // A vector with room to spare would be copied and its old place left as it is.
        let octets = Zeroizing::new(octets);
        Self(Zeroizing::new(Box::from(octets.as_slice())))
    }
}

impl From<&[u8]> for Secret {
    fn from(octets: &[u8]) -> Self {
        Self(Zeroizing::new(Box::from(octets)))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<Secret> for Vec<u8> {
    fn from(secret: Secret) -> Self {
        secret.as_bytes().to_vec()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        crate::eq(&self.0, &other.0)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_and_survives_serde() {
        let secret = Secret::from("s3cret");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        let json = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<Secret>(&json).unwrap(), secret);
    }

    #[test]
    fn secrets_are_equal_only_when_all_octets_are() {
        assert_eq!(Secret::from("abc"), Secret::from(b"abc".to_vec()));
        assert_ne!(Secret::from("abc"), Secret::from("abd"));
        assert_ne!(Secret::from("abc"), Secret::from("abcd"));
        assert!(Secret::from("").is_empty());
    }
}
