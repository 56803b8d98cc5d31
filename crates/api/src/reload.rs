use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What reading the configuration file again came to, or would come to.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReloadReport {
    /// Whether nothing was done but to look.
    pub dry_run: bool,
    /// Objects that the file did not have before.
    pub added: Few,
    /// Objects that it has otherwise than before.
    pub changed: Few,
    /// Objects that it has no more.
    pub removed: Few,
    /// What becomes of live tunnels and sessions. Those that are not named go on untouched.
    pub affected: Few,
    /// What was wanted and refused; the rest was done.
    pub failed: Few,
}

/// A list of which a person sees the first.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Few {
    /// How many there are.
    pub count: u64,
    /// The first of them, 100 at most.
    pub first: Vec<String>,
}

impl Extend<String> for Few {
    fn extend<T: IntoIterator<Item = String>>(&mut self, more: T) {
        more.into_iter().for_each(|one| self.push(one));
    }
}

impl Few {
    /// How many are named.
    pub const MOST: usize = 100;

    /// Adds one.
    pub fn push(&mut self, one: String) {
        self.count += 1;
        if self.first.len() < Self::MOST {
            self.first.push(one);
        }
    }
}
