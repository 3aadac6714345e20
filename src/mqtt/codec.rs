//! Bytes to packets and back.

/// How a peer broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Placeholder.
    #[error("malformed")]
    Malformed,
}
