//! The edge towards the sockets: MQTT connections in, flows out, and the certificates that TLS needs. Waits a lot and decides little.

pub mod certs;
pub mod conn;
pub mod listener;
pub mod stream;
