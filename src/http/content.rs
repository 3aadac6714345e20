//! A content on its way out: the headers that Flyve's agents and documents know, the part that was asked for, and a body that is
//! read from the disk as fast as the client takes it.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    error::ApiError,
    precondition::{self, Verdict},
    range::Part,
};
use crate::{
    clock::Timestamp,
    config::RangeSuffix,
    flows::{Flows, guard::Owed},
    metrics::{Metrics, Outcome},
};

/// Bytes that are read and sent in one go.
const PIECE_BYTES: u64 = 64 << 10;
/// Pieces of one download that wait to be sent.
const PIECES_WAITING_MAX: usize = 1;

/// Marks an answer whose headers are complete: they are not those of the JSON answers.
#[derive(Debug, Clone, Copy)]
pub struct Dressed;

/// What is sent of a content.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Open for reading.
    pub file: File,
    /// Its length.
    pub size: u64,
    /// SHA-256, 64 hexadecimal digits.
    pub blob: &'a str,
    /// What the client shall call it.
    pub name: &'a str,
    /// When it came.
    pub updated_at: Timestamp,
}

/// Sends a content, or the part of it that was asked for.
///
/// # Errors
/// It is not the content that the client means, the part lies behind the end, or too many others download.
pub async fn send(
    flows: &Flows,
    method: &Method,
    asked: &HeaderMap,
    content: Outgoing<'_>,
) -> Result<Response, ApiError> {
    let suffix = flows.config.http.range_suffix;
    let (tag, modified) = (format!("\"{}\"", content.blob), content.updated_at.http());
    let wish = text(asked, header::RANGE).filter(|_| is_unchanged(text(asked, header::IF_RANGE), &tag, &modified));
    let part = Part::of(wish, content.size, suffix);
    let mut headers = dress(&content, &tag, &modified);
    match precondition::judge(asked, &tag, content.updated_at) {
        Verdict::Proceed => {}
        Verdict::Failed => {
            let message = "The content is not the one that was asked for";
            return Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "ERROR_PRECONDITION_FAILED", message));
        }
        Verdict::Known => {
            let mut response = (StatusCode::NOT_MODIFIED, headers).into_response();
            response.extensions_mut().insert(Dressed);
            return Ok(response);
        }
    }
    let (start, length) = part.extent(content.size);
    match part {
        Part::Unsatisfiable => {
            let message = "The requested range is not satisfiable";
            let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "ERROR_RANGE_NOT_SATISFIABLE", message);
            return Ok(([(header::CONTENT_RANGE, format!("bytes */{}", content.size))], error).into_response());
        }
        // On a whole answer the header is Flyve's habit; an empty content has no first byte to name.
        Part::Whole if suffix == RangeSuffix::Rfc || content.size == 0 => {}
        Part::Whole | Part::Bytes { .. } => {
            let range = format!("bytes {start}-{}/{}", start + length - 1, content.size);
            set(&mut headers, header::CONTENT_RANGE, &range);
        }
    }
    set(&mut headers, header::CONTENT_LENGTH, &length.to_string());
    if !text(asked, header::CONNECTION).is_some_and(|it| it.eq_ignore_ascii_case("close")) {
        set(&mut headers, header::CONNECTION, "keep-alive");
    }
    let body = if method == Method::HEAD || length == 0 {
        Body::empty()
    } else {
        let Some(turn) = flows.download_turn().await else { return Err(come_again()) };
        let stall = Duration::from_secs(flows.config.files.stall_timeout_s.into());
        let reading = Reading { file: Arc::new(content.file), at: start, end: start + length, stall };
        body(reading, flows.metrics.clone(), turn)
    };
    let status = if matches!(part, Part::Bytes { .. }) { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = (status, headers, body).into_response();
    response.extensions_mut().insert(Dressed);
    response.extensions_mut().insert(Owed);
    Ok(response)
}

/// The answer for a content that is not on the disk although its row is: agents know it with an empty body.
pub fn missing() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

fn come_again() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ERROR", "Too many downloads at once, try again later")
}

/// Without `If-Range`, or with one that names this very content (RFC 9110 §13.1.5: weak tags never do).
fn is_unchanged(if_range: Option<&str>, tag: &str, modified: &str) -> bool {
    if_range.is_none_or(|it| it == tag || it == modified)
}

fn dress(content: &Outgoing, tag: &str, modified: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let fixed = [
        (header::ACCEPT_RANGES, "bytes"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "content-type, content-range, accept-range"),
        (header::CACHE_CONTROL, "private, must-revalidate"),
        (HeaderName::from_static("content-transfer-encoding"), "binary"),
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::EXPIRES, "Mon, 26 Nov 1962 00:00:00 GMT"),
        (header::PRAGMA, "private"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    set(&mut headers, header::CONTENT_DISPOSITION, &disposition(content.name));
    set(&mut headers, header::ETAG, tag);
    set(&mut headers, header::LAST_MODIFIED, modified);
    headers
}

/// The name as plain as old clients need it, and again as it really is where that differs (RFC 6266).
fn disposition(name: &str) -> String {
    let is_plain = |it: char| (it.is_ascii_graphic() || it == ' ') && !matches!(it, '"' | '\\');
    let plain: String = name.chars().map(|it| if is_plain(it) { it } else { '_' }).collect();
    if plain == name {
        return format!("attachment; filename=\"{plain}\"");
    }
    let quoted: String = name
        .bytes()
        .map(|it| {
            if it.is_ascii_alphanumeric() || b"-._~".contains(&it) {
                char::from(it).into()
            } else {
                format!("%{it:02X}")
            }
        })
        .collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{quoted}")
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    // A header that is no text asks for nothing that we understand.
    headers.get(name).map(|it| it.to_str().unwrap_or_default())
}

type Piece = Result<Bytes, std::io::Error>;

/// What is left to read of a content.
struct Reading {
    file: Arc<File>,
    at: u64,
    end: u64,
    stall: Duration,
}

/// A body that holds its turn until the last byte is gone, or until the client has taken none for too long.
fn body(reading: Reading, metrics: Arc<Metrics>, turn: OwnedSemaphorePermit) -> Body {
    let (pieces, waiting) = mpsc::channel::<Piece>(PIECES_WAITING_MAX);
    tokio::spawn(async move {
        let is_complete = reading.all(&metrics, pieces).await;
        let outcome = if is_complete { "complete" } else { "broken" };
        metrics.downloads.get_or_create(&Outcome { outcome }).inc();
        drop(turn);
    });
    Body::from_stream(futures_util::stream::unfold(waiting, |mut waiting| async move {
        waiting.recv().await.map(|piece| (piece, waiting))
    }))
}

impl Reading {
    /// Whether all of it was taken. Where not, the body is shorter than it announced and the connection closes.
    async fn all(mut self, metrics: &Metrics, pieces: mpsc::Sender<Piece>) -> bool {
        while self.at < self.end {
            let (file, at, wanted) = (self.file.clone(), self.at, PIECE_BYTES.min(self.end - self.at));
            let read = tokio::task::spawn_blocking(move || read_piece(&file, at, wanted)).await;
            let piece = read.unwrap_or_else(|e| Err(std::io::Error::other(e.to_string())));
            let is_read = piece.is_ok();
            if pieces.send_timeout(piece, self.stall).await.is_err() || !is_read {
                return false;
            }
            self.at += wanted;
            metrics.contents_sent.inc_by(wanted);
        }
        true
    }
}

fn read_piece(file: &File, at: u64, wanted: u64) -> Piece {
    let mut piece = vec![0; usize::try_from(wanted).unwrap_or_default()];
    file.read_exact_at(&mut piece, at)?;
    Ok(piece.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_header() {
        fn check(name: &str, expected: &str) {
            let is = disposition(name);
            assert_eq!(is, format!("attachment; {expected}"));
            assert!(HeaderValue::try_from(is).is_ok());
        }
        check("b_1_q_0_p_0.jpg", r#"filename="b_1_q_0_p_0.jpg""#);
        check("my file.txt", r#"filename="my file.txt""#);
        check("été.txt", r#"filename="_t_.txt"; filename*=UTF-8''%C3%A9t%C3%A9.txt"#);
        check(r#"a"b\c"#, r#"filename="a_b_c"; filename*=UTF-8''a%22b%5Cc"#);
        check("a\r\nX: y", r#"filename="a__X: y"; filename*=UTF-8''a%0D%0AX%3A%20y"#);
    }

    #[test]
    fn a_range_holds_for_the_content_it_was_made_for() {
        fn check(if_range: Option<&str>, expected: bool) {
            let modified = "Fri, 02 Sep 2016 13:57:41 GMT";
            assert_eq!(is_unchanged(if_range, "\"abc\"", modified), expected, "{if_range:?}");
        }
        check(None, true);
        check(Some("\"abc\""), true);
        check(Some("Fri, 02 Sep 2016 13:57:41 GMT"), true);
        check(Some("W/\"abc\""), false);
        check(Some("\"abd\""), false);
        check(Some("Fri, 02 Sep 2016 13:57:42 GMT"), false);
        check(Some(""), false);
    }
}
