use std::time::Duration;

use crypto::Secret;
use serde::{Deserialize, Serialize};
use wire::l2tp::{BearerTypes, FramingTypes};

/// How a tunnel is to behave, and what it tells its peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TunnelConfig {
    /// Host Name AVP. Must not be empty; cut at 255 octets.
    pub host_name: String,
    /// Vendor Name AVP; not sent when empty, cut at 255 octets.
    pub vendor_name: String,
    /// Firmware Revision AVP.
    pub firmware_revision: u16,
    /// The secret that we share with the peer: answers its challenge, checks its response, hides AVPs.
    pub secret: Option<Secret>,
    /// Send a challenge, and demand the right response to it. Without a secret no response is right.
    pub challenge: bool,
    /// Hide the AVPs that may be hidden (RFC 2661 section 4.3), in every message but SCCRQ, whose receiver does not know yet which
    /// secret it is, and StopCCN and CDN, which have no secrets. Without a secret nothing is.
    pub hide_avps: bool,
    /// Framing Capabilities AVP: what we accept and request.
    pub framing_capabilities: FramingTypes,
    /// Bearer Capabilities AVP: what outgoing calls we can place as LAC. When empty it is not sent, and the peer's requests are refused.
    pub bearer_capabilities: BearerTypes,
    /// Send a Tie Breaker AVP in SCCRQ: of two requests that cross, one tunnel comes.
    pub tie_breaker: bool,
    /// The DSCP, 0 to 63, that we want for control messages: asked for as the originator, granted as the other end (RFC 3308).
    pub control_dscp: Option<u8>,
    /// The DSCP, 0 to 63, that we grant to calls that the peer places and wants one for (RFC 3308).
    pub session_dscp: Option<u8>,
    /// End the tunnel or call whose peer does not agree to the DSCP that we want.
    pub require_dscp: bool,
    /// Say that we carry ECN between inner and outer headers (RFC 9601).
    pub ecn: bool,
    /// Receive Window Size AVP: how many messages the peer may have on the way to us, from 1.
    pub rx_window: u16,
    /// How many messages we have on the way to the peer at most; fewer if its Receive Window Size says so.
    pub tx_window: u16,
    /// Send a HELLO when the peer was not heard for so long; never, if `None`.
    pub hello_interval: Option<Duration>,
    /// How long to wait before the first retransmission. It doubles with each.
    pub retry_timeout: Duration,
    /// The longest wait between retransmissions. RFC 2661 section 5.8 wants at least 8 seconds.
    pub retry_cap: Duration,
    /// How many retransmissions go unanswered before the tunnel is given up.
    pub max_retries: u32,
    /// How long the tunnel may take to be established; no limit beside that of the retransmissions, if `None`.
    pub establish_timeout: Option<Duration>,
    /// How long a call may take to be established, from its ICRQ or OCRQ (or from being placed), if not for ever.
    pub call_establish_timeout: Option<Duration>,
    /// How many calls the tunnel may have at once.
    pub max_calls: usize,
}

impl Default for TunnelConfig {
    /// The values that RFC 2661 recommends, no secret, and windows of 10.
    fn default() -> Self {
        Self {
            host_name: "localhost".into(),
            vendor_name: String::new(),
            firmware_revision: 0,
            secret: None,
            challenge: false,
            hide_avps: false,
            framing_capabilities: FramingTypes::SYNC | FramingTypes::ASYNC,
            bearer_capabilities: BearerTypes::empty(),
            tie_breaker: false,
            control_dscp: None,
            session_dscp: None,
            require_dscp: false,
            ecn: false,
            rx_window: 10,
            tx_window: 10,
            hello_interval: Some(Duration::from_secs(60)),
            retry_timeout: Duration::from_secs(1),
            retry_cap: Duration::from_secs(8),
            max_retries: 5,
            establish_timeout: Some(Duration::from_secs(120)),
            call_establish_timeout: Some(Duration::from_secs(120)),
            max_calls: usize::from(u16::MAX),
        }
    }
}

impl TunnelConfig {
    /// How long to wait for an acknowledgement after the `retries`th retransmission; after the first transmission, for 0.
    pub(crate) fn retry_interval(&self, retries: u32) -> Duration {
        let doubled = 1_u32
            .checked_shl(retries)
            .and_then(|factor| self.retry_timeout.checked_mul(factor));
        doubled.map_or(self.retry_cap, |interval| interval.min(self.retry_cap))
    }

    /// A full retransmission cycle (RFC 2661 section 5.7): from a message's first transmission until it is given up.
    pub(crate) fn retry_cycle(&self) -> Duration {
        (0..=self.max_retries)
            .map(|retries| self.retry_interval(retries))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recommended_cycle_takes_31_seconds() {
        let config = TunnelConfig::default();
        let intervals: Vec<_> = (0..6).map(|n| config.retry_interval(n).as_secs()).collect();
        assert_eq!(intervals, [1, 2, 4, 8, 8, 8]);
        assert_eq!(config.retry_cycle().as_secs(), 31);
        assert_eq!(config.retry_interval(1000).as_secs(), 8);
    }
}
