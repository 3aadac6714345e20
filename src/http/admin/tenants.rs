//! Tenants, fleets and service accounts.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::Error,
    who::{Who, must_be_seen, whose},
};
use crate::{
    flows::{
        Flows,
        administer::{AccountView, EntityView, FleetChange, FleetView, NewFleet, Opened},
        tenant::{SettingsChange, SettingsView},
    },
    ids::{EntityId, FleetId},
};

type Here = State<Arc<Flows>>;
type Body<T> = Result<Json<T>, JsonRejection>;

pub async fn list_entities(State(flows): Here, who: Who) -> Result<Json<Vec<EntityView>>, Error> {
    let mut found = flows.store.entities().await?;
    found.retain(|it| who.sees(it.id));
    Ok(Json(found))
}

pub async fn show_entity(State(flows): Here, Path(id): Path<EntityId>) -> Result<Json<EntityView>, Error> {
    let found = flows.store.entities().await?.into_iter().find(|it| it.id == id);
    found.map(Json).ok_or_else(|| Error::absent(format!("there is no entity {id}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEntity {
    name: String,
    parent: Option<EntityId>,
    id: Option<EntityId>,
}

pub async fn add_entity(
    State(flows): Here,
    who: Who,
    body: Body<NewEntity>,
) -> Result<(StatusCode, Json<Value>), Error> {
    let Json(new) = body?;
    let parent = new.parent.unwrap_or(EntityId::ROOT);
    must_be_seen(&who, parent)?;
    if new.id.is_some() && !who.sees_everything() {
        let why = format!("choosing the number of an entity needs a token of all entities, which {} is not", who.name);
        return Err(Error::forbidden(why));
    }
    let id = flows.add_entity(&new.name, parent, new.id).await??;
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "name": new.name.trim() }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntityChange {
    name: Option<String>,
    parent: Option<EntityId>,
}

pub async fn change_entity(
    State(flows): Here,
    who: Who,
    Path(id): Path<EntityId>,
    body: Body<EntityChange>,
) -> Result<Json<EntityView>, Error> {
    let Json(change) = body?;
    if let Some(parent) = change.parent {
        must_be_seen(&who, parent)?;
    }
    flows.change_entity(id, change.name.as_deref(), change.parent).await??;
    show_entity(State(flows), Path(id)).await
}

pub async fn show_settings(State(flows): Here, Path(id): Path<EntityId>) -> Result<Json<SettingsView>, Error> {
    flows.settings_of(id).await?.map(Json).ok_or_else(|| Error::absent(format!("there is no entity {id}")))
}

/// An empty text is inherited.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSettings {
    name: Option<String>,
    phone: Option<String>,
    website: Option<String>,
    email: Option<String>,
    address: Option<String>,
    download_url: Option<String>,
    token_life_days: Option<u32>,
    device_limit: Option<i64>,
}

pub async fn change_settings(
    State(flows): Here,
    Path(id): Path<EntityId>,
    body: Body<NewSettings>,
) -> Result<Json<SettingsView>, Error> {
    let Json(new) = body?;
    let change = SettingsChange {
        support_name: new.name,
        support_phone: new.phone,
        support_website: new.website,
        support_email: new.email,
        support_address: new.address,
        download_url: new.download_url,
        token_life: new.token_life_days.map(|days| format!("P{days}D")),
        device_limit: new.device_limit,
    };
    flows.change_settings(id, change).await??;
    show_settings(State(flows), Path(id)).await
}

pub async fn remove_entity(State(flows): Here, Path(id): Path<EntityId>) -> Result<Json<Value>, Error> {
    flows.store.remove_entity(id).await??;
    Ok(Json(json!({ "id": id, "removed": true })))
}

#[derive(Deserialize)]
pub struct OfEntity {
    entity: Option<EntityId>,
}

pub async fn list_fleets(
    State(flows): Here,
    who: Who,
    Query(of): Query<OfEntity>,
) -> Result<Json<Vec<FleetView>>, Error> {
    Ok(Json(flows.store.fleets(of.entity, who.scope()).await?))
}

pub async fn show_fleet(State(flows): Here, who: Who, Path(id): Path<FleetId>) -> Result<Json<FleetView>, Error> {
    let found = flows.store.fleet(id, who.scope()).await?;
    found.map(Json).ok_or_else(|| Error::absent(format!("there is no fleet {id}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WantedFleet {
    name: String,
    entity: Option<EntityId>,
    is_recursive: Option<bool>,
}

pub async fn add_fleet(
    State(flows): Here,
    who: Who,
    body: Body<WantedFleet>,
) -> Result<(StatusCode, Json<Value>), Error> {
    let Json(new) = body?;
    let entity = whose(&who, new.entity)?;
    let is_recursive = new.is_recursive.unwrap_or_default();
    let name = new.name.trim().to_owned();
    let id = flows.add_fleet(NewFleet { entity, name: name.clone(), is_recursive }).await??;
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "entity": entity, "name": name, "is_recursive": is_recursive }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangedFleet {
    name: Option<String>,
    is_recursive: Option<bool>,
}

pub async fn change_fleet(
    State(flows): Here,
    who: Who,
    Path(id): Path<FleetId>,
    body: Body<ChangedFleet>,
) -> Result<Json<FleetView>, Error> {
    let Json(ChangedFleet { name, is_recursive }) = body?;
    flows.change_fleet(id, FleetChange { name, is_recursive }).await??;
    show_fleet(State(flows), who, Path(id)).await
}

pub async fn remove_fleet(State(flows): Here, Path(id): Path<FleetId>) -> Result<Json<Value>, Error> {
    let moved = flows.remove_fleet(id).await??;
    Ok(Json(json!({ "id": id, "removed": true, "agents_moved": moved.len() })))
}

pub async fn list_accounts(State(flows): Here) -> Result<Json<Vec<AccountView>>, Error> {
    Ok(Json(flows.store.accounts().await?))
}

pub async fn show_account(State(flows): Here, Path(name): Path<String>) -> Result<Json<AccountView>, Error> {
    let found = flows.store.accounts().await?.into_iter().find(|it| it.name == name);
    found.map(Json).ok_or_else(|| Error::absent(format!("there is no account {name}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    name: String,
    acl: Vec<String>,
    entity: Option<EntityId>,
}

pub async fn add_account(State(flows): Here, body: Body<NewAccount>) -> Result<(StatusCode, Json<Opened>), Error> {
    let Json(new) = body?;
    Ok((StatusCode::CREATED, Json(flows.open_account(&new.name, &new.acl, new.entity).await??)))
}

pub async fn remove_account(State(flows): Here, Path(name): Path<String>) -> Result<Json<Value>, Error> {
    flows.close_account(&name).await??;
    Ok(Json(json!({ "name": name, "removed": true })))
}
