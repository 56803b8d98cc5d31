//! Every command with every parameter, typed as a user would, against a daemon: it does what it says, and refuses what it does not take.
//!
//! What there is comes from the declaration, so that a new parameter is tried without being named here; what is not declared, such as
//! `config save`, is written out, and the program's help says whether anything is missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Output};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use config::{Kind, Object, Parameter, Role, Verb};
use interop::netns::Namespace;
use interop::ours::Ours;
use interop::report::Report;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Exit statuses of `l2tpconfig`.
const REFUSED: i32 = 1;
const NOT_UNDERSTOOD: i32 = 2;
const NOT_FOUND: i32 = 3;

/// What secrets are shown as.
const MASK: &str = "********";

/// The name of an object of each class that parameters name.
const THERE: &str = "it is there";

/// An address where nobody answers.
const NOBODY: &str = "192.0.2.9";

/// Every command. Needs root.
#[derive(Debug, Parser)]
struct Options {
    /// Run only the cases whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// Where openl2tpd and l2tpconfig are; by default beside this program.
    #[arg(long)]
    programs: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let programs = interop::programs(options.programs)?;
    let mut report = Report::new(options.only);
    let world = World::new(&programs)?;
    report.case("every command that help names is tried here", || {
        named(&world)
    });
    for &object in Object::ALL {
        report.case(&format!("{object}"), || {
            let tried = match object {
                Object::System => system(&world),
                Object::Tunnel => tunnel(&world),
                Object::Session => session(&world),
                _ => kept(&world, object),
            };
            let tried = tried.with_context(|| world.daemon_log())?;
            Ok(format!("{tried} commands"))
        });
    }
    for (name, case) in FIXED {
        report.case(name, || case(&world).map(|()| String::new()));
    }
    report.case("what one daemon saves another restores", || {
        restored(&world)
    });
    Ok(report.conclude())
}

type Case = fn(&World) -> Result<()>;

/// The commands that are no object's, by the words that help has.
const FIXED: &[(&str, Case)] = &[
    ("tunnel trace", trace),
    ("peer show", peer_show),
    ("peer list", peer_list),
    ("debug modify", debug),
    ("debug show", debug),
    ("config save", save),
    ("config restore", restore),
    ("config reload", reload),
    ("server show", server),
    ("server modify", server),
    ("monitor", monitor),
    ("completions", completions),
    ("help", help),
    ("exit", leave),
    ("quit", leave),
];

/// A daemon, and files.
struct World {
    // Kept for the daemon.
    _namespace: Namespace,
    folder: TempDir,
    programs: PathBuf,
    daemon: Ours,
}

impl World {
    fn new(programs: &Path) -> Result<Self> {
        let namespace = Namespace::new("catalogue")?;
        let folder = tempfile::tempdir()?;
        let daemon = start(programs, &namespace, folder.path(), "first", 17010)?;
        let world = Self {
            _namespace: namespace,
            folder,
            programs: programs.to_owned(),
            daemon,
        };
        // What the names in parameters are of.
        for profile in ["peer", "tunnel", "session", "ppp"] {
            let create = Words::of(profile).and("profile").and("create");
            world.works(&create.and(format!("profile_name={THERE}")))?;
        }
        let pool = Words::of("ip_pool create range=10.8.0.1-10.8.0.9");
        world.works(&pool.and(format!("pool_name={THERE}")))?;
        let listener = Words::of("listener create ipaddr=127.0.0.4 udp_port=17040");
        world.works(&listener.and(format!("listener_name={THERE}")))?;
        Ok(world)
    }

    fn daemon_log(&self) -> String {
        let log = interop::Side::log(&self.daemon);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Types a command, its words as a shell hands them over.
    fn typed(&self, command: &Words) -> Result<Output> {
        let words: Vec<&str> = command.0.iter().map(String::as_str).collect();
        self.daemon
            .l2tpconfig(&words)
            .output()
            .context("cannot run l2tpconfig")
    }

    /// Types a command that is to work; what it prints.
    fn works(&self, command: &Words) -> Result<String> {
        let output = self.typed(command)?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{command}: {}: {complaint}",
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Types a command that is to be refused with this exit status and this in its message.
    fn refuses(&self, command: &Words, status: i32, because: &str) -> Result<()> {
        let output = self.typed(command)?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(status) && complaint.contains(because),
            "{command}: {status} and `{because}` were due, it was {}: {complaint}",
            output.status
        );
        Ok(())
    }

    /// What a command answers as JSON.
    fn answers(&self, command: &Words) -> Result<Value> {
        let text = self.works(&command.clone().before("--json"))?;
        serde_json::from_str(&text).with_context(|| format!("{command}: {text}"))
    }
}

fn start(
    programs: &Path,
    namespace: &Namespace,
    folder: &Path,
    name: &str,
    port: u16,
) -> Result<Ours> {
    // With this in its file it keeps what it takes to open others of the kind.
    let elsewhere =
        "listener create listener_name=elsewhere netns=/proc/self/ns/net ipaddr=127.0.0.6\n";
    let mut command = Ours::command(programs, folder, name, elsewhere)?;
    command.args(["--datapath", "null", "-u", &port.to_string()]);
    let daemon = Ours::run(command, programs, namespace, folder, name)?;
    fs::write(folder.join(format!("{name}.conf")), "")?;
    daemon.query(&["listener", "delete", "listener_name=elsewhere"])?;
    Ok(daemon)
}

/// The words of a command.
#[derive(Clone)]
struct Words(Vec<String>);

impl Words {
    fn of(text: &str) -> Self {
        Self(text.split(' ').map(str::to_owned).collect())
    }

    /// One more, as it is.
    fn and(mut self, word: impl Into<String>) -> Self {
        self.0.push(word.into());
        self
    }

    fn before(mut self, word: &str) -> Self {
        self.0.insert(0, word.to_owned());
        self
    }

    fn all(self, words: &[&str]) -> Self {
        words.iter().fold(self, |command, word| command.and(*word))
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`", self.0.join(" "))
    }
}

/// Values that a parameter takes, and how they are shown; the first is no default.
fn values(parameter: &Parameter) -> Vec<(String, Value)> {
    let same = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| ((*text).to_owned(), json!(text)))
            .collect::<Vec<_>>()
    };
    match (parameter.name, parameter.kind) {
        // No number is left of those that are given by themselves.
        ("config_id", _) => vec![("77".to_owned(), json!(77))],
        ("udp_port", _) => vec![
            ("1".to_owned(), json!(1)),
            ("0xffff".to_owned(), json!(65_535)),
        ],
        ("netns", _) => same(&["/proc/self/ns/net"]),
        (_, Kind::Number) => {
            let (least, most) = parameter.range.unwrap_or((0, u64::from(u32::MAX)));
            let hexadecimal = (format!("{most:#x}"), json!(most));
            vec![(least.to_string(), json!(least)), hexadecimal]
        }
        (_, Kind::Boolean) => vec![
            ("yes".to_owned(), json!(true)),
            ("off".to_owned(), json!(false)),
        ],
        (_, Kind::Text) => same(&["some name", "Zürich \"7\""]),
        (_, Kind::Name(_)) => same(&[THERE]),
        (_, Kind::Secret) => vec![("a b\"c".to_owned(), json!(MASK))],
        (_, Kind::SecretOctets) => vec![("0x4142".to_owned(), json!(MASK))],
        (_, Kind::Octets) => vec![
            ("0x4142".to_owned(), json!("4142")),
            ("00ff".to_owned(), json!("00ff")),
        ],
        (_, Kind::Choice(words)) => same(words),
        (_, Kind::Flags(flags)) => {
            let names: Vec<_> = flags.iter().map(|(name, _)| *name).collect();
            vec![
                ("transport,protocol".to_owned(), json!("protocol,transport")),
                ("0x2".to_owned(), json!("fsm")),
                ("all".to_owned(), json!(names.join(","))),
            ]
        }
        ("ipaddr", _) => same(&["127.0.0.3", "::1"]),
        (_, Kind::Address) => same(&["127.0.0.3", "2001:db8::3"]),
        (_, Kind::Ipv4Address) => same(&["10.1.2.3"]),
        (_, Kind::Host) => same(&["192.0.2.8", "lns.example.net"]),
        (_, Kind::Netmask) => vec![
            ("255.255.0.0".to_owned(), json!("16")),
            ("24".to_owned(), json!("24")),
        ],
        (_, Kind::AddressRange) => same(&["10.9.0.1-10.9.0.200"]),
        (_, Kind::Speed) => vec![
            ("2000:3000".to_owned(), json!("2000:3000")),
            ("64000".to_owned(), json!("64000")),
        ],
        (_, Kind::Device) => same(&["lo"]),
    }
}

/// A value that a parameter does not take.
fn wrong(parameter: &Parameter) -> String {
    match (parameter.kind, parameter.range) {
        (Kind::Text | Kind::Secret | Kind::Name(_), _) => "two\tcolumns".to_owned(),
        (Kind::Device, _) => "a/b".to_owned(),
        (Kind::Host, _) => "a b".to_owned(),
        (Kind::Number, Some((_, most))) => (u128::from(most) + 1).to_string(),
        _ => "no-such-value".to_owned(),
    }
}

fn set(parameter: &Parameter, value: &str) -> String {
    format!("{}={value}", parameter.name)
}

/// Whether a parameter is one to try values of, beside those that name its object.
fn is_tried(parameter: &Parameter) -> bool {
    matches!(parameter.role, Role::Create | Role::Modify | Role::Required)
}

/// What a parameter needs beside itself.
fn companion(name: &str) -> &'static [&'static str] {
    match name {
        "hide_avps" | "auth_mode" => &["secret=s"],
        _ => &[],
    }
}

fn shows(shown: &Value, parameter: &Parameter, expected: &Value) -> Result<()> {
    let is = &shown[parameter.name];
    ensure!(
        is == expected,
        "{} is shown as {is} where {expected} was given",
        parameter.name
    );
    Ok(())
}

fn system(world: &World) -> Result<usize> {
    let mut tried = 0;
    let show = || world.answers(&Words::of("system show configuration"));
    let before = show()?;
    let modify = || Words::of("system modify");
    for parameter in Object::System.parameters() {
        let name = parameter.name;
        match parameter.role {
            Role::ReadOnly => {
                world.refuses(&modify().and(format!("{name}=1")), NOT_UNDERSTOOD, name)?;
            }
            Role::Action => {
                world.works(&modify().and(format!("{name}=yes")))?;
            }
            _ => {
                for (value, shown) in values(parameter) {
                    world.works(&modify().and(set(parameter, &value)))?;
                    shows(&show()?, parameter, &shown)?;
                    tried += 2;
                }
                let refused = modify().and(set(parameter, &wrong(parameter)));
                world.refuses(&refused, NOT_UNDERSTOOD, name)?;
                world.works(&Words::of("system unset").and(name))?;
                shows(&show()?, parameter, &before[name])?;
                tried += 3;
            }
        }
        tried += 1;
    }
    for part in Object::System.flags(Verb::Show) {
        let text = world.works(&Words::of("system show").and(*part))?;
        ensure!(!text.trim().is_empty(), "system show {part} prints nothing");
        tried += 1;
    }
    world.refuses(
        &Words::of("system show nonsense"),
        NOT_UNDERSTOOD,
        "nonsense",
    )?;
    world.refuses(&Words::of("system create"), NOT_UNDERSTOOD, "create")?;
    Ok(tried + 2)
}

/// Objects that are only kept: profiles, users, pools, listeners.
fn kept(world: &World, object: Object) -> Result<usize> {
    let mut tried = 0;
    let key = object.key().context("it has no key")?;
    let verb = |verb: Verb| Words::of(&format!("{object} {verb}"));
    let has = |verb: Verb| object.verbs().contains(&verb);
    let name = |name: &str| format!("{}={name}", key.name);
    let required: Vec<String> = object
        .parameters()
        .iter()
        .filter(|p| p.role == Role::Required)
        .filter_map(|p| Some(set(p, &values(p).first()?.0)))
        .collect();
    let mut required: Vec<&str> = required.iter().map(String::as_str).collect();
    if object == Object::Listener {
        required.extend(["ipaddr=127.0.0.5", "udp_port=17055"]);
    }
    let show = |of: &str| match has(Verb::Show) {
        true => world.answers(&verb(Verb::Show).and(name(of))),
        false => saved(world, object, of),
    };

    world.works(&verb(Verb::Create).and(name("a name")).all(&required))?;
    let again = verb(Verb::Create).and(name("a name")).all(&required);
    world.refuses(&again, REFUSED, "already")?;
    tried += 2;
    if has(Verb::List) && object != Object::User {
        let list = world.works(&verb(Verb::List))?;
        ensure!(list.contains("a name"), "{object} list: {list}");
        tried += 1;
    }
    let default = show("a name")?;
    for parameter in object.parameters().iter().filter(|p| is_tried(p)) {
        for (value, shown) in values(parameter) {
            if has(Verb::Modify) {
                let modify = verb(Verb::Modify)
                    .and(name("a name"))
                    .and(set(parameter, &value))
                    .all(companion(parameter.name));
                world.works(&modify)?;
                shows(&show("a name")?, parameter, &shown)?;
            }
            let other = required
                .iter()
                .copied()
                .filter(|r| !r.starts_with(&format!("{}=", parameter.name)));
            // No two listeners have the same port.
            let elsewhere = |needed: &str| needed == "udp_port=17055";
            let other = other.map(|needed| {
                if elsewhere(needed) {
                    "udp_port=17056"
                } else {
                    needed
                }
            });
            let other: Vec<&str> = other.collect();
            let create = verb(Verb::Create)
                .and(name("other"))
                .and(set(parameter, &value))
                .all(companion(parameter.name))
                .all(&other);
            world.works(&create)?;
            shows(&show("other")?, parameter, &shown)?;
            world.works(&verb(Verb::Delete).and(name("other")))?;
            tried += 5;
        }
        let change = if has(Verb::Modify) {
            Verb::Modify
        } else {
            Verb::Create
        };
        let refused = verb(change)
            .and(name("a name"))
            .and(set(parameter, &wrong(parameter)));
        world.refuses(&refused, NOT_UNDERSTOOD, parameter.name)?;
        tried += 1;
        if has(Verb::Unset) {
            world.works(&verb(Verb::Unset).and(name("a name")).and(parameter.name))?;
            let companions = companion(parameter.name)
                .iter()
                .filter_map(|c| c.split('=').next());
            for companion in companions {
                world.works(&verb(Verb::Unset).and(name("a name")).and(companion))?;
            }
            shows(&show("a name")?, parameter, &default[parameter.name])?;
            tried += 2;
        }
    }
    for verb_of_one in [Verb::Show, Verb::Modify, Verb::Delete] {
        if has(verb_of_one) {
            world.refuses(&verb(verb_of_one).and(name("nobody")), NOT_FOUND, "nobody")?;
            tried += 1;
        }
    }
    world.works(&verb(Verb::Delete).and(name("a name")))?;
    world.refuses(&verb(Verb::Delete).and(name("a name")), NOT_FOUND, "a name")?;
    if object.is_profile() {
        world.refuses(&verb(Verb::Delete).and(name("default")), REFUSED, "default")?;
        tried += 1;
    }
    Ok(tried + 2)
}

/// An object as `config save` has it, where no command shows it: each parameter's text, secrets masked as elsewhere.
fn saved(world: &World, object: Object, name: &str) -> Result<Value> {
    let text = world.works(&Words::of("config save"))?;
    let loaded = config::Model::load("saved", &text)
        .map_err(|errors| anyhow::anyhow!("config save printed what cannot be read: {errors:?}"))?;
    let shown = match object {
        Object::User => loaded
            .model
            .users
            .get(name)
            .map(config::Parameters::shown_json),
        _ => bail!("{object} is not looked up in what is saved"),
    };
    let shown = shown.with_context(|| format!("{object} {name} is not saved"))?;
    Ok(Value::Object(shown))
}

fn tunnel(world: &World) -> Result<usize> {
    let mut tried = 0;
    let show = |name: &str| {
        let mut shown =
            world.answers(&Words::of("tunnel show").and(format!("tunnel_name={name}")))?;
        Ok::<_, anyhow::Error>(shown["parameters"].take())
    };
    // One that can't be reached is forgotten, unless it persists.
    let create = |name: &str| {
        Words::of("tunnel create persist=yes")
            .and(format!("tunnel_name={name}"))
            .and(format!("dest_ipaddr={NOBODY}"))
    };
    let delete = |name: &str| Words::of("tunnel delete").and(format!("tunnel_name={name}"));
    let modify = || Words::of("tunnel modify tunnel_name=lives");
    world.works(&create("lives"))?;
    world.refuses(&create("lives"), REFUSED, "exists")?;
    world.refuses(
        &Words::of("tunnel create tunnel_name=nowhere"),
        REFUSED,
        "dest_ipaddr",
    )?;
    for parameter in Object::Tunnel.parameters().iter().filter(|p| is_tried(p)) {
        for (value, shown) in values(parameter) {
            let needed = companion(parameter.name);
            let with_it = create("made").and(set(parameter, &value)).all(needed);
            // An address that is not of this machine, and a port that the kernel may have given away.
            if matches!(
                (parameter.name, &*value),
                ("src_ipaddr", "2001:db8::3") | ("our_udp_port", "0xffff")
            ) {
                continue;
            }
            world.works(&with_it)?;
            shows(&show("made")?, parameter, &shown).with_context(|| with_it.to_string())?;
            world.works(&delete("made"))?;
            tried += 3;
            let change = modify().and(set(parameter, &value));
            if parameter.role == Role::Modify {
                world.works(&change)?;
                shows(&show("lives")?, parameter, &shown).with_context(|| change.to_string())?;
                tried += 2;
            } else {
                world.refuses(&change, NOT_UNDERSTOOD, parameter.name)?;
                tried += 1;
            }
        }
        let refused = create("made").and(set(parameter, &wrong(parameter)));
        world.refuses(&refused, NOT_UNDERSTOOD, parameter.name)?;
        tried += 1;
    }
    let list = world.works(&Words::of("tunnel list"))?;
    ensure!(list.contains("lives"), "tunnel list: {list}");
    for part in Object::Tunnel.flags(Verb::List) {
        let list = world.works(&Words::of("tunnel list").and(*part))?;
        ensure!(
            list.contains("lives") == (*part != "remote_only"),
            "tunnel list {part}: {list}"
        );
    }
    for part in Object::Tunnel.flags(Verb::Show) {
        world.works(&Words::of("tunnel show tunnel_name=lives").and(*part))?;
    }
    let id = world.answers(&Words::of("tunnel show tunnel_name=lives"))?["tunnel_id"].clone();
    if id.is_u64() {
        let renamed = format!("tunnel_id={id}");
        world.works(
            &Words::of("tunnel modify")
                .and(&renamed)
                .and("tunnel_name=renamed"),
        )?;
        world.works(
            &Words::of("tunnel modify")
                .and(&renamed)
                .and("tunnel_name=lives"),
        )?;
    }
    for verb in ["show", "modify", "delete"] {
        let nobody = Words::of(&format!("tunnel {verb} tunnel_name=nobody"));
        world.refuses(&nobody, NOT_FOUND, "nobody")?;
    }
    world.works(&delete("lives"))?;
    world.refuses(&delete("lives"), NOT_FOUND, "lives")?;
    Ok(tried + 14)
}

fn session(world: &World) -> Result<usize> {
    let mut tried = 0;
    let of = |verb: &str, name: &str| {
        Words::of(&format!(
            "session {verb} tunnel_name=office session_name={name}"
        ))
    };
    let show = |name: &str| {
        let mut shown = world.answers(&of("show", name))?;
        Ok::<_, anyhow::Error>(shown["parameters"].take())
    };
    world.refuses(&of("create", "early"), NOT_FOUND, "office")?;
    world.works(
        &Words::of("tunnel create tunnel_name=office persist=yes")
            .and(format!("dest_ipaddr={NOBODY}")),
    )?;
    world.works(&of("create", "lives"))?;
    world.refuses(&of("create", "lives"), REFUSED, "exists")?;
    for parameter in Object::Session.parameters().iter().filter(|p| is_tried(p)) {
        for (value, shown) in values(parameter) {
            let with_it = of("create", "made").and(set(parameter, &value));
            if parameter.name == "session_type" && !matches!(&*value, "laic" | "lnoc") {
                world.refuses(&with_it, REFUSED, "is the peer's to place")?;
                continue;
            }
            world.works(&with_it)?;
            shows(&show("made")?, parameter, &shown).with_context(|| with_it.to_string())?;
            world.works(&of("delete", "made"))?;
            tried += 3;
            let change = of("modify", "lives").and(set(parameter, &value));
            match (parameter.role, parameter.name) {
                // Of a session that is up, and we are its LAC.
                (Role::Modify, "use_sequence_numbers") => {
                    world.refuses(&change, REFUSED, "not established")?;
                }
                (Role::Modify, _) => {
                    world.works(&change)?;
                    shows(&show("lives")?, parameter, &shown)
                        .with_context(|| change.to_string())?;
                }
                _ => world.refuses(&change, NOT_UNDERSTOOD, parameter.name)?,
            }
            tried += 1;
        }
        let refused = of("create", "made").and(set(parameter, &wrong(parameter)));
        world.refuses(&refused, NOT_UNDERSTOOD, parameter.name)?;
        tried += 1;
    }
    let list = world.works(&Words::of("session list tunnel_name=office"))?;
    ensure!(list.contains("lives"), "session list: {list}");
    for verb in ["show", "modify", "delete"] {
        world.refuses(&of(verb, "nobody"), NOT_FOUND, "nobody")?;
    }
    world.works(&of("delete", "lives"))?;
    world.refuses(&of("delete", "lives"), NOT_FOUND, "lives")?;
    world.works(&Words::of("tunnel delete tunnel_name=office"))?;
    Ok(tried + 9)
}

/// Help names no command that is not tried here.
fn named(world: &World) -> Result<String> {
    let mut tried: BTreeSet<String> = FIXED.iter().map(|(name, _)| (*name).to_owned()).collect();
    for object in Object::ALL {
        tried.extend(object.verbs().iter().map(|verb| format!("{object} {verb}")));
    }
    let help = world.works(&Words::of("help"))?;
    let mut named = BTreeSet::new();
    for line in help.lines().filter_map(|line| line.strip_prefix("  ")) {
        match line.split_once("  ") {
            Some((object, verbs)) if verbs.contains('|') => {
                let verbs = verbs.trim().split('|');
                named.extend(verbs.map(|verb| format!("{} {verb}", object.trim())));
            }
            None => named.extend(line.split(", ").map(str::to_owned)),
            _ => {}
        }
    }
    ensure!(named.len() > 40, "help is not understood here: {help}");
    let not_tried: Vec<_> = named.difference(&tried).collect();
    ensure!(not_tried.is_empty(), "not tried: {not_tried:?}");
    let not_named: Vec<_> = tried.difference(&named).collect();
    ensure!(not_named.is_empty(), "not in help: {not_named:?}");
    Ok(format!("{} commands", named.len()))
}

fn trace(world: &World) -> Result<()> {
    world.works(
        &Words::of("tunnel create tunnel_name=traced").and(format!("dest_ipaddr={NOBODY}")),
    )?;
    let ladder = world.works(&Words::of("tunnel trace tunnel_name=traced count=1"))?;
    ensure!(ladder.contains("SCCRQ"), "tunnel trace: {ladder}");
    world.works(&Words::of("tunnel delete tunnel_name=traced"))?;
    world.refuses(
        &Words::of("tunnel trace count=many"),
        NOT_UNDERSTOOD,
        "count",
    )
}

fn peer_show(world: &World) -> Result<()> {
    let nobody = Words::of("peer show peer_ipaddr=192.0.2.77 local_ipaddr=127.0.0.1");
    world.refuses(&nobody, NOT_FOUND, "192.0.2.77")?;
    let create = Words::of("tunnel create tunnel_name=known").and(format!("dest_ipaddr={NOBODY}"));
    world.works(&create)?;
    let peers = world.answers(&Words::of("peer list"))?;
    let peer = peers
        .as_array()
        .and_then(|peers| peers.iter().find(|peer| peer["peer_ipaddr"] == NOBODY));
    let local = peer.context("the peer is not listed")?["local_ipaddr"]
        .as_str()
        .unwrap_or_default();
    let show = Words::of("peer show")
        .and(format!("peer_ipaddr={NOBODY}"))
        .and(format!("local_ipaddr={local}"));
    let shown = world.answers(&show)?;
    ensure!(shown["tunnels"].as_u64() >= Some(1), "peer show: {shown}");
    world
        .works(&Words::of("tunnel delete tunnel_name=known"))
        .map(drop)
}

fn peer_list(world: &World) -> Result<()> {
    world.works(&Words::of("peer list"))?;
    world.refuses(&Words::of("peer list all"), NOT_UNDERSTOOD, "all")
}

fn debug(world: &World) -> Result<()> {
    world.works(&Words::of("debug modify app protocol=yes fsm=on"))?;
    let shown = world.works(&Words::of("debug show app"))?;
    ensure!(
        shown.contains("protocol") && shown.contains("fsm"),
        "debug show: {shown}"
    );
    world.works(&Words::of("debug modify app all=no"))?;
    world.refuses(
        &Words::of("debug modify app protocol=maybe"),
        NOT_UNDERSTOOD,
        "protocol",
    )?;
    world.refuses(
        &Words::of("debug show tunnel_name=nobody"),
        NOT_FOUND,
        "nobody",
    )
}

fn save(world: &World) -> Result<()> {
    let file = world.folder.path().join("saved.conf");
    let to_file = Words::of("config save").and(format!("file={}", file.display()));
    world.works(&to_file)?;
    let printed = world.works(&Words::of("config save"))?;
    ensure!(
        fs::read_to_string(&file)? == printed,
        "the file differs from what is printed"
    );
    let nowhere = Words::of("config save file=/nonexistent/folder/file");
    world.refuses(&nowhere, NOT_FOUND, "/nonexistent/folder/file")
}

fn restore(world: &World) -> Result<()> {
    let file = world.folder.path().join("commands.conf");
    fs::write(
        &file,
        "ppp profile create profile_name=early\nppp profile nonsense\nppp profile create profile_name=late\n",
    )?;
    let from_file = Words::of("config restore").and(format!("file={}", file.display()));
    world.refuses(&from_file, NOT_UNDERSTOOD, "nonsense")?;
    world.works(&Words::of("ppp profile delete profile_name=early"))?;
    world.refuses(
        &Words::of("ppp profile show profile_name=late"),
        NOT_FOUND,
        "late",
    )?;
    world.refuses(
        &Words::of("config restore file=/nonexistent"),
        NOT_FOUND,
        "/nonexistent",
    )
}

fn reload(world: &World) -> Result<()> {
    let conf = world.folder.path().join("first.conf");
    fs::write(&conf, "user create user_name=new password=new\n")?;
    let planned = world.works(&Words::of("config reload dry_run"))?;
    ensure!(planned.contains("new"), "config reload dry_run: {planned}");
    world.works(&Words::of("config reload"))?;
    fs::write(&conf, "user create user_name=\n")?;
    world.refuses(&Words::of("config reload"), REFUSED, "first.conf:1")?;
    fs::write(&conf, "")?;
    world.works(&Words::of("config reload")).map(drop)
}

fn server(world: &World) -> Result<()> {
    let shown = world.works(&Words::of("server show"))?;
    ensure!(shown.contains("first.socket"), "server show: {shown}");
    world.works(&Words::of("server modify name=/run/other.sock"))?;
    world.refuses(
        &Words::of("server modify nonsense=1"),
        NOT_UNDERSTOOD,
        "nonsense",
    )
}

fn monitor(world: &World) -> Result<()> {
    // What goes on until it is interrupted is tried with what happens: the suites of events do that.
    world.refuses(&Words::of("monitor type=nonsense"), REFUSED, "nonsense")
}

fn completions(world: &World) -> Result<()> {
    for shell in ["bash", "zsh", "fish"] {
        let script = world.works(&Words::of("completions").and(shell))?;
        ensure!(
            script.contains("l2tpconfig"),
            "completions {shell}: {script}"
        );
    }
    world.refuses(&Words::of("completions csh"), NOT_UNDERSTOOD, "csh")
}

fn help(world: &World) -> Result<()> {
    let text = world.works(&Words::of("help ppp profile create"))?;
    ensure!(
        text.contains("lcp_echo_interval"),
        "help ppp profile create: {text}"
    );
    world.refuses(&Words::of("help nonsense"), NOT_UNDERSTOOD, "nonsense")
}

fn leave(world: &World) -> Result<()> {
    world.works(&Words::of("exit"))?;
    world.works(&Words::of("quit")).map(drop)
}

/// What one daemon saves, with every sort of name, another takes as it is: it saves the same.
fn restored(world: &World) -> Result<String> {
    for name in [
        "a \"quoted\" one",
        "back\\slash",
        "Zürich 東京",
        "#;=",
        "42",
        "mtu",
    ] {
        for object in ["peer", "tunnel", "session", "ppp"] {
            let create = Words::of(object).and("profile").and("create");
            world.works(&create.and(format!("profile_name={name}")))?;
        }
        let user = Words::of("user create").and(format!("user_name={name}"));
        world.works(&user.and(format!("password={name}")))?;
        let tunnel = Words::of("tunnel create").and(format!("tunnel_name={name}"));
        world.works(&tunnel.and(format!("dest_ipaddr={NOBODY}")))?;
        let session = Words::of("session create").and(format!("tunnel_name={name}"));
        world.works(&session.and(format!("session_name={name}")))?;
    }
    let file = world.folder.path().join("all.conf");
    world.works(&Words::of("config save").and(format!("file={}", file.display())))?;
    let folder = world.folder.path();
    // Elsewhere, as its listeners have the same addresses.
    let elsewhere = Namespace::new("catalogue2")?;
    let second = start(&world.programs, &elsewhere, folder, "second", 17010)?;
    let run = |words: &[&str]| {
        let output = second.l2tpconfig(words).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{words:?}: {complaint}");
        Ok(String::from_utf8(output.stdout)?)
    };
    run(&[
        "-q",
        "config",
        "restore",
        &format!("file={}", file.display()),
    ])?;
    let (first, again) = (fs::read_to_string(&file)?, run(&["config", "save"])?);
    let differs = first.lines().zip(again.lines()).find(|(a, b)| a != b);
    ensure!(first == again, "the second saves otherwise: {differs:?}");
    Ok(format!("{} lines", first.lines().count()))
}
