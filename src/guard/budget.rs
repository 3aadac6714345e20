//! Memory that many share. Who finds none left is refused; what was taken comes back when its holder is dropped.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Bytes of one kind, of everybody together.
#[derive(Debug)]
pub struct Budget {
    taken: AtomicUsize,
    bytes_max: usize,
    refused: AtomicU64,
}

impl Budget {
    /// Nothing is taken yet.
    pub fn new(bytes_max: usize) -> Arc<Budget> {
        Arc::new(Budget { taken: AtomicUsize::new(0), bytes_max, refused: AtomicU64::new(0) })
    }

    /// Takes so many bytes. `None`: there are not as many left; that is counted.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let mut share = Share { budget: self.clone(), bytes: 0 };
        share.grow(bytes).then_some(share)
    }

    /// Bytes that there are for everybody.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes that are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How often somebody was refused since this was last asked.
    pub fn refused(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }
}

/// Bytes that are taken as long as this lives.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Takes more; false: there are not as many left.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let budget = &self.budget;
        let before = budget.taken.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= budget.bytes_max;
        if fits {
            self.bytes += bytes;
        } else {
            budget.taken.fetch_sub(bytes, Ordering::Relaxed);
            budget.refused.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }

    /// Bytes that this holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_and_no_more_is_given_than_there_is() {
        let budget = Budget::new(100);
        let mut one = budget.take(60).unwrap();
        assert!(budget.take(41).is_none() && !one.grow(41));
        let other = budget.take(30).unwrap();
        assert!(one.grow(10) && !one.grow(1));
        assert_eq!((budget.taken(), one.bytes(), budget.refused(), budget.refused()), (100, 70, 3, 0));
        drop(one);
        assert_eq!(budget.taken(), 30);
        assert!(budget.take(usize::MAX).is_none());
        drop(other);
        assert_eq!(budget.taken(), 0);
    }
}
