//! The audit as people use it: listed, exported, verified, and kept within its bounds. Entries themselves are written by the stories of
//! the deeds, in their transactions.
//!
//! The hashes are made with a key outside the database, so whoever can write rows can neither change nor invent entries. What a chain
//! alone cannot show is that its end was cut off; for that the last number and hash are kept in a file of the data directory, and
//! printed in the log once a day.

mod publishes;

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use serde_json::json;
use tracing::{error, info, warn};

use publishes::Publishes;
pub(super) use publishes::is_order;

use super::Flows;
use crate::{
    clock::Timestamp,
    datadir::write_private,
    mdm::audit::Head,
    store::{StoreError, audit::ENTRIES_LISTED_MAX},
};

pub use crate::{
    mdm::audit::{Actor, Deed, Entry},
    store::audit::{EntryFilter, actor, on_behalf},
};

const DAY_MS: i64 = 86_400_000;
/// How often verifying begins anew when the oldest entries are forgotten meanwhile.
const ATTEMPTS_MAX: usize = 3;

/// What is watched besides the rows.
pub struct Watch {
    /// Where the head is kept outside the database.
    file: PathBuf,
    seen: Mutex<Seen>,
    publishes: Publishes,
}

#[derive(Default)]
struct Seen {
    /// The entry that the file knows is gone; it was said.
    is_cut: bool,
    /// The file was missing, and was begun anew with this entry.
    begun_at: Option<i64>,
    told_on_day: i64,
}

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Entries that hold.
    pub entries: i64,
    /// The first that is there; 0: none.
    pub first: i64,
    /// The last that holds.
    pub head: Head,
    /// Entries up to this one were forgotten, as configured; 0: none.
    pub forgotten_until: i64,
    /// What is wrong first; none: nothing.
    pub broken: Option<String>,
    /// Why nobody can tell whether the last entries were cut off, where that is so.
    pub unchecked: Option<String>,
}

impl Watch {
    /// Keeps the head in this directory.
    pub fn new(data_dir: &Path) -> Self {
        let file = data_dir.join("audit-head.json");
        Self { file, seen: Mutex::default(), publishes: Publishes::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head as the file knows it. A file that says nothing is no evidence.
    fn kept(&self) -> Option<Head> {
        serde_json::from_slice(&std::fs::read(&self.file).ok()?).ok()
    }

    fn unchecked(&self, kept: Option<&Head>, number: i64) -> Option<String> {
        let file = self.file.display();
        match (kept, self.seen().begun_at) {
            (None, _) if number > 0 => Some(format!("{file} is missing or damaged")),
            (Some(_), Some(at)) => Some(format!("{file} was missing or damaged, and begun anew with entry {at}")),
            _ => None,
        }
    }
}

impl Flows {
    /// Writes down a deed that changes no row, done by whoever this task works for.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit(&self, deed: Deed) -> Result<(), StoreError> {
        self.store.audit(deed).await
    }

    /// Entries.
    ///
    /// # Errors
    /// The database failed.
    pub async fn audit_entries(&self, filter: &EntryFilter) -> Result<Vec<Entry>, StoreError> {
        self.store.audit_entries(filter).await
    }

    /// Walks the whole chain, and compares its end with the file and with what this process wrote.
    ///
    /// # Errors
    /// The database failed.
    pub async fn verify_audit(&self) -> Result<Verified, StoreError> {
        let mut verified = self.walk().await?;
        for _ in 1..ATTEMPTS_MAX {
            let anchor = self.store.audit_anchor().await?.map_or(0, |it| it.head.number);
            if verified.broken.is_none() || anchor == verified.forgotten_until {
                break;
            }
            verified = self.walk().await?;
        }
        let kept = self.audit_watch.kept();
        verified.unchecked = self.audit_watch.unchecked(kept.as_ref(), verified.head.number);
        for known in kept.into_iter().chain([self.store.audit_last()]) {
            if verified.broken.is_none() {
                verified.broken = self.missing(&known).await?;
            }
        }
        Ok(verified)
    }

    async fn walk(&self) -> Result<Verified, StoreError> {
        let key = self.secret_key.audit_key();
        let mut verified = Verified {
            entries: 0,
            first: 0,
            head: Head::beginning(),
            forgotten_until: 0,
            broken: None,
            unchecked: None,
        };
        if let Some(anchor) = self.store.audit_anchor().await? {
            if anchor.seal != anchor.head.sealed(&key) {
                verified.broken = Some("the note of what was forgotten is not sealed by this server".into());
                return Ok(verified);
            }
            verified.forgotten_until = anchor.head.number;
            verified.head = anchor.head;
        }
        if let Some(oldest) = self.store.audit_oldest().await?.filter(|it| *it <= verified.head.number) {
            verified.broken = Some(format!("entry {oldest} is not of this chain"));
            return Ok(verified);
        }
        let mut after = verified.head.number;
        loop {
            let filter = EntryFilter { after: Some(after), limit: ENTRIES_LISTED_MAX, ..EntryFilter::default() };
            let entries = self.store.audit_entries(&filter).await?;
            let Some(last) = entries.last() else { return Ok(verified) };
            after = last.number;
            for entry in &entries {
                if let Err(why) = verified.head.follow(entry, &key) {
                    verified.broken = Some(why);
                    return Ok(verified);
                }
                verified.first = if verified.first == 0 { entry.number } else { verified.first };
                verified.entries += 1;
            }
        }
    }

    /// Whether this entry, which was written, is there no more although nobody was to forget it.
    async fn missing(&self, known: &Head) -> Result<Option<String>, StoreError> {
        if known.number == 0 {
            return Ok(None);
        }
        // The row before the anchor: what is forgotten in between must not seem to be missing.
        let mut hash = self.store.audit_hash(known.number).await?;
        if hash.is_none() {
            let key = self.secret_key.audit_key();
            let anchor = self.store.audit_anchor().await?.filter(|it| it.seal == it.head.sealed(&key));
            match anchor.map(|it| it.head) {
                Some(anchor) if anchor.number > known.number => return Ok(None),
                Some(anchor) if anchor.number == known.number => hash = Some(anchor.hash),
                _ => {}
            }
        }
        Ok(match hash {
            Some(hash) if hash == known.hash => None,
            Some(_) => Some(format!("entry {} is not the one that was written", known.number)),
            None => Some(format!("entries were written up to {}; the last ones are missing", known.number)),
        })
    }

    /// Writes down what gathered, forgets what is old, and keeps the head outside the database. To be called every few seconds, and at
    /// the end.
    pub(super) async fn keep_audit(&self) -> Result<(), StoreError> {
        self.write_publishes(Publishes::take_all).await?;
        let now = self.clock.now();
        let kept_ms = i64::from(self.config.audit.days) * DAY_MS;
        let gone = self.store.prune_audit(i64::from(self.config.audit.rows_max).max(1), kept_ms, now).await?;
        if gone > 0 {
            info!("{gone} entries of the audit are older or more than are kept");
        }
        self.keep_head(now).await
    }

    /// Compares the end of the chain with the file, or begins the file. To be called before the first deed of this process, which would
    /// look like one from before.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open_audit(&self) -> Result<(), StoreError> {
        self.keep_head(self.clock.now()).await
    }

    /// The file never goes back: where its entry is gone, it stays as it is, as evidence.
    async fn keep_head(&self, now: Timestamp) -> Result<(), StoreError> {
        let (kept, head) = (self.audit_watch.kept(), self.store.audit_head().await?);
        let missing = match &kept {
            Some(kept) => self.missing(kept).await?,
            None => None,
        };
        let file = self.audit_watch.file.display();
        let mut seen = self.audit_watch.seen();
        if let Some(missing) = missing.as_ref().filter(|_| !seen.is_cut) {
            error!(
                "the audit was cut: {missing}; if an older database was put back on purpose, stop the server, delete {file} and start again"
            );
        }
        seen.is_cut = missing.is_some();
        if kept.is_none() && head.number > 0 && seen.begun_at.replace(head.number).is_none() {
            warn!("{file} is missing or damaged: nobody can tell whether entries after {} were cut off", head.number);
        }
        let today = now.0.div_euclid(DAY_MS);
        if seen.told_on_day != today && head.number > 0 {
            seen.told_on_day = today;
            info!("the audit stands at entry {}, hash {}", head.number, head.hash);
        }
        if seen.is_cut || kept.as_ref() == Some(&head) {
            return Ok(());
        }
        if let Err(problem) = write_private(&self.audit_watch.file, json!(head).to_string().as_bytes()) {
            warn!("the head of the audit is not kept: {problem}");
        }
        Ok(())
    }

    /// What the last seconds gathered, before the database closes.
    pub async fn close_audit(&self) {
        if let Err(problem) = self.keep_audit().await {
            warn!("the audit of the last seconds is not written: {problem}");
        }
    }
}
