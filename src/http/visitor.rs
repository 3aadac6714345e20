//! What concerns every answer and whoever asked: the headers that keep browsers careful, the counters, and guesses of secrets.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{Extensions, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};

use super::error::ApiError;
use crate::{
    flows::{Flows, guard::Entrance},
    ids::Origin,
    metrics::HttpAnswer,
};

/// Headers of every answer that has none of its own. Answers are data: nobody may run, frame, guess at or keep them.
const CAREFUL: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::CACHE_CONTROL, "no-store"),
];
/// Whoever came over TLS once comes over TLS for a year.
const ONLY_TLS: &str = "max-age=31536000";
/// All guesses at the administrators' tokens slow down together; a right one is never slowed.
const ADMINISTRATORS: &str = "administrators";

/// The address that a request comes from; `None` without a socket, in tests.
pub fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|it| it.0.ip())
}

/// Where a request comes from, as limits count it. Without a socket from nowhere.
pub fn origin(extensions: &Extensions) -> Origin {
    Origin::of(peer(extensions).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

/// Dresses and counts the answers of these routes.
pub fn attended(routes: Router, flows: Arc<Flows>, listener: &'static str) -> Router {
    routes.layer(middleware::map_response_with_state((flows, listener), attend))
}

/// The same routes on a listener with TLS.
pub fn over_tls(routes: Router) -> Router {
    routes.layer(middleware::map_response(|mut response: Response| async {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(ONLY_TLS));
        response
    }))
}

async fn attend(State((flows, listener)): State<(Arc<Flows>, &'static str)>, mut response: Response) -> Response {
    for (name, value) in CAREFUL {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    let status = match response.status().as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    flows.metrics.http_answers.get_or_create(&HttpAnswer { listener, status }).inc();
    response
}

/// Slows down whoever guesses at the tokens of administrators. What is right is decided inside.
pub fn unguessable(routes: Router, flows: Arc<Flows>) -> Router {
    routes.layer(middleware::from_fn_with_state(flows, slow_down_guesses))
}

async fn slow_down_guesses(State(flows): State<Arc<Flows>>, request: Request, next: Next) -> Response {
    let (origin, began) = (origin(request.extensions()), flows.clock.instant());
    let presents_something = request.headers().contains_key(header::AUTHORIZATION);
    let response = next.run(request).await;
    if response.status() != StatusCode::UNAUTHORIZED || !presents_something {
        return response;
    }
    let ban = flows.ban_left(origin);
    if ban > Duration::ZERO {
        return too_often(ban);
    }
    flows.secret_was_wrong(Entrance::Admin, origin, ADMINISTRATORS, began).await;
    response
}

/// The answer to somebody who should come again later.
pub fn too_often(wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let message = "Too many attempts, try again later";
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "ERROR_TOO_MANY_REQUESTS", message);
    ([(header::RETRY_AFTER, seconds.to_string())], error).into_response()
}
