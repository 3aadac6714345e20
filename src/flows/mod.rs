//! The stories: one file each, top to bottom.

use std::sync::{Arc, OnceLock, atomic::AtomicBool};

use crate::{broker::hub::Hub, clock::Clock, config::Config, ids::AgentId, metrics::Metrics, store::Store};

pub mod administer;
pub mod admit;
pub mod audit;
pub mod certificates;
#[cfg(test)]
mod debug_tests;
pub mod dispatch;
pub mod enroll;
pub mod files;
pub mod guard;
pub mod import;
pub mod ingest;
pub mod invite;
pub mod invite_many;
pub mod measure;
pub mod message_log;
pub mod move_in;
pub mod passwords;
pub mod people;
pub mod policies;
pub mod post;
pub mod presence;
pub mod seat;
pub mod secrets;
pub mod session;
pub mod settled;
pub mod sweep;
pub mod task;
pub mod tenant;
pub mod tokens;
pub mod welcome;

pub use secrets::SecretKey;

/// Everything a story needs.
pub struct Flows {
    /// State.
    pub store: Store,
    /// Live connections.
    pub hub: Hub,
    /// Time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Settings.
    pub config: Arc<Config>,
    /// Key of the HMAC under which machine secrets are stored.
    pub secret_key: SecretKey,
    /// What agents are told about the broker; set once the listeners are open.
    pub told: OnceLock<ToldSettings>,
    /// Whether the server is about to end: it still answers, but nothing new should be sent its way.
    pub is_stopping: AtomicBool,
    /// Policies of fleets, shared by their agents.
    pub policies: policies::Policies,
    /// Whose presence could not be written.
    pub doubts: Arc<presence::Doubts>,
    /// Who waits for answers.
    pub settled: settled::Settled,
    /// Wakes the delivery of mails.
    pub mail_waits: tokio::sync::Notify,
    /// Computes hashes of people's passwords.
    pub passwords: passwords::Passwords,
    /// Signs certificates of devices, and knows what was revoked.
    pub certificates: certificates::Desk,
    /// Who moves contents.
    pub traffic: files::Traffic,
    /// What is known of strangers.
    pub guard: Arc<guard::Guard>,
    /// What is kept of the audit outside the database.
    pub audit_watch: audit::Watch,
}

/// Where agents are told to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldSettings {
    /// Host name.
    pub broker: String,
    /// Port.
    pub port: u16,
    /// Whether to speak TLS there.
    pub tls: bool,
}

impl Flows {
    /// To be called after a commit that changed or removed these agents: their live connections read again what they are owed,
    /// and end if their agent is gone.
    pub fn agents_changed(&self, agents: &[AgentId]) {
        self.hub.agents_changed(agents);
        self.certificates.bell.notify_one();
    }
}
