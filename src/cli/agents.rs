//! `mdmq agent` and `mdmq command`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Done, Failure, Place,
    api::{Api, query},
    sure::sure,
    tenants::{list, one},
};

#[derive(Debug, Subcommand)]
pub enum Agent {
    /// Enrolled devices
    #[command(after_help = "Example:\n  mdmq agent list --entity 76")]
    List {
        /// Only of this tenant
        #[arg(long, value_name = "N")]
        entity: Option<i64>,
        /// Only of this fleet
        #[arg(long, value_name = "ID")]
        fleet: Option<i64>,
    },
    /// Everything about one agent
    #[command(after_help = "Example:\n  mdmq agent show AZERTY --json")]
    Show(Which),
    /// What a device said and was told, latest first (see [message_log] in the configuration)
    #[command(after_help = "Example:\n  mdmq agent log AZERTY --limit 20")]
    Log {
        #[command(flatten)]
        which: Which,
        /// At most so many messages
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Stage many devices from a CSV file: all of them, or none
    #[command(
        after_help = "The first line names the columns: entity,serial,mqttpasswd and optionally fleet,name,uuid.\n\
                            Passwords are clear text or PBKDF2$ hashes.\n\nExample:\n  mdmq agent import devices.csv"
    )]
    Import {
        /// The file
        file: PathBuf,
    },
    /// Forget an agent that will never come back; its computer is kept
    Remove(Which),
    /// Put an agent into another fleet of its entity, or into another entity; its topic stays what it was
    #[command(
        after_help = "Examples:\n  mdmq agent move AZERTY --fleet 3\n  mdmq agent move AZERTY --to-entity 77",
        group = ArgGroup::new("whither").required(true).multiple(true).args(["fleet", "to_entity"])
    )]
    Move {
        #[command(flatten)]
        which: Which,
        /// The fleet's number
        #[arg(long, value_name = "ID")]
        fleet: Option<i64>,
        /// The entity to move to; without --fleet into its default fleet
        #[arg(long, value_name = "N")]
        to_entity: Option<i64>,
    },
    /// Ask whether the device is there
    #[command(after_help = "Example:\n  mdmq agent ping AZERTY --wait 10")]
    Ping(Wish),
    /// Ask the device where it is
    Geolocate(Wish),
    /// Ask the device what it has
    Inventory(Wish),
    /// Lock the screen
    Lock(Wish),
    /// Unlock the screen
    Unlock(Wish),
    /// Erase the device; asks first, because that cannot be taken back
    #[command(after_help = "Without a terminal, or with --json, nobody can be asked: then it needs --yes.\n\n\
                            Example:\n  mdmq agent wipe AZERTY --yes")]
    Wipe {
        #[command(flatten)]
        wish: Wish,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Ask the device to leave; the agent is forgotten when it answers
    #[command(after_help = "Examples:\n  mdmq agent unenroll AZERTY\n  mdmq agent unenroll AZERTY --cancel")]
    Unenroll {
        #[command(flatten)]
        wish: Wish,
        /// Take the request back; the device stays, unless it has left already
        #[arg(long, conflicts_with = "wait")]
        cancel: bool,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("device").required(true).multiple(true).args(["serial", "id"]))]
pub struct Which {
    /// The device's serial
    serial: Option<String>,
    /// The tenant, where several have a device with this serial
    #[arg(long, value_name = "N")]
    entity: Option<i64>,
    /// The agent's number, where one tenant has several devices with this serial
    #[arg(long, value_name = "ID")]
    id: Option<i64>,
}

#[derive(Debug, Args)]
pub struct Wish {
    #[command(flatten)]
    which: Which,
    /// Wait so long for the answer
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Commands, latest first
    #[command(after_help = "Example:\n  mdmq command list --serial AZERTY --state queued")]
    List {
        /// Only for devices with this serial
        #[arg(long)]
        serial: Option<String>,
        /// Only in this state
        #[arg(long, value_parser = ["queued", "sent", "delivered", "answered", "expired", "failed", "cancelled"])]
        state: Option<String>,
    },
    /// One command
    Show {
        /// Its number
        id: i64,
    },
    /// Take back a command that has not reached its device
    Cancel {
        /// Its number
        id: i64,
    },
}

pub async fn agent(verb: Agent, place: &Place) -> Done {
    let api = Api::of(place)?;
    match verb {
        Agent::List { entity, fleet } => {
            let wishes = [("entity", entity.map(|it| it.to_string())), ("fleet", fleet.map(|it| it.to_string()))];
            let all = api.get(&format!("/agents{}", query(&wishes))).await?;
            let columns = [
                ("serial", "SERIAL"),
                ("entity", "ENTITY"),
                ("fleet_name", "FLEET"),
                ("is_online", "ONLINE"),
                ("last_contact", "LAST CONTACT"),
                ("enroll_status", "STATUS"),
                ("id", "ID"),
            ];
            list(&all, &columns, "no agents yet; invite one with: mdmq invite --email A@B", place)
        }
        Agent::Show(which) => one(&which.find(&api).await?, place),
        Agent::Log { which, limit } => {
            let id = which.find(&api).await?["id"].clone();
            let all = api.get(&format!("/messages?agent={id}&limit={limit}")).await?;
            let columns = [("at", "AT"), ("direction", "I/O"), ("topic", "TOPIC"), ("message", "MESSAGE")];
            list(&all, &columns, "nothing was logged yet", place)
        }
        Agent::Import { file } => import(&api, &file, place).await,
        Agent::Remove(which) => {
            let id = which.find(&api).await?["id"].clone();
            one(&api.delete(&format!("/agents/{id}")).await?, place)
        }
        Agent::Move { which, fleet, to_entity } => {
            let id = which.find(&api).await?["id"].clone();
            let change = json!({ "fleet": fleet, "entity": to_entity });
            one(&api.patch(&format!("/agents/{id}"), &change).await?, place)
        }
        Agent::Ping(wish) => wish.send("ping", &api, place).await,
        Agent::Geolocate(wish) => wish.send("geolocate", &api, place).await,
        Agent::Inventory(wish) => wish.send("inventory", &api, place).await,
        Agent::Lock(wish) => wish.send("lock", &api, place).await,
        Agent::Unlock(wish) => wish.send("unlock", &api, place).await,
        Agent::Unenroll { wish, cancel: false } => wish.send("unenroll", &api, place).await,
        Agent::Unenroll { wish, cancel: true } => {
            let id = wish.which.find(&api).await?["id"].clone();
            one(&api.delete(&format!("/agents/{id}/unenrollment")).await?, place)
        }
        Agent::Wipe { wish, yes } => {
            let name = wish.which.name();
            sure(yes, &format!("this erases everything on {name}"), &name, place)?;
            wish.send("wipe", &api, place).await
        }
    }
}

pub async fn command(verb: Command, place: &Place) -> Done {
    let api = Api::of(place)?;
    match verb {
        Command::List { serial, state } => {
            let all = api.get(&format!("/commands{}", query(&[("serial", serial), ("state", state)]))).await?;
            let columns = [
                ("command_id", "ID"),
                ("serial", "SERIAL"),
                ("name", "COMMAND"),
                ("state", "STATE"),
                ("created_at", "CREATED"),
                ("finished_at", "FINISHED"),
                ("detail", "DETAIL"),
            ];
            list(&all, &columns, "no commands; send one with: mdmq agent ping SERIAL", place)
        }
        Command::Show { id } => one(&api.get(&format!("/commands/{id}")).await?, place),
        Command::Cancel { id } => one(&api.delete(&format!("/commands/{id}")).await?, place),
    }
}

impl Which {
    /// As it was typed.
    fn name(&self) -> String {
        self.serial.clone().or(self.id.map(|it| it.to_string())).unwrap_or_default()
    }

    /// The one agent that is meant.
    async fn find(&self, api: &Api) -> Result<Value, Failure> {
        if let Some(id) = self.id {
            return api.get(&format!("/agents/{id}")).await;
        }
        find_agent(api, self.serial.as_deref().unwrap_or_default(), self.entity).await
    }
}

/// The one agent with this serial.
pub async fn find_agent(api: &Api, serial: &str, entity: Option<i64>) -> Result<Value, Failure> {
    let wishes = [("serial", Some(serial.to_owned())), ("entity", entity.map(|it| it.to_string()))];
    let found = api.get(&format!("/agents{}", query(&wishes))).await?;
    match found.as_array().map(Vec::as_slice).unwrap_or_default() {
        [agent] => Ok(agent.clone()),
        [] => Err(Failure(format!("there is no agent with serial {serial}"))),
        several => Err(Failure(ambiguous(serial, several))),
    }
}

impl Wish {
    async fn send(&self, name: &str, api: &Api, place: &Place) -> Done {
        let id = self.which.find(api).await?["id"].clone();
        let mut answer = api.post(&format!("/agents/{id}/commands"), &json!({ "name": name })).await?;
        if let Some(seconds) = self.wait {
            let command = &answer["command_id"];
            let settled = api.get(&format!("/commands/{command}?wait={seconds}")).await?;
            answer = json!({ "command_id": settled["command_id"], "state": settled["state"] });
        }
        one(&answer, place)
    }
}

fn ambiguous(serial: &str, several: &[Value]) -> String {
    let which: Vec<String> = several.iter().map(|it| format!("--id {} in entity {}", it["id"], it["entity"])).collect();
    format!("{} agents have the serial {serial}; say which with --entity or --id: {}", several.len(), which.join(", "))
}

async fn import(api: &Api, file: &PathBuf, place: &Place) -> Done {
    let csv = std::fs::read(file).map_err(|e| Failure(format!("cannot read {}: {e}", file.display())))?;
    let lines = csv.iter().filter(|byte| **byte == b'\n').count();
    // Hidden by itself when stderr is no terminal.
    let bar = indicatif::ProgressBar::new_spinner().with_message(format!("checking and storing {lines} lines"));
    bar.enable_steady_tick(Duration::from_millis(100));
    let answer = api.import(csv).await;
    bar.finish_and_clear();
    one(&answer?, place)
}
