//! The only code that reads the machine's clocks. Everything else is told what time it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment plus a duration.
    pub fn after(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// RFC 3339 in UTC with seconds, as the JSON of the command line prints it: `2026-11-23T04:18:00Z`.
    pub fn rfc3339(self) -> String {
        let (year, month, day) = self.civil_date();
        let second = self.0.div_euclid(1000).rem_euclid(86_400);
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
    }

    /// `Mon, 23 Nov 2026 04:18:00 GMT`, the form HTTP uses in its headers.
    pub fn http(self) -> String {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]; // 1970 began on a Thursday
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (year, month, day) = self.civil_date();
        let name = |names: &[&'static str], at: i64| usize::try_from(at).ok().and_then(|at| names.get(at).copied());
        let weekday = name(&DAYS, self.0.div_euclid(86_400_000).rem_euclid(7)).unwrap_or_default();
        let month = name(&MONTHS, month - 1).unwrap_or_default();
        let second = self.0.div_euclid(1000).rem_euclid(86_400);
        let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
        format!("{weekday}, {day:02} {month} {year:04} {hours:02}:{minutes:02}:{seconds:02} GMT")
    }

    /// `2026-11-23 04:18:00`, the form GLPI uses in its JSON.
    pub fn glpi(self) -> String {
        self.rfc3339().replace('T', " ").replace('Z', "")
    }

    /// Days to year, month and day in the proleptic Gregorian calendar (era arithmetic on 400-year cycles).
    fn civil_date(self) -> (i64, i64, i64) {
        let shifted = self.0.div_euclid(86_400_000) + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        (year_of_era + era * 400 + i64::from(month <= 2), month, day)
    }
}

/// Where the time comes from: the machine, or a test that moves it by hand.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clocks.
    System,
    /// Milliseconds since 1970 that a test sets.
    Manual(Arc<AtomicI64>),
}

#[expect(clippy::disallowed_methods, reason = "this is the place that may read the clocks")]
impl Clock {
    /// Wall-clock time, for what is written down.
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Clock::Manual(millis) => Timestamp(millis.load(Ordering::Relaxed)),
        }
    }

    /// Monotonic time, for deadlines.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_calendar_dates() {
        assert_eq!(Timestamp(0).rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp(1_499_364_642_000).rfc3339(), "2017-07-06T18:10:42Z");
        assert_eq!(Timestamp(951_782_400_000).rfc3339(), "2000-02-29T00:00:00Z");
        assert_eq!(Timestamp(-1).rfc3339(), "1969-12-31T23:59:59Z");
        assert_eq!(Timestamp(1_499_364_642_000).glpi(), "2017-07-06 18:10:42");
        assert_eq!(Timestamp(1_499_364_642_000).http(), "Thu, 06 Jul 2017 18:10:42 GMT");
        assert_eq!(Timestamp(1_472_817_461_000).http(), "Fri, 02 Sep 2016 11:57:41 GMT");
        assert_eq!(Timestamp(-1).http(), "Wed, 31 Dec 1969 23:59:59 GMT");
    }
}
