//! What a shard counts, and the names it shows them under.

use std::collections::BTreeMap;

use api::Statistics;
use datapath::Share;
use l2tp::SccrqError;
use serde::{Deserialize, Serialize};
use wire::DecodeError;
use wire::l2tp::Version;

/// Declares a group of counters and lists it under `group.name`.
macro_rules! group {
    ($(#[$doc:meta])* $group:ident = $prefix:literal { $($(#[$field_doc:meta])* $field:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Default, Debug, Serialize, Deserialize)]
        pub(crate) struct $group {
            $($(#[$field_doc])* pub(crate) $field: u64),*
        }

        impl $group {
            fn list(&self, into: &mut BTreeMap<String, u64>) {
                $(into.insert(concat!($prefix, ".", stringify!($field)).to_owned(), self.$field);)*
            }
        }
    };
}

group! {
    /// Datagrams that reached no tunnel or session.
    Datagrams = "datagrams" {
        /// The header is cut short.
        short,
        /// The header is malformed.
        malformed_header,
        /// Not version 2.
        wrong_version,
        /// A data message where none is expected.
        unexpected_data,
        /// To tunnel 0, but no SCCRQ.
        not_sccrq,
        /// An SCCRQ that can't be read.
        malformed_sccrq,
        /// No such tunnel.
        unknown_tunnel,
        /// No such session.
        unknown_session,
        /// From an address or port that is not the tunnel's.
        wrong_address,
        /// Of ours, and did not arrive: the network said so.
        unreachable,
    }
}

group! {
    /// What was refused, and why.
    Refused = "refused" {
        /// All 65,535 tunnel ids are in use.
        no_tunnel_id,
        /// Draining, denying or shutting down.
        tunnel_policy,
        /// `max_tunnels` reached.
        tunnel_limit,
        /// No peer profile matches, and `auth_mode` wants one.
        unknown_peer,
        /// The peer's tunnel lost the tie breaker against ours.
        tie_lost,
        /// Draining or shutting down.
        call_policy,
        /// `max_sessions` reached.
        call_limit,
        /// No address for the peer.
        no_address,
        /// The datapath could not carry the session.
        datapath,
    }
}

group! {
    /// What came of tunnels and sessions.
    Setups = "setup" {
        /// Tunnels that were established.
        tunnels,
        /// Tunnels, or attempts to make one, that ended before that.
        tunnel_failures,
        /// Sessions that carried traffic.
        sessions,
        /// Sessions that ended before that, refused calls included.
        session_failures,
    }
}

group! {
    /// What unproven or failing peers were denied.
    Limits = "limits" {
        /// Tunnels that were not established and made room for others: too many of theirs in all.
        half_open,
        /// Too many of their source.
        half_open_of_source,
        /// Tunnels that ended because their peer, restarted, has established another in their place.
        replaced_tunnels,
        /// SCCRQs that were dropped because tunnels of their source failed too often.
        throttled_tunnels,
        /// Calls that were refused because calls of their source failed too often.
        throttled_calls,
        /// SCCRQs that were refused without saying so.
        silent_refusals,
    }
}

group! {
    /// What management asks.
    Lists = "lists" {
        /// Tunnels, sessions and peers that were looked at for lists.
        examined,
    }
}

group! {
    /// PPP.
    Ppp = "ppp" {
        /// Peers that proved who they are.
        authenticated,
        /// Peers that failed to.
        auth_failures,
        /// Links that PPP itself ended, not those that went with their call.
        links_closed,
        /// Frames received that are not network-layer packets of an open link.
        received,
        /// Frames sent that are not network-layer packets.
        sent,
        /// Frames that break the format of their protocol.
        malformed,
        /// Frames of a phase that has no use for them, and replies to nothing.
        discarded,
        /// Protocol-Rejects sent: frames of protocols that we do not speak.
        protocol_rejects,
        /// Code-Rejects sent: packets of codes that we do not know.
        code_rejects,
        /// Times that LCP was negotiated anew on an open link.
        renegotiations,
    }
}

impl Ppp {
    /// Adds what a link counted.
    pub(crate) fn add(&mut self, link: &ppp::Counters) {
        self.received += link.received;
        self.sent += link.sent;
        self.malformed += link.malformed;
        self.discarded += link.discarded;
        self.protocol_rejects += link.protocol_rejects;
        self.code_rejects += link.code_rejects;
        self.renegotiations += link.renegotiations;
    }
}

group! {
    /// Data messages of all sessions, as far as the datapath was asked.
    Data = "data" {
        /// Packets received from peers and given to the host.
        rx_packets,
        /// Their octets of IP.
        rx_bytes,
        /// Messages that could not be used: malformed, spoofed, refused by the device.
        rx_errors,
        /// Packets sent to peers.
        tx_packets,
        /// Their octets of IP.
        tx_bytes,
        /// Packets that could not be sent.
        tx_errors,
        /// Messages that came after a later one and were put in their place.
        rx_out_of_order,
        /// Sequence numbers that were skipped.
        rx_lost,
        /// Messages that came too late, or twice.
        rx_discarded,
        /// Messages without a sequence number where one is required.
        rx_unnumbered,
    }
}

impl Data {
    /// Adds what was counted of a session.
    pub(crate) fn add(&mut self, stats: &datapath::Stats) {
        self.rx_packets += stats.rx_packets;
        self.rx_bytes += stats.rx_bytes;
        self.rx_errors += stats.rx_errors;
        self.tx_packets += stats.tx_packets;
        self.tx_bytes += stats.tx_bytes;
        self.tx_errors += stats.tx_errors;
        self.rx_out_of_order += stats.sequencing.rx_out_of_order;
        self.rx_lost += stats.sequencing.rx_lost;
        self.rx_discarded += stats.sequencing.rx_discarded;
        self.rx_unnumbered += stats.sequencing.rx_unnumbered;
    }
}

/// What each engine carried, as far as the datapath was asked.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Engines {
    tun: Share,
    ebpf: Share,
    kernel: Share,
}

impl Engines {
    fn add(&mut self, engine: Option<datapath::Engine>, stats: &datapath::Stats) {
        // Carries nothing.
        if matches!(engine, None | Some(datapath::Engine::Null)) {
            return;
        }
        self.tun += stats.by_user_space();
        self.ebpf += stats.by_programs;
        self.kernel += stats.by_kernel;
    }

    fn list(&self, into: &mut BTreeMap<String, u64>) {
        for (engine, sums) in [
            ("tun", &self.tun),
            ("ebpf", &self.ebpf),
            ("kernel", &self.kernel),
        ] {
            for (name, value) in [
                ("rx_packets", sums.rx_packets),
                ("rx_bytes", sums.rx_bytes),
                ("tx_packets", sums.tx_packets),
                ("tx_bytes", sums.tx_bytes),
            ] {
                into.insert(format!("engines.{engine}.{name}"), value);
            }
        }
        // The others count their reasons themselves. What is late is an error, too.
        let Share {
            rx_errors,
            rx_late,
            tx_errors,
            ..
        } = self.kernel;
        for (reason, value) in [
            ("late", rx_late),
            ("unusable", rx_errors.saturating_sub(rx_late)),
            ("send_refused", tx_errors),
        ] {
            into.insert(format!("engines.kernel.dropped.{reason}"), value);
        }
    }
}

/// Everything that a shard counts.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) datagrams: Datagrams,
    pub(crate) refused: Refused,
    pub(crate) setup: Setups,
    pub(crate) limits: Limits,
    pub(crate) ppp: Ppp,
    pub(crate) data: Data,
    engines: Engines,
    pub(crate) lists: Lists,
    /// Those of all control connections.
    control: l2tp::Counters,
    /// What everything was at the last reset.
    before: BTreeMap<String, u64>,
    /// The number of the last reset.
    pub(crate) resets: u32,
}

impl Counters {
    pub(crate) fn malformed_header(&mut self, datagram: &[u8], error: DecodeError) {
        let datagrams = &mut self.datagrams;
        *match error {
            DecodeError::BadValue { .. } if Version::of(datagram) != Ok(Version::V2) => {
                &mut datagrams.wrong_version
            }
            DecodeError::Truncated { .. } => &mut datagrams.short,
            _ => &mut datagrams.malformed_header,
        } += 1;
    }

    pub(crate) fn bad_connection_request(&mut self, error: &SccrqError) {
        match error {
            SccrqError::NotSccrq => self.datagrams.not_sccrq += 1,
            _ => self.datagrams.malformed_sccrq += 1,
        }
    }

    /// Adds what a control connection counted.
    pub(crate) fn add_control(&mut self, counters: &l2tp::Counters) {
        self.control.add(counters);
    }

    /// Adds what went through a session; or went through it before the last reset, and is known only now.
    pub(crate) fn add_data(
        &mut self,
        engine: Option<datapath::Engine>,
        stats: &datapath::Stats,
        before_reset: bool,
    ) {
        self.data.add(stats);
        self.engines.add(engine, stats);
        if before_reset {
            let (mut data, mut engines) = (Data::default(), Engines::default());
            let mut named = BTreeMap::new();
            data.add(stats);
            data.list(&mut named);
            engines.add(engine, stats);
            engines.list(&mut named);
            for (name, value) in named {
                *self.before.entry(name).or_default() += value;
            }
        }
    }

    /// Lets everything count from here on, for those who look.
    pub(crate) fn reset(&mut self) {
        self.before = self.total().0;
        self.resets = self.resets.wrapping_add(1);
    }

    /// Every counter by name, since the last reset.
    pub(crate) fn since_reset(&self) -> Statistics {
        let Statistics(mut all) = self.total();
        for (name, before) in &self.before {
            if let Some(value) = all.get_mut(name) {
                *value = value.saturating_sub(*before);
            }
        }
        Statistics(all)
    }

    /// Every counter by name, since the shard began: its own, and the sums over control connections and links.
    pub(crate) fn total(&self) -> Statistics {
        let mut all = BTreeMap::new();
        self.datagrams.list(&mut all);
        self.refused.list(&mut all);
        self.setup.list(&mut all);
        self.limits.list(&mut all);
        self.lists.list(&mut all);
        self.data.list(&mut all);
        self.engines.list(&mut all);
        self.ppp.list(&mut all);
        let control = self.control.named();
        all.extend(control.map(|(name, value)| (format!("control.{name}"), value)));
        Statistics(all)
    }
}
