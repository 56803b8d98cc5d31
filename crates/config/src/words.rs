//! Choosing among known words, as people type them.

use crate::ConfigError;

/// What stands with the word that `text` is, or begins and no other word does; letters of either case.
pub(crate) fn pick<T: Copy + PartialEq>(
    words: &[(&'static str, T)],
    text: &str,
    expected: impl FnOnce() -> String,
) -> Result<T, ConfigError> {
    if let Some((_, exact)) = words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
    {
        return Ok(*exact);
    }
    let matching: Vec<_> = words
        .iter()
        .filter(|(word, _)| begins(word, text))
        .collect();
    match matching.as_slice() {
        // An alias often begins like its name.
        [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => Ok(*first),
        [] => Err(ConfigError::unknown(
            expected(),
            text,
            words.iter().map(|(word, _)| *word),
        )),
        several => Err(ConfigError::ambiguous(
            text,
            several.iter().map(|(word, _)| *word),
        )),
    }
}

/// Whether `text` is the beginning of `word`, letters of either case.
pub(crate) fn begins(word: &str, text: &str) -> bool {
    !text.is_empty()
        && word
            .get(..text.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(text))
}

/// The known name that is most like `name`, if one is near enough to be meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let limit = (name.chars().count() / 3).max(1);
    known
        .map(|word| {
            (
                strsim::damerau_levenshtein(&name, &word.to_ascii_lowercase()),
                word,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
