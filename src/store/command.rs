//! What administrators wanted of devices: rows that go from queued to an end. Refuses to know what a command means.

use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Row, Statement, Tx, Value},
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, CommandId},
};

/// Rows that one list shows.
pub const COMMANDS_LISTED_MAX: usize = 1000;
/// Commands that one transaction expires.
const EXPIRED_MAX: i64 = 1000;

const COLUMNS: &str = "command_id, agent_id, serial, name, state, requested_by, created_at, expires_at, sent_at, \
     delivered_at, finished_at, detail";

/// A command as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandRow {
    /// Key.
    pub id: CommandId,
    /// Whose; the agent may be gone.
    pub agent_id: AgentId,
    /// The serial of that agent.
    pub serial: String,
    /// Name in the catalog.
    pub name: String,
    /// `queued`, `sent`, `delivered`, `answered`, `expired`, `failed` or `cancelled`.
    pub state: String,
    /// Who wanted it.
    pub requested_by: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it is no longer of use.
    pub expires_at: Option<Timestamp>,
    /// When it was last handed to a connection.
    pub sent_at: Option<Timestamp>,
    /// When the device acknowledged the packet.
    pub delivered_at: Option<Timestamp>,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
    /// Why it failed, expired or was cancelled.
    pub detail: String,
}

/// Which commands to list; the newest come first.
#[derive(Debug, Clone, Default)]
pub struct CommandFilter {
    /// Of this agent.
    pub agent: Option<AgentId>,
    /// Of agents with this serial, past ones too.
    pub serial: Option<String>,
    /// In this state.
    pub state: Option<String>,
    /// With a lower number, to turn the page.
    pub before: Option<CommandId>,
    /// At most so many; [`COMMANDS_LISTED_MAX`] at most.
    pub limit: usize,
}

/// Puts a command in line. `None`: there is no such agent.
///
/// # Errors
/// The database refused.
pub async fn queue_command(
    tx: &mut Tx,
    agent: AgentId,
    name: &str,
    requested_by: &str,
    expires_at: Option<Timestamp>,
    at: Timestamp,
) -> Result<Option<CommandId>, StoreError> {
    let row = tx.row(Statement::new(
        "insert into command (agent_id, serial, name, requested_by, created_at, expires_at) \
         select agent_id, serial, $2, $3, $4, $5 from agent where agent_id = $1 returning command_id",
        [agent.0.into(), name.into(), requested_by.into(), at.0.into(), expires_at.map(|it| it.0).into()],
    ));
    Ok(row.await?.map(|row| CommandId(row.int("command_id"))))
}

/// Ends what is open under these names because a newer wish replaces it (lock and unlock replace one another).
///
/// # Errors
/// The database refused.
pub async fn supersede(tx: &mut Tx, agent: AgentId, names: &[&str], at: Timestamp) -> Result<u64, StoreError> {
    let mut ended = 0;
    for name in names {
        ended += tx
            .execute(Statement::new(
                "update command set state = 'cancelled', detail = 'superseded', finished_at = $3 \
                 where agent_id = $1 and name = $2 and state in ('queued', 'sent', 'delivered')",
                [agent.0.into(), Value::from(*name), at.0.into()],
            ))
            .await?;
    }
    Ok(ended)
}

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

/// Ends one open command as failed.
///
/// # Errors
/// The database refused.
pub async fn fail_command(tx: &mut Tx, command: CommandId, detail: &str, at: Timestamp) -> Result<bool, StoreError> {
    let changed = tx.execute(Statement::new(
        "update command set state = 'failed', detail = $2, finished_at = $3 \
         where command_id = $1 and state in ('queued', 'sent', 'delivered')",
        [command.0.into(), detail.into(), at.0.into()],
    ));
    Ok(changed.await? > 0)
}

impl Store {
    /// One command.
    ///
    /// # Errors
    /// The database failed.
    pub async fn command(&self, id: CommandId) -> Result<Option<CommandRow>, StoreError> {
        let sql = format!("select {COLUMNS} from command where command_id = $1");
        Ok(self.row(Statement::new(sql, [id.0.into()])).await?.as_ref().map(command))
    }

    /// Commands, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn commands(&self, filter: &CommandFilter) -> Result<Vec<CommandRow>, StoreError> {
        let mut args: Vec<Value> = Vec::new();
        let mut sql = format!("select {COLUMNS} from command where true");
        let mut with = |condition: &str, value: Option<Value>| {
            if let Some(value) = value {
                args.push(value);
                sql += &format!(" and {condition} ${}", args.len());
            }
        };
        with("agent_id =", filter.agent.map(|it| it.0.into()));
        with("serial =", filter.serial.clone().map(Value::from));
        with("state =", filter.state.clone().map(Value::from));
        with("command_id <", filter.before.map(|it| it.0.into()));
        sql += &format!(" order by command_id desc limit {}", filter.limit.clamp(1, COMMANDS_LISTED_MAX));
        Ok(self.rows(Statement::new(sql, args)).await?.iter().map(command).collect())
    }

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

fn command(row: &Row) -> CommandRow {
    let time = |column| row.opt_int(column).map(Timestamp);
    CommandRow {
        id: CommandId(row.int("command_id")),
        agent_id: AgentId(row.int("agent_id")),
        serial: row.text("serial"),
        name: row.text("name"),
        state: row.text("state"),
        requested_by: row.text("requested_by"),
        created_at: Timestamp(row.int("created_at")),
        expires_at: time("expires_at"),
        sent_at: time("sent_at"),
        delivered_at: time("delivered_at"),
        finished_at: time("finished_at"),
        detail: row.text("detail"),
    }
}
