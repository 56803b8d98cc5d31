//! Traces and captures, against a daemon that has some of each.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod fake;

use std::process::Output;

use fake::{Daemon, stderr};
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::Value;

/// What a program says with `--json`, a line each.
fn documents(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_trace_is_a_ladder_json_and_a_file_for_wireshark() {
    let daemon = Daemon::start();
    let output = daemon.run(&["tunnel", "trace", "tunnel_name=office"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let ladder = "        s  192.0.2.1:1701          192.0.2.2:1701
    0.000  |- HELLO 3/4 ----------------------->|
    1.499  |- HELLO 3/4 again ----------------->|
    1.599  |<......................... ZLB 4/4 .|
";
    assert_eq!(String::from_utf8_lossy(&output.stdout), ladder);

    let json = daemon.run(&["tunnel", "trace", "tunnel_id=9", "count=2", "--json"]);
    let events = documents(&json);
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["name"], "HELLO");
    assert_eq!(events[1]["repeated"], true);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace.pcapng");
    let name = file.to_str().unwrap();
    let output = daemon.run(&["tunnel", "trace", "peer_ipaddr=192.0.2.2", "--pcap", name]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let mut reader = PcapNgReader::new(std::fs::File::open(&file).unwrap()).unwrap();
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            // The library reads times as nanoseconds, whatever is said of them.
            Block::InterfaceDescription(interface) => {
                let options = format!("{:?}", interface.options);
                assert_eq!(options, "[IfTsResol(9)]");
            }
            Block::EnhancedPacket(packet) => {
                packets.push((packet.timestamp, packet.data.to_vec()));
            }
            _ => {}
        }
    }
    let payloads: Vec<_> = packets
        .iter()
        .map(|(_, packet)| packet[42..].len())
        .collect();
    assert_eq!(payloads, [20, 20, 12]);
    assert_eq!(packets[1].0.as_micros(), 1_500_000);

    for (words, said) in [
        (&["tunnel", "trace"][..], "is needed"),
        (&["tunnel", "list", "--pcap", name], "goes with"),
    ] {
        let output = daemon.run(words);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(said));
    }
}

#[test]
fn a_capture_is_a_file_of_raw_ip_with_directions_and_what_was_lost() {
    let daemon = Daemon::start();
    let of = ["session", "capture", "tunnel_name=office", "session_id=5"];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session.pcapng");
    let name = file.to_str().unwrap();
    let output = daemon.run(&[&of[..], &["-w", name]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "3 packets captured, 7 lost\n");
    let written = std::fs::read(&file).unwrap();
    let mut reader = PcapNgReader::new(&written[..]).unwrap();
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.linktype, pcap_file::DataLink::RAW);
                let options = format!("{:?}", interface.options);
                assert_eq!(options, "[IfTsResol(9)]");
            }
            Block::EnhancedPacket(packet) => packets.push((
                packet.timestamp.as_micros(),
                packet.data.to_vec(),
                format!("{:?}", packet.options),
            )),
            _ => {}
        }
    }
    let ip = vec![0x45, 0, 0, 20];
    let options = |flags: u32, lost: u64| format!("[Flags({flags}), DropCount({lost})]");
    assert_eq!(
        packets,
        [
            (1_500_000, ip.clone(), options(2, 0)),
            (1_600_000, ip.clone(), options(1, 7)),
            (1_700_000, ip, options(2, 0)),
        ]
    );

    let output = daemon.run(&[&of[..], &["count=1"]].concat());
    assert_eq!(stderr(&output), "1 packets captured, 0 lost\n");
    assert_eq!(output.stdout[..4], written[..4]);
    let output = daemon.run(&[&of[..], &["count=2", "--json", "-q"]].concat());
    let lines = documents(&output);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["lost"], 7);

    for (words, status, said) in [
        (&["tunnel_name=office", "session_id=404"][..], 3, "no such"),
        (&["tunnel_name=office"], 2, "session_id or session_name"),
        (&["session_id=1"], 2, "tunnel_id or tunnel_name"),
        (&["tunnel_name=office", "session_id=x"], 2, "number"),
        (
            &["tunnel_name=office", "session_id=1", "count=0"],
            2,
            "count",
        ),
    ] {
        let output = daemon.run(&[&["session", "capture"], words].concat());
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    let output = daemon.run(&["tunnel", "list", "-w", name]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_is_refused_leaves_the_file_as_it_was() {
    let daemon = Daemon::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kept.pcapng");
    std::fs::write(&file, "kept").unwrap();
    let name = file.to_str().unwrap();
    let nobody = directory.path().join("socket");
    let capture = ["session", "capture", "tunnel_name=office", "-w", name];
    let trace = ["tunnel", "trace", "tunnel_name=office", "--pcap", name];
    for (words, socket, status) in [
        (
            &[&capture[..], &["session_id=404"]].concat(),
            &daemon.socket,
            3,
        ),
        (&[&capture[..], &["session_id=5"]].concat(), &nobody, 4),
        (&trace.to_vec(), &nobody, 4),
    ] {
        let output = fake::program(socket).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        assert_eq!(std::fs::read(&file).unwrap(), b"kept", "{words:?}");
    }
    let folder = directory.path().to_str().unwrap();
    let output = daemon.run(&[&capture[..3], &["session_id=5", "-w", folder]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains(folder), "{}", stderr(&output));
}
