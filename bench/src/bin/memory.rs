//! What a fully open session costs an LNS: every octet of the heap that its engine and datapath hold, divided by the sessions.

use anyhow::Result;
use bench::Pair;
use dhat::{HeapStats, Profiler};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const TUNNELS: usize = 10;
const SESSIONS: usize = 10_000;

/// The octets that go when the LNS goes.
fn held_by_lns(sessions: usize) -> Result<usize> {
    let mut pair = Pair::new(TUNNELS)?;
    if sessions > 0 {
        pair.open(TUNNELS, sessions)?;
        pair.check_one()?;
    }
    let lns = pair.lns;
    let before = HeapStats::get().curr_bytes;
    pair.world.remove(lns);
    Ok(before - HeapStats::get().curr_bytes)
}

fn main() -> Result<()> {
    let _profiler = Profiler::builder().testing().build();
    let empty = held_by_lns(0)?;
    let full = held_by_lns(SESSIONS)?;
    let line = serde_json::json!({
        "bench": "memory",
        "bytes_per_session": (full - empty).div_ceil(SESSIONS),
        "bytes_without_sessions": empty,
        "sessions": SESSIONS,
        "tunnels": TUNNELS,
    });
    println!("{line}");
    Ok(())
}
