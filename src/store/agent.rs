//! What the rows of agents say of connections, and what a start of the server does to them.

use super::{Store, StoreError, db::Statement};
use crate::ids::{AgentId, ConnectionNumber};

/// Bits of a connection number that count connections since the start; the bits above count starts.
pub const CONNECTIONS_PER_START_BITS: u32 = 32;

/// What a row says of the connection of its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceRow {
    /// Whose.
    pub agent: AgentId,
    /// The newest connection that was written.
    pub connection: ConnectionNumber,
    /// Whether it is shown online.
    pub is_online: bool,
}

impl Store {
    /// Some rows, by the order of their keys, after this one.
    ///
    /// # Errors
    /// The database failed.
    pub async fn presence_after(
        &self,
        agent: Option<AgentId>,
        rows_max: usize,
    ) -> Result<Vec<PresenceRow>, StoreError> {
        let question = Statement::new(
            "select agent_id, connection, is_online from agent where agent_id > $1 order by agent_id limit $2",
            [agent.map_or(-1, |it| it.0).into(), i64::try_from(rows_max).unwrap_or(i64::MAX).into()],
        );
        let rows = self.rows(question).await?;
        let read = |row: &super::db::Row| PresenceRow {
            agent: AgentId(row.int("agent_id")),
            connection: ConnectionNumber(row.int("connection")),
            is_online: row.flag("is_online"),
        };
        Ok(rows.iter().map(read).collect())
    }

    /// Nobody is connected yet: for a single node that starts. Says how many a crash had left behind as online.
    ///
    /// # Errors
    /// The database failed.
    pub async fn mark_all_offline(&self) -> Result<u64, StoreError> {
        let off = Statement::new("update agent set is_online = false where is_online", []);
        self.write(move |tx| Box::pin(tx.execute(off))).await
    }
}
