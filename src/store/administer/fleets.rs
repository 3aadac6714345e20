//! Fleets, and the agents in them.

use super::{
    AgentFilter, AgentView, Answer, FleetView, LIST_ROWS_MAX, Refused, absent_entity, exists, flag, int, number, text,
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, EntityId, FleetId},
    mdm::{
        audit::{Action, Deed, Subject},
        rights::Scope,
    },
    store::{
        Store, StoreError,
        db::{Row, Statement, Tx, Value},
        scope, task,
    },
};

const AGENT_VIEW: &str = "select a.agent_id, a.serial, a.entity_id, coalesce(a.topic_entity_id, a.entity_id) as topic_entity_id, a.fleet_id, f.name as fleet_name, a.name, a.version, a.mdm_type, \
    a.is_online, a.last_contact, a.enroll_status, a.lock_wish, a.wipe, a.connection, a.computer_id, c.uuid, c.model, \
    c.os_name, c.os_version, c.inventory_at \
    from agent a join fleet f on f.fleet_id = a.fleet_id join computer c on c.computer_id = a.computer_id where true";

/// The fleets `f` of the entities `{scope}`.
pub(in crate::store) const FLEET_WITHIN: &str = "f.entity_id in {scope}";
/// The fleets `f` of the entities `{above}` that those below them see.
pub(in crate::store) const FLEET_FROM_BELOW: &str = "f.is_recursive and f.entity_id in {above}";

const FLEET_VIEW: &str = "select f.fleet_id, f.entity_id, f.name, f.is_default, f.is_recursive, \
    (select count(*) from agent a where a.fleet_id = f.fleet_id) as agents from fleet f where true";

/// A fleet to be made.
#[derive(Debug, Clone)]
pub struct NewFleet {
    /// Whose.
    pub entity: EntityId,
    /// What people call it.
    pub name: String,
    /// Whether it is seen in the entities below.
    pub is_recursive: bool,
}

/// What is to be different about a fleet; `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetChange {
    /// What people will call it.
    pub name: Option<String>,
    /// Whether it will be seen in the entities below its own.
    pub is_recursive: Option<bool>,
}

impl Store {
    /// The fleets to be seen in these entities, of one tenant or of all.
    ///
    /// # Errors
    /// The database failed.
    pub async fn fleets(&self, entity: Option<EntityId>, scope: &Scope) -> Result<Vec<FleetView>, StoreError> {
        self.fleets_with("f.entity_id", entity.map(|it| it.0), scope).await
    }

    /// A fleet, if it is to be seen in these entities.
    ///
    /// # Errors
    /// The database failed.
    pub async fn fleet(&self, id: FleetId, scope: &Scope) -> Result<Option<FleetView>, StoreError> {
        Ok(self.fleets_with("f.fleet_id", Some(id.0), scope).await?.pop())
    }

    async fn fleets_with(
        &self,
        column: &'static str,
        value: Option<i64>,
        scope: &Scope,
    ) -> Result<Vec<FleetView>, StoreError> {
        let mut sql = FLEET_VIEW.to_owned();
        let mut args = Vec::new();
        if let Some(value) = value {
            args.push(int(value));
            sql.push_str(&format!(" and {column} = $1"));
        }
        if let Some(seen) = scope::condition(FLEET_WITHIN, FLEET_FROM_BELOW, scope, &mut args) {
            sql.push_str(&format!(" and ({seen})"));
        }
        args.push(int(LIST_ROWS_MAX));
        sql.push_str(&format!(" order by f.entity_id, f.fleet_id limit ${}", args.len()));
        Ok(self.rows(Statement::new(sql, args)).await?.iter().map(fleet_view).collect())
    }

    /// A new fleet.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_fleet(&self, new: NewFleet, at: Timestamp) -> Answer<FleetId> {
        let NewFleet { entity, name, is_recursive } = new;
        let deed = Deed::new(Action::FleetAdd, Subject::Fleet).with("name", name.as_str());
        let deed = deed.with("is_recursive", is_recursive.then_some(true));
        self.deed(deed, move |tx| {
            Box::pin(async move {
                if !exists(tx, "select 1 as n from entity where entity_id = $1", entity.0).await? {
                    return Ok(Err(absent_entity(entity)));
                }
                if named(tx, entity, &name).await?.is_some() {
                    return Ok(Err(Refused::Conflict(format!("entity {entity} has a fleet \"{name}\" already"))));
                }
                let id = number(
                    tx,
                    "insert into fleet (entity_id, name, is_default, is_recursive, created_at) values ($1, $2, $3, $4, $5) \
                     returning fleet_id as n",
                    [int(entity.0), text(name), flag(false), flag(is_recursive), int(at.0)],
                )
                .await?;
                Ok(Ok(FleetId(id)))
            })
        })
        .await
    }

    /// Another name for a fleet, which the default one may have too, or whether those below its entity see it, which is fixed there.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_fleet(&self, id: FleetId, change: FleetChange) -> Answer<()> {
        let FleetChange { name, is_recursive } = change;
        let action = if is_recursive.is_some() { Action::FleetChange } else { Action::FleetRename };
        let deed = Deed::to(action, Subject::Fleet, id).with("name", name.clone()).with("is_recursive", is_recursive);
        self.deed(deed, move |tx| {
            Box::pin(async move {
                let Some((entity, is_default)) = fleet(tx, id).await? else { return Ok(Err(absent_fleet(id))) };
                if is_default && is_recursive.is_some() {
                    return Ok(Err(Refused::Conflict("the default fleet of an entity stays as recursive as it is".into())));
                }
                if let Some(name) = &name
                    && named(tx, entity, name).await?.is_some_and(|other| other != id)
                {
                    return Ok(Err(Refused::Conflict(format!("entity {entity} has a fleet \"{name}\" already"))));
                }
                let update = "update fleet set name = coalesce($2, name), is_recursive = coalesce($3, is_recursive) where fleet_id = $1";
                let args = [int(id.0), Value::Text(name), Value::Bool(is_recursive)];
                tx.execute(Statement::new(update, args)).await?;
                Ok(Ok(()))
            })
        })
        .await
    }

    /// Removes a fleet with its tasks; its agents go to the default one, and must hear that the tasks were taken back until
    /// `removal_until`. Answers who was moved.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_fleet(&self, id: FleetId, removal_until: Timestamp) -> Answer<Vec<AgentId>> {
        self.deed(Deed::to(Action::FleetRemove, Subject::Fleet, id), move |tx| {
            Box::pin(async move {
                let Some((_, is_default)) = fleet(tx, id).await? else { return Ok(Err(absent_fleet(id))) };
                if is_default {
                    return Ok(Err(Refused::Conflict("the default fleet of an entity cannot be removed".into())));
                }
                task::tasks_of_fleet_end(tx, id, removal_until).await?;
                let moved = tx
                    .rows(Statement::new(
                        "update agent set fleet_id = (select d.fleet_id from fleet d join fleet f on f.entity_id = d.entity_id \
                         where f.fleet_id = $1 and d.is_default) where fleet_id = $1 returning agent_id",
                        [int(id.0)],
                    ))
                    .await?;
                tx.execute(Statement::new("delete from fleet where fleet_id = $1", [int(id.0)])).await?;
                Ok(Ok(moved.iter().map(|row| AgentId(row.int("agent_id"))).collect()))
            })
        })
        .await
    }

    /// Agents, by serial.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agents_like(&self, filter: &AgentFilter) -> Result<Vec<AgentView>, StoreError> {
        let mut sql = AGENT_VIEW.to_owned();
        let mut args: Vec<Value> = Vec::new();
        let wishes = [
            (" and a.agent_id = $", filter.id.map(|it| int(it.0))),
            (" and a.serial = $", filter.serial.clone().map(text)),
            (" and a.entity_id = $", filter.entity.map(|it| int(it.0))),
            (" and a.fleet_id = $", filter.fleet.map(|it| int(it.0))),
        ];
        for (condition, value) in wishes {
            if let Some(value) = value {
                args.push(value);
                sql.push_str(condition);
                sql.push_str(&args.len().to_string());
            }
        }
        args.push(int(LIST_ROWS_MAX));
        sql.push_str(" order by a.serial, a.agent_id limit $");
        sql.push_str(&args.len().to_string());
        Ok(self.rows(Statement::new(sql, args)).await?.iter().map(agent_view).collect())
    }

    /// Moves an agent with its computer to another tenant, into its default fleet. The topic that the device was told stays
    /// (spec/mqtt.md §7.3).
    ///
    /// # Errors
    /// The database failed.
    pub async fn put_into_entity(&self, agent: AgentId, target: EntityId, at: Timestamp) -> Answer<()> {
        self.deed(Deed::to_agent(Action::AgentMove, agent).with("to_entity", target.0), move |tx| {
            Box::pin(async move {
                let default = Statement::new(
                    "select fleet_id from fleet where entity_id = $1 and is_default",
                    [int(target.0)],
                );
                let Some(fleet) = tx.row(default).await? else { return Ok(Err(absent_entity(target))) };
                let home = Statement::new("select entity_id, fleet_id from agent where agent_id = $1", [int(agent.0)]);
                let Some(home) = tx.row(home).await? else { return Ok(Err(absent_agent(agent))) };
                if home.int("entity_id") == target.0 {
                    return Ok(Ok(()));
                }
                let put = Statement::new(
                    "update agent set topic_entity_id = coalesce(topic_entity_id, entity_id), entity_id = $2, fleet_id = $3 \
                     where agent_id = $1 returning computer_id",
                    [int(agent.0), int(target.0), int(fleet.int("fleet_id"))],
                );
                let Some(row) = tx.row(put).await? else { return Ok(Err(absent_agent(agent))) };
                let computer = int(row.int("computer_id"));
                let take = "update computer set entity_id = $2 where computer_id = $1";
                tx.execute(Statement::new(take, [computer, int(target.0)])).await?;
                task::left(tx, agent, FleetId(home.int("fleet_id")), at).await?;
                task::joined(tx, agent, at).await?;
                Ok(Ok(()))
            })
        })
        .await
    }

    /// Puts an agent into another fleet of its tenant: the tasks of the old one are cancelled, those of the new one wait for it.
    ///
    /// # Errors
    /// The database failed.
    pub async fn put_into_fleet(&self, agent: AgentId, target: FleetId, at: Timestamp) -> Answer<()> {
        self.deed(Deed::to_agent(Action::AgentMove, agent).with("to_fleet", target.0), move |tx| {
            Box::pin(async move {
                let Some((entity, _)) = fleet(tx, target).await? else { return Ok(Err(absent_fleet(target))) };
                let home = Statement::new("select entity_id, fleet_id from agent where agent_id = $1", [int(agent.0)]);
                let place = tx.row(home).await?;
                match place.map(|row| (EntityId(row.int("entity_id")), FleetId(row.int("fleet_id")))) {
                    None => Ok(Err(absent_agent(agent))),
                    Some((home, _)) if home != entity => Ok(Err(Refused::Conflict(format!(
                        "fleet {target} belongs to entity {entity}, the agent to entity {home}"
                    )))),
                    Some((_, old)) if old == target => Ok(Ok(())),
                    Some((_, old)) => {
                        let put = "update agent set fleet_id = $2 where agent_id = $1";
                        tx.execute(Statement::new(put, [int(agent.0), int(target.0)])).await?;
                        task::left(tx, agent, old, at).await?;
                        task::joined(tx, agent, at).await?;
                        Ok(Ok(()))
                    }
                }
            })
        })
        .await
    }
}

pub(super) fn absent_agent(id: AgentId) -> Refused {
    Refused::Absent(format!("there is no agent {id}"))
}

fn absent_fleet(id: FleetId) -> Refused {
    Refused::Absent(format!("there is no fleet {id}"))
}

/// The tenant of a fleet, and whether it is the default one.
async fn fleet(tx: &mut Tx, id: FleetId) -> Result<Option<(EntityId, bool)>, StoreError> {
    let found =
        tx.row(Statement::new("select entity_id, is_default from fleet where fleet_id = $1", [int(id.0)])).await?;
    Ok(found.map(|row| (EntityId(row.int("entity_id")), row.flag("is_default"))))
}

async fn named(tx: &mut Tx, entity: EntityId, name: &str) -> Result<Option<FleetId>, StoreError> {
    let question = "select fleet_id from fleet where entity_id = $1 and name = $2";
    let found = tx.row(Statement::new(question, [int(entity.0), text(name)])).await?;
    Ok(found.map(|row| FleetId(row.int("fleet_id"))))
}

fn fleet_view(row: &Row) -> FleetView {
    FleetView {
        id: FleetId(row.int("fleet_id")),
        entity: EntityId(row.int("entity_id")),
        name: row.text("name"),
        is_default: row.flag("is_default"),
        is_recursive: row.flag("is_recursive"),
        agents: row.int("agents"),
    }
}

fn agent_view(row: &Row) -> AgentView {
    AgentView {
        id: AgentId(row.int("agent_id")),
        serial: row.text("serial"),
        entity: EntityId(row.int("entity_id")),
        topic_entity: EntityId(row.int("topic_entity_id")),
        fleet: FleetId(row.int("fleet_id")),
        fleet_name: row.text("fleet_name"),
        name: row.text("name"),
        version: row.text("version"),
        mdm_type: row.text("mdm_type"),
        is_online: row.flag("is_online"),
        last_contact: row.opt_int("last_contact").map(Timestamp),
        enroll_status: row.text("enroll_status"),
        lock_wish: row.text("lock_wish"),
        wipe: row.flag("wipe"),
        connection: row.int("connection"),
        computer: row.int("computer_id"),
        uuid: row.text("uuid"),
        model: row.text("model"),
        os: format!("{} {}", row.text("os_name"), row.text("os_version")).trim().to_owned(),
        inventory_at: row.opt_int("inventory_at").map(Timestamp),
    }
}
