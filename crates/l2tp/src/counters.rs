use serde::{Deserialize, Serialize};
use wire::l2tp::MessageType;

/// Declares a set of counters: a struct of `u64`, its sum with another, and its counters by name.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)+
        }

        impl $name {
            /// Adds the counters of `other`, each to its own.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)+
            }

            /// What was counted after `before`, an earlier reading.
            #[must_use]
            pub fn since(&self, before: &Self) -> Self {
                Self { $($field: self.$field.saturating_sub(before.$field)),+ }
            }

            /// Every counter's name and value.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field)),+].into_iter()
            }
        }
    };
}

counters! {
    /// Control messages of each type (RFC 2661 section 3.2).
    MessageCounters {
        /// SCCRQ.
        sccrq,
        /// SCCRP.
        sccrp,
        /// SCCCN.
        scccn,
        /// StopCCN.
        stop_ccn,
        /// HELLO.
        hello,
        /// OCRQ.
        ocrq,
        /// OCRP.
        ocrp,
        /// OCCN.
        occn,
        /// ICRQ.
        icrq,
        /// ICRP.
        icrp,
        /// ICCN.
        iccn,
        /// CDN.
        cdn,
        /// WEN.
        wen,
        /// SLI.
        sli,
        /// MDMST (RFC 3573).
        mdmst,
        /// CSUN (RFC 5515).
        csun,
        /// CSURQ (RFC 5515).
        csurq,
        /// ZLB: an acknowledgement without a message.
        zlb,
        /// Any other type.
        unknown,
    }
}

impl MessageCounters {
    pub(crate) fn count(&mut self, message_type: MessageType) {
        use MessageType as M;
        *match message_type {
            M::SCCRQ => &mut self.sccrq,
            M::SCCRP => &mut self.sccrp,
            M::SCCCN => &mut self.scccn,
            M::STOP_CCN => &mut self.stop_ccn,
            M::HELLO => &mut self.hello,
            M::OCRQ => &mut self.ocrq,
            M::OCRP => &mut self.ocrp,
            M::OCCN => &mut self.occn,
            M::ICRQ => &mut self.icrq,
            M::ICRP => &mut self.icrp,
            M::ICCN => &mut self.iccn,
            M::CDN => &mut self.cdn,
            M::WEN => &mut self.wen,
            M::SLI => &mut self.sli,
            M::MDMST => &mut self.mdmst,
            M::CSUN => &mut self.csun,
            M::CSURQ => &mut self.csurq,
            _ => &mut self.unknown,
        } += 1;
    }
}

counters! {
    /// What went wrong on a control connection, or was repeated.
    Troubles {
        /// Datagrams that are no L2TPv2 control message with a sound header; dropped.
        malformed_headers,
        /// Messages that acknowledge what we never sent; dropped.
        bad_acknowledgements,
        /// Messages that came again; acknowledged again.
        duplicates,
        /// Messages that came before their predecessors and wait for them.
        out_of_order,
        /// Messages past our receive window; dropped.
        out_of_window,
        /// Messages that we sent again.
        retransmissions,
        /// Messages whose AVPs are malformed, missing, or unknown and mandatory; they ended their session or tunnel.
        malformed_messages,
        /// AVPs that are unknown and not mandatory; ignored.
        ignored_avps,
        /// AVPs that are malformed and not mandatory; ignored.
        ignored_malformed_avps,
        /// AVPs that vendors defined (Vendor ID other than 0), known or not.
        vendor_avps,
        /// Messages that their tunnel's or session's state does not allow.
        unexpected_messages,
        /// Messages for sessions that are not, or no more; ignored.
        unknown_sessions,
        /// Calls that the peer asked for and that were refused: the tunnel has as many as it may, or no Session ID is free.
        refused_calls,
        /// Peers that did not prove to know the secret.
        authentication_failures,
    }
}

counters! {
    /// Datagrams of a control connection, acknowledgements and what came or went again included. Octets are those of UDP's payload.
    Datagrams {
        /// Datagrams received with a sound header.
        received_datagrams,
        /// Their octets.
        received_octets,
        /// Datagrams sent.
        sent_datagrams,
        /// Their octets.
        sent_octets,
    }
}

/// What a control connection counts since it began.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Counters {
    /// Messages received in order, each once.
    pub received: MessageCounters,
    /// Messages sent, each once.
    pub sent: MessageCounters,
    /// Those of the received ones that are malformed, or that nothing allowed when they came.
    pub bad: MessageCounters,
    /// What carried them.
    pub datagrams: Datagrams,
    /// The rest.
    pub troubles: Troubles,
}

impl Counters {
    /// Adds the counters of `other`, each to its own.
    pub fn add(&mut self, other: &Self) {
        self.received.add(&other.received);
        self.sent.add(&other.sent);
        self.bad.add(&other.bad);
        self.datagrams.add(&other.datagrams);
        self.troubles.add(&other.troubles);
    }

    /// What was counted after `before`, an earlier reading.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            received: self.received.since(&before.received),
            sent: self.sent.since(&before.sent),
            bad: self.bad.since(&before.bad),
            datagrams: self.datagrams.since(&before.datagrams),
            troubles: self.troubles.since(&before.troubles),
        }
    }

    /// Every counter's name (`received.sccrq`, `sent.zlb`, `bad.icrq`, `sent_octets`, `duplicates`) and value.
    pub fn named(&self) -> impl Iterator<Item = (String, u64)> + use<> {
        let of_type = |what: &'static str, messages: &MessageCounters| {
            let named = messages.named();
            named.map(move |(name, value)| (format!("{what}.{name}"), value))
        };
        let datagrams = self.datagrams.named();
        let others = datagrams.chain(self.troubles.named());
        of_type("received", &self.received)
            .chain(of_type("sent", &self.sent))
            .chain(of_type("bad", &self.bad))
            .chain(others.map(|(name, value)| (name.to_owned(), value)))
    }

    /// A message that something is wrong with.
    pub(crate) fn malformed(&mut self, message_type: MessageType) {
        self.troubles.malformed_messages += 1;
        self.bad.count(message_type);
    }

    /// A message that nothing allows now.
    pub(crate) fn unexpected(&mut self, message_type: MessageType) {
        self.troubles.unexpected_messages += 1;
        self.bad.count(message_type);
    }

    /// A message for a session that is not there.
    pub(crate) fn unknown_session(&mut self, message_type: MessageType) {
        self.troubles.unknown_sessions += 1;
        self.bad.count(message_type);
    }
}
