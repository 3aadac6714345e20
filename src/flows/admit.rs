//! CONNECT → principal or refusal.

use std::{iter, net::SocketAddr, sync::Arc};

mod certified;
#[cfg(test)]
pub(super) mod tests;

use tracing::warn;

use self::certified::Unfit;
use super::{Flows, secrets};
use crate::{
    broker::{
        acl::{Access, AccessList},
        auth::{Principal, ServiceAccount},
        outbox::Outbox,
    },
    ids::{AccountId, AgentId, ConnectionNumber, CredentialId, EntityId},
    mdm::{agent::Agent, change::Change},
    metrics::Outcome,
    mqtt::packet::{Connect, ConnectCode},
    pki::identity::ClientIdentity,
    store::{Login, LoginOf, Owed, StoreError},
};

/// Where a CONNECT comes from, as far as the connection itself says.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The other end of the socket.
    pub address: SocketAddr,
    /// What the certificate says that TLS verified, if it showed one.
    pub certificate: Option<Arc<ClientIdentity>>,
}

/// A principal on one connection.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Who.
    pub principal: Principal,
    /// Orders this connection among all of the account.
    pub connection: ConnectionNumber,
    /// What the certificate says that it showed: when that is revoked, the connection ends.
    pub certificate: Option<Arc<ClientIdentity>>,
    /// Whether commands wait for the device.
    pub has_open_commands: bool,
    /// Whether the device must still hear that tasks were taken back.
    pub has_removals: bool,
    /// What [`crate::broker::hub::Hub::changes`] counted before its rights were looked up.
    pub changes_before: u64,
}

/// What became of a CONNECT.
pub enum Verdict {
    /// Come in.
    Welcome(Box<Admission>),
    /// Stay out.
    Refused(ConnectCode),
}

impl Flows {
    /// Decides who a client is. A device is registered as the live connection of its agent before this returns, so that no change
    /// of its rights can slip between the look-up and the registration.
    pub async fn admit(&self, connect: &Connect, caller: &Caller, outbox: &Arc<Outbox>) -> Verdict {
        let verdict = self.verdict(connect, caller, outbox).await;
        let (verdict, outcome) = match verdict {
            Ok(Verdict::Welcome(admission)) => (Verdict::Welcome(admission), "accepted"),
            Ok(Verdict::Refused(code)) => (Verdict::Refused(code), label(code)),
            Err(problem) => {
                warn!(peer.addr = %caller.address, "cannot check credentials: {problem}");
                (Verdict::Refused(ConnectCode::ServerUnavailable), "unavailable")
            }
        };
        self.metrics.connects.get_or_create(&Outcome { outcome }).inc();
        verdict
    }

    async fn verdict(&self, connect: &Connect, caller: &Caller, outbox: &Arc<Outbox>) -> Result<Verdict, StoreError> {
        if let Some(identity) = &caller.certificate {
            return Box::pin(self.verdict_for_certificate(connect, caller.address, identity, outbox)).await;
        }
        let (Some(username), Some(password)) = (&connect.username, &connect.password) else {
            // Nobody is anonymous; without a user name there is nothing that could be wrong about it.
            let code =
                if connect.username.is_some() { ConnectCode::BadCredentials } else { ConnectCode::NotAuthorized };
            return Ok(Verdict::Refused(code));
        };
        let changes_before = self.hub.changes();
        let logins = self.store.logins(username).await?;
        let Some(login) = logins.into_iter().find(|it| secrets::verify(&self.secret_key, &it.secret, password)) else {
            return self.last_visit(username, password, changes_before, outbox).await;
        };
        match admitted(login) {
            Admitted::Service(account) => Ok(self.admit_service(account, None, changes_before)),
            Admitted::Device(device) => self.admit_device(device, changes_before, outbox).await,
        }
    }

    /// A device whose agent was deleted while it was away may come in once more, to hear that it should leave.
    async fn last_visit(
        &self,
        username: &str,
        password: &[u8],
        changes_before: u64,
        outbox: &Arc<Outbox>,
    ) -> Result<Verdict, StoreError> {
        let logins = self.store.last_logins(username, self.clock.now()).await?;
        let Some(login) = logins.into_iter().find(|it| secrets::verify(&self.secret_key, &it.secret, password)) else {
            return Ok(Verdict::Refused(ConnectCode::BadCredentials));
        };
        let connection = self.hub.next_connection();
        if !self.hub.enter_device(&login.agent, connection, outbox) {
            return Ok(Verdict::Refused(ConnectCode::ServerUnavailable));
        }
        let principal = Principal::Device(Arc::new(login.agent));
        Ok(Verdict::Welcome(Box::new(Admission {
            principal,
            connection,
            certificate: None,
            has_open_commands: false,
            has_removals: false,
            changes_before,
        })))
    }

    /// Its session is claimed later, so [`Flows::still_admits`] is to be asked then.
    fn admit_service(
        &self,
        account: ServiceAccount,
        certificate: Option<Arc<ClientIdentity>>,
        changes_before: u64,
    ) -> Verdict {
        Verdict::Welcome(Box::new(Admission {
            principal: Principal::Service(Arc::new(account)),
            connection: self.hub.next_connection(),
            certificate,
            has_open_commands: false,
            has_removals: false,
            changes_before,
        }))
    }

    /// Whether a service account that has its session now is there still, and its certificate good. Revocations that come from now on
    /// find the session.
    pub(super) async fn still_admits(
        &self,
        account: &ServiceAccount,
        certificate: Option<&ClientIdentity>,
        changes_before: u64,
    ) -> Result<bool, StoreError> {
        if self.hub.changes() == changes_before {
            return Ok(true);
        }
        if let Some(identity) = certificate
            && !self.holder(identity).await?.is_err_and(|why| why == Unfit::NoDevice)
        {
            return Ok(false);
        }
        let logins = self.store.logins(&account.name).await?;
        Ok(logins.iter().any(|it| matches!(it.who, LoginOf::Service { id, .. } if id == account.id)))
    }

    async fn admit_device(
        &self,
        device: Device,
        changes_before: u64,
        outbox: &Arc<Outbox>,
    ) -> Result<Verdict, StoreError> {
        let Device { mut agent, proof, has_older_credentials, mut has_open_commands, mut has_removals } = device;
        let connection = self.hub.next_connection();
        if !self.hub.enter_device(&agent, connection, outbox) {
            return Ok(Verdict::Refused(ConnectCode::ServerUnavailable));
        }
        if self.hub.changes() != changes_before {
            // Somebody changed an agent since the look-up: it may have been this one.
            match self.again(agent.id, &proof).await {
                Ok(Some(now)) => {
                    self.hub.change_fleet(&agent, &now.agent, connection, outbox);
                    (has_open_commands, has_removals) = (!now.commands.is_empty(), now.has_removals);
                    agent = now.agent;
                }
                gone_or_failed => {
                    if self.hub.leave_device(&agent, connection) {
                        // The connection whose place it took writes nothing any more.
                        self.note_presence(agent.id, connection, false, iter::empty());
                    }
                    return gone_or_failed.map(|_| Verdict::Refused(ConnectCode::BadCredentials));
                }
            }
        }
        let newest = proof.credential.filter(|_| has_older_credentials);
        let used = newest.map(|credential| Change::CredentialUsed { agent: agent.id, credential });
        self.note_presence(agent.id, connection, true, used.into_iter());
        let principal = Principal::Device(Arc::new(agent));
        Ok(Verdict::Welcome(Box::new(Admission {
            principal,
            connection,
            certificate: proof.certificate,
            has_open_commands,
            has_removals,
            changes_before,
        })))
    }

    /// The agent as it is now and what waits for it, if it and all that it came in with still exist.
    async fn again(&self, agent: AgentId, proof: &Proof) -> Result<Option<Owed>, StoreError> {
        let Some(owed) = self.store.owed(agent).await? else { return Ok(None) };
        if let Some(identity) = &proof.certificate
            && !self.holder(identity).await?.is_ok_and(|found| found.agent.id == agent)
        {
            return Ok(None);
        }
        let Some(credential) = proof.credential else { return Ok(Some(owed)) };
        let still_valid = self
            .store
            .logins(owed.agent.serial.as_str())
            .await?
            .into_iter()
            .any(|login| matches!(login.who, LoginOf::Agent { credential: known, .. } if known == credential));
        Ok(still_valid.then_some(owed))
    }
}

/// What a device came in with: a password, a certificate, or both.
struct Proof {
    credential: Option<CredentialId>,
    certificate: Option<Arc<ClientIdentity>>,
}

struct Device {
    agent: Agent,
    proof: Proof,
    has_older_credentials: bool,
    has_open_commands: bool,
    has_removals: bool,
}

enum Admitted {
    Device(Device),
    Service(ServiceAccount),
}

fn admitted(login: Login) -> Admitted {
    match login.who {
        LoginOf::Agent { agent, credential, has_older_credentials, has_open_commands, has_removals } => {
            let proof = Proof { credential: Some(credential), certificate: None };
            Admitted::Device(Device { agent, proof, has_older_credentials, has_open_commands, has_removals })
        }
        LoginOf::Service { id, name, access, entities } => Admitted::Service(service(id, name, access, entities)),
    }
}

fn service(
    id: AccountId,
    name: String,
    access: Vec<(String, String)>,
    entities: Option<Vec<EntityId>>,
) -> ServiceAccount {
    // The rows were checked when they were written; a word that is unknown here grants nothing.
    let entries = access.into_iter().map(|(filter, word)| (filter, Access::parse(&word).unwrap_or(Access::Deny)));
    ServiceAccount { id, name, access: AccessList::new(entries.collect(), entities) }
}

fn label(code: ConnectCode) -> &'static str {
    match code {
        ConnectCode::Accepted => "accepted",
        ConnectCode::UnacceptableVersion => "unacceptable_version",
        ConnectCode::IdentifierRejected => "identifier_rejected",
        ConnectCode::ServerUnavailable => "unavailable",
        ConnectCode::BadCredentials => "bad_credentials",
        ConnectCode::NotAuthorized => "not_authorized",
    }
}
