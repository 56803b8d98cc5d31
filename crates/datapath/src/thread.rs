//! Threads of an engine, and what ends their wait for their descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::{Builder, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};

use crate::DatapathError;

/// Held by tests of this process that start a program, until it is one, and by those to whom it matters who has a socket: until then a child has all of ours.
#[cfg(test)]
pub(crate) static CHILDREN: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Starts a thread.
pub(crate) fn spawn(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, DatapathError> {
    let thread = Builder::new().name(name.to_owned());
    thread
        .spawn(run)
        .map_err(|e| DatapathError::system(format!("start thread {name}"), &e))
}

/// Waits for the end of a thread.
pub(crate) fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        tracing::error!("thread {name} panicked");
    }
}

/// An eventfd that ends a thread's wait.
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> Result<Self, DatapathError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let made = eventfd(0, flags).map_err(io::Error::from);
        made.map(Self)
            .map_err(|e| DatapathError::system("make an eventfd", &e))
    }

    pub(crate) fn wake(&self) {
        // It can fail only when its count is full, and then the worker is awake.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
