//! Where the log goes, and how much of it. One line an event; secrets are in none.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use config::TraceFlags;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::trace;

/// The system log's socket.
const SYSLOG: &str = "/dev/log";

/// Where the log goes.
#[derive(Debug)]
pub(crate) enum Destination {
    /// Standard error: a terminal or a supervisor reads it.
    Stderr,
    /// A file, appended to.
    File(File),
    /// The system log, facility `daemon`.
    Syslog,
}

/// The running log: what it lets through can change.
#[derive(Clone)]
pub(crate) struct Log {
    filter: reload::Handle<Targets, Registry>,
    ordinary: LevelFilter,
    always: TraceFlags,
}

impl Log {
    /// Starts the log of the whole process, panics included; `always` is traced whatever the configuration says.
    pub(crate) fn start(
        destination: Destination,
        debug: bool,
        always: TraceFlags,
    ) -> io::Result<Self> {
        let ordinary = if debug {
            LevelFilter::DEBUG
        } else {
            LevelFilter::INFO
        };
        let (filter, handle) = reload::Layer::new(Targets::new());
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
            ordinary,
            always,
        };
        log.trace(TraceFlags::NONE);
        Ok(log)
    }

    /// Traces these categories, beside those that are always traced.
    pub(crate) fn trace(&self, flags: TraceFlags) {
        trace::set_everywhere(self.always.or(flags));
        let filter = Targets::new()
            .with_default(self.ordinary)
            .with_targets(trace::TARGETS.map(|target| (target, LevelFilter::TRACE)));
        // It can fail only when the subscriber is gone, and that lives as long as the process.
        let _ = self.filter.reload(filter);
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
        Destination::File(file) => layer.with_ansi(false).with_writer(Arc::new(file)).boxed(),
        Destination::Syslog => layer
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_writer(Syslog::new()?)
            .boxed(),
    })
}

/// Writes each line as one datagram to the system log (RFC 3164 section 4.1, without the time, which the system log adds).
struct Syslog {
    socket: UnixDatagram,
}

/// One line of the log on its way.
struct SyslogLine<'a> {
    socket: &'a UnixDatagram,
    severity: u8,
}

/// RFC 3164 section 4.1.1: the facility `daemon`; the severity is in the low three bits.
const FACILITY_DAEMON: u8 = 3 << 3;

impl Syslog {
    fn new() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // A system log that does not keep up loses lines; it must not stop tunnels.
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
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
        SyslogLine {
            socket: &self.socket,
            severity: severity(Level::INFO),
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        SyslogLine {
            socket: &self.socket,
            severity: severity(*meta.level()),
        }
    }
}

impl Write for SyslogLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let priority = FACILITY_DAEMON | self.severity;
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
