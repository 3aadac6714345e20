//! The audit: entries, and whether they are whole.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Error;
use crate::{
    flows::{
        Flows,
        audit::{Entry, EntryFilter, Verified},
    },
    ids::EntityId,
    mdm::audit::time_of,
    store::audit::ENTRIES_LISTED_MAX,
};

#[derive(Deserialize)]
pub struct Wanted {
    actor: Option<String>,
    action: Option<String>,
    serial: Option<String>,
    entity: Option<EntityId>,
    /// Milliseconds since 1970.
    since: Option<i64>,
    after: Option<i64>,
    before: Option<i64>,
    limit: Option<usize>,
}

pub async fn list(State(flows): State<Arc<Flows>>, Query(wanted): Query<Wanted>) -> Result<Json<Vec<Value>>, Error> {
    let filter = EntryFilter {
        actor: wanted.actor,
        action: wanted.action,
        serial: wanted.serial,
        entity: wanted.entity,
        since: wanted.since.map(crate::clock::Timestamp),
        after: wanted.after,
        before: wanted.before,
        limit: wanted.limit.unwrap_or(ENTRIES_LISTED_MAX),
    };
    Ok(Json(flows.audit_entries(&filter).await?.iter().map(view).collect()))
}

pub async fn verify(State(flows): State<Arc<Flows>>) -> Result<Json<Verified>, Error> {
    Ok(Json(flows.verify_audit().await?))
}

/// Everything that the hash covers, so that an export can be verified by whoever has the key.
fn view(entry: &Entry) -> Value {
    let mut view = json!(entry);
    view["at"] = time_of(entry).into();
    // What does not parse was not written by us; it is shown as it is.
    view["detail"] = serde_json::from_str(&entry.detail).unwrap_or_else(|_| Value::String(entry.detail.clone()));
    view
}
