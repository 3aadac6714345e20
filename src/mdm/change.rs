//! One fact to write down. `store/apply.rs` turns each into one statement.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    ids::{AgentId, CommandId, ComputerId, ConnectionNumber, CredentialId, TaskId},
    mdm::inventory::Inventory,
};

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the device.
    In,
    /// To the device.
    Out,
}

/// A line of the message log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Which way.
    pub direction: Direction,
    /// In canonical spelling.
    pub topic: Arc<str>,
    /// The body, cut.
    pub message: String,
    /// Whose.
    pub agent: AgentId,
}

/// One fact. Applying the same one twice is harmless.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the sentence of each variant says what its fields are")]
pub enum Change {
    /// The agent's connection opened or ended. An older connection never overwrites a newer one.
    Presence { agent: AgentId, is_online: bool, connection: ConnectionNumber, at: Timestamp },
    /// The device itself said whether it is online, over the connection with this number (`None`: by HTTP).
    SaysOnline { agent: AgentId, is_online: bool, connection: Option<ConnectionNumber> },
    /// We heard from the agent.
    Seen { agent: AgentId, at: Timestamp },
    /// A position, or the word that there is none (`na`).
    Position { agent: AgentId, computer: ComputerId, at: Timestamp, latitude: String, longitude: String },
    /// The inventory of the device, whole.
    Inventory { agent: AgentId, computer: ComputerId, at: Timestamp, inventory: Box<Inventory> },
    /// How far a task got on this agent. Counts only while the task is for this agent and has a status here.
    TaskStatus { agent: AgentId, task: TaskId, status: &'static str, at: Timestamp },
    /// The device was told that this task was taken back.
    RemovalHeard { agent: AgentId, task: TaskId },
    /// The version of the agent software, as it says itself.
    AgentVersion { agent: AgentId, version: String },
    /// The device acknowledged its unenrollment: the agent, its credentials and tokens go; the computer stays;
    /// its open commands end (unenroll as answered, the others cancelled).
    Unenrolled { agent: AgentId, at: Timestamp },
    /// All open (queued, sent, delivered) commands with this name of this agent are answered.
    Answered { agent: AgentId, command: &'static str, at: Timestamp },
    /// A queued or sent command was handed to this connection.
    Sent { command: CommandId, connection: ConnectionNumber, at: Timestamp },
    /// The device acknowledged the packet that carried the command (QoS 1).
    Delivered { command: CommandId, at: Timestamp },
    /// Something was said or heard that people may want to see. The one fact that is written again when it is said again.
    Logged(Box<LogLine>),
    /// The device connected with this password: older ones of the same agent end (design.md, one-time means one time).
    CredentialUsed { agent: AgentId, credential: CredentialId },
}

impl Change {
    /// Bytes of what the device said that it carries. What every change takes besides is not counted.
    pub fn payload_bytes(&self) -> usize {
        match self {
            Change::Inventory { inventory, .. } => inventory.xml.len(),
            Change::Logged(line) => line.message.len(),
            _ => 0,
        }
    }
}
