//! The part of GLPI's REST API that agents use (spec/http.md). Everything else is refused in GLPI's words.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{DefaultBodyLimit, Request as HttpRequest, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    datadir::DataDir,
    flows::{
        Flows,
        audit::{self, Actor, on_behalf},
        session::{Conversation, Speaker},
    },
    http::{content::Dressed, error::ApiError, items, openapi, visitor},
    mdm::audit::ActorKind,
};

mod agent;
mod files;
mod geolocation;
mod login;
pub mod request;
mod session;
mod task_status;
#[cfg(test)]
mod tests;
mod welcome;

pub use agent::number;
use request::{Request, SMALL_BYTES};

/// The API for agents, under all its base paths, and the page for people who were invited.
pub fn router(flows: Arc<Flows>) -> Router {
    let limit =
        middleware::from_fn_with_state(Duration::from_secs(flows.config.http.request_timeout_s.into()), within_time);
    let pages = welcome::router(&flows);
    let administrator = DataDir::at(&flows.config.data_dir).stored_admin_token().ok().flatten();
    let api = Router::new()
        .fallback(serve)
        .with_state(Api { flows, administrator: administrator.map(Into::into) })
        // Requests are read within limits of their own.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(limit.clone())
        .layer(middleware::from_fn(dress));
    pages.layer(CatchPanicLayer::new()).layer(limit).fallback_service(api)
}

/// What the endpoints work with.
#[derive(Clone)]
struct Api {
    flows: Arc<Flows>,
    /// The first administrator's token, which opens sessions too; `None`: nobody has one.
    administrator: Option<Arc<str>>,
}

/// What a request does is written down under the address that it came from, and under the speaker once that is known.
async fn serve(api: State<Api>, request: HttpRequest) -> Response {
    let peer = visitor::peer(request.extensions()).map(|it| it.to_string()).unwrap_or_default();
    on_behalf(Actor { peer, ..Actor::SYSTEM }, answer(api, request)).await
}

async fn answer(State(api): State<Api>, request: HttpRequest) -> Response {
    let flows = &api.flows;
    if request.method() == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    if items::upload::is_one(&request) {
        return upload(&api, request).await.unwrap_or_else(ApiError::into_response);
    }
    let bytes_max = usize::try_from(flows.config.http.body_bytes_max).unwrap_or(usize::MAX);
    let origin = visitor::origin(request.extensions());
    let (bare, body_bytes) = (bare(&request), request.body().size_hint().upper());
    let answer = async {
        let has_session = has_session(flows, bare, body_bytes).await?;
        let request = Request::read(request, bytes_max, flows.guard.bodies(has_session)).await?;
        login::guarded(&api, origin, &request).await
    };
    answer.await.unwrap_or_else(ApiError::into_response)
}

/// Whether a request that may have a large body has a session, as far as its head says.
async fn has_session(flows: &Flows, bare: HttpRequest, body_bytes: Option<u64>) -> Result<bool, ApiError> {
    if body_bytes.is_some_and(|it| it <= SMALL_BYTES as u64) {
        return Ok(false);
    }
    let token = Request::read(bare, 0, flows.guard.bodies(false)).await?.text("session_token");
    Ok(!token.is_empty() && flows.speaker(&token).await?.is_some())
}

/// The head of a request.
fn bare(request: &HttpRequest) -> HttpRequest {
    let mut bare = HttpRequest::new(Body::empty());
    bare.method_mut().clone_from(request.method());
    bare.uri_mut().clone_from(request.uri());
    bare.headers_mut().clone_from(request.headers());
    bare
}

/// A content that streams to the disk: the speaker is found before the first byte is read.
async fn upload(api: &Api, request: HttpRequest) -> Result<Response, ApiError> {
    let head = Request::read(bare(&request), 0, api.flows.guard.bodies(false)).await?;
    let talk = conversation(&api.flows, &head).await?;
    let taken = items::upload::take(&api.flows, &head, &talk, request);
    on_behalf(actor_of(&talk.speaker), taken).await
}

/// The list of endpoints.
async fn route(api: &Api, request: &Request) -> Result<Response, ApiError> {
    let flows = &*api.flows;
    let is_agent = matches!(request.endpoint(), "PluginFlyvemdmAgent" | "PluginStorkmdmAgent");
    if request.bare_body.is_some() {
        if is_agent {
            agent::note_contact(flows, request).await?;
        }
        return Err(ApiError::bad_json());
    }
    match request.endpoint() {
        "" => Err(ApiError::new(StatusCode::BAD_REQUEST, "ERROR_RESOURCE_MISSING", "resource is missing")),
        "initSession" => session::open(api, request).await,
        "killSession" => session::close(flows, request).await,
        "getFullSession" => session::show(flows, request).await,
        "changeActiveProfile" => session::change_profile(flows, request).await,
        "changeActiveEntities" => session::change_entities(flows, request).await,
        "getMyProfiles" => session::my_profiles(flows, request).await,
        "getActiveProfile" => session::active_profile(flows, request).await,
        "getMyEntities" => session::my_entities(flows, request).await,
        "getActiveEntities" => session::active_entities(flows, request).await,
        "openapi.json" => Ok(json(StatusCode::OK, &openapi::document(&flows.config.http.public_url))),
        "PluginFlyvemdmFile" if files::asks_for_content(request) => files::show_file(flows, request).await,
        "PluginFlyvemdmPackage" if files::asks_for_content(request) => files::show_package(flows, request).await,
        endpoint if items::knows(endpoint) && !is_for_devices(flows, request).await? => {
            let talk = conversation(flows, request).await?;
            on_behalf(actor_of(&talk.speaker), items::serve(&api.flows, request, &talk)).await
        }
        _ if is_agent => match request.method {
            Method::POST => agent::enroll(flows, request).await,
            Method::GET | Method::HEAD => agent::show(flows, request).await,
            Method::PUT | Method::PATCH => agent::hear(flows, request).await,
            _ => Err(ApiError::no_method()),
        },
        "search" if request.path.get(1).is_some_and(|it| it == task_status::ITEM_TYPE) => match request.method {
            Method::GET | Method::HEAD => task_status::search(flows, request).await,
            _ => Err(ApiError::no_method()),
        },
        task_status::ITEM_TYPE => match request.method {
            Method::PUT | Method::PATCH => task_status::report(flows, request).await,
            _ => Err(ApiError::no_method()),
        },
        "PluginFlyvemdmFile" => match request.method {
            Method::GET | Method::HEAD => files::show_file(flows, request).await,
            _ => Err(ApiError::no_method()),
        },
        "PluginFlyvemdmPackage" => match request.method {
            Method::GET | Method::HEAD => files::show_package(flows, request).await,
            _ => Err(ApiError::no_method()),
        },
        "PluginFlyvemdmGeolocation" => match request.method {
            Method::POST => geolocation::report(flows, request).await,
            _ => Err(ApiError::no_method()),
        },
        _ => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "ERROR_RESOURCE_NOT_FOUND_NOR_COMMONDBTM",
            "resource not found or not an instance of CommonDBTM",
        )),
    }
}

/// Whether devices and guests are answered by an endpoint of their own, with the tolerance that they need.
async fn is_for_devices(flows: &Flows, request: &Request) -> Result<bool, ApiError> {
    let has_own = match request.endpoint() {
        "PluginFlyvemdmAgent" | "PluginStorkmdmAgent" => request.path.len() <= 2,
        "PluginFlyvemdmFile" | "PluginFlyvemdmPackage" => {
            request.path.len() == 2 && matches!(request.method, Method::GET | Method::HEAD)
        }
        "PluginFlyvemdmGeolocation" => request.method == Method::POST,
        "search" => request.path.get(1).is_some_and(|it| it == task_status::ITEM_TYPE),
        task_status::ITEM_TYPE => matches!(request.method, Method::PUT | Method::PATCH),
        _ => false,
    };
    if !has_own {
        return Ok(false);
    }
    Ok(!flows.may_be_staff(&request.text("session_token")).await?)
}

/// Who speaks, as the audit knows him.
fn actor_of(speaker: &Speaker) -> Actor {
    let (kind, name) = match speaker {
        Speaker::Person(person) | Speaker::Invited(person, _) => (ActorKind::Person, person.to_string()),
        Speaker::Agent(agent) => (ActorKind::Device, agent.to_string()),
    };
    Actor { kind, name, peer: audit::actor().peer }
}

/// Who asks.
async fn speaker(flows: &Flows, request: &Request) -> Result<Speaker, ApiError> {
    flows.speaker(&session_token(request)?).await?.ok_or_else(no_session)
}

/// Who asks, with what rights.
async fn conversation(flows: &Flows, request: &Request) -> Result<Conversation, ApiError> {
    flows.conversation(&session_token(request)?).await?.ok_or_else(no_session)
}

fn session_token(request: &Request) -> Result<String, ApiError> {
    let token = request.text("session_token");
    if token.is_empty() {
        let message = "parameter session_token is missing or empty";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "ERROR_SESSION_TOKEN_MISSING", message));
    }
    Ok(token)
}

fn no_session() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "ERROR_SESSION_TOKEN_INVALID", "session_token seems invalid")
}

/// A successful answer. Android takes every body with the letters `ERROR` or `EXCEPTION_HTTP` for a failure, so a person of that name is
/// written with an escape, which JSON parsers undo.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    let text = body.to_string().replace("ERROR", "\\u0045RROR").replace("EXCEPTION_HTTP", "\\u0045XCEPTION_HTTP");
    (status, text).into_response()
}

/// Headers that every answer has, and those of cross-origin requests (spec/http.md §1.4).
async fn dress(request: HttpRequest, next: Next) -> Response {
    let (method, headers) = (request.method().clone(), request.headers());
    let is_cross_origin = headers.contains_key(header::ORIGIN);
    let asks_method = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let asks_headers = headers.contains_key(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let mut response = next.run(request).await;
    let is_dressed = response.extensions().get::<Dressed>().is_some();
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    if !is_dressed {
        set(header::CONTENT_TYPE, "application/json; charset=UTF-8");
        set(header::CACHE_CONTROL, "no-store, no-cache, must-revalidate");
        set(header::PRAGMA, "no-cache");
    }
    if is_cross_origin {
        set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        if method == Method::GET || method == Method::OPTIONS {
            set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "content-type, content-range, accept-range");
        }
        if method == Method::OPTIONS && asks_method {
            set(header::ACCESS_CONTROL_ALLOW_METHODS, "PUT, GET, POST, DELETE, OPTIONS");
        }
        if method == Method::OPTIONS && asks_headers {
            set(header::ACCESS_CONTROL_ALLOW_HEADERS, "origin, content-type, accept, session-token, authorization");
        }
    }
    response
}

async fn within_time(State(limit): State<Duration>, request: HttpRequest, next: Next) -> Response {
    // Contents have a limit of their own: they must not stall.
    if items::upload::is_one(&request) {
        return next.run(request).await;
    }
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(StatusCode::REQUEST_TIMEOUT, "ERROR", "Request Timeout").into_response(),
    }
}

/// The last net: a bug of ours answers like every other error.
fn panicked(_panic: Box<dyn Any + Send>) -> axum::http::Response<Body> {
    tracing::error!("a request handler panicked");
    ApiError::internal().into_response()
}
