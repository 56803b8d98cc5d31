//! `l2tpconfig` as a user has it before him: its prompt in a terminal, its exit statuses, its completions in shells, and the manual pages.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use interop::Suite;
use interop::netns::Namespace;
use interop::ours::Ours;
use interop::terminal::Terminal;
use serde_json::Value;
use tempfile::TempDir;

/// What the daemon of every case has.
const CONFIGURATION: &str = "\
tunnel profile create profile_name=branch\n\
tunnel profile create profile_name=\"two words\"\n\
tunnel create tunnel_name=headquarters persist=yes dest_ipaddr=192.0.2.1\n\
session create tunnel_name=headquarters session_name=first-session user_name=somebody@example.com interface_name=ppp17\n\
tunnel create tunnel_name=warehouse persist=yes dest_ipaddr=2001:db8::1234:5678\n";

/// The user's side of l2tpconfig. Needs root.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    suite: Suite,
    /// The folder of the project, whose manual pages are checked.
    #[arg(long, default_value = ".")]
    project: PathBuf,
}

/// One case; what it returns is its remark in the report.
type Case = fn(&World) -> Result<String>;

const CASES: &[(&str, Case)] = &[
    (
        "TAB completes words, parameters, values and names",
        completion,
    ),
    ("a question mark helps and leaves the line", help),
    ("the history is kept for the next time", history),
    (
        "the history is where the environment says, or nowhere",
        history_environment,
    ),
    ("Ctrl-C clears the line, Ctrl-D ends", control),
    ("what is typed ahead is carried out", type_ahead),
    ("semicolons separate and a number sign comments", separators),
    ("tables fit a narrow window", tables),
    ("exit statuses", statuses),
    ("shells take the completions", shells),
    ("bash, zsh and fish complete", completed),
    ("mandoc has nothing to say of the manual pages", manual),
];

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let mut report = options.suite.report();
    let world = World::new(options.suite.programs()?, options.project)?;
    for (name, case) in CASES {
        report.case(name, || case(&world));
    }
    Ok(report.conclude())
}

/// A daemon, which all cases ask, and a folder for files.
struct World {
    daemon: Ours,
    folder: TempDir,
    programs: PathBuf,
    project: PathBuf,
    // Behind the daemon, which is ended before.
    _namespace: Namespace,
}

impl World {
    fn new(programs: PathBuf, project: PathBuf) -> Result<Self> {
        let namespace = Namespace::new("prompt")?;
        let folder = tempfile::tempdir()?;
        let daemon = Ours::start(&programs, &namespace, folder.path(), "a", CONFIGURATION)?;
        Ok(Self {
            daemon,
            folder,
            programs,
            project,
            _namespace: namespace,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A terminal with the prompt in it, which keeps no history.
    fn prompt(&self) -> Result<Terminal> {
        self.prompt_with(&[("L2TP_HISTFILE", "")], 100)
    }

    fn prompt_with(&self, variables: &[(&str, &str)], columns: u16) -> Result<Terminal> {
        let mut command = self.daemon.l2tpconfig(&[]);
        command.envs(variables.iter().copied());
        let terminal = Terminal::start(&command, columns)?;
        terminal.line("l2tp>")?;
        Ok(terminal)
    }

    /// The names of the tunnel profiles.
    fn profiles(&self) -> Result<Vec<String>> {
        let all = self.daemon.query(&["tunnel", "profile", "list"])?;
        let all = all.as_array().context("no list")?;
        let name = |profile: &Value| profile["profile_name"].as_str().map(str::to_owned);
        Ok(all.iter().filter_map(name).collect())
    }
}

/// Enters a command and waits for the next prompt.
fn carried_out(terminal: &Terminal, command: &str) -> Result<()> {
    let prompts = |screen: &str| {
        screen
            .lines()
            .filter(|line| line.starts_with("l2tp>"))
            .count()
    };
    let before = prompts(&terminal.screen()?);
    terminal.enter(command)?;
    let is_done = |screen: &str| prompts(screen) > before && screen.ends_with("l2tp>");
    terminal.until("the next prompt", is_done).map(drop)
}

fn completion(world: &World) -> Result<String> {
    let terminal = world.prompt()?;
    for (typed, line) in [
        ("tun", "l2tp> tunnel"),
        (" cr", "l2tp> tunnel create"),
        (" dest_ip", "l2tp> tunnel create dest_ipaddr="),
        ("x hid", "l2tp> tunnel create dest_ipaddr=x hide_avps="),
        ("y", "l2tp> tunnel create dest_ipaddr=x hide_avps=yes"),
        (
            " auth_mode=ch",
            "l2tp> tunnel create dest_ipaddr=x hide_avps=yes auth_mode=challenge",
        ),
    ] {
        // What was completed has a blank behind it already, where one belongs.
        terminal.write(typed.trim_start())?;
        terminal.press("Tab")?;
        terminal.line(line)?;
    }
    for (typed, line) in [
        (
            "tunnel show tunnel_name=w",
            "l2tp> tunnel show tunnel_name=warehouse",
        ),
        (
            "session show tunnel_name=headquarters session_name=f",
            "l2tp> session show tunnel_name=headquarters session_name=first-session",
        ),
        (
            "tunnel profile show profile_name=tw",
            "l2tp> tunnel profile show profile_name=\"two words\"",
        ),
        ("TUN PROF SH PROF", "l2tp> TUN PROF SH profile_name="),
        (
            "user list; tunnel profile delete profile_name=b",
            "l2tp> user list; tunnel profile delete profile_name=branch",
        ),
    ] {
        terminal.press("C-u")?;
        terminal.write(typed)?;
        terminal.press("Tab")?;
        terminal.line(line)?;
    }
    for (typed, all) in [
        ("se", &["server", "session"] as &[_]),
        (
            "tunnel profile modify auth_mode=",
            &["challenge", "none", "simple"],
        ),
        ("tunnel show tunnel_name=", &["headquarters", "warehouse"]),
        (
            "session create tunnel_name=",
            &["headquarters", "warehouse"],
        ),
    ] {
        terminal.press("C-u")?;
        terminal.clear()?;
        terminal.write(typed)?;
        terminal.press("Tab")?;
        terminal.press("Tab")?;
        terminal.until(&all.join(", "), |screen| {
            let choice = screen.lines().filter(|line| !line.starts_with("l2tp>"));
            let mut words: Vec<_> = choice.flat_map(str::split_whitespace).collect();
            words.sort_unstable();
            words == all
        })?;
    }
    Ok(String::new())
}

fn help(world: &World) -> Result<String> {
    let terminal = world.prompt()?;
    terminal.write("tunnel ?")?;
    let screen = terminal.line("l2tp> tunnel")?;
    for word in ["create", "delete", "modify", "show", "list", "profile"] {
        ensure!(
            screen
                .lines()
                .any(|line| line.trim_start().starts_with(word)),
            "no {word}: {screen}"
        );
    }
    // It goes on from there.
    terminal.write("create dest_ipaddr=x mtu=?")?;
    let screen = terminal.line("l2tp> tunnel create dest_ipaddr=x mtu=")?;
    ensure!(screen.contains("\n  mtu "), "{screen}");
    terminal.press("C-u")?;
    terminal.write("tunnel show tunnel_name=?")?;
    terminal.line("l2tp> tunnel show tunnel_name=")?;
    terminal.shows("\n  warehouse")?;
    terminal.press("C-u")?;
    // Before what is typed already.
    terminal.write("tunnel list")?;
    terminal.press("M-b")?;
    terminal.write("?")?;
    terminal.line("l2tp> tunnel list")?;
    terminal.press("C-e")?;
    terminal.write(" ?")?;
    terminal.shows("local_only")?;
    terminal.press("C-u")?;
    // Within quotes it is what it is.
    terminal.write("tunnel profile create profile_name=\"who?\"")?;
    terminal.line("l2tp> tunnel profile create profile_name=\"who?\"")?;
    Ok(String::new())
}

fn history(world: &World) -> Result<String> {
    let home = world.folder.path().to_string_lossy();
    let run = || world.prompt_with(&[("HOME", &home)], 100);
    let first = run()?;
    for line in [
        "system show version",
        "user create user_name=u password=s3cr3t",
        "nonsense",
    ] {
        carried_out(&first, line)?;
    }
    first.press("C-d")?;
    ensure!(first.ended()? == 0);
    let file = world.file(".l2tp_history");
    let kept = fs::read_to_string(&file)?;
    ensure!(!kept.contains("s3cr3t"), "a password is kept: {kept}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file)?.permissions());
    ensure!(mode & 0o077 == 0, "others may read it: {mode:o}");

    let second = run()?;
    second.press("Up")?;
    second.line("l2tp> nonsense")?;
    second.press("Up")?;
    second.line("l2tp> system show version")?;
    second.press("C-r")?;
    second.write("nons")?;
    second.shows("nonsense")?;
    Ok(String::new())
}

fn history_environment(world: &World) -> Result<String> {
    let home = world.file("home");
    fs::create_dir(&home)?;
    let home = home.to_string_lossy().into_owned();
    let file = world.file("elsewhere");
    let elsewhere = file.to_string_lossy().into_owned();
    let commands = ["help a", "help b", "help c", "help d"];
    let run = |variables: &[(&str, &str)]| {
        let variables = [&[("HOME", home.as_str())], variables].concat();
        let terminal = world.prompt_with(&variables, 100)?;
        for command in commands {
            terminal.enter(command)?;
            terminal.shows(&format!("l2tp> {command}"))?;
        }
        terminal.enter("exit")?;
        ensure!(terminal.ended()? == 0);
        Ok(())
    };
    run(&[("L2TP_HISTFILE", "")])?;
    ensure!(
        fs::read_dir(&home)?.next().is_none(),
        "a history is kept that nobody wants"
    );
    run(&[("L2TP_HISTFILE", &elsewhere), ("L2TP_HISTFILESIZE", "3")])?;
    ensure!(
        fs::read_dir(&home)?.next().is_none(),
        "the history is not where it should be"
    );
    let kept = fs::read_to_string(&file)?;
    let kept: Vec<_> = kept.lines().filter(|line| !line.starts_with('#')).collect();
    ensure!(kept == ["help c", "help d", "exit"], "{kept:?}");
    Ok(String::new())
}

fn control(world: &World) -> Result<String> {
    let terminal = world.prompt()?;
    terminal.write("tunnel profile create profile_name=unwanted")?;
    terminal.line("l2tp> tunnel profile create profile_name=unwanted")?;
    terminal.press("C-c")?;
    terminal.line("l2tp>")?;
    // What follows stands alone.
    terminal.enter("system show version")?;
    terminal.shows("openl2tpd ")?;
    ensure!(!world.profiles()?.contains(&"unwanted".to_owned()));
    // A command that goes on for ever ends, the prompt does not.
    terminal.enter("monitor")?;
    terminal.until("the command's line", |screen| {
        screen.ends_with("l2tp> monitor")
    })?;
    world
        .daemon
        .query(&["tunnel", "profile", "create", "profile_name=seen"])?;
    terminal.shows("seen")?;
    terminal.press("C-c")?;
    terminal.line("l2tp>")?;
    terminal.write("x")?;
    terminal.press("C-d")?;
    terminal.line("l2tp> x")?;
    terminal.press("C-c")?;
    terminal.line("l2tp>")?;
    terminal.press("C-d")?;
    ensure!(terminal.ended()? == 0);
    Ok(String::new())
}

fn type_ahead(world: &World) -> Result<String> {
    let terminal = world.prompt()?;
    let fifo = world.file("slow");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )?;
    let create = |name: &str| format!("tunnel profile create profile_name={name}\n");
    let wanted: Vec<_> = (1..=20).map(|number| format!("ahead-{number}")).collect();
    let pasted: String = wanted[..10].iter().map(|name| create(name)).collect();
    terminal.paste(
        &format!("config restore file={}\n{pasted}", fifo.display()),
        false,
    )?;
    // Opens when the command has begun; it lasts until this is closed.
    let mut slow = fs::File::options().write(true).open(&fifo)?;
    for name in &wanted[10..19] {
        terminal.enter(create(name).trim_end())?;
    }
    slow.write_all(create("slow").as_bytes())?;
    drop(slow);
    // Pasted as modern terminals do, and ended by hand.
    terminal.shows("Created tunnel profile ahead-19")?;
    terminal.line("l2tp>")?;
    terminal.paste(
        &format!("{}{}", create("marked"), create(&wanted[19])),
        true,
    )?;
    terminal.press("Enter")?;
    terminal.shows("Created tunnel profile ahead-20")?;
    terminal.line("l2tp>")?;
    let profiles = world.profiles()?;
    for name in wanted.iter().map(String::as_str).chain(["slow", "marked"]) {
        ensure!(
            profiles.iter().any(|profile| profile == name),
            "{name} is lost: {}",
            terminal.screen()?
        );
    }
    Ok(format!("{} lines", wanted.len() + 2))
}

fn separators(world: &World) -> Result<String> {
    let terminal = world.prompt()?;
    terminal.enter("tunnel profile create profile_name=one; tunnel profile create profile_name=\"a;b#c\" # ; nonsense")?;
    terminal.shows("Created tunnel profile one\nCreated tunnel profile a;b#c\nl2tp>")?;
    terminal.clear()?;
    terminal.enter("# nothing; nonsense")?;
    terminal.until("a new prompt and nothing else", |screen| {
        screen == "l2tp> # nothing; nonsense\nl2tp>"
    })?;
    // The first that fails ends the line, not the prompt.
    terminal
        .enter("tunnel profile delete profile_name=none; tunnel profile delete profile_name=one")?;
    terminal.until("a refusal", |screen| {
        screen.contains("l2tpconfig: ") && screen.ends_with("l2tp>")
    })?;
    ensure!(world.profiles()?.contains(&"one".to_owned()));
    Ok(String::new())
}

fn tables(world: &World) -> Result<String> {
    world.daemon.query(&[
        "peer",
        "profile",
        "create",
        "profile_name=a-peer-with-a-long-name",
        "peer_ipaddr=192.0.2.200",
    ])?;
    for columns in [60, 100] {
        let terminal = world.prompt_with(&[("L2TP_HISTFILE", "")], columns)?;
        for (command, shown) in [
            (
                "tunnel list",
                &["headquarters", "[2001:db8::1234:5678]:1701"] as &[_],
            ),
            ("session list", &["first-session", "somebody@example.com"]),
            ("peer profile list", &["a-peer-with-a-long-name"]),
            ("tunnel show tunnel_name=headquarters", &["headquarters"]),
            ("system show", &["running for"]),
        ] {
            carried_out(&terminal, command)?;
            let wrapped = terminal.joined()?;
            let whole = terminal.screen()?;
            ensure!(
                shown.iter().all(|word| whole.contains(word)),
                "{columns} columns: {command}:\n{whole}"
            );
            ensure!(
                wrapped == whole,
                "{columns} columns: {command} wraps:\n{whole}"
            );
            terminal.clear()?;
        }
    }
    Ok(String::new())
}

fn statuses(world: &World) -> Result<String> {
    let nowhere = world.file("nowhere.socket");
    let nowhere = nowhere.to_string_lossy();
    let nobody = format!("--socket {nowhere} tunnel list");
    let dead = world.file("dead.socket");
    drop(std::os::unix::net::UnixListener::bind(&dead)?);
    let deserted = format!("--socket {} tunnel list", dead.display());
    for (words, expected, said) in [
        ("tunnel list", 0, ""),
        ("user create user_name=once password=x", 0, "Created"),
        ("user create user_name=once password=x", 1, "once"),
        ("tunnel profile delete profile_name=default", 1, "default"),
        ("-R host tunnel list", 2, "host"),
        ("tunnel frobnicate", 2, "frobnicate"),
        ("tunnel create dest_ipaddr=192.0.2.9 mtu=1", 2, "mtu"),
        (
            "tunnel create dest_ipaddr=192.0.2.9 profile_name=none",
            3,
            "none",
        ),
        ("tunnel show tunnel_name=none", 3, "none"),
        ("tunnel delete tunnel_id=65535", 3, "65535"),
        (
            "session show tunnel_name=headquarters session_name=none",
            3,
            "none",
        ),
        ("peer profile show profile_name=none", 3, "none"),
        ("config restore file=/nonexistent", 3, "/nonexistent"),
        (&nobody, 4, "no daemon at"),
        (&deserted, 4, "no daemon at"),
    ] {
        let words: Vec<_> = words.split(' ').collect();
        let output = world.daemon.l2tpconfig(&[]).args(&words).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let words = words.join(" ");
        ensure!(
            output.status.code() == Some(expected),
            "{words}: {}: {stderr}",
            output.status
        );
        ensure!(stderr.contains(said), "{words}: {stderr}");
    }
    Ok(String::new())
}

/// What `l2tpconfig completions` prints, in a file.
fn script(world: &World, shell: &str) -> Result<PathBuf> {
    let output = world.daemon.l2tpconfig(&["completions", shell]).output()?;
    ensure!(output.status.success(), "no completions for {shell}");
    let file = world.file(&format!("completions.{shell}"));
    fs::write(&file, output.stdout)?;
    Ok(file)
}

fn shells(world: &World) -> Result<String> {
    for shell in ["bash", "zsh", "fish"] {
        let file = script(world, shell)?;
        quiet(Command::new(shell).arg("-n").arg(&file))?;
    }
    Ok(String::new())
}

/// A command that succeeds and says nothing.
fn quiet(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        output.status.success() && said.is_empty(),
        "{}: {said}",
        output.status
    );
    Ok(())
}

fn completed(world: &World) -> Result<String> {
    for (shell, arguments, begin) in [
        (
            "bash",
            &["--norc", "--noprofile"] as &[_],
            "PS1='ready> '; source FILE",
        ),
        (
            "zsh",
            &["-f"],
            "PS1='ready> '; autoload -Uz compinit; compinit -D -u; source FILE",
        ),
        (
            "fish",
            &["--no-config"],
            "function fish_prompt; echo -n 'ready> '; end; set -g fish_autosuggestion_enabled 0; source FILE",
        ),
    ] {
        in_shell(world, shell, arguments, begin).with_context(|| shell.to_owned())?;
    }
    Ok(String::new())
}

fn in_shell(world: &World, shell: &str, arguments: &[&str], begin: &str) -> Result<()> {
    let path = std::env::var("PATH")?;
    let path = format!("{}:{path}", world.programs.display());
    let mut command = Command::new(shell);
    command
        .args(arguments)
        .env("PATH", path)
        .env("HOME", world.folder.path());
    let terminal = Terminal::start(&command, 200)?;
    let file = script(world, shell)?;
    terminal.enter(&begin.replace("FILE", &file.to_string_lossy()))?;
    terminal.line("ready>")?;
    let socket = world.file("a.socket");
    for (typed, line) in [
        (
            "l2tpconfig tun".to_owned(),
            "ready> l2tpconfig tunnel".to_owned(),
        ),
        (
            "l2tpconfig tunnel cr".to_owned(),
            "ready> l2tpconfig tunnel create".to_owned(),
        ),
        (
            "l2tpconfig tunnel create dest_ip".to_owned(),
            "ready> l2tpconfig tunnel create dest_ipaddr=".to_owned(),
        ),
        (
            "l2tpconfig tunnel create auth_mode=ch".to_owned(),
            "ready> l2tpconfig tunnel create auth_mode=challenge".to_owned(),
        ),
        (
            format!(
                "l2tpconfig --json --socket {} tunnel show tunnel_name=w",
                socket.display()
            ),
            format!(
                "ready> l2tpconfig --json --socket {} tunnel show tunnel_name=warehouse",
                socket.display()
            ),
        ),
    ] {
        terminal.press("C-u")?;
        terminal.write(&typed)?;
        terminal.press("Tab")?;
        terminal.line(&line)?;
    }
    terminal.press("C-u")?;
    terminal.write(&format!(
        "l2tpconfig --socket={} tunnel show tunnel_name=",
        socket.display()
    ))?;
    terminal.press("Tab")?;
    terminal.press("Tab")?;
    terminal.shows("headquarters")?;
    terminal.shows("warehouse")?;
    Ok(())
}

fn manual(world: &World) -> Result<String> {
    let folder = world.project.join("docs/man");
    let mut pages: Vec<_> = fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    pages.sort();
    ensure!(pages.len() >= 3, "only {pages:?}");
    quiet(
        Command::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .args(&pages),
    )?;
    Ok(format!("{} pages", pages.len()))
}
