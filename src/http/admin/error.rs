//! Everything that can go wrong for an administrator, as a status and `{"error":"…"}`.

use axum::{
    Json,
    extract::{multipart::MultipartRejection, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    flows::{
        administer::{Refused, StoreError},
        files::NotReceived,
    },
    http::upload::NotTaken,
};

/// A status and a sentence.
#[derive(Debug)]
pub struct Error {
    status: StatusCode,
    body: Value,
}

impl Error {
    /// 404.
    pub fn absent(why: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, why)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        let why =
            "the bearer token is missing or wrong; the first one is in the file admin-token of the data directory";
        Self::new(StatusCode::UNAUTHORIZED, why)
    }

    /// 403.
    pub fn forbidden(why: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, why)
    }

    /// 422.
    pub fn invalid(why: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, why)
    }

    /// 422 with more than a sentence.
    pub fn lines(why: String, lines: &impl serde::Serialize) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, body: json!({ "error": why, "lines": lines }) }
    }

    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, body: json!({ "error": why.into() }) }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        tracing::error!("an administrator's request failed: {error}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let status = match &refused {
            Refused::Absent(_) => StatusCode::NOT_FOUND,
            Refused::Conflict(_) => StatusCode::CONFLICT,
            Refused::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, refused.to_string())
    }
}

impl From<JsonRejection> for Error {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<MultipartRejection> for Error {
    fn from(rejection: MultipartRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<NotTaken> for Error {
    fn from(reason: NotTaken) -> Self {
        let status = match &reason {
            NotTaken::Refused(refused) => return refused.clone().into(),
            NotTaken::Malformed(_) => StatusCode::BAD_REQUEST,
            NotTaken::Stalled => StatusCode::REQUEST_TIMEOUT,
            NotTaken::NotReceived(NotReceived::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            NotTaken::NotReceived(NotReceived::Full) => StatusCode::INSUFFICIENT_STORAGE,
            NotTaken::NotReceived(NotReceived::Busy(_)) => StatusCode::SERVICE_UNAVAILABLE,
            NotTaken::NotReceived(NotReceived::Disk(why)) => {
                tracing::error!("an upload failed: {why}");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, reason.to_string())
    }
}
