//! The IPv6 Control Protocol's options (RFC 5072 section 4).

use sansio::Rng;
use serde::{Deserialize, Serialize};
use wire::ppp::iana::ipv6cp_option as kind;
use wire::ppp::{Ipv6cpOption, Protocol, RawOption};
use wire::{BufferFull, Writer};

use crate::io::Timer;
use crate::layer::{Opinion, Options, Stuck};
use crate::{Ipv6Config, LinkConfig, Negotiation};

/// An interface identifier; all zeros is none.
type Id = [u8; 8];

/// No identifier.
const NONE: Id = [0; 8];

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ipv6cp {
    pub(crate) config: Ipv6Config,
    /// Ours.
    pub(crate) id: Id,
    /// The peer rejects the option: ours is not negotiated.
    unasked: bool,
    /// The peer's, as agreed.
    peer: Id,
}

impl Ipv6cp {
    /// The peer's identifier, once open. Without one there is no IPv6.
    pub(crate) fn peer(&self) -> Option<Id> {
        (self.peer != NONE).then_some(self.peer)
    }

    /// The identifier that the peer should have: the configured one, or one made up that is not ours.
    fn give(&self, rng: &mut dyn Rng) -> Id {
        self.config.peer_id.unwrap_or_else(|| draw(rng, &self.id))
    }
}

/// A random identifier, marked as not globally unique (RFC 5072 section 4.1), other than `taken`.
fn draw(rng: &mut dyn Rng, taken: &Id) -> Id {
    let mut id = rng.next_u64().to_be_bytes();
    id[0] &= !0x02;
    id[7] |= 1;
    if id == *taken {
        id[7] ^= 2;
    }
    id
}

impl Options for Ipv6cp {
    const PROTOCOL: Protocol = Protocol::IPV6CP;
    const TIMER: Timer = Timer::Ipv6cp;
    type Asked = Id;

    fn negotiation(config: &LinkConfig) -> &Negotiation {
        &config.ipv6cp
    }

    fn reset(&mut self, _config: &LinkConfig, rng: &mut dyn Rng) {
        self.id = self.config.local_id.unwrap_or_else(|| draw(rng, &NONE));
        self.unasked = false;
    }

    fn request(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        if self.unasked {
            Ok(())
        } else {
            Ipv6cpOption::InterfaceIdentifier(self.id).encode(w)
        }
    }

    fn consider(
        &mut self,
        option: RawOption<'_>,
        asked: &mut Id,
        naks: &mut Writer<'_>,
        _config: &LinkConfig,
        rng: &mut dyn Rng,
    ) -> Result<Opinion, BufferFull> {
        let wanted = match Ipv6cpOption::decode(option) {
            Ok(Ipv6cpOption::InterfaceIdentifier(id)) => id,
            // Of a wrong length: as good as a question.
            Err(_) => NONE,
            Ok(Ipv6cpOption::Other(_)) => return Ok(Opinion::Reject),
        };
        let given = self.config.peer_id.is_some_and(|id| id != wanted);
        if wanted == NONE || wanted == self.id || given {
            let better = Ipv6cpOption::InterfaceIdentifier(self.give(rng));
            return better.encode(naks).map(|()| Opinion::Nak);
        }
        *asked = wanted;
        Ok(Opinion::Ack)
    }

    fn missing(
        &mut self,
        asked: &Id,
        naks: &mut Writer<'_>,
        rng: &mut dyn Rng,
    ) -> Result<(), BufferFull> {
        // The naks may hold it already, for a request that asked for another.
        if *asked == NONE && naks.is_empty() {
            Ipv6cpOption::InterfaceIdentifier(self.give(rng)).encode(naks)?;
        }
        Ok(())
    }

    fn agreed(&mut self, asked: Id, _request: &[u8]) {
        self.peer = asked;
    }

    fn naked(
        &mut self,
        option: RawOption<'_>,
        _config: &LinkConfig,
        rng: &mut dyn Rng,
    ) -> Result<(), Stuck> {
        if let Ok(Ipv6cpOption::InterfaceIdentifier(id)) = Ipv6cpOption::decode(option) {
            // What the peer suggests may be its own identifier: then both ends must think of another (section 4.1).
            let usable = id != NONE && id != self.peer && id != self.id;
            self.id = if usable { id } else { draw(rng, &self.peer) };
        }
        Ok(())
    }

    fn rejected(&mut self, kind: u8) -> Result<(), Stuck> {
        self.unasked |= kind == kind::INTERFACE_IDENTIFIER;
        Ok(())
    }
}
