//! Wireshark's dissectors, asked through `tshark` what they make of UDP datagrams.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use serde_json::{Map, Value};

use crate::capture::L2TP_PORT;

/// How the dissector warns of an AVP that it does not know.
const UNDECODED: &str = "l2tp.vendor_specific_avp_data";

/// What the dissectors make of one datagram.
#[derive(Clone, Debug)]
pub struct Dissected(Value);

/// Writes `datagrams` to a capture `file`, each from the first address or, if its number is not 0, the second, and has it dissected.
///
/// # Errors
/// The file cannot be written, or tshark cannot read it.
pub fn dissect(file: &Path, datagrams: &[(usize, Vec<u8>)]) -> Result<Vec<Dissected>> {
    let header = PcapHeader {
        datalink: DataLink::IPV4,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(File::create(file)?, header)?;
    for (number, (from, datagram)) in datagrams.iter().enumerate() {
        let packet = packet(*from, datagram)?;
        let at = Duration::from_millis(number as u64);
        writer.write_packet(&PcapPacket::new(at, packet.len() as u32, &packet))?;
    }
    drop(writer);
    // Ports are what tells L2TP; names are not to be looked up.
    let mut tshark = Command::new("tshark");
    tshark
        .args(["-n", "-T", "json", "--no-duplicate-keys", "-r"])
        .arg(file);
    let output = tshark.output().context("cannot run tshark")?;
    ensure!(
        output.status.success(),
        "tshark: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let Value::Array(packets) = serde_json::from_slice(&output.stdout)? else {
        anyhow::bail!("tshark prints no list");
    };
    ensure!(
        packets.len() == datagrams.len(),
        "tshark saw {} packets",
        packets.len()
    );
    let layers = packets
        .into_iter()
        .map(|mut packet| Dissected(packet["_source"]["layers"].take()));
    Ok(layers.collect())
}

/// A datagram in UDP in IPv4.
fn packet(from: usize, datagram: &[u8]) -> Result<Vec<u8>> {
    let ends = [Ipv4Addr::new(10, 99, 0, 1), Ipv4Addr::new(10, 99, 0, 2)];
    let (source, target) = if from == 0 { (0, 1) } else { (1, 0) };
    let udp_length = u16::try_from(datagram.len() + 8)?;
    let mut packet = vec![0x45, 0];
    packet.extend((udp_length + 20).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(ends[source].octets());
    packet.extend(ends[target].octets());
    for number in [L2TP_PORT, L2TP_PORT, udp_length, 0] {
        packet.extend(number.to_be_bytes());
    }
    packet.extend(datagram);
    Ok(packet)
}

/// One AVP as Wireshark shows it.
#[derive(Clone, Debug)]
pub struct ShownAvp {
    /// Its name.
    pub name: String,
    /// Its fields, each as text.
    pub fields: Map<String, Value>,
}

impl ShownAvp {
    /// A field's value; nothing if it is not shown.
    pub fn field(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)?.as_str()
    }

    /// Whether the dissector does not know the AVP, and shows it as octets with a warning.
    pub fn is_undecoded(&self) -> bool {
        find(&self.fields, UNDECODED).is_some()
    }
}

impl Dissected {
    /// What Wireshark objects to: malformed packets and every kind of expert information, but for AVPs that it does not decode
    /// ([`ShownAvp::is_undecoded`]).
    pub fn objections(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.0, &mut |key, value| {
            let undecoded = value.get(UNDECODED).is_some();
            if ["_ws.malformed", "_ws.short", "_ws.expert"].contains(&key) && !undecoded {
                found.push(value.to_string());
            }
        });
        found
    }

    /// The deepest protocol that it found, by its layers' names.
    pub fn protocols(&self) -> Vec<&str> {
        self.0
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// A field of the L2TP header.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(self.0["l2tp"].as_object()?, name)?.as_str()
    }

    /// The AVPs, in no order.
    pub fn avps(&self) -> Vec<ShownAvp> {
        let mut avps = Vec::new();
        for (key, value) in self.0["l2tp"].as_object().into_iter().flatten() {
            let each = match value {
                Value::Array(several) => several.clone(),
                one => vec![one.clone()],
            };
            for value in each {
                if let Value::Object(fields) = value
                    && fields.contains_key("l2tp.avp.mandatory")
                {
                    // A vendor's comes after the vendor's own name.
                    let name = key.rsplit(": ").next().unwrap_or_default();
                    let name = name.trim_end_matches(" AVP").to_owned();
                    avps.push(ShownAvp { name, fields });
                }
            }
        }
        avps
    }
}

/// A field at any depth.
fn find<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).or_else(|| {
        let inner = fields.values().filter_map(Value::as_object);
        inner.filter_map(|inner| find(inner, name)).next()
    })
}

/// Every field at every depth.
fn collect(value: &Value, see: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                see(key, value);
                collect(value, see);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, see)),
        _ => {}
    }
}
