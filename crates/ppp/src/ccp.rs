//! The Compression Control Protocol's options, of which MPPE is the one that we speak (RFC 1962, RFC 3078 section 2).

use crypto::mppe::{KeyLength, Mode};
use sansio::Rng;
use serde::{Deserialize, Serialize};
use wire::ppp::iana::ccp_option as kind;
use wire::ppp::{CcpOption, MppeBits, Protocol, RawOption};
use wire::{BufferFull, Writer};

use crate::io::Timer;
use crate::layer::{Opinion, Options, Stuck};
use crate::{LinkConfig, Negotiation};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ccp {
    /// The lengths that may be agreed on.
    pub(crate) lengths: Vec<KeyLength>,
    /// Stateful mode is wanted.
    stateful: bool,
    /// What our Configure-Request asks for: what the peer is to send.
    offer: u32,
    /// The peer was asked for stateful mode once. It may insist on the other.
    asked_for_stateful: bool,
    /// What we send, as agreed.
    peer: Option<u32>,
}

impl Ccp {
    /// What was agreed on, once open; `None` when that is no encryption, or not the same both ways.
    pub(crate) fn mode(&self) -> Option<Mode> {
        let ours = mode(MppeBits::from_bits_retain(self.offer))?;
        let theirs = mode(MppeBits::from_bits_retain(self.peer?))?;
        (ours == theirs).then_some(ours)
    }

    /// The best of the lengths that `bits` name and we may use.
    fn strongest(&self, bits: MppeBits) -> Option<KeyLength> {
        let known = KeyLength::ALL.into_iter();
        let mut common =
            known.filter(|&length| self.lengths.contains(&length) && bits.contains(bit(length)));
        common.next()
    }

    /// What we would have the peer ask for, if it asks for `bits`.
    fn answer(&self, bits: MppeBits) -> MppeBits {
        let all = MppeBits::all();
        let length = self.strongest(bits).or_else(|| self.strongest(all));
        let insists = bits.contains(MppeBits::STATELESS) && self.asked_for_stateful;
        let mut answer = length.map_or(MppeBits::empty(), bit);
        answer.set(MppeBits::STATELESS, !self.stateful || insists);
        answer
    }
}

/// The bit that stands for keys of this length.
const fn bit(length: KeyLength) -> MppeBits {
    match length {
        KeyLength::Bits40 => MppeBits::KEYS_40,
        KeyLength::Bits56 => MppeBits::KEYS_56,
        KeyLength::Bits128 => MppeBits::KEYS_128,
    }
}

/// What bits mean that name one length and nothing unknown.
fn mode(bits: MppeBits) -> Option<Mode> {
    let mut known = KeyLength::ALL.into_iter();
    let length = known.find(|&length| bits.difference(MppeBits::STATELESS) == bit(length));
    length.map(|length| Mode {
        length,
        stateful: !bits.contains(MppeBits::STATELESS),
    })
}

impl Options for Ccp {
    const PROTOCOL: Protocol = Protocol::CCP;
    const TIMER: Timer = Timer::Ccp;
    /// The Linux kernel goes on from its key at every Configure-Ack that it sees, the second one to the same request too.
    const REPEATS_EARLY: bool = false;
    /// What is agreed on stands. A request for the same is late, or its sender's that missed our answer: with a new identifier where its first one was
    /// answered, and its restart timer fired before ours came (RFC 1661 section 5.1).
    const BEGINS_ANEW: bool = false;
    /// The bits of its MPPE option.
    type Asked = Option<u32>;

    fn negotiation(config: &LinkConfig) -> &Negotiation {
        &config.ccp
    }

    fn reset(&mut self, config: &LinkConfig, _rng: &mut dyn Rng) {
        self.stateful = config.mppe.as_ref().is_some_and(|mppe| mppe.stateful);
        self.asked_for_stateful = false;
        // All that is possible, of which the peer names one (RFC 3078 section 2.1).
        let mut offer: MppeBits = self.lengths.iter().copied().map(bit).collect();
        offer.set(MppeBits::STATELESS, !self.stateful);
        self.offer = offer.bits();
        self.peer = None;
    }

    fn request(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        CcpOption::Mppe(MppeBits::from_bits_retain(self.offer)).encode(w)
    }

    fn consider(
        &mut self,
        option: RawOption<'_>,
        asked: &mut Option<u32>,
        naks: &mut Writer<'_>,
        _config: &LinkConfig,
        _rng: &mut dyn Rng,
    ) -> Result<Opinion, BufferFull> {
        let bits = match CcpOption::decode(option) {
            Ok(CcpOption::Mppe(bits)) => bits,
            // Of a wrong length: as good as a question.
            Err(_) => MppeBits::empty(),
            Ok(CcpOption::Other(_)) => return Ok(Opinion::Reject),
        };
        let answer = self.answer(bits);
        *asked = Some(bits.bits());
        if answer == bits {
            return Ok(Opinion::Ack);
        }
        self.asked_for_stateful |= self.stateful;
        CcpOption::Mppe(answer).encode(naks).map(|()| Opinion::Nak)
    }

    fn missing(
        &mut self,
        asked: &Option<u32>,
        naks: &mut Writer<'_>,
        _rng: &mut dyn Rng,
    ) -> Result<(), BufferFull> {
        match asked {
            None => CcpOption::Mppe(self.answer(MppeBits::empty())).encode(naks),
            Some(_) => Ok(()),
        }
    }

    fn agreed(&mut self, asked: Option<u32>, _request: &[u8]) {
        self.peer = asked;
    }

    fn naked(
        &mut self,
        option: RawOption<'_>,
        _config: &LinkConfig,
        _rng: &mut dyn Rng,
    ) -> Result<(), Stuck> {
        let Ok(CcpOption::Mppe(better)) = CcpOption::decode(option) else {
            return Ok(());
        };
        let length = self.strongest(better).ok_or(Stuck)?;
        // Stateless mode is what everybody can have.
        let stateless = !self.stateful || better.contains(MppeBits::STATELESS);
        let mut offer = bit(length);
        offer.set(MppeBits::STATELESS, stateless);
        self.offer = offer.bits();
        Ok(())
    }

    fn rejected(&mut self, kind: u8) -> Result<(), Stuck> {
        let offer = MppeBits::from_bits_retain(self.offer);
        if kind != kind::MPPE {
            return Ok(());
        }
        if offer.contains(MppeBits::STATELESS) {
            return Err(Stuck);
        }
        // It may be stateful mode that is refused.
        self.offer = offer.union(MppeBits::STATELESS).bits();
        Ok(())
    }
}
