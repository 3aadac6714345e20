//! `mdmq task` and `mdmq policy`.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Done, Failure, Place,
    agents::find_agent,
    api::{Api, query, quoted},
    show,
    tenants::{list, one},
};
use crate::mdm::policy;

#[derive(Debug, Subcommand)]
pub enum Task {
    /// Apply a policy to a fleet or an agent
    #[command(after_help = "Examples:\n  mdmq task add --fleet 3 --policy disableCamera --value 1\n  \
                            mdmq task add --agent AZERTY --policy deployFile --file 5 --value %SDCARD%/docs")]
    Add {
        #[command(flatten)]
        target: For,
        /// The policy's symbol (mdmq policy list shows them all)
        #[arg(long, value_name = "SYMBOL")]
        policy: String,
        #[command(flatten)]
        what: What,
    },
    /// Give a task another value; it is published again
    #[command(after_help = "Example:\n  mdmq task change 41 --value 8")]
    Change {
        /// Its number
        id: i64,
        #[command(flatten)]
        what: What,
    },
    /// Take a task back; its devices are told
    Remove {
        /// Its number
        id: i64,
    },
    /// One task and how far each device got
    Show {
        /// Its number
        id: i64,
    },
    /// Tasks
    #[command(after_help = "Example:\n  mdmq task list --fleet 3")]
    List {
        /// Only those of this fleet
        #[arg(long, value_name = "ID", conflicts_with = "agent")]
        fleet: Option<i64>,
        /// Only this agent's own
        #[arg(long, value_name = "SERIAL")]
        agent: Option<String>,
        /// The tenant, where several have a device with this serial
        #[arg(long, value_name = "N", requires = "agent")]
        entity: Option<i64>,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whose").required(true).args(["fleet", "agent"]))]
pub struct For {
    /// The fleet's number
    #[arg(long, value_name = "ID")]
    fleet: Option<i64>,
    /// The device's serial
    #[arg(long, value_name = "SERIAL")]
    agent: Option<String>,
    /// The tenant, where several have a device with this serial
    #[arg(long, value_name = "N", requires = "agent")]
    entity: Option<i64>,
}

#[derive(Debug, Args)]
pub struct What {
    /// What it should be; for deployFile the directory on the device
    #[arg(long, value_name = "V", default_value = "", allow_hyphen_values = true)]
    value: String,
    /// The file that deployFile deploys
    #[arg(long, value_name = "ID", conflicts_with = "package")]
    file: Option<i64>,
    /// The application that deployApp deploys
    #[arg(long, value_name = "ID")]
    package: Option<i64>,
    /// Remove from the device what was deployed when the task is removed
    #[arg(long)]
    remove_on_delete: bool,
}

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// All policies
    List,
    /// One policy and the values it takes
    #[command(after_help = "Example:\n  mdmq policy show passwordEnabled")]
    Show {
        /// Its name on the wire
        symbol: String,
    },
}

pub async fn task(verb: Task, place: &Place) -> Done {
    let api = Api::of(place)?;
    match verb {
        Task::Add { target, policy, what } => {
            let mut body = what.body(&policy);
            body["policy"] = policy.into();
            match &target.agent {
                Some(serial) => body["agent"] = find_agent(&api, serial, target.entity).await?["id"].clone(),
                None => body["fleet"] = json!(target.fleet),
            }
            one(&api.post("/tasks", &body).await?, place)
        }
        Task::Change { id, what } => {
            let known = api.get(&format!("/tasks/{id}")).await?;
            let body = what.body(known["policy"].as_str().unwrap_or_default());
            shown(&api.patch(&format!("/tasks/{id}"), &body).await?, place)
        }
        Task::Remove { id } => one(&api.delete(&format!("/tasks/{id}")).await?, place),
        Task::Show { id } => shown(&api.get(&format!("/tasks/{id}")).await?, place),
        Task::List { fleet, agent, entity } => {
            let agent = match agent {
                Some(serial) => Some(find_agent(&api, &serial, entity).await?["id"].to_string()),
                None => None,
            };
            let wishes = [("fleet", fleet.map(|it| it.to_string())), ("agent", agent)];
            let all = api.get(&format!("/tasks{}", query(&wishes))).await?;
            let columns = [
                ("id", "ID"),
                ("fleet", "FLEET"),
                ("agent", "AGENT"),
                ("policy", "POLICY"),
                ("value", "VALUE"),
                ("updated_at", "PUBLISHED"),
            ];
            list(&all, &columns, "no tasks; add one with: mdmq task add --fleet ID --policy SYMBOL --value V", place)
        }
    }
}

pub async fn policy(verb: Policy, place: &Place) -> Done {
    let api = Api::of(place)?;
    match verb {
        Policy::List => {
            let all = api.get("/policies").await?;
            let columns = [
                ("symbol", "SYMBOL"),
                ("type", "TYPE"),
                ("values", "VALUES"),
                ("default", "DEFAULT"),
                ("recommended", "RECOMMENDED"),
                ("category", "CATEGORY"),
            ];
            list(&all, &columns, "no policies", place)
        }
        Policy::Show { symbol } => one(&api.get(&format!("/policies/{}", quoted(&symbol))).await?, place),
    }
}

impl What {
    /// The members that say what a task should be. The server judges; a policy that we do not know is its to refuse.
    fn body(&self, symbol: &str) -> Value {
        let value = policy::by_symbol(symbol)
            .map_or_else(|| self.value.clone().into(), |it| policy::typed(it, &self.value, self.remove_on_delete));
        let mut body = json!({ "value": value });
        for (name, id) in [("file", self.file), ("package", self.package)] {
            if let Some(id) = id {
                body[name] = id.into();
            }
        }
        body
    }
}

/// A task with a table of its statuses.
fn shown(task: &Value, place: &Place) -> Result<(), Failure> {
    if place.json {
        show::json(task);
        return Ok(());
    }
    let mut members = task.clone();
    let statuses = members.as_object_mut().and_then(|it| it.remove("statuses")).unwrap_or_default();
    show::members(&members);
    show::say("\n");
    show::table(&statuses, &[("serial", "SERIAL"), ("status", "STATUS"), ("since", "SINCE")], "no devices");
    Ok(())
}
