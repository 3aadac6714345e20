//! Patience with a device that asks for much and means nothing: reports that will never parse, and lists of filters that no agent has.
//! Reading an inventory only to refuse it costs as much as reading a good one, and one that is refused is acknowledged, so a device could
//! have that done as fast as it can send.

use std::time::{Duration, Instant};

use crate::guard::bucket::{Bucket, Rate};

/// Pause for each such thing in the long run.
const EVERY: Duration = Duration::from_millis(500);
/// So many cost nothing: agents do say odd things, and subscribe, when they start.
const AT_ONCE: u32 = 32;
/// Filters that are one such thing.
const FILTERS: usize = 16;
/// Pauses that may be owed at once.
const OWED_MAX: u32 = 20;

/// What a SUBSCRIBE with so many filters counts.
pub fn strain_of(filters: usize) -> u32 {
    u32::try_from(filters.div_ceil(FILTERS)).unwrap_or(u32::MAX)
}

/// How much of it is left.
#[derive(Default)]
pub struct Patience(Option<Bucket>);

impl Patience {
    /// It said so many such things: until when it is not heard, if it does so often.
    pub fn lose(&mut self, strain: u32, now: Instant) -> Option<Instant> {
        let rate = Rate::new(1, EVERY, AT_ONCE)?;
        let left = self.0.get_or_insert(Bucket::full(now));
        (0..strain.min(AT_ONCE + OWED_MAX)).for_each(|_| left.owe(&rate, now, OWED_MAX));
        let wait = left.wait(&rate, now);
        (wait > Duration::ZERO).then(|| now + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn odd_reports_cost_nothing_and_a_flood_of_them_has_to_wait() {
        let start = Clock::System.instant();
        let mut patience = Patience::default();
        for _ in 0..AT_ONCE - 1 {
            assert_eq!(patience.lose(1, start), None);
        }
        let until = patience.lose(1000, start).unwrap();
        assert_eq!(until, start + EVERY * OWED_MAX);
        let mut now = until;
        for _ in 0..10 {
            let next = patience.lose(1, now).unwrap();
            assert_eq!(next, now + EVERY);
            now = next;
        }
        assert_eq!(patience.lose(1, now + EVERY * (AT_ONCE + 1)), None, "calm again");
    }
}
