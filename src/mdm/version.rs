//! Versions of agents, found and compared as PHP servers did. Refuses nothing: a text without a version has none.

use std::cmp::Ordering;

/// The first `x.y.z` in a text, with its pre-release, if any. A leading `v` and anything else around it is passed over.
pub fn find(text: &str) -> Option<&str> {
    let starts = text.char_indices().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at);
    starts.into_iter().find_map(|start| length(&text[start..]).map(|length| &text[start..start + length]))
}

/// Bytes of the `x.y.z[-pre]` that the text starts with.
fn length(text: &str) -> Option<usize> {
    let mut at = 0;
    for part in 0..3 {
        if part > 0 {
            at += text[at..].strip_prefix('.').map(|_| 1)?;
        }
        let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        at += digits;
    }
    let rest = &text[at..];
    let is_pre = |it: &u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-');
    let pre = rest.strip_prefix('-').map_or(0, |it| 1 + it.bytes().take_while(is_pre).count());
    Some(at + if pre > 1 { pre } else { 0 })
}

/// PHP's `version_compare`: numbers by value, then words in the order of a release's life. What has more numbers is later,
/// so `2.0.0-rc.5` passes a minimum of `2.0` (spec/http.md §4.2).
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (parts(left), parts(right));
    for at in 0..left.len().max(right.len()) {
        let order = match (left.get(at), right.get(at)) {
            (Some(a), Some(b)) => part_order(a, b),
            (Some(a), None) => part_order(a, "#"),
            (None, Some(b)) => part_order("#", b),
            (None, None) => Ordering::Equal,
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Splits at punctuation and wherever digits meet letters.
fn parts(version: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for word in version.split(|c: char| !c.is_ascii_alphanumeric()).filter(|it| !it.is_empty()) {
        let mut rest = word;
        while let Some(first) = rest.bytes().next() {
            let length = rest.bytes().take_while(|it| it.is_ascii_digit() == first.is_ascii_digit()).count();
            parts.push(&rest[..length]);
            rest = &rest[length..];
        }
    }
    parts
}

fn part_order(a: &str, b: &str) -> Ordering {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn number(part: &str) -> Option<u128> {
    part.starts_with(|c: char| c.is_ascii_digit()).then(|| part.parse().unwrap_or(u128::MAX))
}

/// An end (`#`) is later than a release candidate and earlier than a further number.
fn rank(part: &str) -> u8 {
    match part.to_ascii_lowercase().as_str() {
        it if it.starts_with("dev") => 1,
        it if it.starts_with('a') => 2,
        it if it.starts_with('b') => 3,
        it if it.starts_with("rc") || it.starts_with('c') => 4,
        "#" => 5,
        it if it.starts_with(|c: char| c.is_ascii_digit()) => 6,
        it if it.starts_with('p') => 7,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_wherever_it_stands() {
        assert_eq!(find("0.99.0"), Some("0.99.0"));
        assert_eq!(find("v2.0.0-rc.7"), Some("2.0.0-rc.7"));
        assert_eq!(find("Flyve 1.2.3+build5 x"), Some("1.2.3"));
        assert_eq!(find("1.2 and 3.4.5-"), Some("3.4.5"));
        assert_eq!(find("1.2"), None);
        assert_eq!(find("1..2.3"), None);
        assert_eq!(find("ü1.2.ü"), None);
    }

    #[test]
    fn versions_order_as_in_php() {
        let check = |left, right, order| assert_eq!(compare(left, right), order, "{left} {right}");
        check("2.0.0", "2.0", Ordering::Greater);
        check("2.0.0-rc.5", "2.0", Ordering::Greater);
        check("2.0.0-rc.5", "2.0.0", Ordering::Less);
        check("2.0.0-beta.1", "2.0.0-rc.1", Ordering::Less);
        check("2.0.10", "2.0.9", Ordering::Greater);
        check("0.99.0", "2.0", Ordering::Less);
        check("2.0.0", "2.0.0", Ordering::Equal);
        check("99999999999999999999999999999999999999999999.0.0", "2.0", Ordering::Greater);
    }
}
