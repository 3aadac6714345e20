//! What a client says → rows → acknowledgement. A report is acknowledged after its commit; what will never parse is acknowledged at
//! once, counted and logged, so that it cannot come back for ever.

use std::sync::Arc;

use tracing::{debug, error, info};

use super::{Flows, audit};
use crate::{
    broker::{
        acl::{self, AccessList},
        auth::ServiceAccount,
        outbox::Outbox,
    },
    ids::{AgentId, EntityId},
    mdm::{
        agent::Agent,
        catalog::{self, Recognized},
        change::Change,
        inbound::{self, Heard},
    },
    metrics::{Reason, ReportOutcome, Who},
    mqtt::{
        packet::{Message, Publish},
        topic,
    },
};

/// What devices said in one go, to be written and told together.
#[derive(Default)]
pub struct Batch {
    /// Rows.
    pub changes: Vec<Change>,
    /// For subscribers, once the rows are written.
    pub messages: Vec<Arc<Message>>,
    /// The entity of the device, where its topics name another one.
    pub home: Option<EntityId>,
    /// Reports that will never parse, and long lists of filters.
    pub strain: u32,
}

impl Batch {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.messages.is_empty()
    }
}

impl Flows {
    /// Adds to the batch what a device's publish means. False: nothing was added, so that it can be acknowledged at once.
    pub fn listen(&self, agent: &Agent, heard: &Heard, publish: &Publish, batch: &mut Batch) -> bool {
        let (name, _) = topic::canonical(&publish.topic);
        if !acl::device_may_publish(agent, name) {
            self.metrics.denied.get_or_create(&Who { principal: "device" }).inc();
            debug!(agent.serial = %agent.serial, "dropped a publish to a topic that is not the device's own");
            return false;
        }
        let before = (batch.changes.len(), batch.messages.len());
        let recognized = catalog::recognize(agent, name);
        if let Some(report) = &recognized
            && !self.take_report(agent, heard, report, publish, batch)
        {
            return false;
        }
        // Answers below the topic they arrived on are understood but not passed on (spec/mqtt.md §4.6).
        if catalog::strip_agent(agent, name).is_some_and(|tail| !tail.starts_with("Policy")) {
            let message = Message {
                topic: canonical_topic(publish, name),
                payload: publish.payload.clone(),
                qos: publish.qos,
                retain: false, // nothing that an agent publishes is ever retained
            };
            batch.messages.push(Arc::new(message));
            batch.home = agent.moved_to();
        }
        (batch.changes.len(), batch.messages.len()) != before
    }

    fn take_report(
        &self,
        agent: &Agent,
        heard: &Heard,
        recognized: &Recognized<'_>,
        publish: &Publish,
        batch: &mut Batch,
    ) -> bool {
        let report = recognized.report.topic;
        let message = inbound::Message { tail: recognized.tail, payload: &publish.payload };
        match (recognized.report.effect)(agent, &message, heard) {
            Ok(changes) => {
                let name = canonical_topic(publish, topic::canonical(&publish.topic).0);
                batch.changes.extend(self.log_report(agent.id, report, &name, &publish.payload));
                self.metrics.reports.get_or_create(&ReportOutcome { report, outcome: "accepted" }).inc();
                batch.changes.extend(changes);
                true
            }
            Err(malformed) => {
                batch.strain += 1;
                self.metrics.reports.get_or_create(&ReportOutcome { report, outcome: malformed.as_str() }).inc();
                info!(agent.serial = %agent.serial, report, "ignored a report: {malformed}");
                false
            }
        }
    }

    /// Writes a batch; then tells subscribers and, through the outbox, the connection if it waits to acknowledge (it has a ticket then:
    /// waking one that has nothing to say would cost as much as the write).
    pub fn record(self: &Arc<Self>, agent: AgentId, batch: Batch, outbox: &Arc<Outbox>, ticket: Option<u64>) {
        let (flows, outbox) = (self.clone(), outbox.clone());
        let Batch { changes, messages, home, .. } = batch;
        let is_gone = changes.iter().any(|it| matches!(it, Change::Unenrolled { .. }));
        let settles =
            is_gone || changes.iter().any(|it| matches!(it, Change::Answered { .. } | Change::Delivered { .. }));
        let came_or_left = changes.iter().find_map(|it| match it {
            Change::Presence { connection, .. } => Some(*connection),
            _ => None,
        });
        let kept_bytes = messages.iter().map(|it| it.payload.len()).sum();
        self.store.submit_with(kept_bytes, changes, move |written| {
            if let Err(problem) = &written {
                if let Some(connection) = came_or_left {
                    flows.doubts.add(agent, connection);
                }
                error!("a report was not written and not acknowledged: {problem}");
            } else {
                messages.iter().for_each(|message| flows.deliver(message, home, None));
                if is_gone {
                    info!(agent.id = %agent, "an agent acknowledged its unenrollment");
                    flows.agents_changed(&[agent]);
                }
                if settles {
                    flows.commands_settled(agent);
                }
            }
            match (ticket, written) {
                (Some(ticket), Ok(())) => outbox.committed(ticket),
                (None, Ok(())) => {}
                (_, Err(_)) => outbox.write_failed(),
            }
        });
    }

    /// A service account publishes: no rows, so it is passed on and can be acknowledged at once.
    pub fn say(&self, account: &ServiceAccount, publish: &Publish) {
        let (name, _) = topic::canonical(&publish.topic);
        let home = self.hub.home_of(name);
        if !account.access.may_write(name, home) {
            self.metrics.denied.get_or_create(&Who { principal: "service" }).inc();
            debug!(account = account.name, "dropped a publish that the access list does not grant");
            return;
        }
        if audit::is_order(name) {
            self.audit_watch.published(&account.name, name);
        }
        self.metrics.service_messages.inc();
        let message = Arc::new(Message {
            topic: canonical_topic(publish, name),
            payload: publish.payload.clone(),
            qos: publish.qos,
            retain: publish.retain,
        });
        // Who finds it later is judged by the number in the topic, so what is for a device that was moved is not kept; clearing goes.
        let is_kept = || home.is_none() || message.payload.is_empty();
        if publish.retain && !(is_kept() && self.hub.retained(|retained| retained.set(&message))) {
            self.metrics.retained_refused.inc();
        }
        self.deliver(&message, home, Some(&account.access));
    }

    /// Hands a message to its subscribers: of a device, or by a service account with these rights.
    fn deliver(&self, message: &Arc<Message>, home: Option<EntityId>, by: Option<&AccessList>) {
        let fanout = self.hub.route(message, home, by);
        self.metrics.posted.inc_by(fanout.posted.into());
        if fanout.dropped > 0 {
            self.metrics.not_delivered.get_or_create(&Reason { reason: "full" }).inc_by(fanout.dropped.into());
        }
    }
}

/// The topic as it is known inside, without a copy where the client already said it so.
fn canonical_topic(publish: &Publish, name: &str) -> Arc<str> {
    if name.len() == publish.topic.len() { publish.topic.clone() } else { name.into() }
}
