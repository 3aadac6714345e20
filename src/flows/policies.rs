//! The policies of fleets, read once for all their agents and kept by version. A version comes with every agent's row, so an agent in a
//! fleet without tasks asks nothing, and one change of a fleet of thousands is one question.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use dashmap::DashMap;

use super::Flows;
use crate::{
    ids::FleetId,
    mdm::{applied::Applied, policy::wire},
    mqtt::packet::{Message, QoS},
    store::{Store, StoreError, task::Touched},
};

/// Fleets whose policies are kept; beyond that, those that no connection holds are read again when needed.
const FLEETS_KEPT_MAX: usize = 10_000;

/// The policies of one fleet at one moment, with the messages that say them, shared by all its agents.
#[derive(Debug)]
pub struct FleetPolicies {
    /// Whose.
    pub fleet: FleetId,
    /// Counts changes.
    pub version: i64,
    /// Its topic: `3/fleet/7`.
    pub prefix: String,
    /// By number.
    pub applied: Vec<Applied>,
    /// The message of each, where there is something to say.
    pub messages: Vec<Option<Arc<Message>>>,
}

/// What is kept of one fleet.
#[derive(Default)]
struct Shelf {
    /// The latest version that was heard of.
    version: AtomicI64,
    kept: Mutex<Option<Arc<FleetPolicies>>>,
    /// Whoever reads keeps others from reading the same.
    reading: tokio::sync::Mutex<()>,
}

impl Shelf {
    fn kept(&self) -> MutexGuard<'_, Option<Arc<FleetPolicies>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, at_least: i64) -> Option<Arc<FleetPolicies>> {
        self.kept().clone().filter(|it| it.version >= at_least)
    }
}

/// The policies of all fleets that somebody asked about.
#[derive(Default)]
pub struct Policies(DashMap<FleetId, Arc<Shelf>>);

impl Policies {
    /// The latest version of the policies of a fleet that was heard of; 0: none.
    pub fn version(&self, fleet: FleetId) -> i64 {
        self.0.get(&fleet).map_or(0, |shelf| shelf.version.load(Ordering::SeqCst))
    }

    fn changed(&self, fleet: FleetId, version: i64) {
        self.shelf(fleet).version.fetch_max(version, Ordering::SeqCst);
    }

    /// The policies of a fleet, not older than this version.
    ///
    /// # Errors
    /// The database failed.
    pub async fn of(&self, store: &Store, fleet: FleetId, at_least: i64) -> Result<Arc<FleetPolicies>, StoreError> {
        let shelf = self.shelf(fleet);
        if let Some(known) = shelf.fresh(at_least) {
            return Ok(known);
        }
        let _turn = shelf.reading.lock().await;
        if let Some(known) = shelf.fresh(at_least) {
            return Ok(known);
        }
        let read = Arc::new(read(store, fleet, at_least).await?);
        shelf.version.fetch_max(read.version, Ordering::SeqCst);
        *shelf.kept() = Some(read.clone());
        Ok(read)
    }

    fn shelf(&self, fleet: FleetId) -> Arc<Shelf> {
        if let Some(known) = self.0.get(&fleet) {
            return known.clone();
        }
        if self.0.len() >= FLEETS_KEPT_MAX {
            self.0.retain(|_, shelf| shelf.kept().as_ref().is_some_and(|it| Arc::strong_count(it) > 1));
        }
        self.0.entry(fleet).or_default().clone()
    }
}

async fn read(store: &Store, fleet: FleetId, at_least: i64) -> Result<FleetPolicies, StoreError> {
    let Some(tasks) = store.tasks_of_fleet(fleet).await? else {
        // The fleet is gone; so will be this entry when its agents were told.
        let prefix = String::new();
        return Ok(FleetPolicies { fleet, version: at_least, prefix, applied: Vec::new(), messages: Vec::new() });
    };
    let prefix = format!("{}/fleet/{fleet}", tasks.entity);
    let messages = tasks.applied.iter().map(|it| message(&prefix, it)).collect();
    Ok(FleetPolicies { fleet, version: tasks.version, prefix, applied: tasks.applied, messages })
}

/// What a target is told of one of its tasks, if there is anything to say yet.
pub fn message(prefix: &str, applied: &Applied) -> Option<Arc<Message>> {
    let payload = applied.body.clone()?;
    let topic = format!("{prefix}/{}", wire::tail(applied.symbol, applied.task)).into();
    Some(Arc::new(Message { topic, payload, qos: QoS::AtLeastOnce, retain: true }))
}

impl Flows {
    /// To be called after a commit that changed tasks: connected agents are told what is different.
    pub fn policies_changed(&self, touched: &Touched) {
        for (fleet, version) in &touched.fleets {
            self.policies.changed(*fleet, *version);
            self.hub.fleet_changed(*fleet);
        }
        if !touched.agents.is_empty() {
            self.agents_changed(&touched.agents);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        clock::{Clock, Timestamp},
        config::Database,
        ids::EntityId,
        mdm::policy::{Target, by_symbol},
        store::{administer::NewFleet, task::NewTask},
    };

    #[tokio::test]
    async fn the_policies_of_a_fleet_are_read_once_for_all_its_agents_until_they_change() {
        let data = tempfile::tempdir().unwrap();
        let (database, key) = (Database::default(), crate::flows::SecretKey::random().audit_key());
        let store = Store::open(&database, data.path(), Clock::System, key, |_| {}).await.unwrap();
        let fleet = store
            .add_fleet(NewFleet { entity: EntityId::ROOT, name: "Sales".into(), is_recursive: false }, Timestamp(1))
            .await
            .unwrap()
            .unwrap();
        let add = async |symbol: &str| {
            let policy = by_symbol(symbol).unwrap();
            let new = NewTask { target: Target::Fleet(fleet), policy, value: json!("1"), item: None };
            store.add_task(new, Timestamp(1)).await.unwrap().unwrap().1.fleets[0]
        };
        let policies = Policies::default();
        assert_eq!(policies.version(fleet), 0);
        let (_, first) = add("disableWifi").await;
        let (one, other) = tokio::join!(policies.of(&store, fleet, first), policies.of(&store, fleet, first));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!((one.applied.len(), one.prefix.as_str()), (1, format!("0/fleet/{fleet}").as_str()));

        let (_, second) = add("disableGPS").await;
        policies.changed(fleet, second);
        assert_eq!(policies.version(fleet), second);
        assert_eq!(policies.of(&store, fleet, second).await.unwrap().messages.len(), 2);
        store.remove_fleet(fleet, Timestamp(2)).await.unwrap().unwrap();
        assert!(policies.of(&store, fleet, second + 1).await.unwrap().applied.is_empty(), "the fleet is gone");
    }
}
