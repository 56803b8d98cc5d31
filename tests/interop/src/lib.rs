//! A test bed of network namespaces, captures and daemons.
