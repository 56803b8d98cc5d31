//! A TCP port in front of a Unix socket, for clients that speak only TCP.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Result;

/// Opens a port of the loopback that leads to the socket at `path`, for as long as the program runs.
///
/// # Errors
/// There is no port to be had.
pub fn open(path: &Path) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let path = path.to_owned();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let path = path.clone();
            // A client whose connection fails sees that itself.
            thread::spawn(move || join(&client, path));
        }
    });
    Ok(address)
}

fn join(client: &TcpStream, path: PathBuf) -> io::Result<()> {
    let server = UnixStream::connect(path)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*client, &mut &server);
            server.shutdown(Shutdown::Both)
        });
        let _ = io::copy(&mut &server, &mut &*client);
        client.shutdown(Shutdown::Both)
    })
}
