//! A client's place while it is connected: what it may hear and say, and what it subscribed. The connection asks the same questions
//! of a device and of a service account.

mod device;
mod patience;
mod policies;
mod service;

use std::{sync::Arc, time::Instant};

pub use device::DeviceSeat;
pub use service::ServiceSeat;

use tracing::warn;

use super::{Flows, admit::Admission, ingest::Batch};
use crate::{
    broker::{auth::Principal, outbox::Outbox},
    ids::AgentId,
    metrics::Who,
    mqtt::{
        packet::{Connect, ConnectCode, Message, Publish, QoS},
        session::{Delivery, Saved},
    },
    store::StoreError,
};

/// A place at the table.
pub enum Seat {
    /// Before CONNECT was accepted.
    Nobody,
    /// An agent.
    Device(Box<DeviceSeat>),
    /// A back end.
    Service(Box<ServiceSeat>),
}

/// How a client left, as far as wills and presence care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// DISCONNECT: no will.
    Goodbye,
    /// Gone without a word, or thrown out for what it did.
    Vanished,
    /// The same account connected again.
    TakenOver,
    /// The account or agent is gone.
    Revoked,
    /// The server stops.
    Shutdown,
}

/// What a seat found to be sent, and the answers to a SUBSCRIBE.
pub struct Subscribed {
    /// One answer per filter.
    pub granted: Vec<Option<QoS>>,
    /// What a device finds retained; a service account is told by `next_found`.
    pub found: Vec<Delivery>,
}

/// A seat, its outbox (an earlier one where a session is resumed) and what the session left.
pub struct Seated {
    /// The seat.
    pub seat: Seat,
    /// Where its messages wait.
    pub outbox: Arc<Outbox>,
    /// The earlier conversation.
    pub saved: Option<Saved>,
}

impl Flows {
    /// Gives an admitted client its seat.
    ///
    /// # Errors
    /// The CONNACK code that refuses it.
    pub async fn seat(
        self: &Arc<Self>,
        admission: Admission,
        connect: &mut Connect,
        outbox: &Arc<Outbox>,
    ) -> Result<Seated, ConnectCode> {
        let will = connect.will.take();
        let seated = match admission.principal {
            Principal::Device(agent) => {
                let seat = DeviceSeat::new(
                    agent,
                    admission.connection,
                    admission.certificate,
                    admission.has_open_commands,
                    admission.has_removals,
                    will,
                    outbox.clone(),
                );
                Seated { seat: Seat::Device(Box::new(seat)), outbox: outbox.clone(), saved: None }
            }
            Principal::Service(account) => {
                let claim = ServiceSeat::claim(self, account.clone(), admission.connection, connect, will, outbox);
                let (mut seat, saved) = claim.await?;
                seat.came_in_with(admission.certificate.clone());
                let certificate = admission.certificate.as_deref();
                let code = match self.still_admits(&account, certificate, admission.changes_before).await {
                    Ok(true) => ConnectCode::Accepted,
                    Ok(false) => ConnectCode::BadCredentials,
                    Err(problem) => {
                        warn!("cannot check credentials again: {problem}");
                        ConnectCode::ServerUnavailable
                    }
                };
                if code != ConnectCode::Accepted {
                    let is_gone = code == ConnectCode::BadCredentials;
                    let farewell = if is_gone { Farewell::Revoked } else { Farewell::Goodbye };
                    seat.leave(self, farewell, || saved.unwrap_or_default());
                    return Err(code);
                }
                let outbox = seat.outbox().clone();
                Seated { seat: Seat::Service(Box::new(seat)), outbox, saved }
            }
        };
        self.metrics.connections.get_or_create(&seated.seat.who()).inc();
        Ok(seated)
    }
}

impl Seat {
    /// For log lines: an agent's serial or an account's name.
    pub fn name(&self) -> &str {
        match self {
            Seat::Nobody => "nobody",
            Seat::Device(it) => it.serial(),
            Seat::Service(it) => it.name(),
        }
    }

    /// The agent that sits here.
    pub fn agent(&self) -> Option<AgentId> {
        match self {
            Seat::Device(it) => Some(it.agent()),
            Seat::Nobody | Seat::Service(_) => None,
        }
    }

    /// The client published. True: the batch holds rows that must be written before it is acknowledged.
    pub fn publish(&mut self, flows: &Flows, publish: &Publish, batch: &mut Batch) -> bool {
        match self {
            Seat::Nobody => false,
            Seat::Device(it) => it.publish(flows, publish, batch),
            Seat::Service(it) => {
                it.publish(flows, publish);
                false
            }
        }
    }

    /// The client acknowledged a delivery with this tag.
    pub fn delivered(&mut self, tag: u64, flows: &Flows, batch: &mut Batch) {
        if let Seat::Device(it) = self {
            it.delivered(tag, flows, batch);
        }
    }

    /// A round of the client brought some [`Batch::strain`]: until when it is not to be heard, if it does so often.
    pub fn lose_patience(&mut self, strain: u32, now: Instant) -> Option<Instant> {
        if let Seat::Device(it) = self { it.lose_patience(strain, now) } else { None }
    }

    /// The client subscribed.
    ///
    /// # Errors
    /// The database failed.
    pub async fn subscribe(
        &mut self,
        flows: &Flows,
        filters: &[(String, QoS)],
        batch: &mut Batch,
    ) -> Result<Subscribed, StoreError> {
        match self {
            Seat::Nobody => Ok(Subscribed { granted: vec![None; filters.len()], found: Vec::new() }),
            Seat::Device(it) => it.subscribe(flows, filters, batch).await,
            Seat::Service(it) => Ok(it.subscribe(flows, filters)),
        }
    }

    /// Whether retained messages wait that the client has not been sent.
    pub fn has_found(&self) -> bool {
        matches!(self, Seat::Service(it) if it.has_found())
    }

    /// The next of them. They come before what waits in the outbox, which may be newer.
    pub fn next_found(&mut self) -> Option<Delivery> {
        if let Seat::Service(it) = self { it.next_found() } else { None }
    }

    /// The client did not subscribe in time: a device is served as if it had (spec/mqtt.md §10.7).
    ///
    /// # Errors
    /// The database failed.
    pub async fn subscribe_implicitly(
        &mut self,
        flows: &Flows,
        batch: &mut Batch,
    ) -> Result<Vec<Delivery>, StoreError> {
        match self {
            Seat::Device(it) => it.subscribe_implicitly(flows, batch).await,
            Seat::Nobody | Seat::Service(_) => Ok(Vec::new()),
        }
    }

    /// The client unsubscribed.
    pub fn unsubscribe(&mut self, flows: &Flows, filters: &[String]) {
        match self {
            Seat::Nobody => {}
            Seat::Device(it) => it.unsubscribe(filters),
            Seat::Service(it) => it.unsubscribe(flows, filters),
        }
    }

    /// The rows of the agent changed: what to tell it now. `None`: it is gone. For a service account: its certificate may have fallen.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agent_changed(
        &mut self,
        flows: &Flows,
        batch: &mut Batch,
    ) -> Result<Option<Vec<Delivery>>, StoreError> {
        match self {
            Seat::Device(it) => it.changed(flows, batch).await,
            Seat::Service(it) if it.has_lost_certificate(flows) => Ok(None),
            Seat::Nobody | Seat::Service(_) => Ok(Some(Vec::new())),
        }
    }

    /// The policies of the agent's fleet changed: what to tell it now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn fleet_changed(&mut self, flows: &Flows, batch: &mut Batch) -> Result<Vec<Delivery>, StoreError> {
        match self {
            Seat::Device(it) => it.fleet_changed(flows, batch).await,
            Seat::Nobody | Seat::Service(_) => Ok(Vec::new()),
        }
    }

    /// What to tell a device whose agent is gone before its connection ends.
    pub async fn last_words(&mut self, flows: &Flows) -> Vec<Delivery> {
        match self {
            Seat::Device(it) => it.last_words(flows).await,
            Seat::Nobody | Seat::Service(_) => Vec::new(),
        }
    }

    /// Whether the client may hear a routed message, which is then brought into the form that it subscribed.
    ///
    /// # Errors
    /// The reason why not, as a metric label.
    pub fn filter(&self, delivery: &mut Delivery) -> Result<(), &'static str> {
        match self {
            Seat::Nobody => Err("not_subscribed"),
            Seat::Device(it) => it.filter(delivery),
            Seat::Service(it) => it.filter(delivery),
        }
    }

    /// The connection ended.
    pub fn leave(self, flows: &Arc<Flows>, farewell: Farewell, saved: impl FnOnce() -> Saved) {
        if !matches!(self, Seat::Nobody) {
            flows.metrics.connections.get_or_create(&self.who()).dec();
            if farewell == Farewell::TakenOver {
                flows.metrics.takeovers.get_or_create(&self.who()).inc();
                if let Some(agent) = self.agent() {
                    flows.taken_over(agent, self.name());
                }
            }
        }
        match self {
            Seat::Nobody => {}
            Seat::Device(it) => it.leave(flows, farewell),
            Seat::Service(it) => it.leave(flows, farewell, saved),
        }
    }

    fn who(&self) -> Who {
        let principal = if matches!(self, Seat::Device(_)) { "device" } else { "service" };
        Who { principal }
    }
}

/// A will as the publish that it becomes.
fn as_publish(will: &Message) -> Publish {
    Publish {
        dup: false,
        qos: will.qos,
        retain: will.retain,
        topic: will.topic.clone(),
        packet_id: None,
        payload: will.payload.clone(),
    }
}
