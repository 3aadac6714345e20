//! Who may say and hear what. Default deny.

/// What one entry of an access list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Hear.
    Read,
    /// Say.
    Write,
    /// Both.
    ReadWrite,
    /// Neither, whatever else is granted.
    Deny,
}

/// The access list of a service account: `filter:r|w|rw|deny` entries and an entity scope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessList {
    /// Entries in the order given.
    pub entries: Vec<(String, Access)>,
    /// Entities whose agent and fleet topics it may touch; `None` is all. Holds the sub-tree, resolved.
    pub entities: Option<Vec<crate::ids::EntityId>>,
}
