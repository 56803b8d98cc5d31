//! Answers in words and tables.

mod survey;

use std::io::{self, IsTerminal};
use std::time::{Duration, UNIX_EPOCH};

use api::{
    CallStatus, EndReason, Few, LineStatus, ReloadReport, SessionStatus, Statistics, SystemStatus,
    TransportStatus, TunnelStatus, TunnelTraffic, UserStatus,
};
use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use config::{Command, Object, Role, Verb, quoted};
use humantime::format_rfc3339_millis;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, from_value};
use textwrap::core::display_width;

use crate::help::width;
use crate::request::name;

/// What a command has done.
pub(crate) fn done(command: &Command, answer: Value) -> serde_json::Result<String> {
    let did = match command.verb {
        Verb::Create => "Created",
        Verb::Delete => "Deleted",
        _ => "Modified",
    };
    let what = match (command.object, command.verb) {
        (Object::Tunnel, Verb::Create) => tunnel_name(&from_value(answer)?),
        (Object::Session, Verb::Create) => session_name(&from_value(answer)?),
        (Object::Tunnel | Object::Session, _) => {
            let selects = ["tunnel_name", "tunnel_id", "session_name", "session_id"];
            let named = command
                .arguments
                .iter()
                .filter(|a| selects.contains(&a.name));
            let values: Vec<_> = named
                .filter_map(|argument| argument.value.as_deref())
                .collect();
            format!("{} {}", command.object, values.join(" "))
        }
        (object, _) => [object.words(), name(command).unwrap_or_default()]
            .join(" ")
            .trim_end()
            .to_owned(),
    };
    Ok(format!("{did} {what}\n"))
}

fn tunnel_name(tunnel: &TunnelStatus) -> String {
    let id = tunnel.tunnel_id.map(|id| id.to_string());
    format!(
        "tunnel {}",
        [tunnel.tunnel_name.clone(), id]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ")
    )
}

fn session_name(session: &SessionStatus) -> String {
    let id = session.session_id.map(|id| id.to_string());
    let name = [session.session_name.clone(), id]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ");
    let tunnel = session
        .tunnel_name
        .clone()
        .unwrap_or_else(|| text(session.tunnel_id));
    format!("session {name} on tunnel {tunnel}")
}

/// What a command has asked.
pub(crate) fn answer(command: &Command, answer: Value) -> serde_json::Result<String> {
    Ok(match (command.object, command.verb) {
        (Object::System, _) if command.has_flag("statistics") => statistics(&from_value(answer)?),
        (Object::System, _) if command.has_flag("datapath") => survey::shown(&from_value(answer)?),
        (Object::System, _) if command.has_flag("configuration") => {
            object(Object::System, &from_value(answer)?)
        }
        (Object::System, _) if command.has_flag("version") => {
            let system: SystemStatus = from_value(answer)?;
            format!("openl2tpd {}\n", system.version)
        }
        (Object::System, _) => system(&from_value(answer)?),
        (Object::Tunnel, Verb::List) if command.has_flag("names") => names(&list(answer)?),
        (Object::Tunnel, Verb::List) => tunnels(&list(answer)?),
        (Object::Tunnel, _) => {
            let mut status: TunnelStatus = from_value(answer)?;
            let transport = status.transport.take();
            let (only, without) = (command.has_flag("transport"), command.has_flag("config"));
            let of_transport = transport.filter(|_| only || !without);
            let of_data = status.traffic.take().filter(|_| only || !without);
            let rows = of_transport.iter().flat_map(transport_rows);
            let rows = rows.chain(of_data.iter().flat_map(data_rows));
            let shown = if only && !without {
                Vec::new()
            } else {
                tunnel(&status)
            };
            pairs(shown.into_iter().chain(rows).collect())
        }
        (Object::Session, Verb::List) => sessions(&list(answer)?),
        (Object::Session, _) => session(&from_value(answer)?),
        (Object::User, _) => users(&list(answer)?),
        (class, Verb::List) => objects(class, &list(answer)?),
        (class, _) => object(class, &from_value(answer)?),
    })
}

/// Leaves of a list what the command wants.
pub(crate) fn narrow(command: &Command, answer: &mut Value) {
    let (ours, theirs) = (
        command.has_flag("local_only"),
        command.has_flag("remote_only"),
    );
    if let (Object::Tunnel, Verb::List, Some(tunnels)) =
        (command.object, command.verb, answer.as_array_mut())
    {
        tunnels.retain(|t| {
            !(ours && t["created_by"] != "admin" || theirs && t["created_by"] != "peer")
        });
    }
}

/// A line for each tunnel's name; those without are called after their ids, as `config save` of OpenL2TP did.
fn names(tunnels: &[TunnelStatus]) -> String {
    let name = |t: &TunnelStatus| {
        let unnamed = || format!("l2tp{}", t.tunnel_id.unwrap_or_default());
        plain(&t.tunnel_name.clone().unwrap_or_else(unnamed)) + "\n"
    };
    tunnels.iter().map(name).collect()
}

/// Peers that have tunnels.
pub(crate) fn peers(peers: &Value) -> String {
    let row = |peer: &Value| {
        ["local_ipaddr", "peer_ipaddr", "tunnels"]
            .map(|name| scalar(&peer[name]))
            .to_vec()
    };
    let peers = peers.as_array().map(Vec::as_slice).unwrap_or_default();
    table(&["LOCAL", "PEER", "TUNNELS"], peers.iter().map(row))
}

/// One of them.
pub(crate) fn peer(peer: &Value) -> String {
    let names = ["local_ipaddr", "peer_ipaddr", "tunnels"];
    pairs(
        names
            .into_iter()
            .map(|name| (name, scalar(&peer[name])))
            .collect(),
    )
}

/// What a reload did, or would do: a line each.
pub(crate) fn difference(report: &ReloadReport) -> String {
    let parts = [
        ("added", &report.added),
        ("changed", &report.changed),
        ("removed", &report.removed),
        ("affected", &report.affected),
        ("failed", &report.failed),
    ];
    let mut text = String::new();
    for (what, Few { count, first }) in parts {
        for one in first {
            text += &format!("{what:<8}  {}\n", plain(one));
        }
        let more = count.saturating_sub(first.len() as u64);
        if more > 0 {
            text += &format!("{what:<8}  {more} more\n");
        }
    }
    if text.is_empty() {
        "nothing differs\n".to_owned()
    } else {
        text
    }
}

/// An event, a line.
pub(crate) fn event(event: &Value) -> String {
    let kind = event["type"].as_str().unwrap_or("event");
    let rest = event
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| *name != "type" && !value.is_null());
    let rest: Vec<_> = rest
        .map(|(name, value)| {
            let time = value.as_u64().filter(|_| name == "time").and_then(moment);
            let text = time.unwrap_or_else(|| worded(flat(value)));
            format!("{name}={}", plain(&text))
        })
        .collect();
    format!("{} {}", plain(kind), rest.join(" "))
        .trim_end()
        .to_owned()
        + "\n"
}

/// Milliseconds since 1970 as ISO 8601 has them, in UTC; none where its years have more digits than four.
fn moment(milliseconds: u64) -> Option<String> {
    const LAST: u64 = 253_402_300_799_999;
    let since = Duration::from_millis(milliseconds);
    (milliseconds <= LAST).then(|| format_rfc3339_millis(UNIX_EPOCH + since).to_string())
}

/// A text as one word, in quotes if it takes them.
fn worded(text: String) -> String {
    let parts = |c: char| c.is_whitespace() || "\"\\=;#".contains(c);
    match text.is_empty() || text.contains(parts) {
        true => quoted(&text),
        false => text,
    }
}

/// Whatever it is, on a line.
fn flat(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let pairs: Vec<_> = map
                .iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(name, value)| format!("{name}={}", flat(value)))
                .collect();
            pairs.join(" ")
        }
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(","),
        value => scalar(value),
    }
}

fn list<T: DeserializeOwned>(answer: Value) -> serde_json::Result<Vec<T>> {
    from_value(answer)
}

fn tunnels(tunnels: &[TunnelStatus]) -> String {
    let row = |t: &TunnelStatus| {
        vec![
            text(t.tunnel_id),
            text(t.tunnel_name.as_deref()),
            t.state.to_string(),
            t.created_by.to_string(),
            text(
                t.remote
                    .map(|remote| remote.to_string())
                    .or(t.dest_ipaddr.clone()),
            ),
            text(t.peer.as_ref().map(|peer| peer.host_name.as_str())),
            t.sessions.to_string(),
            duration(t.seconds),
        ]
    };
    table(
        &[
            "ID",
            "NAME",
            "STATE",
            "BY",
            "PEER",
            "PEER NAME",
            "SESSIONS",
            "TIME",
        ],
        tunnels.iter().map(row),
    )
}

fn sessions(sessions: &[SessionStatus]) -> String {
    let row = |s: &SessionStatus| {
        vec![
            s.tunnel_name.clone().unwrap_or_else(|| text(s.tunnel_id)),
            text(s.session_id),
            text(s.session_name.as_deref()),
            s.state.to_string(),
            s.role.to_string(),
            text(s.user_name.as_deref()),
            text(s.interface_name.as_deref()),
            text(s.local_ipaddr),
            text(s.remote_ipaddr),
            duration(s.seconds),
        ]
    };
    let head = [
        "TUNNEL", "ID", "NAME", "STATE", "ROLE", "USER", "DEVICE", "LOCAL", "REMOTE", "TIME",
    ];
    table(&head, sessions.iter().map(row))
}

fn users(users: &[UserStatus]) -> String {
    let row = |u: &UserStatus| {
        vec![
            u.user_name.clone(),
            u.tunnel_id.to_string(),
            u.session_id.to_string(),
            text(u.ip_address),
            u.remote.to_string(),
            duration(u.seconds),
        ]
    };
    table(
        &["USER", "TUNNEL", "SESSION", "ADDRESS", "PEER", "TIME"],
        users.iter().map(row),
    )
}

fn tunnel(t: &TunnelStatus) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("tunnel_id", text(t.tunnel_id)),
        ("tunnel_name", text(t.tunnel_name.as_deref())),
        ("state", format!("{} for {}", t.state, duration(t.seconds))),
        ("created", format!("{} ago", duration(t.age))),
        ("created by", t.created_by.to_string()),
        ("persist", yes_or_no(t.persist)),
        ("local", text(t.local)),
        ("remote", text(t.remote)),
        ("dest_ipaddr", text(t.dest_ipaddr.as_deref())),
        ("profile_name", t.profile_name.clone()),
        ("host_name", t.host_name.clone()),
        ("sessions", t.sessions.to_string()),
        ("establish retries", t.establish_retries.to_string()),
        ("tie breaker", text(t.tie_breaker.as_deref())),
        ("listener_name", text(t.listener_name.as_deref())),
        ("path mtu", text(t.path_mtu)),
        ("trace flags", t.trace_flags.clone()),
        ("last error", text(t.last_error.as_deref())),
    ];
    rows.extend(t.last_end.iter().flat_map(end));
    rows.extend(other_parameters(Object::Tunnel, &t.parameters, &rows));
    if let Some(peer) = &t.peer {
        rows.extend([
            ("peer tunnel_id", peer.tunnel_id.to_string()),
            ("peer host_name", peer.host_name.clone()),
            ("peer vendor name", text(peer.vendor_name.as_deref())),
            ("peer protocol version", peer.protocol_version.clone()),
            ("peer firmware", text(peer.firmware_revision)),
            ("peer tie breaker", text(peer.tie_breaker.as_deref())),
            ("peer rx_window_size", peer.rx_window_size.to_string()),
            ("peer framing_caps", text(peer.framing_caps)),
            ("peer bearer_caps", text(peer.bearer_caps)),
        ]);
    }
    rows
}

/// The parameters that a tunnel or session is run by and the rows do not say already.
fn other_parameters(
    class: Object,
    parameters: &Map<String, Value>,
    rows: &[(&str, String)],
) -> Vec<(&'static str, String)> {
    let mut others = rows_of(class, parameters);
    others.retain(|(name, _)| rows.iter().all(|(said, _)| said.replace(' ', "_") != *name));
    others
}

fn transport_rows(transport: &TransportStatus) -> Vec<(&'static str, String)> {
    vec![
        ("ns/nr", format!("{}/{}", transport.ns, transport.nr)),
        (
            "peer ns/nr",
            format!("{}/{}", transport.peer_ns, transport.peer_nr),
        ),
        ("tx window", transport.tx_window.to_string()),
        ("congestion acks", transport.congestion_acks.to_string()),
        (
            "cwnd/ssthresh",
            format!("{}/{}", transport.cwnd, transport.ssthresh),
        ),
        ("unacknowledged", transport.unacknowledged.to_string()),
        ("queued", transport.queued.to_string()),
        ("retransmits", transport.retransmits.to_string()),
        ("duplicates", transport.duplicates.to_string()),
        ("control out of order", transport.out_of_order.to_string()),
        ("control out of window", transport.out_of_window.to_string()),
        ("zlbs", both_ways(transport.rx_zlbs, transport.tx_zlbs)),
        (
            "hellos",
            both_ways(transport.rx_hellos, transport.tx_hellos),
        ),
        (
            "control packets",
            both_ways(transport.rx_packets, transport.tx_packets),
        ),
        (
            "control octets",
            both_ways(transport.rx_bytes, transport.tx_bytes),
        ),
    ]
}

/// What went through a tunnel's sessions.
fn data_rows(t: &TunnelTraffic) -> Vec<(&'static str, String)> {
    vec![
        ("data packets", both_ways(t.rx_packets, t.tx_packets)),
        ("data octets", both_ways(t.rx_bytes, t.tx_bytes)),
        ("data errors", both_ways(t.rx_errors, t.tx_errors)),
        ("data out of order", t.rx_out_of_order.to_string()),
        ("data lost", t.rx_lost.to_string()),
        ("data discarded", t.rx_discarded.to_string()),
        ("data without number", t.rx_unnumbered.to_string()),
    ]
}

fn both_ways(received: u64, sent: u64) -> String {
    format!("{received} received, {sent} sent")
}

fn session(s: &SessionStatus) -> String {
    let dns: Vec<_> = s.dns.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        ("tunnel_id", text(s.tunnel_id)),
        ("tunnel_name", text(s.tunnel_name.as_deref())),
        ("session_id", text(s.session_id)),
        ("session_name", text(s.session_name.as_deref())),
        ("peer session_id", text(s.peer_session_id)),
        ("state", format!("{} for {}", s.state, duration(s.seconds))),
        ("type", s.call.session_type.description().to_owned()),
        ("role", s.role.to_string()),
        (
            "created",
            text(s.age.map(|age| format!("{} ago", duration(age)))),
        ),
        ("created by", s.created_by.to_string()),
        ("profile_name", s.profile_name.clone()),
        ("ppp_profile_name", s.ppp_profile_name.clone()),
        ("user_name", text(s.user_name.as_deref())),
        ("authentication", text(s.auth_protocol.as_deref())),
        ("mppe", text(s.mppe.as_deref())),
        ("datapath", s.datapath.clone()),
        ("no faster, as", text(s.no_faster_datapath.as_deref())),
        ("interface_name", text(s.interface_name.as_deref())),
        ("local_ipaddr", text(s.local_ipaddr)),
        ("remote_ipaddr", text(s.remote_ipaddr)),
        (
            "name servers",
            text(Some(dns.join(" ")).filter(|dns| !dns.is_empty())),
        ),
        ("local IPv6", text(s.local_ipv6)),
        ("remote IPv6", text(s.remote_ipv6)),
        ("mtu", text(s.mtu)),
        ("trace flags", s.trace_flags.clone()),
    ];
    rows.extend(call(&s.call));
    rows.push(("last error", text(s.last_error.as_deref())));
    rows.extend(s.last_end.iter().flat_map(end));
    rows.extend(other_parameters(Object::Session, &s.parameters, &rows));
    if let Some(t) = &s.traffic {
        let [received, sent] = [t.rx_sequenced, t.tx_sequenced].map(yes_or_no);
        rows.extend([
            ("packets", both_ways(t.rx_packets, t.tx_packets)),
            ("octets", both_ways(t.rx_bytes, t.tx_bytes)),
            ("errors", both_ways(t.rx_errors, t.tx_errors)),
            (
                "sequence numbers",
                format!("received: {received}, sent: {sent}"),
            ),
            ("out of order", t.rx_out_of_order.to_string()),
            ("lost", t.rx_lost.to_string()),
            ("discarded", t.rx_discarded.to_string()),
            ("without number", t.rx_unnumbered.to_string()),
            ("IPsec of the socket", yes_or_no(t.using_ipsec)),
        ]);
    }
    let said = s.line.as_ref().map(line).unwrap_or_default();
    let said = said
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()));
    let rows = rows
        .into_iter()
        .map(|(name, value)| -> (&str, String) { (name, value) });
    pairs(rows.chain(said).collect())
}

/// What was said of a session's line and service, as far as anything was.
fn line(s: &LineStatus) -> Vec<(String, String)> {
    let errors = s.errors.as_ref().map(|e| {
        format!(
            "crc {}, framing {}, hardware overruns {}, buffer overruns {}, timeouts {}, alignment {}",
            e.crc, e.framing, e.hardware_overruns, e.buffer_overruns, e.timeouts, e.alignment
        )
    });
    let accm = s
        .accm
        .map(|(send, receive)| format!("send {send:08x}, receive {receive:08x}"));
    let known = [
        ("dscp", s.dscp.map(|dscp| dscp.to_string())),
        ("line errors", errors),
        ("accm", accm),
        ("lns last sent lcp confreq", s.lns_last_sent.clone()),
        ("lns last received lcp confreq", s.lns_last_received.clone()),
    ];
    let known = known
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let access = s.access_line.iter();
    known
        .chain(access.map(|(name, value)| (format!("access line {name}"), value.clone())))
        .collect()
}

fn call(c: &CallStatus) -> Vec<(&'static str, String)> {
    vec![
        ("call serial number", text(c.call_serial_number)),
        ("physical_channel_id", text(c.physical_channel_id)),
        ("minimum_bps", text(c.minimum_bps)),
        ("maximum_bps", text(c.maximum_bps)),
        ("tx connect speed", text(c.tx_connect_speed)),
        ("rx connect speed", text(c.rx_connect_speed)),
        ("bearer_type", text(c.bearer_type)),
        ("framing_type", c.framing_type.to_string()),
        ("called_number", text(c.called_number.as_deref())),
        ("calling_number", text(c.calling_number.as_deref())),
        ("sub_address", text(c.sub_address.as_deref())),
        ("priv_group_id", text(c.priv_group_id.as_deref())),
    ]
}

/// What was said by the message that ended a tunnel or session.
fn end(end: &EndReason) -> Vec<(&'static str, String)> {
    let code = |number: u16, meaning: Option<&String>| match meaning {
        Some(meaning) => format!("{number} ({meaning})"),
        None => number.to_string(),
    };
    let mut rows = vec![(
        "last result code",
        code(end.result, end.result_text.as_ref()),
    )];
    if let Some(error) = end.error {
        rows.push(("last error code", code(error, end.error_text.as_ref())));
    }
    if let Some(ppp) = &end.ppp_cause {
        let (cause, protocol) = (code(ppp.code, ppp.text.as_ref()), ppp.protocol);
        let place = format!("direction {}, protocol {protocol:04x}", ppp.direction);
        rows.push(("last PPP cause", format!("{cause}, {place}")));
    }
    if let Some(q931) = &end.q931_cause {
        let advisory = q931.advisory.as_deref().unwrap_or_default();
        let cause = code(q931.code, q931.text.as_ref());
        rows.push((
            "last Q.931 cause",
            format!("{cause} {advisory}").trim_end().to_owned(),
        ));
    }
    rows
}

fn system(s: &SystemStatus) -> String {
    pairs(vec![
        ("version", s.version.clone()),
        ("udp_port", s.udp_port.to_string()),
        ("datapath", s.datapath.clone()),
        (
            "tunnels",
            format!("{} ({} established)", s.tunnels, s.tunnels_established),
        ),
        (
            "sessions",
            format!("{} ({} established)", s.sessions, s.sessions_established),
        ),
        ("running for", duration(s.seconds)),
    ])
}

fn statistics(statistics: &Statistics) -> String {
    pairs(
        statistics
            .0
            .iter()
            .map(|(name, count)| (name.as_str(), count.to_string()))
            .collect(),
    )
}

/// One object of the configuration, its parameters in the order of their declaration.
fn object(class: Object, object: &Map<String, Value>) -> String {
    pairs(rows_of(class, object))
}

/// The parameters of an object that are there, each with its unit.
fn rows_of(class: Object, object: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let rows = class.parameters().iter().filter_map(|parameter| {
        let value = scalar(object.get(parameter.name)?);
        let unit = parameter
            .unit
            .filter(|_| value != "-")
            .map(|unit| format!(" {unit}"))
            .unwrap_or_default();
        Some((parameter.name, value + &unit))
    });
    rows.collect()
}

/// Objects of the configuration, a line each: their names, and what they can't be without.
fn objects(class: Object, objects: &[Map<String, Value>]) -> String {
    let shown = |role: Role| matches!(role, Role::Key | Role::Required);
    let columns: Vec<_> = class
        .parameters()
        .iter()
        .filter(|p| shown(p.role))
        .map(|p| p.name)
        .collect();
    let head: Vec<_> = columns
        .iter()
        .map(|name| name.to_uppercase().replace('_', " "))
        .collect();
    let head: Vec<_> = head.iter().map(String::as_str).collect();
    let row =
        |object: &Map<String, Value>| columns.iter().map(|name| scalar(&object[*name])).collect();
    table(&head, objects.iter().map(row))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(value) => yes_or_no(*value),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `3d 04:05:06`, days only where there are some.
fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60);
    if days == 0 {
        clock
    } else {
        format!("{days}d {clock}")
    }
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let plain = |row: Vec<String>| row.iter().map(|cell| plain(cell)).collect();
    fitted(head, rows.map(plain).collect(), plain_table())
}

/// A line for each row where no word is too long for that; where one is, a paragraph of those cells that say something.
fn fitted(head: &[&str], rows: Vec<Vec<String>>, mut table: Table) -> String {
    let longest = |text: &str| text.split_whitespace().map(display_width).max();
    let widths = head.iter().enumerate().map(|(column, name)| {
        let cells = rows.iter().map(|row| row[column].as_str());
        let words = cells.chain([*name]).filter_map(longest);
        words.max().unwrap_or_default() + usize::from(gap(column, head.len()))
    });
    let widths: Vec<_> = widths.collect();
    let least: usize = widths.iter().sum();
    if table.width().is_some_and(|room| least > room.into()) {
        let paragraphs = rows.into_iter().map(|row| {
            let all = head.iter().copied().zip(row);
            all.filter(|(_, cell)| cell != "-").collect::<Vec<_>>()
        });
        let paragraphs: Vec<_> = paragraphs.collect();
        return pairs(paragraphs.join(&("", String::new())));
    }
    table.set_header(head);
    table.add_rows(rows);
    for (column, width) in table.column_iter_mut().zip(widths) {
        let width = u16::try_from(width).unwrap_or(u16::MAX);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
    }
    lines(table)
}

fn pairs(rows: Vec<(&str, String)>) -> String {
    let mut table = plain_table();
    table.add_rows(
        rows.into_iter()
            .map(|(name, value)| vec![name.to_owned(), plain(&value)]),
    );
    lines(table)
}

/// Text of a peer or a user as a terminal may see it: what could command it, or turn the order of what it shows, is escaped.
fn plain(text: &str) -> String {
    // Marks, embeddings, overrides and isolates of the bidirectional algorithm.
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let escaped = |c: char| {
        if c.is_control() || turns(c) {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escaped).collect()
}

/// Without borders, wrapped to the terminal where there is one.
fn plain_table() -> Table {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if io::stdout().is_terminal() {
        // Some terminals do not know how wide they are.
        table.set_width(u16::try_from(width()).unwrap_or(u16::MAX));
    }
    table
}

/// How many blanks follow a column.
fn gap(column: usize, columns: usize) -> u16 {
    if column + 1 < columns { 2 } else { 0 }
}

fn lines(mut table: Table) -> String {
    let columns = table.column_count();
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, gap(number, columns)));
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(width: u16) -> String {
        let rows = [["headquarters", "-", "two words"], ["b", "7", "192.0.2.1"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        let mut table = plain_table();
        table.set_width(width);
        fitted(&["NAME", "ID", "PEER NAME"], rows, table)
    }

    #[test]
    fn an_event_is_a_line_of_words_with_its_moment() {
        let of = serde_json::json!({
            "id": "5f1c02aa-118", "time": 1_795_648_510_007_u64, "type": "session_down",
            "reason": "peer said \"bye\"", "user": "a=b", "interface": "ppp0", "address": "2001:db8::1",
        });
        assert_eq!(
            event(&of),
            "session_down address=2001:db8::1 id=5f1c02aa-118 interface=ppp0 reason=\"peer said \\\"bye\\\"\" \
             time=2026-11-25T23:15:10.007Z user=\"a=b\"\n"
        );
        assert_eq!(
            event(&serde_json::json!({"type": "a", "time": u64::MAX})),
            format!("a time={}\n", u64::MAX)
        );
    }

    #[test]
    fn what_commands_a_terminal_or_turns_its_text_is_escaped() {
        for c in [
            "\u{1b}", "\u{9b}", "\u{200e}", "\u{200f}", "\u{202a}", "\u{202e}", "\u{2066}",
            "\u{2069}",
        ] {
            let code = u32::from(c.chars().next().unwrap());
            let shown = plain(&format!("nimda{c}\u{fc}"));
            assert_eq!(shown, format!("nimda\\u{{{code:x}}}\u{fc}"));
        }
    }

    #[test]
    fn a_table_wraps_between_words_and_becomes_paragraphs_where_a_word_is_too_long() {
        let whole = "NAME          ID  PEER NAME\nheadquarters  -   two words\nb             7   192.0.2.1\n";
        assert_eq!(listed(80), whole);
        assert_eq!(listed(27), whole);
        let paragraphs = "NAME       headquarters\nPEER NAME  two words\n\nNAME       b\nID         7\nPEER NAME  192.0.2.1\n";
        assert_eq!(listed(26), paragraphs);
    }
}
