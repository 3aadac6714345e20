//! What tasks leave behind: statuses that begin, end and are overridden, removals that devices must hear, and the tasks that undo
//! deployments.

use super::{NewTask, Store, StoreError, Task, Touched, insert, item, list, may_have, paths, touch};
use crate::{
    clock::Timestamp,
    ids::{AgentId, FleetId, TaskId},
    mdm::policy::{self, ItemId, Target},
    store::db::{Statement, Tx},
};

/// Removals that one transaction forgets.
const EXPIRED_MAX: i64 = 1000;
/// Holds for a task `t` of a fleet that agent `a` does not carry out because it has one of its own about the same.
const OVERRIDDEN: &str = "(t.fleet_id is not null and exists (select 1 from task o \
     where o.agent_id = a.agent_id and o.policy = t.policy and o.subject = t.subject))";

/// Joins task `t` with the agents `a` that it is for.
fn its_agents(target: Target) -> &'static str {
    match target {
        Target::Fleet(_) => "a.fleet_id = t.fleet_id",
        Target::Agent(_) => "a.agent_id = t.agent_id",
    }
}

/// A status for every agent that the task is for.
pub(super) async fn begin_statuses(tx: &mut Tx, task: TaskId, target: Target, at: Timestamp) -> Result<(), StoreError> {
    let agents = its_agents(target);
    let sql = format!(
        "insert into task_status (agent_id, task_id, status, created_at, updated_at) \
         select a.agent_id, t.task_id, case when {OVERRIDDEN} then 'overriden' else 'pending' end, $2, $2 \
         from task t join agent a on {agents} where t.task_id = $1 \
         on conflict (agent_id, task_id) do update set status = excluded.status, updated_at = excluded.updated_at"
    );
    tx.execute(Statement::new(sql, [task.0.into(), at.0.into()])).await.map(drop)
}

/// The agent came into a fleet: its tasks wait for it. To be called after its row was changed.
///
/// # Errors
/// The database failed.
pub async fn joined(tx: &mut Tx, agent: AgentId, at: Timestamp) -> Result<(), StoreError> {
    let sql = format!(
        "insert into task_status (agent_id, task_id, status, created_at, updated_at) \
         select a.agent_id, t.task_id, case when {OVERRIDDEN} then 'overriden' else 'pending' end, $2, $2 \
         from agent a join task t on t.fleet_id = a.fleet_id where a.agent_id = $1 \
         on conflict (agent_id, task_id) do update set status = excluded.status, updated_at = excluded.updated_at"
    );
    tx.execute(Statement::new(sql, [agent.0.into(), at.0.into()])).await.map(drop)
}

/// The agent left a fleet: what that wanted of it is cancelled, and nothing else.
///
/// # Errors
/// The database failed.
pub async fn left(tx: &mut Tx, agent: AgentId, fleet: FleetId, at: Timestamp) -> Result<(), StoreError> {
    tx.execute(Statement::new(
        "update task_status set status = 'canceled', updated_at = $3 \
         where agent_id = $1 and task_id in (select task_id from task where fleet_id = $2)",
        [agent.0.into(), fleet.0.into(), at.0.into()],
    ))
    .await
    .map(drop)
}

/// The agent was put where it is by other means than a move: its fleet's tasks wait for it, those of other fleets are cancelled, and
/// what stands already stays.
///
/// # Errors
/// The database failed.
pub async fn placed(tx: &mut Tx, agent: AgentId, at: Timestamp) -> Result<(), StoreError> {
    tx.execute(Statement::new(
        "update task_status set status = 'canceled', updated_at = $2 where agent_id = $1 and status <> 'canceled' \
         and task_id in (select t.task_id from task t join agent a on a.agent_id = $1 where t.fleet_id <> a.fleet_id)",
        [agent.0.into(), at.0.into()],
    ))
    .await?;
    let sql = format!(
        "insert into task_status (agent_id, task_id, status, created_at, updated_at) \
         select a.agent_id, t.task_id, case when {OVERRIDDEN} then 'overriden' else 'pending' end, $2, $2 \
         from agent a join task t on t.fleet_id = a.fleet_id where a.agent_id = $1 \
         on conflict (agent_id, task_id) do nothing"
    );
    tx.execute(Statement::new(sql, [agent.0.into(), at.0.into()])).await.map(drop)
}

/// Sets right which tasks of its fleet the agent overrides by its own.
pub(super) async fn refresh_overrides(tx: &mut Tx, agent: AgentId) -> Result<(), StoreError> {
    for (status, condition, is) in [("overriden", "", "<>"), ("pending", "not", "=")] {
        let sql = format!(
            "update task_status set status = $2 where agent_id = $1 and status {is} 'overriden' and task_id in \
             (select t.task_id from agent a join task t on t.fleet_id = a.fleet_id \
              where a.agent_id = $1 and {condition} {OVERRIDDEN})"
        );
        tx.execute(Statement::new(sql, [agent.0.into(), status.into()])).await?;
    }
    Ok(())
}

/// Takes a task back. What it deployed is removed by a task of its own, where it says so.
pub(super) async fn remove(
    tx: &mut Tx,
    task: &Task,
    at: Timestamp,
    removal_until: Timestamp,
) -> Result<(), StoreError> {
    note_removal(tx, task.id, task.target, removal_until).await?;
    let deployed = item(tx, task.item).await?;
    tx.execute(Statement::new("delete from task where task_id = $1", [task.id.0.into()])).await?;
    let undoing = policy::by_symbol(&task.policy).and_then(|it| it.undoing(&task.value, &deployed));
    let Some((policy, value)) = undoing else { return Ok(()) };
    let new = NewTask { target: task.target, policy, value: value.into(), item: None };
    let Ok(setting) = policy.check(&new.value, &policy::Item::None, &paths(tx).await?) else { return Ok(()) };
    // Where somebody removes the same thing already, that will do.
    if may_have(tx, new.target, policy, &setting, &policy::Item::None, None).await?.is_ok() {
        insert(tx, new.target, policy, &setting, None, at).await?;
    }
    Ok(())
}

/// Whoever carries the task out must hear that it was taken back.
async fn note_removal(tx: &mut Tx, task: TaskId, target: Target, until: Timestamp) -> Result<(), StoreError> {
    let agents = its_agents(target);
    let sql = format!(
        "insert into task_removal (agent_id, task_id, policy, fleet_id, expires_at) \
         select a.agent_id, t.task_id, t.policy, t.fleet_id, $2 from task t join agent a on {agents} \
         where t.task_id = $1 and not {OVERRIDDEN} on conflict (agent_id, task_id) do nothing"
    );
    tx.execute(Statement::new(sql, [task.0.into(), until.0.into()])).await.map(drop)
}

/// The fleet is about to be removed, with its tasks: its agents must hear so. Deployments stay on the devices (spec/mqtt.md §7.8).
/// To be called while the agents are still in it.
///
/// # Errors
/// The database failed.
pub async fn tasks_of_fleet_end(tx: &mut Tx, fleet: FleetId, removal_until: Timestamp) -> Result<(), StoreError> {
    let question = "select task_id from task where fleet_id = $1 order by task_id";
    for row in tx.rows(Statement::new(question, [fleet.0.into()])).await? {
        note_removal(tx, TaskId(row.int("task_id")), Target::Fleet(fleet), removal_until).await?;
    }
    tx.execute(Statement::new("delete from task where fleet_id = $1", [fleet.0.into()])).await.map(drop)
}

/// Takes back every task that deploys this, before it goes itself.
///
/// # Errors
/// The database failed.
pub async fn remove_tasks_of(
    tx: &mut Tx,
    item: ItemId,
    at: Timestamp,
    removal_until: Timestamp,
) -> Result<Touched, StoreError> {
    let tasks = tasks_of(tx, item).await?;
    for task in &tasks {
        remove(tx, task, at, removal_until).await?;
    }
    touch_all(tx, &tasks).await
}

/// What these tasks deploy has changed: they are published again and their statuses begin anew.
///
/// # Errors
/// The database failed.
pub async fn republish(tx: &mut Tx, item: ItemId, at: Timestamp) -> Result<Touched, StoreError> {
    let tasks = tasks_of(tx, item).await?;
    for task in &tasks {
        tx.execute(Statement::new(
            "update task set updated_at = case when updated_at < $2 then $2 else updated_at + 1 end where task_id = $1",
            [task.id.0.into(), at.0.into()],
        ))
        .await?;
        begin_statuses(tx, task.id, task.target, at).await?;
    }
    touch_all(tx, &tasks).await
}

async fn tasks_of(tx: &mut Tx, item: ItemId) -> Result<Vec<Task>, StoreError> {
    let (column, id) = match item {
        ItemId::File(id) => ("file_id", id.0),
        ItemId::Package(id) => ("package_id", id.0),
    };
    let sql = format!(
        "select task_id, fleet_id, agent_id, policy, value, file_id, package_id from task where {column} = $1 order by task_id"
    );
    Ok(tx.rows(Statement::new(sql, [id.into()])).await?.iter().map(list::stored).collect())
}

async fn touch_all(tx: &mut Tx, tasks: &[Task]) -> Result<Touched, StoreError> {
    let mut targets: Vec<Target> = Vec::new();
    for task in tasks {
        if !targets.contains(&task.target) {
            targets.push(task.target);
        }
    }
    let mut all = Touched::default();
    for target in targets {
        let Touched { fleets, agents } = touch(tx, target).await?;
        all.fleets.extend(fleets);
        all.agents.extend(agents);
    }
    Ok(all)
}

impl Store {
    /// Forgets removals that their devices did not come to hear.
    ///
    /// # Errors
    /// The database failed.
    pub async fn expire_removals(&self, now: Timestamp) -> Result<u64, StoreError> {
        let question = "select task_id from task_removal where expires_at <= $1 limit 1";
        if self.row(Statement::new(question, [now.0.into()])).await?.is_none() {
            return Ok(0);
        }
        let sql = format!(
            "delete from task_removal where (agent_id, task_id) in (select agent_id, task_id from task_removal \
             where expires_at <= $1 order by expires_at limit {EXPIRED_MAX})"
        );
        self.write(move |tx| Box::pin(tx.execute(Statement::new(sql, [now.0.into()])))).await
    }
}
