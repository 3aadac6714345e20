//! Publishes of the client that are not finished: not yet accepted, or of QoS 2 and not yet released. Knows no bytes.

use crate::mqtt::packet::{PacketId, QoS};

/// Accepted QoS 2 messages of one client that may wait for PUBREL.
const UNRELEASED_MAX: usize = 4096;

/// What a publish of the client is to us.
pub(super) enum Arrival {
    /// Hand it on.
    New,
    /// A QoS 2 message that is being handed on; its answer will come.
    Waiting,
    /// A QoS 2 message that we own: say PUBREC again, but hand nothing on [MQTT-4.3.3-2].
    Known(PacketId),
    /// One more than we remember.
    TooMany,
}

#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// In order of arrival.
    pending: Vec<(PacketId, QoS)>,
    /// Sorted.
    unreleased: Vec<PacketId>,
}

impl Incoming {
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn arrived(&mut self, id: Option<PacketId>, qos: QoS) -> Arrival {
        let Some(id) = id else { return Arrival::New };
        if qos == QoS::ExactlyOnce {
            if self.pending.contains(&(id, qos)) {
                return Arrival::Waiting;
            }
            if self.unreleased.binary_search(&id).is_ok() {
                return Arrival::Known(id);
            }
            if self.unreleased.len() + self.pending.len() >= UNRELEASED_MAX {
                return Arrival::TooMany;
            }
        }
        self.pending.push((id, qos));
        Arrival::New
    }

    /// The quality of service of the oldest waiting publish with this id.
    pub(super) fn accepted(&mut self, id: PacketId) -> Option<QoS> {
        let at = self.pending.iter().position(|(waiting, _)| *waiting == id)?;
        let (_, qos) = self.pending.remove(at);
        if qos == QoS::ExactlyOnce
            && let Err(at) = self.unreleased.binary_search(&id)
        {
            self.unreleased.insert(at, id);
        }
        Some(qos)
    }

    pub(super) fn release(&mut self, id: PacketId) {
        if let Ok(at) = self.unreleased.binary_search(&id) {
            self.unreleased.remove(at);
        }
    }

    pub(super) fn restore(&mut self, unreleased: Vec<PacketId>) {
        self.unreleased = unreleased;
    }

    /// Only what was accepted is remembered: the client sends the rest again, and it must not be taken for known then.
    pub(super) fn into_saved(self) -> Vec<PacketId> {
        self.unreleased
    }
}
