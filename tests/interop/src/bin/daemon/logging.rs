//! Where the log goes: the system log and the journal, whose sockets are the test's own in a namespace of mounts.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use interop::netns::{self, Bed};
use interop::ours::Ours;
use interop::until;
use rustix::process::{Pid, Signal, kill_process};

use crate::{PROMPT, World};

/// What must be in no log, though PAP shows it on the wire.
const PASSWORD: &str = "wonderland-pw";
const SECRET: &str = "tunnel-secret";
const WRONG: &str = "a-wrong-guess";

/// Lets `/dev/log` be the socket `$2`, and all else in `/dev` what it is, by way of the folder `$1`; then becomes the rest.
const WITH_SYSLOG: &str = r#"set -e
mkdir "$1"
mount --rbind /dev "$1"
mount -t tmpfs none /dev
for each in "$1"/*; do ln -s "$each" /dev/; done
ln -sfn "$2" /dev/log
shift 2
exec "$@""#;

/// Lets the journal's socket be `$2`; then becomes the rest.
const WITH_JOURNAL: &str = r#"set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/journal
ln -s "$2" /run/systemd/journal/socket
shift 2
exec "$@""#;

/// Every message that an LNS sends to a log which `script` puts into its place, until it has served a session, refused another and ended. Its process.
fn heard(world: &World, script: &str, flags: &[&str]) -> Result<(u32, Vec<Vec<u8>>)> {
    let bed = Bed::new()?;
    let path = world.file("log.socket");
    let socket = bed.lns.enter(|| {
        // What does not fit is lost, as it is to be.
        std::fs::write("/proc/sys/net/unix/max_dgram_qlen", "10000")?;
        Ok(UnixDatagram::bind(&path)?)
    })?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let lns = format!(
        "system modify trace_flags=all\n\
         tunnel profile modify profile_name=default secret={SECRET} auth_mode=challenge\n\
         ppp profile modify profile_name=default auth_chap=no auth_mschapv1=no auth_mschapv2=no ip_pool_name=pool\n\
         ip_pool create pool_name=pool range=10.0.0.2-10.0.0.9\n\
         user create user_name=fred password={PASSWORD}\n"
    );
    let daemon = world.command("lns", &lns)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.arg(world.file("dev")).arg(&path);
    command.arg(daemon.get_program()).args(daemon.get_args());
    command.args(flags);
    let log = world.file("lns.log");
    let mut process = interop::process::Process::spawn(&bed.lns, command, &log)?;
    let mut all = Vec::new();
    let mut until_heard = |text: &str| {
        until(PROMPT, text, || {
            let mut message = vec![0; 65_536];
            let Ok(length) = socket.recv(&mut message) else {
                return Ok(None);
            };
            message.truncate(length);
            let found = String::from_utf8_lossy(&message).contains(text);
            all.push(message);
            Ok(found.then_some(()))
        })
    };
    until_heard("serves UDP port")?;
    let session = |name: &str, password: &str| {
        format!(
            "session create tunnel_name=t session_name={name} user_name=fred user_password={password}\n"
        )
    };
    let lac = format!(
        "tunnel profile modify profile_name=default secret={SECRET}\n\
         tunnel create tunnel_name=t dest_ipaddr={} persist=yes retry_timeout=1\n{}{}",
        netns::LNS,
        session("right", PASSWORD),
        session("wrong", WRONG)
    );
    let folder = world.folder.path();
    let _lac = Ours::start(&world.programs, &bed.lac, folder, "lac", &lac)?;
    until_heard("up: user fred")?;
    until_heard("user fred failed to authenticate")?;
    process.signal(Signal::TERM)?;
    until_heard("closing every tunnel")?;
    ensure!(process.wait(PROMPT)?.success(), "{}", process.log());
    for message in &all {
        let text = String::from_utf8_lossy(message);
        for secret in [PASSWORD, SECRET, WRONG] {
            ensure!(!text.contains(secret), "{text}");
        }
    }
    Ok((process.id(), all))
}

pub(crate) fn syslog(world: &World) -> Result<String> {
    let flags = ["--log", "syslog", "-L", "local3"];
    let (process, messages) = heard(world, WITH_SYSLOG, &flags)?;
    let lines: Vec<_> = messages
        .iter()
        .map(|message| String::from_utf8_lossy(message))
        .collect();
    for line in &lines {
        ensure!(!line.contains('\n'), "more than a line: {line}");
    }
    // local3 is 19, and the severities are 6, 4 and 7.
    for (priority, text) in [
        (19 * 8 + 6, "up: user fred"),
        (19 * 8 + 4, "failed to authenticate"),
        (19 * 8 + 7, "SCCRQ"),
    ] {
        let line = lines.iter().find(|line| line.contains(text));
        let line = line.with_context(|| format!("no {text}"))?;
        let head = format!("<{priority}>openl2tpd[{process}]: ");
        ensure!(line.starts_with(&head), "{line}");
    }
    Ok(format!("{} lines", lines.len()))
}

pub(crate) fn journald(world: &World) -> Result<String> {
    let (_, messages) = heard(world, WITH_JOURNAL, &["--log", "journald"])?;
    let entries = messages.iter().map(|message| fields(message));
    let entries: Vec<_> = entries.collect::<Option<_>>().context("no entry")?;
    for (priority, text) in [
        ("6", "up: user fred"),
        ("4", "failed to authenticate"),
        ("7", "SCCRQ"),
    ] {
        let is_it = |entry: &&BTreeMap<String, String>| {
            entry.get("MESSAGE").is_some_and(|said| said.contains(text))
        };
        let entry = entries.iter().find(is_it);
        let entry = entry.with_context(|| format!("no {text}"))?;
        for (name, value) in [("PRIORITY", priority), ("SYSLOG_IDENTIFIER", "openl2tpd")] {
            ensure!(entry.get(name).is_some_and(|is| is == value), "{entry:?}");
        }
        for name in ["TARGET", "CODE_FILE", "CODE_LINE"] {
            ensure!(entry.contains_key(name), "{entry:?}");
        }
    }
    Ok(format!("{} entries", entries.len()))
}

/// As logrotate does it. In the background the daemon's working directory is another one than that in which the file was named.
pub(crate) fn moved(world: &World) -> Result<String> {
    let (log, old) = (world.file("moving.log"), world.file("moved.log"));
    let mut command = world.command("a", "")?;
    let words: Vec<_> = command
        .get_args()
        .filter(|word| *word != "-f")
        .map(ToOwned::to_owned)
        .collect();
    command = Command::new(command.get_program());
    command
        .args(words)
        .args(["--log", "moving.log"])
        .current_dir(world.folder.path());
    ensure!(world.spawn(command)?.wait(PROMPT)?.success());
    let pid = std::fs::read_to_string(world.file("a.pid"))?;
    let pid = Pid::from_raw(pid.trim().parse()?).context("no pid")?;
    let says = |path: &Path, text: &str| {
        until(PROMPT, text, || {
            let said = std::fs::read_to_string(path).unwrap_or_default();
            Ok(said.contains(text).then_some(()))
        })
    };
    let before = says(&log, "serves UDP port");
    std::fs::rename(&log, &old)?;
    kill_process(pid, Signal::HUP)?;
    let after = says(&log, "SIGHUP: the configuration is read again");
    // Where it can't be opened it goes on where it is.
    std::fs::rename(&log, world.file("last.log"))?;
    std::fs::create_dir(&log)?;
    kill_process(pid, Signal::HUP)?;
    let refused = says(
        &world.file("last.log"),
        "the log goes on in the file that it was in",
    );
    kill_process(pid, Signal::TERM)?;
    let ended = says(&world.file("last.log"), "ended");
    before.and(after).and(refused).and(ended)?;
    ensure!(!std::fs::read_to_string(&old)?.contains("SIGHUP"));
    Ok(String::new())
}

/// The fields of an entry: `NAME=value` and a line break; or `NAME`, a line break, the value's length as 64 bits of little endian, the value, a line
/// break.
fn fields(mut entry: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    while !entry.is_empty() {
        let line_end = entry.iter().position(|octet| *octet == b'\n')?;
        let (line, rest) = (&entry[..line_end], &entry[line_end + 1..]);
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        if let Some(equals) = line.iter().position(|octet| *octet == b'=') {
            fields.insert(text(&line[..equals]), text(&line[equals + 1..]));
            entry = rest;
            continue;
        }
        let (length, rest) = rest.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(u64::from_le_bytes(*length).try_into().ok()?)?;
        fields.insert(text(line), text(value));
        entry = rest.get(1..)?;
    }
    Some(fields)
}
