//! What several readings of one figure come to.

/// A median, and what it lies between.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The one in the middle; of an even number the higher one.
    pub median: f64,
    /// The lowest.
    pub least: f64,
    /// The highest.
    pub most: f64,
}

impl Spread {
    /// None of no readings.
    pub fn of(mut readings: Vec<f64>) -> Option<Self> {
        readings.sort_by(f64::total_cmp);
        Some(Self {
            median: *readings.get(readings.len() / 2)?,
            least: *readings.first()?,
            most: *readings.last()?,
        })
    }
}
