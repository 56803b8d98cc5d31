//! Explicit Congestion Notification across a tunnel (RFC 6040).

/// The two low bits of a TOS octet or traffic class (RFC 3168 section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ecn {
    /// The transport does not know ECN.
    NotEct = 0,
    /// ECT(1).
    Ect1 = 1,
    /// ECT(0).
    Ect0 = 2,
    /// Congestion was met.
    Ce = 3,
}

impl Ecn {
    /// Of a TOS octet or traffic class.
    pub(crate) fn of(tos: u8) -> Self {
        match tos & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// What a packet leaves the tunnel with that had `self` inside and met with `outer` on the way (RFC 6040 section 4.2). None: it is dropped, as its
    /// transport would not understand that it caused congestion.
    pub(crate) fn merge(self, outer: Self) -> Option<Self> {
        match (self, outer) {
            (Self::NotEct, Self::Ce) => None,
            (Self::NotEct, _) => Some(Self::NotEct),
            (Self::Ce, _) | (_, Self::Ce) => Some(Self::Ce),
            (_, Self::Ect1) => Some(Self::Ect1),
            _ => Some(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn congestion_on_the_way_is_told_to_transports_that_understand_it() {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        // Figure 4 of RFC 6040: a row for each field inside, a column for Not-ECT, ECT(0), ECT(1) and CE outside.
        let table = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [NotEct, Ect0, Ect1, Ce].into_iter().zip(row) {
                assert_eq!(inner.merge(outer), expected, "{inner:?} in {outer:?}");
            }
        }
    }

    #[test]
    fn the_field_is_the_two_low_bits() {
        for tos in 0..=u8::MAX {
            assert_eq!(Ecn::of(tos) as u8, tos & 3);
        }
    }
}
