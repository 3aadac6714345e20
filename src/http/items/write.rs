//! Making, changing and removing items, one or many in a request (spec/http.md §1.3). What a change means is in `change`.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Map, Value, json};

use super::{Asked, answer, change, failures, people};
use crate::{
    http::{agents::number, error::ApiError},
    ids::PersonId,
    mdm::rights::Verb,
    store::items::{ItemType, Purpose},
};

/// Objects in one `input`.
const INPUTS_MAX: usize = 100;
const NO_RIGHT: &str = "You don't have permission to perform this action.";
const NO_ITEM: &str = "Item not found";

/// The members of one object in `input`.
pub type Input = Map<String, Value>;

/// What became of one input: a message for people either way.
pub type Outcome<T> = Result<Result<T, String>, ApiError>;

pub async fn create(asked: &Asked<'_>, of: &'static ItemType) -> Result<Response, ApiError> {
    let (inputs, is_list) = inputs(asked)?;
    let mut results = Vec::new();
    let mut last = None;
    let mut failed = 0;
    for input in &inputs {
        let made =
            if asked.may(of, Verb::Create) { change::create(asked, of, input).await? } else { Err(NO_RIGHT.into()) };
        match made {
            Ok(id) => {
                last = Some(id);
                results.push(json!({"id": id, "message": ""}));
            }
            Err(message) => {
                failed += 1;
                results.push(json!({"id": false, "message": message}));
            }
        }
    }
    match last {
        Some(id) if failed == 0 => {
            let body = if is_list { Value::Array(results) } else { results.swap_remove(0) };
            let mut response = answer(StatusCode::CREATED, &body);
            let location = format!("{}/{}/{id}", asked.flows.config.http.public_url, of.name);
            if let Ok(location) = HeaderValue::try_from(location) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            Ok(response)
        }
        _ => failed_all_or_some(&results, is_list, failed, "ERROR_GLPI_ADD", "ERROR_GLPI_PARTIAL_ADD"),
    }
}

pub async fn update(asked: &Asked<'_>, of: &'static ItemType, in_path: Option<i64>) -> Result<Response, ApiError> {
    let (inputs, is_list) = inputs(asked)?;
    let mut results = Vec::new();
    let mut failed = 0;
    for input in &inputs {
        let id = id_of(asked, input, in_path)?;
        let done = match reach(asked, of, id, Verb::Update).await {
            // People may change some things about themselves, whatever their profile (spec/http.md §6.4).
            Err(_) if people::is_self(asked, of, id).await? => people::change_self(asked, PersonId(id), input).await?,
            Ok(()) => change::update(asked, of, id, input).await?,
            Err(refused) if is_list => Err(refused.message),
            Err(refused) => return Err(refused),
        };
        failed += usize::from(done.is_err());
        let is_done = done.is_ok();
        results.push(json!({id.to_string(): is_done, "message": done.unwrap_or_else(|message| message)}));
    }
    if failed == 0 {
        return Ok(answer(StatusCode::OK, &Value::Array(results)));
    }
    failed_all_or_some(&results, is_list, failed, "ERROR_GLPI_UPDATE", "ERROR_GLPI_PARTIAL_UPDATE")
}

pub async fn delete(asked: &Asked<'_>, of: &'static ItemType, in_path: Option<i64>) -> Result<Response, ApiError> {
    let alone = Input::new();
    let (inputs, is_list) = match in_path {
        Some(_) if !asked.request.params.contains_key("input") => (vec![&alone], false),
        _ => inputs(asked)?,
    };
    let mut results = Vec::new();
    let mut failed = 0;
    for input in &inputs {
        let id = id_of(asked, input, in_path)?;
        let done = match reach(asked, of, id, Verb::Delete).await {
            Ok(()) => change::delete(asked, of, id).await?,
            Err(refused) if is_list => Err(refused.message),
            Err(refused) => return Err(refused),
        };
        failed += usize::from(done.is_err());
        results.push(json!({id.to_string(): done.is_ok(), "message": done.err().unwrap_or_default()}));
    }
    if failed == 0 {
        return Ok(answer(StatusCode::OK, &Value::Array(results)));
    }
    failed_all_or_some(&results, is_list, failed, "ERROR_GLPI_DELETE", "ERROR_GLPI_PARTIAL_DELETE")
}

/// Whether the speaker may do this with this item: it must be there, and he must work where it is.
async fn reach(asked: &Asked<'_>, of: &'static ItemType, id: i64, verb: Verb) -> Result<(), ApiError> {
    let refused = |status, code, message: &str| Err(ApiError::new(status, code, message));
    if asked.flows.store.item(of, &asked.sight_of_all(), id).await?.is_none() {
        return refused(StatusCode::NOT_FOUND, "ERROR_ITEM_NOT_FOUND", NO_ITEM);
    }
    let is_reached =
        asked.may(of, verb) && asked.flows.store.item(of, &asked.sight(Purpose::Changing), id).await?.is_some();
    if is_reached { Ok(()) } else { refused(StatusCode::UNAUTHORIZED, "ERROR_RIGHT_MISSING", NO_RIGHT) }
}

/// Some of a list failed, all of it, or the only one.
fn failed_all_or_some(
    results: &[Value],
    is_list: bool,
    failed: usize,
    code: &'static str,
    partial: &'static str,
) -> Result<Response, ApiError> {
    if failed < results.len() {
        Ok(failures(StatusCode::MULTI_STATUS, partial, results))
    } else if is_list {
        Ok(failures(StatusCode::BAD_REQUEST, code, results))
    } else {
        let message = results.first().and_then(|it| it["message"].as_str()).unwrap_or_default();
        Err(ApiError::new(StatusCode::BAD_REQUEST, code, message))
    }
}

/// The objects in `input`, and whether it was a list.
fn inputs<'a>(asked: &'a Asked<'_>) -> Result<(Vec<&'a Input>, bool), ApiError> {
    match asked.request.params.get("input") {
        Some(Value::Object(one)) => Ok((vec![one], false)),
        Some(Value::Array(many)) if (1..=INPUTS_MAX).contains(&many.len()) => {
            let objects: Option<Vec<_>> = many.iter().map(Value::as_object).collect();
            objects.map(|it| (it, true)).ok_or_else(ApiError::bad_input)
        }
        _ => Err(ApiError::bad_input()),
    }
}

fn id_of(asked: &Asked<'_>, input: &Input, in_path: Option<i64>) -> Result<i64, ApiError> {
    let given = in_path.or_else(|| number(input.get("id"))).or_else(|| number(asked.request.params.get("id")));
    given.ok_or_else(ApiError::bad_input)
}
