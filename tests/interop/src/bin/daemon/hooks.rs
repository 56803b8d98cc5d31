//! The programs that are run for events.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use interop::netns::{self, Bed};
use interop::ours::{self, Ours};
use interop::traffic::ping;
use interop::{Auth, INNER_LAC, INNER_LNS, PASSWORD, Side, USER, until};

use crate::{PROMPT, World};

/// An LNS that runs `script` for events, and a LAC with a session.
fn with_script(world: &World, bed: &Bed, script: &str) -> Result<(Ours, Ours)> {
    let path = world.file("script");
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    let hooks = format!(
        "system modify event_script={} event_script_timeout=1\n",
        path.display()
    );
    let lns = world.start_in(&bed.lns, "lns", &(ours::lns(Auth::Chap, false) + &hooks))?;
    let lac = world.start_in(
        &bed.lac,
        "lac",
        &ours::lac(false, &netns::LNS.to_string(), PASSWORD),
    )?;
    lac.established(PROMPT)?;
    Ok((lac, lns))
}

pub(crate) fn told(world: &World) -> Result<String> {
    let bed = Bed::new()?;
    let file = world.file("events");
    let script = format!(
        "#!/bin/sh\ncat\nset -- \"$@\"\n{{ echo \"arguments=$*\"; env; echo; }} >> {}\necho said $OPENL2TP_EVENT\n",
        file.display()
    );
    let (mut lac, mut lns) = with_script(world, &bed, &script)?;
    let pings = ping(&bed.lac, &INNER_LNS.to_string(), 3)?;
    ensure!(pings.received == 3, "the session does not carry");
    lac.shut_down()?;
    let runs = || fs::read_to_string(&file).unwrap_or_default();
    until(PROMPT, "eight events", || {
        Ok((runs().matches("\n\n").count() == 8).then_some(()))
    })?;
    lns.shut_down()?;
    let runs = runs();
    let runs: Vec<_> = runs.trim_end().split("\n\n").map(Run).collect();
    let events = runs.iter().map(|run| {
        let event = run.value("OPENL2TP_EVENT").unwrap_or_default();
        let family = run.value("OPENL2TP_FAMILY").unwrap_or_default();
        format!("{event} {family}").trim_end().to_owned()
    });
    let events: Vec<_> = events.collect();
    let expected = [
        "tunnel-up",
        "session-up",
        "ppp-up ipv4",
        "ppp-up ipv6",
        "ppp-down ipv4",
        "ppp-down ipv6",
        "session-down",
        "tunnel-down",
    ];
    ensure!(events == expected, "{events:?}");
    let peer = netns::LAC.to_string();
    for run in &runs {
        ensure!(run.value("OPENL2TP_PEER") == Some(&peer), "{}", run.0);
        ensure!(run.value("NOTIFY_SOCKET").is_none(), "{}", run.0);
    }
    let (local, remote) = (INNER_LNS.to_string(), INNER_LAC.to_string());
    for (event, run) in expected.iter().zip(&runs) {
        if event.starts_with("tunnel") {
            ensure!(run.value("IFNAME").is_none(), "{}", run.0);
            continue;
        }
        for (name, value) in [
            ("IFNAME", "l2tp0"),
            ("PEERNAME", USER),
            ("SPEED", "1000000"),
        ] {
            ensure!(run.value(name) == Some(value), "{name}: {}", run.0);
        }
        if event.ends_with("ipv4") {
            ensure!(run.value("IPLOCAL") == Some(&local), "{}", run.0);
            ensure!(run.value("IPREMOTE") == Some(&remote), "{}", run.0);
            let arguments = format!("l2tp0  1000000 {local} {remote}");
            ensure!(run.value("arguments") == Some(&arguments), "{}", run.0);
        }
        if event.ends_with("ipv6") {
            let (ours, theirs) = (run.value("LLLOCAL"), run.value("LLREMOTE"));
            let both = ours.zip(theirs).context("no link-local addresses")?;
            let arguments = format!("l2tp0  1000000 {} {}", both.0, both.1);
            ensure!(run.value("arguments") == Some(&arguments), "{}", run.0);
        }
        let ends = event.contains("down");
        for name in ["CONNECT_TIME", "BYTES_SENT", "BYTES_RCVD"] {
            ensure!(run.value(name).is_some() == ends, "{name}: {}", run.0);
        }
        if ends {
            // Three pings have crossed, of 84 octets each.
            for name in ["BYTES_SENT", "BYTES_RCVD"] {
                let octets: u64 = run.value(name).unwrap_or_default().parse()?;
                ensure!(octets >= 3 * 84, "{name}: {}", run.0);
            }
        }
    }
    ensure!(runs[6].value("OPENL2TP_REASON").is_some());
    ensure!(lns.log().contains("event_script for ppp-up: said ppp-up"));
    Ok(String::new())
}

/// What one run of the script wrote: a variable a line.
struct Run<'a>(&'a str);

impl Run<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

pub(crate) fn slow(world: &World) -> Result<String> {
    let bed = Bed::new()?;
    let file = world.file("children");
    let script = format!(
        "#!/bin/sh\nsleep 600 &\necho $! >> {}\nsleep 600\n",
        file.display()
    );
    let (_lac, mut lns) = with_script(world, &bed, &script)?;
    // The script hangs from the first event on, and all goes on.
    let pings = ping(&bed.lac, &INNER_LNS.to_string(), 3)?;
    ensure!(pings.received == 3, "a script that hangs stops sessions");
    until(PROMPT, "the script is ended", || {
        Ok(lns
            .log()
            .contains("took more than 1 s and was ended")
            .then_some(()))
    })?;
    let children = fs::read_to_string(&file)?;
    let first = children.lines().next().context("no child")?;
    until(PROMPT, "what the script started is ended", || {
        let status = fs::read_to_string(format!("/proc/{first}/stat"));
        Ok(status
            .map_or(true, |stat| stat.contains(") Z "))
            .then_some(()))
    })?;
    lns.shut_down()?;
    Ok(String::new())
}
