//! Tasks and statuses as people and agents look at them.

use serde::Serialize;

use super::{Store, StoreError, Task};
use crate::{
    ids::{AgentId, FileId, FleetId, PackageId, TaskId},
    mdm::policy::{ItemId, Target},
    store::{
        administer::LIST_ROWS_MAX,
        db::{Row, Statement, Value},
    },
};

/// A task as people see it. Times are RFC 3339.
#[derive(Debug, Clone, Serialize)]
pub struct TaskView {
    /// Key.
    pub id: TaskId,
    /// The fleet that it is for.
    pub fleet: Option<FleetId>,
    /// Or the agent.
    pub agent: Option<AgentId>,
    /// Symbol of the policy.
    pub policy: String,
    /// As it is stored: text, or JSON for deployments.
    pub value: String,
    /// The file that it deploys.
    pub file: Option<FileId>,
    /// The application that it deploys.
    pub package: Option<PackageId>,
    /// When somebody wanted it.
    pub created_at: String,
    /// When it was last published.
    pub updated_at: String,
}

/// Which tasks a question is about; `None` matches all.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaskFilter {
    /// By key.
    pub id: Option<TaskId>,
    /// Those of a fleet.
    pub fleet: Option<FleetId>,
    /// An agent's own.
    pub agent: Option<AgentId>,
}

/// How far a task got on an agent.
#[derive(Debug, Clone, Serialize)]
pub struct StatusView {
    /// Key.
    pub id: i64,
    /// Whose.
    pub agent: AgentId,
    /// Its serial.
    pub serial: String,
    /// Of which task.
    pub task: TaskId,
    /// Of which policy.
    pub policy: String,
    /// The word of spec/admin.md §7.2.
    pub status: String,
    /// When it began.
    pub created_at: i64,
    /// When it last changed.
    pub updated_at: i64,
}

/// Which statuses a question is about; `None` matches all.
#[derive(Debug, Clone, Copy, Default)]
pub struct StatusFilter {
    /// By key.
    pub id: Option<i64>,
    /// Of an agent.
    pub agent: Option<AgentId>,
    /// Of a task.
    pub task: Option<TaskId>,
}

impl Store {
    /// Tasks by number.
    ///
    /// # Errors
    /// The database failed.
    pub async fn tasks(&self, filter: TaskFilter) -> Result<Vec<TaskView>, StoreError> {
        let select =
            "select task_id, fleet_id, agent_id, policy, value, file_id, package_id, created_at, updated_at from task";
        let wishes = [
            ("task_id", filter.id.map(|it| it.0)),
            ("fleet_id", filter.fleet.map(|it| it.0)),
            ("agent_id", filter.agent.map(|it| it.0)),
        ];
        let rows = self.rows(filtered(select, &wishes, "task_id")).await?;
        Ok(rows.iter().map(view).collect())
    }

    /// Statuses by number.
    ///
    /// # Errors
    /// The database failed.
    pub async fn task_statuses(&self, filter: StatusFilter) -> Result<Vec<StatusView>, StoreError> {
        let select = "select s.task_status_id, s.agent_id, a.serial, s.task_id, t.policy, s.status, s.created_at, s.updated_at \
             from task_status s join agent a on a.agent_id = s.agent_id join task t on t.task_id = s.task_id";
        let wishes = [
            ("s.task_status_id", filter.id),
            ("s.agent_id", filter.agent.map(|it| it.0)),
            ("s.task_id", filter.task.map(|it| it.0)),
        ];
        let rows = self.rows(filtered(select, &wishes, "s.task_status_id")).await?;
        Ok(rows.iter().map(status).collect())
    }
}

fn filtered(select: &str, wishes: &[(&str, Option<i64>)], order: &str) -> Statement {
    let mut sql = format!("{select} where true");
    let mut args: Vec<Value> = Vec::new();
    for (column, value) in wishes {
        if let Some(value) = value {
            args.push((*value).into());
            sql.push_str(&format!(" and {column} = ${}", args.len()));
        }
    }
    sql.push_str(&format!(" order by {order} limit {LIST_ROWS_MAX}"));
    Statement::new(sql, args)
}

/// Reads `task_id`, `fleet_id`, `agent_id`, `policy`, `value`, `file_id`, `package_id`.
pub(super) fn stored(row: &Row) -> Task {
    let target = match row.opt_int("fleet_id") {
        Some(fleet) => Target::Fleet(FleetId(fleet)),
        None => Target::Agent(AgentId(row.opt_int("agent_id").unwrap_or_default())),
    };
    let file = row.opt_int("file_id").map(|id| ItemId::File(FileId(id)));
    let item = file.or_else(|| row.opt_int("package_id").map(|id| ItemId::Package(PackageId(id))));
    Task { id: TaskId(row.int("task_id")), target, policy: row.text("policy"), value: row.text("value"), item }
}

fn view(row: &Row) -> TaskView {
    let time = |column| crate::clock::Timestamp(row.int(column)).rfc3339();
    TaskView {
        id: TaskId(row.int("task_id")),
        fleet: row.opt_int("fleet_id").map(FleetId),
        agent: row.opt_int("agent_id").map(AgentId),
        policy: row.text("policy"),
        value: row.text("value"),
        file: row.opt_int("file_id").map(FileId),
        package: row.opt_int("package_id").map(PackageId),
        created_at: time("created_at"),
        updated_at: time("updated_at"),
    }
}

fn status(row: &Row) -> StatusView {
    StatusView {
        id: row.int("task_status_id"),
        agent: AgentId(row.int("agent_id")),
        serial: row.text("serial"),
        task: TaskId(row.int("task_id")),
        policy: row.text("policy"),
        status: row.text("status"),
        created_at: row.int("created_at"),
        updated_at: row.int("updated_at"),
    }
}
