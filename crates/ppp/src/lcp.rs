//! The Link Control Protocol's options (RFC 1661 section 6).

use sansio::Rng;
use serde::{Deserialize, Serialize};
use wire::ppp::iana::lcp_option as kind;
use wire::ppp::{LcpOption, Protocol, RawOption};
use wire::{BufferFull, Writer};

use crate::io::Timer;
use crate::layer::{Opinion, Options, REQUEST_ROOM, Stuck};
use crate::{AllowedOptions, AuthProtocol, DEFAULT_MRU, LinkConfig, Negotiation};

/// The smallest MRU of a peer that we put up with, in octets: what every IPv4 host takes (RFC 791 section 3.1). Whatever control
/// protocols say here fits.
pub(crate) const MIN_MRU: u16 = 576;

/// Our own magic number seen this often in the peer's requests means a loop.
const MAX_LOOPS: u8 = 5;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lcp {
    /// We have something to authenticate ourselves with.
    has_credentials: bool,
    /// What we ask for. 1500 is not asked for.
    pub(crate) mru: u16,
    /// The characters that the peer is to escape, where we ask for that.
    pub(crate) accm: Option<u32>,
    /// Our map and the peer's, where somebody knows them better than we.
    pub(crate) told_maps: Option<(u32, u32)>,
    /// Whether we ask for compressed protocol fields.
    pfc: bool,
    /// Whether we ask for frames without address and control fields.
    acfc: bool,
    /// Ours; 0 when the peer rejects the option.
    pub(crate) magic: u32,
    /// What the peer has to authenticate itself by.
    pub(crate) demand: Option<AuthProtocol>,
    /// The protocol that was our last offer when the peer refused to authenticate itself.
    pub(crate) refused: Option<AuthProtocol>,
    /// Requests of the peer that held our own magic number, in a row.
    loops: u8,
    /// What the peer asked for and we agreed to.
    pub(crate) peer: Asked,
    /// Its options as they came.
    pub(crate) peer_request: Box<[u8]>,
}

/// What a Configure-Request of the peer asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) mru: u16,
    pub(crate) accm: u32,
    pub(crate) auth: Option<AuthProtocol>,
    pub(crate) magic: u32,
    pub(crate) pfc: bool,
    pub(crate) acfc: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            mru: DEFAULT_MRU,
            accm: u32::MAX,
            auth: None,
            magic: 0,
            pfc: false,
            acfc: false,
        }
    }
}

impl Lcp {
    pub(crate) fn new(has_credentials: bool) -> Self {
        Self {
            has_credentials,
            mru: DEFAULT_MRU,
            accm: None,
            told_maps: None,
            pfc: false,
            acfc: false,
            magic: 0,
            demand: None,
            refused: None,
            loops: 0,
            peer: Asked::default(),
            peer_request: Box::default(),
        }
    }

    /// The options of our Configure-Request.
    pub(crate) fn own_request(&self) -> Vec<u8> {
        let mut room = [0; REQUEST_ROOM];
        let mut w = Writer::new(&mut room);
        match self.request(&mut w) {
            Ok(()) => w.written().to_vec(),
            Err(BufferFull) => Vec::new(),
        }
    }

    /// Judges an option that concerns the peer's line, where that does not allow everything; `None` when it may be as it is.
    fn forbidden(
        option: &LcpOption<'_>,
        allowed: &AllowedOptions,
        naks: &mut Writer<'_>,
    ) -> Result<Option<Opinion>, BufferFull> {
        let better = match *option {
            LcpOption::Mru(mru) => match allowed.mru {
                Some(most) if mru <= most => return Ok(None),
                most => most.map(LcpOption::Mru),
            },
            LcpOption::Accm(map) => match allowed.accm {
                Some(most) if map & !most == 0 => return Ok(None),
                most => most.map(|most| LcpOption::Accm(map & most)),
            },
            LcpOption::ProtocolFieldCompression if !allowed.pfc => None,
            LcpOption::AddressControlFieldCompression if !allowed.acfc => None,
            _ => return Ok(None),
        };
        match better {
            Some(better) => nak(better, naks).map(Some),
            None => Ok(Some(Opinion::Reject)),
        }
    }

    /// Whether the peer is ourselves.
    pub(crate) fn is_looped_back(&self, config: &LinkConfig) -> bool {
        // Before Naks become Rejects, after which nobody has a magic number any more.
        self.loops >= MAX_LOOPS.min(config.lcp.max_failure.max(1))
    }

    /// Whether a magic number in a packet from the peer is ours.
    pub(crate) fn is_own_magic(&self, magic: u32) -> bool {
        magic != 0 && magic == self.magic
    }

    fn consider_auth(
        &self,
        wanted: Option<AuthProtocol>,
        asked: &mut Asked,
        naks: &mut Writer<'_>,
        config: &LinkConfig,
    ) -> Result<Opinion, BufferFull> {
        let accepted = if self.has_credentials {
            config.accept_auth.as_slice()
        } else {
            &[]
        };
        match (
            wanted.filter(|wanted| accepted.contains(wanted)),
            accepted.first(),
        ) {
            (Some(wanted), _) => {
                asked.auth = Some(wanted);
                Ok(Opinion::Ack)
            }
            (None, Some(best)) => {
                let (protocol, data) = best.option();
                nak(LcpOption::Authentication { protocol, data }, naks)
            }
            (None, None) => Ok(Opinion::Reject),
        }
    }
}

fn nak(better: LcpOption<'_>, naks: &mut Writer<'_>) -> Result<Opinion, BufferFull> {
    better.encode(naks).map(|()| Opinion::Nak)
}

/// A magic number: anything but 0.
fn draw_magic(rng: &mut dyn Rng) -> u32 {
    rng.next_u32().max(1)
}

impl Options for Lcp {
    const PROTOCOL: Protocol = Protocol::LCP;
    const TIMER: Timer = Timer::Lcp;
    type Asked = Asked;

    fn negotiation(config: &LinkConfig) -> &Negotiation {
        &config.lcp
    }

    fn reset(&mut self, config: &LinkConfig, rng: &mut dyn Rng) {
        self.mru = config.mru;
        (self.accm, self.pfc, self.acfc) = (config.accm, config.pfc, config.acfc);
        self.magic = draw_magic(rng);
        self.demand = config.require_auth.first().copied();
        self.refused = None;
        self.loops = 0;
    }

    fn request(&self, w: &mut Writer<'_>) -> Result<(), BufferFull> {
        if self.mru != DEFAULT_MRU {
            LcpOption::Mru(self.mru).encode(w)?;
        }
        if let Some(map) = self.accm {
            LcpOption::Accm(map).encode(w)?;
        }
        if let Some((protocol, data)) = self.demand.map(AuthProtocol::option) {
            LcpOption::Authentication { protocol, data }.encode(w)?;
        }
        if self.magic != 0 {
            LcpOption::MagicNumber(self.magic).encode(w)?;
        }
        if self.pfc {
            LcpOption::ProtocolFieldCompression.encode(w)?;
        }
        if self.acfc {
            LcpOption::AddressControlFieldCompression.encode(w)?;
        }
        Ok(())
    }

    fn consider(
        &mut self,
        option: RawOption<'_>,
        asked: &mut Asked,
        naks: &mut Writer<'_>,
        config: &LinkConfig,
        rng: &mut dyn Rng,
    ) -> Result<Opinion, BufferFull> {
        let Ok(known) = LcpOption::decode(option) else {
            // Of a wrong length: the answer is one of the right length.
            return match option.kind {
                kind::MRU => nak(LcpOption::Mru(DEFAULT_MRU), naks),
                kind::ACCM => nak(LcpOption::Accm(0), naks),
                kind::AUTHENTICATION => self.consider_auth(None, asked, naks, config),
                kind::MAGIC_NUMBER => nak(LcpOption::MagicNumber(draw_magic(rng)), naks),
                kind::PFC => nak(LcpOption::ProtocolFieldCompression, naks),
                kind::ACFC => nak(LcpOption::AddressControlFieldCompression, naks),
                _ => Ok(Opinion::Reject),
            };
        };
        if let Some(allowed) = &config.allowed
            && let Some(opinion) = Self::forbidden(&known, allowed, naks)?
        {
            return Ok(opinion);
        }
        match known {
            LcpOption::Mru(mru) if mru < MIN_MRU => return nak(LcpOption::Mru(MIN_MRU), naks),
            LcpOption::Mru(mru) => asked.mru = mru,
            LcpOption::Accm(map) => asked.accm = map,
            LcpOption::Authentication { protocol, data } => {
                let wanted = AuthProtocol::from_option(protocol, data);
                return self.consider_auth(wanted, asked, naks, config);
            }
            LcpOption::MagicNumber(magic) if magic == 0 || magic == self.magic => {
                self.loops = self.loops.saturating_add(u8::from(magic != 0));
                return nak(LcpOption::MagicNumber(draw_magic(rng)), naks);
            }
            LcpOption::MagicNumber(magic) => asked.magic = magic,
            LcpOption::ProtocolFieldCompression => asked.pfc = true,
            LcpOption::AddressControlFieldCompression => asked.acfc = true,
            LcpOption::Other(_) => return Ok(Opinion::Reject),
        }
        Ok(Opinion::Ack)
    }

    fn agreed(&mut self, asked: Asked, request: &[u8]) {
        self.loops = 0;
        self.peer = asked;
        self.peer_request = request.into();
    }

    fn naked(
        &mut self,
        option: RawOption<'_>,
        config: &LinkConfig,
        rng: &mut dyn Rng,
    ) -> Result<(), Stuck> {
        match LcpOption::decode(option) {
            // The peer's hint at what it can send; more than we receive is no use to us.
            Ok(LcpOption::Mru(mru)) if mru >= MIN_MRU => self.mru = mru.min(config.mru),
            // Who has to escape more says so (RFC 1662 section 7.1).
            Ok(LcpOption::Accm(map)) => self.accm = self.accm.map(|ours| ours | map),
            Ok(LcpOption::MagicNumber(_)) if self.magic != 0 => self.magic = draw_magic(rng),
            Ok(LcpOption::Authentication { protocol, data }) => {
                let Some(present) = self.demand else {
                    return Ok(());
                };
                let offers = &config.require_auth;
                let hint = AuthProtocol::from_option(protocol, data)
                    .filter(|hint| *hint != present && offers.contains(hint));
                let next = || {
                    offers
                        .iter()
                        .skip_while(|offer| **offer != present)
                        .nth(1)
                        .copied()
                };
                match hint.or_else(next) {
                    Some(other) => self.demand = Some(other),
                    None => return self.rejected(kind::AUTHENTICATION),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn rejected(&mut self, kind: u8) -> Result<(), Stuck> {
        match kind {
            kind::MRU => self.mru = DEFAULT_MRU,
            kind::ACCM => self.accm = None,
            kind::PFC => self.pfc = false,
            kind::ACFC => self.acfc = false,
            kind::MAGIC_NUMBER => self.magic = 0,
            kind::AUTHENTICATION if self.demand.is_some() => {
                self.refused = self.demand;
                return Err(Stuck);
            }
            _ => {}
        }
        Ok(())
    }
}
