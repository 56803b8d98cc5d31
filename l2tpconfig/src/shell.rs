//! Commands typed at a terminal, or read from what is none.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use config::{Kind, PieceKind, statements};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event, EventContext,
    EventHandler, Helper, KeyCode, KeyEvent, Modifiers, RepeatCount,
};

use crate::run::{Flow, line};
use crate::vocabulary::{self, Takes};
use crate::{Failure, Flags, complete, help, report};

/// How many lines the history keeps, where L2TP_HISTFILESIZE does not say.
const HISTORY: usize = 500;

struct Console {
    socket: PathBuf,
}

impl Completer for Console {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, candidates) = complete::candidates(&self.socket, &line[..at]);
        let pair = |c: complete::Candidate| Pair {
            display: c.text.trim_end().to_owned(),
            replacement: c.text,
        };
        Ok((start, candidates.into_iter().map(pair).collect()))
    }
}

impl Hinter for Console {
    type Hint = String;
}
impl Highlighter for Console {}
impl Validator for Console {}
impl Helper for Console {}

/// Takes `?` for a question, save within quotes.
struct Question(Arc<AtomicBool>);

impl ConditionalEventHandler for Question {
    fn handle(
        &self,
        _: &Event,
        _: RepeatCount,
        _: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        if complete::is_quoted(&context.line()[..context.pos()]) {
            return None;
        }
        self.0.store(true, Ordering::Relaxed);
        // Where it stands, so that the line can be typed on from there.
        AT.store(context.pos(), Ordering::Relaxed);
        Some(Cmd::AcceptLine)
    }
}

/// Where in its line the last question was asked.
static AT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// An editor of lines, and whether a line of it is a question.
fn editor() -> rustyline::Result<(Editor<Console, DefaultHistory>, Arc<AtomicBool>)> {
    let size = std::env::var("L2TP_HISTFILESIZE")
        .ok()
        .and_then(|size| size.parse().ok());
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(size.unwrap_or(HISTORY))?
        .build();
    let mut editor = Editor::with_config(config)?;
    let asked = Arc::<AtomicBool>::default();
    let question = Question(Arc::clone(&asked));
    let key = KeyEvent(KeyCode::Char('?'), Modifiers::NONE);
    editor.bind_sequence(key, EventHandler::Conditional(Box::new(question)));
    Ok((editor, asked))
}

/// Reads commands from the terminal until there are no more.
pub(crate) fn interactive(flags: &mut Flags) -> Result<(), Failure> {
    let (mut editor, asked) = editor().map_err(unreadable)?;
    let mut history = history_file();
    if let Some(file) = &history {
        // There is none before the first time.
        let _ = editor.load_history(file);
    }
    let mut typed = (String::new(), String::new());
    loop {
        editor.set_helper(Some(Console {
            socket: flags.socket.clone(),
        }));
        let (before, after) = std::mem::take(&mut typed);
        let text = match editor.readline_with_initial("l2tp> ", (&before, &after)) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(unreadable(error)),
        };
        if asked.swap(false, Ordering::Relaxed) {
            let (before, after) = text.split_at(AT.load(Ordering::Relaxed).min(text.len()));
            print!("{}", complete::help(&flags.socket, before, help::width()));
            typed = (before.to_owned(), after.to_owned());
            continue;
        }
        if !text.trim().is_empty() && !has_secret(&text) {
            let _ = editor.add_history_entry(text.as_str());
            keep(&mut editor, &mut history);
        }
        match line(flags, &text) {
            Ok(Flow::On) => (),
            Ok(Flow::Leave) => break,
            Err(failure) => {
                report(&failure);
            }
        }
    }
    Ok(())
}

/// Adds what is new to the history's file at once, so that no end of the program loses it, nor another prompt; a file that cannot be written is told
/// of once.
fn keep(editor: &mut Editor<Console, DefaultHistory>, history: &mut Option<PathBuf>) {
    if let Some(file) = history
        && let Err(error) = editor.append_history(file)
    {
        eprintln!(
            "l2tpconfig: cannot keep the history in {}: {error}",
            file.display()
        );
        *history = None;
    }
}

fn unreadable(error: ReadlineError) -> Failure {
    Failure::Output(io::Error::other(error))
}

fn history_file() -> Option<PathBuf> {
    match std::env::var_os("L2TP_HISTFILE") {
        Some(file) => Some(PathBuf::from(file)).filter(|file| !file.as_os_str().is_empty()),
        None => Some(PathBuf::from(std::env::var_os("HOME")?).join(".l2tp_history")),
    }
}

/// Whether a line tells a secret, which the history must not keep; also one that is not understood and looks so.
fn has_secret(text: &str) -> bool {
    let mut all = statements(text).into_iter();
    all.any(|statement| match vocabulary::find(&statement.pieces) {
        Ok((entry, rest)) => rest.windows(2).any(|window| {
            let is_secret = |a: &vocabulary::Argument| a.takes == Takes::Value(Kind::Secret);
            window[1].kind == PieceKind::Equals
                && entry.argument(&window[0]).map_or(true, is_secret)
        }),
        Err(_) => ["secret", "password"]
            .iter()
            .any(|word| text.to_lowercase().contains(word)),
    })
}

/// Reads commands from standard input, a line each; the first failure is the program's, and the others are carried out all the same.
pub(crate) fn script(flags: &mut Flags) -> Result<(), Failure> {
    let mut first = None;
    let (mut text, mut number, mut began) = (String::new(), 0, 1);
    let mut lines = io::stdin().lock().lines();
    loop {
        let read = lines.next().transpose().map_err(|error| {
            Failure::At(
                format!("line {}", number + 1),
                Box::new(Failure::Input(error)),
            )
        })?;
        let is_end = read.is_none();
        number += 1;
        text += &read.unwrap_or_default();
        if !is_end && text.ends_with('\\') {
            text.push('\n');
            continue;
        }
        match line(flags, &text) {
            Ok(Flow::On) => (),
            Ok(Flow::Leave) => break,
            Err(failure) => {
                let failure = Failure::At(format!("line {began}"), Box::new(failure));
                report(&failure);
                first.get_or_insert(failure.status());
            }
        }
        if is_end {
            break;
        }
        text.clear();
        began = number + 1;
    }
    first.map_or(Ok(()), |status| Err(Failure::Reported(status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_secrets_are_known() {
        for line in [
            "tunnel create dest_ipaddr=a secret=x",
            "user list; tun prof mod prof=x SECR=\"a b",
            "user create user_name=a pass = x",
            "sessoin create user_password=x",
        ] {
            assert!(has_secret(line), "{line}");
        }
        for line in [
            "tunnel list",
            "tunnel create dest_ipaddr=x",
            "tunnel profile unset profile_name=x secret",
        ] {
            assert!(!has_secret(line), "{line}");
        }
    }
}
