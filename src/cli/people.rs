//! `mdmq user`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    Done, Failure, Place,
    api::{Api, quoted},
    secret_file::kept_in,
    show,
    tenants::{list, one},
};

#[derive(Debug, Subcommand)]
pub enum User {
    /// All people
    List,
    /// One person
    Show {
        /// Number, login name or e-mail address
        who: String,
    },
    /// A new person
    #[command(after_help = "Example:\n  mdmq user add ann --email ann@example.org --profile operator --entity 76")]
    Add {
        /// Login name, or the e-mail address alone
        name: String,
        #[command(flatten)]
        person: Person,
    },
    /// Another name, address, password or profile for a person
    #[command(
        after_help = "Example:\n  mdmq user change ann --profile viewer --entity 3\n  mdmq user change ann --disable"
    )]
    Change {
        /// Number, login name or e-mail address
        who: String,
        /// Another login name
        #[arg(long)]
        name: Option<String>,
        /// Take this profile on the entity away
        #[arg(long, value_name = "PROFILE", conflicts_with = "profile")]
        take: Option<Profile>,
        /// Open no sessions any more; those that are open end
        #[arg(long)]
        disable: bool,
        /// Open sessions again
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        #[command(flatten)]
        person: Person,
    },
    /// Remove a person with tokens and invitations; devices stay, without an owner
    Remove {
        /// Number, login name or e-mail address
        who: String,
    },
    /// Make an API token for a person; it is shown once
    #[command(after_help = "Example:\n  mdmq user token ann\n  mdmq user token ann --revoke")]
    Token {
        /// Number, login name or e-mail address
        who: String,
        /// End all tokens and sessions of the person instead, those in deeplinks too
        #[arg(long)]
        revoke: bool,
        /// Write the token to this new file instead of the terminal
        #[arg(long, value_name = "FILE", conflicts_with = "revoke")]
        token_file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct Person {
    /// Where mail goes
    #[arg(long, value_name = "A@B")]
    email: Option<String>,
    /// First name
    #[arg(long, value_name = "NAME")]
    firstname: Option<String>,
    /// Last name
    #[arg(long, value_name = "NAME")]
    realname: Option<String>,
    /// Phone
    #[arg(long, value_name = "NUMBER")]
    phone: Option<String>,
    /// Another phone
    #[arg(long, value_name = "NUMBER")]
    phone2: Option<String>,
    /// What the person may do
    #[arg(long)]
    profile: Option<Profile>,
    /// Where [default: 0, the root]
    #[arg(long, value_name = "N")]
    entity: Option<i64>,
    /// Not in the tenants below it
    #[arg(long)]
    only_here: bool,
    /// The first line of this file is the password; without one only tokens open sessions
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// What people may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Enrolls own devices
    Guest,
    /// Sees everything
    Viewer,
    /// Also commands and moves devices, applies policies, uploads files, invites
    Operator,
    /// Everything
    Administrator,
}

impl Profile {
    fn as_str(self) -> &'static str {
        match self {
            Profile::Guest => "guest",
            Profile::Viewer => "viewer",
            Profile::Operator => "operator",
            Profile::Administrator => "administrator",
        }
    }
}

impl Person {
    /// As the API wants it.
    fn body(&self, taken: Option<Profile>) -> Result<Value, Failure> {
        let on = |profile: Option<Profile>| {
            profile.map(|it| json!({ "profile": it.as_str(), "entity": self.entity, "is_recursive": !self.only_here }))
        };
        Ok(json!({
            "email": self.email,
            "firstname": self.firstname,
            "realname": self.realname,
            "phone": self.phone,
            "phone2": self.phone2,
            "password": self.password_file.as_deref().map(first_line).transpose()?,
            "give": on(self.profile),
            "take": on(taken),
        }))
    }
}

pub async fn user(verb: User, place: &Place) -> Done {
    let api = Api::of(place)?;
    let path = |who: &str| format!("/users/{}", quoted(who));
    let answer = match verb {
        User::List => {
            let all = api.get("/users").await?;
            let columns = [
                ("id", "ID"),
                ("login", "LOGIN"),
                ("email", "EMAIL"),
                ("firstname", "FIRST NAME"),
                ("realname", "LAST NAME"),
                ("is_active", "ACTIVE"),
                ("profiles", "PROFILES"),
            ];
            let nobody = "nobody yet; add somebody with: mdmq user add NAME --email A@B --profile viewer";
            let shown = if place.json { all } else { with_words(all) };
            return list(&shown, &columns, nobody, place);
        }
        User::Show { who } => api.get(&path(&who)).await?,
        User::Add { name, person } => {
            let mut body = person.body(None)?;
            body["name"] = name.into();
            api.post("/users", &body).await?
        }
        User::Change { who, name, take, disable, enable, person } => {
            let mut body = person.body(take)?;
            body["name"] = name.into();
            if disable || enable {
                body["is_active"] = enable.into();
            }
            api.patch(&path(&who), &body).await?
        }
        User::Remove { who } => api.delete(&path(&who)).await?,
        User::Token { who, revoke: true, .. } => api.delete(&format!("{}/tokens", path(&who))).await?,
        User::Token { who, token_file, .. } => {
            let (path, nothing) = (format!("{}/tokens", path(&who)), json!({}));
            kept_in(token_file, "user_token", "token_file", api.post(&path, &nothing)).await?
        }
    };
    if place.json { one(&answer, place) } else { one(&with_words(json!([answer]))[0], place) }
}

/// Profiles as words: `operator of 76 and below`.
fn with_words(mut people: Value) -> Value {
    for person in people.as_array_mut().into_iter().flatten() {
        let Some(profiles) = person["profiles"].as_array() else { continue };
        let words = profiles.iter().map(|it| {
            let below = if it["is_recursive"] == true { " and below" } else { "" };
            Value::String(format!("{} of {}{below}", show::cell(&it["profile"]), it["entity"]))
        });
        person["profiles"] = words.collect();
    }
    people
}

fn first_line(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|e| Failure(format!("cannot read {}: {e}", file.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
