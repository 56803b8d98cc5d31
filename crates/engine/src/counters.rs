//! What a shard counts, and the names it shows them under.

use std::collections::BTreeMap;

use api::Statistics;
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
        /// Links that ended, for whatever reason.
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
    fn add(&mut self, link: &ppp::Counters) {
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
    /// Data messages of the sessions that are gone.
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

/// Everything that a shard counts.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) datagrams: Datagrams,
    pub(crate) refused: Refused,
    pub(crate) limits: Limits,
    pub(crate) ppp: Ppp,
    pub(crate) data: Data,
    pub(crate) lists: Lists,
    /// The counters of the control connections that are gone.
    control: l2tp::Counters,
    /// What everything was at the last reset.
    pub(crate) before: BTreeMap<String, u64>,
}

impl Counters {
    pub(crate) fn malformed_header(&mut self, datagram: &[u8], error: DecodeError) {
        let other_version = matches!(error, DecodeError::BadValue { .. })
            && Version::of(datagram) != Ok(Version::V2);
        let counter = if other_version {
            &mut self.datagrams.wrong_version
        } else {
            &mut self.datagrams.malformed_header
        };
        *counter += 1;
    }

    pub(crate) fn bad_connection_request(&mut self, error: &SccrqError) {
        match error {
            SccrqError::NotSccrq => self.datagrams.not_sccrq += 1,
            _ => self.datagrams.malformed_sccrq += 1,
        }
    }

    pub(crate) fn retire_tunnel(&mut self, counters: &l2tp::Counters) {
        self.control.add(counters);
    }

    pub(crate) fn retire_link(&mut self, counters: &ppp::Counters) {
        self.ppp.add(counters);
    }

    /// Every counter by name: the shard's own, and the sums over control connections and links, gone and live.
    pub(crate) fn list<'a>(
        &self,
        tunnels: impl Iterator<Item = &'a l2tp::Counters>,
        links: impl Iterator<Item = &'a ppp::Counters>,
    ) -> Statistics {
        let mut all = BTreeMap::new();
        self.datagrams.list(&mut all);
        self.refused.list(&mut all);
        self.limits.list(&mut all);
        self.lists.list(&mut all);
        self.data.list(&mut all);
        let mut ppp = self.ppp.clone();
        links.for_each(|counters| ppp.add(counters));
        ppp.list(&mut all);
        let mut control = self.control.clone();
        tunnels.for_each(|counters| control.add(counters));
        all.extend(
            control
                .named()
                .map(|(name, value)| (format!("control.{name}"), value)),
        );
        Statistics(all)
    }
}
