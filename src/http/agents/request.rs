//! One request of an agent, read with all the tolerance that the shipped agents need (spec/http.md §1.1).

use std::{future::poll_fn, pin::Pin, sync::Arc};

use axum::{
    body::{Body, HttpBody},
    extract::Query,
    http::{HeaderMap, Method, Request as HttpRequest, StatusCode, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use crate::{
    flows::guard::{Budget, Share},
    http::error::ApiError,
    mdm::weight,
};

/// A body over the limit is read on and thrown away up to this multiple of the limit, so that the client gets to read its answer.
const DRAINED_TIMES_MAX: usize = 2;

/// A body of so many bytes takes nothing from the memory that all share: there are only so many connections.
pub const SMALL_BYTES: usize = 4096;
/// Nor does the tree that becomes of it, up to so many bytes.
const SMALL_TREE_BYTES: usize = 16 * 1024;

/// What an agent asks.
#[derive(Clone)]
pub struct Request {
    /// How.
    pub method: Method,
    /// The parts of the path behind the base.
    pub path: Vec<String>,
    /// Query, body and headers, merged in this order.
    pub params: Map<String, Value>,
    /// The query alone, in order, with names that come again and again.
    pub query: Vec<(String, String)>,
    /// The text of a body that is no JSON.
    pub bare_body: Option<String>,
    /// As they came.
    pub headers: HeaderMap,
    /// The memory that the body takes, until the request is answered.
    _share: Option<Arc<Share>>,
}

impl std::fmt::Debug for Request {
    /// Parameters and headers hold tokens and passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

impl Request {
    /// Reads all of it.
    ///
    /// # Errors
    /// The body is too large or broke off, or there are too many others.
    pub async fn read(
        request: HttpRequest<Body>,
        body_bytes_max: usize,
        bodies: &Arc<Budget>,
    ) -> Result<Request, ApiError> {
        let (parts, body) = request.into_parts();
        let mut params = Map::new();
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map(|it| it.0).unwrap_or_default();
        params.extend(query.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))));
        let refused_at = body_bytes_max.saturating_mul(if asks_first(&parts.headers) { 1 } else { DRAINED_TIMES_MAX });
        if body.size_hint().lower() > refused_at as u64 {
            return Err(too_large());
        }
        let (body, mut share) = read_body(body, body_bytes_max, bodies).await?;
        // A text of tiny objects becomes a hundred times as much.
        let beyond = weight::of_tree(&body).saturating_sub(SMALL_TREE_BYTES);
        if !share.as_mut().is_none_or(|it| it.grow(beyond)) {
            return Err(if beyond > bodies.bytes_max() { too_large() } else { ApiError::crowded() });
        }
        let text = decoded(body);
        let mut bare_body = None;
        if !text.trim().is_empty() {
            match serde_json::from_str::<Value>(&text) {
                Ok(Value::Object(members)) => params.extend(members),
                Ok(_) | Err(_) => bare_body = Some(text),
            }
        }
        merge_headers(&mut params, &parts.headers);
        let path = path_behind_base(parts.uri.path());
        let _share = share.map(Arc::new);
        Ok(Request { method: parts.method, path, params, query, bare_body, headers: parts.headers, _share })
    }

    /// A parameter as text; "" when it is absent or no scalar.
    pub fn text(&self, name: &str) -> String {
        match self.params.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// Whether a switch is on: everything but nothing, `0` and `false`.
    pub fn is_on(&self, name: &str) -> bool {
        match self.params.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Number(number)) => number.as_i64() != Some(0),
            Some(Value::String(text)) => !matches!(text.as_str(), "0" | "false"),
            _ => false,
        }
    }

    /// The endpoint; "" when there is none.
    pub fn endpoint(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }

    /// The number of the item in the path.
    ///
    /// # Errors
    /// Not a positive number: there is no such item.
    pub fn id(&self) -> Result<Option<i64>, ApiError> {
        match self.path.get(1) {
            None => Ok(None),
            Some(text) => text.parse().ok().filter(|it| *it > 0).map(Some).ok_or_else(ApiError::no_item),
        }
    }
}

/// Whether a client sends its body only when it is told to go on.
fn asks_first(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn too_large() -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "ERROR", "The request body is too large")
}

/// Up to the limit, and as long as there is room. What is beyond is thrown away as it comes.
async fn read_body(
    mut body: Body,
    bytes_max: usize,
    bodies: &Arc<Budget>,
) -> Result<(Vec<u8>, Option<Share>), ApiError> {
    let (mut bytes, mut share, mut total, mut is_crowded) = (Vec::new(), bodies.take(0), 0_usize, false);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(data) = frame.map_err(|_| ApiError::bad_request())?.into_data() else { continue };
        total = total.saturating_add(data.len());
        if total > bytes_max.saturating_mul(DRAINED_TIMES_MAX) {
            break;
        }
        let beyond = total.saturating_sub(SMALL_BYTES);
        let is_kept = total <= bytes_max && share.as_mut().is_some_and(|it| it.grow(beyond - it.bytes()));
        if is_kept {
            bytes.extend_from_slice(&data);
        } else {
            is_crowded |= total <= bytes_max;
            (bytes, share) = (Vec::new(), None);
        }
    }
    if total > bytes_max {
        return Err(too_large());
    }
    if is_crowded { Err(ApiError::crowded()) } else { Ok((bytes, share)) }
}

/// Android writes the low byte of every character: what is not UTF-8 is ISO-8859-1.
fn decoded(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect())
}

/// The API answers alike under `/`, `/api`, `/apirest.php` and `/glpi/apirest.php`, and does not count slashes.
fn path_behind_base(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path.split('/').filter(|it| !it.is_empty()).map(str::to_owned).collect();
    let base = match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["glpi", "apirest.php", ..] => 2,
        ["api" | "apirest.php", ..] => 1,
        _ => 0,
    };
    parts.drain(..base);
    parts
}

fn merge_headers(params: &mut Map<String, Value>, headers: &HeaderMap) {
    for (header, name) in [("session-token", "session_token"), ("user_token", "user_token")] {
        if let Some(value) = headers.get(header).and_then(|it| it.to_str().ok()).filter(|it| !it.is_empty()) {
            params.insert(name.into(), value.into());
        }
    }
    let authorization = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok()).unwrap_or_default();
    match authorization.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("user_token") => {
            params.insert("user_token".into(), token.trim().into());
        }
        Some((scheme, pair)) if scheme.eq_ignore_ascii_case("basic") => {
            let pair = STANDARD.decode(pair.trim()).map(decoded).unwrap_or_default();
            let (login, password) = pair.split_once(':').unwrap_or((&pair, ""));
            params.insert("login".into(), login.into());
            params.insert("password".into(), password.into());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_the_same_under_every_base() {
        for base in ["", "/api", "/apirest.php", "/glpi/apirest.php", "//glpi//apirest.php", "/"] {
            assert_eq!(
                path_behind_base(&format!("{base}/PluginFlyvemdmAgent//17/")),
                ["PluginFlyvemdmAgent", "17"],
                "{base}"
            );
        }
        assert!(path_behind_base("/").is_empty());
        assert!(path_behind_base("/glpi/apirest.php/").is_empty());
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_latin_1() {
        assert_eq!(decoded(b"Jos\xe9".to_vec()), "Jos\u{e9}");
        assert_eq!(decoded("Jos\u{e9}".as_bytes().to_vec()), "Jos\u{e9}");
    }
}
