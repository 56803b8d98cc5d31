//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use config::TraceFlags;

/// The configuration file that is read when none is named, if there is one.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/openl2tpd.conf";

/// L2TP daemon: serves tunnels as LNS and opens them as LAC, both at once.
#[derive(Parser, Debug)]
#[command(name = "openl2tpd", version)]
pub(crate) struct Flags {
    /// Stay in the foreground, and log to standard error
    #[arg(short)]
    pub(crate) foreground: bool,
    /// Configuration file [default: /etc/openl2tpd.conf, if it exists]
    #[arg(short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// UDP port to serve, and to start tunnels from
    #[arg(short, value_name = "PORT", default_value_t = 1701, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) udp_port: u16,
    /// Pid file
    #[arg(short = 'P', value_name = "FILE", default_value = "/run/openl2tpd.pid")]
    pub(crate) pid_file: PathBuf,
    /// Debug: the detailed log, and every trace category
    #[arg(short = 'D')]
    pub(crate) debug: bool,
    /// Trace categories: a number, `all`, or a comma list of protocol, fsm, api, avp_info, avp_hide, avp_data, func,
    /// transport, data, system, ppp_control
    #[arg(short = 'd', value_name = "MASK", default_value = "0", value_parser = trace_flags)]
    pub(crate) trace: TraceFlags,
    /// Unix socket of the management interface
    #[arg(long, value_name = "PATH", default_value = "/run/openl2tpd/api.sock")]
    pub(crate) socket: PathBuf,
    /// Check this configuration file, say what is wrong with it, and start nothing
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
    /// What carries the traffic of sessions
    #[arg(long, value_enum, default_value_t = DatapathName::Tun)]
    pub(crate) datapath: DatapathName,
    /// Log to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// This is the process in the background; standard output awaits its readiness.
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// The datapaths there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum DatapathName {
    /// TUN devices.
    Tun,
    /// Nothing: sessions come up and carry no traffic.
    Null,
}

impl DatapathName {
    /// Its name in `show`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tun => "tun",
            Self::Null => "null",
        }
    }
}

fn trace_flags(text: &str) -> Result<TraceFlags, String> {
    let known = || {
        TraceFlags::CATEGORIES
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    TraceFlags::parse(text)
        .ok_or_else(|| format!("a number, `all`, or a comma list of {} is needed", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Flags, clap::Error> {
        Flags::try_parse_from(std::iter::once("openl2tpd").chain(arguments.split_whitespace()))
    }

    #[test]
    fn the_flags_of_openl2tp_are_taken() {
        let flags = parse("-f -c /x.conf -u 1801 -P /x.pid -D -d 0x81").unwrap();
        assert!(flags.foreground && flags.debug);
        assert_eq!(flags.config, Some("/x.conf".into()));
        assert_eq!((flags.udp_port, flags.pid_file), (1801, "/x.pid".into()));
        assert!(
            flags.trace.has("protocol") && flags.trace.has("transport") && !flags.trace.has("fsm")
        );
    }

    #[test]
    fn trace_categories_are_numbers_names_and_abbreviations() {
        for (text, bits) in [
            ("0", 0),
            ("1", 1),
            ("0x481", 0x481),
            ("all", 0x7ff),
            ("prot,ppp,tra", 0x481),
        ] {
            assert_eq!(
                parse(&format!("-d {text}")).unwrap().trace.bits(),
                bits,
                "{text}"
            );
        }
        for text in ["2048", "protocols", "fsm,", "0x"] {
            assert!(parse(&format!("-d {text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["0", "65536", "l2tp"] {
            assert!(parse(&format!("-u {text}")).is_err(), "{text}");
        }
    }
}
