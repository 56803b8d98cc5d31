//! The files that are there while the daemon runs: where nobody says otherwise, in the usual places. A container may have none that we may write to: then
//! the daemon does without, and says so.

use std::io;
use std::path::Path;

use anyhow::Context;
use tracing::warn;

use crate::control_socket::{ControlSocket, ControlSocketError};
use crate::flags::Flags;
use crate::pidfile::{PidFile, PidFileError};
use crate::service::Activated;

const PID_FILE: &str = "/run/openl2tpd.pid";

/// The pid file.
///
/// # Errors
///
/// Another daemon has it, or it is named and cannot be written.
pub(crate) fn pid_file(flags: &Flags) -> Result<Option<PidFile>, PidFileError> {
    let path = flags.pid_file.as_deref().unwrap_or(Path::new(PID_FILE));
    match PidFile::create(path) {
        Err(PidFileError::Io { source, .. })
            if flags.pid_file.is_none() && is_not_ours(&source) =>
        {
            warn!("no pid file: cannot write {PID_FILE}: {source}; -P names another place");
            Ok(None)
        }
        made => made.map(Some),
    }
}

/// The socket of the interface, and the read-only one if there is to be one: the service manager's, or our own.
///
/// # Errors
///
/// Another daemon listens there, or a place is named where none can be made.
pub(crate) fn control_sockets(
    flags: &Flags,
) -> anyhow::Result<(Option<ControlSocket>, Option<ControlSocket>)> {
    let activated = Activated::take().context("cannot take the service manager's sockets")?;
    let socket = match activated.api {
        Some(listener) => Some(ControlSocket::adopt(listener)?),
        None => own_socket(flags)?,
    };
    let read_only = match (activated.read_only, &flags.read_only_socket) {
        (Some(listener), _) => Some(ControlSocket::adopt(listener)?),
        (None, Some(path)) => Some(ControlSocket::bind(path, flags.read_only_group.as_deref())?),
        (None, None) => None,
    };
    Ok((socket, read_only))
}

fn own_socket(flags: &Flags) -> Result<Option<ControlSocket>, ControlSocketError> {
    let usual = flags.socket.is_none();
    match ControlSocket::bind(flags.socket(), flags.socket_group.as_deref()) {
        Err(ControlSocketError::Io { path, source }) if usual && is_not_ours(&source) => {
            warn!(
                "nobody can manage this daemon: cannot listen at {}: {source}; --socket names another place",
                path.display()
            );
            Ok(None)
        }
        made => made.map(Some),
    }
}

/// Whether there is no such place, or none that we may write to.
fn is_not_ours(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(
        error.kind(),
        NotFound | PermissionDenied | ReadOnlyFilesystem
    )
}
