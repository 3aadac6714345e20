//! What is wrong about a configuration, as one sentence that names where and which key.

use figment::error::{Error, Kind};

/// A key is meant, if so few letters of it are others.
const SLIPS_MAX: usize = 3;

/// The first thing that is wrong. `source` says where a key comes from.
pub(super) fn sentence(error: Error, source: impl Fn(&[String]) -> String) -> String {
    let error = error.into_iter().next().unwrap_or_else(|| Error::from(String::new()));
    let (place, key) = (source(&error.path), error.path.join("."));
    match error.kind {
        Kind::UnknownField(found, known) => {
            let above = key.strip_suffix(found.as_str()).unwrap_or_default();
            let meant = nearest(&found, known).map(|it| format!("; did you mean {above}{it}?"));
            format!("{place}: there is no setting {above}{found}{}", meant.unwrap_or_default())
        }
        Kind::UnknownVariant(found, known) => {
            format!("{place}: {key} = \"{found}\" must be one of {}", known.join(", "))
        }
        Kind::InvalidType(found, wanted) | Kind::InvalidValue(found, wanted) => {
            format!("{place}: {key} is {found}, but must be {wanted}")
        }
        // Of a text that is no TOML: the lines that it draws around the fault may hold a secret.
        Kind::Message(text) if key.is_empty() => format!("{place}: {}", without_drawing(&text)),
        other => format!("{place}: {key}: {other}"),
    }
}

fn without_drawing(text: &str) -> String {
    text.lines().filter(|line| !line.contains('|') && !line.trim().is_empty()).collect::<Vec<_>>().join(": ")
}

fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let close = known.iter().map(|it| (distance(found, it), *it)).filter(|(slips, _)| *slips <= SLIPS_MAX);
    close.min().map(|(_, it)| it)
}

/// How many letters one has to add, take, change, or swap with the next (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut slips = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            slips[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let changed = slips[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
                let is_swapped = i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
                let swapped = if is_swapped { slips[i - 2][j - 2] + 1 } else { changed };
                changed.min(slips[i - 1][j] + 1).min(slips[i][j - 1] + 1).min(swapped)
            };
        }
    }
    slips[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_differ_are_counted() {
        for (one, other, slips) in [("", "", 0), ("", "abc", 3), ("tsl_listen", "tls_listen", 1), ("same", "same", 0)] {
            assert_eq!(distance(one, other), slips, "{one} {other}");
            assert_eq!(distance(other, one), slips, "{other} {one}");
        }
    }

    #[test]
    fn a_key_is_suggested_only_where_it_is_near() {
        assert_eq!(nearest("tsl_listen", &["tcp_listen", "tls_listen"]), Some("tls_listen"));
        assert_eq!(nearest("foo", &["tcp_listen", "tls_listen"]), None);
    }
}
