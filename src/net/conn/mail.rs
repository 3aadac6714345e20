//! What reaches a connection from behind: news about its client, and messages for it.

use std::collections::VecDeque;

use tracing::warn;

use super::{Awaiting, BACKLOG_BYTES_MAX, Conn, Ending};
use crate::{
    broker::outbox::{Eviction, Mail},
    metrics::Reason,
    mqtt::session::Delivery,
};

impl Conn {
    pub(super) async fn read_mail(&mut self) -> Option<Ending> {
        let mut mail = if self.takes_messages() { self.outbox.take() } else { self.outbox.take_news() };
        let deliveries = std::mem::take(&mut mail.deliveries);
        let ending = self.hear_news(mail).await;
        if ending.is_some() {
            // A session that outlives the connection goes on with them.
            self.outbox.put_back(deliveries);
        } else {
            self.send_filtered(deliveries);
        }
        ending
    }

    async fn hear_news(&mut self, news: Mail) -> Option<Ending> {
        let Mail { committed, write_failed, agent_changed, fleet_changed, eviction, .. } = news;
        if write_failed {
            // What was written after it is said again, too.
            return Some(Ending::Store);
        }
        if let Some(committed) = committed {
            self.acknowledge(committed);
        }
        if let Some(eviction) = eviction {
            return Some(Ending::Evicted(eviction));
        }
        if agent_changed {
            match Box::pin(self.seat.agent_changed(&self.flows, &mut self.batch)).await {
                Ok(Some(due)) => self.send(due),
                Ok(None) => {
                    let last_words = Box::pin(self.seat.last_words(&self.flows)).await;
                    self.send(last_words);
                    return Some(Ending::Evicted(Eviction::Revoked));
                }
                Err(problem) => {
                    warn!("cannot read an agent again: {problem}");
                    return Some(Ending::Store);
                }
            }
        }
        if fleet_changed && !agent_changed {
            match Box::pin(self.seat.fleet_changed(&self.flows, &mut self.batch)).await {
                Ok(due) => self.send(due),
                Err(problem) => {
                    warn!("cannot read the policies of a fleet: {problem}");
                    return Some(Ending::Store);
                }
            }
        }
        None
    }

    fn acknowledge(&mut self, committed: u64) {
        while self.awaiting.front().is_some_and(|it| it.ticket.is_none_or(|ticket| ticket <= committed)) {
            if let Some(Awaiting { packet_id: Some(packet_id), .. }) = self.awaiting.pop_front() {
                self.session.accepted(packet_id);
            }
        }
        if self.awaiting.is_empty() {
            self.awaiting = VecDeque::new();
        }
    }

    /// Messages from the outbox: each is checked against what the client may hear now and what it subscribed.
    fn send_filtered(&mut self, mut deliveries: VecDeque<Delivery>) {
        while let Some(mut delivery) = deliveries.pop_front() {
            if !self.takes_messages() {
                deliveries.push_front(delivery);
                break;
            }
            match self.seat.filter(&mut delivery) {
                Ok(()) => self.deliver(delivery),
                Err(reason) => drop(self.flows.metrics.not_delivered.get_or_create(&Reason { reason }).inc()),
            }
        }
        self.outbox.put_back(deliveries);
    }

    /// Messages that the seat computed; they were checked already.
    pub(super) fn send(&mut self, deliveries: Vec<Delivery>) {
        deliveries.into_iter().for_each(|it| self.deliver(it));
    }

    /// What a service account found retained, as far as the client takes it.
    pub(super) fn send_found(&mut self) {
        while self.takes_messages() {
            let Some(delivery) = self.seat.next_found() else { return };
            self.deliver(delivery);
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let before = self.session.transmit().len();
        self.session.deliver(delivery);
        self.told += self.session.transmit().len() - before;
    }

    pub(super) fn takes_messages(&mut self) -> bool {
        self.session.can_deliver() && self.session.transmit().len() < BACKLOG_BYTES_MAX
    }
}
