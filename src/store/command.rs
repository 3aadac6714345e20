//! What ends commands without their being answered, and how many there are. Refuses to know what a command means; how they begin is
//! in `administer/orders.rs`, how devices move them on in `apply.rs`.

use super::{
    Store, StoreError,
    db::{Statement, Tx},
};
use crate::{clock::Timestamp, ids::AgentId};

/// Commands that one transaction expires.
const EXPIRED_MAX: i64 = 1000;

/// Ends everything that is open for this agent.
///
/// # Errors
/// The database refused.
pub async fn cancel_all(tx: &mut Tx, agent: AgentId, detail: &str, at: Timestamp) -> Result<u64, StoreError> {
    tx.execute(Statement::new(
        "update command set state = 'cancelled', detail = $2, finished_at = $3 \
         where agent_id = $1 and state in ('queued', 'sent', 'delivered')",
        [agent.0.into(), detail.into(), at.0.into()],
    ))
    .await
}

impl Store {
    /// Ends commands whose time has passed and says whose they were (each agent once). Call again while it finds some.
    ///
    /// # Errors
    /// The database failed.
    pub async fn expire_commands(&self, now: Timestamp) -> Result<Vec<AgentId>, StoreError> {
        let expire = format!(
            "update command set state = 'expired', detail = 'not answered in time', finished_at = $1 \
             where command_id in (select command_id from command \
                 where state in ('queued', 'sent', 'delivered') and expires_at is not null and expires_at <= $1 \
                 order by expires_at limit {EXPIRED_MAX}) returning agent_id"
        );
        let mut agents = self
            .write(move |tx| {
                Box::pin(async move {
                    let rows = tx.rows(Statement::new(expire, [now.0.into()])).await?;
                    Ok(rows.iter().map(|row| AgentId(row.int("agent_id"))).collect::<Vec<_>>())
                })
            })
            .await?;
        agents.sort_unstable();
        agents.dedup();
        Ok(agents)
    }

    /// How many commands are in each state. Reads all of them: ask seldom and keep the answer.
    ///
    /// # Errors
    /// The database failed.
    pub async fn commands_by_state(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let count = Statement::new("select state, count(*) as count from command group by state order by state", []);
        Ok(self.rows(count).await?.iter().map(|row| (row.text("state"), row.int("count"))).collect())
    }
}
