//! Topic names and filters.

/// Placeholder until the matching rules land.
pub fn is_name(_text: &str) -> bool {
    todo!()
}
