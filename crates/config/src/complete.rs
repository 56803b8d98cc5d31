//! A line as it is typed, cut into words, however unfinished: for completion, and for commands that are no objects'.

use crate::Span;
use crate::lexer::{Lexer, TokenKind, is_bare};

/// What a piece of a statement is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PieceKind {
    /// A bare word.
    Word,
    /// A string in quotes.
    String,
    /// The `=` between name and value.
    Equals,
}

/// A word, a string or `=`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// What it is.
    pub kind: PieceKind,
    /// Without quotes.
    pub text: String,
    /// Where it is, quotes included.
    pub span: Span,
}

/// What stands between two ends of statements.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Statement {
    /// Its words.
    pub pieces: Vec<Piece>,
    /// From its first octet to the end of its last.
    pub span: Span,
    /// It has a string without an end, which goes on to the end of the line, or a character that no word has.
    pub is_broken: bool,
}

/// The statements of `text`, the last one always, even where nothing stands in it: that is where one types.
pub fn statements(text: &str) -> Vec<Statement> {
    let mut lexer = Lexer::new(text);
    let mut all = vec![Statement::default()];
    while !lexer.is_at_end() {
        let token = lexer.next();
        let Some(current) = all.last_mut() else {
            break;
        };
        let (kind, written, span) = match token {
            Ok(token) => {
                let kind = match token.kind {
                    TokenKind::Bare => PieceKind::Word,
                    TokenKind::Quoted => PieceKind::String,
                    TokenKind::Equals => PieceKind::Equals,
                    TokenKind::End if token.span.start == token.span.end => break,
                    TokenKind::End if current.pieces.is_empty() => continue,
                    TokenKind::End => {
                        all.push(Statement::default());
                        continue;
                    }
                };
                (kind, token.text.into_owned(), token.span)
            }
            Err(fault) => {
                current.is_broken = true;
                let end = lexer.skip_line();
                let span = Span {
                    start: fault.span.start,
                    end,
                };
                let text = text[span.start..end].trim_start_matches('"').to_owned();
                (PieceKind::String, text, span)
            }
        };
        if current.pieces.is_empty() {
            current.span.start = span.start;
        }
        current.span.end = span.end;
        current.pieces.push(Piece {
            kind,
            text: written,
            span,
        });
    }
    all
}

/// `text` as a value: bare where it can be, else in quotes.
pub fn written(text: &str) -> String {
    if !text.is_empty() && text.chars().all(is_bare) {
        text.to_owned()
    } else {
        crate::quoted(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let pieces = |s: Statement| s.pieces.into_iter().map(|piece| piece.text).collect();
        statements(text).into_iter().map(pieces).collect()
    }

    #[test]
    fn statements_end_at_semicolons_and_lines_and_the_last_may_be_empty() {
        assert_eq!(words("a b=c; d # e"), [vec!["a", "b", "=", "c"], vec!["d"]]);
        assert_eq!(words("a;"), [vec!["a"], vec![]]);
        assert_eq!(words("a \\\n b\nc"), [vec!["a", "b"], vec!["c"]]);
    }

    #[test]
    fn an_open_string_is_kept_and_said() {
        let all = statements("a x=\"b c");
        assert!(all[0].is_broken);
        assert_eq!(all[0].pieces[3].text, "b c");
    }

    #[test]
    fn what_needs_quotes_gets_them() {
        assert_eq!(written("a.b"), "a.b");
        assert_eq!(written("ü b\""), r#""ü b\"""#);
        assert_eq!(written(""), "\"\"");
    }
}
