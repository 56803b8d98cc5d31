//! Engines over a simulated network in virtual time.
