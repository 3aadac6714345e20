//! Items of GLPI's API for people who administer, and the few that agents read: one set of endpoints for all types of the table in
//! `store::items`. Parses, calls one flow, answers; what a profile may is in the table.

use std::sync::Arc;

use axum::{
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::{
    agents::{json as answer, request::Request},
    error::ApiError,
};
use crate::{
    flows::{
        Flows,
        session::{Conversation, Speaker},
    },
    mdm::rights::{Scope, Verb},
    store::items::{ItemType, Purpose, Sight, item_type},
};

mod change;
mod fleets;
mod invitations;
mod params;
mod people;
mod read;
mod search;
mod settings;
mod tasks;
pub mod upload;
mod write;

/// What a request about items is about.
struct Asked<'a> {
    flows: &'a Arc<Flows>,
    request: &'a Request,
    talk: &'a Conversation,
}

/// Whether there is such an endpoint.
pub fn knows(endpoint: &str) -> bool {
    matches!(endpoint, "search" | "listSearchOptions") || item_type(endpoint).is_some()
}

/// Answers a request about items.
pub async fn serve(flows: &Arc<Flows>, request: &Request, talk: &Conversation) -> Result<Response, ApiError> {
    let asked = Asked { flows, request, talk };
    let is_read = matches!(request.method, Method::GET | Method::HEAD);
    if let endpoint @ ("search" | "listSearchOptions") = request.endpoint() {
        let of = request.path.get(1).and_then(|name| item_type(name)).ok_or_else(unknown_type)?;
        return match endpoint {
            _ if !is_read => Err(ApiError::no_method()),
            "search" => search::search(&asked, of).await,
            _ => search::list_options(&asked, of),
        };
    }
    let of = item_type(request.endpoint()).ok_or_else(unknown_type)?;
    if let Some(below) = request.path.get(2) {
        let below = item_type(below).ok_or_else(unknown_type)?;
        return if is_read { read::list_below(&asked, of, below).await } else { Err(ApiError::no_method()) };
    }
    let id = asked.id()?;
    match request.method {
        Method::GET | Method::HEAD => match id {
            Some(id) => read::one(&asked, of, id).await,
            None => read::list(&asked, of).await,
        },
        Method::POST if id.is_none() => write::create(&asked, of).await,
        Method::PUT | Method::PATCH => write::update(&asked, of, id).await,
        Method::DELETE => write::delete(&asked, of, id).await,
        _ => Err(ApiError::no_method()),
    }
}

impl Asked<'_> {
    /// The number in the path. The root entity has the number 0.
    fn id(&self) -> Result<Option<i64>, ApiError> {
        let parse = |text: &String| text.parse().ok().filter(|it| *it >= 0).ok_or_else(ApiError::no_item);
        self.request.path.get(1).map(parse).transpose()
    }

    /// What the speaker sees, or may change as far as entities go.
    fn sight(&self, purpose: Purpose) -> Sight {
        let agent = match self.talk.speaker {
            Speaker::Agent(agent) => Some(agent),
            Speaker::Person(_) | Speaker::Invited(..) => None,
        };
        Sight { purpose, scope: self.talk.scope.clone(), agent, now: self.flows.clock.now() }
    }

    /// Everything, to tell what is not there from what is not to be seen.
    fn sight_of_all(&self) -> Sight {
        Sight { purpose: Purpose::Looking, scope: Scope::Everything, agent: None, now: self.flows.clock.now() }
    }

    /// Whether the speaker may do this with items of a type.
    fn may(&self, of: &ItemType, verb: Verb) -> bool {
        match self.talk.speaker {
            Speaker::Agent(_) => verb == Verb::Read && of.is_read_by_agents(),
            // What everybody sees is changed by those who see everything.
            Speaker::Person(_) if verb != Verb::Read && of.is_shared() && self.talk.scope != Scope::Everything => false,
            Speaker::Person(_) | Speaker::Invited(..) => of.rights.allow(self.talk.role, verb),
        }
    }

    fn must(&self, of: &ItemType, verb: Verb) -> Result<(), ApiError> {
        if self.may(of, verb) { Ok(()) } else { Err(ApiError::no_right()) }
    }
}

fn unknown_type() -> ApiError {
    let message = "resource not found or not an instance of CommonDBTM";
    ApiError::new(StatusCode::BAD_REQUEST, "ERROR_RESOURCE_NOT_FOUND_NOR_COMMONDBTM", message)
}

/// The members of an item with links to those that it names.
fn object(flows: &Flows, of: &ItemType, values: Vec<Value>, has_links: bool) -> Map<String, Value> {
    let base = &flows.config.http.public_url;
    let mut links = Vec::new();
    let mut members = Map::new();
    for (field, value) in of.fields.iter().zip(values) {
        // 0 is the root entity, and nothing of any other type.
        let least = i64::from(field.link != "Entity");
        if !field.link.is_empty()
            && let Some(id) = value.as_i64().filter(|id| *id >= least)
        {
            links.push(json!({"rel": field.link, "href": format!("{base}/{}/{id}", field.link)}));
        }
        members.insert(field.name.to_owned(), value);
    }
    if has_links {
        members.insert("links".into(), Value::Array(links));
    }
    members
}

/// An answer that is a piece of a list.
fn piece(of: &ItemType, body: &Value, range: &str, is_whole: bool) -> Response {
    let status = if is_whole { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
    let mut response = answer(status, body);
    let headers = response.headers_mut();
    if let Ok(range) = HeaderValue::try_from(range) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    if let Ok(most) = HeaderValue::try_from(format!("{} {}", of.name, crate::store::items::ROWS_MAX)) {
        headers.insert("accept-range", most);
    }
    response
}

/// Failures of a list of inputs.
fn failures(status: StatusCode, code: &str, results: &[Value]) -> Response {
    (status, json!([code, results]).to_string()).into_response()
}
