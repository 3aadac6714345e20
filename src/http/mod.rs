//! The HTTP edge: requests become calls of stories, results become answers. No decisions.

use std::sync::Arc;

use axum::Router;

use crate::flows::Flows;

pub mod admin;
mod agents;
pub mod content;
mod crl;
pub mod error;
mod items;
mod openapi;
mod precondition;
pub mod range;
pub mod upload;
mod visitor;

/// The API for agents: the same endpoints under `/`, `/api`, `/apirest.php` and `/glpi/apirest.php`; and
/// the list of revoked certificates.
pub fn agents_router(flows: Arc<Flows>) -> Router {
    let routes = crl::router(flows.clone()).merge(agents::router(flows.clone()));
    visitor::attended(routes, flows, "agents")
}

/// The API for administrators, and what monitoring reads.
pub fn admin_router(flows: Arc<Flows>) -> Router {
    let routes = visitor::unguessable(admin::router(flows.clone()), flows.clone());
    visitor::attended(routes, flows, "admin")
}

pub use visitor::over_tls;
