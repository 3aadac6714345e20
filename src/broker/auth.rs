//! Who a client is, once its credentials were checked.

use std::sync::Arc;

use crate::{ids::AccountId, mdm::agent::Agent};

use super::acl::AccessList;

/// Who we decided the client is.
#[derive(Debug, Clone)]
pub enum Principal {
    /// An enrolled agent, as its row was when it connected or last changed.
    Device(Arc<Agent>),
    /// A back end or monitoring system.
    Service(Arc<ServiceAccount>),
}

/// An MQTT account of a back end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Key.
    pub id: AccountId,
    /// User name.
    pub name: String,
    /// What it may read and write.
    pub access: AccessList,
}
