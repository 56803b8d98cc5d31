//! A bare container, of what Debian installs: namespaces of mounts and processes beside that of the network, `/usr` and two folders of the host's, four
//! devices, and one capability.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::Side;
use crate::netns::Namespace;
use crate::ours::Ours;
use crate::process::{children, kill};

/// Becomes the rest of its words in a file system that has little: `$1` is where it is made, `$2` and `$3` are folders of the host's. As engines of
/// containers have it, `/proc/sys` is read-only and the devices are open to everybody.
const BOX: &str = r#"set -e
mount -t tmpfs -o mode=755 box "$1"
cd "$1"
mkdir -p proc dev/net ".$2" ".$3"
for each in bin lib lib64 sbin usr; do
    if [ -L "/$each" ]; then cp -P "/$each" .
    elif [ -d "/$each" ]; then mkdir "$each" && mount --rbind "/$each" "$each"
    fi
done
mount --bind "$2" ".$2"
mount --bind "$3" ".$3"
mknod -m 666 dev/null c 1 3
mknod -m 666 dev/zero c 1 5
mknod -m 666 dev/urandom c 1 9
mknod -m 666 dev/net/tun c 10 200
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
shift 3
exec chroot . "$@""#;

/// Who the daemon is in its container.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum User {
    /// Root, without all but CAP_NET_ADMIN of its capabilities.
    Root,
    /// Nobody, with that one capability.
    Nobody,
}

impl User {
    /// Has a program run as this user, with CAP_NET_ADMIN and nothing else.
    fn with_one_capability(self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--no-new-privs", "--pdeathsig=KILL"]);
        command.arg("--bounding-set=-all,+net_admin");
        match self {
            Self::Root => command.arg("--inh-caps=-all"),
            Self::Nobody => {
                command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
                command.args([
                    "--inh-caps=-all,+net_admin",
                    "--ambient-caps=-all,+net_admin",
                ])
            }
        };
        command
    }
}

/// An `openl2tpd` in a container.
#[derive(Debug)]
pub struct Contained(Ours);

impl Contained {
    /// Starts one by this command line, which is of a daemon whose files are in `folder`, and waits until it answers at its socket.
    ///
    /// # Errors
    /// It cannot be started, or ended at once.
    pub fn start(
        daemon: &Command,
        user: User,
        namespace: &Namespace,
        [programs, folder]: [&Path; 2],
        name: &str,
    ) -> Result<Self> {
        // Nobody has files there, too.
        fs::set_permissions(folder, Permissions::from_mode(0o777))?;
        let command = inside(daemon, user, [programs, folder], name)?;
        Ours::run(command, programs, namespace, folder, name).map(Self)
    }

    /// Ends it, and the container with it.
    ///
    /// # Errors
    /// It does not end in time, or not well.
    pub fn shut_down(mut self) -> Result<()> {
        let process = self.0.process();
        let daemon = children(process.id());
        ensure!(daemon.len() == 1, "not one process: {daemon:?}");
        kill(daemon[0], Signal::TERM)?;
        let status = process.wait(Duration::from_secs(15))?;
        ensure!(
            status.success(),
            "it ended with {status}:\n{}",
            self.0.log()
        );
        Ok(())
    }
}

impl std::ops::Deref for Contained {
    type Target = Ours;

    fn deref(&self) -> &Ours {
        &self.0
    }
}

/// The command line that runs `daemon` in a container whose files are the host's `folders`.
///
/// # Errors
/// The place of its file system cannot be made.
pub fn inside(
    daemon: &Command,
    user: User,
    [programs, folder]: [&Path; 2],
    name: &str,
) -> Result<Command> {
    let root = folder.join(format!("{name}.root"));
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child"]);
    command.args(["sh", "-c", BOX, "sh"]);
    command.args([root.as_path(), programs, folder]);
    let setpriv = user.with_one_capability();
    command.arg(setpriv.get_program()).args(setpriv.get_args());
    command.arg(daemon.get_program()).args(daemon.get_args());
    Ok(command)
}
