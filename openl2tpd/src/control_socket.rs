//! The Unix socket of the management interface.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A listening socket, open to its owner and group; gone from the file system when dropped, unless somebody else made it.
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
    pub(crate) fn bind(path: &Path) -> Result<Self, ControlSocketError> {
        if UnixStream::connect(path).is_ok() {
            return Err(ControlSocketError::InUse(path.to_owned()));
        }
        let failed = |source| ControlSocketError::Io {
            path: path.to_owned(),
            source,
        };
        Ok(Self {
            listener: listen(path).map_err(failed)?,
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

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // Whatever else has the name is not ours to remove, and fails the bind.
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    // To connect takes the right to write, which the process's umask gives to nobody but the owner until now.
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
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
    use super::*;

    #[test]
    fn it_is_open_to_owner_and_group_and_goes_with_us() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/api.sock");
        let socket = ControlSocket::bind(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o660
        );
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_one_is_replaced_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _socket = ControlSocket::bind(&path).unwrap();
        assert!(matches!(
            ControlSocket::bind(&path),
            Err(ControlSocketError::InUse(_))
        ));
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(ControlSocket::bind(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }
}
