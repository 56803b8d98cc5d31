//! The pid file: says which process serves, and keeps a second one from starting.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A pid file that names this process; gone when dropped.
///
/// A lock on it says that its process lives, not the number in it: numbers are used again. So a file left by a process
/// that died is taken over, whatever it says.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    /// Holds the lock.
    file: File,
}

/// Why there is no pid file.
#[derive(Debug, Error)]
pub(crate) enum PidFileError {
    /// The process that it names lives.
    #[error("already running as process {pid} ({})", path.display())]
    Running {
        /// Its number, as the file has it.
        pid: String,
        /// The file.
        path: PathBuf,
    },
    /// The file can't be written.
    #[error("cannot write the pid file {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
}

impl PidFile {
    /// Makes `path` the pid file of this process, whose working directory may change.
    pub(crate) fn create(path: &Path) -> Result<Self, PidFileError> {
        let failed = |source| PidFileError::Io {
            path: path.to_owned(),
            source,
        };
        let path = &std::path::absolute(path).map_err(failed)?;
        loop {
            let mut file = open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(running(path, &mut file)),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            // Its last owner may have removed it between our opening and our locking: then the lock is on no file.
            if !is_at(path, &file).map_err(failed)? {
                continue;
            }
            // Nothing else is ours to overwrite, nor to remove.
            if !file.metadata().map_err(failed)?.is_file() {
                return Err(failed(io::Error::other("it is no regular file")));
            }
            // One that can't be written whole is removed with this.
            let mut this = Self {
                path: path.to_owned(),
                file,
            };
            let file = &mut this.file;
            let written = file
                .set_len(0)
                .and_then(|()| writeln!(file, "{}", std::process::id()));
            return written.map(|()| this).map_err(failed);
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // If it can't be removed, the lock goes with us and the next start takes it over.
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn running(path: &Path, file: &mut File) -> PidFileError {
    let mut text = String::new();
    // A pid that can't be read is no reason not to say that the process runs.
    let _ = file.read_to_string(&mut text);
    let pid = text
        .split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned();
    PidFileError::Running {
        pid,
        path: path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_us_while_we_live_and_goes_with_us() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("openl2tpd.pid");
        let pid_file = PidFile::create(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
        drop(pid_file);
        assert!(!path.exists());
    }

    #[test]
    fn a_living_owner_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("openl2tpd.pid");
        let _owner = PidFile::create(&path).unwrap();
        let error = PidFile::create(&path).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(
            matches!(&error, PidFileError::Running { pid: p, .. } if *p == pid),
            "{error}"
        );
    }

    #[test]
    fn a_stale_one_is_taken_over_even_when_its_number_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("openl2tpd.pid");
        fs::write(&path, "1\nand more than fits a number\n").unwrap();
        let _pid_file = PidFile::create(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", std::process::id())
        );
    }

    #[test]
    fn what_is_no_regular_file_is_neither_written_nor_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let error = PidFile::create(&path).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot write the pid file"),
            "{error}"
        );
        assert!(path.exists());
    }

    #[test]
    fn an_unwritable_place_is_said() {
        let error = PidFile::create("/nonexistent/openl2tpd.pid".as_ref()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot write the pid file /nonexistent/openl2tpd.pid"),
            "{error}"
        );
    }
}
