//! Token buckets, kept as the one moment at which they are full again.

use std::time::{Duration, Instant};

use super::table::Fading;

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Between two, on the long run.
    interval: Duration,
    /// How far ahead of that a burst may run.
    slack: Duration,
}

impl Rate {
    /// `count` times per `window`, and `burst` times at once. `None`: a count of 0 means that nothing is limited.
    pub fn new(count: u32, window: Duration, burst: u32) -> Option<Rate> {
        let interval = window.checked_div(count)?;
        Some(Rate { interval, slack: interval.saturating_mul(burst.max(1) - 1) })
    }
}

/// Tokens of somebody. Full to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// With all its tokens.
    pub fn full(now: Instant) -> Bucket {
        Bucket { full_at: now }
    }

    /// With none of them.
    pub fn empty(rate: &Rate, now: Instant) -> Bucket {
        Bucket { full_at: now + rate.slack + rate.interval }
    }

    /// Takes a token, or says how long there will be none.
    pub fn take(&mut self, rate: &Rate, now: Instant) -> Result<(), Duration> {
        let wait = self.wait(rate, now);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.full_at = self.full_at.max(now) + rate.interval;
        Ok(())
    }

    /// Takes a token that may not be there, up to `ahead` tokens that are not.
    pub fn owe(&mut self, rate: &Rate, now: Instant, ahead: u32) {
        let deepest = now + rate.slack + rate.interval.saturating_mul(ahead);
        self.full_at = (self.full_at.max(now) + rate.interval).min(deepest);
    }

    /// How long there will be no token.
    pub fn wait(&self, rate: &Rate, now: Instant) -> Duration {
        self.full_at.saturating_duration_since(now).saturating_sub(rate.slack)
    }
}

impl Fading for Bucket {
    fn gone_at(&self) -> Instant {
        self.full_at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let rate = Rate::new(10, SECOND, 5).unwrap();
        let now = Clock::System.instant();
        let mut bucket = Bucket::full(now);
        assert_eq!((0..9).filter(|_| bucket.take(&rate, now).is_ok()).count(), 5);
        assert_eq!(bucket.take(&rate, now), Err(SECOND / 10));
        assert_eq!(bucket.take(&rate, now + SECOND / 10), Ok(()));
        assert!(bucket.take(&rate, now + SECOND / 10).is_err());
        assert_eq!((0..9).filter(|_| bucket.take(&rate, now + SECOND * 60).is_ok()).count(), 5, "full again, not more");
    }

    #[test]
    fn a_count_of_nothing_is_no_limit_and_debts_are_bounded() {
        assert_eq!(Rate::new(0, SECOND, 5), None);
        let rate = Rate::new(1, SECOND, 1).unwrap();
        let now = Clock::System.instant();
        let mut bucket = Bucket::full(now);
        (0..100).for_each(|_| bucket.owe(&rate, now, 3));
        assert_eq!(bucket.wait(&rate, now), SECOND * 3);
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_gives_more_than_burst_and_rate(
            count in 1_u32..50, burst in 1_u32..50, steps in prop::collection::vec(0_u64..500, 1..200),
        ) {
            let rate = Rate::new(count, SECOND, burst).unwrap();
            let start = Clock::System.instant();
            let (mut now, mut bucket, mut taken) = (start, Bucket::full(start), 0_u32);
            for step in steps {
                now += Duration::from_millis(step);
                taken += u32::from(bucket.take(&rate, now).is_ok());
                let allowed = f64::from(burst) + (now - start).as_secs_f64() * f64::from(count) + 1e-6;
                prop_assert!(f64::from(taken) <= allowed, "{taken} of {allowed}");
            }
        }
    }
}
