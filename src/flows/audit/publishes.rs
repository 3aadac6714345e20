//! What back ends say to devices in the place of the server, on its way into the audit: the first time at once, repetitions counted. No
//! device waits for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::{Actor, Deed, Flows, Watch};
use crate::{
    mdm::audit::{Action, ActorKind, Subject},
    store::StoreError,
};

/// Pairs of account and topic that are told apart; further ones are counted together.
const PAIRS_MAX: usize = 1000;
/// Entries that are one transaction: with one each, a fleet of 1,000 that a back end talks to cost the writer 0.4 s.
const ENTRIES_AT_ONCE: usize = 100;

/// What was said and is not written down yet.
#[derive(Default)]
pub(super) struct Publishes {
    said: Mutex<Said>,
    /// Rings when something was said for the first time.
    bell: Notify,
    /// One writes at a time, so that whoever closes waits for the others.
    writing: tokio::sync::Mutex<()>,
}

/// Account, topic, and how often.
type Times = (String, String, u64);

/// Who says the same again costs no text.
#[derive(Default)]
pub(super) struct Said {
    /// Per account and topic: how often since the last entry. Those that rest go.
    accounts: HashMap<String, HashMap<String, u64>>,
    /// Pairs of both.
    pairs: usize,
    /// Pairs that no entry speaks of.
    fresh: Vec<(String, String)>,
}

impl Said {
    /// Whether it is said for the first time.
    fn add(&mut self, account: &str, topic: &str, times: u64) -> bool {
        if let Some(count) = self.accounts.get_mut(account).and_then(|it| it.get_mut(topic)) {
            *count += times;
            return false;
        }
        // Without a topic: many.
        let topic = if self.pairs < PAIRS_MAX { topic } else { "" };
        let topics = self.accounts.entry(account.to_owned()).or_default();
        if let Some(count) = topics.get_mut(topic) {
            *count += times;
            return false;
        }
        topics.insert(topic.to_owned(), times);
        self.pairs += 1;
        self.fresh.push((account.to_owned(), topic.to_owned()));
        true
    }

    fn take_fresh(&mut self) -> Vec<Times> {
        let accounts = &mut self.accounts;
        let times_of = |(account, topic): (String, String)| {
            let times = std::mem::take(accounts.get_mut(&account)?.get_mut(&topic)?);
            (times > 0).then_some((account, topic, times))
        };
        std::mem::take(&mut self.fresh).into_iter().filter_map(times_of).collect()
    }

    fn take_all(&mut self) -> Vec<Times> {
        let mut all = Vec::new();
        for (account, topics) in &mut self.accounts {
            topics.retain(|topic, times| {
                let times = std::mem::take(times);
                if times > 0 {
                    all.push((account.clone(), topic.clone(), times));
                }
                times > 0
            });
        }
        self.accounts.retain(|_, topics| !topics.is_empty());
        self.pairs = self.accounts.values().map(HashMap::len).sum();
        self.fresh.clear();
        all
    }
}

impl Publishes {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is not written down: for whoever comes by every few seconds.
    pub(super) fn take_all(&self) -> Vec<Times> {
        self.said().take_all()
    }

    /// What no entry speaks of yet.
    fn take_fresh(&self) -> Vec<Times> {
        self.said().take_fresh()
    }
}

impl Watch {
    /// A service account said something where devices listen for the server.
    pub fn published(&self, account: &str, topic: &str) {
        if self.publishes.said().add(account, topic, 1) {
            self.publishes.bell.notify_one();
        }
    }
}

impl Flows {
    /// Writes down at once what is said for the first time; what is said meanwhile shares the next transaction.
    pub async fn write_first_publishes(self: Arc<Self>) {
        loop {
            self.audit_watch.publishes.bell.notified().await;
            // Where the database fails, the sweep tries again and says so.
            drop(self.write_publishes(Publishes::take_fresh).await);
        }
    }

    pub(super) async fn write_publishes(&self, take: fn(&Publishes) -> Vec<Times>) -> Result<(), StoreError> {
        let publishes = &self.audit_watch.publishes;
        let _one = publishes.writing.lock().await;
        let entries = take(publishes);
        for (nth, some) in entries.chunks(ENTRIES_AT_ONCE).enumerate() {
            let written = self.store.audit_all(some.iter().map(deed_of).collect()).await;
            if written.is_err() {
                let mut said = publishes.said();
                for (account, topic, times) in &entries[nth * ENTRIES_AT_ONCE..] {
                    said.add(account, topic, *times);
                }
                return written;
            }
        }
        Ok(())
    }
}

fn deed_of((account, topic, times): &Times) -> Deed {
    let topic = if topic.is_empty() { "(many)" } else { topic.as_str() };
    Deed::to(Action::AccountPublish, Subject::Account, account)
        .by(Actor::new(ActorKind::Account, account.as_str()))
        .with_serial(serial_in(topic))
        .with("topic", topic)
        .with("messages", *times)
}

/// `76/agent/AZERTY/Command/Lock` concerns AZERTY.
fn serial_in(topic: &str) -> &str {
    let mut levels = topic.split('/').skip(1);
    if levels.next() == Some("agent") { levels.next().unwrap_or_default() } else { "" }
}

/// Whether somebody who says this speaks in the place of the server to devices.
pub(in crate::flows) fn is_order(topic: &str) -> bool {
    let mut levels = topic.split('/').skip(1);
    matches!(
        (levels.next(), levels.next(), levels.next()),
        (Some("agent" | "fleet"), Some(_), Some("Command" | "Policy"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::{admit::tests::World, audit::EntryFilter};

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
        let mut said = Said::default();
        for at in 0..PAIRS_MAX + 10 {
            said.add("backend", &at.to_string(), 1);
            said.add("backend", "0", 1);
        }
        assert_eq!((said.pairs, said.accounts["backend"].len()), (PAIRS_MAX + 1, PAIRS_MAX + 1));
        assert_eq!((said.accounts["backend"][""], said.accounts["backend"]["0"]), (10, 1011));
        assert_eq!(said.take_fresh().len(), PAIRS_MAX + 1);
        assert_eq!((said.take_all(), said.pairs), (Vec::new(), 0), "what rests goes");
    }

    #[tokio::test]
    async fn the_first_order_is_written_at_once_and_repetitions_are_counted() {
        let world = World::new().await;
        let writer = tokio::spawn(world.flows.clone().write_first_publishes());
        let entries = async || {
            let filter = EntryFilter { action: Some("account.publish".into()), limit: 10, ..EntryFilter::default() };
            let entries = world.flows.audit_entries(&filter).await.unwrap();
            entries.into_iter().rev().map(|it| (it.serial, it.detail)).collect::<Vec<_>>()
        };
        let entry = |serial: &str, times: u64| {
            let topic = format!("0/agent/{serial}/Command/Wipe");
            (serial.to_owned(), format!(r#"{{"messages":{times},"topic":"{topic}"}}"#))
        };
        let says =
            |serial: &str| world.flows.audit_watch.published("backend", &format!("0/agent/{serial}/Command/Wipe"));
        let until = async |count: usize| {
            let all = async { while entries().await.len() < count {} };
            tokio::time::timeout(std::time::Duration::from_secs(20), all).await.unwrap();
        };
        says("AZERTY");
        until(1).await;
        says("AZERTY");
        says("AZERTY");
        says("QWERTY");
        until(2).await;
        assert_eq!(entries().await, [entry("AZERTY", 1), entry("QWERTY", 1)]);
        world.flows.keep_audit().await.unwrap();
        assert_eq!(entries().await[2..], [entry("AZERTY", 2)]);
        // Nothing was said since, so nothing is written, and what is said next is the first again.
        world.flows.keep_audit().await.unwrap();
        assert_eq!(entries().await.len(), 3);
        says("AZERTY");
        until(4).await;
        assert_eq!(entries().await[3..], [entry("AZERTY", 1)]);
        writer.abort();
    }
}
