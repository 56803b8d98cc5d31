use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use sansio::Rng;

/// A target's octets, taken for choices. Once they are used up there are none, and the run is at its end.
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(crate) fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.octet()?, self.octet()?]))
    }

    /// A number below `limit`, which is at most 256.
    pub(crate) fn below(&mut self, limit: usize) -> Option<usize> {
        Some(usize::from(self.octet()?) % limit.max(1))
    }

    /// One of `these`; nothing of nothing.
    pub(crate) fn one_of<T: Copy>(&mut self, these: &[T]) -> Option<T> {
        let place = self.below(these.len())?;
        these.get(place).copied()
    }

    /// Octets after a length of one octet; fewer if there are not so many left.
    pub(crate) fn octets(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.octet()?).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(taken)
    }
}

/// Randomness that is the same in every run.
pub(crate) fn rng() -> impl Rng {
    ChaCha8Rng::seed_from_u64(1)
}
