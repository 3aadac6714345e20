//! What making, changing and removing means for each type: which story of `flows` is called with what.

use serde_json::Value;

use super::{
    Asked, fleets, invitations, people, settings, tasks,
    write::{Input, Outcome},
};
use crate::{
    flows::administer::Refused,
    http::{agents::number, error::ApiError},
    ids::{AgentId, EntityId, FileId, FleetId, InvitationId, PackageId, PersonId, TaskId},
    store::items::{ItemType, Purpose},
};

/// Makes an item. The rights of the profile are checked already, its entities are not.
pub async fn create(asked: &Asked<'_>, of: &'static ItemType, input: &Input) -> Outcome<i64> {
    let flows = asked.flows;
    if of.name == "PluginFlyvemdmWellKnownPath" {
        return message_of(flows.add_path(&text(input, "name"), &text(input, "comment")).await?);
    }
    if of.name == "PluginFlyvemdmTask" {
        return tasks::create(asked, input).await;
    }
    let entity = match entity_of(asked, input).await? {
        Ok(entity) => entity,
        Err(message) => return Ok(Err(message)),
    };
    match of.name {
        "PluginFlyvemdmFleet" => fleets::create(asked, entity, input).await,
        "Entity" => message_of(flows.add_entity(&text(input, "name"), entity, None).await?.map(|it| it.0)),
        "PluginFlyvemdmFile" | "PluginFlyvemdmPackage" => Ok(Err("No file uploaded".into())),
        "User" => people::create(asked, entity, input).await,
        "PluginFlyvemdmInvitation" => invitations::create(asked, entity, input).await,
        _ => Err(ApiError::no_method()),
    }
}

/// Changes an item that the speaker may change.
pub async fn update(asked: &Asked<'_>, of: &'static ItemType, id: i64, input: &Input) -> Outcome<String> {
    let flows = asked.flows;
    match of.name {
        "PluginFlyvemdmAgent" => agent(asked, AgentId(id), input).await,
        "PluginFlyvemdmFleet" => fleets::change(asked, FleetId(id), input).await,
        "PluginFlyvemdmWellKnownPath" => {
            let (name, comment) = (opt_text(input, "name"), opt_text(input, "comment"));
            silent(flows.change_path(id, name, comment, is_on(input.get("is_default"))).await?)
        }
        "PluginFlyvemdmFile" => {
            let (name, comment) = (opt_text(input, "name"), opt_text(input, "comment"));
            silent(flows.change_file(FileId(id), name.as_deref(), comment.as_deref()).await?.map(drop))
        }
        "PluginFlyvemdmPackage" => match opt_text(input, "name") {
            Some(name) => silent(flows.rename_package(PackageId(id), &name).await?.map(drop)),
            None => Ok(Ok(String::new())),
        },
        "Entity" => {
            let parent = match input.contains_key("entities_id") {
                true => match entity_of(asked, input).await? {
                    Ok(entity) => Some(entity),
                    Err(message) => return Ok(Err(message)),
                },
                false => None,
            };
            silent(flows.change_entity(EntityId(id), opt_text(input, "name").as_deref(), parent).await?)
        }
        "User" => people::change(asked, PersonId(id), input).await,
        "PluginFlyvemdmTask" => tasks::change(asked, TaskId(id), input).await,
        "PluginFlyvemdmInvitation" => invitations::change(asked, InvitationId(id), input).await,
        "PluginFlyvemdmEntityConfig" => settings::change(asked, EntityId(id), input).await,
        _ => Err(ApiError::no_method()),
    }
}

/// Removes an item that the speaker may remove.
pub async fn delete(asked: &Asked<'_>, of: &'static ItemType, id: i64) -> Outcome<()> {
    let flows = asked.flows;
    match of.name {
        "PluginFlyvemdmAgent" => message_of(flows.remove_agent(AgentId(id), &name_of(asked).await?).await?),
        "PluginFlyvemdmFleet" => message_of(flows.remove_fleet(FleetId(id)).await?.map(|_| ())),
        "PluginFlyvemdmWellKnownPath" => message_of(flows.store.remove_path(id).await?),
        "PluginFlyvemdmTask" => message_of(flows.remove_task(TaskId(id)).await?),
        "PluginFlyvemdmFile" => message_of(flows.remove_file(FileId(id)).await?),
        "PluginFlyvemdmPackage" => message_of(flows.remove_package(PackageId(id)).await?),
        "PluginFlyvemdmGeolocation" => message_of(flows.store.remove_position(id).await?),
        "Computer" => message_of(flows.store.remove_computer(id).await?),
        "Entity" => message_of(flows.store.remove_entity(EntityId(id)).await?),
        "User" => people::remove(asked, PersonId(id)).await,
        "PluginFlyvemdmInvitation" => message_of(flows.remove_invitation(InvitationId(id)).await?),
        _ => Err(ApiError::no_method()),
    }
}

/// Fleet, lock, wipe and unenrollment, and questions whose answers are waited for (spec/http.md §5.4). Old and new names mean the same.
async fn agent(asked: &Asked<'_>, id: AgentId, input: &Input) -> Outcome<String> {
    let flows = asked.flows;
    let by = name_of(asked).await?;
    let row = flows.agent(id).await?.ok_or_else(ApiError::no_item)?;
    if let Some(fleet) = number(input.get("plugin_flyvemdm_fleets_id")).filter(|it| *it != row.fleet.0) {
        // One that is only seen from below is refused with a better reason by the move itself.
        let sight = asked.sight(Purpose::Looking);
        let fleets = crate::store::items::item_type("PluginFlyvemdmFleet").ok_or_else(ApiError::no_item)?;
        if flows.store.item(fleets, &sight, fleet).await?.is_none() {
            return Ok(Err("The target fleet does not exists".into()));
        }
        if let Err(refused) = flows.move_agent(id, FleetId(fleet)).await? {
            return Ok(Err(refused.to_string()));
        }
    }
    if let Some(entity) = number(input.get("entities_id")).filter(|it| *it != row.entity.0) {
        let entities = crate::store::items::item_type("Entity").ok_or_else(ApiError::no_item)?;
        if flows.store.item(entities, &asked.sight(Purpose::Changing), entity).await?.is_none() {
            return Ok(Err("The target entity does not exist".into()));
        }
        if let Err(refused) = flows.move_agent_to_entity(id, EntityId(entity)).await? {
            return Ok(Err(refused.to_string()));
        }
    }
    let stays = input.get("enroll_status").and_then(Value::as_str) == Some("enrolled");
    if stays
        && row.enroll_status == "unenrolling"
        && let Err(refused) = flows.cancel_unenrollment(id, &by).await?
    {
        return Ok(Err(refused.to_string()));
    }
    let wipes = input.get("wipe").map(|it| is_on(Some(it)));
    // Wipe wins over lock, be it in the row or in the same input (spec/mqtt.md §7.4).
    let locks =
        input.get("lock").map(|it| is_on(Some(it))).filter(|it| *it != row.lock && !row.wipe && wipes != Some(true));
    if wipes == Some(false) && row.wipe {
        return Ok(Err("A wipe cannot be taken back".into()));
    }
    let mut wishes = Vec::new();
    if wipes == Some(true) && !row.wipe {
        wishes.push("wipe");
    }
    wishes.extend(locks.map(|it| if it { "lock" } else { "unlock" }));
    if ["_unenroll_request", "_unenroll"].iter().any(|it| input.contains_key(*it)) {
        wishes.push("unenroll");
    }
    for wish in wishes {
        if let Err(refused) = flows.command(id, wish, &by).await? {
            return Ok(Err(refused.to_string()));
        }
    }
    let mut message = String::new();
    for (query, names) in [
        ("ping", ["_ping_request", "_ping"]),
        ("geolocate", ["_geolocate_request", "_geolocate"]),
        ("inventory", ["_inventory_request", "_inventory"]),
    ] {
        if names.iter().any(|it| input.contains_key(*it)) {
            match flows.ask(id, query, &by).await? {
                Ok(answered) => message = answered.into(),
                Err(silent) => return Ok(Err(silent)),
            }
        }
    }
    Ok(Ok(message))
}

/// Where a new item goes: where the input says, if the session works there, else the active entity.
pub async fn entity_of(asked: &Asked<'_>, input: &Input) -> Outcome<EntityId> {
    let entity = match input.get("entities_id") {
        None => asked.talk.entity,
        Some(given) => match number(Some(given)) {
            Some(id) => EntityId(id),
            None => return Ok(Err("Invalid data".into())),
        },
    };
    let is_good = asked.flows.store.entity_is_within(entity, &asked.talk.scope).await?;
    Ok(if is_good { Ok(entity) } else { Err("You don't have permission to perform this action.".into()) })
}

/// Who asks, in the rows of what was asked for.
async fn name_of(asked: &Asked<'_>) -> Result<String, ApiError> {
    Ok(asked.flows.profile(asked.talk.speaker).await?.name)
}

fn silent(answer: Result<(), Refused>) -> Outcome<String> {
    message_of(answer.map(|()| String::new()))
}

/// A refusal as a message.
pub fn message_of<T>(answer: Result<T, Refused>) -> Outcome<T> {
    Ok(answer.map_err(|refused| refused.to_string()))
}

/// A member as text; "" when it is absent or no scalar.
pub fn text(input: &Input, name: &str) -> String {
    opt_text(input, name).unwrap_or_default()
}

/// A member as text.
pub fn opt_text(input: &Input, name: &str) -> Option<String> {
    match input.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// As PHP sees it: everything but nothing, 0 and "0".
pub fn is_on(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !matches!(text.as_str(), "" | "0"),
        Some(_) => true,
    }
}
