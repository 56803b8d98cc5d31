//! pppd as the PPP of a session, in bad times.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use interop::kernel::{self, PATIENCE, World, said};
use interop::ours::{self, Ours};
use interop::process::{children, kill};
use interop::{PASSWORD, Role, Side, USER, netns, until};
use rustix::process::Signal;

/// A session that pppd does not bring up is given up soon.
const SOON: &str = "system modify session_establish_timeout=4\n";

/// Starts an end with pppd.
fn start(world: &World, role: Role) -> Result<Ours> {
    world.start_with(role, "kernel", ours::PPPD)
}

/// Starts a LAC whose pppd is this script, with more configuration.
fn lac_with(world: &World, script: &str, more: &str, options: &[&str]) -> Result<Ours> {
    let pppd = world.folder.path().join("pppd");
    fs::write(&pppd, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&pppd, Permissions::from_mode(0o755))?;
    lac_at(world, pppd, more, options)
}

fn lac_at(world: &World, pppd: PathBuf, more: &str, options: &[&str]) -> Result<Ours> {
    let dest = format!("{} persist=yes", netns::LNS);
    let configuration = ours::lac(false, &dest, PASSWORD) + ours::PPPD + more;
    let folder = world.folder.path();
    let mut command = Ours::command(&world.programs, folder, "lac", &configuration)?;
    command.arg("--pppd").arg(pppd).args(options);
    Ours::run(command, &world.programs, &world.bed.lac, folder, "lac")
}

/// Its session's end has this reason.
fn fails(lac: &Ours, reason: &str) -> Result<()> {
    let failed = || {
        let mut sessions = lac.sessions()?.into_iter();
        Ok(sessions.find(|s| s["last_error"].to_string().contains(reason)))
    };
    until(PATIENCE, reason, failed).with_context(|| format!("the log:\n{}", lac.log()))?;
    Ok(())
}

pub(crate) fn comes_back(world: &World) -> Result<String> {
    let before = world.state()?;
    let mut lns = start(world, Role::Lns)?;
    let mut lac = start(world, Role::Lac)?;
    for role in [Role::Lac, Role::Lns] {
        let old = lac
            .established(PATIENCE)
            .with_context(|| format!("LAC:\n{}LNS:\n{}", lac.log(), lns.log()))?["session_id"]
            .clone();
        let daemon = match role {
            Role::Lac => lac.process().id(),
            Role::Lns => lns.process().id(),
        };
        // One of an earlier session may still wait for its scripts.
        let pppds = children(daemon);
        ensure!(!pppds.is_empty(), "no pppd");
        for pppd in pppds {
            kill(pppd, Signal::KILL)?;
        }
        until(PATIENCE, "another session", || {
            let mut sessions = lac.sessions()?.into_iter();
            Ok(sessions.find(|s| s["state"] == "established" && s["session_id"] != old))
        })
        .with_context(|| format!("LAC:\n{}LNS:\n{}", lac.log(), lns.log()))?;
        world.is_through()?;
    }
    said(&lac, "pppd: ended by signal 9")?;
    said(&lns, "pppd: ended by signal 9")?;
    lac.shut_down()?;
    lns.shut_down()?;
    world.is_as(&before)?;
    Ok(String::new())
}

pub(crate) fn killed(world: &World) -> Result<String> {
    let before = world.state()?;
    // While it sets up, and when it is up.
    for waits in [false, true] {
        let mut lns = start(world, Role::Lns)?;
        let mut lac = start(world, Role::Lac)?;
        until(PATIENCE, "a pppd", || {
            Ok(children(lac.process().id()).into_iter().next())
        })?;
        if waits {
            lac.established(PATIENCE)?;
        }
        for daemon in [&mut lac, &mut lns] {
            daemon.process().signal(Signal::KILL)?;
            daemon.process().wait(PATIENCE)?;
        }
        world.is_as(&before)?;
    }
    let mut lns = start(world, Role::Lns)?;
    let mut lac = start(world, Role::Lac)?;
    lac.established(PATIENCE)?;
    world.is_through()?;
    lac.shut_down()?;
    lns.shut_down()?;
    world.is_as(&before)?;
    Ok(String::new())
}

pub(crate) fn unfit(world: &World) -> Result<String> {
    let before = world.state()?;
    let mut lns = world.start(Role::Lns, "kernel")?;
    let other = "echo 'Plugin pppol2tp.so is for pppd version 2.4.9, this is 9.9.9' >&2; exit 2";
    for (script, reason) in [
        (
            other,
            "pppd: Plugin pppol2tp.so is for pppd version 2.4.9, this is 9.9.9",
        ),
        ("exit 3", "pppd: ended with status 3"),
        (
            "trap '' TERM URG; sleep 1000 & wait; wait",
            "not established in time",
        ),
    ] {
        let mut lac = lac_with(world, script, SOON, &[])?;
        fails(&lac, reason)?;
        lac.shut_down()?;
    }
    let mut lac = lac_at(world, "/nonexistent/pppd".into(), "", &[])?;
    fails(
        &lac,
        "pppd: cannot run /nonexistent/pppd: No such file or directory",
    )?;
    lac.shut_down()?;
    let plugins = ["--pppd-plugins", "/nonexistent"];
    let mut lac = lac_at(world, "/usr/sbin/pppd".into(), "", &plugins)?;
    fails(&lac, "/nonexistent/pppol2tp.so")?;
    lac.shut_down()?;
    lns.shut_down()?;
    world.is_as(&before)?;
    Ok(String::new())
}

pub(crate) fn throttled(world: &World) -> Result<String> {
    let _lns = world.start(Role::Lns, "kernel")?;
    let second = format!(
        "session create tunnel_name=office session_name=second user_name={USER} user_password={PASSWORD}\n"
    );
    let script = "echo begins >&2; exec sleep 1000";
    let mut lac = lac_with(world, script, &second, &["-y", "1", "-D"])?;
    said(&lac, ": begins")?;
    until(PATIENCE, "both sessions are in the kernel", || {
        let table = kernel::table(&world.bed.lac)?;
        let sessions = table.lines().filter(|line| kernel::is_session(line));
        Ok((sessions.count() == 2).then_some(()))
    })?;
    let running = children(lac.process().id());
    ensure!(running.len() == 1, "{running:?} set up at once");
    kill(running[0], Signal::KILL)?;
    until(PATIENCE, "the other begins", || {
        let now = children(lac.process().id());
        Ok(now.iter().any(|id| *id != running[0]).then_some(()))
    })?;
    lac.shut_down()?;
    Ok(String::new())
}

pub(crate) fn without_secrets(world: &World) -> Result<String> {
    let mut lns = start(world, Role::Lns)?;
    let mut lac = start(world, Role::Lac)?;
    lac.established(PATIENCE)?;
    for daemon in [lac.process().id(), lns.process().id()] {
        for pppd in children(daemon) {
            let arguments = fs::read(format!("/proc/{pppd}/cmdline"))?;
            let words = arguments.split(|&octet| octet == 0);
            for word in words {
                ensure!(
                    word != PASSWORD.as_bytes() && word != USER.as_bytes(),
                    "in ps: {}",
                    String::from_utf8_lossy(&arguments)
                );
            }
            let environment = fs::read(format!("/proc/{pppd}/environ"))?;
            ensure!(
                !String::from_utf8_lossy(&environment).contains(USER),
                "in its environment"
            );
        }
    }
    for daemon in [&lac, &lns] {
        ensure!(
            !daemon.log().contains(&format!("\"{PASSWORD}\"")),
            "in the log"
        );
    }
    Ok(String::new())
}

/// How a ppp profile allows only this of proofs.
fn only(proof: &str) -> String {
    let all = ["pap", "chap", "mschapv1", "mschapv2"].into_iter();
    let said = all.map(|name| {
        let may = if name == proof { "yes" } else { "no" };
        format!(" auth_{name}={may}")
    });
    let said: String = said.collect();
    format!("ppp profile modify profile_name=default{said}\n")
}

/// Starts both ends with these configurations, an end with pppd where it is told; the session of the LAC is to come up.
fn comes_up(world: &World, lns: &str, lac: &str, passwords: bool) -> Result<serde_json::Value> {
    let named = |configuration: String| match passwords {
        true => configuration
            .replace(&format!("={USER}"), "=\"zo\u{eb}\"")
            .replace(&format!("={PASSWORD}"), "=\"g\u{fc}n\u{20ac}\""),
        false => configuration,
    };
    let kernel = "session profile modify profile_name=default datapath=kernel\n";
    let dest = format!("{} persist=yes", netns::LNS);
    let folder = world.folder.path();
    let ends = [
        (
            Role::Lns,
            "lns",
            named(ours::lns(interop::Auth::Chap, false)) + kernel + lns,
        ),
        (
            Role::Lac,
            "lac",
            named(ours::lac(false, &dest, PASSWORD)) + kernel + lac,
        ),
    ];
    let mut started = Vec::new();
    for (role, name, configuration) in ends {
        let place = world.bed.side(role);
        started.push(Ours::start(
            &world.programs,
            place,
            folder,
            name,
            &configuration,
        )?);
    }
    started[1]
        .established(PATIENCE)
        .with_context(|| format!("LNS:\n{}LAC:\n{}", started[0].log(), started[1].log()))?;
    world.is_through()?;
    // IPv6 may have come up first.
    let session = started[1].established(PATIENCE)?;
    for mut daemon in started.into_iter().rev() {
        daemon.shut_down()?;
    }
    Ok(session)
}

pub(crate) fn not_ascii(world: &World) -> Result<String> {
    for proof in ["pap", "chap", "mschapv2"] {
        let (plain, pppd) = (only(proof), only(proof) + ours::PPPD);
        comes_up(world, &pppd, &plain, true).with_context(|| format!("LNS of pppd, {proof}"))?;
        comes_up(world, &plain, &pppd, true).with_context(|| format!("LAC of pppd, {proof}"))?;
    }
    Ok(String::new())
}

pub(crate) fn strongest_first(world: &World) -> Result<String> {
    let dns = format!(
        "{}ppp profile modify profile_name=default dns_ipaddr_pri=10.0.0.53\n",
        ours::PPPD
    );
    let all =
        "ppp profile modify profile_name=default auth_pap=yes auth_chap=yes auth_mschapv2=yes\n";
    for (lac, proof) in [
        (format!("{all}{}", ours::PPPD), "MS-CHAPv2"),
        (all.to_owned(), "MS-CHAPv2"),
        (only("chap"), "CHAP"),
        (only("chap") + ours::PPPD, "CHAP"),
        (only("pap"), "PAP"),
    ] {
        let session = comes_up(world, &(dns.clone() + all), &lac, false)?;
        let shown = session["auth_protocol"].as_str().unwrap_or_default();
        ensure!(shown.starts_with(proof), "{shown} in place of {proof}");
        if !lac.contains("pppd") {
            continue;
        }
        ensure!(
            session["dns"].to_string().contains("10.0.0.53"),
            "{session}"
        );
    }
    Ok(String::new())
}

pub(crate) fn unencrypted(world: &World) -> Result<String> {
    let wants = format!(
        "{}{}ppp profile modify profile_name=default mppe=required\n",
        only("mschapv2"),
        ours::PPPD
    );
    let lns = world.start_with(Role::Lns, "kernel", &wants)?;
    let _lac = world.start_with(Role::Lac, "kernel", &only("mschapv2"))?;
    said(&lns, "packets are not encrypted")?;
    Ok(String::new())
}
