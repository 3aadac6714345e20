//! How far tasks got, as agents look it up and report it by HTTP (spec/http.md §6.2). An agent sees its own statuses only.

use axum::{http::StatusCode, response::Response};
use serde_json::{Map, Value, json};

use super::{Request, agent, json as answer, speaker};
use crate::{
    clock::Timestamp,
    flows::{
        Flows,
        administer::Refused,
        session::Speaker,
        task::{StatusFilter, StatusView},
    },
    http::error::ApiError,
    ids::{AgentId, TaskId},
};

/// Its name in paths.
pub const ITEM_TYPE: &str = "PluginFlyvemdmTaskstatus";
/// Criteria that one search may have.
const CRITERIA_MAX: usize = 20;
/// Rows that one answer shows.
const ROWS_MAX: usize = 50;

/// `GET /search/PluginFlyvemdmTaskstatus/?criteria[0][field]=5&…&forcedisplay=2`.
pub async fn search(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let Speaker::Agent(own) = speaker(flows, request).await? else { return Err(ApiError::no_right()) };
    let mut found = match wanted(&request.params, own) {
        Some(filter) => flows.store.task_statuses(filter).await?,
        None => Vec::new(),
    };
    let total = found.len();
    found.truncate(ROWS_MAX);
    let mut body = json!({ "totalcount": total, "count": found.len(), "sort": 2, "order": "ASC" });
    if !found.is_empty() {
        body["data"] = found.iter().map(columns).collect();
        body["content-range"] = format!("0-{}/{total}", found.len() - 1).into();
    }
    let status = if found.len() < total { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    Ok(answer(status, &body))
}

/// Agents ask with `contains` and mean `equals`: agent 1 must not find what agent 10 does. `None`: they contradict one another.
fn wanted(params: &Map<String, Value>, own: AgentId) -> Option<StatusFilter> {
    let mut filter = StatusFilter { agent: Some(own), ..StatusFilter::default() };
    for n in 0..CRITERIA_MAX {
        let part = |name: &str| params.get(&format!("criteria[{n}][{name}]"));
        let Some(field) = agent::number(part("field")) else { continue };
        let value = agent::number(part("value"))?;
        let is_possible = match field {
            2 => filter.id.replace(value).is_none_or(|it| it == value),
            5 => value == own.0,
            6 => filter.task.replace(TaskId(value)).is_none_or(|it| it.0 == value),
            _ => true,
        };
        if !is_possible {
            return None;
        }
    }
    Some(filter)
}

/// A row under the numbers of its columns; agents read `2`.
fn columns(status: &StatusView) -> Value {
    json!({
        "2": status.id,
        "3": Timestamp(status.created_at).glpi(),
        "4": Timestamp(status.updated_at).glpi(),
        "5": status.agent,
        "6": status.task,
    })
}

/// `PUT /PluginFlyvemdmTaskstatus/5` with `{"input":{"status":"done"}}`.
pub async fn report(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let Speaker::Agent(own) = speaker(flows, request).await? else { return Err(ApiError::no_right()) };
    let Some(Value::Object(input)) = request.params.get("input") else { return Err(ApiError::bad_input()) };
    let id = request.id()?.or_else(|| agent::number(input.get("id"))).ok_or_else(ApiError::no_item)?;
    let status = input.get("status").and_then(Value::as_str).unwrap_or_default();
    match flows.hear_task_status(own, id, status).await? {
        Ok(()) => Ok(answer(StatusCode::OK, &json!([{ id.to_string(): true, "message": "" }]))),
        Err(Refused::Absent(_)) => Err(ApiError::no_item()),
        Err(Refused::Conflict(_)) => Err(ApiError::no_right()),
        Err(Refused::Invalid(why)) => Err(ApiError::new(StatusCode::BAD_REQUEST, "ERROR_GLPI_UPDATE", why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criteria_mean_equality_and_never_another_agent() {
        fn check(criteria: &[(&str, &str)], expected: Option<(Option<i64>, Option<i64>)>) {
            let mut params = Map::new();
            for (n, (field, value)) in criteria.iter().enumerate() {
                params.insert(format!("criteria[{n}][field]"), (*field).into());
                params.insert(format!("criteria[{n}][searchtype]"), "contains".into());
                params.insert(format!("criteria[{n}][value]"), (*value).into());
            }
            let found = wanted(&params, AgentId(1));
            assert!(found.is_none_or(|it| it.agent == Some(AgentId(1))));
            assert_eq!(found.map(|it| (it.id, it.task.map(|task| task.0))), expected, "{criteria:?}");
        }
        check(&[("5", "1"), ("6", "41")], Some((None, Some(41))));
        check(&[("5", "10"), ("6", "41")], None);
        check(&[("6", "41"), ("6", "42")], None);
        check(&[("2", "7")], Some((Some(7), None)));
        check(&[], Some((None, None)));
        check(&[("6", "x")], None);
    }
}
