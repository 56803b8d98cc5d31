//! The project's chores: test, demo, bench, virtual machines.
fn main() {}
