//! Metrics.
/// All.
pub struct Metrics {}

impl Metrics {
    /// The text that Prometheus reads.
    pub fn encode(&self) -> String {
        String::new()
    }
}
