//! What can be wrong with a configuration, and where.

use thiserror::Error;

/// What is wrong with a command or a value.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ConfigError {
    /// A name that is not known here.
    #[error("unknown {what} `{name}`{}", did_you_mean(.nearest.as_deref()))]
    Unknown {
        /// What should have been named.
        what: &'static str,
        /// The name given.
        name: String,
        /// The known name that is most like it.
        nearest: Option<String>,
    },
    /// A beginning that several names have.
    #[error("`{name}` can be {candidates}")]
    Ambiguous {
        /// The beginning.
        name: String,
        /// The names.
        candidates: String,
    },
    /// Text that is no value of the parameter.
    #[error("{name} takes {expected}, not `{value}`")]
    Value {
        /// The parameter.
        name: &'static str,
        /// The text; of a secret, its mask.
        value: String,
        /// What the parameter takes.
        expected: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

impl ConfigError {
    pub(crate) fn unknown<'a>(
        what: &'static str,
        name: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Self {
        Self::Unknown {
            what,
            name: name.to_owned(),
            nearest: nearest(name, known).map(str::to_owned),
        }
    }

    pub(crate) fn ambiguous<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Self {
        Self::Ambiguous {
            name: name.to_owned(),
            candidates: candidates.collect::<Vec<_>>().join(" or "),
        }
    }
}

/// The known name that is most like `name`, if one is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let limit = (name.chars().count() / 3).max(1);
    known
        .map(|word| (strsim::damerau_levenshtein(&name, word), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
