//! Certificates of devices: what was issued or seen, and revocation.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Error;
use crate::{
    flows::Flows,
    ids::EntityId,
    store::certificate::{CertificateFilter, CertificateView},
};

type Here = State<Arc<Flows>>;

#[derive(Deserialize)]
pub struct Wanted {
    serial: Option<String>,
    state: Option<String>,
    /// Only those that are taken now and end within so many days.
    expiring_days: Option<u32>,
}

pub async fn list(State(flows): Here, Query(wanted): Query<Wanted>) -> Result<Json<Vec<CertificateView>>, Error> {
    let now = flows.clock.now();
    let within = |days: u32| (now, now.after(Duration::from_secs(u64::from(days) * 86_400)));
    let filter = CertificateFilter {
        serial: wanted.serial,
        serial_number: None,
        state: wanted.state,
        ends_before: wanted.expiring_days.map(within),
        with_pem: false,
    };
    Ok(Json(flows.store.certificates(&filter).await?))
}

/// Those with this number, or else those of the device with this serial.
pub async fn show(State(flows): Here, Path(which): Path<String>) -> Result<Json<Vec<CertificateView>>, Error> {
    let found = flows.certificates_named(&which).await?;
    if found.is_empty() {
        return Err(Error::absent(format!("there is no certificate with the number or for the device {which}")));
    }
    Ok(Json(found))
}

#[derive(Deserialize)]
pub struct Why {
    reason: Option<String>,
}

#[derive(Deserialize)]
pub struct WhereAndWhy {
    entity: Option<EntityId>,
    reason: Option<String>,
}

pub async fn revoke(
    State(flows): Here,
    Path(which): Path<String>,
    Query(wanted): Query<WhereAndWhy>,
) -> Result<Json<Value>, Error> {
    let reason = wanted.reason.unwrap_or_else(|| "unspecified".into());
    let done = flows.revoke_certificates(&which, wanted.entity, &reason).await??;
    Ok(Json(json!({ "revoked": done.serial_numbers, "agents": done.agents, "reason": reason })))
}

pub async fn revoke_all(State(flows): Here, Query(why): Query<Why>) -> Result<Json<Value>, Error> {
    let reason = why.reason.unwrap_or_else(|| "ca_compromise".into());
    let done = flows.revoke_all_certificates(&reason).await??;
    Ok(Json(json!({ "revoked": done.serial_numbers.len(), "agents": done.agents.len(), "reason": reason })))
}
