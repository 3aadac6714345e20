//! Sessions: opening and closing, the active profile and entity (spec/http.md §3). The same for agents, guests and those who administer.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use subtle::ConstantTimeEq;

use super::{Api, Request, conversation, json as answer, speaker};
use crate::{
    flows::{
        Flows,
        session::{Conversation, Speaker},
    },
    http::error::ApiError,
    ids::EntityId,
    mdm::rights::{AGENT_PROFILE, AGENT_PROFILE_TITLE, Profile, Scope},
};

/// The active profile of the session.
fn active(talk: &Conversation) -> (i64, &'static str) {
    match talk.speaker {
        Speaker::Person(_) | Speaker::Invited(..) => (talk.role.number(), talk.role.title()),
        Speaker::Agent(_) => (AGENT_PROFILE, AGENT_PROFILE_TITLE),
    }
}

pub async fn open(api: &Api, request: &Request) -> Result<Response, ApiError> {
    let opened = |session_token: String| Ok(answer(StatusCode::OK, &json!({"session_token": session_token})));
    let user_token = request.text("user_token");
    if user_token.is_empty() {
        return open_with_password(&api.flows, request).await.and_then(opened);
    }
    let is_administrator =
        api.administrator.as_ref().is_some_and(|it| it.as_bytes().ct_eq(user_token.as_bytes()).into());
    let session = if is_administrator {
        api.flows.open_administrator_session().await?
    } else {
        api.flows.open_session(&user_token).await?
    };
    match session {
        Some(session_token) => opened(session_token),
        None => {
            let message = "parameter user_token seems invalid";
            Err(ApiError::new(StatusCode::UNAUTHORIZED, "ERROR_GLPI_LOGIN_USER_TOKEN", message).for_wrong_secret())
        }
    }
}

async fn open_with_password(flows: &Flows, request: &Request) -> Result<String, ApiError> {
    let (login, password) = (request.text("login"), request.text("password"));
    if login.is_empty() || password.is_empty() {
        let message = "parameter(s) login, password or user_token are missing";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "ERROR_LOGIN_PARAMETERS_MISSING", message));
    }
    match flows.open_session_with_password(&login, &password).await? {
        Ok(Some(session_token)) => Ok(session_token),
        Ok(None) => {
            let message = "Incorrect username or password";
            Err(ApiError::new(StatusCode::UNAUTHORIZED, "ERROR_GLPI_LOGIN", message).for_wrong_secret())
        }
        Err(crowded) => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ERROR", crowded.to_string())),
    }
}

pub async fn close(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    speaker(flows, request).await?;
    flows.close_session(&request.text("session_token")).await?;
    Ok(StatusCode::OK.into_response())
}

/// Agents read the members inside `session`, the documents show them at the top: both are there.
pub async fn show(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let talk = conversation(flows, request).await?;
    let profile = flows.profile(talk.speaker).await?;
    let (id, name) = active(&talk);
    let glpi_id = match talk.speaker {
        Speaker::Person(person) | Speaker::Invited(person, _) => person.0,
        Speaker::Agent(agent) => agent.0,
    };
    let guest = Profile::Guest.number();
    let mut session = json!({
        "glpi_plugins": {"1": "flyvemdm", "2": "fusioninventory"},
        "glpiID": glpi_id,
        "glpiname": profile.name,
        "glpirealname": profile.realname,
        "glpifirstname": profile.firstname,
        "glpiactive_entity": profile.entity,
        "glpiactiveentities": {profile.entity.to_string(): profile.entity.to_string()},
        "glpiactiveprofile": {"id": id, "name": name},
        "plugin_flyvemdm_guest_profiles_id": guest,
        "plugin_storkmdm_guest_profiles_id": guest,
    });
    if talk.role.is_staff() {
        let entities = flows.store.entities_within(&talk.scope).await?;
        let name = entities.iter().find(|it| it.0 == talk.entity).map_or("", |it| it.1.as_str());
        session["glpiactive_entity"] = json!(talk.entity);
        session["glpiactive_entity_name"] = json!(name);
        session["glpiactive_entity_recursive"] = json!(talk.terms.narrowed.is_none_or(|it| it.1));
        session["glpiactiveentities"] =
            entities.iter().map(|(id, _)| (id.to_string(), Value::String(id.to_string()))).collect();
        session["glpishowallentities"] = json!(i64::from(talk.scope == Scope::Everything));
        session["glpiactiveprofile"] = profile_of(flows, &talk, talk.role).await?;
        session["glpiprofiles"] =
            profiles(flows, &talk).await?.into_iter().map(|it| (it["id"].to_string(), it)).collect();
    }
    let mut body = session.clone();
    if let Value::Object(members) = &mut body {
        members.insert("session".into(), session);
    }
    Ok(answer(StatusCode::OK, &body))
}

/// By any method: version 0.99 uses GET.
pub async fn change_profile(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let talk = conversation(flows, request).await?;
    let wanted = request.text("profiles_id");
    if wanted.is_empty() {
        return Err(ApiError::bad_request());
    }
    let is_active = wanted.parse() == Ok(active(&talk).0);
    let is_changed = match (talk.speaker, wanted.parse().ok().and_then(Profile::numbered)) {
        (Speaker::Person(_) | Speaker::Invited(..), Some(profile)) if !is_active => {
            flows.become_profile(&request.text("session_token"), &talk, profile).await?
        }
        _ => is_active,
    };
    if is_changed { Ok(answer(StatusCode::OK, &Value::Bool(true))) } else { Err(ApiError::no_item()) }
}

/// `entities_id` is a number or "all", `is_recursive` a switch.
pub async fn change_entities(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let talk = conversation(flows, request).await?;
    if !talk.role.is_staff() {
        return Err(ApiError::no_right());
    }
    let wanted = request.text("entities_id");
    let to = match wanted.as_str() {
        "" | "all" => None,
        number => {
            let entity = number.parse().map_err(|_| ApiError::bad_request())?;
            Some((EntityId(entity), request.is_on("is_recursive")))
        }
    };
    if flows.narrow(&request.text("session_token"), &talk, to).await? {
        Ok(answer(StatusCode::OK, &Value::Bool(true)))
    } else {
        Err(ApiError::bad_request())
    }
}

pub async fn my_profiles(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let talk = conversation(flows, request).await?;
    Ok(answer(StatusCode::OK, &json!({"myprofiles": profiles(flows, &talk).await?})))
}

pub async fn active_profile(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let talk = conversation(flows, request).await?;
    Ok(answer(StatusCode::OK, &json!({"active_profile": profile_of(flows, &talk, talk.role).await?})))
}

/// The entities of the active profile, with those below them.
pub async fn my_entities(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let talk = conversation(flows, request).await?;
    let scope = match talk.speaker {
        Speaker::Agent(_) => talk.scope,
        Speaker::Person(_) | Speaker::Invited(..) => Scope::of(&talk.grants_of(talk.role), None),
    };
    let entities = flows.store.entities_within(&scope).await?;
    let list: Vec<Value> = entities.iter().map(|(id, name)| json!({"id": id, "name": name})).collect();
    Ok(answer(StatusCode::OK, &json!({"myentities": list})))
}

pub async fn active_entities(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let talk = conversation(flows, request).await?;
    let entities = flows.store.entities_within(&talk.scope).await?;
    let list: Vec<Value> = entities.iter().map(|(id, _)| json!({"id": id})).collect();
    let is_recursive = talk.terms.narrowed.is_none_or(|it| it.1);
    let active = json!({"id": talk.entity, "active_entity_recursive": is_recursive, "active_entities": list});
    Ok(answer(StatusCode::OK, &json!({"active_entity": active})))
}

/// The profiles that the session may have.
async fn profiles(flows: &Flows, talk: &Conversation) -> Result<Vec<Value>, ApiError> {
    let mut profiles = Vec::new();
    if let Speaker::Agent(_) = talk.speaker {
        return Ok(vec![profile_of(flows, talk, talk.role).await?]);
    }
    for profile in Profile::ALL.into_iter().filter(|it| talk.may_become(*it)) {
        profiles.push(profile_of(flows, talk, profile).await?);
    }
    Ok(profiles)
}

/// A profile with the entities on which it was given.
async fn profile_of(flows: &Flows, talk: &Conversation, profile: Profile) -> Result<Value, ApiError> {
    let (id, title) = match talk.speaker {
        Speaker::Agent(_) => active(talk),
        Speaker::Person(_) | Speaker::Invited(..) => (profile.number(), profile.title()),
    };
    let mut entities = Vec::new();
    for grant in talk.grants_of(profile) {
        let own = Scope::Entities(vec![(grant.entity, false)]);
        let name = flows.store.entities_within(&own).await?.into_iter().next().map(|it| it.1);
        let is_recursive = i64::from(grant.is_recursive);
        entities.push(json!({"id": grant.entity, "name": name, "is_recursive": is_recursive}));
    }
    Ok(json!({"id": id, "name": title, "entities": entities}))
}
