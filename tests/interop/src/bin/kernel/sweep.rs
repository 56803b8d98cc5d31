//! Somebody is killed at every moment of a set-up, and started again: nothing is left of what was.
//!
//! A moment is a number of messages that have crossed the wire. Each has a world of its own, and all happen at once, as most of each is waiting.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use interop::kernel::{PATIENCE, World};
use interop::ours::{self, Ours};
use interop::process::{children, kill};
use interop::wire::Wire;
use interop::{Role, Side, until};
use rustix::process::Signal;

/// How many moments of a set-up.
const MOMENTS: usize = 12;

/// A peer that is gone is missed soon, and called again soon.
const SOON: &str = "tunnel profile modify profile_name=default hello_timeout=2 max_retries=2 retry_timeout=1\n\
    system modify tunnel_persist_pend_timeout=1\n";

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The daemon at one end, which is the peer of the other.
    Daemon(Role),
    /// A pppd of either end, in turn.
    Pppd,
}

impl Victim {
    fn configuration(self) -> String {
        let pppd = if self == Self::Pppd { ours::PPPD } else { "" };
        format!("{SOON}{pppd}")
    }
}

pub(crate) fn of_lac(world: &World) -> Result<String> {
    sweep(world, Victim::Daemon(Role::Lac))
}

pub(crate) fn of_lns(world: &World) -> Result<String> {
    sweep(world, Victim::Daemon(Role::Lns))
}

pub(crate) fn of_pppd(world: &World) -> Result<String> {
    sweep(world, Victim::Pppd)
}

fn sweep(world: &World, victim: Victim) -> Result<String> {
    let (first, last, files) = undisturbed(world, victim)?;
    ensure!(last > first + 4, "only {first} to {last} messages are seen");
    let moments = (0..MOMENTS).map(|at| first + at * (last - first) / (MOMENTS - 1));
    let worlds = moments.map(|moment| Ok((moment, World::new(&world.programs)?)));
    let worlds: Vec<_> = worlds.collect::<Result<_>>()?;
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for ((moment, world), role) in worlds
            .iter()
            .zip([Role::Lac, Role::Lns].into_iter().cycle())
        {
            let files = &files;
            threads.push(scope.spawn(move || {
                killed_at(world, victim, (*moment, role), files)
                    .with_context(|| format!("killed at message {moment} of {last}"))
            }));
        }
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .map(|result| result.unwrap_or_else(|_| Err(anyhow!("it panicked"))))
            .collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    Ok(format!("at messages {first} to {last}"))
}

/// A life without disturbance: when there can be a victim and when all is up, in messages, and the files that it leaves.
fn undisturbed(world: &World, victim: Victim) -> Result<(usize, usize, BTreeSet<String>)> {
    let mut wire = Wire::open(&world.bed.lns)?;
    let mut lns = world.start_with(Role::Lns, "kernel", &victim.configuration())?;
    let mut lac = spawn_lac(world, victim)?;
    let first = match victim {
        Victim::Daemon(_) => 1,
        Victim::Pppd => {
            let mut none = || Ok(children(lac.process().id()).is_empty());
            let mut count = 0;
            while none()? {
                count = wire.wait_for(count + 1, PATIENCE, &mut none)?;
            }
            count
        }
    };
    lac.ready()?;
    lac.established(PATIENCE)?;
    lns.established(PATIENCE)?;
    let last = wire.wait_for(usize::MAX, PATIENCE, || Ok(false))?;
    lac.shut_down()?;
    lns.shut_down()?;
    Ok((first, last, files(world.folder.path())?))
}

fn spawn_lac(world: &World, victim: Victim) -> Result<Ours> {
    let command = world.command(Role::Lac, "kernel", &victim.configuration())?;
    let (place, folder) = (&world.bed.lac, world.folder.path());
    Ours::spawn(command, &world.programs, place, folder, "lac")
}

/// The victim, or of pppds that of `role`, is killed when so many messages have crossed.
fn killed_at(
    world: &World,
    victim: Victim,
    (moment, role): (usize, Role),
    expected: &BTreeSet<String>,
) -> Result<()> {
    let before = world.ends()?;
    let mut wire = Wire::open(&world.bed.lns)?;
    let mut lns = world.start_with(Role::Lns, "kernel", &victim.configuration())?;
    let mut lac = spawn_lac(world, victim)?;
    let mut goes_on = || Ok(true);
    wire.wait_for(moment, PATIENCE / 4, &mut goes_on)?;
    match victim {
        Victim::Daemon(role) => {
            let daemon = match role {
                Role::Lac => &mut lac,
                Role::Lns => &mut lns,
            };
            daemon.process().signal(Signal::KILL)?;
            daemon.process().wait(PATIENCE)?;
            *daemon = world.start_with(role, "kernel", &victim.configuration())?;
        }
        Victim::Pppd => {
            let daemon = match role {
                Role::Lac => lac.process().id(),
                Role::Lns => lns.process().id(),
            };
            let pppd = || Ok(children(daemon).into_iter().next());
            kill(until(PATIENCE, "a pppd", pppd)?, Signal::KILL)?;
        }
    }
    lac.ready()?;
    // Who does not know yet that the other is gone still says that all is well.
    until(PATIENCE, "a session that carries", || {
        let sessions = lac.sessions()?;
        let up = sessions.iter().any(|s| s["state"] == "established");
        Ok((up && world.is_through().is_ok()).then_some(()))
    })
    .with_context(|| format!("LAC:\n{}LNS:\n{}", lac.log(), lns.log()))?;
    lac.shut_down()?;
    lns.shut_down()?;
    until(PATIENCE, "both ends are as they were", || {
        Ok((world.ends()? == before).then_some(()))
    })
    .with_context(|| format!("before: {before:#?}\nnow: {:#?}", world.ends()))?;
    let left = files(world.folder.path())?;
    ensure!(left == *expected, "files: {left:?}, not {expected:?}");
    Ok(())
}

fn files(folder: &Path) -> Result<BTreeSet<String>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().display().to_string()));
    names.collect()
}
