//! Places for sessions that outlive their connections: counted over all accounts and for each.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::ids::AccountId;

/// How many sessions may outlive their connections.
#[derive(Debug, Clone, Copy)]
pub struct SessionBounds {
    /// Over all accounts.
    pub sessions_max: usize,
    /// Of one account, so that none takes all places.
    pub per_account_max: usize,
}

#[derive(Default)]
struct Taken {
    all: usize,
    accounts: HashMap<AccountId, usize>,
}

pub(super) struct Places {
    bounds: SessionBounds,
    taken: Mutex<Taken>,
}

impl Places {
    pub(super) fn new(bounds: SessionBounds) -> Self {
        Self { bounds, taken: Mutex::default() }
    }

    /// False: there is none left for this account.
    pub(super) fn take(&self, account: AccountId) -> bool {
        let mut taken = self.lock();
        let own = taken.accounts.get(&account).copied().unwrap_or(0);
        let has_room = taken.all < self.bounds.sessions_max && own < self.bounds.per_account_max;
        if has_room {
            taken.all += 1;
            taken.accounts.insert(account, own + 1);
        }
        has_room
    }

    /// A session that had a place is forgotten.
    pub(super) fn give_back(&self, account: AccountId) {
        let mut taken = self.lock();
        taken.all = taken.all.saturating_sub(1);
        match taken.accounts.get_mut(&account) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.accounts.remove(&account)),
        }
    }

    pub(super) fn taken(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
