//! Files that take in others, as `include "conf.d/*.conf"` says.

use crate::diagnostic::Fault;
use crate::grammar::{Form, Include, Parsed, parse};
use crate::{ConfigError, Diagnostic, Severity, Span};

/// How deep files may lie in each other.
const MOST_DEPTH: usize = 16;
/// How many files a configuration may have, each counted as often as it is taken in.
const MOST_FILES: usize = 4_096;

/// A file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Its name, for diagnostics and to find what it includes; always the same for the same file.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What finds the files that an `include` names, in their order: from its pattern and the name of the file that it stands in. The error says in a
/// sentence why they cannot be read.
pub type Find<'a> = dyn FnMut(&str, &str) -> Result<Vec<Source>, String> + 'a;

/// A file's place in the text of all.
struct File {
    name: String,
    text: Span,
    /// The place of the one that includes it.
    parent: Option<usize>,
}

/// All files of a configuration, one after the other, so that a [`Span`] tells the file too.
pub(crate) struct Files<'a> {
    text: String,
    files: Vec<File>,
    find: &'a mut Find<'a>,
}

impl<'a> Files<'a> {
    /// Reads a file and all that it includes, as if that stood in place of the `include`.
    pub(crate) fn read(source: Source, find: &'a mut Find<'a>) -> (Self, Parsed) {
        let mut files = Self {
            text: String::new(),
            files: Vec::new(),
            find,
        };
        let mut parsed = Parsed::default();
        files.take_in(source, None, &mut parsed);
        (files, parsed)
    }

    fn take_in(&mut self, Source { name, text }: Source, parent: Option<usize>, all: &mut Parsed) {
        let start = self.text.len();
        self.text.push_str(&text);
        let end = self.text.len();
        // So that no place is in two files.
        self.text.push('\n');
        let place = self.files.len();
        self.files.push(File {
            name,
            text: Span { start, end },
            parent,
        });
        let part = parse(&self.text[..end], start, Form::File);
        all.faults.extend(part.faults);
        all.warnings.extend(part.warnings);
        all.secrets.extend(part.secrets);
        all.unclear.add(part.unclear);
        let mut includes = part.includes.into_iter().peekable();
        for (count, command) in part.commands.into_iter().enumerate() {
            while let Some(include) = includes.next_if(|include| include.before <= count) {
                self.include(&include, place, all);
            }
            all.commands.push(command);
        }
        for include in includes {
            self.include(&include, place, all);
        }
    }

    fn include(&mut self, include: &Include, place: usize, all: &mut Parsed) {
        let mut fail = |message| {
            all.faults.push(Fault {
                span: include.span,
                error: ConfigError::Include(message),
            });
            all.unclear.files = true;
        };
        let chain = self.chain(place);
        if chain.len() > MOST_DEPTH {
            return fail(format!(
                "files lie in each other more than {MOST_DEPTH} deep: {}",
                chain.join(" includes ")
            ));
        }
        let found = match (self.find)(&include.pattern, &self.files[place].name) {
            Ok(found) => found,
            Err(message) => return fail(message),
        };
        if self.files.len() + found.len() > MOST_FILES {
            return fail(format!("a configuration has at most {MOST_FILES} files"));
        }
        for source in found {
            let chain = self.chain(place);
            if let Some(first) = chain.iter().position(|name| **name == source.name) {
                let circle = chain[first..].join(" includes ");
                let name = &source.name;
                all.faults.push(Fault {
                    span: include.span,
                    error: ConfigError::Include(format!(
                        "{name} includes itself: {circle} includes {name}"
                    )),
                });
                all.unclear.files = true;
            } else {
                self.take_in(source, Some(place), all);
            }
        }
    }

    /// The names of the files in each other, from the outermost to the one at `place`.
    fn chain(&self, place: usize) -> Vec<&str> {
        let outward = std::iter::successors(Some(&self.files[place]), |file| {
            Some(&self.files[file.parent?])
        });
        let mut names: Vec<_> = outward.map(|file| file.name.as_str()).collect();
        names.reverse();
        names
    }

    /// What is to be said of parts of the text, each with its place in its file. What lies in `secrets` is not shown.
    pub(crate) fn diagnostics(
        &self,
        mut secrets: Vec<Span>,
        severity: Severity,
        said: impl Iterator<Item = (Span, String)>,
    ) -> Vec<Diagnostic> {
        // Looked for once, as there may be as many to say as there are lines.
        let ends: Vec<_> = self.text.match_indices('\n').map(|(at, _)| at).collect();
        secrets.sort_by_key(|secret| secret.start);
        let diagnostic = |(span, message): (Span, String)| {
            let file = self
                .files
                .iter()
                .rfind(|file| file.text.start <= span.start);
            let (name, all) = file.map_or(("", Span::default()), |file| (&*file.name, file.text));
            let ends_before = |at: usize| ends.partition_point(|end| *end < at);
            let number = ends_before(span.start) - ends_before(all.start);
            let end = ends.get(ends_before(span.start));
            let line = Span {
                start: match number {
                    0 => all.start,
                    _ => ends[ends_before(span.start) - 1] + 1,
                },
                end: end.map_or(all.end, |end| *end),
            };
            let first = secrets.partition_point(|secret| secret.end <= line.start);
            let last = secrets.partition_point(|secret| secret.start < line.end);
            let secrets = &secrets[first..last.max(first)];
            let text = &self.text[..all.end];
            Diagnostic::new(
                (name, text),
                (line, number + 1),
                secrets,
                severity,
                span,
                message,
            )
        };
        said.map(diagnostic).collect()
    }
}
