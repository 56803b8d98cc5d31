//! Trace categories: what `-d` and the system's `trace_flags` turn on beyond the ordinary log. Each has a target of its own in the log.

use config::TraceFlags;

/// Control messages sent and received.
pub(crate) const PROTOCOL: &str = "protocol";
/// The AVPs of control messages, without their values: some are secret.
pub(crate) const AVP: &str = "avp";
/// Acknowledgements without a message.
pub(crate) const TRANSPORT: &str = "transport";
/// PPP frames sent and received, without their contents.
pub(crate) const PPP: &str = "ppp";
/// Requests to the datapath, and their ends.
pub(crate) const DATA: &str = "data";
/// Requests of management.
pub(crate) const API: &str = "api";
/// The daemon's own doings.
pub(crate) const SYSTEM: &str = "system";

/// Which target a category turns on.
const TARGETS: [(&str, &str); 9] = [
    ("protocol", PROTOCOL),
    ("avp_info", AVP),
    ("avp_hide", AVP),
    ("avp_data", AVP),
    ("transport", TRANSPORT),
    ("ppp_control", PPP),
    ("data", DATA),
    ("api", API),
    ("system", SYSTEM),
];

/// The targets of the log that `flags` turn on.
pub(crate) fn targets(flags: TraceFlags) -> impl Iterator<Item = &'static str> {
    TARGETS
        .iter()
        .filter(move |(category, _)| flags.has(category))
        .map(|(_, target)| *target)
}
