//! CONNECT of a client that showed a certificate. TLS verified it, perhaps days ago: a resumed session carries its old certificate, so
//! everything is asked again here, of the registry.

use std::{net::SocketAddr, sync::Arc};

use tracing::info;

use super::{Admitted, Device, Proof, Verdict, admitted};
use crate::{
    broker::outbox::Outbox,
    flows::{Flows, secrets},
    ids::{AgentId, CredentialId, EntityId, Serial},
    metrics::Outcome,
    mqtt::packet::{Connect, ConnectCode},
    pki::identity::{Claim, ClientIdentity},
    store::{
        LoginOf, StoreError,
        certificate::{FoundAgent, NewCertificate},
    },
};

/// Why a certificate opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    NotYet,
    Expired,
    Unknown,
    Revoked,
    NoDevice,
    Ambiguous,
    Mismatch,
    Password,
}

impl Unfit {
    fn label(self) -> &'static str {
        match self {
            Unfit::NotYet => "not_yet_valid",
            Unfit::Expired => "expired",
            Unfit::Unknown => "unknown",
            Unfit::Revoked => "revoked",
            Unfit::NoDevice => "no_device",
            Unfit::Ambiguous => "ambiguous",
            Unfit::Mismatch => "mismatch",
            Unfit::Password => "bad_password",
        }
    }

    fn code(self) -> ConnectCode {
        if self == Unfit::Password { ConnectCode::BadCredentials } else { ConnectCode::NotAuthorized }
    }
}

impl Flows {
    /// Decides who a client with a certificate is. The certificate is enough, unless the policy wants the password too; a password
    /// that is sent must be right in any case.
    pub(super) async fn verdict_for_certificate(
        &self,
        connect: &Connect,
        address: SocketAddr,
        identity: &Arc<ClientIdentity>,
        outbox: &Arc<Outbox>,
    ) -> Result<Verdict, StoreError> {
        let changes_before = self.hub.changes();
        let found = match self.holder(identity).await? {
            Ok(found) => self.with_password(connect, found).await?,
            // A back end with a certificate of the operator's authority: the password says which account.
            Err(Unfit::NoDevice) => return self.certified_service(connect, address, identity, changes_before).await,
            Err(unfit) => Err(unfit),
        };
        let (found, credential, has_older_credentials) = match found {
            Ok(found) => found,
            Err(unfit) => return Ok(self.unfit(unfit, address, identity)),
        };
        let (agent, entity) = (Some(found.agent.id), Some(found.agent.entity));
        self.note_first_sight(identity, agent, entity, found.agent.serial.as_str()).await?;
        let FoundAgent { agent, has_open_commands, has_removals } = found;
        let proof = Proof { credential, certificate: Some(identity.clone()) };
        let device = Device { agent, proof, has_older_credentials, has_open_commands, has_removals };
        let verdict = self.admit_device(device, changes_before, outbox).await?;
        let outcome = if matches!(verdict, Verdict::Welcome(_)) { "accepted" } else { "refused" };
        self.metrics.certificate_logins.get_or_create(&Outcome { outcome }).inc();
        Ok(verdict)
    }

    /// The agent that a certificate speaks for now.
    pub(super) async fn holder(&self, identity: &ClientIdentity) -> Result<Result<FoundAgent, Unfit>, StoreError> {
        let now = self.clock.now();
        if now < identity.not_before {
            return Ok(Err(Unfit::NotYet));
        }
        if now > identity.not_after {
            return Ok(Err(Unfit::Expired));
        }
        match &identity.claim {
            Claim::Nobody => Ok(Err(Unfit::NoDevice)),
            Claim::Foreign { name, entity } => self.foreign_holder(identity, name, *entity).await,
            Claim::Ours(holder) => {
                let Some(known) = self.store.registered(&identity.fingerprint).await? else {
                    return Ok(Err(Unfit::Unknown));
                };
                let found = match known.found {
                    _ if known.is_revoked => return Ok(Err(Unfit::Revoked)),
                    _ if now >= known.ends_at => return Ok(Err(Unfit::Expired)),
                    None => return Ok(Err(Unfit::Revoked)),
                    Some(found) => found,
                };
                let agent = &found.agent;
                let agrees = (agent.id, agent.entity, &agent.serial) == (holder.agent, holder.entity, &holder.serial);
                Ok(if agrees { Ok(found) } else { Err(Unfit::Mismatch) })
            }
        }
    }

    async fn foreign_holder(
        &self,
        identity: &ClientIdentity,
        name: &str,
        entity: Option<EntityId>,
    ) -> Result<Result<FoundAgent, Unfit>, StoreError> {
        let seen = self.store.foreign_certificate(&identity.fingerprint, &identity.serial_number).await?;
        if seen.is_revoked || self.certificates.is_fallen(identity) {
            return Ok(Err(Unfit::Revoked));
        }
        let Ok(serial) = Serial::parse(name) else { return Ok(Err(Unfit::NoDevice)) };
        // Guests choose serials: none of them makes a back end a device.
        if self.store.account_named(name).await?.is_some() {
            return Ok(Err(Unfit::NoDevice));
        }
        let mut agents = self.store.agents_at(serial.as_str(), entity).await?;
        if agents.len() > 1 && seen.entity.is_some() {
            // Nor does another one of this serial, in another entity, keep out whom the certificate spoke for before.
            agents = self.store.agents_at(serial.as_str(), seen.entity).await?;
        }
        match agents.len() {
            0 => Ok(Err(Unfit::NoDevice)),
            1 => Ok(Ok(agents.swap_remove(0))),
            _ => Ok(Err(Unfit::Ambiguous)),
        }
    }

    /// User name and password beside a certificate.
    async fn with_password(
        &self,
        connect: &Connect,
        found: FoundAgent,
    ) -> Result<Result<(FoundAgent, Option<CredentialId>, bool), Unfit>, StoreError> {
        let serial = found.agent.serial.as_str();
        if connect.username.as_deref().is_some_and(|it| it != serial) {
            return Ok(Err(Unfit::Mismatch));
        }
        let Some(password) = &connect.password else {
            let is_enough = !self.config.mqtt.password_with_certificate;
            return Ok(if is_enough { Ok((found, None, false)) } else { Err(Unfit::Password) });
        };
        let id = found.agent.id;
        for login in self.store.logins(serial).await? {
            if let LoginOf::Agent { agent, credential, has_older_credentials, .. } = &login.who
                && agent.id == id
                && secrets::verify(&self.secret_key, &login.secret, password)
            {
                return Ok(Ok((found, Some(*credential), *has_older_credentials)));
            }
        }
        Ok(Err(Unfit::Password))
    }

    async fn certified_service(
        &self,
        connect: &Connect,
        address: SocketAddr,
        identity: &Arc<ClientIdentity>,
        changes_before: u64,
    ) -> Result<Verdict, StoreError> {
        let (Some(username), Some(password)) = (&connect.username, &connect.password) else {
            return Ok(self.unfit(Unfit::NoDevice, address, identity));
        };
        if !matches!(&identity.claim, Claim::Foreign { name, .. } if name == username) {
            return Ok(self.unfit(Unfit::NoDevice, address, identity));
        }
        let logins = self.store.logins(username).await?;
        match logins.into_iter().find(|it| secrets::verify(&self.secret_key, &it.secret, password)).map(admitted) {
            Some(Admitted::Service(account)) => {
                self.note_first_sight(identity, None, None, username).await?;
                self.metrics.certificate_logins.get_or_create(&Outcome { outcome: "accepted" }).inc();
                Ok(self.admit_service(account, Some(identity.clone()), changes_before))
            }
            _ => Ok(self.unfit(Unfit::Password, address, identity)),
        }
    }

    /// A foreign certificate gets a row when it first opens a connection, so that people see it and can revoke it.
    async fn note_first_sight(
        &self,
        identity: &ClientIdentity,
        agent: Option<AgentId>,
        entity: Option<EntityId>,
        name: &str,
    ) -> Result<(), StoreError> {
        if matches!(identity.claim, Claim::Ours(_))
            || self.store.foreign_certificate(&identity.fingerprint, &identity.serial_number).await?.is_noted
        {
            return Ok(());
        }
        self.store
            .note_certificate(NewCertificate {
                serial_number: identity.serial_number.clone(),
                fingerprint: identity.fingerprint.clone(),
                issuer: identity.issuer.clone(),
                is_foreign: true,
                agent,
                entity,
                serial: name.to_owned(),
                issued_at: self.clock.now(),
                not_before: identity.not_before,
                not_after: identity.not_after,
                pem: String::new(),
            })
            .await
    }

    /// Says in the log which certificate it was: the client names itself by nothing else.
    fn unfit(&self, unfit: Unfit, address: SocketAddr, identity: &ClientIdentity) -> Verdict {
        let reason = unfit.label();
        self.metrics.certificate_logins.get_or_create(&Outcome { outcome: reason }).inc();
        info!(peer.addr = %address, certificate = identity.serial_number, reason, "refused a certificate");
        Verdict::Refused(unfit.code())
    }
}
