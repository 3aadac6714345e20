//! What devices read of a policy, byte by byte (spec/mqtt.md §3.2). Never an empty body.

use bytes::Bytes;
use serde_json::Value;

use super::{Item, Kind, Policy, deployment, with_slash};
use crate::ids::TaskId;

/// The topic of a task below the prefix of its target.
pub fn tail(symbol: &str, task: TaskId) -> String {
    format!("Policy/{symbol}/Task/{task}")
}

/// The body of a task. `None`: what it deploys is not ready to be fetched.
pub fn body(policy: &Policy, value: &str, item: &Item, task: TaskId) -> Option<Bytes> {
    let mut text = String::from("{");
    for (name, value) in members(policy, value, item)? {
        text.push_str(&format!("{}:{},", quoted(name), quoted(&value)));
    }
    text.push_str(&format!("\"taskId\":{task}}}"));
    Some(text.into())
}

/// The body that takes a task back.
pub fn removal(symbol: &str, task: TaskId) -> Bytes {
    format!("{{{}:\"default\",\"taskId\":\"{task}\"}}", quoted(symbol)).into()
}

/// What a task adds to the grouped form that iOS reads: an object whose values are all text. `None`: nothing.
pub fn element(policy: &Policy, value: &str, item: &Item, task: TaskId) -> Option<String> {
    if policy.group != "file" {
        return None;
    }
    let members = members(policy, value, item)?;
    let members = members.into_iter().map(|(name, value)| format!("{}:{},", quoted(name), quoted(&value)));
    Some(format!("{{{}\"taskId\":\"{task}\"}}", members.collect::<String>()))
}

/// The grouped form of these elements.
pub fn grouped<'t>(elements: impl Iterator<Item = &'t str>) -> Bytes {
    format!("{{\"file\":[{}]}}", elements.collect::<Vec<_>>().join(",")).into()
}

/// The members besides `taskId`, all of them text.
fn members(policy: &Policy, value: &str, item: &Item) -> Option<Vec<(&'static str, String)>> {
    let symbol = policy.symbol;
    Some(match (policy.kind, item) {
        (Kind::Bool, _) => vec![(symbol, (value == "1").to_string())],
        (Kind::Int { .. } | Kind::Dropdown(_) | Kind::RemoveApp | Kind::RemoveFile, _) => {
            vec![(symbol, value.to_owned())]
        }
        (Kind::DeployApp, Item::Package(Some(package))) if !package.package_name.is_empty() => vec![
            (symbol, package.package_name.clone()),
            ("id", package.id.to_string()),
            ("versionCode", package.version_code.clone()),
        ],
        (Kind::DeployFile, Item::File(Some(file))) => vec![
            (symbol, with_slash(&deployment(value)?.destination)),
            ("id", file.id.to_string()),
            ("version", file.version.to_string()),
        ],
        (Kind::DeployApp | Kind::DeployFile, _) => return None,
    })
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
