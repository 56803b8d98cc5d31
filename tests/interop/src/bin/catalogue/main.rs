//! Every command with every parameter, typed as a user would, against a daemon: it does what it says, and refuses what it does not take.
//!
//! What there is comes from the declaration, so that a new parameter is tried without being named here; what is not declared, such as
//! `config save`, is written out, and the program's help says whether anything is missing.

mod fixed;
mod objects;
mod values;
mod world;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use config::Object;
use interop::Suite;

use world::World;

/// Exit statuses of `l2tpconfig`.
const REFUSED: i32 = 1;
const NOT_UNDERSTOOD: i32 = 2;
const NOT_FOUND: i32 = 3;

/// The name of an object of each class that parameters name.
const THERE: &str = "it is there";

/// An address where nobody answers.
const NOBODY: &str = "192.0.2.9";

/// Every command. Needs root.
#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    suite: Suite,
}

fn main() -> Result<ExitCode> {
    let Options { suite } = Options::parse();
    let programs = suite.programs()?;
    let mut report = suite.report();
    let world = World::new(&programs)?;
    report.case("every command that help names is tried here", || {
        fixed::named(&world)
    });
    for &object in Object::ALL {
        report.case(&format!("{object}"), || {
            let before = world.count();
            let tried = match object {
                Object::System => objects::system(&world),
                Object::Tunnel => objects::tunnel(&world),
                Object::Session => objects::session(&world),
                _ => objects::kept(&world, object),
            };
            tried.with_context(|| world.daemon_log())?;
            Ok(format!("{} commands", world.count() - before))
        });
    }
    for (name, case) in fixed::CASES {
        report.case(name, || case(&world).map(|()| String::new()));
    }
    report.case("what one daemon saves another restores", || {
        fixed::restored(&world)
    });
    Ok(report.conclude())
}
