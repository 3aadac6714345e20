//! The seat of a back end: generic MQTT under an access list.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tracing::warn;

use super::{Farewell, Subscribed, as_publish};
use crate::{
    broker::{
        auth::ServiceAccount,
        hub::{Claim, SessionKey},
        outbox::Outbox,
    },
    flows::Flows,
    ids::{ConnectionNumber, EntityId},
    mdm::owed::{MANIFEST_BODY, MANIFEST_TOPIC},
    metrics::Who,
    mqtt::{
        packet::{Connect, ConnectCode, Message, Publish, QoS},
        session::{Delivery, Saved},
        topic,
    },
    pki::identity::ClientIdentity,
};

/// How long a connection waits for an older one of the same session to leave.
const HANDOVER: Duration = Duration::from_secs(5);

/// What an account found retained and could not be sent yet. Its subscription brought it, so the bounds of the outbox do not count; but what
/// waits already is not found again, so it is never much more than there is.
#[derive(Default)]
struct Found {
    waiting: VecDeque<Delivery>,
    known: HashSet<(usize, QoS, bool)>,
}

impl Found {
    fn add(&mut self, delivery: Delivery) {
        if self.known.insert(Self::key(&delivery)) {
            self.waiting.push_back(delivery);
        }
    }

    fn next(&mut self) -> Option<Delivery> {
        let next = self.waiting.pop_front()?;
        if self.waiting.is_empty() {
            *self = Self::default();
        } else {
            self.known.remove(&Self::key(&next));
        }
        Some(next)
    }

    /// As long as it waits, no other message has its address.
    fn key(delivery: &Delivery) -> (usize, QoS, bool) {
        (Arc::as_ptr(&delivery.message).addr(), delivery.qos, delivery.slashed)
    }
}

/// A back end at the table.
pub struct ServiceSeat {
    account: Arc<ServiceAccount>,
    key: SessionKey,
    number: u64,
    outbox: Arc<Outbox>,
    is_persistent: bool,
    will: Option<Message>,
    found: Found,
    /// What it came in with, beside its password.
    certificate: Option<Arc<ClientIdentity>>,
}

impl ServiceSeat {
    /// Takes the session over from an older connection, resumes it, or begins one.
    pub(super) async fn claim(
        flows: &Flows,
        account: Arc<ServiceAccount>,
        connection: ConnectionNumber,
        connect: &Connect,
        will: Option<Message>,
        fresh: &Arc<Outbox>,
    ) -> Result<(Self, Option<Saved>), ConnectCode> {
        let name = if connect.client_id.is_empty() {
            // The server names a client that did not [MQTT-3.1.3-6], as no client can: NUL is forbidden on the wire [MQTT-1.5.3-2].
            format!("\0{connection}")
        } else {
            connect.client_id.clone()
        };
        let key = (account.id, Arc::from(name));
        let claim = tokio::time::timeout(HANDOVER, claim(flows, &key, connect.clean_session, fresh)).await;
        match claim {
            Ok(Claim::Claimed { number, outbox, saved }) => {
                let (is_persistent, found) = (!connect.clean_session, Found::default());
                let seat = Self { account, key, number, outbox, is_persistent, will, found, certificate: None };
                Ok((seat, saved.map(|it| *it)))
            }
            Ok(Claim::Full) => {
                warn!(account = account.name, "no room for another persistent session");
                Err(ConnectCode::ServerUnavailable)
            }
            Ok(Claim::Held) | Err(_) => Err(ConnectCode::ServerUnavailable),
        }
    }

    pub(super) fn came_in_with(&mut self, certificate: Option<Arc<ClientIdentity>>) {
        self.certificate = certificate;
    }

    /// Whether its connection must end, because foreign authorities vouch for its certificate no longer, or because that ended.
    pub(super) fn has_lost_certificate(&self, flows: &Flows) -> bool {
        let has_ended = |it: &ClientIdentity| flows.clock.now() >= it.not_after || flows.certificates.is_fallen(it);
        self.certificate.as_deref().is_some_and(has_ended)
    }

    pub(super) fn name(&self) -> &str {
        &self.account.name
    }

    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    pub(super) fn publish(&self, flows: &Flows, publish: &Publish) {
        flows.say(&self.account, publish);
    }

    pub(super) fn subscribe(&mut self, flows: &Flows, filters: &[(String, QoS)]) -> Subscribed {
        let (mut granted, mut asked) = (Vec::with_capacity(filters.len()), HashSet::new());
        for (filter, qos) in filters {
            let has_room = flows.hub.has_room(self.number, filter, flows.config.mqtt.subscriptions_max as usize);
            if !has_room || !self.account.access.may_subscribe(filter) {
                flows.metrics.subscriptions_refused.get_or_create(&Who { principal: "service" }).inc();
                granted.push(None);
                continue;
            }
            flows.hub.subscribe(self.number, filter, *qos, &self.outbox);
            granted.push(Some(*qos));
            if asked.insert((filter, *qos)) {
                self.find(flows, filter, *qos);
            }
        }
        Subscribed { granted, found: Vec::new() }
    }

    pub(super) fn has_found(&self) -> bool {
        !self.found.waiting.is_empty()
    }

    pub(super) fn next_found(&mut self) -> Option<Delivery> {
        self.found.next()
    }

    fn find(&mut self, flows: &Flows, filter: &str, qos: QoS) {
        let mut retained = flows.hub.retained(|retained| retained.matching(filter));
        let (name, is_slashed) = topic::canonical(filter);
        if topic::matches(name, MANIFEST_TOPIC) && retained.iter().all(|(it, _)| *it.topic != *MANIFEST_TOPIC) {
            let message = Message {
                topic: MANIFEST_TOPIC.into(),
                payload: bytes::Bytes::from_static(MANIFEST_BODY),
                qos: QoS::AtMostOnce,
                retain: true,
            };
            // The manifest is the server's own; a wide filter of a back end does not ask for it.
            if name.starts_with("FlyvemdmManifest") {
                retained.push((Arc::new(message), is_slashed));
            }
        }
        for (message, slashed) in retained {
            if self.account.access.may_read(&message.topic, None) {
                let qos = qos.min(message.qos);
                self.found.add(Delivery { message, qos, retain: true, slashed, tag: None, home: None });
            }
        }
    }

    pub(super) fn unsubscribe(&self, flows: &Flows, filters: &[String]) {
        filters.iter().for_each(|filter| flows.hub.unsubscribe(self.number, filter));
    }

    pub(super) fn filter(&self, delivery: &Delivery) -> Result<(), &'static str> {
        let home = delivery.home.map(EntityId);
        if self.account.access.may_read(&delivery.message.topic, home) { Ok(()) } else { Err("denied") }
    }

    pub(super) fn leave(self, flows: &Arc<Flows>, farewell: Farewell, saved: impl FnOnce() -> Saved) {
        let is_kept = self.is_persistent && farewell != Farewell::Revoked;
        // What an earlier connection found and nobody took is enough: whoever subscribes again finds it again.
        if is_kept && !self.outbox.is_overfull() {
            self.outbox.put_back(self.found.waiting);
        }
        flows.hub.leave_service(&self.key, self.number, is_kept.then(saved));
        // [MQTT-3.1.2-8] the will is published unless the client said goodbye; a revoked account says nothing any more.
        if let (Farewell::Vanished | Farewell::TakenOver, Some(will)) = (farewell, &self.will) {
            flows.metrics.wills.inc();
            flows.say(&self.account, &as_publish(will));
        }
    }
}

async fn claim(flows: &Flows, key: &SessionKey, is_clean: bool, fresh: &Arc<Outbox>) -> Claim {
    loop {
        let departure = flows.hub.departures.notified();
        match flows.hub.claim_service(key, is_clean, fresh) {
            Claim::Held => departure.await,
            other => return other,
        }
    }
}
