//! Who a client is, once its credentials were checked.

use std::sync::Arc;

use crate::{
    ids::{AccountId, ConnectionNumber},
    mdm::agent::Agent,
};

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

/// A principal on one connection.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Who.
    pub principal: Principal,
    /// Orders this connection among all of the account.
    pub connection: ConnectionNumber,
    /// Fingerprint of the certificate that it showed: when that is revoked, the connection ends.
    pub certificate: Option<Box<str>>,
    /// Whether commands wait for the device.
    pub has_open_commands: bool,
    /// Whether the device must still hear that tasks were taken back.
    pub has_removals: bool,
}
