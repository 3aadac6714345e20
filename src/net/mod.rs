//! The edge towards the sockets: MQTT connections in, flows out. Waits a lot and decides little.

pub mod brought;
pub mod conn;
pub mod handshake;
pub mod listener;
pub mod owed;
mod socket;
pub mod stream;
pub mod threads;
pub mod tls;
mod verifier;
pub mod web;
