//! Admin tokens. A token goes out once, when it is made.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Error;
use crate::{
    flows::{
        Flows,
        tokens::{MadeToken, TokenView},
    },
    ids::EntityId,
};

type Here = State<Arc<Flows>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    name: String,
    role: String,
    entity: Option<EntityId>,
    days: Option<u32>,
}

pub async fn list(State(flows): Here) -> Result<Json<Vec<TokenView>>, Error> {
    Ok(Json(flows.tokens().await?))
}

pub async fn add(
    State(flows): Here,
    body: Result<Json<New>, JsonRejection>,
) -> Result<(StatusCode, Json<MadeToken>), Error> {
    let Json(new) = body?;
    Ok((StatusCode::CREATED, Json(flows.add_token(&new.name, &new.role, new.entity, new.days).await??)))
}

pub async fn remove(State(flows): Here, Path(name): Path<String>) -> Result<Json<Value>, Error> {
    flows.remove_token(&name).await??;
    Ok(Json(json!({ "name": name, "removed": true })))
}
