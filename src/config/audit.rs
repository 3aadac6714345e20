//! Settings of the audit.

use serde::{Deserialize, Serialize};

/// Who did what to which device, in the database, for people who must answer for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Days that entries are kept; 0: whatever their age. None goes before another is an hour old and to be kept: the clock may be wrong.
    pub days: u32,
    /// Entries that are kept; the oldest go first.
    pub rows_max: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self { days: 730, rows_max: 2_000_000 }
    }
}
