//! QEMU: Debian's own kernel, which has all of L2TP, on an emulated processor.
//!
//! The image is unpacked into the target folder, not installed. An initramfs mounts the host's root, read-only, through 9p on virtio, lays a
//! tmpfs over it and makes that its root: COMMAND reads the host's files, and what it writes is gone with the machine. A second 9p share, on `/run/job`, brings
//! COMMAND in and its exit status out; its standard output and error come through two virtio serial ports. It takes about six seconds to boot and runs at a
//! tenth of the processor's speed: hardware virtualization is not counted on.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{BOOT_LOG, Machine, quote, run_shell, shell_command};
use crate::{apt, test};

/// The modules loaded before COMMAND runs.
const MODULES: &str = "l2tp_ppp l2tp_netlink l2tp_ip l2tp_ip6 l2tp_eth ppp_mppe veth tun 8021q sch_ingress cls_bpf cls_u32";

/// The modules that it takes to get at the host's files and to talk with us.
const BOOT_MODULES: [&str; 5] = [
    "virtio_pci",
    "9pnet_virtio",
    "9p",
    "overlay",
    "virtio_console",
];

/// What busybox is to the initramfs.
const APPLETS: [&str; 5] = ["insmod", "mkdir", "mount", "sh", "switch_root"];

/// The metapackage whose dependency is the kernel.
const LATEST: &str = "linux-image-amd64";

/// The initramfs's process 1, once its modules are loaded.
const TO_THE_HOST: &str = "\
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /host
mount -t tmpfs over /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work root /root
mount -t tmpfs run /root/run
mkdir /root/run/job
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 job /root/run/job
mount -o move /dev /root/dev
exec switch_root /root /run/job/init
";

/// Boots a machine, runs `command` in it in the current directory, and returns the command's exit status.
/// Its standard output goes to `stdout`, its standard error to ours. An empty `command` is an interactive shell.
pub(crate) fn run(
    machine: Machine,
    command: &[OsString],
    stdout: impl Write + Send + 'static,
) -> Result<u8> {
    let kernel = Kernel::unpacked()?;
    let folder = tempfile::Builder::new().prefix("qemu-").tempdir()?;
    let folder = folder.path();
    kernel.write_init(folder, command)?;
    let mut qemu = kernel.machine(machine, folder)?;
    if command.is_empty() {
        qemu.args(["-chardev", "stdio,id=console,signal=off"]);
        qemu.args(["-serial", "chardev:console"]);
        return run_shell(qemu, folder);
    }
    let log = option("file:", &folder.join(BOOT_LOG), "")?;
    qemu.args(["-serial", &log, "-device", "virtio-serial-pci"]);
    for (number, name) in [(1, "stdout"), (2, "stderr")] {
        qemu.arg("-chardev")
            .arg(format!("file,id={name},path=/dev/fd/{number}"));
        qemu.arg("-device").arg(format!(
            "virtserialport,chardev={name},name={name},nr={number}"
        ));
    }
    super::run(qemu, machine.timeout, folder, stdout)
}

/// A kernel of Debian's, unpacked, with an initramfs of ours.
struct Kernel {
    folder: PathBuf,
    version: String,
}

impl Kernel {
    /// The kernel in the target folder, which is got there first where there is none.
    fn unpacked() -> Result<Self> {
        let folder = test::target()?.join("linux");
        if !folder.exists() {
            let partial = tempfile::tempdir_in(test::target()?)?;
            Self::unpack(partial.path())?;
            // Another run may have been faster.
            if let Err(error) = fs::rename(partial.path(), &folder)
                && !folder.exists()
            {
                return Err(error).with_context(|| format!("cannot make {}", folder.display()));
            }
        }
        let version = version_in(&folder)?;
        Ok(Self { folder, version })
    }

    fn unpack(folder: &Path) -> Result<()> {
        // Others who run the machine need not be who unpacked it.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        let image = apt::dependency_of(LATEST)?;
        apt::unpack_into(folder, &image)?;
        apt::unpack_into(folder, "busybox-static")?;
        let version = version_in(folder)?;
        let kernel = Self {
            folder: folder.to_owned(),
            version,
        };
        let mut depmod = Command::new("depmod");
        depmod.arg("-b").arg(folder).arg(&kernel.version);
        succeed(&mut depmod)?;
        kernel.make_initramfs()
    }

    /// The files of the modules that it takes to boot, each after those that it needs.
    fn boot_modules(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for module in BOOT_MODULES {
            let mut modprobe = Command::new("modprobe");
            modprobe.arg("-d").arg(&self.folder);
            modprobe.args(["-S", &self.version, "--show-depends", module]);
            let output = modprobe.output().context("cannot start modprobe")?;
            if !output.status.success() {
                bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
            }
            let text = String::from_utf8(output.stdout)?;
            for line in text.lines() {
                // Others are built in.
                let Some(file) = line.strip_prefix("insmod ") else {
                    continue;
                };
                let file = PathBuf::from(file.trim());
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        Ok(files)
    }

    fn make_initramfs(&self) -> Result<()> {
        let tree = tempfile::tempdir_in(&self.folder)?;
        let tree = tree.path();
        for folder in ["bin", "dev", "host", "modules", "over", "root"] {
            fs::create_dir(tree.join(folder))?;
        }
        fs::copy(self.folder.join("bin/busybox"), tree.join("bin/busybox"))?;
        for applet in APPLETS {
            symlink("busybox", tree.join("bin").join(applet))?;
        }
        let mut init = "#!/bin/sh\nmount -t devtmpfs dev /dev\n".to_owned();
        for file in self.boot_modules()? {
            let name = file.file_name().unwrap_or_default();
            fs::copy(&file, tree.join("modules").join(name))?;
            init.push_str(&format!("insmod /modules/{}\n", quote(name)?));
        }
        init.push_str(TO_THE_HOST);
        fs::write(tree.join("init"), init)?;
        fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
        let archive = fs::File::create(self.initramfs())?;
        let pack = "find . | cpio --create --format=newc --owner=0:0 --quiet";
        let mut sh = Command::new("sh");
        sh.args(["-c", pack]).current_dir(tree).stdout(archive);
        succeed(&mut sh)
    }

    fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs")
    }

    /// The machine's command line up to where its consoles go.
    fn machine(&self, machine: Machine, folder: &Path) -> Result<Command> {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
        qemu.args(["-m", &machine.mem.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
        qemu.args(["-display", "none"]);
        let image = format!("boot/vmlinuz-{}", self.version);
        qemu.arg("-kernel").arg(self.folder.join(image));
        qemu.arg("-initrd").arg(self.initramfs());
        // A panic ends the machine.
        qemu.args(["-append", "console=ttyS0 panic=-1 quiet"]);
        let host = "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap";
        let job = option("local,id=job,path=", folder, ",security_model=none")?;
        for (share, name) in [(host, "host"), (&job, "job")] {
            qemu.args(["-fsdev", share, "-device"]);
            qemu.arg(format!("virtio-9p-pci,fsdev={name},mount_tag={name}"));
        }
        Ok(qemu)
    }

    /// Writes the script that the machine runs as process 1.
    fn write_init(&self, folder: &Path, command: &[OsString]) -> Result<()> {
        let modules = self.folder.join("lib/modules").join(&self.version);
        let modules = quote(modules.as_os_str())?;
        let run = shell_command(command, "/dev/ttyS0", ["/run/stdout", "/run/stderr"])?;
        let script = format!(
            "mount -t proc proc /proc; mount -t sysfs sysfs /sys\n\
             mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts\n\
             mount -t tmpfs tmpfs /dev/shm\n\
             mkdir -p /run/lock /run/xl2tpd /run/pppd /run/netns /lib/modules/$(uname -r)\n\
             mount --bind {modules} /lib/modules/$(uname -r)\n\
             modprobe -a {MODULES}\nip link set lo up\n\
             for port in /sys/class/virtio-ports/*; do\n\
             ln -s /dev/${{port##*/}} /run/$(cat $port/name)\ndone\n\
             {run}\necho $? >/run/job/status\nsync\necho o >/proc/sysrq-trigger\nsleep 60\n"
        );
        super::write_init(folder, &script)
    }
}

/// The version of the kernel that is unpacked in a folder.
fn version_in(folder: &Path) -> Result<String> {
    let boot = folder.join("boot");
    for file in fs::read_dir(&boot)? {
        let name = file?.file_name();
        if let Some(version) = name.to_str().and_then(|n| n.strip_prefix("vmlinuz-")) {
            return Ok(version.to_owned());
        }
    }
    bail!("no kernel in {}", boot.display())
}

/// An option of QEMU's with a path in it, whose commas are doubled.
fn option(before: &str, path: &Path, after: &str) -> Result<String> {
    let path = path.to_str().context("not UTF-8")?.replace(',', ",,");
    Ok(format!("{before}{path}{after}"))
}

fn succeed(command: &mut Command) -> Result<()> {
    let program: &OsStr = command.get_program();
    let program = program.display().to_string();
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} failed");
    }
    Ok(())
}
