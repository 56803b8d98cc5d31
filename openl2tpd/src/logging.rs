//! Where the log goes, and how much of it. One line an event; secrets are in none.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use config::TraceFlags;
use tracing::{Level, Metadata, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::flags::Facility;
use crate::trace;

/// The system log's socket.
const SYSLOG: &str = "/dev/log";

/// Modules of ours whose names begin as a category of traces does, so that they would be let through with it.
const CODE: [&str; 2] = ["api::", "datapath"];

/// Where the log goes.
#[derive(Debug)]
pub(crate) enum Destination {
    /// Standard error: a terminal or a supervisor reads it.
    Stderr,
    /// A file, appended to.
    File(Arc<LogFile>),
    /// systemd's journal.
    Journald,
    /// The system log.
    Syslog(Facility),
}

/// The running log: what it lets through can change.
#[derive(Clone)]
pub(crate) struct Log {
    filter: reload::Handle<Targets, Registry>,
    level: Arc<Mutex<LogLevel>>,
    file: Option<Arc<LogFile>>,
}

/// How much of the log there is.
#[derive(Clone, Copy)]
struct LogLevel {
    /// The detailed log, and every trace category.
    debug: bool,
    /// What the command line traces.
    always: TraceFlags,
    /// What the configuration traces.
    configured: TraceFlags,
}

impl Log {
    /// Starts the log of the whole process, panics included; `always` is traced whatever the configuration says.
    pub(crate) fn start(
        destination: Destination,
        debug: bool,
        always: TraceFlags,
    ) -> io::Result<Self> {
        let (filter, handle) = reload::Layer::new(Targets::new());
        let file = match &destination {
            Destination::File(file) => Some(Arc::clone(file)),
            _ => None,
        };
        let subscriber =
            tracing_subscriber::registry().with(layer(destination)?.with_filter(filter));
        tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
        std::panic::set_hook(Box::new(|panic| {
            // The line break of the default wording would make two log lines of it.
            tracing::error!(
                "panicked, which is a bug: {}",
                panic.to_string().replace('\n', " ")
            );
        }));
        let log = Self {
            filter: handle,
            level: Arc::new(Mutex::new(LogLevel {
                debug,
                always,
                configured: TraceFlags::NONE,
            })),
            file,
        };
        log.trace(TraceFlags::NONE);
        Ok(log)
    }

    /// Traces these categories, beside those that are always traced.
    pub(crate) fn trace(&self, flags: TraceFlags) {
        self.change(|level| level.configured = flags);
    }

    /// Turns the detailed log and every trace category on, or off again; whether it is on now.
    pub(crate) fn toggle_debug(&self) -> bool {
        self.change(|level| level.debug = !level.debug).debug
    }

    /// Goes on in the file that has the log's name by now, if it is a file: what had it may have been moved away.
    pub(crate) fn reopen(&self) {
        if let Some(file) = &self.file
            && let Err(error) = file.reopen()
        {
            tracing::error!("the log goes on in the file that it was in: {error}");
        }
    }

    fn change(&self, change: impl FnOnce(&mut LogLevel)) -> LogLevel {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut level);
        let (ordinary, all) = match level.debug {
            true => (LevelFilter::DEBUG, TraceFlags::ALL),
            false => (LevelFilter::INFO, TraceFlags::NONE),
        };
        trace::set_everywhere(all.or(level.always).or(level.configured));
        let filter = Targets::new()
            .with_default(ordinary)
            .with_targets(trace::TARGETS.map(|target| (target, LevelFilter::TRACE)))
            .with_targets(CODE.map(|target| (target, ordinary)));
        // It can fail only when the subscriber is gone, and that lives as long as the process.
        let _ = self.filter.reload(filter);
        *level
    }
}

fn layer<S>(destination: Destination) -> io::Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = fmt::layer().with_target(false);
    Ok(match destination {
        Destination::Stderr => {
            let colour = io::stderr().is_terminal();
            layer.with_ansi(colour).with_writer(io::stderr).boxed()
        }
        Destination::File(file) => layer.with_ansi(false).with_writer(file).boxed(),
        Destination::Journald => tracing_journald::layer()?
            .with_field_prefix(None)
            .with_syslog_identifier("openl2tpd".to_owned())
            // As the system log has them.
            .with_priority_mappings(PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                ..PriorityMappings::new()
            })
            .boxed(),
        Destination::Syslog(facility) => layer
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_writer(Syslog::new(facility)?)
            .boxed(),
    })
}

/// A file that the log is appended to.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    /// Opens it; our working directory may change.
    pub(crate) fn open(path: &Path) -> io::Result<Arc<Self>> {
        let path = std::path::absolute(path)?;
        let file = Mutex::new(append(&path)?);
        Ok(Arc::new(Self { path, file }))
    }

    fn reopen(&self) -> io::Result<()> {
        let file = append(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Write for &LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes each line as one datagram to the system log (RFC 3164 section 4.1, without the time, which the system log adds).
struct Syslog {
    socket: UnixDatagram,
    facility: Facility,
}

/// One line of the log on its way.
struct SyslogLine<'a> {
    socket: &'a UnixDatagram,
    /// RFC 3164 section 4.1.1: the facility, and the severity in the low three bits.
    priority: u8,
}

impl Syslog {
    fn new(facility: Facility) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // A system log that does not keep up loses lines; it must not stop tunnels.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, facility })
    }

    fn line(&self, level: Level) -> SyslogLine<'_> {
        SyslogLine {
            socket: &self.socket,
            priority: self.facility.code() << 3 | severity(level),
        }
    }
}

fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = SyslogLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        self.line(Level::INFO)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        self.line(*meta.level())
    }
}

impl Write for SyslogLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let priority = self.priority;
        let mut datagram = format!("<{priority}>openl2tpd[{}]: ", std::process::id()).into_bytes();
        datagram.extend_from_slice(line.trim_ascii());
        // Addressed each time, so that a system log that was restarted is found again.
        self.socket.send_to(&datagram, SYSLOG)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
