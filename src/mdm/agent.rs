//! The agent as the flows know it, and its life.

use serde::{Deserialize, Serialize};

use crate::ids::{Address, AgentId, ComputerId, EntityId, FleetId, Serial};

/// What the server must know of an agent to serve its connection. Loaded at CONNECT, held while it is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// This enrollment.
    pub id: AgentId,
    /// The entity in its topic, frozen at enrollment (spec/mqtt.md §7.3).
    pub entity: EntityId,
    /// The entity of its fleet: the one that it belongs to now.
    pub fleet_entity: EntityId,
    /// The serial in its topic and its MQTT user name.
    pub serial: Serial,
    /// Its inventory record.
    pub computer: ComputerId,
    /// The fleet it is in.
    pub fleet: FleetId,
    /// Whether that is the "not managed" fleet of the entity, whose topic grants nothing.
    pub fleet_is_default: bool,
    /// Where it stands in its life.
    pub enroll_status: EnrollStatus,
    /// What was last wished about its screen lock.
    pub lock: LockWish,
    /// Whether it was told to wipe itself.
    pub wipe: bool,
    /// Whether it runs iOS, which reads policies of files in a form of its own.
    pub is_apple: bool,
    /// Grows with each change of its own tasks; 0: it never had one.
    pub policy_version: i64,
    /// The same of its fleet.
    pub fleet_policy_version: i64,
}

impl Agent {
    /// Its own topic prefix.
    pub fn address(&self) -> Address {
        Address { entity: self.entity, serial: self.serial.clone() }
    }

    /// The entity that it belongs to now, where its topic names another one.
    pub fn moved_to(&self) -> Option<EntityId> {
        (self.fleet_entity != self.entity).then_some(self.fleet_entity)
    }

    /// The fleet whose policies it may read now; none in the default fleet.
    pub fn managed_fleet(&self) -> Option<FleetId> {
        (!self.fleet_is_default).then_some(self.fleet)
    }
}

/// The stored part of an agent's life; before it there is an invitation, after it there is no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnrollStatus {
    /// In service.
    Enrolled,
    /// Asked to leave; the row goes when the device acknowledges.
    Unenrolling,
    /// Deleted while its device was away. There is no row any more: the device is let in once more, to hear that it should leave.
    Purged,
}

impl EnrollStatus {
    /// The word in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            EnrollStatus::Enrolled => "enrolled",
            EnrollStatus::Unenrolling => "unenrolling",
            EnrollStatus::Purged => "purged",
        }
    }

    /// Reads a stored word back.
    pub fn parse(text: &str) -> Option<Self> {
        [EnrollStatus::Enrolled, EnrollStatus::Unenrolling].into_iter().find(|it| it.as_str() == text)
    }
}

/// The last wish about the screen lock. An unlock is remembered, because a device that was offline must still hear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWish {
    /// Nobody ever locked this agent.
    Never,
    /// Locked.
    Lock,
    /// Locked once and unlocked again.
    Unlock,
}

impl LockWish {
    /// The word in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            LockWish::Never => "never",
            LockWish::Lock => "lock",
            LockWish::Unlock => "unlock",
        }
    }

    /// Reads the word back.
    pub fn parse(text: &str) -> Option<Self> {
        [LockWish::Never, LockWish::Lock, LockWish::Unlock].into_iter().find(|it| it.as_str() == text)
    }
}

impl Agent {
    /// Takes in a new wish about the screen lock.
    ///
    /// # Errors
    /// The agent is told to wipe itself: wipe wins over lock (spec/mqtt.md §7.4).
    pub fn wish_lock(&self, wish: LockWish) -> Result<LockWish, Refused> {
        if self.wipe { Err(Refused::WipeWins) } else { Ok(wish) }
    }
}

/// Where an enrollment stands, from invitation to nothing.
///
/// ```text
///            Enroll             Unenroll
/// Invited ───────────> Enrolled ─────────> Unenrolling
///                      │   ^ └ Acknowledge   │   │
///                      │   └── Cancel ───────┘   │ Acknowledge
///                      └─────> Gone <────────────┘
/// Delete leads to Gone from everywhere but Gone.
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// There is an invitation only.
    Invited,
    /// In service.
    Enrolled,
    /// Asked to leave.
    Unenrolling,
    /// No row any more.
    Gone,
}

/// What happens to an enrollment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LifeEvent {
    /// The invitation was used.
    Enroll,
    /// An administrator asks the device to leave.
    Unenroll,
    /// He changed his mind before the device answered.
    Cancel,
    /// The device says that it left. Flyve believes that unasked too, so we do.
    Acknowledge,
    /// An administrator deletes it without asking the device.
    Delete,
}

/// Why a wish about an agent was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Lock of an agent that is told to wipe itself.
    #[error("wipe wins over lock")]
    WipeWins,
    /// It has no agent yet.
    #[error("the device is not enrolled yet")]
    NotEnrolled,
    /// Enrolled twice.
    #[error("the device is enrolled already")]
    AlreadyEnrolled,
    /// Asked twice to leave.
    #[error("the device was asked to unenroll already")]
    AlreadyUnenrolling,
    /// Nothing to cancel.
    #[error("the device was not asked to unenroll")]
    NotUnenrolling,
    /// The row is gone.
    #[error("the agent does not exist any more")]
    Gone,
}

impl Lifecycle {
    /// Where this event leads.
    ///
    /// # Errors
    /// It cannot happen here.
    pub fn next(self, event: LifeEvent) -> Result<Lifecycle, Refused> {
        use LifeEvent as E;
        match (self, event) {
            (Lifecycle::Gone, _) => Err(Refused::Gone),
            (_, E::Delete) => Ok(Lifecycle::Gone),
            (Lifecycle::Invited, E::Enroll) => Ok(Lifecycle::Enrolled),
            (Lifecycle::Invited, E::Unenroll | E::Cancel | E::Acknowledge) => Err(Refused::NotEnrolled),
            (Lifecycle::Enrolled | Lifecycle::Unenrolling, E::Enroll) => Err(Refused::AlreadyEnrolled),
            (Lifecycle::Enrolled, E::Unenroll) => Ok(Lifecycle::Unenrolling),
            (Lifecycle::Unenrolling, E::Unenroll) => Err(Refused::AlreadyUnenrolling),
            (Lifecycle::Enrolled, E::Cancel) => Err(Refused::NotUnenrolling),
            (Lifecycle::Unenrolling, E::Cancel) => Ok(Lifecycle::Enrolled),
            (Lifecycle::Enrolled | Lifecycle::Unenrolling, E::Acknowledge) => Ok(Lifecycle::Gone),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `3/agent/S1` in fleet 7.
    pub(crate) fn agent() -> Agent {
        Agent {
            id: AgentId(1),
            entity: EntityId(3),
            fleet_entity: EntityId(3),
            serial: Serial::parse("S1").unwrap(),
            computer: ComputerId(2),
            fleet: FleetId(7),
            fleet_is_default: false,
            enroll_status: EnrollStatus::Enrolled,
            lock: LockWish::Never,
            wipe: false,
            is_apple: false,
            policy_version: 0,
            fleet_policy_version: 0,
        }
    }

    #[test]
    fn every_arrow_of_the_drawing_leads_where_it_points() {
        use LifeEvent::*;
        use Lifecycle::*;
        fn check(from: Lifecycle, event: LifeEvent, expected: Result<Lifecycle, Refused>) {
            assert_eq!(from.next(event), expected, "{from:?} {event:?}");
        }
        check(Invited, Enroll, Ok(Enrolled));
        check(Invited, Delete, Ok(Gone));
        check(Invited, Unenroll, Err(Refused::NotEnrolled));
        check(Enrolled, Unenroll, Ok(Unenrolling));
        check(Enrolled, Acknowledge, Ok(Gone));
        check(Enrolled, Delete, Ok(Gone));
        check(Enrolled, Enroll, Err(Refused::AlreadyEnrolled));
        check(Enrolled, Cancel, Err(Refused::NotUnenrolling));
        check(Unenrolling, Cancel, Ok(Enrolled));
        check(Unenrolling, Acknowledge, Ok(Gone));
        check(Unenrolling, Delete, Ok(Gone));
        check(Unenrolling, Unenroll, Err(Refused::AlreadyUnenrolling));
        check(Gone, Enroll, Err(Refused::Gone));
    }

    #[test]
    fn wipe_wins_over_lock() {
        let mut it = agent();
        assert_eq!(it.wish_lock(LockWish::Lock), Ok(LockWish::Lock));
        it.wipe = true;
        assert_eq!(it.wish_lock(LockWish::Lock), Err(Refused::WipeWins));
    }
}
