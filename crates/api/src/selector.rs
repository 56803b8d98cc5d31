use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names a tunnel, or a session within its tunnel.
///
/// As text it is one path segment: digits are an id, anything else is a name. A name that would read as an id is written
/// with `=` before it, and so is one that itself begins with `=`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", from = "String")]
pub enum Selector {
    /// By our id, 1 to 65535.
    Id(u16),
    /// By the name given at creation.
    Name(String),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) if name.is_empty() || name.starts_with('=') || is_number(name) => {
                write!(f, "={name}")
            }
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

impl From<String> for Selector {
    fn from(text: String) -> Self {
        let Ok(selector) = text.parse();
        selector
    }
}

/// Whether a text can only be meant as an id.
pub(crate) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl FromStr for Selector {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text.parse().ok().filter(|_| is_number(text));
        Ok(match (text.strip_prefix('='), id) {
            (Some(name), _) => Self::Name(name.to_owned()),
            (None, Some(id)) => Self::Id(id),
            (None, None) => Self::Name(text.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_selector_survives_its_text() {
        let names = ["office", "", "17", "=17", "+17", "70000", "a b/ü"]
            .map(|name| Selector::Name(name.to_owned()));
        for selector in [Selector::Id(17), Selector::Id(u16::MAX)]
            .into_iter()
            .chain(names)
        {
            assert_eq!(
                Ok(selector.clone()),
                selector.to_string().parse(),
                "{selector}"
            );
        }
    }
}
