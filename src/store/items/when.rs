//! Dates as people type them into searches.

/// The milliseconds since 1970 at which a date begins and ends. It may be cut anywhere: `2026`, `2026-11`, `2026-11-23`,
/// `2026-11-23 04:18`, `2026-11-23 04:18:00`.
pub fn span(text: &str) -> Option<(i64, i64)> {
    let text = text.trim();
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, ""));
    let date = numbers(date, '-', &[(1, 9999), (1, 12), (1, 31)])?;
    let time = if time.is_empty() { Vec::new() } else { numbers(time, ':', &[(0, 23), (0, 59), (0, 59)])? };
    let (year, month, day) = (*date.first()?, date.get(1).copied(), date.get(2).copied());
    if !time.is_empty() && day.is_none() {
        return None;
    }
    let start_day = days(year, month.unwrap_or(1), day.unwrap_or(1));
    let end_day = match (month, day) {
        (None, _) => days(year + 1, 1, 1),
        (Some(12), None) => days(year + 1, 1, 1),
        (Some(month), None) => days(year, month + 1, 1),
        (Some(_), Some(_)) => start_day + 1,
    };
    let (day_ms, unit_ms) = match time[..] {
        [] => return Some((start_day * 86_400_000, end_day * 86_400_000)),
        [hour] => (hour * 3_600_000, 3_600_000),
        [hour, minute] => (hour * 3_600_000 + minute * 60_000, 60_000),
        [hour, minute, second, ..] => (hour * 3_600_000 + minute * 60_000 + second * 1000, 1000),
    };
    let start = start_day * 86_400_000 + day_ms;
    Some((start, start + unit_ms))
}

fn numbers(text: &str, separator: char, bounds: &[(i64, i64)]) -> Option<Vec<i64>> {
    let parts: Vec<&str> = text.split(separator).collect();
    if parts.len() > bounds.len() {
        return None;
    }
    let within = |(part, (least, most)): (&&str, &(i64, i64))| {
        let is_digits = part.bytes().all(|it| it.is_ascii_digit());
        part.parse::<i64>().ok().filter(|it| is_digits && (least..=most).contains(&it))
    };
    parts.iter().zip(bounds).map(within).collect()
}

/// Days since 1970 in the proleptic Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn dates_are_spans() {
        fn check(text: &str, expected: Option<(&str, &str)>) {
            let found = span(text).map(|(start, end)| (Timestamp(start).glpi(), Timestamp(end).glpi()));
            let expected = expected.map(|(start, end)| (start.to_owned(), end.to_owned()));
            assert_eq!(found, expected, "{text}");
        }
        check("2017-07-06 18:10:42", Some(("2017-07-06 18:10:42", "2017-07-06 18:10:43")));
        check("2017-07-06T18:10", Some(("2017-07-06 18:10:00", "2017-07-06 18:11:00")));
        check("2017-07-06", Some(("2017-07-06 00:00:00", "2017-07-07 00:00:00")));
        check("2000-02", Some(("2000-02-01 00:00:00", "2000-03-01 00:00:00")));
        check("2016-12", Some(("2016-12-01 00:00:00", "2017-01-01 00:00:00")));
        check("1999", Some(("1999-01-01 00:00:00", "2000-01-01 00:00:00")));
        for bad in ["", "x", "2017-13", "2017-00-01", "2017-01-01-01", "2017 10", "2017-01-01 25", "+2017", "99999"] {
            check(bad, None);
        }
    }
}
