//! The page that Prometheus scrapes: counters as they are, and the gauges that are read when somebody asks.

use super::Flows;
use crate::{
    metrics::CommandState,
    store::{StoreError, invitation},
};

/// States of commands; one that no command is in is shown as 0.
const STATES: [&str; 7] = ["queued", "sent", "delivered", "answered", "expired", "failed", "cancelled"];

impl Flows {
    /// All metrics as text.
    ///
    /// # Errors
    /// The database failed.
    pub async fn metrics_page(&self) -> Result<String, StoreError> {
        let counts = self.store.commands_by_state().await?;
        for state in STATES {
            let count = counts.iter().find(|(name, _)| name == state).map_or(0, |(_, count)| *count);
            self.metrics.commands.get_or_create(&CommandState { state: state.into() }).set(count);
        }
        let mails = self.store.row(invitation::waiting_mails()).await?.map_or(0, |row| row.int("mails"));
        self.metrics.mails_waiting.set(mails);
        let (valid, ending) = self.certificate_counts().await?;
        self.metrics.certificates_valid.set(valid);
        self.metrics.certificates_ending.set(ending);
        self.metrics.outbox_depth.set(i64::try_from(self.hub.waiting()).unwrap_or(i64::MAX));
        self.metrics.presence_unwritten.set(i64::try_from(self.doubts.len()).unwrap_or(i64::MAX));
        self.metrics.sessions.set(i64::try_from(self.hub.sessions()).unwrap_or(i64::MAX));
        self.metrics.persistent_sessions.set(i64::try_from(self.hub.persistent_sessions()).unwrap_or(i64::MAX));
        self.metrics.writes_waiting.set(i64::try_from(self.store.payload_bytes()).unwrap_or(i64::MAX));
        self.metrics.passwords_waiting.set(i64::try_from(self.passwords.in_progress()).unwrap_or(i64::MAX));
        self.measure_guard();
        Ok(self.metrics.encode())
    }
}
