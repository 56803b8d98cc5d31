//! What this machine can do for each engine: everything is tried, then and there.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use crate::device::{Interface, TunDevice};
use crate::ebpf::{self, Loaded};
use crate::{DatapathError, Engine, kernel, socket};

/// The device that is made to be tried.
const TRIAL_DEVICE: &str = "l2tptry%d";

/// What programs are not used without where nobody asks for them.
pub const UPLINKS: &str = "uplinks";

/// What became of one thing that an engine needs, or is faster or does more with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Whose.
    pub engine: Engine,
    /// What was tried.
    pub what: &'static str,
    /// Whether the engine can't be without it.
    pub needed: bool,
    /// How it is there, or why it is not.
    pub result: Result<String, String>,
}

/// What it takes to try everything.
pub struct Surveyor {
    programs: Result<Loaded, String>,
}

impl Surveyor {
    /// Has the kernel take programs to be tried, as long as we may: only this needs CAP_BPF and CAP_PERFMON.
    #[must_use]
    pub fn new() -> Self {
        let programs = ebpf::load_small();
        Self { programs }
    }

    /// Why programs are of no use to who can do without, if they are not.
    ///
    /// # Errors
    ///
    /// In one line.
    pub fn wants_programs(&self) -> Result<(), String> {
        match &self.programs {
            Err(why) => Err(why.clone()),
            Ok(programs) if programs.is_interpreted() => {
                Err("this kernel would interpret them, as it has no compiler for them or does not use it".to_owned())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Tries everything, in the network namespace of the calling thread, which has a device more for some milliseconds.
    pub fn survey(&mut self) -> Vec<Finding> {
        let device = TunDevice::create(Some(TRIAL_DEVICE)).map_err(|e| e.to_string());
        let mut findings = Vec::from(of_kernel());
        findings.extend(self.of_ebpf(&device));
        findings.extend(of_tun(&device));
        findings
    }

    fn of_ebpf(&mut self, device: &Result<TunDevice, String>) -> [Finding; 5] {
        let finding = |what, result| Finding {
            engine: Engine::Ebpf,
            what,
            needed: true,
            result,
        };
        let programs = self.programs.as_mut();
        let taken = |programs: &&mut Loaded| match programs.is_interpreted() {
            true => "taken by the kernel, which interprets them: `auto` does without",
            false => "taken by the kernel",
        };
        let loaded = programs.as_ref().map(|programs| taken(programs).to_owned());
        let loaded = finding("programs", loaded.map_err(|why| (*why).clone()));
        let no_programs = || "there are no programs".to_owned();
        let (tried, attached) = match programs {
            Err(_) => (Err(no_programs()), Err(no_programs())),
            Ok(programs) => {
                let tried = programs.try_out();
                let attached = device.as_ref().map_err(Clone::clone);
                let attached = attached.and_then(|device| programs.try_attach(device.name()));
                (tried.map(|()| "passed".to_owned()), attached)
            }
        };
        let by = attached.map(|by| format!("by {by}"));
        [
            loaded,
            finding("self-test", tried),
            finding("attachment", by),
            finding(
                "veth",
                ebpf::try_pair().map(|()| "a pair was made".to_owned()),
            ),
            Finding {
                needed: false,
                ..finding(UPLINKS, ebpf::try_uplinks())
            },
        ]
    }
}

impl Default for Surveyor {
    fn default() -> Self {
        Self::new()
    }
}

fn of_tun(device: &Result<TunDevice, String>) -> [Finding; 5] {
    let finding = |what, needed, result| Finding {
        engine: Engine::Tun,
        what,
        needed,
        result,
    };
    let made = device.as_ref().map(|_| "with vnet_hdr".to_owned());
    let takes = |large: fn(&TunDevice) -> bool, what: &str| match device {
        Ok(device) if large(device) => Ok(format!("{what} comes unsegmented")),
        Ok(_) => Err("the kernel does not take it".to_owned()),
        Err(_) => Err("there is no device".to_owned()),
    };
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let option = |has: fn(&UdpSocket) -> io::Result<()>, what: &str| {
        let result = udp.as_ref().map_err(ToString::to_string);
        let result = result.and_then(|udp| has(udp).map_err(|e| e.to_string()));
        result.map(|()| format!("many datagrams are {what} at once"))
    };
    let (tcp, udp_too) = (TunDevice::takes_large_tcp, TunDevice::takes_large_udp);
    [
        finding("/dev/net/tun", true, made.map_err(Clone::clone)),
        finding("TSO", false, takes(tcp, "TCP")),
        finding("USO", false, takes(udp_too, "UDP")),
        finding("UDP_SEGMENT", false, option(socket::can_segment, "sent")),
        finding("UDP_GRO", false, option(socket::can_merge, "received")),
    ]
}

fn of_kernel() -> [Finding; 4] {
    let finding = |what, needed, module: &str, result: Result<(), String>| Finding {
        engine: Engine::Kernel,
        what,
        needed,
        result: result.map(|()| origin(module)),
    };
    let words = |result: Result<(), DatapathError>| {
        result.map_err(|error| match error {
            DatapathError::System { reason, .. } => reason,
            other => other.to_string(),
        })
    };
    [
        finding(
            "PPPoL2TP sockets",
            true,
            "l2tp_ppp",
            words(kernel::probe_sockets()),
        ),
        finding("/dev/ppp", true, "ppp_generic", words(kernel::probe_ppp())),
        finding(
            "l2tp netlink family",
            false,
            "l2tp_netlink",
            kernel::probe_family().map_err(|e| e.to_string()),
        ),
        finding(
            "MPPE",
            false,
            "ppp_mppe",
            kernel::probe_mppe().map_err(|e| e.to_string()),
        ),
    ]
}

/// Where something of the kernel comes from that is there.
fn origin(module: &str) -> String {
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    let is_it = |line: &str| line.split(' ').next() == Some(module);
    match modules.lines().any(is_it) {
        true => format!("module {module}"),
        false => "built into the kernel".to_owned(),
    }
}
