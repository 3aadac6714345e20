//! What messages mean. Values in, values out: no sockets, no SQL, no clock of its own, nothing to wait for.

pub mod agent;
pub mod applied;
pub mod audit;
pub mod catalog;
pub mod change;
pub mod deeplink;
pub mod enroll;
pub mod help_desk;
pub mod inbound;
pub mod inventory;
pub mod owed;
pub mod package;
pub mod policy;
pub mod rights;
pub mod version;
pub mod weight;
