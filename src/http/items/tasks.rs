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
    store::items::{Purpose, item_type},
};

/// What is out of sight is answered like what does not exist, each at its place in the order of the checks: no row has this number.
const NOTHING: i64 = 0;

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
        name @ "PluginFlyvemdmFleet" => Target::Fleet(FleetId(reached(asked, Purpose::Changing, name, id).await?)),
        name @ "PluginFlyvemdmAgent" => Target::Agent(AgentId(reached(asked, Purpose::Changing, name, id).await?)),
        _ => return Ok(Err("This is not a notifiable object".into())),
    };
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

/// What the task deploys.
async fn item_of(asked: &Asked<'_>, input: &Input) -> Outcome<Option<ItemId>> {
    let id = number(input.get("items_id")).unwrap_or_default();
    Ok(Ok(match opt_text(input, "itemtype").unwrap_or_default().as_str() {
        "" => None,
        name @ "PluginFlyvemdmFile" => Some(ItemId::File(FileId(reached(asked, Purpose::Looking, name, id).await?))),
        name @ "PluginFlyvemdmPackage" => {
            Some(ItemId::Package(PackageId(reached(asked, Purpose::Looking, name, id).await?)))
        }
        _ => return Ok(Err("Incorrect value for this policy".into())),
    }))
}

/// The number of an item, if it is there for the speaker and his purpose.
async fn reached(asked: &Asked<'_>, purpose: Purpose, name: &str, id: i64) -> Result<i64, ApiError> {
    let of = item_type(name).ok_or_else(ApiError::no_item)?;
    Ok(if asked.flows.store.item(of, &asked.sight(purpose), id).await?.is_some() { id } else { NOTHING })
}
