//! What an agent is told when something is wrong: a status and a JSON array of exactly two strings (spec/http.md §1.2), always.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::store::StoreError;

/// An error in GLPI's words. The message never holds a semicolon: Android cuts there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The status of the answer.
    pub status: StatusCode,
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Whether the secret that the request presented is wrong: it may be a guess.
    pub is_wrong_secret: bool,
}

impl ApiError {
    /// Any.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), is_wrong_secret: false }
    }

    /// The same, for a secret that is wrong.
    pub fn for_wrong_secret(self) -> Self {
        Self { is_wrong_secret: true, ..self }
    }

    /// A request that makes no sense.
    pub fn bad_request() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ERROR", "Bad Request")
    }

    /// The item is not there.
    pub fn no_item() -> Self {
        Self::new(StatusCode::NOT_FOUND, "ERROR_ITEM_NOT_FOUND", "Item not found")
    }

    /// The speaker may not.
    pub fn no_right() -> Self {
        let message = "You don't have permission to perform this action.";
        Self::new(StatusCode::UNAUTHORIZED, "ERROR_RIGHT_MISSING", message)
    }

    /// Not with this method.
    pub fn no_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "ERROR_METHOD_NOT_ALLOWED", "Method Not Allowed")
    }

    /// The body is not JSON.
    pub fn bad_json() -> Self {
        let message = "JSON payload seems not valid";
        Self::new(StatusCode::BAD_REQUEST, "ERROR_JSON_PAYLOAD_INVALID", message)
    }

    /// `input` is missing or of another type.
    pub fn bad_input() -> Self {
        let message = "input parameter must be an array of objects";
        Self::new(StatusCode::BAD_REQUEST, "ERROR_BAD_ARRAY", message)
    }

    /// Not now: others take up all the room.
    pub fn crowded() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ERROR", "The server is busy, try again later")
    }

    /// The server could not do its job.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "ERROR", "Internal Server Error")
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "request failed");
        match error {
            StoreError::Busy => Self::crowded(),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "ERROR_SQL", "Unexpected SQL Error"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json([self.code, self.message.replace(';', ",").as_str()])).into_response()
    }
}
