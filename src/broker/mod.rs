//! Who is connected and who hears what, in memory. Knows the protocol's nouns; never waits, never logs.

pub mod acl;
pub mod auth;
pub mod hub;
pub mod outbox;
pub mod places;
pub mod retained;
pub mod router;
