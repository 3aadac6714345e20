//! Metrics.
/// All.
pub struct Metrics {}
