//! The list of revoked certificates, for whoever verifies certificates of devices. Public by nature.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::flows::Flows;

/// Under these the agents' API is found too.
const BASES: [&str; 4] = ["", "/api", "/apirest.php", "/glpi/apirest.php"];

/// The list in both forms.
pub fn router(flows: Arc<Flows>) -> Router {
    let mut router = Router::new();
    for base in BASES {
        router = router.route(&format!("{base}/crl"), get(der)).route(&format!("{base}/crl.pem"), get(pem));
    }
    router.with_state(flows)
}

async fn der(State(flows): State<Arc<Flows>>) -> Response {
    match flows.certificates.crl() {
        Some(crl) => ([(header::CONTENT_TYPE, "application/pkix-crl")], crl.der.clone()).into_response(),
        None => none(),
    }
}

async fn pem(State(flows): State<Arc<Flows>>) -> Response {
    match flows.certificates.crl() {
        Some(crl) => ([(header::CONTENT_TYPE, "application/x-pem-file")], crl.pem.clone()).into_response(),
        None => none(),
    }
}

fn none() -> Response {
    (StatusCode::NOT_FOUND, "this server issues no certificates\n").into_response()
}
