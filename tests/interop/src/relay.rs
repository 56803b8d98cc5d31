//! A peer whose answers come from another port than was asked: what some servers and some address translators do.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::netns::Namespace;

/// Stands before a server: takes what comes to one port, and answers from another.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Starts in `namespace`: what comes to `asked` goes to the server at `server` on the same host, and its answers go
    /// back from `answering`, where the client may then send too.
    ///
    /// # Errors
    /// A port is taken.
    pub fn start(namespace: &Namespace, asked: u16, answering: u16, server: u16) -> Result<Self> {
        let bind = |port| -> Result<UdpSocket> {
            let socket = namespace.enter(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?))?;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            Ok(socket)
        };
        let (front, back, inner) = (bind(asked)?, bind(answering)?, bind(0)?);
        inner.connect((Ipv4Addr::LOCALHOST, server))?;
        // The first datagram says who the client is; from then on only its answers need to know.
        let mut relay = Self {
            stop: Arc::default(),
            threads: Vec::new(),
        };
        let client = Arc::new(std::sync::OnceLock::<SocketAddr>::new());
        for socket in [front, back.try_clone()?] {
            let (inner, client) = (inner.try_clone()?, Arc::clone(&client));
            relay.pump(socket, move |datagram, from| {
                client.get_or_init(|| from);
                inner.send(datagram).ok();
            });
        }
        relay.pump(inner, move |datagram, _| {
            if let Some(client) = client.get() {
                back.send_to(datagram, client).ok();
            }
        });
        Ok(relay)
    }

    /// Hands each datagram that comes to `socket` to `forward`, in a thread, until the relay is dropped.
    fn pump(
        &mut self,
        socket: UdpSocket,
        mut forward: impl FnMut(&[u8], SocketAddr) + Send + 'static,
    ) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || {
            let mut datagram = [0; 65_536];
            while !stop.load(Ordering::Relaxed) {
                // An error is the read timeout, or a server that is not there yet.
                if let Ok((length, from)) = socket.recv_from(&mut datagram) {
                    forward(&datagram[..length], from);
                }
            }
        }));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}
