//! A table that never grows beyond its slots: whoever does not fit takes the place of what would be forgotten first.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    time::Instant,
};

/// Entries that compete for places. The hash is keyed at random, so nobody can choose his neighbours.
const WAYS: usize = 8;

/// What means nothing any more from some moment on.
pub trait Fading {
    /// That moment.
    fn gone_at(&self) -> Instant;
}

/// A map with a fixed number of slots.
#[derive(Debug)]
pub struct Table<K, V> {
    hasher: RandomState,
    sets: Vec<Vec<(K, V)>>,
    len: usize,
}

impl<K: Hash + Eq, V: Fading> Table<K, V> {
    /// Room for about so many.
    pub fn new(slots_max: usize) -> Self {
        let sets = slots_max.div_ceil(WAYS).max(1);
        Self { hasher: RandomState::new(), sets: (0..sets).map(|_| Vec::new()).collect(), len: 0 }
    }

    /// Slots in use, be it by what is gone.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is known of this key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.sets[self.set_of(key)].iter().find(|it| it.0 == *key).map(|it| &it.1)
    }

    /// What is known of this key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.set_of(key);
        self.sets[at].iter_mut().find(|it| it.0 == *key).map(|it| &mut it.1)
    }

    /// What is known of this key, or `fresh`, which takes a slot.
    pub fn entry(&mut self, key: K, now: Instant, fresh: V) -> &mut V {
        let at = self.set_of(&key);
        let set = &mut self.sets[at];
        let slot = match set.iter().position(|it| it.0 == key) {
            Some(slot) => slot,
            None => {
                let expendable = (0..set.len()).min_by_key(|slot| set[*slot].1.gone_at());
                match expendable.filter(|slot| set.len() == WAYS || set[*slot].1.gone_at() <= now) {
                    Some(slot) => {
                        set[slot] = (key, fresh);
                        slot
                    }
                    None => {
                        set.push((key, fresh));
                        self.len += 1;
                        set.len() - 1
                    }
                }
            }
        };
        &mut set[slot].1
    }

    fn set_of(&self, key: &K) -> usize {
        let sets = self.sets.len() as u64;
        usize::try_from(self.hasher.hash_one(key) % sets).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    impl Fading for Instant {
        fn gone_at(&self) -> Instant {
            *self
        }
    }

    #[test]
    fn a_million_strangers_fit_into_the_slots() {
        let now = Clock::System.instant();
        let mut table = Table::new(1024);
        for n in 0..1_000_000_u32 {
            table.entry(n, now, now + Duration::from_secs(60));
        }
        assert!((512..=1024).contains(&table.len()), "{}", table.len());
    }

    #[test]
    fn what_is_forgotten_first_goes_first() {
        let now = Clock::System.instant();
        let later = |s| now + Duration::from_secs(s);
        let mut table = Table::new(WAYS);
        for n in 0..WAYS as u64 {
            table.entry(n, now, later(100 - n));
        }
        table.entry(99, now, later(1));
        assert!(table.get(&7).is_none() && table.get(&0).is_some() && table.get(&99).is_some());
        table.entry(100, later(2), later(50));
        assert!(table.get(&99).is_none() && table.get(&100).is_some());
        assert_eq!(table.len(), WAYS);
    }

    #[test]
    fn what_is_gone_gives_its_slot_to_the_next() {
        let now = Clock::System.instant();
        let mut table = Table::new(WAYS);
        for n in 0..1000_u32 {
            table.entry(n, now, now);
        }
        assert_eq!(table.len(), 1);
        assert_eq!(*table.entry(999, now, now + Duration::from_secs(9)), now, "the same key keeps its value");
    }
}
