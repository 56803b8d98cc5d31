//! A terminal that a test types at and looks at: a window of tmux, on a server of its own.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::until;

/// How long a screen may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A window with a program in it; the server ends with it.
#[derive(Debug)]
pub struct Terminal {
    folder: TempDir,
}

impl Terminal {
    /// Starts `program` in a window of so many columns; its environment is the caller's, and what the command adds.
    ///
    /// # Errors
    /// There is no tmux, or it does not start.
    pub fn start(program: &Command, columns: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let terminal = Self { folder };
        let columns = columns.to_string();
        let mut words = vec![
            "set",
            "-g",
            "remain-on-exit",
            "on",
            ";",
            "set",
            "-g",
            "escape-time",
            "0",
            ";",
            "new-session",
            "-d",
            "-y",
            "50",
            "-x",
            &columns,
        ];
        let shown = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
        let variables: Vec<_> = program
            .get_envs()
            .filter_map(|(name, value)| Some(format!("{}={}", shown(name), shown(value?))))
            .collect();
        let program = std::iter::once(program.get_program()).chain(program.get_args());
        let program: Vec<_> = program.map(shown).collect();
        // By `env`, as tmux has a PATH of its own.
        words.extend(["--", "env"]);
        words.extend(variables.iter().chain(&program).map(String::as_str));
        terminal.tmux(&words)?;
        Ok(terminal)
    }

    /// Runs a command of tmux; what it prints.
    fn tmux(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words).output().context("cannot run tmux")?;
        ensure!(
            output.status.success(),
            "tmux {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command
            // One file of configuration and one folder of sockets, whatever the user has.
            .env_remove("TMUX")
            .env("TMUX_TMPDIR", self.folder.path())
            .env("LC_ALL", "C.UTF-8")
            .args(["-L", "interop", "-f", "/dev/null"])
            .args(words)
            .stdin(Stdio::null());
        command
    }

    /// Types text, letter by letter.
    ///
    /// # Errors
    /// The window is gone.
    pub fn write(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", "--", text]).map(drop)
    }

    /// Presses a key by its name: `Enter`, `Tab`, `C-c`.
    ///
    /// # Errors
    /// The window is gone.
    pub fn press(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", key]).map(drop)
    }

    /// Types a line and ends it.
    ///
    /// # Errors
    /// The window is gone.
    pub fn enter(&self, line: &str) -> Result<()> {
        self.write(line)?;
        self.press("Enter")
    }

    /// Pastes text all at once; `marked` as a terminal does that tells a program where what is pasted begins and ends.
    ///
    /// # Errors
    /// The window is gone.
    pub fn paste(&self, text: &str, marked: bool) -> Result<()> {
        let mut load = self
            .command(&["load-buffer", "-"])
            .stdin(Stdio::piped())
            .spawn()?;
        load.stdin
            .take()
            .context("no input")?
            .write_all(text.as_bytes())?;
        ensure!(load.wait()?.success(), "tmux load-buffer fails");
        let words: &[_] = if marked {
            &["paste-buffer", "-d", "-p"]
        } else {
            &["paste-buffer", "-d"]
        };
        self.tmux(words).map(drop)
    }

    /// All that the window shows and has scrolled away, without blank lines at the end.
    ///
    /// # Errors
    /// The window is gone.
    pub fn screen(&self) -> Result<String> {
        let text = self.tmux(&["capture-pane", "-p", "-S", "-"])?;
        Ok(text.trim_end().to_owned())
    }

    /// The same, where a line that did not fit the window is one line.
    ///
    /// # Errors
    /// The window is gone.
    pub fn joined(&self) -> Result<String> {
        let text = self.tmux(&["capture-pane", "-p", "-J", "-S", "-"])?;
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        Ok(lines.join("\n").trim_end().to_owned())
    }

    /// Waits until what is shown is as it is wanted, and returns that.
    ///
    /// # Errors
    /// It is not in time.
    pub fn until(&self, what: &str, is_it: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let shown = until(PATIENCE, what, || {
            last = self.screen()?;
            Ok(is_it(&last).then_some(()))
        });
        shown.with_context(|| format!("the screen shows\n{last}"))?;
        Ok(last)
    }

    /// Waits until something is shown.
    ///
    /// # Errors
    /// It is not in time.
    pub fn shows(&self, text: &str) -> Result<String> {
        self.until(text, |screen| screen.contains(text))
    }

    /// Waits until the last line is this, blanks at its end aside.
    ///
    /// # Errors
    /// It is not in time.
    pub fn line(&self, text: &str) -> Result<String> {
        self.until(&format!("the last line `{text}`"), |screen| {
            screen.lines().last().map(str::trim_end) == Some(text)
        })
    }

    /// Forgets what was shown.
    ///
    /// # Errors
    /// The window is gone.
    pub fn clear(&self) -> Result<()> {
        self.press("C-l")?;
        // What goes from the screen is in tmux's history.
        until(PATIENCE, "a clear screen", || {
            let visible = self.tmux(&["capture-pane", "-p"])?;
            Ok((visible.trim_end().lines().count() <= 1).then_some(()))
        })?;
        self.tmux(&["clear-history"]).map(drop)
    }

    /// Waits until the program ends; its exit status.
    ///
    /// # Errors
    /// It does not end in time, or by a signal.
    pub fn ended(&self) -> Result<i32> {
        let how = "#{pane_dead_status}/#{pane_dead_signal}";
        let ended = until(PATIENCE, "the end of the program", || {
            // tmux 3.3a misses the end of a child now and then, until another one ends.
            self.tmux(&["run-shell", "true"])?;
            let ended = self.tmux(&["display-message", "-p", how])?;
            Ok(Some(ended.trim().to_owned()).filter(|ended| ended != "/"))
        });
        let ended = ended.with_context(|| self.screen().unwrap_or_default())?;
        match ended.strip_suffix('/').map(str::parse) {
            Some(Ok(status)) => Ok(status),
            _ => bail!("a signal ended the program: {}", self.screen()?),
        }
    }

    /// Whether the program runs still.
    ///
    /// # Errors
    /// The window is gone.
    pub fn runs(&self) -> Result<bool> {
        Ok(self
            .tmux(&["display-message", "-p", "#{pane_dead}"])?
            .trim()
            == "0")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A server that did not start is what is wanted, too.
        self.tmux(&["kill-server"]).ok();
    }
}
