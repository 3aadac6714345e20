//! Files and packages for agents (spec/http.md §6.3): the row as JSON, or the content.

use axum::{
    http::{Method, StatusCode, header},
    response::Response,
};
use serde_json::{Value, json};

use super::{Request, json as answer, speaker};
use crate::{
    flows::{
        Flows,
        files::{FileView, PackageView},
    },
    http::{
        content::{self, Outgoing},
        error::ApiError,
    },
    ids::{FileId, PackageId},
};

/// Digits of the number that Flyve's servers put in front of stored names to make them unique.
const UNIQUE_DIGITS: usize = 13;

pub async fn show_file(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let speaker = speaker(flows, request).await?;
    let id = FileId(request.id()?.ok_or_else(ApiError::no_item)?);
    if !asks_for_content(request) {
        let file = flows.file_for(speaker, id).await?.ok_or_else(ApiError::no_item)?;
        return Ok(answer(StatusCode::OK, &file_columns(flows, &file)));
    }
    let served = flows.file_content(speaker, id).await?.ok_or_else(ApiError::no_item)?;
    let Some(file) = served.file else { return Ok(content::missing()) };
    let FileView { size, blob, name, updated_at, .. } = &served.view;
    let outgoing = Outgoing { file, size: *size, blob, name, updated_at: *updated_at };
    content::send(flows, &request.method, &request.headers, outgoing).await
}

pub async fn show_package(flows: &Flows, request: &Request) -> Result<Response, ApiError> {
    let speaker = speaker(flows, request).await?;
    let id = PackageId(request.id()?.ok_or_else(ApiError::no_item)?);
    if !asks_for_content(request) {
        let package = flows.package_for(speaker, id).await?.ok_or_else(ApiError::no_item)?;
        return Ok(answer(StatusCode::OK, &package_columns(flows, &package)));
    }
    let served = flows.package_content(speaker, id).await?.ok_or_else(ApiError::no_item)?;
    let Some(file) = served.file else { return Ok(content::missing()) };
    let PackageView { size, blob, dl_filename, updated_at, .. } = &served.view;
    let outgoing = Outgoing { file, size: *size, blob, name: dl_filename, updated_at: *updated_at };
    content::send(flows, &request.method, &request.headers, outgoing).await
}

/// One item is to be read; `Accept` is exactly this type, or the query says so.
pub fn asks_for_content(request: &Request) -> bool {
    let is_read = matches!(request.method, Method::GET | Method::HEAD) && request.path.len() == 2;
    is_read && is_content_wanted(request)
}

fn is_content_wanted(request: &Request) -> bool {
    request.headers.get(header::ACCEPT).is_some_and(|it| it == "application/octet-stream")
        || request.text("alt") == "media"
}

/// The row, under GLPI's names.
pub fn file_columns(flows: &Flows, file: &FileView) -> Value {
    json!({
        "id": file.id,
        "name": file.name,
        "source": stored_name(file.entity.0, &file.blob, &file.name),
        "comment": file.comment,
        "entities_id": file.entity,
        "version": file.version,
        "filesize": file.size,
        "mime_type": file.mime_type,
        "links": [entity_link(flows, file.entity.0)],
    })
}

/// The row, under GLPI's names.
pub fn package_columns(flows: &Flows, package: &PackageView) -> Value {
    let stored = stored_name(package.entity.0, &package.blob, &package.dl_filename);
    json!({
        "id": package.id,
        "name": package.name,
        "package_name": package.package_name,
        "alias": package.alias,
        "version": package.version,
        "version_code": package.version_code,
        "icon": package.icon,
        "filename": format!("flyvemdm/package/{stored}"),
        "entities_id": package.entity,
        "dl_filename": package.dl_filename,
        "parse_status": package.parse_status,
        "filesize": package.size,
        "mime_type": "application/vnd.android.package-archive",
        "links": [entity_link(flows, package.entity.0)],
    })
}

/// Agents only show it; the content is not stored under this name.
fn stored_name(entity: i64, blob: &str, name: &str) -> String {
    format!("{entity}/{}_{name}", blob.get(..UNIQUE_DIGITS).unwrap_or(blob))
}

fn entity_link(flows: &Flows, entity: i64) -> Value {
    json!({"rel": "Entity", "href": format!("{}/Entity/{entity}", flows.config.http.public_url)})
}
