//! Types and client of the management interface: HTTP and JSON over a Unix socket.
