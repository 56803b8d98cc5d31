//! A build without the engine `ebpf`.

use std::sync::Arc;

use crate::tun::{Candidate, Why};
use crate::{SessionSpec, Stats, UNCARRIED};

const LEFT_OUT: &str = "it was left out of this build";

/// There is nothing to load.
pub enum Loaded {}

/// Nothing is ever counted.
pub enum Uncarried {}

impl Uncarried {
    /// Of nothing.
    pub fn counts(&self) -> [u64; UNCARRIED.len()] {
        match *self {}
    }
}

impl Loaded {
    pub(crate) fn uncarried(&self) -> Arc<Uncarried> {
        match *self {}
    }

    pub(crate) const fn is_interpreted(&self) -> bool {
        match *self {}
    }

    pub(crate) fn try_out(&mut self) -> Result<(), String> {
        match *self {}
    }

    pub(crate) fn try_attach(&mut self, _: &str) -> Result<&'static str, String> {
        match *self {}
    }
}

/// # Errors
///
/// Always.
pub fn load() -> Result<Loaded, String> {
    Err(LEFT_OUT.to_owned())
}

pub(crate) fn load_small() -> Result<Loaded, String> {
    load()
}

/// # Errors
///
/// Always.
pub(crate) fn try_pair() -> Result<(), String> {
    Err(LEFT_OUT.to_owned())
}

/// # Errors
///
/// Always.
pub(crate) fn try_uplinks() -> Result<String, String> {
    Err(LEFT_OUT.to_owned())
}

/// Nothing is ever said.
pub(crate) enum Notice {}

/// There is none.
pub(crate) enum Accelerator {}

impl Accelerator {
    pub(crate) fn start(
        loaded: Loaded,
        _: impl FnMut(Notice) + Send + 'static,
    ) -> Result<Self, String> {
        match loaded {}
    }

    pub(crate) fn take(&mut self, notice: Notice) -> bool {
        match notice {}
    }

    pub(crate) fn update(&mut self, _: &Candidate<'_>) -> Result<(), Why> {
        match *self {}
    }

    pub(crate) fn leave(&mut self, _: &SessionSpec) {
        match *self {}
    }

    pub(crate) fn lose(&mut self, _: u32) {
        match *self {}
    }

    pub(crate) fn forget(&mut self, _: &SessionSpec) -> Stats {
        match *self {}
    }

    pub(crate) fn stats(&self, _: &SessionSpec) -> Stats {
        match *self {}
    }
}
