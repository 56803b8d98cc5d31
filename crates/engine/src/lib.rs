//! One shard of the daemon without I/O: tunnels and sessions composed with PPP, users, pools and one timer wheel.
