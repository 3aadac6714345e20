//! Tasks: an administrator applies policies, devices say how far they got.

use std::time::Duration;

use serde_json::Value;

use super::Flows;
pub use crate::store::task::{NewTask, StatusFilter, StatusView, TaskFilter, TaskView};
use crate::{
    clock::Timestamp,
    ids::{AgentId, TaskId},
    mdm::{
        change::Change,
        policy::{self, ItemId},
    },
    store::{
        StoreError,
        administer::{Answer, Refused},
    },
};

/// How long a device may stay away and still hear that a task was taken back (spec/mqtt.md §3.2).
pub const REMOVAL_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// A task and how far each agent got.
#[derive(Debug, Clone)]
pub struct TaskWithStatuses {
    /// The task.
    pub task: TaskView,
    /// One for each agent that it is for.
    pub statuses: Vec<StatusView>,
}

impl Flows {
    /// Applies a policy to a fleet or an agent, and tells those that are connected.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_task(&self, new: NewTask) -> Answer<TaskId> {
        let answer = self.store.add_task(new, self.clock.now()).await?;
        if let Ok((_, touched)) = &answer {
            self.policies_changed(touched);
        }
        Ok(answer.map(|(id, _)| id))
    }

    /// Applies a policy and tells nobody: devices find it when they subscribe the next time (`_silent` of spec/admin.md §7.1).
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_task_silently(&self, new: NewTask) -> Answer<TaskId> {
        Ok(self.store.add_task(new, self.clock.now()).await?.map(|(id, _)| id))
    }

    /// Gives a task another value; `item`, if given, replaces what it deploys.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_task(&self, id: TaskId, value: Value, item: Option<ItemId>) -> Answer<()> {
        let answer = self.store.change_task(id, value, item, self.clock.now()).await?;
        if let Ok(touched) = &answer {
            self.policies_changed(touched);
        }
        Ok(answer.map(|_| ()))
    }

    /// Takes a task back. Devices that are away hear so when they come back within [`REMOVAL_LIFE`].
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_task(&self, id: TaskId) -> Answer<()> {
        let answer = self.store.remove_task(id, self.clock.now(), self.removal_until()).await?;
        if let Ok(touched) = &answer {
            self.policies_changed(touched);
        }
        Ok(answer.map(|_| ()))
    }

    /// The task with the statuses of all its agents. `None`: there is no such task.
    ///
    /// # Errors
    /// The database failed.
    pub async fn task(&self, id: TaskId) -> Result<Option<TaskWithStatuses>, StoreError> {
        let wanted = TaskFilter { id: Some(id), ..TaskFilter::default() };
        let Some(task) = self.store.tasks(wanted).await?.pop() else { return Ok(None) };
        let wanted = StatusFilter { task: Some(id), ..StatusFilter::default() };
        Ok(Some(TaskWithStatuses { task, statuses: self.store.task_statuses(wanted).await? }))
    }

    /// An agent says by HTTP how far a task got; `id` is that of the status. Answers after the commit.
    ///
    /// # Errors
    /// The database failed.
    pub async fn hear_task_status(&self, agent: AgentId, id: i64, status: &str) -> Answer<()> {
        let wanted = StatusFilter { id: Some(id), ..StatusFilter::default() };
        let Some(row) = self.store.task_statuses(wanted).await?.pop() else {
            return Ok(Err(Refused::Absent("Item not found".into())));
        };
        if row.agent != agent {
            return Ok(Err(Refused::Conflict("the status of another agent".into())));
        }
        let Some(status) = policy::by_symbol(&row.policy).and_then(|it| it.status(status)) else {
            return Ok(Err(Refused::Invalid("Invalid status value".into())));
        };
        let at = self.clock.now();
        self.committed(vec![Change::TaskStatus { agent, task: row.task, status, at }, Change::Seen { agent, at }])
            .await?;
        Ok(Ok(()))
    }

    /// Until when a device must hear that something was taken back now.
    pub fn removal_until(&self) -> Timestamp {
        self.clock.now().after(REMOVAL_LIFE)
    }
}
