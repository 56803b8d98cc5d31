//! Our own programs: `openl2tpd` at either end, and `l2tpconfig` to ask it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::netns::Namespace;
use crate::process::Process;
use crate::{Auth, INNER_LAC, INNER_LNS, Mppe, PASSWORD, POOL_END, SECRET, Side, USER, until};

/// How long a daemon may take to tear everything down: 5 seconds for its peers, and the system's time for the rest.
const SHUTDOWN: Duration = Duration::from_secs(15);

/// A running `openl2tpd`.
#[derive(Debug)]
pub struct Ours {
    process: Process,
    programs: PathBuf,
    socket: PathBuf,
}

impl Ours {
    /// The command line of an `openl2tpd` with `configuration`; its files are named after `name`, in `folder`.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn command(
        programs: &Path,
        folder: &Path,
        name: &str,
        configuration: &str,
    ) -> Result<Command> {
        let file = |extension: &str| folder.join(format!("{name}.{extension}"));
        fs::write(file("conf"), configuration)?;
        let mut command = Command::new(programs.join("openl2tpd"));
        command.arg("-f");
        for (option, extension) in [("-c", "conf"), ("-P", "pid"), ("--socket", "socket")] {
            command.arg(option).arg(file(extension));
        }
        Ok(command)
    }

    /// Starts it and waits until it answers at its socket.
    ///
    /// # Errors
    /// It cannot be started, or ended at once.
    pub fn start(
        programs: &Path,
        namespace: &Namespace,
        folder: &Path,
        name: &str,
        configuration: &str,
    ) -> Result<Self> {
        let command = Self::command(programs, folder, name, configuration)?;
        Self::run(command, programs, namespace, folder, name)
    }

    /// Starts it by such a command line, and waits until it answers at its socket.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn run(
        command: Command,
        programs: &Path,
        namespace: &Namespace,
        folder: &Path,
        name: &str,
    ) -> Result<Self> {
        let mut started = Self::spawn(command, programs, namespace, folder, name)?;
        started.ready()?;
        Ok(started)
    }

    /// Starts it by such a command line, and does not wait for anything.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(
        command: Command,
        programs: &Path,
        namespace: &Namespace,
        folder: &Path,
        name: &str,
    ) -> Result<Self> {
        let process = Process::spawn(namespace, command, &folder.join(format!("{name}.log")))?;
        Ok(Self {
            process,
            programs: programs.to_owned(),
            socket: folder.join(format!("{name}.socket")),
        })
    }

    /// Waits until it answers at its socket.
    ///
    /// # Errors
    /// It ended, or does not answer in time.
    pub fn ready(&mut self) -> Result<()> {
        until(
            Duration::from_secs(20),
            "openl2tpd answers at its socket",
            || {
                ensure!(
                    self.process.running()?,
                    "openl2tpd ended:\n{}",
                    self.process.log()
                );
                Ok(UnixStream::connect(&self.socket).ok())
            },
        )?;
        // Once it answers it has done all that a start takes, such as to take its signals.
        self.query(&["tunnel", "list"])?;
        Ok(())
    }

    /// The daemon's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A call of `l2tpconfig` to this daemon.
    pub fn l2tpconfig(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("l2tpconfig"));
        command.arg("--socket").arg(&self.socket).args(words);
        command
    }

    /// What `l2tpconfig --json` answers.
    ///
    /// # Errors
    /// The command failed, or did not answer with JSON.
    pub fn query(&self, words: &[&str]) -> Result<Value> {
        let mut command = self.l2tpconfig(&["--json"]);
        let output = command
            .args(words)
            .output()
            .context("cannot run l2tpconfig")?;
        if !output.status.success() {
            bail!(
                "l2tpconfig {}: {}",
                words.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text)
            .with_context(|| format!("l2tpconfig {}: not JSON: {text}", words.join(" ")))
    }

    /// What its API answers for a path: costs it and the machine much less than [`Self::query`], which starts a program.
    ///
    /// # Errors
    /// It does not answer, or not with JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = http(&self.socket, &format!("GET {path}"), "")?;
        ensure!(status == 200, "GET {path}: {status}: {body}");
        serde_json::from_str(&body).with_context(|| format!("GET {path}: not JSON: {body}"))
    }

    /// The sessions that it knows, as `l2tpconfig` lists them.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn sessions(&self) -> Result<Vec<Value>> {
        list(self.query(&["session", "list"])?)
    }

    /// The tunnels that it knows.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn tunnels(&self) -> Result<Vec<Value>> {
        list(self.query(&["tunnel", "list"])?)
    }

    /// Waits until it has an established session, and returns that.
    ///
    /// # Errors
    /// There is none in time.
    pub fn established(&self, timeout: Duration) -> Result<Value> {
        until(timeout, "an established session", || {
            Ok(self
                .sessions()?
                .into_iter()
                .find(|session| session["state"] == "established"))
        })
    }
}

impl Ours {
    /// The words that select its only session.
    fn session(&self) -> Result<[String; 2]> {
        let session = self
            .sessions()?
            .into_iter()
            .next()
            .context("openl2tpd has no session")?;
        Ok(["tunnel_id", "session_id"].map(|key| format!("{key}={}", session[key])))
    }
}

fn list(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(list) => Ok(list),
        other => bail!("not a list: {other}"),
    }
}

impl Side for Ours {
    fn close_session(&mut self) -> Result<()> {
        let [tunnel, session] = self.session()?;
        self.query(&["session", "delete", &tunnel, &session])?;
        Ok(())
    }

    fn traffic(&self) -> Result<Option<Value>> {
        let [tunnel, session] = self.session()?;
        let mut status = self.query(&["session", "show", &tunnel, &session])?;
        Ok(Some(status["traffic"].take()))
    }

    fn encryption(&self) -> Result<Option<String>> {
        let [tunnel, session] = self.session()?;
        let status = self.query(&["session", "show", &tunnel, &session])?;
        Ok(Some(status["mppe"].as_str().unwrap_or("none").to_owned()))
    }

    fn shut_down(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait(SHUTDOWN).context("openl2tpd")?;
        ensure!(status.success(), "openl2tpd ended with {status}");
        Ok(())
    }

    fn idle(&mut self) -> Result<bool> {
        // A session that we made ourselves stays, to be made again later.
        Ok(self
            .sessions()?
            .iter()
            .all(|session| session["state"] == "retry"))
    }

    fn log(&self) -> String {
        self.process.log()
    }
}

/// Lines of configuration that are the same at both ends.
fn tunnel_profile(secret: bool) -> String {
    if secret {
        format!("tunnel profile modify profile_name=default secret={SECRET} auth_mode=challenge\n")
    } else {
        String::new()
    }
}

/// Numbers data messages, as an LNS does that wants to, and puts those in order that come.
pub const SEQUENCED: &str =
    "session profile modify profile_name=default use_sequence_numbers=yes reorder_timeout=100\n";

/// Encrypts in this way or not at all.
pub fn encrypted(mppe: Mppe) -> String {
    let (bits, stateful) = (mppe.bits, if mppe.stateful { "yes" } else { "no" });
    format!(
        "ppp profile modify profile_name=default mppe=required mppe_bits={bits} mppe_stateful={stateful}\n"
    )
}

/// Runs pppd for the PPP of its sessions, and logs what that says.
pub const PPPD: &str =
    "ppp profile modify profile_name=default ppp_engine=pppd trace_flags=ppp_control\n";

/// Proves itself by MS-CHAPv1 too, which is not done unless it is asked for.
pub const MSCHAPV1: &str = "ppp profile modify profile_name=default auth_mschapv1=yes\n";

/// An LNS that authenticates its users by `auth` alone, and gives addresses from a pool.
pub fn lns(auth: Auth, secret: bool) -> String {
    let methods: String = [
        ("auth_pap", Auth::Pap),
        ("auth_chap", Auth::Chap),
        ("auth_mschapv1", Auth::MsChapV1),
        ("auth_mschapv2", Auth::MsChapV2),
    ]
    .map(|(parameter, method)| {
        format!(" {parameter}={}", if method == auth { "yes" } else { "no" })
    })
    .concat();
    format!(
        "{}ppp profile modify profile_name=default local_ipaddr={INNER_LNS} ip_pool_name=pool{methods}\n\
         ip_pool create pool_name=pool range={INNER_LAC}-{POOL_END}\n\
         user create user_name={USER} password={PASSWORD}\n",
        tunnel_profile(secret)
    )
}

/// A LAC that dials `dest`, an address and more of the tunnel's parameters, with one session of user [`USER`].
pub fn lac(secret: bool, dest: &str, password: &str) -> String {
    format!(
        "{}tunnel create tunnel_name=office dest_ipaddr={dest}\n\
         session create tunnel_name=office session_name=me user_name={USER} user_password={password} interface_name=ppp0\n",
        tunnel_profile(secret)
    )
}

/// What is answered at a socket of the API to a request line without its version, with this JSON: the status, and the body.
///
/// # Errors
/// Nobody answers, or not in HTTP.
pub fn http(socket: &Path, request: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}
