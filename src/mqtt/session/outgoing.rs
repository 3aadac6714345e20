//! Our messages that the client has not acknowledged, in the order in which they were sent. Knows no window: the session asks before.

use std::collections::VecDeque;

use crate::mqtt::{
    codec,
    packet::{Packet, PacketId, QoS},
};

use super::Delivery;

#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Outgoing {
    waiting: VecDeque<Waiting>,
    last_id: u16,
}

#[derive(Debug, Clone, PartialEq)]
struct Waiting {
    id: PacketId,
    /// Gone once the client has said PUBREC: then only PUBREL is ever repeated [MQTT-4.3.3-1].
    delivery: Option<Delivery>,
}

impl Outgoing {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn release_idle(&mut self) {
        if self.waiting.is_empty() && self.waiting.capacity() > 0 {
            self.waiting = VecDeque::new();
        }
    }

    pub(super) fn send(&mut self, delivery: Delivery, transmit: &mut Vec<u8>) {
        if delivery.qos == QoS::AtMostOnce {
            return put(&delivery, None, false, transmit);
        }
        let Some(id) = self.next_id() else { return };
        put(&delivery, Some(id), false, transmit);
        self.waiting.push_back(Waiting { id, delivery: Some(delivery) });
    }

    /// Everything again, for a client that came back.
    pub(super) fn repeat(&self, transmit: &mut Vec<u8>) {
        for waiting in &self.waiting {
            match &waiting.delivery {
                Some(delivery) => put(delivery, Some(waiting.id), true, transmit),
                None => codec::encode(&Packet::Pubrel(waiting.id), transmit),
            }
        }
    }

    /// Done with QoS 1. The tag of the delivery, if it had one.
    pub(super) fn puback(&mut self, id: PacketId) -> Option<u64> {
        let at = self.position(id)?;
        self.waiting[at].delivery.as_ref().filter(|delivery| delivery.qos == QoS::AtLeastOnce)?;
        self.waiting.remove(at)?.delivery?.tag
    }

    /// The client has the message; from here on only the id is settled. The tag of the delivery, if it had one. An id that we do not know
    /// is released, too: the client would hold it forever.
    pub(super) fn pubrec(&mut self, id: PacketId, transmit: &mut Vec<u8>) -> Option<u64> {
        let Some(at) = self.position(id) else {
            codec::encode(&Packet::Pubrel(id), transmit);
            return None;
        };
        let waiting = &mut self.waiting[at];
        if waiting.delivery.as_ref().is_some_and(|delivery| delivery.qos == QoS::AtLeastOnce) {
            return None;
        }
        codec::encode(&Packet::Pubrel(id), transmit);
        waiting.delivery.take()?.tag
    }

    /// Done with QoS 2.
    pub(super) fn pubcomp(&mut self, id: PacketId) {
        if let Some(at) = self.position(id)
            && self.waiting[at].delivery.is_none()
        {
            self.waiting.remove(at);
        }
    }

    fn position(&self, id: PacketId) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.id == id)
    }

    /// An id that is not in use [MQTT-2.3.1-2]; none if all are.
    fn next_id(&mut self) -> Option<PacketId> {
        if self.waiting.len() >= usize::from(u16::MAX) {
            return None;
        }
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id)
                && self.position(id).is_none()
            {
                return Some(id);
            }
        }
    }
}

fn put(delivery: &Delivery, id: Option<PacketId>, dup: bool, transmit: &mut Vec<u8>) {
    codec::encode_publish(&delivery.message, delivery.qos, delivery.retain, dup, id, delivery.slashed, transmit);
}
