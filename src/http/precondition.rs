//! What a client wants to hold before a content is sent (RFC 9110 §13). Headers in, a verdict out; it reads no file and never fails:
//! dates that are none are ignored.

use std::time::UNIX_EPOCH;

use axum::http::{HeaderMap, HeaderName, header};

use crate::clock::Timestamp;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send what was asked for.
    Proceed,
    /// The client has this very content already: 304.
    Known,
    /// It is not the content that the client thinks of: 412.
    Failed,
}

/// Judges the preconditions of a GET or HEAD in their order (§13.2.2): a date counts only where there is no tag.
pub fn judge(asked: &HeaderMap, tag: &str, modified: Timestamp) -> Verdict {
    let is_meant = match tags(asked, header::IF_MATCH) {
        Some(tags) => names(&tags, |it| it == tag),
        None => date(asked, header::IF_UNMODIFIED_SINCE).is_none_or(|it| seconds(modified) <= it),
    };
    let is_known = match tags(asked, header::IF_NONE_MATCH) {
        Some(tags) => names(&tags, |it| it.strip_prefix("W/").unwrap_or(it) == tag),
        None => date(asked, header::IF_MODIFIED_SINCE).is_some_and(|it| seconds(modified) <= it),
    };
    match (is_meant, is_known) {
        (false, _) => Verdict::Failed,
        (true, true) => Verdict::Known,
        (true, false) => Verdict::Proceed,
    }
}

/// Whether one of the tags is meant; `*` is any.
fn names(tags: &str, is_meant: impl Fn(&str) -> bool) -> bool {
    tags.split(',').map(str::trim).any(|it| it == "*" || is_meant(it))
}

/// A list of tags, which may stand in several lines. One that is no text names nothing.
fn tags(asked: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<&str> = asked.get_all(name).iter().map(|it| it.to_str().unwrap_or_default()).collect();
    if lines.is_empty() { None } else { Some(lines.join(",")) }
}

/// Seconds since 1970.
fn date(asked: &HeaderMap, name: HeaderName) -> Option<u64> {
    let date = httpdate::parse_http_date(asked.get(name)?.to_str().ok()?).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|it| it.as_secs())
}

/// Headers know no milliseconds.
fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.0 / 1000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use Verdict::{Failed, Known, Proceed};
    use axum::http::HeaderValue;

    use super::*;

    const MATCH: &str = "if-match";
    const NONE: &str = "if-none-match";
    const MODIFIED: &str = "if-modified-since";
    const UNMODIFIED: &str = "if-unmodified-since";
    const BEFORE: &str = "Fri, 02 Sep 2016 13:57:40 GMT";
    const THEN: &str = "Fri, 02 Sep 2016 13:57:41 GMT";
    const AFTER: &str = "Fri, 02 Sep 2016 13:57:42 GMT";

    /// Of a content with the tag "abc" that came at [`THEN`] and a bit.
    fn check(headers: &[(&'static str, &str)], expected: Verdict) {
        let mut asked = HeaderMap::new();
        for (name, value) in headers {
            asked.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        assert_eq!(judge(&asked, "\"abc\"", Timestamp(1_472_824_661_234)), expected, "{headers:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn each_precondition_alone() {
        check(&[], Proceed);
        check(&[(MATCH, "\"abc\"")], Proceed);
        check(&[(MATCH, "\"x\", \"abc\"")], Proceed);
        check(&[(MATCH, "\"x\""), (MATCH, "\"abc\"")], Proceed);
        check(&[(MATCH, "*")], Proceed);
        check(&[(MATCH, "\"abd\"")], Failed);
        check(&[(MATCH, "W/\"abc\"")], Failed); // strong comparison
        check(&[(MATCH, "")], Failed);
        check(&[(MATCH, "\"é\"")], Failed);
        check(&[(UNMODIFIED, BEFORE)], Failed);
        check(&[(UNMODIFIED, THEN)], Proceed);
        check(&[(UNMODIFIED, AFTER)], Proceed);
        check(&[(UNMODIFIED, "yesterday")], Proceed); // ignored
        check(&[(NONE, "\"abc\"")], Known);
        check(&[(NONE, "W/\"abc\"")], Known); // weak comparison
        check(&[(NONE, "\"x\", \"abc\"")], Known);
        check(&[(NONE, "\"x\""), (NONE, "\"abc\"")], Known);
        check(&[(NONE, "*")], Known);
        check(&[(NONE, "\"abd\"")], Proceed);
        check(&[(MODIFIED, BEFORE)], Proceed);
        check(&[(MODIFIED, THEN)], Known);
        check(&[(MODIFIED, AFTER)], Known);
        check(&[(MODIFIED, "Friday, 02-Sep-16 13:57:41 GMT")], Known); // RFC 850
        check(&[(MODIFIED, "Fri Sep  2 13:57:41 2016")], Known); // asctime
        check(&[(MODIFIED, "2016-09-02")], Proceed); // ignored
        check(&[(MODIFIED, "")], Proceed);
    }

    #[test]
    #[rustfmt::skip]
    fn preconditions_together_in_their_order() {
        check(&[(MATCH, "\"abc\""), (UNMODIFIED, BEFORE)], Proceed); // the tag counts, not the date
        check(&[(MATCH, "\"abd\""), (UNMODIFIED, AFTER)], Failed);
        check(&[(NONE, "\"abd\""), (MODIFIED, AFTER)], Proceed);
        check(&[(NONE, "\"abc\""), (MODIFIED, BEFORE)], Known);
        check(&[(MATCH, "\"abd\""), (NONE, "\"abc\"")], Failed); // 412 before 304
        check(&[(MATCH, "\"abc\""), (NONE, "\"abc\"")], Known);
        check(&[(UNMODIFIED, BEFORE), (MODIFIED, BEFORE)], Failed);
        check(&[(UNMODIFIED, THEN), (MODIFIED, THEN)], Known);
        check(&[(MATCH, "*"), (MODIFIED, AFTER)], Known);
    }
}
