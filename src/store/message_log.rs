//! What was said and heard, for people who look for a fault (GLPI: PluginFlyvemdmMqttlog). The newest rows stay.

use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Row, Statement, Value},
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, MessageId},
};

/// Rows that one list shows.
pub const MESSAGES_LISTED_MAX: usize = 1000;
/// Rows that one rotation deletes; the next one goes on.
const ROTATED_MAX: i64 = 10_000;

/// A message as it was logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageView {
    /// Key.
    pub id: MessageId,
    /// When, RFC 3339.
    pub at: String,
    /// `I` from the device, `O` to it.
    pub direction: String,
    /// Without leading slash.
    pub topic: String,
    /// Cut.
    pub message: String,
}

/// Which messages to list; the newest come first.
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    /// Of this agent, which may be gone.
    pub agent: Option<AgentId>,
    /// With a lower number, to turn the page.
    pub before: Option<MessageId>,
    /// At most so many; [`MESSAGES_LISTED_MAX`] at most.
    pub limit: usize,
}

impl Store {
    /// Messages, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn messages(&self, filter: &MessageFilter) -> Result<Vec<MessageView>, StoreError> {
        let mut args: Vec<Value> = Vec::new();
        let mut sql = "select message_log_id, at, direction, topic, message from message_log where true".to_owned();
        let conditions =
            [("agent_id =", filter.agent.map(|it| it.0)), ("message_log_id <", filter.before.map(|it| it.0))];
        for (condition, value) in conditions {
            if let Some(value) = value {
                args.push(value.into());
                sql += &format!(" and {condition} ${}", args.len());
            }
        }
        sql += &format!(" order by message_log_id desc limit {}", filter.limit.clamp(1, MESSAGES_LISTED_MAX));
        Ok(self.rows(Statement::new(sql, args)).await?.iter().map(view).collect())
    }

    /// Deletes the oldest rows beyond `rows_max`, a bounded number at a time. Says how many.
    ///
    /// # Errors
    /// The database failed.
    pub async fn rotate_messages(&self, rows_max: i64) -> Result<u64, StoreError> {
        let ends = "select min(message_log_id) as oldest, max(message_log_id) as newest from message_log";
        let Some(ends) = self.row(Statement::new(ends, [])).await? else { return Ok(0) };
        let (Some(oldest), Some(newest)) = (ends.opt_int("oldest"), ends.opt_int("newest")) else { return Ok(0) };
        let keep_above = newest.saturating_sub(rows_max).min(oldest.saturating_add(ROTATED_MAX));
        if oldest > keep_above {
            return Ok(0);
        }
        let rotate = Statement::new("delete from message_log where message_log_id <= $1", [keep_above.into()]);
        self.write(move |tx| Box::pin(tx.execute(rotate))).await
    }
}

fn view(row: &Row) -> MessageView {
    MessageView {
        id: MessageId(row.int("message_log_id")),
        at: Timestamp(row.int("at")).rfc3339(),
        direction: row.text("direction"),
        topic: row.text("topic"),
        message: row.text("message"),
    }
}
