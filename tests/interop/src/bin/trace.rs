//! `l2tpconfig tunnel trace` of two daemons that talk over the loopback: what it says as JSON, what it draws, and what Wireshark reads in its file.

use std::fs::File;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use interop::ours::Ours;
use interop::process::kill;
use interop::report::Report;
use interop::until;
use rustix::process::Signal;
use serde_json::Value;
use wire::l2tp::MessageType;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Traces, read by others.
#[derive(Debug, Parser)]
struct Options {
    /// Run only the cases whose names contain this.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> Result<ExitCode> {
    let mut report = Report::new(Options::parse().only);
    for (name, address) in [("IPv4", "127.0.0.1"), ("IPv6", "::1")] {
        report.case(&format!("a tunnel over {name} in Wireshark"), || {
            tunnel(address)
        });
    }
    Ok(report.conclude())
}

/// A program with files of its own; killed when dropped.
struct Program {
    child: Child,
    out: PathBuf,
}

impl Program {
    fn start(mut command: Command, out: PathBuf) -> Result<Self> {
        let file = File::create(&out)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = command.spawn().context("cannot start a program")?;
        Ok(Self { child, out })
    }

    fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.out)?).into_owned())
    }

    /// Waits for a line with `text`.
    fn until(&self, text: &str) -> Result<()> {
        until(PATIENCE, text, || {
            Ok(self.text()?.contains(text).then_some(()))
        })
        .with_context(|| self.text().unwrap_or_default())
    }

    /// Interrupts it as Ctrl-C does; what it wrote.
    fn interrupt(&mut self) -> Result<String> {
        kill(self.child.id(), Signal::INT)?;
        let status = until(PATIENCE, "an end", || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "it ends with {status}: {}", self.text()?);
        self.text()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A daemon, and the port that it serves.
struct Daemon {
    program: Program,
    socket: PathBuf,
    programs: PathBuf,
    port: u16,
}

impl Daemon {
    fn start(folder: &Path, name: &str, configuration: &str) -> Result<Self> {
        let programs = std::env::current_exe()?;
        let programs = programs.parent().context("no folder")?.to_owned();
        let port = UdpSocket::bind("[::]:0")?.local_addr()?.port();
        let mut command = Ours::command(&programs, folder, name, configuration)?;
        command.args(["--datapath", "null", "-d", "api", "-u", &port.to_string()]);
        let program = Program::start(command, folder.join(format!("{name}.log")))?;
        program.until("serves UDP port")?;
        Ok(Self {
            program,
            socket: folder.join(format!("{name}.socket")),
            programs,
            port,
        })
    }

    fn l2tpconfig(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("l2tpconfig"));
        command.arg("--socket").arg(&self.socket).args(words);
        command
    }

    fn tell(&self, words: &[&str]) -> Result<()> {
        let output = self.l2tpconfig(words).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", words.join(" "));
        Ok(())
    }
}

fn tunnel(address: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let secret = "auth_mode=challenge secret=s3cret hide_avps=yes";
    let lns = format!(
        "tunnel profile modify profile_name=default {secret}\nuser create user_name=u password=w0nderland\n"
    );
    let lns = Daemon::start(folder, "lns", &lns)?;
    let lac = Daemon::start(folder, "lac", "")?;
    let file = folder.join("trace.pcapng");
    let name = file.to_str().context("no text")?;
    let drawn = lac.l2tpconfig(&["tunnel", "trace", "tunnel_name=t", "--pcap", name]);
    let mut drawn = Program::start(drawn, folder.join("ladder"))?;
    lac.program.until("trace Tunnel")?;
    let told = lns.l2tpconfig(&[
        "tunnel",
        "trace",
        &format!("peer_ipaddr={address}"),
        "--json",
    ]);
    let mut told = Program::start(told, folder.join("json"))?;
    lns.program.until("trace Peer")?;

    let (to, port) = (
        format!("dest_ipaddr={address}"),
        format!("peer_udp_port={}", lns.port),
    );
    let secret: Vec<_> = secret.split(' ').collect();
    lac.tell(
        &[
            &["tunnel", "create", "tunnel_name=t", &to, &port],
            &secret[..],
        ]
        .concat(),
    )?;
    lac.tell(&[
        "session",
        "create",
        "tunnel_name=t",
        "session_name=s",
        "user_name=u",
        "user_password=w0nderland",
    ])?;
    lac.program.until(" up: user u")?;
    lac.tell(&["tunnel", "delete", "tunnel_name=t"])?;
    lac.program.until("down: ")?;
    told.until("StopCCN")?;
    drawn.until("StopCCN")?;
    let (ladder, json) = (drawn.interrupt()?, told.interrupt()?);

    let seen = dissected(&file, &[lac.port, lns.port])?;
    let types: Vec<_> = seen
        .iter()
        .filter_map(|packet| packet.kind.clone())
        .collect();
    ensure!(
        types == ["SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ICRP", "ICCN", "StopCCN"],
        "Wireshark saw {types:?} in what was drawn as\n{ladder}"
    );
    ensure!(seen.iter().all(|packet| packet.sums), "a checksum is wrong");
    let arrows = ladder
        .lines()
        .filter(|line| line.contains("->|") || line.contains("|<"));
    ensure!(
        arrows.count() >= seen.len() - 1,
        "{} packets, but\n{ladder}",
        seen.len()
    );
    let told = json
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()?;
    let told: Vec<_> = told
        .iter()
        .filter_map(|event| event["name"].as_str())
        .collect();
    let told: Vec<_> = told.into_iter().filter(|name| *name != "ZLB").collect();
    ensure!(told == types, "the peer saw {told:?}");
    for secret in ["s3cret", "w0nderland"] {
        ensure!(
            !(ladder.clone() + &json).contains(secret),
            "{secret} is shown"
        );
    }
    Ok(format!("{} packets", seen.len()))
}

/// What Wireshark makes of a packet.
struct Packet {
    /// What type of control message it is, if it has AVPs.
    kind: Option<String>,
    /// Whether its checksums are right.
    sums: bool,
}

fn dissected(file: &Path, ports: &[u16]) -> Result<Vec<Packet>> {
    let mut tshark = Command::new("tshark");
    tshark.args(["-n", "-T", "fields", "-r"]).arg(file);
    for field in [
        "l2tp.avp.message_type",
        "ip.checksum.status",
        "udp.checksum.status",
        "ipv6.src",
    ] {
        tshark.args(["-e", field]);
    }
    for sum in ["ip.check_checksum:TRUE", "udp.check_checksum:TRUE"] {
        tshark.args(["-o", sum]);
    }
    for port in ports {
        tshark.args(["-d", &format!("udp.port=={port},l2tp")]);
    }
    let output = tshark.output().context("cannot run tshark")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tshark: {said}");
    let text = String::from_utf8(output.stdout)?;
    let good = |status: &str| matches!(status, "1" | "Good");
    text.lines()
        .map(|line| {
            let fields: Vec<_> = line.split('\t').collect();
            let [kind, ip, udp, ipv6] = fields[..] else {
                anyhow::bail!("tshark prints `{line}`");
            };
            let kind: Option<u16> = kind.parse().ok();
            Ok(Packet {
                kind: kind.map(|kind| MessageType(kind).to_string()),
                // IPv6 has none of its own.
                sums: good(udp) && (good(ip) || !ipv6.is_empty()),
            })
        })
        .collect()
}
