//! Tasks: a policy applied to a fleet or an agent (spec/admin.md §7.1).

use serde_json::Value;

use super::{
    Asked,
    change::{is_on, message_of, opt_text},
    write::{Input, Outcome},
};
use crate::{
    flows::task::NewTask,
    http::{agents::number, error::ApiError},
    ids::{AgentId, FileId, FleetId, PackageId, TaskId},
    mdm::policy::{self, ItemId, Target},
    store::items::item_type,
};

const NO_TARGET: &str = "Cannot find the notifiable object";

pub async fn create(asked: &Asked<'_>, input: &Input) -> Outcome<i64> {
    let (Some(policy), Some(applied), Some(id)) = (
        number(input.get("plugin_flyvemdm_policies_id")),
        opt_text(input, "itemtype_applied"),
        number(input.get("items_id_applied")),
    ) else {
        return Ok(Err("Notifiable and policy must be specified".into()));
    };
    let Some(policy) = policy::by_id(policy) else { return Ok(Err("Policy not found".into())) };
    let target = match applied.as_str() {
        "PluginFlyvemdmFleet" => Target::Fleet(FleetId(id)),
        "PluginFlyvemdmAgent" => Target::Agent(AgentId(id)),
        _ => return Ok(Err("This is not a notifiable object".into())),
    };
    if !is_seen(asked, &applied, id).await? {
        return Ok(Err(NO_TARGET.into()));
    }
    let item = match item_of(asked, input).await? {
        Ok(item) => item,
        Err(message) => return Ok(Err(message)),
    };
    let new = NewTask { target, policy, value: value_of(input), item };
    let added = match is_on(input.get("_silent")) {
        true => asked.flows.add_task_silently(new).await?,
        false => asked.flows.add_task(new).await?,
    };
    message_of(added.map(|it| it.0))
}

pub async fn change(asked: &Asked<'_>, id: TaskId, input: &Input) -> Outcome<String> {
    let item = match item_of(asked, input).await? {
        Ok(item) => item,
        Err(message) => return Ok(Err(message)),
    };
    let Some(task) = asked.flows.task(id).await? else { return Err(ApiError::no_item()) };
    let value = if input.contains_key("value") { value_of(input) } else { Value::String(task.task.value) };
    message_of(asked.flows.change_task(id, value, item).await?.map(|()| String::new()))
}

/// Dashboards send objects, and objects as text.
fn value_of(input: &Input) -> Value {
    match input.get("value") {
        Some(Value::String(text)) if text.trim_start().starts_with('{') => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
        }
        Some(value) => value.clone(),
        None => Value::String(String::new()),
    }
}

/// What the task deploys, if the speaker sees it.
async fn item_of(asked: &Asked<'_>, input: &Input) -> Outcome<Option<ItemId>> {
    let id = number(input.get("items_id")).unwrap_or_default();
    let (name, item, absent) = match opt_text(input, "itemtype").unwrap_or_default().as_str() {
        "" => return Ok(Ok(None)),
        name @ "PluginFlyvemdmFile" => (name.to_owned(), ItemId::File(FileId(id)), "The file does not exists"),
        name @ "PluginFlyvemdmPackage" => {
            (name.to_owned(), ItemId::Package(PackageId(id)), "The application does not exists")
        }
        _ => return Ok(Err("Incorrect value for this policy".into())),
    };
    Ok(if is_seen(asked, &name, id).await? { Ok(Some(item)) } else { Err(absent.into()) })
}

async fn is_seen(asked: &Asked<'_>, name: &str, id: i64) -> Result<bool, ApiError> {
    let of = item_type(name).ok_or_else(ApiError::no_item)?;
    Ok(asked.flows.store.item(of, &asked.sight(), id).await?.is_some())
}
