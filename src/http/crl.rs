//! The lists of revoked certificates, for whoever verifies certificates of devices. Public by nature.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;

use crate::flows::Flows;

/// Under these the agents' API is found too.
const BASES: [&str; 4] = ["", "/api", "/apirest.php", "/glpi/apirest.php"];

/// The list of the authority that signs now, those of all that are trusted, and that of each by the identifier of its key.
pub fn router(flows: Arc<Flows>) -> Router {
    let mut router = Router::new();
    for base in BASES {
        router = router
            .route(&format!("{base}/crl"), get(present))
            .route(&format!("{base}/crl.pem"), get(all))
            .route(&format!("{base}/crl/{{key_id}}"), get(of_one));
    }
    router.with_state(flows)
}

async fn present(State(flows): State<Arc<Flows>>) -> Response {
    der(flows.certificates.crl().map(|it| it.der.clone()))
}

async fn of_one(State(flows): State<Arc<Flows>>, Path(key_id): Path<String>) -> Response {
    der(flows.certificates.crl_of(&key_id).map(|it| it.der.clone()))
}

async fn all(State(flows): State<Arc<Flows>>) -> Response {
    let pem = flows.certificates.crls_pem();
    if pem.is_empty() { none() } else { ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response() }
}

fn der(list: Option<Bytes>) -> Response {
    match list {
        Some(list) => ([(header::CONTENT_TYPE, "application/pkix-crl")], list).into_response(),
        None => none(),
    }
}

fn none() -> Response {
    (StatusCode::NOT_FOUND, "there is no such list\n").into_response()
}
