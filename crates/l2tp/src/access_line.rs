//! What a LAC says of its subscriber's access line (RFC 5515).

use serde::{Deserialize, Serialize};
use wire::l2tp::{AccessLine as Attribute, AccessLineType as T, LoopEncapsulation};

use crate::messages::text;
use crate::reason::cut_at;

/// Identifiers have 2 to 63 octets.
const MAX_IDENTIFIER_LEN: usize = 63;

/// Declares [`AccessLine`]: its rates and delays, each with the number of its AVP.
macro_rules! access_line {
    (rates { $($(#[$rate_doc:meta])* $rate:ident = $rate_type:ident,)+ } delays { $($(#[$delay_doc:meta])* $delay:ident = $delay_type:ident,)+ }) => {
        /// What is known of a subscriber's access line. "Up" is from the subscriber; rates are bits a second, delays milliseconds.
        #[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
        pub struct AccessLine {
            /// The line's port at the access node. Sent when it has 2 to 63 octets.
            pub agent_circuit_id: Option<String>,
            /// The subscriber as the operator names it. Sent when it has 2 to 63 octets.
            pub agent_remote_id: Option<String>,
            $($(#[$rate_doc])* pub $rate: Option<u64>,)+
            $($(#[$delay_doc])* pub $delay: Option<u32>,)+
            /// What carries PPP on the line.
            pub loop_encapsulation: Option<LoopEncapsulation>,
            /// The line's transmission system: 1 ADSL1, 2 ADSL2, 3 ADSL2+, 4 VDSL1, 5 VDSL2, 6 SDSL, 7 unknown.
            pub line_type: Option<u8>,
            /// Whether PPP over ATM was made PPP over Ethernet on the way.
            pub iwf_session: Option<bool>,
        }

        impl AccessLine {
            /// What the attributes say, each of another type.
            pub(crate) fn from_attributes(attributes: &[Attribute<'_>]) -> Self {
                let mut line = Self::default();
                for attribute in attributes {
                    match *attribute {
                        Attribute::AgentCircuitId(v) => line.agent_circuit_id = Some(text(v)),
                        Attribute::AgentRemoteId(v) => line.agent_remote_id = Some(text(v)),
                        $(Attribute::Rate(T::$rate_type, v) => line.$rate = Some(v),)+
                        $(Attribute::Delay(T::$delay_type, v) => line.$delay = Some(v),)+
                        Attribute::LoopEncapsulation(v) => line.loop_encapsulation = Some(v),
                        Attribute::LineType(v) => line.line_type = Some(v),
                        Attribute::IwfSession(v) => line.iwf_session = Some(v),
                        Attribute::Rate(..) | Attribute::Delay(..) => {}
                    }
                }
                line
            }

            /// An attribute for each thing that is known.
            pub(crate) fn attributes(&self) -> impl Iterator<Item = Attribute<'_>> {
                [
                    identifier(&self.agent_circuit_id).map(Attribute::AgentCircuitId),
                    identifier(&self.agent_remote_id).map(Attribute::AgentRemoteId),
                    $(self.$rate.map(|v| Attribute::Rate(T::$rate_type, v)),)+
                    $(self.$delay.map(|v| Attribute::Delay(T::$delay_type, v)),)+
                    self.loop_encapsulation.map(Attribute::LoopEncapsulation),
                    self.line_type.map(Attribute::LineType),
                    self.iwf_session.map(Attribute::IwfSession),
                ]
                .into_iter()
                .flatten()
            }

            /// The name and value of each thing that is known.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, String)> {
                let flag = |set: bool| if set { "yes" } else { "no" }.to_owned();
                [
                    ("agent_circuit_id", self.agent_circuit_id.clone()),
                    ("agent_remote_id", self.agent_remote_id.clone()),
                    $((stringify!($rate), self.$rate.map(|v| v.to_string())),)+
                    $((stringify!($delay), self.$delay.map(|v| v.to_string())),)+
                    ("loop_encapsulation", self.loop_encapsulation.map(|v| v.to_string())),
                    ("line_type", self.line_type.map(line_type)),
                    ("iwf_session", self.iwf_session.map(flag)),
                ]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
            }
        }
    };
}

access_line! {
    rates {
        /// At which it runs.
        actual_rate_upstream = ACTUAL_RATE_UPSTREAM,
        /// At which it runs.
        actual_rate_downstream = ACTUAL_RATE_DOWNSTREAM,
        /// The least that the operator wants.
        minimum_rate_upstream = MINIMUM_RATE_UPSTREAM,
        /// The least that the operator wants.
        minimum_rate_downstream = MINIMUM_RATE_DOWNSTREAM,
        /// The most that the equipment could do.
        attainable_rate_upstream = ATTAINABLE_RATE_UPSTREAM,
        /// The most that the equipment could do.
        attainable_rate_downstream = ATTAINABLE_RATE_DOWNSTREAM,
        /// The most that the operator allows.
        maximum_rate_upstream = MAXIMUM_RATE_UPSTREAM,
        /// The most that the operator allows.
        maximum_rate_downstream = MAXIMUM_RATE_DOWNSTREAM,
        /// The least that the operator wants while the line saves power.
        minimum_rate_upstream_low_power = MINIMUM_RATE_UPSTREAM_LOW_POWER,
        /// The least that the operator wants while the line saves power.
        minimum_rate_downstream_low_power = MINIMUM_RATE_DOWNSTREAM_LOW_POWER,
    }
    delays {
        /// The longest interleaving delay that the operator allows.
        maximum_delay_upstream = MAXIMUM_DELAY_UPSTREAM,
        /// The interleaving delay.
        actual_delay_upstream = ACTUAL_DELAY_UPSTREAM,
        /// The longest interleaving delay that the operator allows.
        maximum_delay_downstream = MAXIMUM_DELAY_DOWNSTREAM,
        /// The interleaving delay.
        actual_delay_downstream = ACTUAL_DELAY_DOWNSTREAM,
    }
}

/// An identifier as it can be sent.
fn identifier(text: &Option<String>) -> Option<&[u8]> {
    let text = cut_at(text.as_deref()?, MAX_IDENTIFIER_LEN);
    (text.len() >= 2).then_some(text.as_bytes())
}

fn line_type(system: u8) -> String {
    let name = match system {
        1 => "ADSL1",
        2 => "ADSL2",
        3 => "ADSL2+",
        4 => "VDSL1",
        5 => "VDSL2",
        6 => "SDSL",
        7 => "unknown",
        _ => return system.to_string(),
    };
    name.to_owned()
}
