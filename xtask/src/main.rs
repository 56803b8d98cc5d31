//! The project's chores: `cargo xtask test`, `bpf`, `fuzz`, `coverage`, `demo`, `bench`, `install` and `vm`.
#![allow(
    clippy::disallowed_methods,
    reason = "a program that waits for other programs reads the clock"
)]

mod apt;
mod bench;
mod bpf;
mod coverage;
mod demo;
mod fuzz;
mod install;
mod man;
mod plugins;
mod python;
mod signals;
mod tally;
mod test;
mod vm;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// The project's chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Run every suite of checks and tests, and say what was skipped and why.
    Test(test::Options),
    /// Search for octets that break a decoder or a state machine, and keep those that reach code that no others reach.
    ///
    /// What breaks something is left in fuzz/artifacts, and the exit status says that there is such. What is worth keeping goes to
    /// fuzz/corpus, for the tests to replay and for you to commit.
    Fuzz(fuzz::Options),
    /// Say how many lines of wire, l2tp and ppp their tests reach, and which ones they do not.
    Coverage,
    /// A LAC and an LNS on this machine, with traffic between them; the last line is one JSON object.
    Demo {
        /// Leave everything up, to play with.
        #[arg(long)]
        keep: bool,
    },
    /// Print one benchmark's figures as one JSON line.
    Bench {
        /// What to measure.
        what: bench::Subject,
        /// Options of its own, of `kernel` alone: see `cargo xtask bench kernel -- --help`.
        #[arg(last = true)]
        options: Vec<OsString>,
    },
    /// Compile the programs of the engine ebpf, whose object is checked in.
    Bpf,
    /// Build the programs and the plugins of pppd, and install them with manual pages and units.
    Install(install::Options),
    /// Write the manual pages, from the declarations of the configuration, the commands and the options.
    Man,
    /// Run a command in a virtual machine.
    #[command(subcommand)]
    Vm(VirtualMachine),
}

#[derive(Debug, Subcommand)]
enum VirtualMachine {
    /// User-Mode Linux on the live file system, with l2tp_ppp loaded; exits with COMMAND's status.
    Uml(InMachine),
    /// Debian's kernel on an emulated processor, with all of L2TP's modules loaded; exits with COMMAND's status.
    ///
    /// COMMAND sees the host's files; what it writes is gone with the machine.
    Qemu(InMachine),
}

#[derive(Args, Debug)]
struct InMachine {
    /// Memory in MiB.
    #[arg(long, default_value_t = 1024)]
    mem: u32,
    /// Seconds after which the machine is ended.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// What to run, in the current directory; a shell when empty.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().chore {
        Chore::Test(options) => test::run(&options),
        Chore::Fuzz(options) => fuzz::run(&options),
        Chore::Coverage => coverage::run(),
        Chore::Demo { keep } => demo::run(keep),
        Chore::Bench { what, options } => bench::run(what, options),
        Chore::Install(options) => install::run(&options),
        Chore::Bpf => bpf::write(),
        Chore::Man => man::write(),
        Chore::Vm(VirtualMachine::Uml(what)) => in_uml(&what),
        Chore::Vm(VirtualMachine::Qemu(what)) => in_qemu(&what),
    };
    result.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn in_uml(what: &InMachine) -> Result<ExitCode> {
    apt::ensure(&[apt::UML, apt::MODPROBE, apt::IP])?;
    vm::uml::run(what.machine(), &what.command, std::io::stdout()).map(ExitCode::from)
}

fn in_qemu(what: &InMachine) -> Result<ExitCode> {
    apt::ensure(&[apt::QEMU, apt::CPIO, apt::MODPROBE, apt::IP])?;
    vm::qemu::run(what.machine(), &what.command, std::io::stdout()).map(ExitCode::from)
}

impl InMachine {
    fn machine(&self) -> vm::Machine {
        vm::Machine {
            mem: self.mem,
            timeout: Duration::from_secs(self.timeout),
        }
    }
}
