//! Reads the captures in this folder. Included by path in the tests of the crates that use them.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "no test uses all of it, and a test exports nothing"
)]
#![allow(clippy::unwrap_used, reason = "tests only")]

use std::fs::File;
use std::path::{Path, PathBuf};

use pcap_file::pcap::PcapReader;

/// The shared secret of the captures that have one.
pub const SECRET: &str = "s3cret";

/// The UDP payload of one frame of a capture.
pub struct Frame {
    /// Its number in the file, from 1, as Wireshark counts.
    pub number: usize,
    /// Whether it came from the LAC's address.
    pub from_lac: bool,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// The names of all captures, without `.pcap`, in order.
pub fn names() -> Vec<String> {
    let files = folder()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let captures = files.filter(|path| path.extension().is_some_and(|e| e == "pcap"));
    let mut names: Vec<_> = captures
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

/// The UDP payloads of one capture, in order.
pub fn read(name: &str) -> Vec<Frame> {
    let file = File::open(folder().join(name).with_extension("pcap")).unwrap();
    let mut reader = PcapReader::new(file).unwrap();
    let mut frames = Vec::new();
    for number in 1.. {
        let Some(packet) = reader.next_packet() else {
            break;
        };
        if let Some((source, payload)) = udp(&packet.unwrap().data) {
            frames.push(Frame {
                number,
                from_lac: source == [10, 99, 0, 1],
                payload: payload.to_vec(),
            });
        }
    }
    frames
}

/// The control messages of one capture, in order: UDP payloads whose T bit is set.
pub fn control(name: &str) -> impl Iterator<Item = Frame> {
    read(name)
        .into_iter()
        .filter(|frame| frame.payload.first().is_some_and(|first| first & 0x80 != 0))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures")
}

/// The source address and payload of an unfragmented UDP datagram over IPv4 over Ethernet.
fn udp(frame: &[u8]) -> Option<([u8; 4], &[u8])> {
    let (ethernet, ip) = frame.split_at_checked(14)?;
    let is_udp = ethernet[12..] == [0x08, 0x00] && ip.get(9) == Some(&17);
    let fragmented = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x3fff != 0;
    if !is_udp || fragmented {
        return None;
    }
    let datagram = ip.get(usize::from(ip[0] & 0x0f) * 4..)?;
    let length = usize::from(u16::from_be_bytes([*datagram.get(4)?, *datagram.get(5)?]));
    Some((ip[12..16].try_into().ok()?, datagram.get(8..length)?))
}
