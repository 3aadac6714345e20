//! The seat of an agent. Agent-facing state is computed from its row, and every delivery is checked against what it may hear now.

use std::{collections::HashSet, sync::Arc, time::Instant};

use bytes::Bytes;
use tracing::warn;

use super::{
    Farewell, Subscribed, as_publish,
    patience::{self, Patience},
    policies::{Known, Telling},
};
use crate::{
    broker::{acl, outbox::Outbox},
    flows::{Flows, ingest::Batch},
    ids::{AgentId, CommandId, ConnectionNumber, TaskId},
    mdm::{
        agent::{Agent, EnrollStatus},
        change::Change,
        inbound::Heard,
        owed::{self, Due, MANIFEST_BODY, MANIFEST_TOPIC, OpenCommand},
    },
    metrics::Who,
    mqtt::{
        packet::{Message, Publish, QoS},
        session::Delivery,
        topic,
    },
    pki::identity::ClientIdentity,
    store::StoreError,
};

/// Marks the tag of a delivery that tells a removal; the rest of it is the task. Others are numbers of commands.
const REMOVAL_TAG: u64 = 1 << 63;

/// A filter that was granted, in canonical spelling.
struct Granted {
    filter: Box<str>,
    is_slashed: bool,
    qos: QoS,
}

/// The commands that wait for the device, as far as this connection knows.
enum Waiting {
    /// There were some when it connected; they are read when it subscribes.
    Unread,
    /// These, by name.
    Names(Vec<String>),
}

impl Waiting {
    fn of(commands: &[OpenCommand]) -> Self {
        Self::Names(commands.iter().map(|it| it.name.clone()).collect())
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Names(names) if names.is_empty())
    }

    fn answered(&mut self, command: &str) {
        if let Self::Names(names) = self {
            names.retain(|it| it != command);
        }
    }
}

/// An agent at the table.
pub struct DeviceSeat {
    agent: Arc<Agent>,
    connection: ConnectionNumber,
    open_commands: Waiting,
    policies: Known,
    outbox: Arc<Outbox>,
    /// In order, see `place_of`.
    filters: Vec<Granted>,
    will: Option<Message>,
    /// The certificate that it came in with.
    certificate: Option<Arc<ClientIdentity>>,
    /// That certificate is taken no longer, so the connection ends although the agent stays.
    has_lost_certificate: bool,
    /// With what costs more than it should.
    patience: Patience,
}

impl DeviceSeat {
    /// Just admitted.
    pub fn new(
        agent: Arc<Agent>,
        connection: ConnectionNumber,
        certificate: Option<Arc<ClientIdentity>>,
        has_open_commands: bool,
        has_removals: bool,
        will: Option<Message>,
        outbox: Arc<Outbox>,
    ) -> Self {
        let open_commands = if has_open_commands { Waiting::Unread } else { Waiting::Names(Vec::new()) };
        let policies = Known::new(has_removals);
        Self {
            agent,
            connection,
            open_commands,
            policies,
            outbox,
            filters: Vec::new(),
            will,
            certificate,
            has_lost_certificate: false,
            patience: Patience::default(),
        }
    }

    pub(super) fn serial(&self) -> &str {
        self.agent.serial.as_str()
    }

    pub(super) fn agent(&self) -> AgentId {
        self.agent.id
    }

    pub(super) fn publish(&mut self, flows: &Flows, publish: &Publish, batch: &mut Batch) -> bool {
        let before = batch.changes.len();
        let is_written = flows.listen(&self.agent, &self.heard(flows), publish, batch);
        for change in &batch.changes[before..] {
            if let Change::Answered { command, .. } = change {
                self.open_commands.answered(command);
            }
        }
        is_written
    }

    pub(super) fn lose_patience(&mut self, strain: u32, now: Instant) -> Option<Instant> {
        self.patience.lose(strain, now)
    }

    fn heard(&self, flows: &Flows) -> Heard {
        Heard { now: flows.clock.now(), connection: self.connection, has_open_commands: !self.open_commands.is_empty() }
    }

    pub(super) fn delivered(&mut self, tag: u64, flows: &Flows, batch: &mut Batch) {
        if tag & REMOVAL_TAG != 0 {
            let task = TaskId((tag ^ REMOVAL_TAG).cast_signed());
            batch.changes.push(Change::RemovalHeard { agent: self.agent.id, task });
            return;
        }
        let Ok(command) = i64::try_from(tag) else { return };
        batch.changes.push(Change::Delivered { command: CommandId(command), at: flows.clock.now() });
    }

    pub(super) async fn subscribe(
        &mut self,
        flows: &Flows,
        filters: &[(String, QoS)],
        batch: &mut Batch,
    ) -> Result<Subscribed, StoreError> {
        batch.strain += patience::strain_of(filters.len());
        let commands = self.open_commands(flows).await?;
        self.policies.read(flows, &self.agent).await?;
        let mut granted = Vec::with_capacity(filters.len());
        let (mut found, mut asked) = (Vec::new(), HashSet::new());
        for (filter, qos) in filters {
            let answer = self.grant(flows, filter, *qos);
            if answer.is_none() {
                flows.metrics.subscriptions_refused.get_or_create(&Who { principal: "device" }).inc();
            }
            granted.push(answer);
            if let Some(qos) = answer
                && asked.insert(filter)
            {
                self.find(flows, filter, qos, &commands, batch, &mut found);
            }
        }
        Ok(Subscribed { granted, found })
    }

    /// Any filter within its own topics is granted; what it hears is decided delivery by delivery (spec/mqtt.md §6.2).
    fn grant(&mut self, flows: &Flows, filter: &str, qos: QoS) -> Option<QoS> {
        if !acl::device_may_subscribe(&self.agent, filter) {
            return None;
        }
        let (name, is_slashed) = topic::canonical(filter);
        match self.place_of(name, is_slashed) {
            Ok(at) => self.filters[at].qos = qos,
            Err(at) if self.filters.len() < flows.config.mqtt.subscriptions_max as usize => {
                self.filters.insert(at, Granted { filter: name.into(), is_slashed, qos });
            }
            Err(_) => return None,
        }
        Some(qos)
    }

    /// What the device finds retained under a filter, and the questions that wait for it.
    fn find(
        &mut self,
        flows: &Flows,
        filter: &str,
        qos: QoS,
        commands: &[OpenCommand],
        batch: &mut Batch,
        found: &mut Vec<Delivery>,
    ) {
        let (filter, slashed) = topic::canonical(filter);
        let prefix = self.agent.address().to_string();
        let wants = |tail: &str| topic::matches(filter, &format!("{prefix}/{tail}"));
        let is_slashed = flows.config.mqtt.slashed_topics;
        let already = |id: CommandId, batch: &Batch| {
            batch.changes.iter().any(|it| matches!(it, Change::Sent { command, .. } if *command == id))
        };
        for due in owed::on_subscribe(&self.agent, commands, self.connection, is_slashed, wants) {
            // Overlapping filters of one packet must not ask a question twice.
            if !due.retain && due.settles.iter().all(|id| already(*id, batch)) {
                continue;
            }
            // What it merely finds again is no news for the log.
            let is_news = commands.iter().any(|it| it.sent_to.is_none() && due.settles.contains(&it.id));
            let delivery = self.due(&prefix, due, qos, slashed, flows, batch);
            if is_news {
                batch.changes.extend(flows.log_order(self.agent.id, &delivery.message));
            }
            found.push(delivery);
        }
        for telling in self.policies.owed(&self.agent, &prefix) {
            if topic::matches(filter, &telling.message.topic) {
                found.push(self.tell(telling, qos, slashed, true, batch));
            }
        }
        if topic::matches(filter, MANIFEST_TOPIC) {
            let message = Message {
                topic: MANIFEST_TOPIC.into(),
                payload: Bytes::from_static(MANIFEST_BODY),
                qos: QoS::AtMostOnce,
                retain: true,
            };
            let message = Arc::new(message);
            found.push(Delivery { message, qos: QoS::AtMostOnce, retain: true, slashed, tag: None, home: None });
        }
    }

    /// Brings one due message into the form of a subscription, and notes the commands that it carries as sent.
    fn due(&self, prefix: &str, due: Due, qos: QoS, slashed: bool, flows: &Flows, batch: &mut Batch) -> Delivery {
        let at = flows.clock.now();
        let sent = due.settles.iter().map(|id| Change::Sent { command: *id, connection: self.connection, at });
        batch.changes.extend(sent);
        let tag = due.settles.last().and_then(|id| u64::try_from(id.0).ok());
        let message = Message {
            topic: format!("{prefix}/{}", due.tail).into(),
            payload: due.payload,
            qos: QoS::AtLeastOnce,
            retain: due.retain,
        };
        let qos = qos.min(message.qos);
        let tag = tag.filter(|_| qos > QoS::AtMostOnce);
        Delivery { message: Arc::new(message), qos, retain: due.retain, slashed, tag, home: None }
    }

    /// Brings a policy into the form of a subscription. A removal is told once.
    fn tell(&mut self, telling: Telling, qos: QoS, slashed: bool, retain: bool, batch: &mut Batch) -> Delivery {
        let Telling { message, removal } = telling;
        let qos = qos.min(message.qos);
        let mut tag = None;
        if let Some(task) = removal {
            self.policies.hand_over(task);
            if qos == QoS::AtMostOnce {
                batch.changes.push(Change::RemovalHeard { agent: self.agent.id, task });
            } else {
                tag = Some(REMOVAL_TAG | task.0.cast_unsigned());
            }
        }
        Delivery { message, qos, retain, slashed, tag, home: None }
    }

    /// Policies that a device has subscribed, live. The others it finds when it does.
    fn tell_live(&mut self, flows: &Flows, tellings: Vec<Telling>, batch: &mut Batch) -> Vec<Delivery> {
        let mut deliveries = Vec::with_capacity(tellings.len());
        for telling in tellings {
            if let Some((qos, slashed)) = self.subscription(&telling.message.topic) {
                batch.changes.extend(flows.log_order(self.agent.id, &telling.message));
                deliveries.push(self.tell(telling, qos, slashed, false, batch));
            }
        }
        deliveries
    }

    async fn open_commands(&mut self, flows: &Flows) -> Result<Vec<OpenCommand>, StoreError> {
        if self.open_commands.is_empty() {
            return Ok(Vec::new());
        }
        let owed = flows.store.owed(self.agent.id).await?;
        let commands = owed.map(|it| it.commands).unwrap_or_default();
        self.open_commands = Waiting::of(&commands);
        Ok(commands)
    }

    pub(super) async fn subscribe_implicitly(
        &mut self,
        flows: &Flows,
        batch: &mut Batch,
    ) -> Result<Vec<Delivery>, StoreError> {
        let slash = if flows.config.mqtt.slashed_topics { "/" } else { "" };
        let mut filters = vec![(format!("{slash}{}/#", self.agent.address()), QoS::AtMostOnce)];
        if let Some(fleet) = self.agent.managed_fleet() {
            filters.push((format!("{slash}{}/fleet/{fleet}/#", self.agent.fleet_entity), QoS::AtMostOnce));
        }
        Ok(self.subscribe(flows, &filters, batch).await?.found)
    }

    pub(super) fn unsubscribe(&mut self, filters: &[String]) {
        for filter in filters {
            let (name, is_slashed) = topic::canonical(filter);
            if let Ok(at) = self.place_of(name, is_slashed) {
                self.filters.remove(at);
            }
        }
    }

    /// Where a filter is among those that were granted, or where it belongs.
    fn place_of(&self, name: &str, is_slashed: bool) -> Result<usize, usize> {
        self.filters.binary_search_by(|it| (&*it.filter, it.is_slashed).cmp(&(name, is_slashed)))
    }

    /// Reads the rows again and tells the device, live, what differs from what it was told.
    pub(super) async fn changed(
        &mut self,
        flows: &Flows,
        batch: &mut Batch,
    ) -> Result<Option<Vec<Delivery>>, StoreError> {
        let Some(now) = flows.store.owed(self.agent.id).await? else { return Ok(None) };
        if let Some(identity) = &self.certificate
            && (flows.certificates.is_fallen(identity)
                || !flows.store.certificate_stands(&identity.fingerprint, flows.clock.now()).await?)
        {
            self.has_lost_certificate = true;
            return Ok(None);
        }
        let is_slashed = flows.config.mqtt.slashed_topics;
        let due = owed::on_wake(&self.agent, &now.agent, &now.commands, self.connection, is_slashed);
        self.open_commands = Waiting::of(&now.commands);
        let old = std::mem::replace(&mut self.agent, Arc::new(now.agent));
        flows.hub.change_fleet(&old, &self.agent, self.connection, &self.outbox);
        let prefix = self.agent.address().to_string();
        let mut deliveries = Vec::new();
        for due in due {
            // A device that has not subscribed finds all this when it does.
            if let Some((qos, slashed)) = self.subscription(&format!("{prefix}/{}", due.tail)) {
                let delivery = self.due(&prefix, due, qos, slashed, flows, batch);
                batch.changes.extend(flows.log_order(self.agent.id, &delivery.message));
                deliveries.push(delivery);
            }
        }
        let changed = self.policies.agent_changed(flows, &old, &self.agent, now.has_removals, &prefix).await?;
        deliveries.extend(self.tell_live(flows, changed, batch));
        Ok(Some(deliveries))
    }

    /// The policies of its fleet changed: tells the device what is different, without a question about the agent.
    pub(super) async fn fleet_changed(
        &mut self,
        flows: &Flows,
        batch: &mut Batch,
    ) -> Result<Vec<Delivery>, StoreError> {
        let prefix = self.agent.address().to_string();
        let changed = self.policies.fleet_changed(flows, &self.agent, &prefix).await?;
        Ok(self.tell_live(flows, changed, batch))
    }

    /// An administrator deleted the agent while the device is here: it hears that it should leave, and need not come back for that.
    pub(super) async fn last_words(&mut self, flows: &Flows) -> Vec<Delivery> {
        if self.has_lost_certificate {
            return Vec::new();
        }
        let prefix = self.agent.address().to_string();
        let purged = Agent { enroll_status: EnrollStatus::Purged, ..(*self.agent).clone() };
        let is_slashed = flows.config.mqtt.slashed_topics;
        let due: Vec<(Due, QoS, bool)> = owed::on_wake(&self.agent, &purged, &[], self.connection, is_slashed)
            .into_iter()
            .filter_map(|due| {
                self.subscription(&format!("{prefix}/{}", due.tail)).map(|(qos, slashed)| (due, qos, slashed))
            })
            .collect();
        // Not deleted by an administrator, not listening, or the database failed: it may come back to hear it.
        if due.is_empty() || !flows.store.is_remembered(self.agent.id).await.unwrap_or(false) {
            return Vec::new();
        }
        if let Err(problem) = flows.store.forget_tombstone(self.agent.id).await {
            warn!("a removed device may be told twice to leave: {problem}");
        }
        let mut nothing = Batch::default();
        due.into_iter().map(|(due, qos, slashed)| self.due(&prefix, due, qos, slashed, flows, &mut nothing)).collect()
    }

    /// Highest quality of service of the filters that match, and whether the slashed spelling was asked for alone.
    fn subscription(&self, name: &str) -> Option<(QoS, bool)> {
        let matching = self.filters.iter().filter(|it| topic::matches(&it.filter, name));
        matching.fold(None, |best, it| match best {
            None => Some((it.qos, it.is_slashed)),
            Some((qos, slashed)) => Some((qos.max(it.qos), slashed && it.is_slashed)),
        })
    }

    pub(super) fn filter(&self, delivery: &mut Delivery) -> Result<(), &'static str> {
        // An empty body makes shipped agents unenroll, crash or lock (spec/mqtt.md §5).
        if delivery.message.payload.is_empty() {
            return Err("empty");
        }
        if !acl::device_may_read(&self.agent, &delivery.message.topic) {
            return Err("denied");
        }
        let (qos, slashed) = self.subscription(&delivery.message.topic).ok_or("not_subscribed")?;
        delivery.qos = delivery.message.qos.min(qos);
        delivery.slashed = slashed;
        Ok(())
    }

    pub(super) fn leave(self, flows: &Arc<Flows>, farewell: Farewell) {
        let is_current = flows.hub.leave_device(&self.agent, self.connection);
        let farewell = match farewell {
            Farewell::Revoked if self.has_lost_certificate => Farewell::Vanished,
            other => other,
        };
        if !is_current || matches!(farewell, Farewell::TakenOver | Farewell::Revoked) {
            // The newer connection speaks for the agent now, or there is no agent.
            return;
        }
        let at = flows.clock.now();
        let (agent, connection) = (self.agent.id, self.connection);
        let mut batch = Batch::default();
        batch.changes.push(Change::Presence { agent, is_online: false, connection, at });
        if let (Farewell::Vanished, Some(will)) = (farewell, &self.will)
            && flows.listen(&self.agent, &self.heard(flows), &as_publish(will), &mut batch)
        {
            flows.metrics.wills.inc();
        }
        flows.record(agent, batch, &self.outbox, None);
    }
}
