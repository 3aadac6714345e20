//! The item type of agents: enroll, show, hear (spec/http.md §4, §5).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{Request, actor_of, json as answer, speaker};
use crate::{
    flows::{
        Flows,
        audit::on_behalf,
        enroll::{Said, Settings, said},
        session::Speaker,
    },
    http::error::ApiError,
    ids::AgentId,
    mdm::enroll::certificate_request,
    store::enroll::AgentRow,
};

/// Objects in one `input`.
const INPUTS_MAX: usize = 20;

/// The members of one object in `input`.
type Input = Map<String, Value>;

/// The objects in `input`, and whether it was a list.
fn inputs(request: &Request) -> Result<(Vec<&Input>, bool), ApiError> {
    match request.params.get("input") {
        Some(Value::Object(one)) => Ok((vec![one], false)),
        Some(Value::Array(many)) if (1..=INPUTS_MAX).contains(&many.len()) => {
            let objects: Option<Vec<_>> = many.iter().map(Value::as_object).collect();
            objects.map(|it| (it, true)).ok_or_else(ApiError::bad_input)
        }
        _ => Err(ApiError::bad_input()),
    }
}

pub async fn enroll(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let speaker = speaker(flows, request).await?;
    let (inputs, is_list) = inputs(request)?;
    if let Speaker::Agent(_) = speaker {
        let message = "You don't have permission to perform this action.";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "ERROR_GLPI_ADD", message));
    }
    let mut results = Vec::new();
    let mut refusal = None;
    let mut last = None;
    let mut is_wrong_secret = false;
    for input in inputs {
        match on_behalf(actor_of(&speaker), flows.enroll(speaker, input)).await? {
            Ok(agent) => {
                last = Some(agent);
                results.push(json!({"id": agent, "message": ""}));
            }
            Err(reason) => {
                is_wrong_secret |= reason.is_wrong_secret();
                let explain = flows.config.enrollment.explain_refusals;
                let message = if explain { reason.to_string() } else { "Enrollment failed".into() };
                results.push(json!({"id": false, "message": message}));
                refusal = Some(message);
            }
        }
    }
    let (Some(agent), None) = (last, &refusal) else {
        let answer = failed(last.is_some(), "ERROR_GLPI_PARTIAL_ADD", "ERROR_GLPI_ADD", results, refusal);
        return answer.map_err(|it| if is_wrong_secret { it.for_wrong_secret() } else { it });
    };
    // The seeds show 200 where GLPI says 201, and agents take both (design.md).
    let body = if is_list { Value::Array(results) } else { results.swap_remove(0) };
    let mut response = answer(StatusCode::OK, &body);
    let location = format!("{}/{}/{agent}", flows.config.http.public_url, request.endpoint());
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Some of a list failed (207), or all of it (400).
fn failed(
    is_partial: bool,
    partial: &str,
    code: &'static str,
    results: Vec<Value>,
    message: Option<String>,
) -> Result<Response, ApiError> {
    if is_partial {
        Ok(axum::response::IntoResponse::into_response((
            StatusCode::MULTI_STATUS,
            json!([partial, results]).to_string(),
        )))
    } else {
        Err(ApiError::new(StatusCode::BAD_REQUEST, code, message.unwrap_or_default()))
    }
}

pub async fn show(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let speaker = speaker(flows, request).await?;
    let Some(id) = request.id()? else {
        let agents = flows.agents_of(speaker).await?;
        let columns = agents.iter().map(|it| Value::Object(columns(flows, it)));
        return Ok(answer(StatusCode::OK, &columns.collect()));
    };
    let agent = flows.agent(AgentId(id)).await?.ok_or_else(ApiError::no_item)?;
    let mut body = columns(flows, &agent);
    if Speaker::Agent(agent.id) != speaker {
        if !speaker.enrolled(&agent) {
            return Err(ApiError::no_right());
        }
        // HEAD would make a password that nobody sees.
        if request.method == axum::http::Method::GET {
            add_settings(&mut body, flows.settings(&agent).await?.ok_or_else(ApiError::no_item)?);
        }
    }
    if let Some(at) = flows.renew_after(&agent.certificate) {
        body.insert("certificate_renew_after".into(), at.glpi().into());
    }
    let token = flows.secret_key.agent_token(agent.id, agent.created_at);
    body.insert("api_token".into(), token.into());
    Ok(answer(StatusCode::OK, &Value::Object(body)))
}

/// The columns of the row, under GLPI's names.
fn columns(flows: &Flows, agent: &AgentRow) -> Map<String, Value> {
    let base = &flows.config.http.public_url;
    let link = |rel: &str, id: i64| json!({"rel": rel, "href": format!("{base}/{rel}/{id}")});
    let body = json!({
        "id": agent.id,
        "name": agent.name,
        "version": agent.version,
        "computers_id": agent.computer,
        "users_id": agent.person.map_or(0, |it| it.0),
        "wipe": i64::from(agent.wipe),
        "lock": i64::from(agent.lock),
        "enroll_status": agent.enroll_status,
        "entities_id": agent.entity,
        "plugin_flyvemdm_fleets_id": agent.fleet,
        "last_report": null,
        "last_contact": agent.last_contact.map(crate::clock::Timestamp::glpi),
        "is_online": i64::from(agent.is_online),
        "certificate": agent.certificate,
        "mdm_type": agent.mdm_type,
        "has_system_permission": i64::from(agent.has_system_permission),
        "notification_type": agent.notification_type,
        "notification_token": agent.notification_token,
        "links": [
            link("Computer", agent.computer.0),
            link("Entity", agent.entity.0),
            link("PluginFlyvemdmFleet", agent.fleet.0),
        ],
    });
    match body {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn add_settings(body: &mut Map<String, Value>, settings: Settings) {
    let members = [
        ("topic", Value::from(settings.topic)),
        ("mqttpasswd", settings.mqtt_password.as_str().into()),
        ("broker", settings.told.broker.into()),
        ("port", settings.told.port.into()),
        ("tls", i64::from(settings.told.tls).into()),
        // Two c in the first: that is its name.
        ("android_bugcollecctor_url", "".into()),
        ("android_bugcollector_login", "".into()),
        ("android_bugcollector_passwd", "".into()),
    ];
    body.extend(members.map(|(name, value)| (name.to_owned(), value)));
}

pub async fn hear(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let speaker = speaker(flows, request).await?;
    let in_path = request.id()?;
    let (inputs, _) = inputs(request)?;
    let mut results = Vec::new();
    let mut refusal = None;
    let mut is_any_done = false;
    for input in inputs {
        let id = in_path.or_else(|| number(input.get("id")).or_else(|| number(request.params.get("id"))));
        let agent = own_agent(flows, speaker, id.ok_or_else(ApiError::no_item)?).await?;
        match hear_one(flows, &agent, input).await? {
            Ok(certificate) => {
                is_any_done = true;
                let mut result = json!({agent.id.to_string(): true, "message": ""});
                if let Some(pem) = certificate {
                    result["certificate"] = pem.into();
                }
                results.push(result);
            }
            Err(message) => {
                results.push(json!({agent.id.to_string(): false, "message": message}));
                refusal = Some(message);
            }
        }
    }
    match refusal {
        None => Ok(answer(StatusCode::OK, &Value::Array(results))),
        refusal => failed(is_any_done, "ERROR_GLPI_PARTIAL_UPDATE", "ERROR_GLPI_UPDATE", results, refusal),
    }
}

/// One report. With a `csr` in it the agent asks for its next certificate, which is the answer.
async fn hear_one(flows: &Flows, agent: &AgentRow, input: &Input) -> Result<Result<Option<String>, String>, ApiError> {
    let said = match said(input) {
        Ok(said) => said,
        Err(message) => return Ok(Err(message.to_owned())),
    };
    let csr = certificate_request(input);
    let certificate = if csr.trim().is_empty() {
        None
    } else {
        match flows.renew_certificate(agent, &csr).await? {
            Ok(pem) => Some(pem),
            Err(why) => return Ok(Err(why)),
        }
    };
    flows.hear(agent, said).await?;
    Ok(Ok(certificate))
}

/// A report that is no JSON: one released agent sends the bare word of a task status to its own item. It is refused as GLPI does, but
/// the agent was heard (spec/http.md §6.2).
pub async fn note_contact(flows: &Flows, request: &Request) -> Result<(), ApiError> {
    let is_update = matches!(request.method.as_str(), "PUT" | "PATCH");
    let word = request.bare_body.as_deref().unwrap_or_default().trim();
    if is_update && matches!(word, "done" | "failed" | "received" | "waiting") {
        let speaker = speaker(flows, request).await?;
        if let Some(id) = request.id()? {
            let agent = own_agent(flows, speaker, id).await?;
            flows.hear(&agent, Said::default()).await?;
        }
    }
    Ok(())
}

/// Only the agent itself reports; administrators have an API of their own.
async fn own_agent(flows: &Flows, speaker: Speaker, id: i64) -> Result<AgentRow, ApiError> {
    let agent = flows.agent(AgentId(id)).await?.ok_or_else(ApiError::no_item)?;
    if Speaker::Agent(agent.id) == speaker { Ok(agent) } else { Err(ApiError::no_right()) }
}

pub fn number(value: Option<&Value>) -> Option<i64> {
    match value {
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    }
}
