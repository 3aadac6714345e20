//! Tasks: policies applied to fleets and agents, how far each agent got, and who must still hear that one was taken back. What a value
//! means is decided in `mdm/policy.rs`; here it is looked up and written down, each story in one transaction.

use super::{
    Store, StoreError,
    administer::{Answer, Refused},
    db::{Statement, Tx, Value},
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, FleetId, TaskId},
    mdm::{
        audit::{Action, Deed, Subject},
        policy::{self, Item, ItemId, Policy, Setting, Target},
    },
};

mod due;
mod life;
mod list;

pub use due::FleetTasks;
pub use life::{joined, left, placed, remove_tasks_of, republish, tasks_of_fleet_end};
pub use list::{StatusFilter, StatusView, TaskFilter, TaskView};

/// Tasks that one fleet or one agent may have.
pub const TASKS_PER_TARGET_MAX: i64 = 500;

/// A task that somebody wants.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// For whom.
    pub target: Target,
    /// Of which policy.
    pub policy: &'static Policy,
    /// What it should be, as it was asked for.
    pub value: serde_json::Value,
    /// What it deploys.
    pub item: Option<ItemId>,
}

/// Whose policies a story changed: to be told after its commit (`Flows::policies_changed`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Fleets with the version that their policies have now.
    pub fleets: Vec<(FleetId, i64)>,
    /// Agents with tasks of their own.
    pub agents: Vec<AgentId>,
}

/// A task as it is stored.
#[derive(Debug, Clone)]
struct Task {
    id: TaskId,
    target: Target,
    policy: String,
    value: String,
    item: Option<ItemId>,
}

impl Store {
    /// Applies a policy, with a status for every agent that it is for. The checks come in the order of the original server
    /// (spec/admin.md §7.1).
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_task(&self, new: NewTask, at: Timestamp) -> Answer<(TaskId, Touched)> {
        let deed = Deed::new(Action::TaskAdd, Subject::Task)
            .with("policy", new.policy.symbol)
            .with("value", new.value.to_string());
        self.deed(deed, move |tx| Box::pin(async move { add(tx, &new, at).await })).await
    }

    /// Gives a task another value. It is published again and its statuses begin anew.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_task(
        &self,
        id: TaskId,
        value: serde_json::Value,
        item: Option<ItemId>,
        at: Timestamp,
    ) -> Answer<Touched> {
        let deed = Deed::to(Action::TaskChange, Subject::Task, id).with("value", value.to_string());
        self.deed(deed, move |tx| Box::pin(async move { change(tx, id, value, item, at).await })).await
    }

    /// Takes a task back. Whoever it was for is told, now or within `removal_until`; what it deployed is removed where the task says so.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_task(&self, id: TaskId, at: Timestamp, removal_until: Timestamp) -> Answer<Touched> {
        self.deed(Deed::to(Action::TaskRemove, Subject::Task, id), move |tx| {
            Box::pin(async move {
                let Some(task) = task(tx, id).await? else { return Ok(Err(absent(id))) };
                life::remove(tx, &task, at, removal_until).await?;
                Ok(Ok(touch(tx, task.target).await?))
            })
        })
        .await
    }
}

/// See [`Store::add_task`].
pub(super) async fn add(
    tx: &mut Tx,
    new: &NewTask,
    at: Timestamp,
) -> Result<Result<(TaskId, Touched), Refused>, StoreError> {
    let item = item(tx, new.item).await?;
    let setting = match new.policy.check(&new.value, &item, &paths(tx).await?) {
        Ok(setting) => setting,
        Err(why) => return Ok(Err(Refused::Invalid(why.into()))),
    };
    if let Err(refused) = may_have(tx, new.target, new.policy, &setting, &item, None).await? {
        return Ok(Err(refused));
    }
    if let Err(refused) = can_reach(tx, new.target, new.item).await? {
        return Ok(Err(refused));
    }
    let id = insert(tx, new.target, new.policy, &setting, new.item, at).await?;
    Ok(Ok((id, touch(tx, new.target).await?)))
}

/// See [`Store::change_task`].
pub(super) async fn change(
    tx: &mut Tx,
    id: TaskId,
    value: serde_json::Value,
    item_id: Option<ItemId>,
    at: Timestamp,
) -> Result<Result<Touched, Refused>, StoreError> {
    let Some(old) = task(tx, id).await? else { return Ok(Err(absent(id))) };
    let Some(policy) = policy::by_symbol(&old.policy) else {
        return Ok(Err(Refused::Invalid("Policy not found".into())));
    };
    let item_id = item_id.or(old.item);
    let item = item(tx, item_id).await?;
    let setting = match policy.check(&value, &item, &paths(tx).await?) {
        Ok(setting) => setting,
        Err(why) => return Ok(Err(Refused::Invalid(why.into()))),
    };
    if let Err(refused) = may_have(tx, old.target, policy, &setting, &item, Some(id)).await? {
        return Ok(Err(refused));
    }
    if let Err(refused) = can_reach(tx, old.target, item_id).await? {
        return Ok(Err(refused));
    }
    let (file, package) = columns(item_id);
    tx.execute(Statement::new(
        "update task set value = $2, subject = $3, file_id = $4, package_id = $5, \
         updated_at = case when updated_at < $6 then $6 else updated_at + 1 end where task_id = $1",
        [id.0.into(), setting.value.into(), setting.subject.into(), file, package, at.0.into()],
    ))
    .await?;
    tx.execute(Statement::new("delete from task_status where task_id = $1", [id.0.into()])).await?;
    life::begin_statuses(tx, id, old.target, at).await?;
    Ok(Ok(touch(tx, old.target).await?))
}

/// Writes a checked task down.
async fn insert(
    tx: &mut Tx,
    target: Target,
    policy: &Policy,
    setting: &Setting,
    item: Option<ItemId>,
    at: Timestamp,
) -> Result<TaskId, StoreError> {
    let (fleet, agent) = match target {
        Target::Fleet(fleet) => (Value::Int(Some(fleet.0)), Value::Int(None)),
        Target::Agent(agent) => (Value::Int(None), Value::Int(Some(agent.0))),
    };
    let (file, package) = columns(item);
    let row = tx.row(Statement::new(
        "insert into task (fleet_id, agent_id, policy, value, subject, file_id, package_id, created_at, updated_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $8) returning task_id",
        [
            fleet,
            agent,
            policy.symbol.into(),
            setting.value.clone().into(),
            setting.subject.clone().into(),
            file,
            package,
            at.0.into(),
        ],
    ));
    let row = row.await?.ok_or_else(|| StoreError::Database("an inserted task was not given back".into()))?;
    let id = TaskId(row.int("task_id"));
    life::begin_statuses(tx, id, target, at).await?;
    Ok(id)
}

/// Checks 4 to 7 of spec/admin.md §7.1. `but` is the task that is being changed.
async fn may_have(
    tx: &mut Tx,
    target: Target,
    policy: &Policy,
    setting: &Setting,
    item: &Item,
    but: Option<TaskId>,
) -> Result<Result<(), Refused>, StoreError> {
    let refused = |refused: Refused| Ok(Err(refused));
    let (question, others, id) = match target {
        Target::Fleet(fleet) => (
            "select is_default as takes_none from fleet where fleet_id = $1",
            "select task_id, policy, value, subject from task where fleet_id = $1",
            fleet.0,
        ),
        Target::Agent(agent) => (
            "select false as takes_none from agent where agent_id = $1",
            "select task_id, policy, value, subject from task where agent_id = $1",
            agent.0,
        ),
    };
    match tx.row(Statement::new(question, [id.into()])).await? {
        None => return refused(Refused::Absent("Cannot find the notifiable object".into())),
        Some(row) if row.flag("takes_none") => {
            return refused(Refused::Conflict("Cannot apply a policy on a not managed fleet".into()));
        }
        Some(_) => {}
    }
    let others = tx.rows(Statement::new(others, [id.into()])).await?;
    let others: Vec<_> = others
        .iter()
        .filter(|row| but.is_none_or(|but| but.0 != row.int("task_id")))
        .map(|row| (row.text("policy"), row.text("value"), row.text("subject")))
        .collect();
    if others.iter().any(|(symbol, _, subject)| *symbol == policy.symbol && *subject == setting.subject) {
        return refused(Refused::Conflict("Policy already applied".into()));
    }
    let pairs = others.iter().map(|(symbol, value, _)| (symbol.as_str(), value.as_str()));
    if let Some(why) = policy.conflict(setting, item, pairs) {
        return refused(Refused::Conflict(why.into()));
    }
    if i64::try_from(others.len()).unwrap_or(i64::MAX) >= TASKS_PER_TARGET_MAX {
        return refused(Refused::Conflict(format!("a fleet or agent has at most {TASKS_PER_TARGET_MAX} tasks")));
    }
    Ok(Ok(()))
}

/// Counts a change of the tasks of this target, and sets right who overrides whom.
async fn touch(tx: &mut Tx, target: Target) -> Result<Touched, StoreError> {
    let mut touched = Touched::default();
    match target {
        Target::Fleet(fleet) => {
            let count =
                "update fleet set policy_version = policy_version + 1 where fleet_id = $1 returning policy_version";
            if let Some(row) = tx.row(Statement::new(count, [fleet.0.into()])).await? {
                touched.fleets.push((fleet, row.int("policy_version")));
            }
        }
        Target::Agent(agent) => {
            let count = "update agent set policy_version = policy_version + 1 where agent_id = $1";
            tx.execute(Statement::new(count, [agent.0.into()])).await?;
            life::refresh_overrides(tx, agent).await?;
            touched.agents.push(agent);
        }
    }
    Ok(touched)
}

async fn task(tx: &mut Tx, id: TaskId) -> Result<Option<Task>, StoreError> {
    let question =
        "select task_id, fleet_id, agent_id, policy, value, file_id, package_id from task where task_id = $1";
    Ok(tx.row(Statement::new(question, [id.0.into()])).await?.as_ref().map(list::stored))
}

/// What a deployment deploys, as it is now.
async fn item(tx: &mut Tx, id: Option<ItemId>) -> Result<Item, StoreError> {
    let question = match id {
        None => return Ok(Item::None),
        Some(ItemId::File(id)) => Statement::new(
            "select file_id, name as file_name, version as file_version from file where file_id = $1",
            [id.0.into()],
        ),
        Some(ItemId::Package(id)) => Statement::new(
            "select package_id, name as package_label, package_name, version_code, parse_status from package \
             where package_id = $1",
            [id.0.into()],
        ),
    };
    let row = tx.row(question).await?;
    Ok(match id {
        Some(ItemId::File(_)) => Item::File(row.as_ref().and_then(due::file)),
        _ => Item::Package(row.as_ref().and_then(due::package)),
    })
}

/// Devices download the items of their entity and of the entities above it: what they could not fetch is not deployed.
async fn can_reach(tx: &mut Tx, target: Target, item: Option<ItemId>) -> Result<Result<(), Refused>, StoreError> {
    let Some(item) = item else { return Ok(Ok(())) };
    let (from, id) = match target {
        Target::Fleet(fleet) => ("fleet where fleet_id = $1", fleet.0),
        Target::Agent(agent) => ("agent where agent_id = $1", agent.0),
    };
    let (what, item_id, name) = match item {
        ItemId::File(id) => ("file where file_id = $2", id.0, "file"),
        ItemId::Package(id) => ("package where package_id = $2", id.0, "application"),
    };
    let question = format!(
        "with recursive seen (entity_id) as (select entity_id from {from} \
         union select e.parent_id from entity e join seen s on s.entity_id = e.entity_id where e.parent_id is not null) \
         select 1 as one from {what} and entity_id in (select entity_id from seen)"
    );
    Ok(match tx.row(Statement::new(question, [id.into(), item_id.into()])).await? {
        Some(_) => Ok(()),
        None => Err(Refused::Conflict(format!("The {name} belongs to another entity; the devices could not fetch it"))),
    })
}

async fn paths(tx: &mut Tx) -> Result<Vec<String>, StoreError> {
    let rows = tx.rows(Statement::new("select name from well_known_path order by well_known_path_id", [])).await?;
    Ok(rows.iter().map(|row| row.text("name")).collect())
}

/// The columns `file_id` and `package_id`.
fn columns(item: Option<ItemId>) -> (Value, Value) {
    match item {
        None => (Value::Int(None), Value::Int(None)),
        Some(ItemId::File(id)) => (Value::Int(Some(id.0)), Value::Int(None)),
        Some(ItemId::Package(id)) => (Value::Int(None), Value::Int(Some(id.0))),
    }
}

fn absent(id: TaskId) -> Refused {
    Refused::Absent(format!("there is no task {id}"))
}
