//! The commands that are no object's, and what is of all of them.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use config::Object;
use interop::netns::Namespace;

use crate::world::{Words, World, start};
use crate::{NOBODY, NOT_FOUND, NOT_UNDERSTOOD, REFUSED};

type Case = fn(&World) -> Result<()>;

/// The commands that are no object's, by the words that help has.
pub(crate) const CASES: &[(&str, Case)] = &[
    ("tunnel trace", trace),
    ("session capture", capture),
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

/// Help names no command that is not tried here.
pub(crate) fn named(world: &World) -> Result<String> {
    let mut tried: BTreeSet<String> = CASES.iter().map(|(name, _)| (*name).to_owned()).collect();
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

fn capture(world: &World) -> Result<()> {
    let of = Words::of("session capture tunnel_name=nowhere session_name=none");
    world.refuses(&of, NOT_FOUND, "nowhere")?;
    world.refuses(&Words::of("session capture"), NOT_UNDERSTOOD, "tunnel_id")
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
    // Whole or not at all, and what names comes before what it names as well as after it.
    let nothing_is_done = || {
        for name in ["early", "late"] {
            let show = Words::of("ppp profile show").and(format!("profile_name={name}"));
            world.refuses(&show, NOT_FOUND, name)?;
        }
        Ok::<_, anyhow::Error>(())
    };
    nothing_is_done()?;
    fs::write(
        &file,
        "ppp profile create profile_name=early ip_pool_name=later\nppp profile create profile_name=late ip_pool_name=none\nip_pool create pool_name=later range=10.9.0.1-10.9.0.9\n",
    )?;
    world.refuses(&from_file, REFUSED, "commands.conf:2:")?;
    nothing_is_done()?;
    let good = fs::read_to_string(&file)?.replace("none", "later");
    fs::write(&file, good)?;
    world.works(&from_file)?;
    for name in ["early", "late"] {
        let delete = Words::of("ppp profile delete").and(format!("profile_name={name}"));
        world.works(&delete)?;
    }
    world.works(&Words::of("ip_pool delete pool_name=later"))?;
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
pub(crate) fn restored(world: &World) -> Result<String> {
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
        let pool = Words::of("ip_pool create").and(format!("pool_name={name}"));
        world.works(&pool.and("range=10.8.0.1-10.8.0.9"))?;
        for (profile, names) in [
            ("ppp", "ip_pool_name"),
            ("session", "ppp_profile_name"),
            ("tunnel", "session_profile_name"),
            ("peer", "tunnel_profile_name"),
            ("tunnel", "peer_profile_name"),
        ] {
            let modify = Words::of(profile).and("profile").and("modify");
            let modify = modify.and(format!("profile_name={name}"));
            world.works(&modify.and(format!("{names}={name}")))?;
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
