//! The L2TP control plane without I/O: reliable transport, control connections and calls.
