//! What a LAC knows of the peer's line and we can't (RFC 3437).

use wire::ppp::iana::code::CONFIGURE_REQUEST;
use wire::ppp::{LcpOption, Packet};

use crate::lcp::MIN_MRU;
use crate::{AllowedOptions, LinkConfig};

impl LinkConfig {
    /// The same for a peer at the other end of a LAC's line. The LAC gives lists of LCP options as a Configure-Request holds them: those that it
    /// wants us to ask the peer for, of which we take MRU (never more than our own), ACCM, PFC and ACFC, and all that it allows us to agree to. What
    /// can't be read ends its list.
    #[must_use]
    pub fn guided(&self, wanted: Option<&[u8]>, allowed: Option<&[u8]>) -> Self {
        let mut guided = self.clone();
        for option in options(wanted.unwrap_or_default()) {
            match option {
                LcpOption::Mru(mru) => guided.mru = self.mru.min(mru.max(MIN_MRU)),
                LcpOption::Accm(map) => guided.accm = Some(map),
                LcpOption::ProtocolFieldCompression => guided.pfc = true,
                LcpOption::AddressControlFieldCompression => guided.acfc = true,
                _ => {}
            }
        }
        if let Some(allowed) = allowed {
            guided.allowed = Some(AllowedOptions::of(allowed));
        }
        guided
    }
}

impl AllowedOptions {
    fn of(list: &[u8]) -> Self {
        let mut allowed = Self::default();
        for option in options(list) {
            match option {
                LcpOption::Mru(mru) => allowed.mru = Some(mru.max(MIN_MRU)),
                LcpOption::Accm(map) => allowed.accm = Some(map),
                LcpOption::ProtocolFieldCompression => allowed.pfc = true,
                LcpOption::AddressControlFieldCompression => allowed.acfc = true,
                _ => {}
            }
        }
        allowed
    }
}

fn options(list: &[u8]) -> impl Iterator<Item = LcpOption<'_>> {
    let request = Packet {
        code: CONFIGURE_REQUEST,
        identifier: 0,
        data: list,
    };
    let readable = request.options().map_while(Result::ok);
    readable.filter_map(|option| LcpOption::decode(option).ok())
}
