//! Whole-program benchmarks, each printing one JSON line.
fn main() {}
