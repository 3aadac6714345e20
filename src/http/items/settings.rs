//! Settings of entities, with what they inherit (spec/admin.md §5).

use serde_json::{Map, Value, json};

use super::{
    Asked,
    change::{message_of, opt_text},
    write::{Input, Outcome},
};
use crate::{
    flows::tenant::SettingsChange,
    http::{agents::number, error::ApiError},
    ids::EntityId,
    mdm::help_desk::HelpDesk,
};

/// The value is that of an entity above, or of the configuration.
const INHERITED: i64 = -2;
/// The value is the entity's own.
const OWN: i64 = -3;

/// Fills in what is inherited, and marks it, in every item of a page.
pub async fn complete(asked: &Asked<'_>, page: &mut [Map<String, Value>]) -> Result<(), ApiError> {
    let entity_of = |members: &Map<String, Value>| EntityId(number(members.get("id")).unwrap_or_default());
    let entities: Vec<EntityId> = page.iter().map(entity_of).collect();
    let mut shown = asked.flows.help_desks(&entities).await?;
    for (members, entity) in page.iter_mut().zip(entities) {
        fill_in(asked, members, shown.remove(&entity).unwrap_or_default());
    }
    Ok(())
}

fn fill_in(asked: &Asked<'_>, members: &mut Map<String, Value>, shown: HelpDesk) {
    for (name, value) in [
        ("support_name", shown.name),
        ("support_phone", shown.phone),
        ("support_website", shown.website),
        ("support_email", shown.email),
        ("support_address", shown.address),
        ("download_url", shown.download_url),
    ] {
        let is_own = members.get(name).and_then(Value::as_str).is_some_and(|own| !own.is_empty());
        members.insert(format!("_{name}"), json!(if is_own { OWN } else { INHERITED }));
        members.insert(name.into(), value.into());
    }
    if members.get("agent_token_life").is_none_or(Value::is_null) {
        let days = asked.flows.config.enrollment.invitation_life_s.div_ceil(86_400);
        members.insert("agent_token_life".into(), format!("P{days}D").into());
    }
}

/// By an administrator. What equals the inherited value stays inherited; `entities_id`, `enroll_token` and `managed`, which nobody
/// sets, are passed over as Flyve does, so that a dashboard may send back what it read.
pub async fn change(asked: &Asked<'_>, entity: EntityId, input: &Input) -> Outcome<String> {
    let device_limit = match input.get("device_limit") {
        None => None,
        Some(given) => match number(Some(given)) {
            Some(limit) => Some(limit),
            None => return Ok(Err("Invalid data".into())),
        },
    };
    let change = SettingsChange {
        support_name: opt_text(input, "support_name"),
        support_phone: opt_text(input, "support_phone"),
        support_website: opt_text(input, "support_website"),
        support_email: opt_text(input, "support_email"),
        support_address: opt_text(input, "support_address"),
        download_url: opt_text(input, "download_url"),
        token_life: opt_text(input, "agent_token_life"),
        device_limit,
    };
    message_of(asked.flows.change_settings(entity, change).await?.map(|()| String::new()))
}
