//! What strangers may cost us, as values: rates, places, failed logins, bans. Every table has a fixed number of slots. No sockets, no
//! clock of its own, no waiting: who asks says what time it is and does what the answer says.

pub mod bucket;
pub mod budget;
pub mod crowd;
pub mod door;
pub mod logins;
pub mod proxies;
pub mod table;
