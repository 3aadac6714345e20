//! Sockets.

pub mod certs;
