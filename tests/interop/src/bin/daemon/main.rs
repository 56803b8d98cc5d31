//! The manners of `openl2tpd`: what it tells the service manager, what it may do, what becomes of its files, how it is reloaded, and the programs
//! that it runs.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

mod hooks;
mod logging;

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use interop::netns::{self, Bed, Namespace};
use interop::ours::{self, Ours};
use interop::process::Process;
use interop::traffic::ping;
use interop::{Auth, INNER_LNS, PASSWORD, Side, Suite, until};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take.
const PROMPT: Duration = Duration::from_secs(20);

/// The daemon's manners. Needs root.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    suite: Suite,
}

/// One case; what it returns is its remark in the report.
type Case = fn(&World) -> Result<String>;

const CASES: &[(&str, Case)] = &[
    ("the service manager hears of start and end", notified),
    ("the watchdog is kept while the shard answers", watchdog),
    (
        "a socket that the service manager opened is served and left",
        activated,
    ),
    (
        "both sockets of the service manager are served, one to those who may only look",
        both_activated,
    ),
    (
        "capabilities that are not needed are given up",
        capabilities,
    ),
    ("two instances in one namespace", two_instances),
    ("files of a dead daemon are taken over", stale_files),
    ("files of a live daemon are its own", live_files),
    (
        "a pool's addresses are the daemon's for as long as it lives, however it ends",
        pools,
    ),
    (
        "SIGUSR1 turns debug on and off, SIGUSR2 does nothing",
        user_signals,
    ),
    ("SIGHUP reloads under a live session", reloaded),
    ("a wrong file changes nothing and is told", wrong_file),
    ("a dry run only looks", dry_run),
    (
        "tunnels of the file come, change and go, others stay",
        tunnels_reloaded,
    ),
    ("a large file is reloaded", large_file),
    ("event scripts are told what pppd told", hooks::told),
    (
        "event scripts that hang are ended and hold nothing up",
        hooks::slow,
    ),
    ("the system log has the log, and no secret", logging::syslog),
    (
        "the journal has the log by fields, and no secret",
        logging::journald,
    ),
    (
        "a log file that is moved away goes on under its name",
        logging::moved,
    ),
    ("the units are systemd's", units),
];

fn main() -> Result<ExitCode> {
    let Options { suite } = Options::parse();
    let programs = suite.programs()?;
    let mut report = suite.report();
    for (name, case) in CASES {
        report.case(name, || {
            let world = World::new(&programs)?;
            case(&world).with_context(|| world.story())
        });
    }
    Ok(report.conclude())
}

/// What a case has: a namespace, a folder for files, and our programs.
struct World {
    namespace: Namespace,
    folder: TempDir,
    programs: PathBuf,
}

impl World {
    fn new(programs: &Path) -> Result<Self> {
        Ok(Self {
            namespace: Namespace::new("manners")?,
            folder: tempfile::tempdir()?,
            programs: programs.to_owned(),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self, name: &str, configuration: &str) -> Result<Ours> {
        self.start_in(&self.namespace, name, configuration)
    }

    fn start_in(&self, namespace: &Namespace, name: &str, configuration: &str) -> Result<Ours> {
        let folder = self.folder.path();
        Ours::start(&self.programs, namespace, folder, name, configuration)
    }

    /// The command line of a daemon whose files are called `name`.
    fn command(&self, name: &str, configuration: &str) -> Result<Command> {
        Ours::command(&self.programs, self.folder.path(), name, configuration)
    }

    fn spawn(&self, command: Command) -> Result<Process> {
        Process::spawn(&self.namespace, command, &self.file("other.log"))
    }

    /// Every log, for the report of a failure.
    fn story(&self) -> String {
        let entries = fs::read_dir(self.folder.path())
            .into_iter()
            .flatten()
            .flatten();
        let logs = entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "log"));
        logs.map(|log| {
            let text = fs::read_to_string(log.path()).unwrap_or_default();
            format!("\n-- {}:\n{text}", log.file_name().display())
        })
        .collect()
    }
}

/// What the service manager would hear.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(world: &World) -> Result<Self> {
        let path = world.file("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(Self { socket, path })
    }

    /// The next message, if one comes at once.
    fn hear(&self) -> Option<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..length]).into_owned())
    }

    /// Waits for a message that holds `text`.
    fn until(&self, text: &str) -> Result<String> {
        until(PROMPT, text, || {
            Ok(self.hear().filter(|message| message.contains(text)))
        })
    }
}

fn notified(world: &World) -> Result<String> {
    let manager = Manager::new(world)?;
    let mut command = world.command("a", "")?;
    command.env("NOTIFY_SOCKET", &manager.path);
    let mut process = world.spawn(command)?;
    let ready = manager.until("READY=1")?;
    ensure!(ready.contains("STATUS=serves UDP port 1701"), "{ready}");
    process.signal(Signal::TERM)?;
    manager.until("STOPPING=1")?;
    ensure!(process.wait(PROMPT)?.success());
    Ok(String::new())
}

fn watchdog(world: &World) -> Result<String> {
    const PATIENCE: Duration = Duration::from_millis(600);
    let manager = Manager::new(world)?;
    let mut command = world.command("a", "")?;
    command.env("NOTIFY_SOCKET", &manager.path);
    command.env("WATCHDOG_USEC", PATIENCE.as_micros().to_string());
    let process = world.spawn(command)?;
    manager.until("READY=1")?;
    for _ in 0..3 {
        manager.until("WATCHDOG=1")?;
    }
    let shard = thread(process.id(), "shard")?;
    // The thread alone stops, as one does that is caught in a loop; the rest goes on.
    ptrace::seize(shard, ptrace::Options::empty())?;
    ptrace::interrupt(shard)?;
    waitpid(shard, Some(WaitPidFlag::__WALL))?;
    while manager.hear().is_some() {}
    let silent = Instant::now();
    while silent.elapsed() < 3 * PATIENCE {
        if let Some(message) = manager.hear() {
            ensure!(
                !message.contains("WATCHDOG=1"),
                "told with a shard that hangs"
            );
        }
    }
    ensure!(process.log().contains("does not answer"));
    ptrace::detach(shard, None)?;
    manager.until("WATCHDOG=1")?;
    Ok(String::new())
}

/// A thread of a process, by its name.
fn thread(process: u32, name: &str) -> Result<Pid> {
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?;
        if fs::read_to_string(task.path().join("comm"))?.trim() == name {
            let id = task.file_name().to_string_lossy().parse()?;
            return Ok(Pid::from_raw(id));
        }
    }
    bail!("process {process} has no thread called {name}")
}

fn activated(world: &World) -> Result<String> {
    let daemon = world.command("a", "")?;
    let mut command = Command::new("systemd-socket-activate");
    let socket = world.file("a.socket");
    command.arg("-l").arg(&socket).arg("--fdname=api");
    command.arg(daemon.get_program()).args(daemon.get_args());
    let mut process = world.spawn(command)?;
    until(PROMPT, "the socket", || Ok(socket.exists().then_some(())))?;
    let mut ask = Command::new(world.programs.join("l2tpconfig"));
    ask.arg("--socket")
        .arg(&socket)
        .args(["--json", "tunnel", "list"]);
    let output = ask.output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    process.signal(Signal::TERM)?;
    ensure!(process.wait(PROMPT)?.success());
    ensure!(socket.exists(), "it removed a socket that is not its own");

    let mut command = Command::new("systemd-socket-activate");
    let other = world.file("other.socket");
    command.arg("-l").arg(&other).arg("--fdname=http");
    command.arg(daemon.get_program()).args(daemon.get_args());
    let mut process = world.spawn(command)?;
    until(PROMPT, "the socket", || Ok(other.exists().then_some(())))?;
    let _asked = UnixStream::connect(&other)?;
    ensure!(!process.wait(PROMPT)?.success());
    ensure!(process.log().contains("a socket is called http"));
    Ok(String::new())
}

fn both_activated(world: &World) -> Result<String> {
    let daemon = world.command("a", "")?;
    let (socket, readers) = (world.file("a.socket"), world.file("readers.socket"));
    let mut command = Command::new("systemd-socket-activate");
    command.arg("-l").arg(&socket).arg("-l").arg(&readers);
    command.arg("--fdname=api:api-readonly");
    command.arg(daemon.get_program()).args(daemon.get_args());
    let mut process = world.spawn(command)?;
    until(PROMPT, "the sockets", || {
        Ok((socket.exists() && readers.exists()).then_some(()))
    })?;
    for (name, refused) in [("a", false), ("readers", true)] {
        let (status, shown) = http(world, name, "GET /v1/system", "")?;
        ensure!(status == 200, "{name}: {shown}");
        let (status, answer) = http(world, name, "POST /v1/system/statistics/reset", "")?;
        ensure!((status == 403) == refused, "{name}: {status} {answer}");
    }
    process.signal(Signal::TERM)?;
    ensure!(process.wait(PROMPT)?.success());
    ensure!(
        socket.exists() && readers.exists(),
        "it removed sockets that are not its own"
    );
    Ok(String::new())
}

fn capabilities(world: &World) -> Result<String> {
    const NET_BIND_SERVICE: u64 = 1 << 10;
    const NET_ADMIN: u64 = 1 << 12;
    const NET_RAW: u64 = 1 << 13;
    const SYS_ADMIN: u64 = 1 << 21;
    let network = NET_BIND_SERVICE | NET_ADMIN | NET_RAW;
    let elsewhere = Namespace::new("elsewhere")?;
    let listener = format!(
        "listener create listener_name=there netns={}\n",
        elsewhere.name()
    );
    for (configuration, expected) in [("", network), (listener.as_str(), network | SYS_ADMIN)] {
        let mut daemon = world.start("a", configuration)?;
        let id = daemon.process().id();
        let mut threads = 0;
        for task in fs::read_dir(format!("/proc/{id}/task"))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                let found = u64::from_str_radix(field(&status, set)?, 16)?;
                ensure!(found == expected, "{set} is {found:x}, not {expected:x}");
            }
            ensure!(field(&status, "NoNewPrivs")? == "1");
            threads += 1;
        }
        ensure!(threads > 1, "the shard has no thread");
        daemon.shut_down()?;
    }
    Ok(String::new())
}

fn field<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(str::trim).with_context(|| format!("no {name}"))
}

fn two_instances(world: &World) -> Result<String> {
    let mut first = world.start("first", "")?;
    let mut command = world.command("second", "")?;
    command.args(["-u", "1702"]);
    let mut second = world.spawn(command)?;
    until(PROMPT, "the second serves", || {
        Ok(second.log().contains("serves UDP port 1702").then_some(()))
    })?;
    for (name, id) in [("first", first.process().id()), ("second", second.id())] {
        let pid = fs::read_to_string(world.file(&format!("{name}.pid")))?;
        ensure!(pid.trim() == id.to_string(), "{name}: {pid}");
    }
    second.signal(Signal::TERM)?;
    ensure!(second.wait(PROMPT)?.success());
    first.tunnels().context("the first no longer answers")?;
    first.shut_down()?;
    Ok(String::new())
}

fn stale_files(world: &World) -> Result<String> {
    let mut first = world.start("a", "")?;
    first.process().signal(Signal::KILL)?;
    first.process().wait(PROMPT)?;
    ensure!(world.file("a.pid").exists() && world.file("a.socket").exists());
    // A number that is in use by now, as it happens after a while.
    fs::write(world.file("a.pid"), format!("{}\n", std::process::id()))?;
    let mut second = world.start("a", "")?;
    second.tunnels()?;
    second.shut_down()?;
    ensure!(!world.file("a.pid").exists() && !world.file("a.socket").exists());
    Ok(String::new())
}

fn pools(world: &World) -> Result<String> {
    let namespace = &world.namespace;
    // As the kernel prints its routes.
    let is_kept = |net: [u8; 4]| -> Result<bool> {
        let route = format!("l2tp0\t{:08X}\t", u32::from_le_bytes(net));
        Ok(namespace.state()?.contains(&route))
    };
    let before = namespace.state()?;
    let pool = |range: &str| format!("ip_pool create pool_name=p range={range}\n");
    let mut daemon = world.start("a", &pool("10.77.0.8-10.77.0.15"))?;
    until(PROMPT, "the pool's route", || {
        Ok(is_kept([10, 77, 0, 8])?.then_some(()))
    })?;
    daemon.query(&[
        "ip_pool",
        "modify",
        "pool_name=p",
        "range=10.78.0.8-10.78.0.15",
    ])?;
    until(PROMPT, "the other route", || {
        let moved = is_kept([10, 78, 0, 8])? && !is_kept([10, 77, 0, 8])?;
        Ok(moved.then_some(()))
    })?;
    daemon.process().signal(Signal::KILL)?;
    daemon.process().wait(PROMPT)?;
    until(PROMPT, "nothing is left", || {
        Ok((namespace.state()? == before).then_some(()))
    })?;
    Ok(String::new())
}

fn live_files(world: &World) -> Result<String> {
    let mut daemon = world.start("a", "")?;
    let (pid, socket) = (world.file("a.pid"), world.file("a.socket"));
    let (pid, socket) = (pid.to_string_lossy(), socket.to_string_lossy());
    let with = |option: &str, value: &str| -> Result<Vec<String>> {
        let mut command = world.command("b", "")?;
        let given = command.args(["-u", "1702"]).get_args();
        let mut words: Vec<_> = given
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let at = words
            .iter()
            .position(|word| word == option)
            .context("no such option")?;
        value.clone_into(&mut words[at + 1]);
        Ok(words)
    };
    for (option, value, reason) in [
        (
            "-P",
            &pid,
            format!("already running as process {}", daemon.process().id()),
        ),
        ("--socket", &socket, "another daemon listens at".to_owned()),
    ] {
        let mut command = Command::new(world.programs.join("openl2tpd"));
        command.args(with(option, value)?);
        let mut process = world.spawn(command)?;
        ensure!(!process.wait(PROMPT)?.success());
        let log = process.log();
        ensure!(log.contains(&reason), "{log}");
    }
    daemon.tunnels().context("the live one no longer answers")?;
    daemon.shut_down()?;
    Ok(String::new())
}

fn user_signals(world: &World) -> Result<String> {
    let mut daemon = world.start("a", "")?;
    for word in ["on", "off", "on"] {
        let seen = daemon.log().matches("debug is").count();
        daemon.process().signal(Signal::USR1)?;
        until(PROMPT, "debug is turned", || {
            let log = daemon.log();
            let last = log.lines().rfind(|line| line.contains("debug is"));
            let turned = last.is_some_and(|line| line.ends_with(word));
            Ok((turned && log.matches("debug is").count() > seen).then_some(()))
        })?;
        let traced = daemon.log().matches("TunnelList").count();
        daemon.tunnels()?;
        let more = daemon.log().matches("TunnelList").count() > traced;
        ensure!(
            more == (word == "on"),
            "debug is {word}, and requests are traced: {more}"
        );
    }
    daemon.process().signal(Signal::USR2)?;
    until(PROMPT, "SIGUSR2 is taken", || {
        Ok(daemon.log().contains("nothing to do").then_some(()))
    })?;
    daemon.shut_down()?;
    Ok(String::new())
}

/// Asks the API as any program might: the status, and the body.
fn http(world: &World, name: &str, request: &str, body: &str) -> Result<(u16, String)> {
    ours::http(&world.file(&format!("{name}.socket")), request, body)
}

fn reload(world: &World, name: &str, dry_run: bool) -> Result<(u16, Value)> {
    let body = format!("{{\"dry_run\":{dry_run}}}");
    let (status, body) = http(world, name, "POST /v1/config/reload", &body)?;
    Ok((
        status,
        serde_json::from_str(&body).with_context(|| body.clone())?,
    ))
}

fn configure(world: &World, name: &str, configuration: &str) -> Result<()> {
    Ok(fs::write(
        world.file(&format!("{name}.conf")),
        configuration,
    )?)
}

fn reloaded(world: &World) -> Result<String> {
    let bed = Bed::new()?;
    let served = ours::lns(Auth::Chap, false);
    let mut lns = world.start_in(&bed.lns, "lns", &served)?;
    let lac = world.start_in(
        &bed.lac,
        "lac",
        &ours::lac(false, &netns::LNS.to_string(), PASSWORD),
    )?;
    let before = lac.established(PROMPT)?;
    lns.established(PROMPT)?;
    let changed = format!(
        "{served}user create user_name=late password=late\ntunnel profile modify profile_name=default hello_timeout=7\n"
    );
    configure(world, "lns", &changed)?;
    for _ in 0..2 {
        let seen = lns.log().matches("configuration reloaded").count();
        lns.process().signal(Signal::HUP)?;
        until(PROMPT, "the reload is logged", || {
            Ok((lns.log().matches("configuration reloaded").count() > seen).then_some(()))
        })?;
    }
    ensure!(lns.log().contains("1 added, 1 changed, 0 removed"));
    ensure!(lns.log().contains("0 added, 0 changed, 0 removed"));
    let pings = ping(&bed.lac, &INNER_LNS.to_string(), 3)?;
    ensure!(pings.received == 3, "the session no longer carries");
    let after = lac.established(PROMPT)?;
    ensure!(
        before["session_id"] == after["session_id"],
        "another session"
    );
    // A user that is gone keeps the session that it has.
    configure(world, "lns", &served.replace("user create", "#"))?;
    let (status, report) = reload(world, "lns", false)?;
    ensure!(status == 200 && report["removed"]["count"] == 2, "{report}");
    let pings = ping(&bed.lac, &INNER_LNS.to_string(), 3)?;
    ensure!(
        pings.received == 3,
        "the session of a user that is gone no longer carries"
    );
    Ok(String::new())
}

fn wrong_file(world: &World) -> Result<String> {
    let mut daemon = world.start("a", "user create user_name=first password=x\n")?;
    let (_, before) = http(world, "a", "GET /v1/config/file", "")?;
    ensure!(before.contains("first"), "{before}");
    configure(
        world,
        "a",
        "user create user_name=second password=y\nusr create\ntunnel create max_retries=x\n",
    )?;
    let (status, error) = reload(world, "a", false)?;
    let message = error["message"].as_str().context("no message")?;
    ensure!(
        status == 400 && message.contains("a.conf:2") && message.contains("a.conf:3"),
        "{status} {error}"
    );
    daemon.process().signal(Signal::HUP)?;
    until(PROMPT, "the refusal is logged", || {
        Ok((daemon
            .log()
            .matches("the configuration stays as it is")
            .count()
            == 2)
            .then_some(()))
    })?;
    fs::remove_file(world.file("a.conf"))?;
    let (status, error) = reload(world, "a", false)?;
    ensure!(status == 400, "a file that is gone: {error}");
    let (_, after) = http(world, "a", "GET /v1/config/file", "")?;
    ensure!(before == after, "{after}");
    daemon.shut_down()?;
    Ok(String::new())
}

fn dry_run(world: &World) -> Result<String> {
    let mut daemon = world.start("a", "")?;
    configure(
        world,
        "a",
        "user create user_name=u password=x\ntunnel create tunnel_name=t dest_ipaddr=127.0.0.9\n",
    )?;
    let (status, report) = reload(world, "a", true)?;
    ensure!(status == 200 && report["dry_run"] == true, "{report}");
    ensure!(report["added"]["count"] == 2, "{report}");
    ensure!(
        report["affected"]["first"][0] == "tunnel t: opened",
        "{report}"
    );
    ensure!(daemon.tunnels()?.is_empty());
    let (_, file) = http(world, "a", "GET /v1/config/file", "")?;
    ensure!(!file.contains("user"), "{file}");
    let (status, error) = http(world, "a", "POST /v1/config/reload", "{\"dryrun\":true}")?;
    ensure!(status == 400 && error.contains("dryrun"), "{error}");
    daemon.shut_down()?;
    Ok(String::new())
}

fn tunnels_reloaded(world: &World) -> Result<String> {
    let tunnel = |name: &str, more: &str| {
        format!("tunnel create tunnel_name={name} dest_ipaddr=127.0.0.9 persist=yes {more}\n")
    };
    let first = [
        tunnel("stays", ""),
        tunnel("changes", ""),
        tunnel("lives", "hello_timeout=60"),
        tunnel("goes", ""),
    ]
    .concat();
    let mut daemon = world.start("a", &first)?;
    let names = |daemon: &Ours| -> Result<Vec<String>> {
        let tunnels = daemon.tunnels()?;
        let names = tunnels
            .iter()
            .filter_map(|tunnel| Some(tunnel["tunnel_name"].as_str()?.to_owned()));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        Ok(names)
    };
    until(PROMPT, "the tunnels of the file", || {
        Ok((names(&daemon)?.len() == 4).then_some(()))
    })?;
    daemon.query(&[
        "tunnel",
        "create",
        "tunnel_name=api",
        "dest_ipaddr=127.0.0.9",
        "persist=yes",
    ])?;
    let second = [
        tunnel("stays", ""),
        tunnel("changes", "").replace(".9", ".8"),
        tunnel("lives", "hello_timeout=20"),
        tunnel("comes", ""),
    ]
    .concat();
    configure(world, "a", &second)?;
    let (status, report) = reload(world, "a", false)?;
    ensure!(status == 200 && report["failed"]["count"] == 0, "{report}");
    let parts = serde_json::json!([
        ["tunnel comes"],
        [
            "tunnel changes: dest_ipaddr 127.0.0.9 -> 127.0.0.8",
            "tunnel lives: hello_timeout 60 -> 20"
        ],
        ["tunnel goes"],
    ]);
    for (place, part) in ["added", "changed", "removed"].into_iter().enumerate() {
        ensure!(report[part]["first"] == parts[place], "{report}");
    }
    ensure!(
        report["affected"]
            .to_string()
            .contains("tunnel lives: changed, and stays up"),
        "{report}"
    );
    ensure!(report["affected"]["count"] == 4, "{report}");
    ensure!(
        names(&daemon)? == ["api", "changes", "comes", "lives", "stays"],
        "{:?}",
        names(&daemon)?
    );
    let shown = daemon.query(&["tunnel", "show", "tunnel_name=changes"])?;
    ensure!(shown.to_string().contains("127.0.0.8"), "{shown}");
    daemon.shut_down()?;
    Ok(String::new())
}

fn large_file(world: &World) -> Result<String> {
    let profiles = (0..10_000).map(|n| {
        format!(
            "peer profile create profile_name=p{n} peer_ipaddr=10.{}.{}.1\n",
            n / 250,
            n % 250
        )
    });
    let users = (0..50_000).map(|n| format!("user create user_name=u{n} password=p{n}\n"));
    let all: String = profiles.chain(users).collect();
    let mut daemon = world.start("a", &all)?;
    configure(
        world,
        "a",
        &all.replace("password=p49999\n", "password=new\n")
            .replace("profile_name=p77 ", "profile_name=other "),
    )?;
    let began = Instant::now();
    let (status, report) = reload(world, "a", false)?;
    let took = began.elapsed();
    ensure!(status == 200, "{report}");
    for part in ["added", "changed", "removed"] {
        ensure!(report[part]["count"] == 1, "{report}");
    }
    daemon.shut_down()?;
    Ok(format!("{:.2} s", took.as_secs_f64()))
}

fn units(world: &World) -> Result<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let program = world.programs.join("openl2tpd");
    let mut names = Vec::new();
    for unit in fs::read_dir(source)? {
        let unit = unit?;
        let text = fs::read_to_string(unit.path())?;
        let text = text.replace("/usr/sbin/openl2tpd", &program.to_string_lossy());
        // An instance, of the template.
        let name = unit.file_name().to_string_lossy().replace("@.", "@office.");
        fs::write(world.file(&name), text)?;
        names.push(name);
    }
    ensure!(names.len() == 3, "{names:?}");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    verify.args(names.iter().map(|name| world.file(name)));
    let output = verify.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Before systemd 253 there was no such type.
    let wrong = |line: &&str| {
        names.iter().any(|name| line.contains(name.as_str())) && !line.contains("notify-reload")
    };
    let wrong: Vec<_> = said.lines().filter(wrong).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(String::new())
}
