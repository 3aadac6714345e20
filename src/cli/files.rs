//! `mdmq file`, `package` and `path`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    Done, Failure, Place,
    api::{Api, query},
    tenants::{list, one},
};

#[derive(Debug, Subcommand)]
pub enum File {
    /// Files for devices
    List {
        /// Only of this tenant
        #[arg(long, value_name = "N")]
        entity: Option<i64>,
    },
    /// One file
    Show {
        /// Its number
        id: i64,
    },
    /// Upload a file for devices
    #[command(after_help = "Example:\n  mdmq file add report.pdf --entity 76")]
    Add {
        /// The file
        path: PathBuf,
        /// Whose [default: 0, the root]
        #[arg(long, value_name = "N")]
        entity: Option<i64>,
        /// What it is called on the device [default: as it is here]
        #[arg(long)]
        name: Option<String>,
        /// For people
        #[arg(long)]
        comment: Option<String>,
    },
    /// Upload the next version of a file; devices that have it get it again
    #[command(after_help = "Example:\n  mdmq file update 3 report.pdf")]
    Update {
        /// Its number
        id: i64,
        /// The file
        path: PathBuf,
    },
    /// Another name or comment for a file
    Change {
        /// Its number
        id: i64,
        /// What it will be called on devices
        #[arg(long, required_unless_present = "comment")]
        name: Option<String>,
        /// For people
        #[arg(long)]
        comment: Option<String>,
    },
    /// Remove a file and the tasks that deploy it
    Remove {
        /// Its number
        id: i64,
    },
}

#[derive(Debug, Subcommand)]
pub enum Package {
    /// Applications for devices
    List {
        /// Only of this tenant
        #[arg(long, value_name = "N")]
        entity: Option<i64>,
    },
    /// One application
    Show {
        /// Its number
        id: i64,
    },
    /// Upload an application (.apk or .upk) for devices
    #[command(after_help = "Example:\n  mdmq package add org.fdroid.fdroid.apk --entity 76")]
    Add {
        /// The file
        path: PathBuf,
        /// Whose [default: 0, the root]
        #[arg(long, value_name = "N")]
        entity: Option<i64>,
        /// What administrators call it [default: the name of the file]
        #[arg(long)]
        name: Option<String>,
    },
    /// Upload the next version of an application; devices that have it get it again
    #[command(after_help = "Example:\n  mdmq package update 3 org.fdroid.fdroid.apk")]
    Update {
        /// Its number
        id: i64,
        /// The file
        path: PathBuf,
    },
    /// Another name for an application
    Change {
        /// Its number
        id: i64,
        /// What administrators will call it
        #[arg(long)]
        name: String,
    },
    /// Remove an application and the tasks that deploy it
    Remove {
        /// Its number
        id: i64,
    },
}

#[derive(Debug, Subcommand)]
pub enum WellKnownPath {
    /// Beginnings of paths that files may be deployed to
    List,
    /// Allow another beginning
    #[command(after_help = "Example:\n  mdmq path add %SDCARD%/Manuals")]
    Add {
        /// As it stands in the value of a policy
        name: String,
        /// For people
        #[arg(long)]
        comment: Option<String>,
    },
    /// Allow a beginning no longer
    Remove {
        /// Its number
        id: i64,
    },
}

pub async fn file(verb: File, place: &Place) -> Done {
    let api = Api::of(place)?;
    let answer = match verb {
        File::List { entity } => {
            let all = api.get(&format!("/files{}", of(entity))).await?;
            let columns =
                [("id", "ID"), ("entity", "ENTITY"), ("name", "NAME"), ("version", "VERSION"), ("size", "BYTES")];
            return list(&all, &columns, "no files yet; upload one with: mdmq file add PATH", place);
        }
        File::Show { id } => api.get(&format!("/files/{id}")).await?,
        File::Add { path, entity, name, comment } => {
            let texts = [("entity", entity.map(|it| it.to_string())), ("name", name), ("comment", comment)];
            api.upload(reqwest::Method::POST, "/files", &path, texts).await?
        }
        File::Update { id, path } => api.update(&format!("/files/{id}/content"), &path).await?,
        File::Change { id, name, comment } => {
            api.patch(&format!("/files/{id}"), &json!({ "name": name, "comment": comment })).await?
        }
        File::Remove { id } => api.delete(&format!("/files/{id}")).await?,
    };
    one(&answer, place)
}

pub async fn package(verb: Package, place: &Place) -> Done {
    let api = Api::of(place)?;
    let answer = match verb {
        Package::List { entity } => {
            let all = api.get(&format!("/packages{}", of(entity))).await?;
            let columns = [
                ("id", "ID"),
                ("entity", "ENTITY"),
                ("package_name", "PACKAGE"),
                ("alias", "LABEL"),
                ("version", "VERSION"),
                ("version_code", "CODE"),
                ("parse_status", "STATE"),
                ("size", "BYTES"),
            ];
            return list(&all, &columns, "no packages yet; upload one with: mdmq package add PATH", place);
        }
        Package::Show { id } => api.get(&format!("/packages/{id}")).await?,
        Package::Add { path, entity, name } => {
            let texts = [("entity", entity.map(|it| it.to_string())), ("name", name)];
            api.upload(reqwest::Method::POST, "/packages", &path, texts).await?
        }
        Package::Update { id, path } => api.update(&format!("/packages/{id}/content"), &path).await?,
        Package::Change { id, name } => api.patch(&format!("/packages/{id}"), &json!({ "name": name })).await?,
        Package::Remove { id } => api.delete(&format!("/packages/{id}")).await?,
    };
    one(&without_icon(answer, place), place)
}

pub async fn path(verb: WellKnownPath, place: &Place) -> Done {
    let api = Api::of(place)?;
    let answer = match verb {
        WellKnownPath::List => {
            let all = api.get("/paths").await?;
            let columns = [("id", "ID"), ("name", "NAME"), ("is_default", "DEFAULT"), ("comment", "COMMENT")];
            return list(&all, &columns, "no paths; allow one with: mdmq path add NAME", place);
        }
        WellKnownPath::Add { name, comment } => {
            api.post("/paths", &json!({ "name": name, "comment": comment.unwrap_or_default() })).await?
        }
        WellKnownPath::Remove { id } => api.delete(&format!("/paths/{id}")).await?,
    };
    one(&answer, place)
}

impl Api {
    async fn update(&self, path: &str, file: &Path) -> Result<Value, Failure> {
        self.upload(reqwest::Method::PUT, path, file, []).await
    }
}

fn of(entity: Option<i64>) -> String {
    query(&[("entity", entity.map(|it| it.to_string()))])
}

/// A picture in base64 is for programs.
fn without_icon(mut answer: Value, place: &Place) -> Value {
    if let (false, Some(members)) = (place.json, answer.as_object_mut()) {
        members.remove("icon");
    }
    answer
}
