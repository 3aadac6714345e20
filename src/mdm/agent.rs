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
}

impl Agent {
    /// Its own topic prefix.
    pub fn address(&self) -> Address {
        Address { entity: self.entity, serial: self.serial.clone() }
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
}

impl EnrollStatus {
    /// The word in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            EnrollStatus::Enrolled => "enrolled",
            EnrollStatus::Unenrolling => "unenrolling",
        }
    }

    /// Reads the word back.
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
