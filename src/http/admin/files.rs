//! Files, packages and paths for files.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Multipart, Path, Query, State, multipart::MultipartRejection, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::Error,
    who::{Who, whose},
};
use crate::{
    flows::{
        Flows,
        files::{self, FileView, PackageView, PathView},
    },
    http::upload,
    ids::{EntityId, FileId, PackageId},
};

type Here = State<Arc<Flows>>;
type Body<T> = Result<Json<T>, JsonRejection>;
type Parts = Result<Multipart, MultipartRejection>;
type Made = Result<(StatusCode, Json<Value>), Error>;

#[derive(Deserialize)]
pub struct OfEntity {
    entity: Option<EntityId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemChange {
    name: Option<String>,
    comment: Option<String>,
}

pub async fn list_files(State(flows): Here, who: Who, Query(of): Query<OfEntity>) -> Result<Json<Vec<Value>>, Error> {
    Ok(Json(flows.store.files(of.entity).await?.iter().filter(|it| who.sees(it.entity)).map(file_view).collect()))
}

pub async fn add_file(State(flows): Here, who: Who, parts: Parts) -> Made {
    let received = upload::read(&flows, parts?, files::filename).await?;
    whose(&who, received.described.entity)?;
    let file = flows.add_file(received.described, received.content).await??;
    Ok((StatusCode::CREATED, Json(file_view(&file))))
}

pub async fn show_file(State(flows): Here, Path(id): Path<FileId>) -> Result<Json<Value>, Error> {
    Ok(Json(file_view(&flows.file(id).await??)))
}

pub async fn change_file(
    State(flows): Here,
    Path(id): Path<FileId>,
    body: Body<ItemChange>,
) -> Result<Json<Value>, Error> {
    let Json(change) = body?;
    Ok(Json(file_view(&flows.change_file(id, change.name.as_deref(), change.comment.as_deref()).await??)))
}

pub async fn replace_file(State(flows): Here, Path(id): Path<FileId>, parts: Parts) -> Result<Json<Value>, Error> {
    flows.file(id).await??;
    let received = upload::read(&flows, parts?, files::filename).await?;
    Ok(Json(file_view(&flows.replace_file(id, received.described, received.content).await??)))
}

pub async fn remove_file(State(flows): Here, Path(id): Path<FileId>) -> Result<Json<Value>, Error> {
    flows.remove_file(id).await??;
    Ok(Json(json!({ "id": id, "removed": true })))
}

pub async fn list_packages(
    State(flows): Here,
    who: Who,
    Query(of): Query<OfEntity>,
) -> Result<Json<Vec<Value>>, Error> {
    let without_icon = |it: &PackageView| {
        let mut view = package_view(it);
        view.as_object_mut().map(|members| members.remove("icon"));
        view
    };
    Ok(Json(flows.store.packages(of.entity).await?.iter().filter(|it| who.sees(it.entity)).map(without_icon).collect()))
}

pub async fn add_package(State(flows): Here, who: Who, parts: Parts) -> Made {
    let received = upload::read(&flows, parts?, files::package_filename).await?;
    whose(&who, received.described.entity)?;
    let package = flows.add_package(received.described, received.content).await??;
    Ok((StatusCode::CREATED, Json(package_view(&package))))
}

pub async fn show_package(State(flows): Here, Path(id): Path<PackageId>) -> Result<Json<Value>, Error> {
    Ok(Json(package_view(&flows.package(id).await??)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageChange {
    name: String,
}

pub async fn change_package(
    State(flows): Here,
    Path(id): Path<PackageId>,
    body: Body<PackageChange>,
) -> Result<Json<Value>, Error> {
    let Json(change) = body?;
    Ok(Json(package_view(&flows.rename_package(id, &change.name).await??)))
}

pub async fn replace_package(
    State(flows): Here,
    Path(id): Path<PackageId>,
    parts: Parts,
) -> Result<Json<Value>, Error> {
    flows.package(id).await??;
    let received = upload::read(&flows, parts?, files::package_filename).await?;
    Ok(Json(package_view(&flows.replace_package(id, received.described, received.content).await??)))
}

pub async fn remove_package(State(flows): Here, Path(id): Path<PackageId>) -> Result<Json<Value>, Error> {
    flows.remove_package(id).await??;
    Ok(Json(json!({ "id": id, "removed": true })))
}

pub async fn list_paths(State(flows): Here) -> Result<Json<Vec<PathView>>, Error> {
    Ok(Json(flows.store.well_known_paths().await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPath {
    name: String,
    #[serde(default)]
    comment: String,
}

pub async fn add_path(State(flows): Here, body: Body<NewPath>) -> Made {
    let Json(new) = body?;
    let id = flows.add_path(&new.name, &new.comment).await??;
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "name": new.name.trim() }))))
}

pub async fn remove_path(State(flows): Here, Path(id): Path<i64>) -> Result<Json<Value>, Error> {
    flows.store.remove_path(id).await??;
    Ok(Json(json!({ "id": id, "removed": true })))
}

fn file_view(file: &FileView) -> Value {
    json!({
        "id": file.id,
        "entity": file.entity,
        "name": file.name,
        "comment": file.comment,
        "version": file.version,
        "size": file.size,
        "sha256": file.blob,
        "mime_type": file.mime_type,
        "created_at": file.created_at.rfc3339(),
        "updated_at": file.updated_at.rfc3339(),
    })
}

fn package_view(package: &PackageView) -> Value {
    json!({
        "id": package.id,
        "entity": package.entity,
        "name": package.name,
        "alias": package.alias,
        "package_name": package.package_name,
        "version": package.version,
        "version_code": package.version_code,
        "dl_filename": package.dl_filename,
        "parse_status": package.parse_status,
        "parse_error": package.parse_error,
        "size": package.size,
        "sha256": package.blob,
        "icon": package.icon,
        "created_at": package.created_at.rfc3339(),
        "updated_at": package.updated_at.rfc3339(),
    })
}
