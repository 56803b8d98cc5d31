//! The daemon: flags, the order of the start, exit statuses.
//!
//! ```text
//!  main thread: management runtime            shard thread            datapath's threads
//!  HTTP, signals, names, the model  --mail-->  engine  --requests-->  sockets, devices
//!                                   <-answers-         <--events----
//! ```
//!
//! Exit statuses: 0 for an orderly end, 1 when the daemon can't start or go on, 2 for a wrong command line or configuration.

mod backend;
mod background;
mod capture;
mod carrier;
mod clock;
mod control_socket;
mod events;
mod files;
mod flags;
mod hooks;
mod listeners;
mod log_limit;
mod logging;
mod mailbox;
mod management;
mod manual;
mod metrics;
mod objects;
mod pidfile;
mod plan;
mod pppd;
mod privileges;
mod reload;
mod report;
mod runtime_files;
mod saved;
mod service;
mod shard;
mod sockets;
mod statistics;
mod survey;
mod trace;

use std::fs::OpenOptions;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, bail};
use api::server::EventLog;
use clap::Parser;
use config::{Loaded, Model};
use datapath::survey::Surveyor;
use engine::{Engine, EngineConfig};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use backend::{Configuration, Daemon, Seen};
use carrier::Carrier;
use flags::{DatapathName, Flags, LogPlace};
use hooks::Hooks;
use logging::{Destination, Log, LogFile};
use management::{Management, Signals};
use pppd::Pppds;
use shard::Shard;
use sockets::Sockets;
use statistics::Counting;
use survey::Survey;

/// The exit status for a wrong configuration, as for a wrong command line.
const WRONG_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let flags = Flags::parse();
    if let Some(instead) = flags.refusal() {
        eprintln!("openl2tpd: {instead}");
        return ExitCode::from(WRONG_CONFIGURATION);
    }
    if flags.print_manual {
        let printed = manual::page(std::io::stdout());
        return printed.map_or_else(|error| failure(&error.into()), |()| ExitCode::SUCCESS);
    }
    if !flags.foreground && !flags.detached && flags.check.is_none() {
        return background::start().unwrap_or_else(|error| failure(&error.into()));
    }
    let file = flags.check.as_deref().or(flags.config.as_deref());
    let loaded = match reload::load(file) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    if flags.check.is_some() {
        loaded
            .warnings
            .iter()
            .for_each(|warning| eprintln!("{warning}"));
        return ExitCode::SUCCESS;
    }
    match serve(&flags, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if flags.detached || flags.log.is_some() {
                tracing::error!("{error:#}");
            }
            failure(&error)
        }
    }
}

fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("openl2tpd: {error:#}");
    ExitCode::FAILURE
}

/// Starts everything in the order in which failures are cheapest, and works until the end.
fn serve(flags: &Flags, configuration: Loaded) -> anyhow::Result<()> {
    // What we make is nobody's to write but ours.
    rustix::process::umask(Mode::from_raw_mode(0o027));
    if flags.detached {
        background::leave_session().context("cannot leave the terminal")?;
    }
    if matches!(
        flags.datapath,
        DatapathName::Auto | DatapathName::Ebpf | DatapathName::Tun
    ) {
        check_tun()?;
    }
    allow_descriptors();
    let log = start_log(flags)?;
    reload::log_warnings(&configuration.warnings);
    let model = Arc::new(configuration.model);
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Before the first file: whatever ends us from now on has them removed.
    let signals = {
        let _inside = runtime.enter();
        Signals::new().context("cannot take signals")?
    };
    let _pid_file = runtime_files::pid_file(flags)?;
    let sockets = Sockets::new(flags.udp_port);
    let bound = sockets.serve(&model).context("cannot serve")?;
    let served = sockets.described(&model);
    let (control_socket, read_only_socket) = runtime_files::control_sockets(flags)?;
    // Before we give up what it takes.
    let surveyor = Surveyor::new();
    let ebpf = match flags.datapath {
        DatapathName::Auto => surveyor
            .wants_programs()
            .and_then(|()| datapath::ebpf::load())
            .map_err(Some),
        DatapathName::Ebpf => datapath::ebpf::load().map_err(Some),
        _ => Err(None),
    };
    // Before the first thread: each has its own.
    privileges::give_up(&model).context("cannot give up privileges")?;

    let (mailbox, inbox) = mailbox::mailbox();
    let (resolver, questions) = mpsc::unbounded_channel();
    let carrier = Carrier::start(
        flags.datapath,
        ebpf,
        sockets.clone(),
        bound,
        Arc::new(mailbox.clone()),
    )?;
    let seen = Seen {
        counting: Counting::new(carrier.drops(), carrier.uncarried()),
        survey: Survey::new(carrier.taken(), surveyor),
    };
    let mut instance = [0; 4];
    getrandom::fill(&mut instance).context("the system gives no randomness")?;
    let happened = Arc::new(EventLog::new(u32::from_ne_bytes(instance), events::KEPT));
    let engine = Engine::new(
        engine_config(flags, Arc::clone(&model), carrier.name())?,
        clock::now(),
    );
    let hooks = Hooks::default();
    let (orders, ordered) = mpsc::unbounded_channel();
    let pppds = Pppds::new(flags, mailbox.clone())?;
    pppds.look(flags, &model);
    let shard = Shard::new(
        engine,
        carrier,
        sockets.clone(),
        resolver,
        Arc::clone(&happened),
        hooks.clone(),
        orders,
    );
    let (end, ended) = oneshot::channel();
    thread::Builder::new()
        .name("shard".to_owned())
        .spawn(move || {
            // Management waits for it, or is gone itself.
            let _ = end.send(shard.run(inbox));
        })?;

    let file = reload::File::new(flags.config.as_deref(), Arc::clone(&model))?;
    let [listener, read_only] = [&control_socket, &read_only_socket]
        .map(|socket| socket.as_ref().map(|s| s.listener.try_clone()).transpose());
    let configuration = Configuration { model, file };
    let daemon = Daemon::new(
        configuration,
        mailbox.clone(),
        sockets,
        log,
        happened,
        hooks,
        seen,
    );
    let daemon = Arc::new(daemon);
    let management = Management {
        daemon,
        mailbox,
        questions,
        pppds,
        ordered,
        ended,
        listener: listener?,
        read_only: read_only?,
        signals,
    };
    let version = env!("CARGO_PKG_VERSION");
    let result = runtime.block_on(management.run(|| {
        info!("openl2tpd {version} serves {served}");
        service::ready(&format!("serves {served}"));
        if flags.detached {
            background::ready().context("cannot go to the background")
        } else {
            Ok(())
        }
    }));
    // A name that is still being looked up would hold the end up.
    runtime.shutdown_background();
    result
}

/// What sessions will need, found missing now rather than with the first of them.
fn check_tun() -> anyhow::Result<()> {
    let capabilities =
        rustix::thread::capabilities(None).context("cannot read our capabilities")?;
    if !capabilities.effective.contains(CapabilitySet::NET_ADMIN) {
        bail!("no privilege to make network devices: CAP_NET_ADMIN is needed, which root has");
    }
    let tun = "/dev/net/tun";
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(tun)
        .with_context(|| format!("cannot open {tun}"))?;
    Ok(())
}

/// Takes all the descriptors that we may have: each device of a session's own is one, and a thousand, which is the usual beginning, are soon used.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    // It can't fail: nobody needs a privilege for what the hard limit allows.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
}

fn start_log(flags: &Flags) -> anyhow::Result<Log> {
    let usual = match flags.detached {
        true => LogPlace::Syslog,
        false => LogPlace::Stderr,
    };
    let destination = match flags.log.as_ref().unwrap_or(&usual) {
        LogPlace::Stderr => Destination::Stderr,
        LogPlace::Journald => Destination::Journald,
        LogPlace::Syslog => Destination::Syslog(flags.facility),
        LogPlace::File(path) => {
            let file = LogFile::open(path);
            Destination::File(
                file.with_context(|| format!("cannot write the log {}", path.display()))?,
            )
        }
    };
    Log::start(destination, flags.debug, flags.trace).context("cannot start the log")
}

fn engine_config(flags: &Flags, model: Arc<Model>, datapath: &str) -> anyhow::Result<EngineConfig> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).context("the system gives no randomness")?;
    Ok(EngineConfig {
        model,
        udp_port: flags.udp_port,
        host_name: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        seed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        datapath: datapath.to_owned(),
    })
}
