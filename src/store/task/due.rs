//! What devices must know of tasks, read in one question per fleet or agent.

use super::{Store, StoreError, TASKS_PER_TARGET_MAX};
use crate::{
    ids::{AgentId, EntityId, FileId, FleetId, PackageId, TaskId},
    mdm::{
        applied::{Applied, Removal},
        policy::{self, File, Item, Package, wire},
    },
    store::db::{Row, Statement},
};

/// Removals that one answer carries; the rest is told later.
const REMOVALS_MAX: i64 = 1000;
const COLUMNS: &str = "t.task_id, t.policy, t.value, t.subject, t.updated_at, t.file_id, t.package_id, \
     i.name as file_name, i.version as file_version, \
     p.name as package_label, p.package_name, p.version_code, p.parse_status";
const ITEMS: &str = "left join file i on i.file_id = t.file_id left join package p on p.package_id = t.package_id";

/// The tasks of a fleet at one moment.
#[derive(Debug, Clone)]
pub struct FleetTasks {
    /// Its tenant, which stands in its topic.
    pub entity: EntityId,
    /// Counts changes.
    pub version: i64,
    /// By number.
    pub applied: Vec<Applied>,
}

impl Store {
    /// The tasks of a fleet. `None`: there is no such fleet.
    ///
    /// # Errors
    /// The database failed.
    pub async fn tasks_of_fleet(&self, fleet: FleetId) -> Result<Option<FleetTasks>, StoreError> {
        let sql = format!(
            "select f.entity_id, f.policy_version, t.task_id as any_task_id, {COLUMNS} from fleet f \
             left join task t on t.fleet_id = f.fleet_id {ITEMS} \
             where f.fleet_id = $1 order by t.task_id limit {TASKS_PER_TARGET_MAX}"
        );
        let rows = self.rows(Statement::new(sql, [fleet.0.into()])).await?;
        Ok(rows.first().map(|first| FleetTasks {
            entity: EntityId(first.int("entity_id")),
            version: first.int("policy_version"),
            applied: rows.iter().filter(|row| row.opt_int("any_task_id").is_some()).filter_map(applied).collect(),
        }))
    }

    /// The tasks of an agent itself.
    ///
    /// # Errors
    /// The database failed.
    pub async fn tasks_of_agent(&self, agent: AgentId) -> Result<Vec<Applied>, StoreError> {
        let sql = format!(
            "select {COLUMNS} from task t {ITEMS} where t.agent_id = $1 order by t.task_id limit {TASKS_PER_TARGET_MAX}"
        );
        Ok(self.rows(Statement::new(sql, [agent.0.into()])).await?.iter().filter_map(applied).collect())
    }

    /// What this agent must still hear was taken back.
    ///
    /// # Errors
    /// The database failed.
    pub async fn removals_of(&self, agent: AgentId) -> Result<Vec<Removal>, StoreError> {
        let sql = format!(
            "select task_id, policy, fleet_id from task_removal where agent_id = $1 order by task_id limit {REMOVALS_MAX}"
        );
        let rows = self.rows(Statement::new(sql, [agent.0.into()])).await?;
        let removal = |row: &Row| Removal {
            task: TaskId(row.int("task_id")),
            symbol: row.text("policy"),
            fleet: row.opt_int("fleet_id").map(FleetId),
        };
        Ok(rows.iter().map(removal).collect())
    }
}

fn applied(row: &Row) -> Option<Applied> {
    let (task, policy) = (TaskId(row.int("task_id")), policy::by_symbol(&row.text("policy"))?);
    let value = row.text("value");
    let item = if row.opt_int("file_id").is_some() {
        Item::File(file(row))
    } else if row.opt_int("package_id").is_some() {
        Item::Package(package(row))
    } else {
        Item::None
    };
    Some(Applied {
        task,
        symbol: policy.symbol,
        subject: row.text("subject"),
        revision: row.int("updated_at"),
        body: wire::body(policy, &value, &item, task),
        element: wire::element(policy, &value, &item, task),
    })
}

/// Reads `file_id`, `file_name`, `file_version`.
pub(super) fn file(row: &Row) -> Option<File> {
    Some(File {
        id: FileId(row.opt_int("file_id")?),
        name: row.opt_text("file_name")?,
        version: row.opt_int("file_version")?,
    })
}

/// Reads `package_id`, `package_label`, `package_name`, `version_code`, `parse_status`.
pub(super) fn package(row: &Row) -> Option<Package> {
    Some(Package {
        id: PackageId(row.opt_int("package_id")?),
        name: row.opt_text("package_label")?,
        package_name: row.opt_text("package_name")?,
        version_code: row.opt_text("version_code")?,
        parse_status: row.opt_text("parse_status")?,
    })
}
