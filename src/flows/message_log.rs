//! What is written into the message log: every exchange that changes something. Pings and presence only on request, inventories
//! never whole, and what a device merely finds again when it reconnects not at all.

use std::sync::Arc;

use super::Flows;
use crate::{
    config::Logged,
    ids::AgentId,
    mdm::change::{Change, Direction, LogLine},
    mqtt::packet::Message,
    store::{
        StoreError,
        message_log::{MessageFilter, MessageView},
    },
};

/// Reports that say only that a device is there; every device sends them all the time.
const HEARTBEATS: [&str; 2] = ["Status/Ping", "Status/Online"];
/// Too long to keep twice: the inventory itself is in the database.
const ONLY_NAMED: &str = "Status/Inventory";

impl Flows {
    /// The line for a report of this kind, if reports of its kind are logged.
    pub(super) fn log_report(&self, agent: AgentId, report: &str, topic: &Arc<str>, payload: &[u8]) -> Option<Change> {
        let is_wanted = match self.config.message_log.messages {
            Logged::Off => false,
            Logged::Events => !HEARTBEATS.contains(&report),
            Logged::All => true,
        };
        is_wanted.then(|| {
            let message =
                if report == ONLY_NAMED { format!("({} bytes)", payload.len()) } else { self.cut_message(payload) };
            self.log_line(Direction::In, agent, topic, message)
        })
    }

    /// The line for a message to a device.
    pub(super) fn log_order(&self, agent: AgentId, message: &Message) -> Option<Change> {
        (self.config.message_log.messages != Logged::Off)
            .then(|| self.log_line(Direction::Out, agent, &message.topic, self.cut_message(&message.payload)))
    }

    fn log_line(&self, direction: Direction, agent: AgentId, topic: &Arc<str>, message: String) -> Change {
        let line = LogLine { at: self.clock.now(), direction, topic: topic.clone(), message, agent };
        Change::Logged(Box::new(line))
    }

    fn cut_message(&self, payload: &[u8]) -> String {
        let chars_max = self.config.message_log.message_chars_max as usize;
        // A character has at most four bytes.
        let bytes = &payload[..payload.len().min(chars_max.saturating_mul(4))];
        String::from_utf8_lossy(bytes).chars().take(chars_max).collect()
    }

    /// Messages, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageView>, StoreError> {
        self.store.messages(filter).await
    }

    /// Deletes the oldest lines beyond the configured number.
    pub(super) async fn rotate_messages(&self) -> Result<(), StoreError> {
        self.store.rotate_messages(self.config.message_log.rows_max.into()).await.map(drop)
    }
}
