//! Those who see the packets of sessions: `session capture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::server::Captured;
use api::{CapturedPacket, CommandError, Direction, ErrorKind, Selector};
use datapath::capture::{Tap, Way};
use datapath::{DatapathError, Handle};
use tokio::sync::{mpsc, oneshot};

use crate::backend::{Daemon, shut_down};
use crate::clock;
use crate::mailbox::Mail;

/// Packets that may wait for one who looks; more are lost to it, and counted.
const BACKLOG: usize = 1_024;

/// What is asked of the shard.
pub(crate) struct Capture {
    pub(crate) tunnel: Selector,
    pub(crate) session: Selector,
    pub(crate) tap: Arc<dyn Tap>,
    /// Whose packets are seen from now on.
    pub(crate) answer: oneshot::Sender<Result<Handle, CommandError>>,
}

/// One who looks.
#[derive(Debug)]
struct Viewer {
    sender: mpsc::Sender<CapturedPacket>,
    lost: AtomicU64,
}

impl Viewer {
    fn new() -> (Self, mpsc::Receiver<CapturedPacket>) {
        let (sender, packets) = mpsc::channel(BACKLOG);
        let lost = AtomicU64::new(0);
        (Self { sender, lost }, packets)
    }
}

impl Tap for Viewer {
    fn see(&self, way: Way, packet: &[u8]) {
        let Ok(place) = self.sender.try_reserve() else {
            return self.miss(1);
        };
        let direction = match way {
            Way::Received => Direction::Received,
            Way::Sent => Direction::Sent,
        };
        let (now, lost) = (clock::since_1970(), self.lost.swap(0, Ordering::Relaxed));
        place.send(CapturedPacket::new(now, direction, packet, lost));
    }

    fn miss(&self, packets: u64) {
        self.lost.fetch_add(packets, Ordering::Relaxed);
    }

    fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

impl Daemon {
    /// Has the packets of a session seen from now on.
    pub(crate) async fn begin_capture(
        &self,
        tunnel: Selector,
        session: Selector,
    ) -> Result<Captured, CommandError> {
        let permit = self.place_to_follow()?;
        let (viewer, packets) = Viewer::new();
        let (answer, begun) = oneshot::channel();
        self.mail(Mail::Capture(Capture {
            tunnel,
            session,
            tap: Arc::new(viewer),
            answer,
        }));
        let handle = begun.await.map_err(shut_down)??;
        let (held, ended) = oneshot::channel::<()>();
        let mailbox = self.mailbox.clone();
        tokio::spawn(async move {
            // It is dropped, not sent to.
            let _ = ended.await;
            drop(permit);
            mailbox.send(Mail::CaptureEnded(handle));
        });
        Ok(Captured { packets, held })
    }
}

/// What is answered where packets cannot be seen.
pub(crate) fn refused(error: &DatapathError) -> CommandError {
    CommandError::new(ErrorKind::Resources, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_loses_and_is_told_how_many() {
        let (viewer, mut packets) = Viewer::new();
        for _ in 0..BACKLOG + 7 {
            viewer.see(Way::Sent, &[0x45, 0]);
        }
        viewer.miss(3);
        let first = packets.try_recv().unwrap();
        assert_eq!((first.lost, first.octets.as_str()), (0, "4500"));
        viewer.see(Way::Received, &[0x60]);
        let last = std::iter::from_fn(|| packets.try_recv().ok()).last();
        let last = last.unwrap();
        assert_eq!((last.lost, last.direction), (10, Direction::Received));
        assert!(viewer.is_open());
        drop(packets);
        assert!(!viewer.is_open());
    }
}
