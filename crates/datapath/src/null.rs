//! The engine that carries nothing: tests, load, control-plane-only machines.
