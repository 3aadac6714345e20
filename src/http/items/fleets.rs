//! Fleets: made and changed (spec/admin.md §6).

use serde_json::Value;

use super::{
    Asked,
    change::{is_on, message_of, opt_text, text},
    write::{Input, Outcome},
};
use crate::{
    flows::administer::{FleetChange, NewFleet},
    http::error::ApiError,
    ids::{EntityId, FleetId},
    mdm::rights::Scope,
};

const DEFAULT_STAYS: &str = "Which fleet of an entity is the default one cannot be changed";

pub async fn create(asked: &Asked<'_>, entity: EntityId, input: &Input) -> Outcome<i64> {
    if is_on(input.get("is_default")) {
        return Ok(Err(DEFAULT_STAYS.into()));
    }
    let new = NewFleet { entity, name: text(input, "name"), is_recursive: is_on(input.get("is_recursive")) };
    message_of(asked.flows.add_fleet(new).await?.map(|it| it.0))
}

pub async fn change(asked: &Asked<'_>, id: FleetId, input: &Input) -> Outcome<String> {
    let now = asked.flows.store.fleet(id, &Scope::Everything).await?.ok_or_else(ApiError::no_item)?;
    let switch = |name: &str| input.get(name).filter(|it| **it != Value::Null).map(|it| is_on(Some(it)));
    if switch("is_default").is_some_and(|it| it != now.is_default) {
        return Ok(Err(DEFAULT_STAYS.into()));
    }
    let change = FleetChange { name: opt_text(input, "name"), is_recursive: switch("is_recursive") };
    message_of(asked.flows.change_fleet(id, change).await?.map(|()| String::new()))
}
