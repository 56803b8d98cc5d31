//! What it costs to decode one SCCRQ with ten AVPs: header, AVPs, typed values.

use std::hint::black_box;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bench::{median, timed};
use dhat::{HeapStats, Profiler};
use wire::Writer;
use wire::l2tp::{Attribute, Avps, BearerTypes, ControlHeader, FramingTypes, Header, MessageType};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const MESSAGES: u32 = 200_000;
const RUNS: usize = 7;
/// Asks the program itself to do nothing but decode so many times: what valgrind counts.
const ONLY_DECODE: &str = "--only-decode";

fn sccrq() -> Result<Vec<u8>> {
    let attributes = [
        Attribute::MessageType(MessageType::SCCRQ),
        Attribute::ProtocolVersion(1, 0),
        Attribute::HostName(b"lac.example.net"),
        Attribute::FramingCapabilities(FramingTypes::all()),
        Attribute::AssignedTunnelId(4711),
        Attribute::BearerCapabilities(BearerTypes::all()),
        Attribute::ReceiveWindowSize(10),
        Attribute::Challenge(b"0123456789abcdef"),
        Attribute::FirmwareRevision(0x0200),
        Attribute::VendorName(b"OpenL2TP"),
    ];
    let mut body = [0; 256];
    let mut w = Writer::new(&mut body);
    for attribute in &attributes {
        attribute.encode(&mut w)?;
    }
    let mut message = [0; 256];
    let mut out = Writer::new(&mut message);
    ControlHeader {
        tunnel_id: 0,
        session_id: 0,
        ns: 0,
        nr: 0,
    }
    .encode(w.len(), &mut out)?;
    out.bytes(w.written())?;
    Ok(out.written().to_vec())
}

/// Decodes every value of a message; how many AVPs there were.
fn decode(message: &[u8]) -> usize {
    let Ok((Header::Control(header), body)) = Header::decode(black_box(message)) else {
        return 0;
    };
    black_box(header);
    let typed = Avps::new(body)
        .flatten()
        .filter_map(|avp| Attribute::decode(avp.attribute_type()?, avp.value).ok());
    typed.inspect(|attribute| _ = black_box(attribute)).count()
}

fn decode_many(message: &[u8], times: u32) {
    for _ in 0..times {
        black_box(decode(message));
    }
}

/// Instructions of a run of this program that decodes so many times, as valgrind counts them.
fn instructions(times: u32) -> Result<u64> {
    let program = std::env::current_exe()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args([ONLY_DECODE, &times.to_string()])
        .output()
        .context("valgrind is needed to count instructions")?;
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let (_, count) = collected.with_context(|| format!("valgrind said no count:\n{report}"))?;
    Ok(count.trim().parse()?)
}

fn main() -> Result<()> {
    let message = sccrq()?;
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, only, times] = arguments.as_slice()
        && only == ONLY_DECODE
    {
        decode_many(&message, times.parse()?);
        return Ok(());
    }
    ensure!(
        decode(&message) == 10,
        "ten AVPs went in, {} came out",
        decode(&message)
    );

    let mut nanoseconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            timed(|| decode_many(&message, MESSAGES)).0.as_nanos() as f64 / f64::from(MESSAGES)
        })
        .collect();
    let profiler = Profiler::builder().testing().build();
    let before = HeapStats::get().total_blocks;
    decode_many(&message, 1_000);
    let allocations = HeapStats::get().total_blocks - before;
    drop(profiler);
    let (few, many) = (instructions(1_000)?, instructions(11_000)?);

    let line = serde_json::json!({
        "bench": "decode",
        "nanoseconds": (median(&mut nanoseconds) * 10.0).round() / 10.0,
        "min": (nanoseconds[0] * 10.0).round() / 10.0,
        "max": (nanoseconds[RUNS - 1] * 10.0).round() / 10.0,
        "instructions": (many - few) / 10_000,
        "allocations": allocations,
        "octets": message.len(),
        "avps": 10,
    });
    println!("{line}");
    Ok(())
}
