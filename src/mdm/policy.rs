//! Policies: what there is, which values make sense, what excludes what (spec/admin.md §7). The rows are in `catalogue`, the
//! bodies that devices read in `wire`. Refuses to know where tasks are stored.

use serde_json::Value;

use crate::ids::{AgentId, FileId, FleetId, PackageId};

mod catalogue;
#[cfg(test)]
mod tests;
pub mod wire;

pub use catalogue::{CATEGORIES, POLICIES};

/// Longest value of a task, in bytes.
pub const VALUE_BYTES_MAX: usize = 4096;
/// The statuses that a device may report for any task.
pub const STATUSES: [&str; 7] = ["pending", "received", "done", "failed", "canceled", "incompatible", "overriden"];
/// The status that only deployments and removals know: the user has to agree.
pub const WAITING: &str = "waiting";

/// A setting that devices know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Its number, for ever.
    pub id: i64,
    /// Its name on the wire.
    pub symbol: &'static str,
    /// What people call it.
    pub name: &'static str,
    /// What it was published with before 2018; iOS still reads the group `file`.
    pub group: &'static str,
    /// Its place in [`CATEGORIES`].
    pub category: i64,
    /// Which values it takes.
    pub kind: Kind,
    /// What a device does without it.
    pub default: &'static str,
    /// What is wise.
    pub recommended: &'static str,
    /// The first Android that can.
    pub android_min: &'static str,
    /// Whether the agent must be a system application.
    pub needs_system_app: bool,
}

/// A branch of the tree in which policies are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Category {
    /// Its number, for ever.
    pub id: i64,
    /// The branch above.
    pub parent: Option<i64>,
    /// What people call it.
    pub name: &'static str,
}

/// Which values a policy takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `0` or `1`.
    Bool,
    /// A whole number.
    Int {
        /// The smallest.
        min: i64,
    },
    /// One of these keys; the second text is for people.
    Dropdown(&'static [(&'static str, &'static str)]),
    /// An application, and whether to remove it when the task goes.
    DeployApp,
    /// The name of a package.
    RemoveApp,
    /// A file, where to put it, and whether to remove it when the task goes.
    DeployFile,
    /// A path.
    RemoveFile,
}

/// Who a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// All agents of a fleet, those to come too.
    Fleet(FleetId),
    /// One agent.
    Agent(AgentId),
}

/// What a deployment deploys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ItemId {
    /// A file.
    File(FileId),
    /// An application.
    Package(PackageId),
}

/// What a task names beside its value, as far as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Item {
    /// Nothing.
    #[default]
    None,
    /// A file; none: there is no such file.
    File(Option<File>),
    /// An application; none: there is no such application.
    Package(Option<Package>),
}

/// A file for devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Key.
    pub id: FileId,
    /// Its name on the device.
    pub name: String,
    /// Grows with each upload.
    pub version: i64,
}

/// An application for devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Key.
    pub id: PackageId,
    /// What people call it.
    pub name: String,
    /// What Android calls it; empty until it was analysed.
    pub package_name: String,
    /// What Android compares.
    pub version_code: String,
    /// `pending`, `parsed` or `failed`.
    pub parse_status: String,
}

/// A value that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As it is stored: text, or JSON for deployments.
    pub value: String,
    /// What it is about, where a target may have several of one policy; else empty. No target has two alike.
    pub subject: String,
}

/// Where a deployment goes, and whether it is undone with its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The directory on the device; empty for applications.
    pub destination: String,
    /// Whether the device removes it when the task goes.
    pub remove_on_delete: bool,
}

/// The policy with this symbol.
pub fn by_symbol(symbol: &str) -> Option<&'static Policy> {
    POLICIES.iter().find(|it| it.symbol == symbol)
}

/// The policy with this number.
pub fn by_id(id: i64) -> Option<&'static Policy> {
    POLICIES.iter().find(|it| it.id == id)
}

impl Kind {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Int { .. } => "int",
            Kind::Dropdown(_) => "dropdown",
            Kind::DeployApp => "deployapp",
            Kind::RemoveApp => "removeapp",
            Kind::DeployFile => "deployfile",
            Kind::RemoveFile => "removefile",
        }
    }

    /// Whether it brings something to the device or takes something away from it.
    pub fn moves_something(self) -> bool {
        matches!(self, Kind::DeployApp | Kind::RemoveApp | Kind::DeployFile | Kind::RemoveFile)
    }
}

impl Policy {
    /// Whether a target may have it only once.
    pub fn is_unique(&self) -> bool {
        !self.kind.moves_something()
    }

    /// The status with this name, if a device may report it for this policy.
    pub fn status(&self, name: &str) -> Option<&'static str> {
        let of_all = STATUSES.into_iter().find(|it| *it == name);
        of_all.or_else(|| (name == WAITING && self.kind.moves_something()).then_some(WAITING))
    }

    /// Whether the value makes sense. `paths` are the well-known ones.
    ///
    /// # Errors
    /// A sentence for the administrator, in the words of the original server.
    pub fn check(&self, value: &Value, item: &Item, paths: &[String]) -> Result<Setting, &'static str> {
        const INCORRECT: &str = "Incorrect value for this policy";
        let text = scalar(value);
        if text.as_ref().is_some_and(|it| it.len() > VALUE_BYTES_MAX) {
            return Err("The value is too long");
        }
        let plain = |value: String, subject: String| match item {
            Item::None => Ok(Setting { value, subject }),
            Item::File(_) | Item::Package(_) => Err(INCORRECT),
        };
        match self.kind {
            Kind::Bool => match text.as_deref() {
                Some("0" | "false") => plain("0".into(), String::new()),
                Some("1" | "true") => plain("1".into(), String::new()),
                _ => Err(INCORRECT),
            },
            Kind::Int { min } => match text.as_deref().map(str::parse::<i64>) {
                Some(Ok(number)) if number >= min => plain(number.to_string(), String::new()),
                _ => Err(INCORRECT),
            },
            Kind::Dropdown(keys) => match text {
                Some(text) if keys.iter().any(|(key, _)| *key == text) => plain(text, String::new()),
                _ => Err(INCORRECT),
            },
            Kind::RemoveApp => match text.filter(|it| !it.trim().is_empty()) {
                Some(name) => plain(name.clone(), name),
                None => Err("An application ID is required"),
            },
            Kind::RemoveFile => match text.filter(|it| !it.trim().is_empty()) {
                Some(path) => plain(path.clone(), path),
                None => Err(INCORRECT),
            },
            Kind::DeployApp => deploy_app(value, item),
            Kind::DeployFile => deploy_file(value, item, paths),
        }
    }

    /// Why this setting cannot stand beside others of the same target (symbol and value each).
    pub fn conflict<'t>(
        &self,
        setting: &Setting,
        item: &Item,
        others: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Option<&'static str> {
        let mut removals = others.into_iter();
        match (self.kind, item) {
            (Kind::DeployApp, Item::Package(Some(package))) => removals
                .any(|(symbol, value)| {
                    symbol == "removeApp" && (value == package.package_name || value == package.name)
                })
                .then_some("A removal policy for this application is applied. Please, remove it first."),
            (Kind::DeployFile, Item::File(Some(file))) => {
                let destination = deployment(&setting.value)?.destination;
                let directory = with_slash(&destination);
                removals
                    .any(|(symbol, value)| {
                        symbol == "removeFile"
                            && (value == destination
                                || value == directory
                                || value.strip_prefix(&directory) == Some(&file.name))
                    })
                    .then_some("A removal policy is applied for this file destination. Please, remove it first.")
            }
            _ => None,
        }
    }

    /// What takes the place of a deployment whose task goes: symbol and value of another task.
    pub fn undoing(&self, value: &str, item: &Item) -> Option<(&'static Policy, String)> {
        let deployment = deployment(value).filter(|it| it.remove_on_delete)?;
        match (self.kind, item) {
            (Kind::DeployApp, Item::Package(Some(package))) => {
                let name = if package.package_name.is_empty() { &package.name } else { &package.package_name };
                Some((by_symbol("removeApp")?, name.clone()))
            }
            (Kind::DeployFile, Item::File(Some(file))) => {
                Some((by_symbol("removeFile")?, format!("{}{}", with_slash(&deployment.destination), file.name)))
            }
            _ => None,
        }
    }
}

impl Category {
    /// The names from the root to here.
    pub fn complete_name(&self) -> String {
        match self.parent.and_then(|parent| CATEGORIES.iter().find(|it| it.id == parent)) {
            Some(parent) => format!("{} > {}", parent.complete_name(), self.name),
            None => self.name.to_owned(),
        }
    }

    /// How deep it hangs; the root's children are at 1.
    pub fn level(&self) -> usize {
        self.complete_name().matches(" > ").count() + 1
    }
}

/// Reads the stored value of a deployment.
pub fn deployment(value: &str) -> Option<Deployment> {
    let stored: Value = serde_json::from_str(value).ok()?;
    let destination = stored.get("destination").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Deployment { destination, remove_on_delete: flag(stored.get("remove_on_delete")?)? })
}

/// Stores the value of a deployment without removing it with its task.
pub fn without_removal(value: &str) -> Option<String> {
    let mut stored: Value = serde_json::from_str(value).ok()?;
    stored.as_object_mut()?.insert("remove_on_delete".into(), 0.into());
    Some(stored.to_string())
}

/// What somebody typed as the value of a policy: deployments may be given as JSON, or as the destination alone.
pub fn typed(policy: &Policy, text: &str, remove_on_delete: bool) -> Value {
    let given = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
    let flag = i64::from(remove_on_delete);
    match (policy.kind, given) {
        (Kind::DeployApp | Kind::DeployFile, Some(mut object)) => {
            if let Some(members) = object.as_object_mut() {
                members.entry("remove_on_delete").or_insert_with(|| flag.into());
            }
            object
        }
        (Kind::DeployApp, None) => serde_json::json!({ "remove_on_delete": flag }),
        (Kind::DeployFile, None) => serde_json::json!({ "destination": text, "remove_on_delete": flag }),
        _ => Value::String(text.to_owned()),
    }
}

fn deploy_app(value: &Value, item: &Item) -> Result<Setting, &'static str> {
    let value = object(value);
    let flag = value.as_ref().and_then(|it| it.get("remove_on_delete")).filter(|it| !it.is_null());
    let remove_on_delete = match flag.map(self::flag) {
        None => return Err("The remove on delete flag is mandatory"),
        Some(None) => return Err("The remove on delete flag must be 0 or 1"),
        Some(Some(flag)) => flag,
    };
    match item {
        Item::None | Item::File(_) => Err("You must choose an application to apply this policy"),
        Item::Package(None) => Err("The application does not exists"),
        Item::Package(Some(package)) if package.parse_status == "failed" => {
            Err("The application could not be analysed; upload it again")
        }
        Item::Package(Some(package)) if package.parse_status != "parsed" || package.package_name.is_empty() => {
            Err("The application is not analysed yet; try again in a moment")
        }
        Item::Package(Some(package)) => Ok(Setting {
            value: serde_json::json!({ "remove_on_delete": i64::from(remove_on_delete) }).to_string(),
            subject: package.id.to_string(),
        }),
    }
}

fn deploy_file(value: &Value, item: &Item, paths: &[String]) -> Result<Setting, &'static str> {
    let value = object(value);
    let member = |name| value.as_ref().and_then(|it| it.get(name)).filter(|it| !it.is_null());
    let (Some(destination), Some(flag)) = (member("destination").and_then(Value::as_str), member("remove_on_delete"))
    else {
        return Err("A destination and the remove on delete flag are mandatory");
    };
    let Some(remove_on_delete) = self::flag(flag) else { return Err("The remove on delete flag must be 0 or 1") };
    let file = match item {
        Item::None | Item::Package(_) => return Err("You must choose a file to apply this policy"),
        Item::File(None) => return Err("The file does not exists"),
        Item::File(Some(file)) => file,
    };
    let climbs = destination.split('/').any(|part| part == ".." || part == ".");
    let is_below =
        |path: &String| destination.strip_prefix(path).is_some_and(|it| it.is_empty() || it.starts_with('/'));
    let is_clean = destination.len() <= VALUE_BYTES_MAX && !destination.contains("//") && !climbs;
    if !is_clean || destination.contains(char::is_control) || !paths.iter().any(is_below) {
        return Err("invalid base path");
    }
    Ok(Setting {
        value: serde_json::json!({ "destination": destination, "remove_on_delete": i64::from(remove_on_delete) })
            .to_string(),
        subject: format!("{} {}", file.id, with_slash(destination)),
    })
}

/// A directory with the slash at its end.
fn with_slash(directory: &str) -> String {
    if directory.ends_with('/') { directory.to_owned() } else { format!("{directory}/") }
}

/// An object, or the JSON text of one.
fn object(value: &Value) -> Option<Value> {
    match value {
        Value::Object(_) => Some(value.clone()),
        Value::String(text) if text.len() <= 2 * VALUE_BYTES_MAX => {
            serde_json::from_str(text).ok().filter(Value::is_object)
        }
        _ => None,
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn flag(value: &Value) -> Option<bool> {
    match scalar(value)?.as_str() {
        "0" | "false" => Some(false),
        "1" | "true" => Some(true),
        _ => None,
    }
}
