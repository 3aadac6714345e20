//! Rows of agents: what is shown of them and what administrators change.

use serde::Serialize;

use super::{
    Store, StoreError, command,
    db::{Row, Statement, Tx, Value},
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, ComputerId, ConnectionNumber, EntityId, FleetId},
    mdm::agent::{EnrollStatus, LockWish},
};

/// Rows that one list shows.
pub const AGENTS_LISTED_MAX: usize = 1000;
/// Bits of a connection number that count connections since the start; the bits above count starts.
pub const CONNECTIONS_PER_START_BITS: u32 = 32;

const COLUMNS: &str = "a.agent_id, a.serial, a.entity_id, a.fleet_id, f.is_default as fleet_is_default, a.computer_id, \
     a.name, a.version, a.mdm_type, a.is_online, a.last_contact, a.enroll_status, a.lock_wish, a.wipe, a.connection, \
     a.created_at, c.uuid, c.name as computer_name, c.manufacturer, c.model, c.os_name, c.os_version";
const TABLES: &str = "agent a join computer c on c.computer_id = a.computer_id join fleet f on f.fleet_id = a.fleet_id";

/// An agent as administrators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentRow {
    /// Key.
    pub id: AgentId,
    /// The serial in its topic.
    pub serial: String,
    /// The entity in its topic.
    pub entity: EntityId,
    /// Its fleet.
    pub fleet: FleetId,
    /// Whether that is the fleet that grants nothing.
    pub fleet_is_default: bool,
    /// Its inventory record.
    pub computer: ComputerId,
    /// What people call it.
    pub name: String,
    /// Version of the agent software.
    pub version: String,
    /// `android` or `apple`.
    pub mdm_type: String,
    /// Whether it is connected, or said so.
    pub is_online: bool,
    /// When it was last heard.
    pub last_contact: Option<Timestamp>,
    /// Where it stands in its life.
    pub enroll_status: EnrollStatus,
    /// Whether it was told to lock itself.
    pub lock: bool,
    /// Whether it was told to wipe itself.
    pub wipe: bool,
    /// Number of its latest connection.
    pub connection: ConnectionNumber,
    /// When it enrolled.
    pub created_at: Timestamp,
    /// Of the device.
    pub uuid: String,
    /// Of the device, from its inventory.
    pub computer_name: String,
    /// Of the device, from its inventory.
    pub manufacturer: String,
    /// Of the device, from its inventory.
    pub model: String,
    /// Of the device, from its inventory.
    pub os_name: String,
    /// Of the device, from its inventory.
    pub os_version: String,
}

/// Which agents to list, in the order of their numbers.
#[derive(Debug, Clone, Default)]
pub struct AgentFilter {
    /// In this entity.
    pub entity: Option<EntityId>,
    /// In this fleet.
    pub fleet: Option<FleetId>,
    /// Online or not.
    pub is_online: Option<bool>,
    /// With a higher number, to turn the page.
    pub after: Option<AgentId>,
    /// At most so many; [`AGENTS_LISTED_MAX`] at most.
    pub limit: usize,
}

/// Remembers what was wished about the screen lock. `false`: there is no such agent.
///
/// # Errors
/// The database refused.
pub async fn set_lock_wish(tx: &mut Tx, agent: AgentId, wish: LockWish) -> Result<bool, StoreError> {
    set(tx, "update agent set lock_wish = $2 where agent_id = $1", agent, wish.as_str()).await
}

/// Remembers that the device must wipe itself (or need not any more). `false`: there is no such agent.
///
/// # Errors
/// The database refused.
pub async fn set_wipe(tx: &mut Tx, agent: AgentId, wipe: bool) -> Result<bool, StoreError> {
    set(tx, "update agent set wipe = $2 where agent_id = $1", agent, wipe).await
}

/// Moves the agent on in its life. `false`: there is no such agent.
///
/// # Errors
/// The database refused.
pub async fn set_enroll_status(tx: &mut Tx, agent: AgentId, status: EnrollStatus) -> Result<bool, StoreError> {
    set(tx, "update agent set enroll_status = $2 where agent_id = $1", agent, status.as_str()).await
}

/// Ends an agent whether its device agrees or not. The computer stays; open commands are cancelled with the detail.
/// `false`: there is no such agent.
///
/// # Errors
/// The database refused.
pub async fn delete_agent(tx: &mut Tx, agent: AgentId, at: Timestamp, detail: &str) -> Result<bool, StoreError> {
    command::cancel_all(tx, agent, detail, at).await?;
    let gone = tx.execute(Statement::new("delete from agent where agent_id = $1", [agent.0.into()]));
    Ok(gone.await? > 0)
}

async fn set(
    tx: &mut Tx,
    sql: &'static str,
    agent: AgentId,
    value: impl Into<Value> + Send,
) -> Result<bool, StoreError> {
    Ok(tx.execute(Statement::new(sql, [agent.0.into(), value.into()])).await? > 0)
}

impl Store {
    /// One agent.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agent(&self, id: AgentId) -> Result<Option<AgentRow>, StoreError> {
        let sql = format!("select {COLUMNS} from {TABLES} where a.agent_id = $1");
        Ok(self.row(Statement::new(sql, [id.0.into()])).await?.as_ref().and_then(agent))
    }

    /// The agents with this serial, newest first: one per entity, or many for a placeholder.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agents_by_serial(&self, serial: &str) -> Result<Vec<AgentRow>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from {TABLES} where a.serial = $1 order by a.agent_id desc limit {AGENTS_LISTED_MAX}"
        );
        Ok(self.rows(Statement::new(sql, [serial.into()])).await?.iter().filter_map(agent).collect())
    }

    /// Agents by number.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agents(&self, filter: &AgentFilter) -> Result<Vec<AgentRow>, StoreError> {
        let mut args: Vec<Value> = Vec::new();
        let mut sql = format!("select {COLUMNS} from {TABLES} where true");
        let mut with = |condition: &str, value: Option<i64>| {
            if let Some(value) = value {
                args.push(value.into());
                sql += &format!(" and {condition} ${}", args.len());
            }
        };
        with("a.entity_id =", filter.entity.map(|it| it.0));
        with("a.fleet_id =", filter.fleet.map(|it| it.0));
        with("a.agent_id >", filter.after.map(|it| it.0));
        match filter.is_online {
            Some(true) => sql += " and a.is_online",
            Some(false) => sql += " and not a.is_online",
            None => {}
        }
        sql += &format!(" order by a.agent_id limit {}", filter.limit.clamp(1, AGENTS_LISTED_MAX));
        Ok(self.rows(Statement::new(sql, args)).await?.iter().filter_map(agent).collect())
    }

    /// Nobody is connected yet: for a single node that starts. Says how many a crash had left behind as online.
    ///
    /// # Errors
    /// The database failed.
    pub async fn mark_all_offline(&self) -> Result<u64, StoreError> {
        let off = Statement::new("update agent set is_online = false where is_online", []);
        self.write(move |tx| Box::pin(tx.execute(off))).await
    }

    /// Counts this start of a server and gives its number: the upper half of its connection numbers
    /// ([`CONNECTIONS_PER_START_BITS`]).
    ///
    /// # Errors
    /// The database failed.
    pub async fn start_number(&self) -> Result<i64, StoreError> {
        let count = Statement::new(
            "insert into meta (name, value) values ('starts', 1) \
             on conflict (name) do update set value = meta.value + 1 returning value",
            [],
        );
        let row = self.write(move |tx| Box::pin(tx.row(count))).await?;
        row.map(|row| row.int("value")).ok_or_else(|| StoreError::Database("the start was not counted".into()))
    }
}

fn agent(row: &Row) -> Option<AgentRow> {
    Some(AgentRow {
        id: AgentId(row.int("agent_id")),
        serial: row.text("serial"),
        entity: EntityId(row.int("entity_id")),
        fleet: FleetId(row.int("fleet_id")),
        fleet_is_default: row.flag("fleet_is_default"),
        computer: ComputerId(row.int("computer_id")),
        name: row.text("name"),
        version: row.text("version"),
        mdm_type: row.text("mdm_type"),
        is_online: row.flag("is_online"),
        last_contact: row.opt_int("last_contact").map(Timestamp),
        enroll_status: EnrollStatus::parse(&row.text("enroll_status"))?,
        lock: row.text("lock_wish") == LockWish::Lock.as_str(),
        wipe: row.flag("wipe"),
        connection: ConnectionNumber(row.int("connection")),
        created_at: Timestamp(row.int("created_at")),
        uuid: row.text("uuid"),
        computer_name: row.text("computer_name"),
        manufacturer: row.text("manufacturer"),
        model: row.text("model"),
        os_name: row.text("os_name"),
        os_version: row.text("os_version"),
    })
}
