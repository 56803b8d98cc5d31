//! Words, strings and what ends a statement.

use std::borrow::Cow;

use crate::diagnostic::Fault;
use crate::{ConfigError, Span};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TokenKind {
    Bare,
    Quoted,
    Equals,
    End,
}

#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    /// Without quotes.
    pub(crate) text: Cow<'a, str>,
    pub(crate) span: Span,
}

impl Token<'_> {
    /// A word that can be a keyword or a name.
    pub(crate) fn word(&self) -> Option<&str> {
        (self.kind == TokenKind::Bare).then_some(&*self.text)
    }

    pub(crate) fn describe(&self) -> String {
        match self.kind {
            TokenKind::Bare => format!("`{}`", self.text),
            TokenKind::Quoted => "a string".to_owned(),
            TokenKind::Equals => "`=`".to_owned(),
            TokenKind::End => "the end".to_owned(),
        }
    }
}

/// Whether a bare word can have `c`.
pub(crate) fn is_bare(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !"=;#\"\\".contains(c)
}

pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self::starting(text, 0)
    }

    /// Reads from `at` on.
    pub(crate) fn starting(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Takes the next token.
    pub(crate) fn next(&mut self) -> Result<Token<'a>, Fault> {
        self.skip_blank();
        let start = self.at;
        let rest = &self.text[start..];
        let Some(first) = rest.chars().next() else {
            return Ok(self.token(TokenKind::End, 0));
        };
        match first {
            '\n' | ';' => Ok(self.token(TokenKind::End, 1)),
            '=' => Ok(self.token(TokenKind::Equals, 1)),
            '"' => self.string(),
            c if is_bare(c) => Ok(self.token(
                TokenKind::Bare,
                rest.find(|c| !is_bare(c)).unwrap_or(rest.len()),
            )),
            other => {
                let error = ConfigError::unexpected(
                    "a word or a string",
                    format!("`{}`", other.escape_default()),
                );
                Err(Fault {
                    span: Span {
                        start,
                        end: start + other.len_utf8(),
                    },
                    error,
                })
            }
        }
    }

    fn token(&mut self, kind: TokenKind, length: usize) -> Token<'a> {
        let span = Span {
            start: self.at,
            end: self.at + length,
        };
        self.at = span.end;
        Token {
            kind,
            text: Cow::Borrowed(&self.text[span.start..span.end]),
            span,
        }
    }

    /// Takes a string, whose first character is next.
    fn string(&mut self) -> Result<Token<'a>, Fault> {
        let start = self.at;
        let mut text = String::new();
        let mut characters = self.text[start..].char_indices().skip(1).peekable();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    let token = self.token(TokenKind::Quoted, at + 1);
                    return Ok(Token {
                        text: Cow::Owned(text),
                        ..token
                    });
                }
                '\n' => break,
                '\\' => match characters.next_if(|(_, escaped)| matches!(escaped, '"' | '\\')) {
                    Some((_, escaped)) => text.push(escaped),
                    None => text.push('\\'),
                },
                c => text.push(c),
            }
        }
        let line = self.text[start..]
            .find('\n')
            .unwrap_or(self.text.len() - start);
        Err(Fault {
            span: Span {
                start,
                end: start + line,
            },
            error: ConfigError::OpenString,
        })
    }

    /// Goes past blanks, comments and continued ends of lines.
    fn skip_blank(&mut self) {
        loop {
            let rest = self.text[self.at..].trim_start_matches([' ', '\t', '\r', '\u{feff}']);
            self.at = self.text.len() - rest.len();
            if rest.starts_with('#') {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if let Some(after) = rest.strip_prefix('\\') {
                let after = after.trim_start_matches([' ', '\t', '\r']);
                let Some(next_line) = after.strip_prefix('\n').or(after.is_empty().then_some(""))
                else {
                    return;
                };
                self.at = self.text.len() - next_line.len();
            } else {
                return;
            }
        }
    }

    /// Goes past the end of the line, and says where that is.
    pub(crate) fn skip_line(&mut self) -> usize {
        let rest = &self.text[self.at..];
        self.at += rest.find('\n').map_or(rest.len(), |at| at + 1);
        self.at
    }
}
