//! Files and applications that people upload by multipart: the part `file`, and JSON in the part `uploadManifest`
//! (spec/admin.md §8). The content goes to the disk as it comes, so these requests are not read whole like the others.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequest, Multipart},
    http::{HeaderValue, Method, Request as HttpRequest, StatusCode, header},
    response::Response,
};
use serde_json::{Value, json};

use super::{Asked, answer, change};
use crate::{
    flows::{
        Flows,
        administer::Refused,
        files::{self, Described},
        session::Conversation,
    },
    http::{
        agents::request::Request,
        error::ApiError,
        upload::{self, NotTaken},
    },
    ids::{FileId, PackageId},
    mdm::rights::Verb,
    store::items::{ItemType, Purpose, item_type},
};

/// The types that have a content.
const TYPES: [&str; 2] = ["PluginFlyvemdmFile", "PluginFlyvemdmPackage"];

/// Whether a request brings the content of a file or an application.
pub fn is_one(request: &HttpRequest<Body>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH)
        && kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
        && request.uri().path().split('/').any(|it| TYPES.contains(&it))
}

/// Takes the content of a new item, or the next version of one.
pub async fn take(
    flows: &Arc<Flows>,
    head: &Request,
    talk: &Conversation,
    request: HttpRequest<Body>,
) -> Result<Response, ApiError> {
    let of = item_type(head.endpoint()).filter(|it| TYPES.contains(&it.name));
    let of = of.ok_or_else(ApiError::no_method)?;
    let asked = Asked { flows, request: head, talk };
    let id = asked.id()?;
    let verb = if id.is_some() { Verb::Update } else { Verb::Create };
    asked.must(of, verb)?;
    if let Some(id) = id
        && flows.store.item(of, &asked.sight(Purpose::Changing), id).await?.is_none()
    {
        return Err(ApiError::no_item());
    }
    let parts = Multipart::from_request(request, &()).await.map_err(|it| refused(verb, it.body_text()))?;
    let named = if of.name == "PluginFlyvemdmFile" { files::filename } else { files::package_filename };
    let received = upload::read(flows, parts, named).await.map_err(|it| not_taken(verb, &it))?;
    let manifest = received.texts.get("uploadManifest").map_or("{}", String::as_str);
    let manifest: Value = serde_json::from_str(manifest).map_err(|_| ApiError::bad_json())?;
    let input = manifest["input"].as_object().cloned().unwrap_or_default();
    let entity = change::entity_of(&asked, &input).await?.map_err(|it| refused(verb, it))?;
    let described = Described {
        entity: Some(entity),
        name: change::opt_text(&input, "name").filter(|it| !it.trim().is_empty()),
        comment: change::text(&input, "comment"),
        ..received.described
    };
    let made = store(flows, of, id, described, received.content).await?;
    let made = made.map_err(|it| refused(verb, it.to_string()))?;
    Ok(done(flows, of, id, made))
}

async fn store(
    flows: &Arc<Flows>,
    of: &ItemType,
    id: Option<i64>,
    described: Described,
    content: crate::store::blobs::Content,
) -> Result<Result<i64, Refused>, ApiError> {
    Ok(match (of.name, id) {
        ("PluginFlyvemdmFile", None) => flows.add_file(described, content).await?.map(|it| it.id.0),
        ("PluginFlyvemdmFile", Some(id)) => flows.replace_file(FileId(id), described, content).await?.map(|it| it.id.0),
        (_, None) => flows.add_package(described, content).await?.map(|it| it.id.0),
        (_, Some(id)) => flows.replace_package(PackageId(id), described, content).await?.map(|it| it.id.0),
    })
}

fn done(flows: &Flows, of: &ItemType, id: Option<i64>, made: i64) -> Response {
    if id.is_some() {
        return answer(StatusCode::OK, &json!([{made.to_string(): true, "message": ""}]));
    }
    let mut response = answer(StatusCode::CREATED, &json!({"id": made, "message": ""}));
    if let Ok(location) = HeaderValue::try_from(format!("{}/{}/{made}", flows.config.http.public_url, of.name)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn not_taken(verb: Verb, why: &NotTaken) -> ApiError {
    refused(verb, why.to_string())
}

fn refused(verb: Verb, message: impl Into<String>) -> ApiError {
    let code = if verb == Verb::Create { "ERROR_GLPI_ADD" } else { "ERROR_GLPI_UPDATE" };
    ApiError::new(StatusCode::BAD_REQUEST, code, message)
}
