//! The Unix socket of the management interface.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::unistd::Group;
use thiserror::Error;

/// A listening socket, open to its owner and to a group if one is named; gone from the file system when dropped, unless somebody else made it.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    /// Where it is, if it is ours to remove.
    path: Option<PathBuf>,
    /// Accepts the connections.
    pub(crate) listener: UnixListener,
}

/// Why there is no socket.
#[derive(Debug, Error)]
pub(crate) enum ControlSocketError {
    /// Somebody listens there.
    #[error("another daemon listens at {}", .0.display())]
    InUse(PathBuf),
    /// Nobody knows the group.
    #[error("there is no group {0}")]
    NoGroup(String),
    /// It can't be made.
    #[error("cannot listen at {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Listens at `path`, whose directory is made if it is missing. A socket that nobody listens at any more is replaced.
    /// `group`, by name or number, may connect as the owner may.
    pub(crate) fn bind(path: &Path, group: Option<&str>) -> Result<Self, ControlSocketError> {
        let group = group.map(group_id).transpose()?;
        if UnixStream::connect(path).is_ok() {
            return Err(ControlSocketError::InUse(path.to_owned()));
        }
        let failed = |source| ControlSocketError::Io {
            path: path.to_owned(),
            source,
        };
        Ok(Self {
            listener: listen(path, group).map_err(failed)?,
            // The working directory may change.
            path: Some(std::path::absolute(path).map_err(failed)?),
        })
    }

    /// One that the service manager listens at for us: its place, its mode and its end are that one's.
    pub(crate) fn adopt(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            path: None,
            listener,
        })
    }
}

fn group_id(group: &str) -> Result<u32, ControlSocketError> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    match Group::from_name(group) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        _ => Err(ControlSocketError::NoGroup(group.to_owned())),
    }
}

fn listen(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty());
    if let Some(directory) = directory.filter(|directory| !directory.exists()) {
        let missing: Vec<_> = directory
            .ancestors()
            .take_while(|d| !d.as_os_str().is_empty() && !d.exists())
            .collect();
        fs::create_dir_all(directory)?;
        // It is the sockets that say who may connect.
        for directory in missing {
            fs::set_permissions(directory, Permissions::from_mode(0o755))?;
        }
    }
    // Whatever else has the name is not ours to remove, and fails the bind.
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    // To connect takes the right to write, which the process's umask gives to nobody but the owner until now.
    let listener = UnixListener::bind(path)?;
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    chown(path, None, group)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // One that can't be removed is replaced at the next start.
        let _ = self.path.as_ref().map(fs::remove_file);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Group and mode.
    fn access(path: &Path) -> (u32, u32) {
        let metadata = fs::metadata(path).unwrap();
        (metadata.gid(), metadata.permissions().mode() & 0o777)
    }

    #[test]
    fn it_is_open_to_its_owner_alone_and_goes_with_us() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/api.sock");
        let socket = ControlSocket::bind(&path, None).unwrap();
        assert_eq!(access(&path).1, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn it_is_open_to_a_group_that_is_named_or_numbered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/deep/api.sock");
        // Our own, which is the one that nobody needs a privilege for.
        let id = rustix::process::getegid().as_raw();
        let name = Group::from_gid(id.into()).unwrap().unwrap().name;
        for group in [name, id.to_string()] {
            let _socket = ControlSocket::bind(&path, Some(&group)).unwrap();
            assert_eq!(access(&path), (id, 0o660), "{group}");
        }
        for made in path.ancestors().skip(1).take(2) {
            assert_eq!(access(made).1, 0o755, "{}", made.display());
        }
    }

    #[test]
    fn a_group_that_nobody_knows_is_refused_before_there_is_a_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let error = ControlSocket::bind(&path, Some("no such group")).unwrap_err();
        assert_eq!(error.to_string(), "there is no group no such group");
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_one_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _socket = ControlSocket::bind(&path, None).unwrap();
        assert!(matches!(
            ControlSocket::bind(&path, None),
            Err(ControlSocketError::InUse(_))
        ));
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(ControlSocket::bind(&path, None).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }
}
