use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Direction;
use crate::trace::{hexadecimal, is_zero};

/// An IP packet of a session, as its device gave or took it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CapturedPacket {
    /// Microseconds since 1970 began.
    pub time: u64,
    /// Whether it came from the peer or went there.
    pub direction: Direction,
    /// The packet in hexadecimal digits.
    pub octets: String,
    /// How many packets before it this reader has missed, because it read too slowly.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

impl CapturedPacket {
    /// A packet at `time` microseconds since 1970 began.
    pub fn new(time: u64, direction: Direction, packet: &[u8], lost: u64) -> Self {
        Self {
            time,
            direction,
            octets: hexadecimal(packet),
            lost,
        }
    }

    /// The packet; none if the digits are none.
    pub fn packet(&self) -> Option<Vec<u8>> {
        let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        self.octets.as_bytes().chunks(2).map(octet).collect()
    }
}
