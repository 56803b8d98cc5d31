//! What is counted, as Prometheus reads it. No label names a tunnel, a session or a user: there are as many time series as are listed here.

use std::collections::BTreeMap;
use std::fmt;

use api::{MetricsFormat, SystemStatus};
use procfs::process::Process;
use procfs::{CurrentSI, WithCurrentSystemInfo};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, prometheus_text, text};
use prometheus_client::encoding::{EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

/// Counters of one name.
struct Family {
    /// Without `openl2tp_`, the unit and `_total`.
    name: &'static str,
    /// They count octets, and not what the name says.
    bytes: bool,
    help: &'static str,
    /// The label that tells them apart; none where there is one alone.
    label: &'static str,
    from: &'static [From],
}

/// Where a family's counters come from.
enum From {
    /// One statistic, with this value of the label.
    One(&'static str, &'static str),
    /// Every statistic that begins so; the rest of its name is the value of the label.
    Each(&'static str),
    /// The same, with a second label.
    EachOf(&'static str, Label),
    /// One statistic, with this value of the label, and a second label.
    OneOf(&'static str, &'static str, Label),
}

/// A label, and its value.
type Label = (&'static str, &'static str);

use From::{Each, EachOf, One, OneOf};

const fn family(
    name: &'static str,
    label: &'static str,
    from: &'static [From],
    help: &'static str,
) -> Family {
    Family {
        name,
        bytes: false,
        help,
        label,
        from,
    }
}

impl Family {
    const fn bytes(self) -> Self {
        Self {
            bytes: true,
            ..self
        }
    }
}

const TUN: Label = ("engine", "tun");
const EBPF: Label = ("engine", "ebpf");
const KERNEL: Label = ("engine", "kernel");

/// Every statistic is in one of them.
#[rustfmt::skip]
const FAMILIES: &[Family] = &[
    family("tunnel_setups", "result", &[One("setup.tunnels", "established"), One("setup.tunnel_failures", "failed")],
        "Tunnels that were established, and attempts that came to nothing"),
    family("session_setups", "result", &[One("setup.sessions", "established"), One("setup.session_failures", "failed")],
        "Sessions that carried traffic, and those that ended before"),
    family("refused", "reason", &[Each("refused.")],
        "Tunnels and sessions that were refused"),
    family("limited", "reason", &[Each("limits.")],
        "What unproven or failing peers were denied"),
    family("authentications", "result", &[One("ppp.authenticated", "accepted"), One("ppp.auth_failures", "rejected")],
        "Users that PPP authenticated, or did not"),
    family("tunnel_authentication_failures", "", &[One("control.authentication_failures", "")],
        "Peers that did not prove to know a tunnel's secret"),
    family("control_messages", "type", &[EachOf("control.received.", ("direction", "received")), EachOf("control.sent.", ("direction", "sent"))],
        "Control messages, each once, by type"),
    family("control_bad_messages", "type", &[Each("control.bad.")],
        "Control messages received that were malformed or came when nothing allowed them, by type"),
    family("control_retransmissions", "", &[One("control.retransmissions", "")],
        "Control messages that were sent again"),
    family("control_datagrams", "direction", &[One("control.received_datagrams", "received"), One("control.sent_datagrams", "sent")],
        "Datagrams of control connections, acknowledgements and repetitions included"),
    family("control", "direction", &[One("control.received_octets", "received"), One("control.sent_octets", "sent")],
        "Their UDP payload").bytes(),
    family("control_dropped_messages", "reason", &[
            One("control.duplicates", "duplicate"), One("control.out_of_window", "out_of_window"),
            One("control.bad_acknowledgements", "bad_acknowledgement"), One("control.malformed_headers", "malformed_header")],
        "Control messages received that were dropped"),
    family("control_reordered_messages", "", &[One("control.out_of_order", "")],
        "Control messages that came before their predecessors and waited for them"),
    family("control_faults", "kind", &[
            One("control.malformed_messages", "malformed_message"), One("control.unexpected_messages", "unexpected_message"),
            One("control.unknown_sessions", "unknown_session")],
        "What was wrong with control messages that were received in order"),
    family("control_ignored_avps", "reason", &[One("control.ignored_avps", "unknown"), One("control.ignored_malformed_avps", "malformed")],
        "AVPs that were ignored"),
    family("control_vendor_avps", "", &[One("control.vendor_avps", "")],
        "AVPs received that vendors defined"),
    family("control_refused_calls", "", &[One("control.refused_calls", "")],
        "Calls that were refused because their tunnel has as many as it may"),
    family("dropped_datagrams", "reason", &[
            One("datagrams.short", "short"), One("datagrams.malformed_header", "malformed_header"),
            One("datagrams.wrong_version", "wrong_version"), One("datagrams.unexpected_data", "unexpected_data"),
            One("datagrams.not_sccrq", "not_sccrq"), One("datagrams.malformed_sccrq", "malformed_sccrq"),
            One("datagrams.unknown_tunnel", "unknown_tunnel"), One("datagrams.unknown_session", "unknown_session"),
            One("datagrams.wrong_address", "wrong_address"), One("dropped.backlog", "backlog")],
        "Datagrams received that reached no tunnel or session"),
    family("unsent_datagrams", "reason", &[
            One("dropped.send_queue", "queue_full"), One("dropped.send_failures", "refused"), One("datagrams.unreachable", "unreachable")],
        "Datagrams that could not be sent, or that the network said did not arrive"),
    family("ppp_frames", "direction", &[One("ppp.received", "received"), One("ppp.sent", "sent")],
        "PPP frames that are not network-layer packets of an open link"),
    family("ppp_faults", "kind", &[
            One("ppp.malformed", "malformed"), One("ppp.discarded", "discarded"),
            One("ppp.protocol_rejects", "protocol_reject"), One("ppp.code_rejects", "code_reject")],
        "PPP frames received that were of no use, and Protocol- and Code-Rejects sent"),
    family("ppp_renegotiations", "", &[One("ppp.renegotiations", "")],
        "Times that LCP was negotiated anew on an open link"),
    family("ppp_closed_links", "", &[One("ppp.links_closed", "")],
        "PPP links that PPP itself ended, not those that went with their call"),
    family("data_packets", "direction", &[One("data.rx_packets", "received"), One("data.tx_packets", "sent")],
        "IP packets through all sessions"),
    family("data", "direction", &[One("data.rx_bytes", "received"), One("data.tx_bytes", "sent")],
        "Their octets").bytes(),
    family("data_errors", "direction", &[One("data.rx_errors", "received"), One("data.tx_errors", "sent")],
        "Data messages that could not be used, and packets that could not be sent"),
    family("data_dropped_messages", "reason", &[One("data.rx_discarded", "late"), One("data.rx_unnumbered", "unnumbered")],
        "Data messages dropped for their sequence number, or for having none"),
    family("data_lost_messages", "", &[One("data.rx_lost", "")],
        "Sequence numbers of data messages that were skipped"),
    family("data_reordered_messages", "", &[One("data.rx_out_of_order", "")],
        "Data messages that came after a later one and were put in their place"),
    family("datapath_packets", "direction", &[
            OneOf("engines.tun.rx_packets", "received", TUN), OneOf("engines.tun.tx_packets", "sent", TUN),
            OneOf("engines.ebpf.rx_packets", "received", EBPF), OneOf("engines.ebpf.tx_packets", "sent", EBPF),
            OneOf("engines.kernel.rx_packets", "received", KERNEL), OneOf("engines.kernel.tx_packets", "sent", KERNEL)],
        "IP packets through the sessions of each engine"),
    family("datapath", "direction", &[
            OneOf("engines.tun.rx_bytes", "received", TUN), OneOf("engines.tun.tx_bytes", "sent", TUN),
            OneOf("engines.ebpf.rx_bytes", "received", EBPF), OneOf("engines.ebpf.tx_bytes", "sent", EBPF),
            OneOf("engines.kernel.rx_bytes", "received", KERNEL), OneOf("engines.kernel.tx_bytes", "sent", KERNEL)],
        "Their octets").bytes(),
    family("datapath_drops", "reason", &[
            EachOf("engines.tun.dropped.", TUN), EachOf("engines.ebpf.dropped.", EBPF), EachOf("engines.kernel.dropped.", KERNEL)],
        "Packets, and data messages, that went no further in an engine"),
    family("datapath_left", "reason", &[EachOf("engines.ebpf.left.", EBPF)],
        "Packets, and data messages, that programs in the kernel left to user space"),
    family("list_items", "", &[One("lists.examined", "")],
        "Items of lists that were looked at for management"),
    family("events", "", &[One("events.written", "")],
        "Events written to the event stream"),
    family("missed_events", "", &[One("events.missed", "")],
        "Events that were gone before a reader of the stream came to them"),
    family("hooks", "result", &[Each("hooks.")],
        "Runs of event_script, and events that were lost because it was too slow"),
];

/// What the daemon says of itself beside its counters.
pub(crate) struct Gauges {
    /// Those who follow events.
    pub(crate) event_readers: usize,
    /// Those who follow messages.
    pub(crate) trace_followers: usize,
}

/// All that is shown at a time.
#[derive(Debug)]
pub(crate) struct Snapshot {
    counters: BTreeMap<String, u64>,
    system: SystemStatus,
    gauges: Gauges,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

impl Snapshot {
    pub(crate) const fn new(
        counters: BTreeMap<String, u64>,
        system: SystemStatus,
        gauges: Gauges,
    ) -> Self {
        Self {
            counters,
            system,
            gauges,
        }
    }
}

/// Writes it.
pub(crate) fn encode(snapshot: Snapshot, format: MetricsFormat) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut written = String::new();
    match format {
        MetricsFormat::OpenMetrics => text::encode(&mut written, &registry)?,
        MetricsFormat::Prometheus => prometheus_text::encode(&mut written, &registry)?,
    }
    Ok(written)
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Family {
    /// Its counters, of these statistics, with their labels.
    fn counters<'a>(
        &'a self,
        statistics: &'a BTreeMap<String, u64>,
    ) -> impl Iterator<Item = (Labels<'a>, u64)> {
        let label = |value: &'a str| match self.label {
            "" => Vec::new(),
            label => vec![(label, value)],
        };
        self.from.iter().flat_map(move |from| {
            let (prefix, second, exact) = match *from {
                One(name, value) => (name, None, Some(value)),
                OneOf(name, value, second) => (name, Some(second), Some(value)),
                Each(prefix) => (prefix, None, None),
                EachOf(prefix, second) => (prefix, Some(second), None),
            };
            statistics.iter().filter_map(move |(name, &count)| {
                let rest = name.strip_prefix(prefix)?;
                let value = match exact {
                    Some(value) if rest.is_empty() => value,
                    Some(_) => return None,
                    None => rest,
                };
                let mut labels = label(value);
                labels.extend(second);
                Some((labels, count))
            })
        })
    }
}

/// Writes the families.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn counters(&mut self, family: &Family, statistics: &BTreeMap<String, u64>) -> fmt::Result {
        let name = format!("openl2tp_{}", family.name);
        let unit = family.bytes.then_some(Unit::Bytes);
        let mut metric =
            self.0
                .encode_descriptor(&name, family.help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in family.counters(statistics) {
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counter<V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        value: V,
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        let metric = self.0.encode_descriptor(name, help, Some(&unit), kind)?;
        ConstCounter::new(value).encode(metric)
    }

    fn gauge<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: V,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let metric = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        ConstGauge::new(value).encode(metric)
    }

    fn by_state<S: fmt::Display>(
        &mut self,
        name: &str,
        help: &str,
        states: &BTreeMap<S, u32>,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        for (state, &count) in states {
            let labels = [("state", state.to_string())];
            ConstGauge::new(i64::from(count)).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        let (system, gauges) = (&self.system, &self.gauges);
        let labels = [
            ("version", system.version.as_str()),
            ("datapath", system.datapath.as_str()),
        ];
        writer
            .0
            .encode_descriptor(
                "openl2tp_build",
                "The program, and the datapath engine of its sessions",
                None,
                MetricType::Info,
            )?
            .encode_info(&labels)?;
        let uptime = i64::try_from(system.seconds).unwrap_or(i64::MAX);
        let seconds = Some(Unit::Seconds);
        writer.gauge(
            "openl2tp_uptime",
            "Time since the daemon started",
            seconds,
            uptime,
        )?;
        writer.by_state(
            "openl2tp_tunnels",
            "Tunnels in each state",
            &system.tunnels_by_state,
        )?;
        writer.by_state(
            "openl2tp_sessions",
            "Sessions in each state",
            &system.sessions_by_state,
        )?;
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (name, help, value) in [
            (
                "openl2tp_half_open_tunnels",
                "Tunnels that peers opened and that were never established",
                i64::from(system.tunnels_half_open),
            ),
            (
                "openl2tp_event_readers",
                "Those who follow the event stream",
                gauge(gauges.event_readers),
            ),
            (
                "openl2tp_trace_followers",
                "Those who follow messages",
                gauge(gauges.trace_followers),
            ),
        ] {
            writer.gauge(name, help, None, value)?;
        }
        for family in FAMILIES {
            writer.counters(family, &self.counters)?;
        }
        process(&mut writer)
    }
}

/// What every program shows of itself, under the names that it has everywhere. What the kernel does not tell is left out.
fn process(writer: &mut Writer<'_>) -> fmt::Result {
    let Ok(process) = Process::myself() else {
        return Ok(());
    };
    let (seconds, bytes) = (|| Some(Unit::Seconds), || Some(Unit::Bytes));
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second() as f64;
        writer.counter(
            "process_cpu",
            "Processor time, user and system",
            Unit::Seconds,
            (stat.utime + stat.stime) as f64 / ticks,
        )?;
        let resident = gauge(stat.rss_bytes().get());
        writer.gauge(
            "process_resident_memory",
            "Resident memory",
            bytes(),
            resident,
        )?;
        let size = gauge(stat.vsize);
        writer.gauge("process_virtual_memory", "Virtual memory", bytes(), size)?;
        let threads = stat.num_threads;
        writer.gauge("process_threads", "Threads", None, threads)?;
        if let Ok(kernel) = procfs::KernelStats::current() {
            let start = kernel.btime as f64 + stat.starttime as f64 / ticks;
            let help = "When the process started, since 1970";
            writer.gauge("process_start_time", help, seconds(), start)?;
        }
    }
    if let Ok(count) = process.fd_count() {
        let open = i64::try_from(count).unwrap_or(i64::MAX);
        writer.gauge("process_open_fds", "Open file descriptors", None, open)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api::{Response, Statistics};
    use engine::{Command, Engine, Input, Output, Token};

    use super::*;
    use crate::clock;
    use crate::shard::tests::unconfigured;
    use crate::statistics::{name_of_drop, name_of_uncarried};

    fn ask(command: Command) -> Response {
        let mut engine = Engine::new(unconfigured(), clock::now());
        let token = Token(1);
        engine.handle(Input::Command { token, command }, clock::now());
        match engine.poll_output() {
            Some(Output::Reply { result, .. }) => result.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Every counter of a shard, each with another value.
    fn statistics() -> BTreeMap<String, u64> {
        let Response::Statistics(Statistics(mut all)) = ask(Command::Totals) else {
            panic!("no totals")
        };
        let own = [
            "dropped.backlog",
            "dropped.send_queue",
            "dropped.send_failures",
            "events.written",
            "events.missed",
            "hooks.done",
            "hooks.failed",
            "hooks.timed_out",
            "hooks.lost",
        ];
        all.extend(own.map(|name| (name.to_owned(), 0)));
        all.extend(datapath::DropReason::ALL.map(|reason| (name_of_drop(reason), 0)));
        all.extend(datapath::UNCARRIED.map(|reason| (name_of_uncarried(reason), 0)));
        let numbered = all.iter_mut().zip(1_000_001..);
        numbered.for_each(|((_, value), number)| *value = number);
        all
    }

    fn written(format: MetricsFormat) -> String {
        let Response::System(system) = ask(Command::SystemShow) else {
            panic!("no system")
        };
        let gauges = Gauges {
            event_readers: 2,
            trace_followers: 3,
        };
        encode(Snapshot::new(statistics(), system, gauges), format).unwrap()
    }

    #[test]
    fn every_statistic_is_one_counter_of_one_family() {
        let all = statistics();
        let text = written(MetricsFormat::OpenMetrics);
        for (name, value) in &all {
            let end = format!(" {value}");
            let lines: Vec<_> = text.lines().filter(|line| line.ends_with(&end)).collect();
            assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        }
        for family in FAMILIES {
            assert!(
                family.counters(&all).count() > 0,
                "{} is empty",
                family.name
            );
        }
        for line in [
            "openl2tp_control_messages_total{type=\"sccrq\",direction=\"received\"} ",
            "openl2tp_data_bytes_total{direction=\"sent\"} ",
            "openl2tp_datapath_bytes_total{direction=\"sent\",engine=\"kernel\"} ",
            "openl2tp_datapath_drops_total{reason=\"spoofed_source\",engine=\"tun\"} ",
            "openl2tp_refused_total{reason=\"call_limit\"} ",
            "openl2tp_tunnels{state=\"established\"} 0",
            "openl2tp_build_info{version=\"0.0\",datapath=\"null\"} 1",
            "process_resident_memory_bytes ",
            "# UNIT openl2tp_data_bytes bytes",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_page_of_the_manual_has_every_metric() {
        let text = written(MetricsFormat::OpenMetrics);
        let kinds: BTreeMap<_, _> = comments(&text, "# TYPE ").collect();
        let mut table = String::new();
        for (name, help) in comments(&text, "# HELP ") {
            let kind = kinds[name];
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let samples = text.lines().filter_map(|line| {
                let labels = line.strip_prefix(name)?.strip_prefix(suffix)?;
                labels.strip_prefix('{')?.split_once('}')
            });
            let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for (name, value) in samples.flat_map(|(labels, _)| labels.split(',')).map(pair) {
                labels.entry(name).or_default().insert(value);
            }
            let labels: Vec<_> = labels
                .iter()
                .map(|(name, values)| match values.len() {
                    1 => format!("`{name}`"),
                    2..=4 => {
                        let values: Vec<_> = values.iter().map(|v| format!("`{v}`")).collect();
                        format!("`{name}`: {}", values.join(", "))
                    }
                    _ => format!("`{name}`"),
                })
                .collect();
            table += &format!(
                "| `{name}{suffix}` | {kind} | {} | {help} |\n",
                labels.join("; ")
            );
        }
        let page = include_str!("../../docs/api.md");
        assert!(
            page.contains(&table),
            "docs/api.md is to have this table:\n{table}"
        );
    }

    fn pair(label: &str) -> (&str, &str) {
        let (name, value) = label.split_once('=').unwrap();
        (name, value.trim_matches('"'))
    }

    fn comments<'a>(text: &'a str, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let lines = text.lines().filter_map(move |line| line.strip_prefix(kind));
        lines.map(|line| line.split_once(' ').unwrap())
    }

    #[test]
    fn the_older_format_names_counters_as_the_newer_does() {
        let text = written(MetricsFormat::Prometheus);
        assert!(text.contains("# TYPE openl2tp_data_bytes_total counter\n"));
        assert!(text.contains("openl2tp_data_bytes_total{direction=\"sent\"} "));
        assert!(!text.contains("# EOF"));
    }
}
