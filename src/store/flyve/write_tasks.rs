//! Writes a move from Flyve down: policies applied to fleets and agents, and how far they got.

use std::collections::HashMap;

use super::{source::Line, write::Move};
use crate::{
    ids::{AgentId, FileId, FleetId, PackageId, TaskId},
    mdm::policy::{self, ItemId, Policy, Target},
    store::{
        StoreError,
        db::Statement,
        task::{self, NewTask},
    },
};

impl Move<'_> {
    pub(super) async fn tasks(
        &mut self,
        tasks: &[Line],
        policies: &[Line],
        packages: &[Line],
    ) -> Result<(), StoreError> {
        let symbols: HashMap<i64, String> = policies.iter().map(|it| (it.int("id"), it.text("symbol"))).collect();
        let names: HashMap<i64, String> = packages.iter().map(|it| (it.int("id"), it.text("package_name"))).collect();
        for line in tasks {
            let id = line.int("id");
            let symbol = symbols.get(&line.int("plugin_flyvemdm_policies_id")).cloned().unwrap_or_default();
            let outcome = match self.understand(line, &symbol, &names) {
                Ok(new) => self.task(id, &new).await?,
                Err(why) => Err(why),
            };
            if let Err(why) = outcome {
                self.report.skip("tasks", id, &symbol, why);
            }
        }
        Ok(())
    }

    /// What a task wants here, or why it cannot.
    fn understand(&self, line: &Line, symbol: &str, package_names: &HashMap<i64, String>) -> Result<NewTask, String> {
        let policy = policy::by_symbol(symbol).ok_or_else(|| format!("there is no policy \"{symbol}\" here"))?;
        let applied = line.int("items_id_applied");
        let target = match line.text("itemtype_applied").as_str() {
            "PluginFlyvemdmFleet" => self.ours("fleets", applied).map(|it| Target::Fleet(FleetId(it))),
            "PluginFlyvemdmAgent" => self.ours("agents", applied).map(|it| Target::Agent(AgentId(it))),
            _ => None,
        };
        let target = target.ok_or("its fleet or agent did not come")?;
        let lost = "its file or package did not come";
        let item = match line.text("itemtype").as_str() {
            "PluginFlyvemdmFile" => Some(ItemId::File(FileId(self.ours("files", line.int("items_id")).ok_or(lost)?))),
            "PluginFlyvemdmPackage" => {
                Some(ItemId::Package(PackageId(self.ours("packages", line.int("items_id")).ok_or(lost)?)))
            }
            _ => None,
        };
        let mut value = line.text("value");
        if symbol == "removeApp" {
            // Some versions kept the number of the package, some its name.
            let named = value.parse().ok().and_then(|id: i64| package_names.get(&id)).filter(|it| !it.is_empty());
            value = named.cloned().unwrap_or(value);
        }
        Ok(NewTask { target, policy, value: policy::typed(policy, &value, false), item })
    }

    async fn task(&mut self, id: i64, new: &NewTask) -> Result<Result<(), String>, StoreError> {
        if let Some(ours) = self.ours("tasks", id) {
            let question = Statement::new("select value from task where task_id = $1", [ours.into()]);
            let Some(row) = self.tx.row(question).await? else { return Ok(Err("was removed here".into())) };
            if !is_same(new.policy, &row.text("value"), &new.value) {
                match task::change(self.tx, TaskId(ours), new.value.clone(), new.item, self.now).await? {
                    Ok(touched) => self.touched(touched),
                    Err(refused) => return Ok(Err(refused.to_string())),
                }
            }
            self.report.updated("tasks");
            return Ok(Ok(()));
        }
        match task::add(self.tx, new, self.now).await? {
            Ok((ours, touched)) => {
                self.touched(touched);
                self.remember("tasks", id, ours.0).await?;
                self.fresh_tasks.insert(id);
                self.report.added("tasks");
                Ok(Ok(()))
            }
            Err(refused) => Ok(Err(refused.to_string())),
        }
    }

    pub(super) fn touched(&mut self, touched: task::Touched) {
        self.touched.fleets.extend(touched.fleets);
        self.touched.agents.extend(touched.agents);
    }

    /// How far tasks got that came in this run. Devices tell the rest themselves.
    pub(super) async fn statuses(&mut self, lines: &[Line]) -> Result<(), StoreError> {
        for line in lines {
            let (id, theirs) = (line.int("id"), line.int("plugin_flyvemdm_tasks_id"));
            let agent = self.ours("agents", line.int("plugin_flyvemdm_agents_id"));
            let (Some(agent), Some(task)) = (agent, self.ours("tasks", theirs)) else {
                self.report.skip("taskstatuses", id, "", "its agent or its task did not come");
                continue;
            };
            if !self.fresh_tasks.contains(&theirs) {
                self.report.updated("taskstatuses");
                continue;
            }
            let question = Statement::new("select policy from task where task_id = $1", [task.into()]);
            let symbol = self.tx.row(question).await?.map(|row| row.text("policy")).unwrap_or_default();
            let word = line.text("status");
            let Some(status) = policy::by_symbol(&symbol).and_then(|it| it.status(&word)) else {
                self.report.skip("taskstatuses", id, &word, "is no status of its policy");
                continue;
            };
            let at = line.millis("date_mod").unwrap_or(self.now.0);
            // Who overrides whom follows from the tasks.
            let update = "update task_status set status = $3, updated_at = $4 \
                          where agent_id = $1 and task_id = $2 and status <> 'overriden'";
            if self.run(update, [agent.into(), task.into(), status.into(), at.into()]).await? > 0 {
                self.report.added("taskstatuses");
            } else {
                self.report.skip("taskstatuses", id, &word, "the task is not for this agent");
            }
        }
        Ok(())
    }
}

fn is_same(policy: &Policy, stored: &str, wanted: &serde_json::Value) -> bool {
    if policy.kind.moves_something() && wanted.is_object() {
        return policy::deployment(stored).is_some_and(|it| Some(it) == policy::deployment(&wanted.to_string()));
    }
    wanted.as_str() == Some(stored)
}
