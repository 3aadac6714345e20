//! The API for administrators, and what monitoring reads. A list of routes; handlers parse, call one flow and answer.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};

use crate::{datadir::DataDir, flows::Flows};

mod agents;
mod audit;
mod certificates;
mod error;
mod files;
mod invitations;
mod people;
mod tasks;
mod tenants;
mod tokens;
mod who;

use error::Error;
use who::{Guard, authorize};

/// Largest import, in bytes.
pub const IMPORT_BYTES_MAX: usize = 64 << 20;
/// Largest other request body, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// A database that takes longer for a trivial question is not ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// The routes of the admin listener. What each token may is in the table of `who`.
pub fn router(flows: Arc<Flows>) -> Router {
    let first = DataDir::at(&flows.config.data_dir).stored_admin_token().ok().flatten().map(Into::into);
    let guard = Guard { flows: flows.clone(), first };
    let api = Router::new()
        .route("/entities", get(tenants::list_entities).post(tenants::add_entity))
        .route("/entities/{id}", get(tenants::show_entity).patch(tenants::change_entity).delete(tenants::remove_entity))
        .route("/entities/{id}/settings", get(tenants::show_settings).patch(tenants::change_settings))
        .route("/fleets", get(tenants::list_fleets).post(tenants::add_fleet))
        .route("/fleets/{id}", get(tenants::show_fleet).patch(tenants::change_fleet).delete(tenants::remove_fleet))
        .route("/invitations", get(invitations::list).post(invitations::invite))
        .route("/invitations/{id}", get(invitations::show).delete(invitations::remove))
        .route("/invitations/{id}/resend", post(invitations::resend))
        .route("/import/flyve", post(invitations::move_in))
        .route("/accounts", get(tenants::list_accounts).post(tenants::add_account))
        .route("/accounts/{name}", get(tenants::show_account).delete(tenants::remove_account))
        .route("/users", get(people::list).post(people::add))
        .route("/users/{who}", get(people::show).patch(people::change).delete(people::remove))
        .route("/users/{who}/tokens", post(people::add_token).delete(people::revoke_tokens))
        .route("/agents", get(agents::list))
        .route("/agents/{id}", get(agents::show).patch(agents::change).delete(agents::remove))
        .route("/agents/{id}/commands", post(agents::command))
        .route("/policies", get(tasks::list_policies))
        .route("/policies/{symbol}", get(tasks::show_policy))
        .route("/tasks", get(tasks::list).post(tasks::add))
        .route("/tasks/{id}", get(tasks::show).patch(tasks::change).delete(tasks::remove))
        .route("/agents/{id}/unenrollment", delete(agents::cancel_unenrollment))
        .route("/messages", get(agents::list_messages))
        .route("/commands", get(agents::list_commands))
        .route("/commands/{id}", get(agents::show_command).delete(agents::cancel_command))
        .route("/certificates", get(certificates::list).delete(certificates::revoke_all))
        .route("/certificates/{serial}", get(certificates::show).delete(certificates::revoke))
        .route("/files", get(files::list_files))
        .route("/files/{id}", get(files::show_file).patch(files::change_file).delete(files::remove_file))
        .route("/packages", get(files::list_packages))
        .route("/packages/{id}", get(files::show_package).patch(files::change_package).delete(files::remove_package))
        .route("/paths", get(files::list_paths).post(files::add_path))
        .route("/paths/{id}", delete(files::remove_path))
        .route("/audit", get(audit::list))
        .route("/audit/verify", get(audit::verify))
        .route("/tokens", get(tokens::list).post(tokens::add))
        .route("/tokens/{name}", delete(tokens::remove))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .merge(
            Router::new()
                .route("/import", post(agents::import))
                .route("/invitations/csv", post(invitations::invite_many))
                .layer(DefaultBodyLimit::max(IMPORT_BYTES_MAX)),
        )
        .merge(
            Router::new()
                .route("/files", post(files::add_file))
                .route("/files/{id}/content", put(files::replace_file))
                .route("/packages", post(files::add_package))
                .route("/packages/{id}/content", put(files::replace_package))
                // They stream to the disk, which has limits of its own.
                .layer(DefaultBodyLimit::disable()),
        )
        .fallback(|| async { Error::absent("there is no such resource") })
        .layer(middleware::from_fn_with_state(guard, authorize));
    Router::new()
        .nest("/api/v1", api)
        .route("/openapi.json", get(openapi))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .fallback(|| async { Error::absent("there is no such resource") })
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
        .with_state(flows)
}

async fn openapi(State(flows): State<Arc<Flows>>) -> axum::Json<serde_json::Value> {
    axum::Json(super::openapi::document(&flows.config.http.public_url))
}

async fn metrics(State(flows): State<Arc<Flows>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match flows.metrics_page().await {
        Ok(page) => ([(header::CONTENT_TYPE, kind)], page).into_response(),
        Err(problem) => Error::from(problem).into_response(),
    }
}

async fn ready(State(flows): State<Arc<Flows>>) -> (StatusCode, &'static str) {
    if flows.is_stopping.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    }
    match tokio::time::timeout(READY_WITHIN, flows.answers()).await {
        Ok(true) => (StatusCode::OK, "ready"),
        Ok(false) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database answers too slowly"),
    }
}
