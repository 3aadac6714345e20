//! The protocol as values. Knows neither sockets nor clocks nor devices; never waits.

pub mod codec;
pub mod packet;
pub mod session;
pub mod topic;
