//! The management interface of a daemon: against schemathesis, with the examples of its manual, with clients that misbehave, and who may use it.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use interop::netns::Namespace;
use interop::ours::Ours;
use interop::process::Process;
use interop::{Suite, bridge, until};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take.
const PROMPT: Duration = Duration::from_secs(20);

/// The seed of what schemathesis makes up.
const SEED: &str = "1703";

/// What the daemon may grow by for clients that misbehave, octets: some hundred connections with all that is kept of each, and room for the allocator.
const GROWTH: u64 = 64 * 1024 * 1024;

/// The group that may use the read-only socket: nobody's.
const GROUP: u32 = 12345;

/// The management interface. Needs root.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    suite: Suite,
    /// The program schemathesis.
    #[arg(long)]
    schemathesis: PathBuf,
    /// The program promtool.
    #[arg(long)]
    promtool: PathBuf,
    /// A Python that has prometheus-client.
    #[arg(long)]
    python: PathBuf,
    /// The folder of README.md and docs.
    #[arg(long)]
    project: PathBuf,
}

/// One case; what it returns is its remark in the report.
type Case = fn(&World) -> Result<String>;

const CASES: &[(&str, Case)] = &[
    ("schemathesis finds nothing", schemathesis),
    (
        "schemathesis finds nothing at the read-only socket",
        schemathesis_read_only,
    ),
    ("Prometheus reads the metrics", metrics),
    ("the examples of the manual do what they say", examples),
    ("clients that misbehave cost others nothing", bad_clients),
    ("a socket is its owner's, or a group's", permissions),
];

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let mut report = options.suite.report();
    for (name, case) in CASES {
        report.case(name, || {
            let mut world = World::new(&options)?;
            let log = world.folder.path().join("a.log");
            let remark =
                case(&world).with_context(|| fs::read_to_string(log).unwrap_or_default())?;
            world.end()?;
            Ok(remark)
        });
    }
    Ok(report.conclude())
}

/// What a case has: a daemon that carries no traffic, in a namespace of its own, with both sockets.
struct World<'a> {
    options: &'a Options,
    programs: PathBuf,
    process: Process,
    folder: TempDir,
    namespace: Namespace,
}

/// A daemon that has something of everything.
const CONFIGURATION: &str = "ppp profile modify profile_name=default local_ipaddr=10.0.0.1 ip_pool_name=pool\n\
    ip_pool create pool_name=pool range=10.0.0.2-10.0.0.99\n\
    user create user_name=bob password=s3cret\n";

impl<'a> World<'a> {
    fn new(options: &'a Options) -> Result<Self> {
        let programs = options.suite.programs()?;
        let namespace = Namespace::new("interface")?;
        let folder = tempfile::tempdir()?;
        let mut command = Ours::command(&programs, folder.path(), "a", CONFIGURATION)?;
        command.args(["--datapath", "null", "--read-only-socket"]);
        command.arg(folder.path().join("a.read-only"));
        command.args(["--read-only-group", &GROUP.to_string()]);
        let process = Process::spawn(&namespace, command, &folder.path().join("a.log"))?;
        let world = Self {
            options,
            programs,
            process,
            folder,
            namespace,
        };
        until(PROMPT, "the daemon answers", || {
            Ok(world.answers().is_ok().then_some(()))
        })?;
        Ok(world)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("a.socket")
    }

    fn read_only(&self) -> PathBuf {
        self.folder.path().join("a.read-only")
    }

    /// A client that has sent this, which waits no longer than it may take.
    fn sent(&self, octets: &[u8]) -> Result<UnixStream> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PROMPT))?;
        stream.set_write_timeout(Some(PROMPT))?;
        stream.write_all(octets)?;
        Ok(stream)
    }

    /// What a client that sends this is answered, until the daemon closes.
    fn answer(&self, octets: &[u8]) -> Result<String> {
        let mut answer = Vec::new();
        match self.sent(octets)?.read_to_end(&mut answer) {
            // It closed with something unread.
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error.into()),
            _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
        }
    }

    /// What is at a path, in the form that is accepted.
    fn get(&self, path: &str, accept: &str) -> Result<String> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: l\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
        );
        let answer = self.answer(request.as_bytes())?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        Ok(body.to_owned())
    }

    /// Answers somebody, and soon.
    fn answers(&self) -> Result<()> {
        let began = Instant::now();
        let request = b"GET /v1/system HTTP/1.1\r\nhost: l\r\nconnection: close\r\n\r\n";
        let answer = self.answer(request)?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let took = began.elapsed();
        ensure!(took < Duration::from_secs(2), "the answer took {took:?}");
        Ok(())
    }

    /// The most memory that the daemon had, octets.
    fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let text = line.context("no VmHWM")?.trim().trim_end_matches(" kB");
        Ok(text.parse::<u64>()? * 1024)
    }

    /// Ends the daemon, which has to have lived until then.
    fn end(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait(PROMPT)?;
        ensure!(status.success(), "the daemon ended with {status}");
        let log = self.process.log();
        ensure!(!log.contains("panicked"), "{log}");
        Ok(())
    }
}

fn schemathesis(world: &World) -> Result<String> {
    fuzz(world, &world.socket(), "coverage,fuzzing,stateful", &[])
}

fn schemathesis_read_only(world: &World) -> Result<String> {
    // What it takes no method but these for is refused before it is looked for.
    fuzz(
        world,
        &world.read_only(),
        "fuzzing",
        &["unsupported_method"],
    )
}

/// All of its checks but these and one: the document does not say all that is wrong with a value, such as a name that nothing has.
fn fuzz(world: &World, socket: &Path, phases: &str, unchecked: &[&str]) -> Result<String> {
    let unchecked = [&["positive_data_acceptance"], unchecked]
        .concat()
        .join(",");
    let address = bridge::open(socket)?;
    let output = Command::new(&world.options.schemathesis)
        .current_dir(world.folder.path())
        .args(["run", &format!("http://{address}/v1/openapi.json")])
        // Streams have no end.
        .args(["--exclude-path-regex", "/(events|trace|capture)$"])
        .args(["--phases", phases, "--max-examples", "15", "--seed", SEED])
        .args(["--exclude-checks", &unchecked])
        .args(["--generation-database", "none", "--no-color"])
        .args(["--request-timeout", "10", "--warnings", "off"])
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .output()
        .context("cannot run schemathesis")?;
    let report = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{report}{said}");
    let cases = report
        .lines()
        .find_map(|line| line.split_once(" generated, "));
    Ok(format!(
        "{} requests",
        cases.context("no count of cases")?.0.trim()
    ))
}

/// Tunnels of the other end, and sessions on each.
const TUNNELS: usize = 3;
const SESSIONS: usize = 5;

fn metrics(world: &World) -> Result<String> {
    let idle = scrape(world)?;
    let mut other = String::new();
    for tunnel in 0..TUNNELS {
        other += &format!(
            "tunnel create tunnel_name=t{tunnel} dest_ipaddr=127.0.0.1 peer_udp_port=1701\n"
        );
        let session =
            format!("session create tunnel_name=t{tunnel} user_name=bob user_password=s3cret\n");
        other += &session.repeat(SESSIONS);
    }
    let folder = world.folder.path();
    let mut command = Ours::command(&world.programs, folder, "b", &other)?;
    command.args(["--datapath", "null", "-u", "1702"]);
    let _other = Process::spawn(&world.namespace, command, &folder.join("b.log"))?;
    let all = format!("\"sessions_established\":{}", TUNNELS * SESSIONS);
    until(PROMPT, "every session is up", || {
        Ok(world.get("/v1/system", "*/*")?.contains(&all).then_some(()))
    })?;
    let busy = scrape(world)?;
    let come: Vec<_> = busy.difference(&idle).collect();
    ensure!(come.is_empty(), "there with sessions alone: {come:?}");
    Ok(format!("{} series", busy.len()))
}

/// The series that there are now, in a form that promtool has nothing against, and in another that the reference parser of OpenMetrics takes.
fn scrape(world: &World) -> Result<BTreeSet<String>> {
    const PARSER: &str = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        assert list(parse(sys.stdin.read()))";
    let text = world.get("/metrics", "text/plain")?;
    let mut promtool = Command::new(&world.options.promtool);
    feed(promtool.args(["check", "metrics"]), &text)?;
    let mut python = Command::new(&world.options.python);
    let open_metrics = world.get("/metrics", "application/openmetrics-text")?;
    feed(python.args(["-c", PARSER]), &open_metrics)?;

    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let series = lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()));
    let series: BTreeSet<String> = series.collect();
    for one in &series {
        let labels = one.split_once('{').map_or("", |(_, labels)| labels);
        for label in labels.split(',').filter_map(|label| label.split_once('=')) {
            let of_one = [
                "tunnel",
                "session",
                "user",
                "peer",
                "interface",
                "name",
                "id",
            ];
            let is_name = of_one
                .iter()
                .any(|word| label.0.split('_').any(|part| part == *word));
            ensure!(!is_name, "{one}: its label {} is of one of many", label.0);
        }
    }
    Ok(series)
}

/// Runs a program that reads `text` and has nothing to say about it.
fn feed(command: &mut Command, text: &str) -> Result<()> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let mut input = child.stdin.take().context("no input")?;
    input.write_all(text.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        output.status.success() && said.is_empty(),
        "{program}: {said}"
    );
    Ok(())
}

fn examples(world: &World) -> Result<String> {
    let mut count = 0;
    for file in ["README.md", "docs/api.md", "docs/tracing.md"] {
        let text = fs::read_to_string(world.options.project.join(file))?;
        let text = text.replace("/run/openl2tpd/api.sock", &world.socket().to_string_lossy());
        let mut functions = String::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with("api() {") {
                functions = format!("{line}\n");
            } else if line.starts_with("api ") || line.starts_with("curl ") {
                example(&functions, line).with_context(|| format!("{file}: {line}"))?;
                count += 1;
            }
        }
    }
    ensure!(count >= 14, "only {count} examples");
    Ok(format!("{count} examples"))
}

/// Runs one: it succeeds with JSON that is no refusal or with metrics, or it streams.
fn example(functions: &str, line: &str) -> Result<()> {
    let script = format!("{functions}{line}\n");
    let streams = line.contains(" -N ");
    let mut child = Command::new("timeout")
        .arg(if streams { "0.5" } else { "20" })
        .args(["sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Curl shows how far it is.
        .stderr(Stdio::null())
        .spawn()?;
    let mut answer = String::new();
    let mut output = child.stdout.take().context("no output")?;
    output.read_to_string(&mut answer)?;
    let status = child.wait()?;
    if streams {
        let ran_on = status.code() == Some(124);
        ensure!(ran_on && !answer.starts_with('{'), "{status}: {answer}");
        return Ok(());
    }
    ensure!(status.success(), "{status}");
    if line.ends_with("/metrics") {
        ensure!(answer.ends_with("# EOF\n"), "{answer}");
        return Ok(());
    }
    let json: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
    ensure!(json.get("message").is_none(), "refused: {answer}");
    Ok(())
}

fn bad_clients(world: &World) -> Result<String> {
    for number in 0..2000 {
        let body = format!("{{\"user_name\":\"user {number}\",\"password\":\"x\"}}");
        let head = format!(
            "POST /v1/config/users HTTP/1.1\r\nhost: l\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = world.answer(format!("{head}{body}").as_bytes())?;
        ensure!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }
    let before = world.memory()?;
    let half: Vec<_> = (0..30)
        .map(|_| world.sent(b"GET /v1/system HTTP/1.1\r\nho"))
        .collect::<Result<_>>()?;
    world.answers()?;

    let long = format!(
        "GET /v1/system HTTP/1.1\r\nlong: {}\r\n\r\n",
        "x".repeat(1_000_000)
    );
    match world.answer(long.as_bytes()) {
        Ok(answer) => ensure!(answer.starts_with("HTTP/1.1 431 "), "{answer}"),
        // It had heard enough.
        Err(error) => ensure!(error.to_string().contains("Broken pipe"), "{error:#}"),
    }
    world.answers()?;

    huge_body(world)?;
    world.answers()?;

    let open = descriptors(world)?;
    let follow = b"GET /v1/events HTTP/1.1\r\nhost: l\r\n\r\n".to_vec();
    let list = b"GET /v1/config/users HTTP/1.1\r\nhost: l\r\n\r\n".repeat(1000);
    let mut never_read = Vec::new();
    for _ in 0..20 {
        never_read.push(world.sent(&follow)?);
        never_read.push(world.sent(&list)?);
    }
    world.answers()?;
    happen(world)?;
    world.answers()?;
    let grown = world.memory()?.saturating_sub(before);
    ensure!(grown < GROWTH, "it grew by {grown} octets");
    until(PROMPT, "who never reads is dropped", || {
        Ok((descriptors(world)? < open).then_some(()))
    })?;
    drop((half, never_read));
    Ok(format!("{} KiB more at most", grown / 1024))
}

/// How many descriptors the daemon has.
fn descriptors(world: &World) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{}/fd", world.process.id()))?.count())
}

/// Sends a hundred megabytes that nobody asked for.
fn huge_body(world: &World) -> Result<()> {
    for length in ["content-length: 100000000", "transfer-encoding: chunked"] {
        let head = format!("POST /v1/config/users HTTP/1.1\r\nhost: l\r\n{length}\r\n\r\n");
        let mut client = world.sent(head.as_bytes())?;
        let chunk = format!("186a0\r\n{}\r\n", " ".repeat(100_000));
        let refused = (0..1000).any(|_| client.write_all(chunk.as_bytes()).is_err());
        ensure!(refused, "{length}: all of it was taken");
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        ensure!(answer.starts_with("HTTP/1.1 413 "), "{length}: {answer}");
    }
    Ok(())
}

/// Lets so much happen that a follower who does not read is noticed.
fn happen(world: &World) -> Result<()> {
    let body = r#"{"password":"y"}"#;
    let change = |close: &str| {
        let length = body.len();
        format!(
            "PATCH /v1/config/users/bob HTTP/1.1\r\nhost: l\r\n{close}content-length: {length}\r\n\r\n{body}"
        )
    };
    let changes = change("").repeat(3000) + &change("connection: close\r\n");
    let mut client = UnixStream::connect(world.socket())?;
    let mut sender = client.try_clone()?;
    let sent = thread::spawn(move || sender.write_all(changes.as_bytes()));
    let mut answers = String::new();
    client.read_to_string(&mut answers)?;
    sent.join().map_err(|_| anyhow!("the sender panicked"))??;
    let count = answers.matches("HTTP/1.1 200 ").count();
    ensure!(count == 3001, "{count} changes were made");
    Ok(())
}

fn permissions(world: &World) -> Result<String> {
    fs::set_permissions(world.folder.path(), Permissions::from_mode(0o755))?;
    let access = |path: &Path| {
        let metadata = fs::metadata(path)?;
        anyhow::Ok((metadata.gid(), metadata.permissions().mode() & 0o777))
    };
    let (socket, read_only) = (world.socket(), world.read_only());
    ensure!(access(&socket)?.1 == 0o600);
    ensure!(access(&read_only)? == (GROUP, 0o660));

    let group = GROUP.to_string();
    let may = |groups: &[&str], socket: &Path, ask: &[&str]| -> Result<Option<String>> {
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534"])
            .args(groups)
            .args(["curl", "-s", "-w", " %{http_code}", "--unix-socket"])
            .arg(socket)
            .args(ask)
            .output()?;
        let answer = String::from_utf8(output.stdout)?;
        Ok(output.status.success().then_some(answer))
    };
    let (nobody, member) = (["--clear-groups"], ["--groups", &group]);
    let show = ["http://l/v1/system"];
    for (groups, socket) in [
        (nobody.as_slice(), &socket),
        (nobody.as_slice(), &read_only),
        (member.as_slice(), &socket),
    ] {
        let answer = may(groups, socket, &show)?;
        ensure!(
            answer.is_none(),
            "{groups:?} {}: {answer:?}",
            socket.display()
        );
    }
    for (ask, status) in [
        (show.as_slice(), "200"),
        (&["http://l/v1/config/users"], "200"),
        (&["http://l/v1/config/file"], "403"),
        (&["-X", "DELETE", "http://l/v1/config/users/bob"], "403"),
        (&["-X", "POST", "http://l/v1/config/reload"], "403"),
    ] {
        let answer = may(&member, &read_only, ask)?.context("it does not connect")?;
        ensure!(answer.ends_with(status), "{ask:?}: {answer}");
        ensure!(!answer.contains("s3cret"), "{answer}");
    }
    Ok(String::new())
}
