//! The audit as people use it: listed, exported, verified, and kept within its bounds. Entries themselves are written by the stories of
//! the deeds, in their transactions.
//!
//! The hashes are made with a key outside the database, so whoever can write rows can neither change nor invent entries. What a chain
//! alone cannot show is that its end was cut off; for that the last number and hash are kept in a file of the data directory, and
//! printed in the log once a day.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use serde_json::json;
use tracing::{error, info, warn};

use super::Flows;
use crate::{
    clock::Timestamp,
    datadir::write_private,
    mdm::audit::{Action, ActorKind, Head, Subject},
    store::{StoreError, audit::ENTRIES_LISTED_MAX},
};

pub use crate::{
    mdm::audit::{Actor, Deed, Entry},
    store::audit::{EntryFilter, actor, on_behalf},
};

/// Pairs of account and topic whose publishes are counted until they are written down; further ones are counted together.
const PUBLISHES_MAX: usize = 1000;
/// Entries about them that are one transaction: with one each, a fleet of 1,000 that a back end talks to cost the writer 0.4 s.
const PUBLISHES_AT_ONCE: usize = 100;
const DAY_MS: i64 = 86_400_000;
/// How often verifying begins anew when the oldest entries are forgotten meanwhile.
const ATTEMPTS_MAX: usize = 3;

/// What is watched besides the rows.
pub struct Watch {
    /// Where the head is kept outside the database.
    file: PathBuf,
    seen: Mutex<Seen>,
    publishes: Mutex<Publishes>,
}

/// Per account and topic: how often something was said to a device since the last entry. Who says the same again costs no text.
#[derive(Default)]
struct Publishes {
    accounts: HashMap<String, HashMap<String, u64>>,
    /// Pairs of both.
    pairs: usize,
}

impl Publishes {
    fn add(&mut self, account: &str, topic: &str, times: u64) {
        if let Some(count) = self.accounts.get_mut(account).and_then(|it| it.get_mut(topic)) {
            *count += times;
            return;
        }
        // Without a topic: many.
        let topic = if self.pairs < PUBLISHES_MAX { topic } else { "" };
        let topics = self.accounts.entry(account.to_owned()).or_default();
        *topics.entry(topic.to_owned()).or_insert_with(|| {
            self.pairs += 1;
            0
        }) += times;
    }

    fn into_entries(self) -> Vec<(String, String, u64)> {
        let of_one = |(account, topics): (String, HashMap<String, u64>)| {
            topics.into_iter().map(move |(topic, count)| (account.clone(), topic, count))
        };
        self.accounts.into_iter().flat_map(of_one).collect()
    }
}

fn deed_of((account, topic, count): &(String, String, u64)) -> Deed {
    let topic = if topic.is_empty() { "(many)" } else { topic.as_str() };
    Deed::to(Action::AccountPublish, Subject::Account, account)
        .by(Actor::new(ActorKind::Account, account.as_str()))
        .with_serial(serial_in(topic))
        .with("topic", topic)
        .with("messages", *count)
}

#[derive(Default)]
struct Seen {
    /// Whether the file of the last run was compared with the rows.
    is_compared: bool,
    /// Rows that the file knows are gone: the file is kept as it is, as evidence.
    is_cut: bool,
    written: Option<Head>,
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
}

impl Watch {
    /// Keeps the head in this directory.
    pub fn new(data_dir: &Path) -> Self {
        let file = data_dir.join("audit-head.json");
        Self { file, seen: Mutex::default(), publishes: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head as the file knows it. A file that says nothing is no evidence.
    fn kept(&self) -> Option<Head> {
        serde_json::from_slice(&std::fs::read(&self.file).ok()?).ok()
    }

    /// A service account said something where devices listen for the server.
    pub fn published(&self, account: &str, topic: &str) {
        self.publishes().add(account, topic, 1);
    }

    fn publishes(&self) -> MutexGuard<'_, Publishes> {
        self.publishes.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Walks the whole chain, and compares its end with the file.
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
        if verified.broken.is_none() {
            verified.broken = self.missing_at_the_end().await?;
        }
        Ok(verified)
    }

    async fn walk(&self) -> Result<Verified, StoreError> {
        let key = self.secret_key.audit_key();
        let mut verified = Verified { entries: 0, first: 0, head: Head::beginning(), forgotten_until: 0, broken: None };
        if let Some(anchor) = self.store.audit_anchor().await? {
            if anchor.seal != anchor.head.sealed(&key) {
                verified.broken = Some("the note of what was forgotten is not sealed by this server".into());
                return Ok(verified);
            }
            verified.forgotten_until = anchor.head.number;
            verified.head = anchor.head;
        }
        // A number at or below the anchor is not part of the chain any more, and must not be there.
        let mut after = 0;
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

    /// What the file knows and the rows do not.
    async fn missing_at_the_end(&self) -> Result<Option<String>, StoreError> {
        let Some(kept) = self.audit_watch.kept() else { return Ok(None) };
        let anchor = self.store.audit_anchor().await?.map_or(0, |it| it.head.number);
        if kept.number <= anchor {
            return Ok(None);
        }
        Ok(match self.store.audit_hash(kept.number).await? {
            Some(hash) if hash == kept.hash => None,
            Some(_) => Some(format!("entry {} is not the one that was written", kept.number)),
            None => Some(format!("entries were written up to {}; the last ones are missing", kept.number)),
        })
    }

    /// Writes down what gathered, forgets what is old, and keeps the head outside the database. To be called every few seconds, and at
    /// the end.
    pub(super) async fn keep_audit(&self) -> Result<(), StoreError> {
        self.write_publishes().await?;
        let now = self.clock.now();
        let days = i64::from(self.config.audit.days);
        let until = if days == 0 { Timestamp(i64::MIN) } else { Timestamp(now.0.saturating_sub(days * DAY_MS)) };
        let gone = self.store.prune_audit(i64::from(self.config.audit.rows_max).max(1), until).await?;
        if gone > 0 {
            info!("{gone} entries of the audit are older or more than are kept");
        }
        self.keep_head(now).await
    }

    async fn keep_head(&self, now: Timestamp) -> Result<(), StoreError> {
        let head = self.store.audit_head().await?;
        let is_compared = self.audit_watch.seen().is_compared;
        if !is_compared {
            let missing = self.missing_at_the_end().await?;
            let mut seen = self.audit_watch.seen();
            (seen.is_compared, seen.is_cut) = (true, missing.is_some());
            if let Some(missing) = missing {
                error!(
                    "the audit was cut: {missing}; if an older database was put back on purpose, delete {}",
                    self.audit_watch.file.display()
                );
            }
        }
        let mut seen = self.audit_watch.seen();
        let today = now.0.div_euclid(DAY_MS);
        if seen.told_on_day != today && head.number > 0 {
            seen.told_on_day = today;
            info!("the audit stands at entry {}, hash {}", head.number, head.hash);
        }
        if seen.is_cut || seen.written.as_ref() == Some(&head) {
            return Ok(());
        }
        let text = json!(head).to_string();
        match write_private(&self.audit_watch.file, text.as_bytes()) {
            Ok(()) => seen.written = Some(head),
            Err(problem) => warn!("the head of the audit is not kept: {problem}"),
        }
        Ok(())
    }

    async fn write_publishes(&self) -> Result<(), StoreError> {
        let entries = std::mem::take(&mut *self.audit_watch.publishes()).into_entries();
        for (nth, some) in entries.chunks(PUBLISHES_AT_ONCE).enumerate() {
            let written = self.store.audit_all(some.iter().map(deed_of).collect()).await;
            if written.is_err() {
                let mut publishes = self.audit_watch.publishes();
                let unwritten = &entries[nth * PUBLISHES_AT_ONCE..];
                unwritten.iter().for_each(|(account, topic, count)| publishes.add(account, topic, *count));
                return written;
            }
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

/// `76/agent/AZERTY/Command/Lock` concerns AZERTY.
fn serial_in(topic: &str) -> &str {
    let mut levels = topic.split('/').skip(1);
    if levels.next() == Some("agent") { levels.next().unwrap_or_default() } else { "" }
}

/// Whether somebody who says this speaks in the place of the server to devices.
pub(super) fn is_order(topic: &str) -> bool {
    let mut levels = topic.split('/').skip(1);
    matches!(
        (levels.next(), levels.next(), levels.next()),
        (Some("agent" | "fleet"), Some(_), Some("Command" | "Policy"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_to_devices_are_told_from_everything_else() {
        for (topic, is) in [
            ("76/agent/AZERTY/Command/Lock", true),
            ("76/fleet/3/Policy/disableWifi", true),
            ("76/agent/AZERTY/Status/Ping", false),
            ("FlyvemdmManifest/Status/Version", false),
            ("a/b", false),
        ] {
            assert_eq!(is_order(topic), is, "{topic}");
        }
        assert_eq!(serial_in("76/agent/AZERTY/Command/Lock"), "AZERTY");
        assert_eq!(serial_in("76/fleet/3/Policy/x"), "");
    }

    #[test]
    fn publishes_are_counted_within_a_bound() {
        let watch = Watch::new(Path::new("nowhere"));
        for at in 0..PUBLISHES_MAX + 10 {
            watch.published("backend", &at.to_string());
            watch.published("backend", "0");
        }
        let publishes = watch.publishes.lock().unwrap();
        assert_eq!(publishes.accounts["backend"].len(), PUBLISHES_MAX + 1);
        assert_eq!((publishes.accounts["backend"][""], publishes.accounts["backend"]["0"]), (10, 1011));
    }
}
