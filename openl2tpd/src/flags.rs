//! The command line.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, ValueEnum};
use config::TraceFlags;

/// The configuration file that is read when none is named, if there is one.
pub(crate) const DEFAULT_CONFIG: &str = "/etc/openl2tpd.conf";

/// The socket of the management interface where none is named.
const SOCKET: &str = "/run/openl2tpd/api.sock";

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
    /// Pid file [default: /run/openl2tpd.pid, or none where we may not write there]
    #[arg(short = 'P', value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Debug: the detailed log, and every trace category
    #[arg(short = 'D')]
    pub(crate) debug: bool,
    /// Trace categories: a number, `all`, or a comma list of protocol, fsm, api, avp_info, avp_hide, avp_data, func,
    /// transport, data, system, ppp_control
    #[arg(short = 'd', value_name = "MASK", default_value = "0", value_parser = trace_flags)]
    pub(crate) trace: TraceFlags,
    /// Unix socket of the management interface [default: /run/openl2tpd/api.sock, or none where we may not write there]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Group, by name or number, that may use this socket, too [default: none: its owner alone]
    #[arg(long, value_name = "GROUP")]
    pub(crate) socket_group: Option<String>,
    /// Another socket of the interface, for those who may look and not touch
    #[arg(long, value_name = "PATH")]
    pub(crate) read_only_socket: Option<PathBuf>,
    /// Group that may use the read-only socket, too
    #[arg(long, value_name = "GROUP", requires = "read_only_socket")]
    pub(crate) read_only_group: Option<String>,
    /// Check this configuration file, say what is wrong with it, and start nothing
    #[arg(long, value_name = "FILE")]
    pub(crate) check: Option<PathBuf>,
    /// What carries the traffic of sessions that leave it open: auto, which is the kernel's L2TP for those with a device of their own, where
    /// the machine has it, and TUN devices for others, with programs in the kernel (ebpf) that carry what is common there; kernel, or no start; ebpf, or no
    /// start; tun, which is TUN devices alone; or null, which carries none of any session
    #[arg(long, value_enum, hide_possible_values = true, default_value_t = DatapathName::Auto)]
    pub(crate) datapath: DatapathName,
    /// pppd, which speaks PPP where a ppp profile has ppp_engine=pppd
    #[arg(long, value_name = "PATH", default_value = Flags::PPPD)]
    pub(crate) pppd: PathBuf,
    /// Folder of its plugins pppol2tp.so and openl2tp.so [default: /usr/lib/openl2tp, or that of this program if they were built there]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) pppd_plugins: Option<PathBuf>,
    /// The most pppds that set up PPP at once; others wait; 0: no limit
    #[arg(short = 'y', value_name = "COUNT", default_value_t = 0)]
    pub(crate) pppd_setups: u16,
    /// Where the log goes: stderr, journald, syslog, or a file [default: stderr in the foreground, else syslog]
    #[arg(long, value_name = "WHERE")]
    pub(crate) log: Option<LogPlace>,
    /// Facility in the system log: daemon, local0 to local7
    #[arg(short = 'L', value_name = "FACILITY", default_value = "daemon")]
    pub(crate) facility: Facility,
    /// This is the process in the background; standard output awaits its readiness.
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
    /// Print the manual page, as roff source
    #[arg(long, hide = true)]
    pub(crate) print_manual: bool,
    #[command(flatten)]
    gone: Gone,
}

/// Options of OpenL2TP 1.8 that have no counterpart: they are refused with a word on what to do instead.
#[derive(Args, Debug)]
struct Gone {
    #[arg(short = 'p', hide = true)]
    plugin: Vec<String>,
    #[arg(short = 'R', hide = true)]
    remote_rpc: bool,
    #[arg(short = 'S', hide = true)]
    status_files: bool,
}

/// Where the log goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum LogPlace {
    /// Standard error.
    Stderr,
    /// systemd's journal, over its own socket: fields, and the level of each line.
    Journald,
    /// The system log.
    Syslog,
    /// A file, appended to.
    File(PathBuf),
}

impl FromStr for LogPlace {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "stderr" => Self::Stderr,
            "journald" => Self::Journald,
            "syslog" => Self::Syslog,
            path => Self::File(path.into()),
        })
    }
}

/// A facility of the system log (RFC 3164 section 4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facility(u8);

impl Facility {
    /// Its number.
    pub(crate) const fn code(self) -> u8 {
        self.0
    }
}

impl FromStr for Facility {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let local = text.strip_prefix("local").map(str::as_bytes);
        match (text, local) {
            ("daemon", _) => Ok(Self(3)),
            (_, Some(&[digit @ b'0'..=b'7'])) => Ok(Self(16 + digit - b'0')),
            _ => Err("daemon, or local0 to local7, is needed".to_owned()),
        }
    }
}

impl Flags {
    /// Where pppd is, if nobody says otherwise.
    pub(crate) const PPPD: &str = "/usr/sbin/pppd";

    /// Where the socket of the management interface is to be.
    pub(crate) fn socket(&self) -> &Path {
        self.socket.as_deref().unwrap_or(Path::new(SOCKET))
    }

    /// What to do instead of what an option of OpenL2TP 1.8 did, if one of those was given that are gone.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        let gone = &self.gone;
        [
            (
                !gone.plugin.is_empty(),
                "-p: there are no plugins: PPP is built in; `--datapath null` stands for ppp_null, the API's event stream \
                 (`l2tpconfig monitor`) for event_sock, and an IKE daemon's policies for ipsec",
            ),
            (
                gone.remote_rpc,
                "-R: there is no RPC: the API is a Unix socket; from another host use `ssh HOST l2tpconfig`",
            ),
            (
                gone.status_files,
                "-S: there are no status files: ask the API, as in `l2tpconfig --json tunnel list`",
            ),
        ]
        .into_iter()
        .find_map(|(given, instead)| given.then_some(instead))
    }
}

/// The datapaths there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum DatapathName {
    /// The kernel's L2TP where it is there and gives a session what it wants, else TUN devices.
    Auto,
    /// The kernel's L2TP.
    Kernel,
    /// Programs in the kernel, for what is common on TUN devices.
    Ebpf,
    /// TUN devices.
    Tun,
    /// Nothing: sessions come up and carry no traffic.
    Null,
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
        assert_eq!(
            (flags.udp_port, flags.pid_file),
            (1801, Some("/x.pid".into()))
        );
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
    fn options_that_are_gone_say_what_to_do_instead() {
        for (text, instead) in [
            ("-p ppp_null.so -p event_sock.so", "`--datapath null`"),
            ("-R", "ssh"),
            ("-S", "tunnel list"),
        ] {
            let refusal = parse(text).unwrap().refusal().unwrap();
            assert!(refusal.contains(instead), "{text}: {refusal}");
        }
        assert_eq!(parse("-f").unwrap().refusal(), None);
    }

    #[test]
    fn the_log_goes_to_a_place_or_a_file_with_a_facility() {
        let place = |text| parse(text).unwrap().log.unwrap();
        assert_eq!(place("--log journald"), LogPlace::Journald);
        assert_eq!(place("--log syslog"), LogPlace::Syslog);
        assert_eq!(place("--log stderr"), LogPlace::Stderr);
        assert_eq!(place("--log ./stderr"), LogPlace::File("./stderr".into()));
        for (text, code) in [
            ("", 3),
            ("-L daemon", 3),
            ("-L local0", 16),
            ("-L local7", 23),
        ] {
            assert_eq!(parse(text).unwrap().facility.code(), code);
        }
        for text in ["local8", "local", "local10", "mail", ""] {
            assert!(parse(&format!("-L={text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["0", "65536", "l2tp"] {
            assert!(parse(&format!("-u {text}")).is_err(), "{text}");
        }
    }
}
