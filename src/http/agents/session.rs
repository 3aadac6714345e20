//! initSession, getFullSession, changeActiveProfile and killSession (spec/http.md §3).

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{Request, json as answer, speaker};
use crate::{
    flows::{Flows, session::Speaker},
    http::error::ApiError,
};

/// The profile of invited persons. The number is that of the seeds' example; agents only compare it with itself.
pub const GUEST_PROFILE: i64 = 9;
/// The profile of agent accounts.
pub const AGENT_PROFILE: i64 = 10;

/// The only profile that this speaker has.
fn own_profile(speaker: Speaker) -> (i64, &'static str) {
    match speaker {
        Speaker::Person(_) => (GUEST_PROFILE, "Flyve MDM guest users"),
        Speaker::Agent(_) => (AGENT_PROFILE, "Flyve MDM device agent users"),
    }
}

pub async fn open(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let user_token = request.text("user_token");
    if user_token.is_empty() {
        let has_password = ["login", "password"].iter().all(|it| !request.text(it).is_empty());
        return Err(if has_password {
            let message = "usage of initSession resource with credentials is disabled";
            ApiError::new(StatusCode::BAD_REQUEST, "ERROR_LOGIN_WITH_CREDENTIALS_DISABLED", message)
        } else {
            let message = "parameter(s) login, password or user_token are missing";
            ApiError::new(StatusCode::BAD_REQUEST, "ERROR_LOGIN_PARAMETERS_MISSING", message)
        });
    }
    match flows.open_session(&user_token).await? {
        Some(session_token) => Ok(answer(StatusCode::OK, &json!({"session_token": session_token}))),
        None => {
            let message = "parameter user_token seems invalid";
            Err(ApiError::new(StatusCode::UNAUTHORIZED, "ERROR_GLPI_LOGIN_USER_TOKEN", message))
        }
    }
}

pub async fn close(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    speaker(flows, request).await?;
    flows.close_session(&request.text("session_token")).await?;
    Ok(StatusCode::OK.into_response())
}

/// Agents read the members inside `session`, the documents show them at the top: both are there.
pub async fn show(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let speaker = speaker(flows, request).await?;
    let profile = flows.profile(speaker).await?;
    let (id, name) = own_profile(speaker);
    let glpi_id = match speaker {
        Speaker::Person(person) => person.0,
        Speaker::Agent(agent) => agent.0,
    };
    let session = json!({
        "glpi_plugins": {"1": "flyvemdm", "2": "fusioninventory"},
        "glpiID": glpi_id,
        "glpiname": profile.name,
        "glpirealname": profile.realname,
        "glpifirstname": profile.firstname,
        "glpiactive_entity": profile.entity,
        "glpiactiveentities": {profile.entity.to_string(): profile.entity.to_string()},
        "glpiactiveprofile": {"id": id, "name": name},
        "plugin_flyvemdm_guest_profiles_id": GUEST_PROFILE,
        "plugin_storkmdm_guest_profiles_id": GUEST_PROFILE,
    });
    let mut body = session.clone();
    if let Value::Object(members) = &mut body {
        members.insert("session".into(), session);
    }
    Ok(answer(StatusCode::OK, &body))
}

/// By any method: version 0.99 uses GET.
pub async fn change_profile(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let speaker = speaker(flows, request).await?;
    let wanted = request.text("profiles_id");
    if wanted.is_empty() {
        return Err(ApiError::bad_request());
    }
    if wanted.parse() == Ok(own_profile(speaker).0) {
        Ok(answer(StatusCode::OK, &Value::Bool(true)))
    } else {
        Err(ApiError::no_item())
    }
}
