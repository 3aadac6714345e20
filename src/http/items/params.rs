//! Parameters of lists and searches, in PHP's way of writing nested names: `criteria[0][field]=2&forcedisplay[]=3`.

use std::collections::BTreeMap;

use axum::http::StatusCode;

use crate::{
    http::{agents::request::Request, error::ApiError},
    store::items::{
        CRITERIA_MAX, Comparison, Criterion, ItemType, Link, Page, ROWS_MAX, SearchOption, Searched, Window,
    },
};

/// Rows of an answer that nobody asked a range for.
const ROWS_DEFAULT: i64 = 50;
/// Columns of a search.
const COLUMNS_MAX: usize = 100;

/// `range=0-49`.
pub fn window(request: &Request) -> Result<Window, ApiError> {
    let text = request.text("range");
    if text.is_empty() {
        return Ok(Window { start: 0, count: ROWS_DEFAULT });
    }
    let number = |text: &str| {
        let is_digits = text.bytes().all(|it| it.is_ascii_digit());
        text.parse::<i64>().ok().filter(|_| is_digits)
    };
    match text.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?))) {
        Some((first, last)) if first <= last => {
            Ok(Window { start: first, count: (last - first).saturating_add(1).min(ROWS_MAX) })
        }
        _ => Err(bad("range must be in format : [start-end] with integers")),
    }
}

/// `0-49/200`, once the window is known to begin inside the list.
pub fn content_range(window: Window, page: &Page) -> Result<String, ApiError> {
    if window.start > page.total {
        let message = format!("Provided range exceed total count of data: {}", page.total);
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "ERROR_RANGE_EXCEED_TOTAL", message));
    }
    let shown = i64::try_from(page.rows.len()).unwrap_or(i64::MAX);
    let last = window.start.saturating_add(shown).saturating_sub(1).max(window.start);
    Ok(format!("{}-{last}/{}", window.start, page.total))
}

/// `order=DESC`.
pub fn is_descending(request: &Request) -> bool {
    request.text("order").eq_ignore_ascii_case("desc")
}

/// The texts in `name[key]=…`, with their keys.
pub fn texts<'a>(request: &'a Request, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    request.query.iter().filter_map(move |(full, value)| Some((inner(full, name)?, value.as_str())))
}

/// `forcedisplay=2`, `forcedisplay[]=2`, `forcedisplay[0]=2`, and those that are always there, once each.
pub fn columns(request: &Request, of: &'static ItemType) -> Result<Vec<&'static SearchOption>, ApiError> {
    let mut shown: Vec<&'static SearchOption> = [1, 2].into_iter().filter_map(|number| of.option(number)).collect();
    let given =
        request.query.iter().filter(|(full, _)| full == "forcedisplay" || inner(full, "forcedisplay").is_some());
    for (_, value) in given {
        // What a type does not have is not shown; other versions have more.
        if let Some(option) = value.trim().parse().ok().and_then(|number| of.option(number))
            && shown.iter().all(|it| it.number != option.number)
        {
            shown.push(option);
        }
    }
    if shown.len() > COLUMNS_MAX { Err(bad("forcedisplay has too many columns")) } else { Ok(shown) }
}

/// `criteria[0][field]=5&criteria[0][searchtype]=contains&criteria[0][value]=17&criteria[1][link]=AND…`
pub fn criteria(request: &Request, of: &'static ItemType) -> Result<Vec<Criterion>, ApiError> {
    let malformed = || bad("Malformed search criteria");
    let mut rows: BTreeMap<u32, BTreeMap<&str, &str>> = BTreeMap::new();
    for (full, value) in &request.query {
        if full.starts_with("metacriteria") {
            return Err(bad("metacriteria are not supported"));
        }
        let Some(rest) = full.strip_prefix("criteria") else { continue };
        let (at, member) = rest
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .and_then(|rest| rest.split_once("]["))
            .ok_or_else(malformed)?;
        let at = at.parse().map_err(|_| malformed())?;
        rows.entry(at).or_default().insert(member, value);
        if rows.len() > CRITERIA_MAX {
            return Err(bad("Malformed search criteria: too many"));
        }
    }
    rows.values().map(|row| criterion(row, of)).collect()
}

fn criterion(row: &BTreeMap<&str, &str>, of: &'static ItemType) -> Result<Criterion, ApiError> {
    let malformed = || bad("Malformed search criteria");
    let (Some(field), Some(searchtype), Some(value)) = (row.get("field"), row.get("searchtype"), row.get("value"))
    else {
        return Err(malformed());
    };
    let field = match *field {
        "all" | "view" => Searched::Any,
        number => {
            let option = number.parse().ok().and_then(|number| of.option(number));
            Searched::One(option.ok_or_else(|| bad("Bad field ID in search criteria"))?)
        }
    };
    let (field, comparison) = match (*searchtype, field) {
        ("under", Searched::One(option)) if option.is_tree() => (Searched::Tree(option), Comparison::Equals),
        ("notunder", Searched::One(option)) if option.is_tree() => (Searched::Tree(option), Comparison::NotEquals),
        (other, field) => (field, Comparison::parse(other).ok_or_else(malformed)?),
    };
    Ok(Criterion {
        link: Link::parse(row.get("link").unwrap_or(&"")).ok_or_else(malformed)?,
        field,
        comparison,
        value: (*value).to_owned(),
    })
}

/// `key` of `name[key]`.
fn inner<'a>(full: &'a str, name: &str) -> Option<&'a str> {
    full.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')
}

fn bad(message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "ERROR", message)
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request as HttpRequest};

    use super::*;
    use crate::{flows::guard::Budget, store::items::item_type};

    async fn request(query: &str) -> Request {
        let request = HttpRequest::builder().uri(format!("/search/PluginFlyvemdmAgent/?{query}"));
        Request::read(request.body(Body::empty()).unwrap(), 1000, &Budget::new(0)).await.unwrap()
    }

    async fn check_window(text: &str, expected: Option<(i64, i64)>) {
        let window = window(&request(&format!("range={text}")).await);
        assert_eq!(window.ok().map(|it| (it.start, it.count)), expected, "{text}");
    }

    #[tokio::test]
    async fn ranges_are_read_strictly() {
        check_window("", Some((0, ROWS_DEFAULT))).await;
        check_window("0-0", Some((0, 1))).await;
        check_window("10-19", Some((10, 10))).await;
        check_window("0-999999999", Some((0, ROWS_MAX))).await;
        check_window("0-9223372036854775807", Some((0, ROWS_MAX))).await;
        for bad in ["5", "5-", "-5", "9-1", "a-b", "0-1-2", "+0-1", "0-99999999999999999999"] {
            check_window(bad, None).await;
        }
    }

    async fn check(query: &str, expected: Result<&str, &str>) {
        let of = item_type("PluginFlyvemdmAgent").unwrap();
        let shown = |it: &Criterion| {
            let field = match it.field {
                Searched::One(option) => option.number.to_string(),
                Searched::Any => "any".into(),
                Searched::Tree(option) => format!("tree {}", option.number),
            };
            format!("{:?} {field} {:?} {}", it.link, it.comparison, it.value)
        };
        let read = criteria(&request(query).await, of);
        let read = read.map(|all| all.iter().map(shown).collect::<Vec<_>>().join(", ")).map_err(|e| e.message);
        assert_eq!(read.as_ref().map(String::as_str).map_err(String::as_str), expected, "{query}");
    }

    #[tokio::test]
    async fn criteria_are_read_as_php_writes_them() {
        let malformed = Err("Malformed search criteria");
        check("", Ok("")).await;
        check(
            "criteria[0][field]=2&criteria[0][searchtype]=contains&criteria[0][value]=17&criteria[1][link]=OR%20NOT\
             &criteria[1][field]=view&criteria[1][searchtype]=equals&criteria[1][value]=a%26b",
            Ok("And 2 Contains 17, OrNot any Equals a&b"),
        )
        .await;
        check(
            "criteria%5B7%5D%5Bfield%5D=2&criteria%5B7%5D%5Bsearchtype%5D=lessthan&criteria%5B7%5D%5Bvalue%5D=3",
            Ok("And 2 LessThan 3"),
        )
        .await;
        check(
            "criteria[0][field]=17&criteria[0][searchtype]=under&criteria[0][value]=3&criteria[1][field]=80\
             &criteria[1][searchtype]=notunder&criteria[1][value]=4",
            Ok("And tree 17 Equals 3, And tree 80 NotEquals 4"),
        )
        .await;
        check("criteria[0][field]=2&criteria[0][searchtype]=under&criteria[0][value]=3", malformed).await;
        check("criteria[0][field]=2&criteria[0][searchtype]=contains", malformed).await;
        check("criteria[0][field]=2&criteria[0][searchtype]=like&criteria[0][value]=", malformed).await;
        check(
            "criteria[0][field]=2&criteria[0][searchtype]=equals&criteria[0][value]=1&criteria[0][link]=XOR",
            malformed,
        )
        .await;
        check(
            "criteria[0][field]=99&criteria[0][searchtype]=equals&criteria[0][value]=1",
            Err("Bad field ID in search criteria"),
        )
        .await;
        for broken in ["criteria=1", "criteria[]=1", "criteria[x][field]=1", "criteria[0]field=1", "criteria[0][field"]
        {
            check(&format!("{broken}=1"), malformed).await;
        }
        let many: String = (0..=CRITERIA_MAX).map(|it| format!("criteria[{it}][field]=2&")).collect();
        check(&many, Err("Malformed search criteria: too many")).await;
        check("metacriteria[0][field]=1", Err("metacriteria are not supported")).await;
    }
}
