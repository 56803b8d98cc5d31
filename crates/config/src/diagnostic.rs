//! What can be wrong with a configuration, and where.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::words::nearest;
use crate::{Object, Verb};

/// What is wrong with a command or a value.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ConfigError {
    /// Something else than what can stand here.
    #[error("expected {expected}, not {found}{}", did_you_mean(.nearest.as_deref()))]
    Unexpected {
        /// What can.
        expected: String,
        /// What does.
        found: String,
        /// The known word that is most like it.
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
    /// A string whose end is on no line of its own.
    #[error("the string has no closing `\"`")]
    OpenString,
    /// A parameter that the class has, but not for this command.
    #[error("{name} {why}")]
    NotHere {
        /// The parameter.
        name: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// A command without a parameter that it needs.
    #[error("{object} {verb} needs {name}")]
    Missing {
        /// The class.
        object: Object,
        /// The command.
        verb: Verb,
        /// The parameter, or several to choose from.
        name: String,
    },
    /// A name that no object has.
    #[error("there is no {object} `{name}`{}", did_you_mean(.nearest.as_deref()))]
    NotFound {
        /// The class.
        object: Object,
        /// The name.
        name: String,
        /// The name of an object that is most like it.
        nearest: Option<String>,
    },
    /// A name that another object has.
    #[error("the {object} `{name}` is there already")]
    Exists {
        /// The class.
        object: Object,
        /// The name.
        name: String,
    },
    /// A command that changes no configuration where one that does is needed.
    #[error("{object} {verb} is no change of the configuration")]
    NoChange {
        /// The class.
        object: Object,
        /// The command.
        verb: Verb,
    },
    /// An attempt to delete a profile that is always there.
    #[error("the {0} `default` is always there and cannot be deleted")]
    DefaultProfile(Object),
    /// An attempt to delete what something else needs.
    #[error("the {object} `{name}` is in use by {by}")]
    InUse {
        /// The class.
        object: Object,
        /// The object.
        name: String,
        /// What needs it.
        by: String,
    },
    /// Files that cannot be included.
    #[error("{0}")]
    Include(String),
    /// Parameters that contradict each other.
    #[error("{0}")]
    Conflict(String),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

impl ConfigError {
    /// `word` is none of the `known` words.
    pub(crate) fn unknown<'a>(
        expected: String,
        word: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Self {
        let nearest = nearest(word, known).map(str::to_owned);
        Self::Unexpected {
            expected,
            found: format!("`{word}`"),
            nearest,
        }
    }

    /// `found` stands where something else can.
    pub(crate) fn unexpected(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unexpected {
            expected: expected.into(),
            found: found.into(),
            nearest: None,
        }
    }

    pub(crate) fn ambiguous<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Self {
        Self::Ambiguous {
            name: name.to_owned(),
            candidates: candidates.collect::<Vec<_>>().join(" or "),
        }
    }
}

/// A part of a text, in octets from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Span {
    /// The first octet.
    pub start: usize,
    /// The octet after the last.
    pub end: usize,
}

impl Span {
    /// From the beginning of this part to the end of that one.
    pub(crate) const fn to(self, last: Self) -> Self {
        Self {
            start: self.start,
            end: last.end,
        }
    }
}

/// An error and the part of the text that is to blame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    pub(crate) error: ConfigError,
}

/// What is to be said of a part of the text that is understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Caution {
    pub(crate) span: Span,
    pub(crate) message: String,
}

/// What comes of a fault.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing of the text is used.
    #[default]
    Error,
    /// The text is used, but not wholly as it stands there.
    Warning,
}

/// An error or a warning with its place in a file. `Display` gives `FILE:LINE:COLUMN: MESSAGE`, the line, and a mark below the place; `warning: `
/// goes before the message of a warning.
#[derive(Clone, PartialEq, Eq, Debug, Error, Serialize, Deserialize)]
pub struct Diagnostic {
    /// What comes of it.
    #[serde(default)]
    pub severity: Severity,
    /// The name of the file, or whatever the text came from.
    pub file: String,
    /// The line, from 1 on.
    pub line: usize,
    /// The column in characters, from 1 on.
    pub column: usize,
    /// What is wrong, what was expected, and the known name that is most like what was found.
    pub message: String,
    /// The line's text, secrets masked; of a very long line the part around the place.
    pub source_line: String,
    /// How many characters of the line stand before that part.
    #[serde(default)]
    pub skipped: usize,
    /// How many characters of the part are to blame.
    pub width: usize,
}

/// The characters of a line that are shown before the place, and from there on.
const SHOWN: [usize; 2] = [200, 400];
/// The characters of a message that are shown at its beginning and at its end, where it has many more.
const SAID: [usize; 2] = [800, 200];

/// A message that quotes text without bound, without most of that.
fn bounded(message: String) -> String {
    let [head, tail] = SAID;
    let count = message.chars().count();
    if count <= head + tail + 1 {
        return message;
    }
    let chars = message.chars();
    let end = chars.clone().skip(count - tail);
    chars.take(head).chain(['…']).chain(end).collect()
}

impl Diagnostic {
    /// What is to be said of `span`, which begins in this line of this number; what lies in `secrets` is not shown.
    pub(crate) fn new(
        (file, text): (&str, &str),
        (line, number): (Span, usize),
        secrets: &[Span],
        severity: Severity,
        span: Span,
        message: String,
    ) -> Self {
        let Span { start, end } = span;
        let is_secret = |at: usize| {
            let mut secrets = secrets.iter();
            secrets.any(|secret| (secret.start..secret.end).contains(&at))
        };
        let [before, after] = SHOWN;
        let place = text[line.start..start].chars().count();
        let skipped = place.saturating_sub(before);
        let masked = text[line.start..line.end]
            .char_indices()
            .skip(skipped)
            .take(place - skipped + after)
            .map(|(at, c)| if is_secret(line.start + at) { '*' } else { c });
        let width = text[start..end.clamp(start, line.end.max(start))]
            .chars()
            .count();
        Self {
            severity,
            file: file.to_owned(),
            line: number,
            column: place + 1,
            message: bounded(message),
            source_line: masked.collect::<String>().trim_end().to_owned(),
            skipped,
            width: width.clamp(1, after),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            severity,
            file,
            line,
            column,
            message,
            source_line,
            skipped,
            width,
        } = self;
        let warning = match severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        // Tabs in front of the mark, so that it is where the terminal put the text.
        let before = source_line
            .chars()
            .chain(std::iter::repeat(' '))
            .take(column - 1 - skipped);
        let indent: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
        write!(
            f,
            "{file}:{line}:{column}: {warning}{message}\n    {source_line}\n    {indent}{}",
            "^".repeat(*width)
        )
    }
}
