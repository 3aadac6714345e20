//! Who is connected, and how a message finds them. Hands messages to outboxes; never waits.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry};
use tokio::sync::Notify;

use super::{
    acl::AccessList,
    outbox::{Eviction, Outbox, Posted},
    places::{Places, SessionBounds},
    retained::Retained,
    router::{Match, Router},
};
use crate::{
    clock::Timestamp,
    ids::{AccountId, AgentId, ConnectionNumber, EntityId, FleetId, Serial},
    mdm::agent::Agent,
    mqtt::{
        packet::{Message, QoS},
        session::{Delivery, Saved},
        topic::{self, DeviceTopicKind},
    },
};

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;

/// Names a session: no credential can take somebody else's.
pub type SessionKey = (AccountId, Arc<str>);

/// The one live connection of an agent.
#[derive(Clone)]
struct Device {
    agent: AgentId,
    connection: ConnectionNumber,
    outbox: Arc<Outbox>,
    /// The entity that it belongs to now, whatever its topic says; one for `devices` and `addresses`.
    home: Arc<AtomicI64>,
}

impl Device {
    fn new(agent: &Agent, connection: ConnectionNumber, outbox: &Arc<Outbox>) -> Self {
        let home = Arc::new(AtomicI64::new(agent.fleet_entity.0));
        Self { agent: agent.id, connection, outbox: outbox.clone(), home }
    }

    fn home(&self) -> EntityId {
        EntityId(self.home.load(Ordering::Relaxed))
    }
}

/// A session of a service account: connected, or waiting for its client to come back.
struct Service {
    number: u64,
    outbox: Arc<Outbox>,
    /// Whether it outlives its connection, so that it has one of the places.
    is_persistent: bool,
    state: ServiceState,
}

enum ServiceState {
    Connected,
    Parked {
        saved: Box<Saved>,
        /// `None`: since a moment ago.
        since: Option<Timestamp>,
    },
}

/// What a service account found when it came to its session.
pub enum Claim {
    /// The session is its own now.
    Claimed {
        /// Names the session in the router.
        number: u64,
        /// Its outbox, with what waited in it.
        outbox: Arc<Outbox>,
        /// What an earlier connection left, if it is resumed.
        saved: Option<Box<Saved>>,
    },
    /// Another connection holds it and was told to leave; try again when it has.
    Held,
    /// Too many persistent sessions exist.
    Full,
}

/// How many heard a message, and how many could not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Fanout {
    /// Outboxes that took it.
    pub posted: u32,
    /// Full outboxes.
    pub dropped: u32,
}

/// The registry of live connections and waiting sessions.
pub struct Hub {
    devices: DashMap<AgentId, Device>,
    /// Usually one agent per address; placeholder serials share theirs.
    addresses: DashMap<(EntityId, Serial), Vec<Device>>,
    fleets: DashMap<FleetId, HashMap<AgentId, Device>>,
    services: DashMap<SessionKey, Service>,
    router: RwLock<Router<Arc<Outbox>>>,
    retained: Mutex<Retained>,
    connections: AtomicI64,
    changes: AtomicU64,
    places: Places,
    /// Rings when a session was given up, for those who wait to claim it.
    pub departures: Notify,
}

impl Hub {
    /// Empty. Connection numbers count up from `first_connection`.
    pub fn new(first_connection: i64, sessions: SessionBounds, retained: Retained) -> Self {
        Self {
            devices: DashMap::new(),
            addresses: DashMap::new(),
            fleets: DashMap::new(),
            services: DashMap::new(),
            router: RwLock::new(Router::default()),
            retained: Mutex::new(retained),
            connections: AtomicI64::new(first_connection),
            changes: AtomicU64::new(0),
            places: Places::new(sessions),
            departures: Notify::new(),
        }
    }

    /// The next connection number.
    pub fn next_connection(&self) -> ConnectionNumber {
        ConnectionNumber(self.connections.fetch_add(1, Ordering::Relaxed))
    }

    /// Counts changes of rights: who read an agent or an account before entering compares, and reads again if it moved.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Somebody who is about to enter may not be entitled any more.
    pub fn rights_changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// These agents' rows changed: their live connections read them again.
    pub fn agents_changed(&self, agents: &[AgentId]) {
        self.rights_changed();
        for agent in agents {
            if let Some(device) = self.devices.get(agent) {
                device.outbox.agent_changed();
            }
        }
    }

    /// What service accounts came in with may be good no longer: their connections look at it again.
    pub fn services_changed(&self) {
        self.rights_changed();
        self.services.iter().for_each(|it| it.outbox.agent_changed());
    }

    /// The policies of this fleet changed: the live connections of its agents look at them again.
    pub fn fleet_changed(&self, fleet: FleetId) {
        self.rights_changed();
        if let Some(members) = self.fleets.get(&fleet) {
            members.values().for_each(|it| it.outbox.fleet_changed());
        }
    }

    /// An agent connected. The older of its two connections is told to leave; false means that is this one.
    pub fn enter_device(&self, agent: &Agent, connection: ConnectionNumber, outbox: &Arc<Outbox>) -> bool {
        let device = Device::new(agent, connection, outbox);
        match self.devices.entry(agent.id) {
            Entry::Occupied(there) if there.get().connection > connection => return false,
            Entry::Occupied(mut there) => there.insert(device.clone()).outbox.evict(Eviction::Takeover),
            Entry::Vacant(place) => drop(place.insert(device.clone())),
        }
        let mut here = self.addresses.entry((agent.entity, agent.serial.clone())).or_default();
        here.retain(|it| it.agent != agent.id || it.connection > connection);
        if here.iter().all(|it| it.agent != agent.id) {
            here.push(device.clone());
        }
        drop(here);
        self.enter_fleet(agent, device);
        true
    }

    /// The agent belongs to this entity from now on: what service accounts say to it, if it is here, is judged by that.
    pub fn change_home(&self, agent: AgentId, home: EntityId) {
        if let Some(device) = self.devices.get(&agent) {
            device.home.store(home.0, Ordering::Relaxed);
        }
    }

    /// Where the devices of this topic are that are connected, if none of them is where the topic says.
    pub fn home_of(&self, topic: &str) -> Option<EntityId> {
        let place = topic::parse_device_topic(topic)?;
        let DeviceTopicKind::Agent(serial) = place.kind else { return None };
        let here = self.addresses.get(&(EntityId(place.entity), Serial::parse(serial).ok()?))?;
        let is_away = |it: &Device| it.home().0 != place.entity;
        here.first().filter(|_| here.iter().all(is_away)).map(Device::home)
    }

    /// The agent was moved while connected.
    pub fn change_fleet(&self, old: &Agent, new: &Agent, connection: ConnectionNumber, outbox: &Arc<Outbox>) {
        if old.fleet_entity != new.fleet_entity {
            self.change_home(new.id, new.fleet_entity);
        }
        if old.managed_fleet() != new.managed_fleet() {
            self.leave_fleet(old, connection);
            self.enter_fleet(new, Device::new(new, connection, outbox));
        }
    }

    /// The connection of an agent ended. A newer one is left alone; false says there is one.
    pub fn leave_device(&self, agent: &Agent, connection: ConnectionNumber) -> bool {
        let was_current = self.devices.remove_if(&agent.id, |_, it| it.connection == connection).is_some();
        if let Entry::Occupied(mut here) = self.addresses.entry((agent.entity, agent.serial.clone())) {
            here.get_mut().retain(|it| it.agent != agent.id || it.connection != connection);
            if here.get().is_empty() {
                here.remove();
            }
        }
        self.leave_fleet(agent, connection);
        was_current || !self.devices.contains_key(&agent.id)
    }

    /// Number of the live connection of an agent, if any.
    pub fn connection_of(&self, agent: AgentId) -> Option<ConnectionNumber> {
        self.devices.get(&agent).map(|it| it.connection)
    }

    fn enter_fleet(&self, agent: &Agent, device: Device) {
        let Some(fleet) = agent.managed_fleet() else { return };
        let mut members = self.fleets.entry(fleet).or_default();
        if members.get(&agent.id).is_none_or(|it| it.connection <= device.connection) {
            members.insert(agent.id, device);
        }
    }

    fn leave_fleet(&self, agent: &Agent, connection: ConnectionNumber) {
        let Some(fleet) = agent.managed_fleet() else { return };
        if let Entry::Occupied(mut members) = self.fleets.entry(fleet) {
            if members.get().get(&agent.id).is_some_and(|it| it.connection == connection) {
                members.get_mut().remove(&agent.id);
            }
            if members.get().is_empty() {
                members.remove();
            }
        }
    }

    /// A service account connects to its session. `fresh` is used where none waits.
    pub fn claim_service(&self, key: &SessionKey, is_clean: bool, fresh: &Arc<Outbox>) -> Claim {
        match self.services.entry(key.clone()) {
            Entry::Occupied(mut there) => {
                let service = there.get_mut();
                match mem::replace(&mut service.state, ServiceState::Connected) {
                    ServiceState::Connected => {
                        service.outbox.evict(Eviction::Takeover);
                        Claim::Held
                    }
                    ServiceState::Parked { .. } if is_clean => {
                        self.forget(key.0, service);
                        *service = self.fresh_service(fresh, false);
                        Claim::Claimed { number: service.number, outbox: fresh.clone(), saved: None }
                    }
                    ServiceState::Parked { saved, .. } => {
                        service.outbox.attach();
                        Claim::Claimed { number: service.number, outbox: service.outbox.clone(), saved: Some(saved) }
                    }
                }
            }
            Entry::Vacant(place) => {
                if !is_clean && !self.places.take(key.0) {
                    return Claim::Full;
                }
                let service = place.insert(self.fresh_service(fresh, !is_clean));
                Claim::Claimed { number: service.number, outbox: fresh.clone(), saved: None }
            }
        }
    }

    fn fresh_service(&self, outbox: &Arc<Outbox>, is_persistent: bool) -> Service {
        let number = self.next_connection().0.unsigned_abs();
        Service { number, outbox: outbox.clone(), is_persistent, state: ServiceState::Connected }
    }

    /// Nothing is left of a session but its entry.
    fn forget(&self, account: AccountId, service: &Service) {
        self.router_mut(|router| router.forget(service.number));
        if service.is_persistent {
            self.places.give_back(account);
        }
    }

    /// The connection of a service account ended. With `saved` its session waits for it, otherwise it is forgotten.
    pub fn leave_service(&self, key: &SessionKey, number: u64, saved: Option<Saved>) {
        let Entry::Occupied(mut there) = self.services.entry(key.clone()) else { return };
        let service = there.get_mut();
        if service.number != number {
            return;
        }
        match saved {
            // Its account may have been revoked after the connection had ended for another reason.
            Some(saved) if !service.outbox.is_revoked() => {
                service.outbox.detach();
                service.state = ServiceState::Parked { saved: Box::new(saved), since: None };
            }
            _ => {
                self.forget(key.0, service);
                there.remove();
            }
        }
        self.departures.notify_waiters();
    }

    /// A service account was removed: its connections close, its sessions are forgotten. Counts as a change.
    pub fn revoke_account(&self, account: AccountId) {
        self.rights_changed();
        self.services.retain(|key, service| {
            if key.0 != account {
                return true;
            }
            let is_connected = matches!(service.state, ServiceState::Connected);
            if is_connected {
                service.outbox.evict(Eviction::Revoked);
            } else {
                self.forget(key.0, service);
            }
            is_connected
        });
    }

    /// Forgets sessions that waited so long for their clients, and says how many. To be called every few seconds: a session waits from
    /// the first call after its connection ended.
    pub fn expire_sessions(&self, now: Timestamp, life: Duration) -> u64 {
        let mut expired = 0;
        self.services.retain(|key, service| {
            let ServiceState::Parked { since, .. } = &mut service.state else { return true };
            let is_over = since.get_or_insert(now).after(life) <= now;
            if is_over {
                expired += 1;
                self.forget(key.0, service);
            }
            !is_over
        });
        expired
    }

    /// The server stops: every connection is told.
    pub fn evict_all(&self) {
        self.devices.iter().for_each(|it| it.outbox.evict(Eviction::Shutdown));
        self.services.iter().for_each(|it| it.outbox.evict(Eviction::Shutdown));
    }

    /// Adds a subscription of a service account.
    pub fn subscribe(&self, number: u64, filter: &str, qos: QoS, outbox: &Arc<Outbox>) {
        self.router_mut(|router| router.subscribe(number, filter, qos, outbox.clone()));
    }

    /// Removes one.
    pub fn unsubscribe(&self, number: u64, filter: &str) {
        self.router_mut(|router| router.unsubscribe(number, filter));
    }

    /// Whether a session may subscribe this filter without exceeding so many; it may always ask again for one that it has.
    pub fn has_room(&self, number: u64, filter: &str, filters_max: usize) -> bool {
        let router = self.router.read().unwrap_or_else(PoisonError::into_inner);
        router.filters(number) < filters_max || router.has(number, filter)
    }

    fn router_mut<T>(&self, change: impl FnOnce(&mut Router<Arc<Outbox>>) -> T) -> T {
        change(&mut self.router.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Work on the retained messages of service accounts.
    pub fn retained<T>(&self, work: impl FnOnce(&mut Retained) -> T) -> T {
        work(&mut self.retained.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands a message to everybody who may have subscribed it. Each connection checks once more whether its client may hear
    /// it, and devices whether they subscribed. `home`: the entity of the device that says or hears it, where its topic names another one;
    /// `by`: what the service account may do that says it.
    pub fn route(&self, message: &Arc<Message>, home: Option<EntityId>, by: Option<&AccessList>) -> Fanout {
        let mut fanout = Fanout::default();
        self.route_to_services(message, home, &mut fanout);
        if !message.payload.is_empty() {
            self.route_to_devices(message, by, &mut fanout);
        }
        fanout
    }

    fn route_to_services(&self, message: &Arc<Message>, home: Option<EntityId>, fanout: &mut Fanout) {
        let mut matches: Vec<Match<Arc<Outbox>>> = Vec::new();
        let router = self.router.read().unwrap_or_else(PoisonError::into_inner);
        router.matches(&message.topic, &mut matches);
        drop(router);
        for found in matches {
            let delivery = Delivery {
                message: message.clone(),
                qos: found.qos.min(message.qos),
                retain: false,
                slashed: found.slashed,
                tag: None,
                home: home.map(|it| it.0),
            };
            fanout.count(found.handle.post(delivery));
        }
    }

    fn route_to_devices(&self, message: &Arc<Message>, by: Option<&AccessList>, fanout: &mut Fanout) {
        let Some(place) = topic::parse_device_topic(&message.topic) else { return };
        // What devices report is for the back end alone.
        if place.tail.starts_with("Status") {
            return;
        }
        let delivery = || {
            let (message, qos) = (message.clone(), message.qos);
            Delivery { message, qos, retain: false, slashed: false, tag: None, home: None }
        };
        match place.kind {
            DeviceTopicKind::Agent(serial) => {
                let Ok(serial) = Serial::parse(serial) else { return };
                if let Some(here) = self.addresses.get(&(EntityId(place.entity), serial)) {
                    let is_reached = |it: &&Device| by.is_none_or(|by| by.covers(it.home()));
                    here.iter().filter(is_reached).for_each(|it| fanout.count(it.outbox.post(delivery())));
                }
            }
            DeviceTopicKind::Fleet(fleet) => {
                if let Some(members) = self.fleets.get(&FleetId(fleet)) {
                    members.values().for_each(|it| fanout.count(it.outbox.post(delivery())));
                }
            }
        }
    }

    /// Messages that wait in the outboxes of connected service accounts and sessions.
    pub fn waiting(&self) -> usize {
        self.services.iter().map(|it| it.outbox.depth()).sum()
    }

    /// Connections that are here now.
    pub fn population(&self) -> usize {
        let connected = |it: &Service| matches!(it.state, ServiceState::Connected);
        self.devices.len() + self.services.iter().filter(|it| connected(it)).count()
    }

    /// Sessions of service accounts, connected or waiting.
    pub fn sessions(&self) -> usize {
        self.services.len()
    }

    /// Those of them that outlive their connections.
    pub fn persistent_sessions(&self) -> usize {
        self.places.taken()
    }
}

impl Fanout {
    fn count(&mut self, posted: Posted) {
        match posted {
            Posted::Waits => self.posted += 1,
            Posted::Full => self.dropped += 1,
            Posted::Offline => {}
        }
    }
}
