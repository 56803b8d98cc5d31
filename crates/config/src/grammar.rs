//! The grammar of the file and of the command line: OpenL2TP's, a little more forgiving.
//!
//! A statement is an object (`tunnel profile`), a verb (`create`) and parameters (`name=value`). A newline or `;` ends
//! it, `\` before a newline continues it, `#` begins a comment. In a file, `include PATTERN` stands for other files. Words are understood in either case and by any
//! beginning that no other word has. Values are bare words or `"strings"`, in which `\"` and `\\` stand for `"` and `\`.

use std::collections::BTreeSet;

use crate::declare::{Object, Parameter, Role, Verb};
use crate::diagnostic::{Caution, Fault};
use crate::lexer::{Lexer, Token, TokenKind, is_bare};
use crate::words::{begins, nearest, pick};
use crate::{ConfigError, Diagnostic, Parameters, Severity, Span, Value};

/// One parameter or flag of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Argument {
    /// The parameter's or flag's full name.
    pub name: &'static str,
    /// The value; none for a flag and for a parameter of `unset`.
    pub value: Option<String>,
    /// Where the name is.
    pub span: Span,
    /// Where the value is; where the name is if there is none.
    pub value_span: Span,
}

/// A statement whose words are known and whose values are of their kinds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The class of what it is about.
    pub object: Object,
    /// What it does.
    pub verb: Verb,
    /// In the order of the text.
    pub arguments: Vec<Argument>,
    /// Where the words of object and verb are.
    pub span: Span,
}

impl Command {
    /// The value of the parameter of this full name; of several the last, as it is the one that holds.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.arguments
            .iter()
            .rev()
            .find(|argument| argument.name == name)?
            .value
            .as_deref()
    }

    /// Whether the flag of this full name is there.
    pub fn has_flag(&self, name: &str) -> bool {
        self.arguments
            .iter()
            .any(|argument| argument.name == name && argument.value.is_none())
    }

    /// Sets on `object` what the command gives.
    pub fn fill<T: Parameters>(&self, object: &mut T) -> Result<(), ConfigError> {
        let given = self
            .arguments
            .iter()
            .filter_map(|argument| Some((argument.name, argument.value.as_deref()?)));
        given
            .into_iter()
            .try_for_each(|(name, text)| object.set(name, text))
    }

    /// An object with what the command gives: the one that it makes, or one that holds the selectors of another.
    pub fn build<T: Parameters>(&self) -> Result<T, ConfigError> {
        let mut object = T::default();
        self.fill(&mut object)?;
        Ok(object)
    }

    /// Whether everything that the command needs is given.
    fn complete(&self) -> Result<(), ConfigError> {
        let is_given = |name: &str| self.arguments.iter().any(|argument| argument.name == name);
        let mut needed: Vec<Vec<&str>> = match (self.object, self.verb) {
            (_, Verb::List) | (Object::Tunnel, Verb::Create) => vec![],
            (Object::Tunnel, _) | (Object::Session, Verb::Create) => {
                vec![vec!["tunnel_name", "tunnel_id"]]
            }
            (Object::Session, _) => vec![
                vec!["tunnel_name", "tunnel_id"],
                vec!["session_name", "session_id"],
            ],
            _ => self
                .object
                .key()
                .map(|key| vec![key.name])
                .into_iter()
                .collect(),
        };
        if self.verb == Verb::Create {
            let required = self
                .object
                .parameters()
                .iter()
                .filter(|parameter| parameter.role == Role::Required);
            needed.extend(required.map(|parameter| vec![parameter.name]));
        }
        match needed
            .iter()
            .find(|names| !names.iter().any(|name| is_given(name)))
        {
            Some(names) => Err(ConfigError::Missing {
                object: self.object,
                verb: self.verb,
                name: names.join(" or "),
            }),
            None => Ok(()),
        }
    }
}

/// Reads one command, as typed or as joined by [`command_line`].
pub fn parse_command(text: &str) -> Result<Command, Box<Diagnostic>> {
    let mut parsed = parse(text, 0, Form::Command);
    let end = Span {
        start: text.len(),
        end: text.len(),
    };
    let fault = match (parsed.faults.first(), parsed.commands.get(1)) {
        (Some(fault), _) => fault.clone(),
        (None, Some(second)) => Fault {
            span: second.span,
            error: ConfigError::unexpected("one command", "two"),
        },
        (None, None) => match parsed.commands.pop() {
            Some(command) => return Ok(command),
            None => Fault {
                span: end,
                error: ConfigError::unexpected(one_of(&first_words()), "nothing"),
            },
        },
    };
    let message = fault.error.to_string();
    let place = line(text, fault.span.start);
    Err(Box::new(Diagnostic::new(
        ("command", text),
        place,
        &parsed.secrets,
        Severity::Error,
        fault.span,
        message,
    )))
}

/// The line that a place in a text is in, and its number.
pub(crate) fn line(text: &str, at: usize) -> (Span, usize) {
    let line = Span {
        start: text[..at].rfind('\n').map_or(0, |end| end + 1),
        end: text[at..].find('\n').map_or(text.len(), |end| at + end),
    };
    (line, text[..at].matches('\n').count() + 1)
}

/// The arguments of a program as one command: `name=value` whose value has spaces is quoted again, as the shell took
/// its quotes.
pub fn command_line<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> String {
    let word = |argument: S| {
        let argument = argument.as_ref();
        let is_bare = |text: &str| !text.is_empty() && text.chars().all(is_bare);
        match argument.split_once('=') {
            Some((name, value)) if is_bare(name) && !is_bare(value) && !value.starts_with('"') => {
                format!("{name}={}", quoted(value))
            }
            None if !is_bare(argument) => quoted(argument),
            _ => argument.to_owned(),
        }
    };
    arguments
        .into_iter()
        .map(word)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `text` as a string of the grammar.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Where a text comes from.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Form {
    /// Somebody who can be asked again: what is out of range is refused.
    #[default]
    Command,
    /// A file, of OpenL2TP 1.8 maybe, which let any number pass: the nearest that is in range is taken, with a warning.
    File,
}

/// What a text says, and what is wrong with it.
#[derive(Default, Debug)]
pub(crate) struct Parsed {
    form: Form,
    /// The statements that are understood; a parameter that is not is left out.
    pub(crate) commands: Vec<Command>,
    /// In the order of the text.
    pub(crate) faults: Vec<Fault>,
    /// In the order of the text; only a file has any.
    pub(crate) includes: Vec<Include>,
    /// In the order of the text.
    pub(crate) warnings: Vec<Caution>,
    /// What was not understood.
    pub(crate) unclear: Unclear,
    /// Values that must not be shown.
    pub(crate) secrets: Vec<Span>,
}

/// What was not understood of a text, as far as it bears on the rest.
#[derive(Default, Debug)]
pub(crate) struct Unclear {
    /// Whole files are missing.
    pub(crate) files: bool,
    /// What stands in statements of which nothing is carried out.
    words: BTreeSet<String>,
    /// The classes of the others.
    classes: BTreeSet<Object>,
}

impl Unclear {
    pub(crate) fn add(&mut self, other: Self) {
        self.files |= other.files;
        self.words.extend(other.words);
        self.classes.extend(other.classes);
    }

    /// Whether an object of this name may have been meant.
    pub(crate) fn may_make(&self, name: &str) -> bool {
        self.files || self.words.contains(name)
    }

    /// Whether an object of this class, or what it takes from others, may have been meant to be different.
    pub(crate) fn may_change(&self, object: Object) -> bool {
        let others = |class: &Object| class.is_profile() || *class == Object::Listener;
        self.files
            || !self.words.is_empty()
            || self.classes.contains(&object)
            || self.classes.iter().any(others)
    }
}

/// A statement that stands for other files.
#[derive(Debug)]
pub(crate) struct Include {
    /// Which files.
    pub(crate) pattern: String,
    /// Where the pattern is.
    pub(crate) span: Span,
    /// How many commands of its file come before it.
    pub(crate) before: usize,
}

/// Reads all of `text` from `start` on.
pub(crate) fn parse(text: &str, start: usize, form: Form) -> Parsed {
    let mut lexer = Lexer::starting(text, start);
    let mut parsed = Parsed {
        form,
        ..Parsed::default()
    };
    while !lexer.is_at_end() {
        let mut tokens = Vec::new();
        let end = loop {
            match lexer.next() {
                Ok(Token {
                    kind: TokenKind::End,
                    ..
                }) => break Ok(()),
                Ok(token) => tokens.push(token),
                Err(fault) => break Err(fault),
            }
        };
        if end.is_ok() && form == Form::File && is_include(&tokens) {
            parsed.include(&tokens);
            continue;
        }
        parsed.secrets.extend(secrets(&tokens));
        let stray = stray_secrets(&tokens);
        // A string is told from its kind alone, a word by what it is.
        tokens.retain(|token| token.kind == TokenKind::Quoted || !stray.contains(&token.span));
        parsed.secrets.extend(stray);
        if let Err(fault) = end {
            // Whatever was open may be a secret.
            let rest = Span {
                end: lexer.skip_line(),
                ..fault.span
            };
            parsed.secrets.push(rest);
            let words = text[rest.start..rest.end].split(|c| !is_bare(c));
            parsed.unclear.words.extend(words.map(str::to_owned));
            parsed.fail(fault, &tokens);
        } else if !tokens.is_empty() {
            parsed.statement(&tokens);
        }
    }
    parsed
}

/// Whether the statement stands for other files; its name may be cut short as others.
fn is_include(tokens: &[Token]) -> bool {
    let word = tokens.first().and_then(Token::word);
    word.is_some_and(|word| word.len() > 1 && begins("include", word))
}

/// The values that follow something like the name of a secret.
fn secrets(tokens: &[Token]) -> impl Iterator<Item = Span> {
    tokens.windows(3).filter_map(|window| match window {
        [name, equals, value] if equals.kind == TokenKind::Equals => {
            means_secret(name).then_some(value.span)
        }
        _ => None,
    })
}

/// Where secrets are that miss their `=`: the words after what may be their names, behind object and verb, and strings that no name comes
/// before. What is to be unset has no value.
fn stray_secrets(tokens: &[Token]) -> Vec<Span> {
    let is_equals = |at: usize| tokens.get(at).is_some_and(|t| t.kind == TokenKind::Equals);
    let is_unset = |token: &Token| token.word().is_some_and(|word| begins("unset", word));
    let unsets = tokens.iter().take(3).any(is_unset);
    let is_stray = |&(at, token): &(usize, &Token)| {
        let after_name = || at > 2 && !unsets && means_secret(&tokens[at - 1]);
        let is_value =
            token.kind == TokenKind::Quoted || (token.kind == TokenKind::Bare && after_name());
        is_value && !is_equals(at + 1) && !(at > 0 && is_equals(at - 1))
    };
    let stray = tokens.iter().enumerate().filter(is_stray);
    stray.map(|(_, token)| token.span).collect()
}

/// Whether a word is something like the name of a secret.
fn means_secret(name: &Token) -> bool {
    let names = || {
        let all = Object::ALL.iter().flat_map(|object| object.parameters());
        all.filter(|p| p.is_secret()).map(|p| p.name)
    };
    let is_like = |word: String| {
        names().any(|name| name.starts_with(&word)) || nearest(&word, names()).is_some()
    };
    name.word()
        .is_some_and(|word| is_like(word.to_ascii_lowercase()))
}

impl Parsed {
    /// Notes a statement of which nothing is carried out.
    fn fail(&mut self, fault: Fault, tokens: &[Token]) {
        self.lose(tokens);
        self.faults.push(fault);
    }

    fn lose(&mut self, tokens: &[Token]) {
        let words = tokens.iter().map(|token| token.text.to_string());
        self.unclear.words.extend(words);
    }

    /// Notes a wrong `include`.
    fn fail_include(&mut self, fault: Fault) {
        self.unclear.files = true;
        self.faults.push(fault);
    }

    /// Reads an `include` and its pattern.
    fn include(&mut self, tokens: &[Token]) {
        let is_text = |token: &Token| matches!(token.kind, TokenKind::Bare | TokenKind::Quoted);
        let expected = |what: &str, span, found: String| Fault {
            span,
            error: ConfigError::unexpected(what, found),
        };
        match tokens {
            [_, pattern] if is_text(pattern) && !pattern.text.is_empty() => {
                self.includes.push(Include {
                    pattern: pattern.text.to_string(),
                    span: pattern.span,
                    before: self.commands.len(),
                });
            }
            [_, pattern, more, ..] if is_text(pattern) => {
                self.fail_include(expected(
                    "the end after the name of a file",
                    more.span,
                    more.describe(),
                ));
            }
            [_, other, ..] => {
                self.fail_include(expected(
                    "the name of a file or a pattern",
                    other.span,
                    other.describe(),
                ));
            }
            [word] => {
                let end = word.span.end;
                let span = Span { start: end, end };
                self.fail_include(expected(
                    "the name of a file or a pattern",
                    span,
                    "the end".to_owned(),
                ));
            }
            [] => {}
        }
    }

    /// Reads one statement; a parameter that can't be understood does not stop at the next.
    fn statement(&mut self, tokens: &[Token]) {
        let (mut command, mut rest) = match head(tokens) {
            Ok(head) => head,
            Err(fault) => return self.fail(fault, tokens),
        };
        let mut is_whole = true;
        while !rest.is_empty() {
            match self.argument(&command, &mut rest) {
                Ok(argument) => command.arguments.push(argument),
                Err(fault) => {
                    is_whole = false;
                    self.faults.push(fault);
                    self.unclear.classes.insert(command.object);
                }
            }
        }
        match command.complete() {
            // What is missing may be what was not understood.
            Err(_) if !is_whole => self.lose(tokens),
            Err(error) => {
                let span = command.span;
                self.fail(Fault { span, error }, tokens);
            }
            Ok(()) => self.commands.push(command),
        }
    }

    /// Takes one parameter or flag. An error takes what belongs to it too, so that the next one can be read.
    fn argument(&mut self, command: &Command, rest: &mut &[Token]) -> Result<Argument, Fault> {
        let tokens = *rest;
        let name = &tokens[0];
        let has_equals = tokens
            .get(1)
            .is_some_and(|token| token.kind == TokenKind::Equals);
        let after = &tokens[1 + usize::from(has_equals)..];
        let value = after
            .first()
            .filter(|token| has_equals && token.kind != TokenKind::Equals);
        *rest = &after[usize::from(value.is_some())..];

        let bare = |name: &'static str, span| Argument {
            name,
            value: None,
            span,
            value_span: span,
        };
        let at_name = |error| Fault {
            span: name.span,
            error,
        };
        let flags: Vec<_> = command
            .object
            .flags(command.verb)
            .iter()
            .map(|&flag| (flag, flag))
            .collect();
        if !has_equals && !flags.is_empty() {
            return choose(name, &flags)
                .map(|flag| bare(flag, name.span))
                .map_err(at_name);
        }
        let expected = || ConfigError::unexpected("the name of a parameter", name.describe());
        let word = name.word().ok_or_else(|| at_name(expected()))?;
        let parameter = match command.object.parameter(word) {
            // It may be the rest of that.
            Err(_) if !has_equals && ends_with_secret(command) => {
                self.secrets.push(name.span);
                let found = "what follows a secret: one with blanks in it wants quotes";
                return Err(at_name(ConfigError::unexpected(
                    "the name of a parameter",
                    found,
                )));
            }
            found => found.map_err(at_name)?,
        };
        if command.verb == Verb::Unset && parameter.role != Role::Key && !has_equals {
            return Ok(bare(parameter.name, name.span));
        }
        admits(command, parameter).map_err(at_name)?;
        if parameter.role == Role::Action && !has_equals {
            let value = Some(bool::print(true));
            return Ok(Argument {
                value,
                ..bare(parameter.name, name.span)
            });
        }
        let Some(value) = value else {
            let what = if has_equals {
                "a value"
            } else {
                "`=` and a value"
            };
            let found = after.first().map_or("the end".to_owned(), Token::describe);
            let end = tokens[usize::from(has_equals)].span.end;
            let error = ConfigError::unexpected(format!("{what} after {}", parameter.name), found);
            return Err(Fault {
                span: Span { start: end, end },
                error,
            });
        };
        let text = self.value(command, parameter, value)?;
        Ok(Argument {
            name: parameter.name,
            value: Some(text),
            span: name.span,
            value_span: value.span,
        })
    }

    /// Takes the text of a value; what a file can be forgiven is put right.
    fn value(
        &mut self,
        command: &Command,
        parameter: &'static Parameter,
        token: &Token,
    ) -> Result<String, Fault> {
        let span = token.span;
        let mut text = token.text.to_string();
        if let Err(error) = command.object.check(parameter.name, &text) {
            let nearest = match self.form {
                Form::File => parameter.nearest(&text),
                Form::Command => None,
            };
            let Some((nearest, message)) = nearest else {
                return Err(Fault { span, error });
            };
            self.warnings.push(Caution { span, message });
            text = nearest;
        }
        if self.form == Form::File
            && let Some(message) = parameter.warning(&text)
        {
            self.warnings.push(Caution { span, message });
        }
        Ok(text)
    }
}

/// Reads object and verb.
fn head<'a, 't>(tokens: &'a [Token<'t>]) -> Result<(Command, &'a [Token<'t>]), Fault> {
    let mut rest = tokens;
    let first = keyword(&mut rest, tokens, &first_words())?;
    let classes = Object::ALL
        .iter()
        .map(|&object| (object, object.words().split_once(' ')));
    let long: Vec<_> = classes
        .filter_map(|(object, words)| {
            words
                .filter(|(word, _)| *word == first)
                .map(|(_, second)| (second, object))
        })
        .collect();
    let next = rest.first().and_then(Token::word);
    let is_long = next.is_some_and(|next| long.iter().any(|(second, _)| begins(second, next)));
    let short = Object::ALL.iter().find(|object| object.words() == first);
    let object = match short {
        Some(&object) if !is_long => object,
        _ => keyword(&mut rest, tokens, &long)?,
    };
    let verbs: Vec<_> = object
        .verbs()
        .iter()
        .map(|&verb| (verb.word(), verb))
        .collect();
    let verb = keyword(&mut rest, tokens, &verbs)?;
    let last = tokens[tokens.len() - rest.len() - 1].span;
    Ok((
        Command {
            object,
            verb,
            arguments: Vec::new(),
            span: tokens[0].span.to(last),
        },
        rest,
    ))
}

/// The words that commands begin with.
fn first_words() -> Vec<(&'static str, &'static str)> {
    let mut words = Vec::new();
    for object in Object::ALL {
        let word = object.words().split(' ').next().unwrap_or_default();
        if !words.contains(&(word, word)) {
            words.push((word, word));
        }
    }
    words
}

/// What can stand where one of `words` can.
fn one_of<T>(words: &[(&'static str, T)]) -> String {
    let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    if let [word] = words[..] {
        format!("`{word}`")
    } else {
        format!("one of {}", words.join(", "))
    }
}

/// Takes a word that is one of `words`, or the beginning of only one of them.
fn keyword<T: Copy + PartialEq>(
    rest: &mut &[Token],
    all: &[Token],
    words: &[(&'static str, T)],
) -> Result<T, Fault> {
    let Some((token, after)) = rest.split_first() else {
        let end = all.last().map_or(0, |token| token.span.end);
        let error = ConfigError::unexpected(one_of(words), "the end");
        return Err(Fault {
            span: Span { start: end, end },
            error,
        });
    };
    *rest = after;
    choose(token, words).map_err(|error| Fault {
        span: token.span,
        error,
    })
}

/// Whether the last value so far is one that is not to be shown.
fn ends_with_secret(command: &Command) -> bool {
    let last = command.arguments.last().filter(|last| last.value.is_some());
    let parameter = last.and_then(|last| command.object.parameter(last.name).ok());
    parameter.is_some_and(Parameter::is_secret)
}

fn choose<T: Copy + PartialEq>(
    token: &Token,
    words: &[(&'static str, T)],
) -> Result<T, ConfigError> {
    let word = token
        .word()
        .ok_or_else(|| ConfigError::unexpected(one_of(words), token.describe()))?;
    pick(words, word, || one_of(words))
}

/// Whether the command takes the parameter.
fn admits(command: &Command, parameter: &'static Parameter) -> Result<(), ConfigError> {
    let selects = matches!(parameter.role, Role::Key | Role::Label | Role::Id);
    let is_instance = matches!(command.object, Object::Tunnel | Object::Session);
    let why = match (command.verb, parameter.role) {
        (_, Role::ReadOnly) => "is only shown",
        (Verb::Create, Role::Id) => "is chosen by the daemon",
        (Verb::Modify, Role::Create | Role::Required) if is_instance => {
            "can be chosen only at creation"
        }
        (Verb::Delete | Verb::Show | Verb::List, _) if !selects => "selects nothing",
        (Verb::Unset, _) if !selects => "is named without a value to be unset",
        _ => return Ok(()),
    };
    Err(ConfigError::NotHere {
        name: parameter.name,
        why,
    })
}
