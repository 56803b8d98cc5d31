//! The kernel lacks something: the daemon does without, and says why.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use interop::kernel::{PATIENCE, World, said};
use interop::ours::{self, Ours};
use interop::process::Process;
use interop::{Mppe, Role, Side, until};

/// The program that the kernel has load its modules.
const LOADER: &str = "/proc/sys/kernel/modprobe";

/// One that finds this machine's, and what it is configured by.
const OUR_LOADER: &str = "/run/modprobe";
const LOADER_CONFIGURATION: &str = "/run/modprobe.d";

/// The kernel's engine is not to be had for this reason: the usual way goes on without it, and who wants it alone hears why.
fn lacking(world: &World, reason: &str) -> Result<()> {
    let _lns = world.start(Role::Lns, "auto")?;
    let mut lac = world.start(Role::Lac, "auto")?;
    said(&lac, "TUN devices, as the kernel's L2TP is not to be had")?;
    said(&lac, reason)?;
    let session = lac.established(PATIENCE)?;
    ensure!(session["datapath"] == "tun", "{session}");
    no_faster(&lac, &["kernel: ", reason, "; ebpf: "])?;
    world.is_through()?;
    lac.shut_down()?;

    let mut lac = world.start(Role::Lac, "kernel")?;
    let refused = || {
        let sessions = lac.sessions()?.into_iter();
        let mut errors = sessions.map(|s| s["last_error"].to_string());
        Ok(errors.find(|error| error.contains(reason)))
    };
    until(PATIENCE, "the session's error says why", refused)
        .with_context(|| format!("the log:\n{}", lac.log()))?;
    lac.shut_down()?;

    let folder = world.folder.path();
    let mut command = Ours::command(&world.programs, folder, "only", "")?;
    command.args(["--datapath", "kernel"]);
    let mut only = Process::spawn(&world.bed.lac, command, &folder.join("only.log"))?;
    let status = only.wait(PATIENCE)?;
    ensure!(!status.success(), "it started: {}", only.log());
    ensure!(only.log().contains(reason), "{}", only.log());
    Ok(())
}

/// A session says why no faster datapath carries it, with these words.
fn no_faster(lac: &Ours, words: &[&str]) -> Result<()> {
    let mut shown = serde_json::Value::Null;
    until(PATIENCE, "the reason", || {
        shown = lac.query(&["session", "show", "tunnel_name=office", "session_name=me"])?;
        let why = shown["no_faster_datapath"].as_str().unwrap_or_default();
        Ok(words.iter().all(|word| why.contains(word)).then_some(()))
    })
    .with_context(|| format!("{words:?}: {shown}"))
}

/// The usual way goes on without the kernel's engine, for this reason.
fn is_done_without(world: &World, reason: &str) -> Result<()> {
    let mut lac = world.start(Role::Lac, "auto")?;
    said(&lac, "TUN devices, as the kernel's L2TP is not to be had")?;
    said(&lac, reason)?;
    lac.shut_down()
}

/// Runs `case` with these modules unloaded, in this order, and another program that the kernel has load them.
fn without(modules: &[&str], loader: &str, case: impl FnOnce() -> Result<()>) -> Result<String> {
    for module in modules {
        // A tunnel that is gone keeps its module for a moment.
        until(PATIENCE, "the module can be unloaded", || {
            let done = Command::new("rmmod").arg(module).output()?;
            Ok(done.status.success().then_some(()))
        })
        .with_context(|| (*module).to_owned())?;
    }
    let usual = fs::read_to_string(LOADER)?;
    fs::write(LOADER, loader)?;
    let result = case();
    fs::write(LOADER, usual)?;
    let loaded = Command::new("modprobe")
        .args(["-d", "/run/m", "l2tp_ppp"])
        .status()?;
    ensure!(loaded.success(), "l2tp_ppp can't be loaded again");
    result.map(|()| String::new())
}

pub(crate) fn modules(world: &World) -> Result<String> {
    without(&["l2tp_ppp", "l2tp_core", "pppox"], "/bin/false", || {
        lacking(world, "no module l2tp_ppp")
    })
}

pub(crate) fn half(world: &World) -> Result<String> {
    without(&["l2tp_ppp"], "/bin/false", || {
        is_done_without(world, "no module l2tp_ppp")
    })
}

pub(crate) fn blacklisted(world: &World) -> Result<String> {
    let script = format!("#!/bin/sh\nexec modprobe -d /run/m -C {LOADER_CONFIGURATION} \"$@\"\n");
    fs::write(OUR_LOADER, script)?;
    fs::set_permissions(OUR_LOADER, Permissions::from_mode(0o755))?;
    fs::create_dir_all(LOADER_CONFIGURATION)?;
    let blacklist = format!("{LOADER_CONFIGURATION}/l2tp-ppp.conf");
    without(&["l2tp_ppp"], OUR_LOADER, || {
        fs::write(&blacklist, "blacklist l2tp_ppp\n")?;
        is_done_without(world, "no module l2tp_ppp")?;
        fs::remove_file(&blacklist)?;
        let mut lac = world.start(Role::Lac, "kernel")?;
        said(&lac, "datapath: the kernel's L2TP for sessions")?;
        lac.shut_down()
    })
}

pub(crate) fn device(world: &World) -> Result<String> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    ensure!(
        mounts.contains("devtmpfs /dev devtmpfs"),
        "/dev is not the machine's own"
    );
    fs::rename("/dev/ppp", "/dev/ppp.away")?;
    let result = lacking(world, "open /dev/ppp");
    fs::rename("/dev/ppp.away", "/dev/ppp")?;
    result.map(|()| String::new())
}

pub(crate) fn mppe(world: &World) -> Result<String> {
    // It is loaded when somebody asks for it, which nobody can who loads nothing.
    let unloaded = Command::new("rmmod").arg("ppp_mppe").output()?;
    let result = without(&[], "/bin/false", || encrypted_without_kernel(world));
    if unloaded.status.success() {
        // It counts as a user of others.
        let mut modprobe = Command::new("modprobe");
        let loaded = modprobe.args(["-d", "/run/m", "ppp_mppe"]).status()?;
        ensure!(loaded.success(), "ppp_mppe can't be loaded again");
    }
    result
}

fn encrypted_without_kernel(world: &World) -> Result<()> {
    let encrypted = ours::encrypted(Mppe {
        bits: 128,
        stateful: false,
    });
    let ms_chap = "ppp profile modify profile_name=default auth_mschapv2=yes\n";
    let start = |role, datapath| world.start_with(role, datapath, &(encrypted.clone() + ms_chap));
    let mut lns = start(Role::Lns, "tun")?;
    let mut lac = start(Role::Lac, "auto")?;
    let session = lac.established(PATIENCE)?;
    ensure!(session["datapath"] == "tun", "{session}");
    ensure!(session["mppe"] == "128 stateless", "{session}");
    said(&lac, "the kernel has no MPPE")?;
    no_faster(
        &lac,
        &[
            "kernel: ",
            "the encryption that the session may have",
            "; ebpf: ",
        ],
    )?;
    world.is_through()?;
    lac.shut_down()?;

    let mut lac = start(Role::Lac, "kernel")?;
    let why = "the datapath has none of the allowed key lengths";
    said(&lac, why)?;
    lac.shut_down()?;
    lns.shut_down()
}
