//! Agents and what is commanded to them.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::Error,
    who::{Who, must_be_seen},
};
use crate::{
    flows::{
        Flows,
        administer::{AgentFilter, AgentView, BAD_LINES_MAX, CommandView},
    },
    ids::{AgentId, CommandId, EntityId, FleetId, MessageId},
    mdm::{audit::Subject, rights::Scope},
    store::{
        items::Purpose,
        message_log::{MESSAGES_LISTED_MAX, MessageFilter, MessageView},
    },
};

type Here = State<Arc<Flows>>;
type Body<T> = Result<Json<T>, JsonRejection>;

#[derive(Deserialize)]
pub struct Wanted {
    serial: Option<String>,
    entity: Option<EntityId>,
    fleet: Option<FleetId>,
}

pub async fn list(State(flows): Here, who: Who, Query(wanted): Query<Wanted>) -> Result<Json<Vec<Value>>, Error> {
    if let Some(entity) = wanted.entity {
        must_be_seen(&who, entity)?;
        if !flows.store.entity_is_within(entity, &Scope::Everything).await? {
            return Err(Error::absent(format!("there is no entity {entity}")));
        }
    }
    let filter = AgentFilter { id: None, serial: wanted.serial, entity: wanted.entity, fleet: wanted.fleet };
    let found = flows.store.agents_like(&filter).await?;
    Ok(Json(found.iter().filter(|it| who.sees(it.entity)).map(|it| view(&flows, it)).collect()))
}

pub async fn show(State(flows): Here, Path(id): Path<AgentId>) -> Result<Json<Value>, Error> {
    let filter = AgentFilter { id: Some(id), ..AgentFilter::default() };
    let found = flows.store.agents_like(&filter).await?;
    found.first().map(|it| Json(view(&flows, it))).ok_or_else(|| Error::absent(format!("there is no agent {id}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentChange {
    entity: Option<EntityId>,
    fleet: Option<FleetId>,
}

pub async fn change(
    State(flows): Here,
    who: Who,
    Path(id): Path<AgentId>,
    body: Body<AgentChange>,
) -> Result<Json<Value>, Error> {
    let Json(change) = body?;
    if let Some(entity) = change.entity {
        must_be_seen(&who, entity)?;
    }
    if let Some(fleet) = change.fleet {
        // One that is only seen from below is refused with a better reason by the move itself.
        flows.must_see(&who, Purpose::Looking, Subject::Fleet, fleet.0).await??;
    }
    if let Some(entity) = change.entity {
        flows.move_agent_to_entity(id, entity).await??;
    }
    if let Some(fleet) = change.fleet {
        flows.move_agent(id, fleet).await??;
    }
    show(State(flows), Path(id)).await
}

pub async fn remove(State(flows): Here, who: Who, Path(id): Path<AgentId>) -> Result<Json<Value>, Error> {
    flows.remove_agent(id, &who.name).await??;
    Ok(Json(json!({ "id": id, "removed": true })))
}

pub async fn cancel_unenrollment(State(flows): Here, who: Who, Path(id): Path<AgentId>) -> Result<Json<Value>, Error> {
    flows.cancel_unenrollment(id, &who.name).await??;
    show(State(flows), Path(id)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCommand {
    name: String,
}

pub async fn command(
    State(flows): Here,
    who: Who,
    Path(id): Path<AgentId>,
    body: Body<NewCommand>,
) -> Result<(StatusCode, Json<Value>), Error> {
    let Json(new) = body?;
    let command = flows.command(id, &new.name, &who.name).await??;
    let state = flows.await_command(command, Duration::ZERO).await?.map(|it| it.state);
    Ok((StatusCode::CREATED, Json(json!({ "command_id": command, "state": state }))))
}

#[derive(Deserialize)]
pub struct WantedCommands {
    serial: Option<String>,
    state: Option<String>,
}

pub async fn list_commands(
    State(flows): Here,
    who: Who,
    Query(wanted): Query<WantedCommands>,
) -> Result<Json<Vec<CommandView>>, Error> {
    let mut found = flows.store.command_views(wanted.serial.as_deref(), wanted.state.as_deref()).await?;
    if let Some(seen) = flows.seen_by(&who).await? {
        found.retain(|it| seen.agents.contains(&it.agent.0));
    }
    Ok(Json(found))
}

#[derive(Deserialize)]
pub struct Patience {
    /// Seconds to wait until the command is settled.
    wait: Option<u64>,
}

pub async fn show_command(
    State(flows): Here,
    Path(id): Path<CommandId>,
    Query(patience): Query<Patience>,
) -> Result<Json<CommandView>, Error> {
    let found = flows.await_command(id, Duration::from_secs(patience.wait.unwrap_or(0))).await?;
    found.map(Json).ok_or_else(|| Error::absent(format!("there is no command {id}")))
}

pub async fn cancel_command(State(flows): Here, who: Who, Path(id): Path<CommandId>) -> Result<Json<Value>, Error> {
    flows.cancel_command(id, &who.name).await??;
    Ok(Json(json!({ "command_id": id, "state": "cancelled" })))
}

#[derive(Deserialize)]
pub struct WantedMessages {
    agent: Option<AgentId>,
    before: Option<MessageId>,
    limit: Option<usize>,
}

pub async fn list_messages(
    State(flows): Here,
    who: Who,
    Query(wanted): Query<WantedMessages>,
) -> Result<Json<Vec<MessageView>>, Error> {
    match wanted.agent {
        Some(agent) => flows.must_see(&who, Purpose::Looking, Subject::Agent, agent.0).await??,
        None if who.sees_everything() => {}
        None => return Err(Error::invalid("a token of one entity must say of which agent")),
    }
    let limit = wanted.limit.unwrap_or(MESSAGES_LISTED_MAX);
    let filter = MessageFilter { agent: wanted.agent, before: wanted.before, limit };
    Ok(Json(flows.messages(&filter).await?))
}

pub async fn import(State(flows): Here, body: Bytes) -> Result<(StatusCode, Json<Value>), Error> {
    match flows.import_agents(&body).await? {
        Ok(count) => Ok((StatusCode::CREATED, Json(json!({ "imported": count })))),
        Err(bad) => {
            let more = if bad.len() < BAD_LINES_MAX { "" } else { " or more" };
            Err(Error::lines(format!("nothing was imported: {}{more} bad lines", bad.len()), &bad))
        }
    }
}

fn view(flows: &Flows, agent: &AgentView) -> Value {
    let slash = if flows.config.mqtt.slashed_topics { "/" } else { "" };
    json!({
        "id": agent.id,
        "serial": agent.serial,
        "entity": agent.entity,
        "fleet": agent.fleet,
        "fleet_name": agent.fleet_name,
        "topic": format!("{slash}{}/agent/{}", agent.topic_entity, agent.serial),
        "name": agent.name,
        "version": agent.version,
        "mdm_type": agent.mdm_type,
        "is_online": agent.is_online,
        "last_contact": agent.last_contact.map(|it| it.rfc3339()),
        "enroll_status": agent.enroll_status,
        "lock": agent.lock_wish == "lock",
        "wipe": agent.wipe,
        "connection": agent.connection,
        "computer": agent.computer,
        "uuid": agent.uuid,
        "model": agent.model,
        "os": agent.os,
        "inventory_at": agent.inventory_at.map(|it| it.rfc3339()),
    })
}
