//! Policies and the tasks that apply them.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{error::Error, who::Who};
use crate::{
    flows::{
        Flows,
        administer::Refused,
        task::{NewTask, TaskFilter, TaskView, TaskWithStatuses},
    },
    ids::{AgentId, FileId, FleetId, PackageId, TaskId},
    mdm::{
        audit::Subject,
        policy::{self, CATEGORIES, ItemId, Kind, POLICIES, Policy, Target},
    },
    store::items::Purpose,
};

type Here = State<Arc<Flows>>;
type Body<T> = Result<Json<T>, JsonRejection>;

pub async fn list_policies() -> Json<Vec<Value>> {
    Json(POLICIES.iter().map(policy_view).collect())
}

pub async fn show_policy(Path(symbol): Path<String>) -> Result<Json<Value>, Error> {
    let found = policy::by_symbol(&symbol).ok_or_else(|| Error::absent(format!("there is no policy {symbol}")))?;
    Ok(Json(policy_view(found)))
}

#[derive(Deserialize)]
pub struct Wanted {
    fleet: Option<FleetId>,
    agent: Option<AgentId>,
}

pub async fn list(State(flows): Here, who: Who, Query(wanted): Query<Wanted>) -> Result<Json<Vec<TaskView>>, Error> {
    let filter = TaskFilter { id: None, fleet: wanted.fleet, agent: wanted.agent };
    let mut found = flows.store.tasks(filter).await?;
    if let Some(seen) = flows.seen_by(&who).await? {
        let is_seen = |it: &TaskView| {
            it.fleet.is_some_and(|it| seen.fleets.contains(&it.0))
                || it.agent.is_some_and(|it| seen.agents.contains(&it.0))
        };
        found.retain(is_seen);
    }
    Ok(Json(found))
}

pub async fn show(State(flows): Here, Path(id): Path<TaskId>) -> Result<Json<Value>, Error> {
    let found = flows.task(id).await?;
    found.map(|it| Json(view(&it))).ok_or_else(|| Error::absent(format!("there is no task {id}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct New {
    fleet: Option<FleetId>,
    agent: Option<AgentId>,
    policy: String,
    value: Value,
    file: Option<FileId>,
    package: Option<PackageId>,
}

pub async fn add(State(flows): Here, who: Who, body: Body<New>) -> Result<(StatusCode, Json<Value>), Error> {
    let Json(new) = body?;
    let target = match (new.fleet, new.agent) {
        (Some(fleet), None) => Target::Fleet(fleet),
        (None, Some(agent)) => Target::Agent(agent),
        _ => return Err(invalid("Notifiable and policy must be specified").into()),
    };
    let policy = policy::by_symbol(&new.policy).ok_or_else(|| invalid("Policy not found"))?;
    let item = item(new.file, new.package)?;
    match target {
        Target::Fleet(id) => flows.must_see(&who, Purpose::Changing, Subject::Fleet, id.0).await??,
        Target::Agent(id) => flows.must_see(&who, Purpose::Changing, Subject::Agent, id.0).await??,
    }
    must_see_item(&flows, &who, item).await?;
    let id = flows.add_task(NewTask { target, policy, value: new.value, item }).await??;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    value: Value,
    file: Option<FileId>,
    package: Option<PackageId>,
}

pub async fn change(
    State(flows): Here,
    who: Who,
    Path(id): Path<TaskId>,
    body: Body<Changed>,
) -> Result<Json<Value>, Error> {
    let Json(changed) = body?;
    let item = item(changed.file, changed.package)?;
    must_see_item(&flows, &who, item).await?;
    flows.change_task(id, changed.value, item).await??;
    show(State(flows), Path(id)).await
}

pub async fn remove(State(flows): Here, Path(id): Path<TaskId>) -> Result<Json<Value>, Error> {
    flows.remove_task(id).await??;
    Ok(Json(json!({ "id": id, "removed": true })))
}

fn item(file: Option<FileId>, package: Option<PackageId>) -> Result<Option<ItemId>, Refused> {
    match (file, package) {
        (None, None) => Ok(None),
        (Some(file), None) => Ok(Some(ItemId::File(file))),
        (None, Some(package)) => Ok(Some(ItemId::Package(package))),
        (Some(_), Some(_)) => Err(invalid("a task deploys a file or a package, not both")),
    }
}

async fn must_see_item(flows: &Flows, who: &Who, item: Option<ItemId>) -> Result<(), Error> {
    match item {
        None => {}
        Some(ItemId::File(id)) => flows.must_see(who, Purpose::Looking, Subject::File, id.0).await??,
        Some(ItemId::Package(id)) => flows.must_see(who, Purpose::Looking, Subject::Package, id.0).await??,
    }
    Ok(())
}

fn invalid(why: &str) -> Refused {
    Refused::Invalid(why.to_owned())
}

fn view(found: &TaskWithStatuses) -> Value {
    let status = |it: &crate::flows::task::StatusView| {
        let since = crate::clock::Timestamp(it.updated_at).rfc3339();
        json!({ "id": it.id, "agent": it.agent, "serial": it.serial, "status": it.status, "since": since })
    };
    let mut view = json!(found.task);
    view["statuses"] = found.statuses.iter().map(status).collect();
    view
}

fn policy_view(policy: &Policy) -> Value {
    let category = CATEGORIES.iter().find(|it| it.id == policy.category);
    let values = match policy.kind {
        Kind::Dropdown(keys) => keys.iter().map(|(key, _)| *key).collect(),
        Kind::Bool => vec!["0", "1"],
        _ => Vec::new(),
    };
    let min = if let Kind::Int { min } = policy.kind { Some(min) } else { None };
    json!({
        "id": policy.id,
        "symbol": policy.symbol,
        "name": policy.name,
        "group": policy.group,
        "category": category.map(|it| it.complete_name()),
        "type": policy.kind.as_str(),
        "values": values,
        "min": min,
        "default": policy.default,
        "recommended": policy.recommended,
        "android_min": policy.android_min,
        "needs_system_app": policy.needs_system_app,
        "is_unique": policy.is_unique(),
    })
}
