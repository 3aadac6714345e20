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
    Known,
    /// One more than we remember.
    TooMany,
}

/// A publish that waits for its answer.
#[derive(Debug)]
struct Pending {
    id: PacketId,
    qos: QoS,
    /// We own it already: it is not handed on, only waits for its turn.
    is_known: bool,
    /// The client said PUBREL without waiting for PUBREC.
    is_released: bool,
}

/// How to acknowledge a publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Puback,
    Pubrec,
    /// PUBREC, and PUBCOMP for the PUBREL that came early.
    PubrecPubcomp,
}

#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// In order of arrival.
    pending: Vec<Pending>,
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
            if self.is_awaited(id) {
                return Arrival::Waiting;
            }
            if self.unreleased.binary_search(&id).is_ok() {
                if self.pending.iter().all(|it| it.qos != QoS::ExactlyOnce) {
                    return Arrival::Known;
                }
                // PUBREC leaves in the order of PUBLISH [MQTT-4.6.0-3].
                self.pending.push(Pending { id, qos, is_known: true, is_released: false });
                return Arrival::Waiting;
            }
            if self.unreleased.len() + self.pending.len() >= UNRELEASED_MAX {
                return Arrival::TooMany;
            }
        }
        self.pending.push(Pending { id, qos, is_known: false, is_released: false });
        Arrival::New
    }

    /// The answer to the oldest waiting publish with this id.
    pub(super) fn accepted(&mut self, id: PacketId) -> Option<Answer> {
        let at = self.pending.iter().position(|it| it.id == id && !it.is_known)?;
        match self.pending.remove(at) {
            Pending { qos: QoS::ExactlyOnce, is_released: true, .. } => Some(Answer::PubrecPubcomp),
            Pending { qos: QoS::ExactlyOnce, .. } => {
                if let Err(at) = self.unreleased.binary_search(&id) {
                    self.unreleased.insert(at, id);
                }
                Some(Answer::Pubrec)
            }
            _ => Some(Answer::Puback),
        }
    }

    /// The answer to a publish that only waited for those before it, if it is its turn now.
    pub(super) fn next_known(&mut self) -> Option<(PacketId, Answer)> {
        let at = self.pending.iter().position(|it| it.qos == QoS::ExactlyOnce)?;
        let Pending { id, is_released, .. } = *self.pending.get(at).filter(|it| it.is_known)?;
        self.pending.remove(at);
        Some((id, if is_released { Answer::PubrecPubcomp } else { Answer::Pubrec }))
    }

    /// PUBREL came. False: it ran ahead of our PUBREC, and is answered after that.
    pub(super) fn release(&mut self, id: PacketId) -> bool {
        if let Ok(at) = self.unreleased.binary_search(&id) {
            self.unreleased.remove(at);
        }
        let early = self.pending.iter_mut().find(|it| it.awaits_release(id));
        early.map(|it| it.is_released = true).is_none()
    }

    fn is_awaited(&self, id: PacketId) -> bool {
        self.pending.iter().any(|it| it.awaits_release(id))
    }

    pub(super) fn restore(&mut self, unreleased: Vec<PacketId>) {
        self.unreleased = unreleased;
    }

    /// Only what was accepted is remembered: the client sends the rest again, and it must not be taken for known then.
    pub(super) fn into_saved(self) -> Vec<PacketId> {
        self.unreleased
    }
}

impl Pending {
    fn awaits_release(&self, id: PacketId) -> bool {
        self.id == id && self.qos == QoS::ExactlyOnce && !self.is_released
    }
}
