//! `mdmq entity`, `fleet` and `account`.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Done, Place,
    api::{Api, query, quoted},
    secret_file::kept_in,
    show,
};

#[derive(Debug, Subcommand)]
pub enum Entity {
    /// All tenants
    List,
    /// One tenant
    Show {
        /// Its number
        id: i64,
    },
    /// A new tenant with its default fleet
    #[command(after_help = "Example:\n  mdmq entity add Paris --parent 0 --id 76")]
    Add {
        /// What people call it
        name: String,
        /// The tenant above it [default: 0, the root]
        #[arg(long, value_name = "N")]
        parent: Option<i64>,
        /// The number that stands in its topics [default: the next one]
        #[arg(long, value_name = "N")]
        id: Option<i64>,
    },
    /// Another name or place for a tenant
    #[command(after_help = "Example:\n  mdmq entity change 76 --name Lyon")]
    Change {
        /// Its number
        id: i64,
        /// What people will call it
        #[arg(long, required_unless_present = "parent")]
        name: Option<String>,
        /// The tenant above it
        #[arg(long, value_name = "N")]
        parent: Option<i64>,
    },
    /// Show or change the help desk, invitation life and device limit of a tenant
    #[command(after_help = "Without options it shows. An empty text is inherited from the tenant above.\n\n\
                            Example:\n  mdmq entity settings 76 --phone '+33 1 23 45' --device-limit 500")]
    Settings {
        /// Its number
        id: i64,
        #[command(flatten)]
        change: SettingsChange,
    },
    /// Remove an empty tenant
    Remove {
        /// Its number
        id: i64,
    },
}

#[derive(Debug, clap::Args, serde::Serialize)]
pub struct SettingsChange {
    /// Help desk: name
    #[arg(long)]
    name: Option<String>,
    /// Help desk: phone
    #[arg(long)]
    phone: Option<String>,
    /// Help desk: web site
    #[arg(long, value_name = "URL")]
    website: Option<String>,
    /// Help desk: e-mail
    #[arg(long)]
    email: Option<String>,
    /// Help desk: postal address
    #[arg(long)]
    address: Option<String>,
    /// Where the agent is downloaded
    #[arg(long, value_name = "URL")]
    download_url: Option<String>,
    /// Days that invitations are valid
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=180))]
    token_life_days: Option<u32>,
    /// Agents that may enroll; 0 is as configured
    #[arg(long, value_name = "N")]
    device_limit: Option<i64>,
}

#[derive(Debug, Subcommand)]
pub enum Fleet {
    /// All fleets, or those of one tenant
    List {
        /// Whose
        #[arg(long, value_name = "N")]
        entity: Option<i64>,
    },
    /// One fleet
    Show {
        /// Its number
        id: i64,
    },
    /// A new fleet
    #[command(after_help = "Example:\n  mdmq fleet add Sales --entity 76 --recursive")]
    Add {
        /// What people call it
        name: String,
        /// Whose [default: 0, the root]
        #[arg(long, value_name = "N")]
        entity: Option<i64>,
        /// Seen in the tenants below, too; changed only where it belongs
        #[arg(long)]
        recursive: bool,
    },
    /// Another name for a fleet, or whether the tenants below see it
    #[command(after_help = "Example:\n  mdmq fleet change 3 --recursive false")]
    Change {
        /// Its number
        id: i64,
        /// What people will call it
        #[arg(long, required_unless_present = "recursive")]
        name: Option<String>,
        /// Whether it is seen in the tenants below
        #[arg(long, value_name = "true|false")]
        recursive: Option<bool>,
    },
    /// Remove a fleet; its agents go to the default one
    Remove {
        /// Its number
        id: i64,
    },
}

#[derive(Debug, Subcommand)]
pub enum Account {
    /// All service accounts
    List,
    /// One service account
    Show {
        /// Its name
        name: String,
    },
    /// A new service account; prints its password once
    #[command(
        after_help = "Example:\n  mdmq account add monitor --acl '+/agent/+/Status/#:r' --acl '#:deny' --entity 76"
    )]
    Add {
        /// Its user name
        name: String,
        /// What it may read or write: FILTER:r, FILTER:w, FILTER:rw or FILTER:deny
        #[arg(long, required = true, num_args = 1.., value_name = "FILTER:ACCESS")]
        acl: Vec<String>,
        /// Only agents of this tenant and those below it
        #[arg(long, value_name = "N")]
        entity: Option<i64>,
        /// Write the password to this new file instead of the terminal
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Remove a service account
    Remove {
        /// Its name
        name: String,
    },
}

pub async fn entity(verb: Entity, place: &Place) -> Done {
    let api = Api::of(place)?;
    let answer = match verb {
        Entity::List => {
            let all = api.get("/entities").await?;
            let columns = [("id", "ID"), ("parent", "PARENT"), ("name", "NAME"), ("agents", "AGENTS")];
            return list(&all, &columns, "no entities", place);
        }
        Entity::Show { id } => api.get(&format!("/entities/{id}")).await?,
        Entity::Add { name, parent, id } => {
            api.post("/entities", &json!({ "name": name, "parent": parent, "id": id })).await?
        }
        Entity::Change { id, name, parent } => {
            api.patch(&format!("/entities/{id}"), &json!({ "name": name, "parent": parent })).await?
        }
        Entity::Settings { id, change } => {
            let path = format!("/entities/{id}/settings");
            let change = json!(change);
            let is_wanted = change.as_object().is_some_and(|it| it.values().any(|value| !value.is_null()));
            if is_wanted { api.patch(&path, &change).await? } else { api.get(&path).await? }
        }
        Entity::Remove { id } => api.delete(&format!("/entities/{id}")).await?,
    };
    one(&answer, place)
}

pub async fn fleet(verb: Fleet, place: &Place) -> Done {
    let api = Api::of(place)?;
    let answer = match verb {
        Fleet::List { entity } => {
            let all = api.get(&format!("/fleets{}", query(&[("entity", entity.map(|it| it.to_string()))]))).await?;
            let columns = [
                ("id", "ID"),
                ("entity", "ENTITY"),
                ("name", "NAME"),
                ("is_default", "DEFAULT"),
                ("is_recursive", "RECURSIVE"),
                ("agents", "AGENTS"),
            ];
            return list(&all, &columns, "no fleets", place);
        }
        Fleet::Show { id } => api.get(&format!("/fleets/{id}")).await?,
        Fleet::Add { name, entity, recursive } => {
            api.post("/fleets", &json!({ "name": name, "entity": entity, "is_recursive": recursive })).await?
        }
        Fleet::Change { id, name, recursive } => {
            api.patch(&format!("/fleets/{id}"), &json!({ "name": name, "is_recursive": recursive })).await?
        }
        Fleet::Remove { id } => api.delete(&format!("/fleets/{id}")).await?,
    };
    one(&answer, place)
}

pub async fn account(verb: Account, place: &Place) -> Done {
    let api = Api::of(place)?;
    let answer = match verb {
        Account::List => {
            let all = api.get("/accounts").await?;
            let columns = [("name", "NAME"), ("entity", "ENTITY"), ("acl", "ACCESS")];
            return list(
                &all,
                &columns,
                "no service accounts yet; add one with: mdmq account add NAME --acl 'FILTER:r'",
                place,
            );
        }
        Account::Show { name } => api.get(&format!("/accounts/{}", quoted(&name))).await?,
        Account::Add { name, acl, entity, password_file } => {
            let body = json!({ "name": name, "acl": acl, "entity": entity });
            kept_in(password_file, "password", "password_file", api.post("/accounts", &body)).await?
        }
        Account::Remove { name } => api.delete(&format!("/accounts/{}", quoted(&name))).await?,
    };
    one(&answer, place)
}

/// Prints one thing.
pub fn one(answer: &Value, place: &Place) -> Done {
    if place.json {
        show::json(answer)
    } else {
        show::members(answer)
    }
    Ok(())
}

/// Prints many.
pub fn list(answer: &Value, columns: &[(&str, &str)], when_empty: &str, place: &Place) -> Done {
    if place.json {
        show::json(answer)
    } else {
        show::table(answer, columns, when_empty)
    }
    Ok(())
}
