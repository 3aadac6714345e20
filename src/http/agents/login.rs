//! Requests that present a secret which nobody knows yet: sessions and enrollments. Guesses cost time, and too many a ban.

use axum::{http::Method, response::Response};
use serde_json::Value;

use super::{Api, Request, route};
use crate::{
    flows::guard::Entrance,
    http::{error::ApiError, visitor::too_often},
    ids::Origin,
};

/// What somebody presents to be let in.
struct Presented {
    text: String,
    /// A token, which nobody guesses; not a person's password.
    is_token: bool,
    /// It stays good, so its owner is worth remembering.
    is_lasting: bool,
}

/// Answers a request; one that presents a secret is answered when the guard lets it.
pub async fn guarded(api: &Api, origin: Origin, request: &Request) -> Result<Response, ApiError> {
    let Some(Presented { text, is_token, is_lasting }) = presented(request) else { return route(api, request).await };
    let flows = &api.flows;
    if let Err(wait) = flows.may_log_in(Entrance::Http, origin, &text, is_token) {
        return Ok(too_often(wait));
    }
    let began = flows.clock.instant();
    let answer = route(api, request).await;
    match &answer {
        Err(error) if error.is_wrong_secret => {
            flows.secret_was_wrong(Entrance::Http, origin, &text, began).await;
        }
        Ok(_) if is_lasting => flows.machine_logged_in(origin, &text),
        _ => {}
    }
    answer
}

fn presented(request: &Request) -> Option<Presented> {
    let first_input = match request.params.get("input") {
        Some(Value::Array(many)) => many.first(),
        one => one,
    };
    let (text, is_token, is_lasting) = match request.endpoint() {
        "initSession" => match request.text("user_token") {
            none if none.is_empty() => (request.text("login"), false, false),
            token => (token, true, true),
        },
        "PluginFlyvemdmAgent" | "PluginStorkmdmAgent" if request.method == Method::POST => {
            let token = first_input.and_then(|it| it["_invitation_token"].as_str()).unwrap_or_default();
            // It is used up now: whoever presents it again is no friend.
            (token.to_owned(), true, false)
        }
        _ => return None,
    };
    Some(Presented { text, is_token, is_lasting })
}
