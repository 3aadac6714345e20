//! Strangers by origin, in the order in which they came: who must go when somebody else needs the place. A crowd of silent connections
//! shuts nobody out, and whoever is merely slow because we are busy keeps his place.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    time::{Duration, Instant},
};

/// Who has been a stranger for so long may have to make room for another one of the same origin.
const OLD: Duration = Duration::from_secs(5);
/// An origin is greedy with so many strangers...
const GREEDY: usize = 16;
/// ...and so many times as many as the origin that wants a place.
const GREEDY_TIMES: usize = 4;

/// Strangers of all origins. `T` is how one of them is told.
#[derive(Debug)]
pub struct Crowd<K, T> {
    next: u64,
    origins: HashMap<K, BTreeMap<u64, (Instant, T)>>,
    /// The origins by how many strangers they have.
    sizes: BTreeSet<(usize, K)>,
}

impl<K, T> Default for Crowd<K, T> {
    /// Nobody is here.
    fn default() -> Self {
        Self { next: 0, origins: HashMap::new(), sizes: BTreeSet::new() }
    }
}

impl<K: Copy + Ord + Hash, T> Crowd<K, T> {
    /// A stranger came. The number is his.
    pub fn add(&mut self, origin: K, now: Instant, told: T) -> u64 {
        self.next += 1;
        let number = self.next;
        self.change(origin, |of| of.insert(number, (now, told)));
        number
    }

    /// He is a stranger no more. `None`: he had to go before.
    pub fn remove(&mut self, origin: K, number: u64) -> Option<T> {
        self.change(origin, |of| of.remove(&number)).map(|it| it.1)
    }

    /// Takes one away from the origin that has most, the last who came, if that origin has far more than this one.
    pub fn take_of_greediest(&mut self, wants: K) -> Option<(K, T)> {
        let own = self.origins.get(&wants).map_or(0, BTreeMap::len);
        let &(most, origin) = self.sizes.last()?;
        if most < GREEDY || most < own.saturating_mul(GREEDY_TIMES) {
            return None;
        }
        self.change(origin, BTreeMap::pop_last).map(|(_, (_, told))| (origin, told))
    }

    /// Takes the oldest of this origin away, if he had his time.
    pub fn take_old(&mut self, origin: K, now: Instant) -> Option<T> {
        let (came, _) = self.origins.get(&origin)?.first_key_value()?.1;
        if now.saturating_duration_since(*came) < OLD {
            return None;
        }
        self.change(origin, BTreeMap::pop_first).map(|(_, (_, told))| told)
    }

    /// Origins with strangers.
    #[cfg(test)]
    pub fn origins(&self) -> usize {
        debug_assert_eq!(self.sizes.len(), self.origins.len());
        self.origins.len()
    }

    fn change<R>(&mut self, origin: K, change: impl FnOnce(&mut BTreeMap<u64, (Instant, T)>) -> R) -> R {
        let of = self.origins.entry(origin).or_default();
        self.sizes.remove(&(of.len(), origin));
        let result = change(of);
        let size = of.len();
        if size == 0 {
            self.origins.remove(&origin);
        } else {
            self.sizes.insert((size, origin));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_greedy_origin_makes_room_with_the_last_who_came() {
        let (mut crowd, now) = (Crowd::default(), Clock::System.instant());
        let numbers: Vec<u64> = (0..16).map(|n| crowd.add("greedy", now, n)).collect();
        for n in 100..104 {
            crowd.add("some", now, n);
        }
        assert_eq!(crowd.take_of_greediest("some"), Some(("greedy", 15)), "four times as many");
        assert_eq!(crowd.take_of_greediest("new"), None, "15 are not many");
        assert_eq!(crowd.remove("greedy", numbers[15]), None, "he had to go");
        crowd.add("greedy", now, 16);
        assert_eq!(crowd.take_of_greediest("greedy"), None, "its own strangers stay");
        assert_eq!(crowd.take_of_greediest("new"), Some(("greedy", 16)));
        numbers[..15].iter().for_each(|it| assert!(crowd.remove("greedy", *it).is_some()));
        assert_eq!(crowd.origins(), 1);
    }

    #[test]
    fn the_oldest_of_an_origin_goes_once_he_had_his_time() {
        let (mut crowd, now) = (Crowd::default(), Clock::System.instant());
        crowd.add("here", now, 1);
        crowd.add("here", now + OLD, 2);
        assert_eq!(crowd.take_old("here", now + OLD - Duration::from_millis(1)), None);
        assert_eq!(crowd.take_old("there", now + OLD), None);
        assert_eq!(crowd.take_old("here", now + OLD), Some(1));
        assert_eq!(crowd.take_old("here", now + OLD), None);
        assert_eq!(crowd.take_old("here", now + OLD * 2), Some(2));
        assert_eq!(crowd.origins(), 0);
    }
}
