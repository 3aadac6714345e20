//! The registry of certificates: issued, seen, superseded, revoked. Decides nothing about who may log in.

mod revoke;

use serde::Serialize;

pub(super) use revoke::revoked_with;
pub use revoke::{Revocation, Which, block};

use super::{
    Store, StoreError,
    administer::LIST_ROWS_MAX,
    db::{Row, Statement, Tx, Value},
    login::{AGENT_COLUMNS, HAS_OPEN_COMMANDS, HAS_REMOVALS, agent},
};
use crate::{
    clock::Timestamp,
    ids::{AccountId, AgentId, EntityId},
    mdm::agent::Agent,
};

/// Certificates of one agent that the registry keeps; with more renewals than that the oldest are forgotten, which ends them.
pub const PER_AGENT_MAX: i64 = 16;
/// Rows that one sweep removes.
const PRUNED_AT_ONCE_MAX: i64 = 10_000;
/// How long a certificate is listed after its end.
const KEPT_AFTER_END_MS: i64 = 7 * 86_400_000;

/// A certificate as it is written down.
#[derive(Debug, Clone)]
pub struct NewCertificate {
    /// In hexadecimal digits.
    pub serial_number: String,
    /// SHA-256; empty for every certificate of a foreign authority with this number.
    pub fingerprint: String,
    /// Who signed it.
    pub issuer: String,
    /// Whether that was an authority of the operator.
    pub is_foreign: bool,
    /// Whose it is.
    pub agent: Option<AgentId>,
    /// The entity in the topic of the agent.
    pub entity: Option<EntityId>,
    /// Of the device.
    pub serial: String,
    /// Now.
    pub issued_at: Timestamp,
    /// First moment of its life.
    pub not_before: Timestamp,
    /// Last moment of its life.
    pub not_after: Timestamp,
    /// Itself; empty for foreign ones.
    pub pem: String,
}

/// What the registry knows of a certificate.
#[derive(Debug, Clone, Serialize)]
pub struct CertificateView {
    /// In hexadecimal digits.
    pub serial_number: String,
    /// SHA-256, in hexadecimal digits.
    pub fingerprint: String,
    /// Who signed it.
    pub issuer: String,
    /// Whether that was an authority of the operator.
    pub is_foreign: bool,
    /// Whose it is or was.
    pub agent: Option<AgentId>,
    /// The entity in the topic of the agent.
    pub entity: Option<EntityId>,
    /// Of the device.
    pub serial: String,
    /// `valid`, `superseded`, `revoked`, or `ended` where nothing but time took it.
    pub state: String,
    /// When it was issued, or first seen.
    pub issued_at: String,
    /// First moment of its life.
    pub not_before: String,
    /// Last moment of its life.
    pub not_after: String,
    /// Until when it is taken.
    pub ends_at: String,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// Why it was revoked.
    pub reason: String,
    /// Itself; lists leave it out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pem: String,
}

/// Which certificates a question is about; `None` matches all.
#[derive(Debug, Clone, Default)]
pub struct CertificateFilter {
    /// By the serial of the device.
    pub serial: Option<String>,
    /// By number.
    pub serial_number: Option<String>,
    /// By state.
    pub state: Option<String>,
    /// Those that are taken now, and end before this moment.
    pub ends_before: Option<(Timestamp, Timestamp)>,
    /// Whether the certificates themselves are wanted.
    pub with_pem: bool,
}

/// What a CONNECT must know of a certificate.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Whether it was revoked.
    pub is_revoked: bool,
    /// Until when it is taken.
    pub ends_at: Timestamp,
    /// Its agent, while that exists.
    pub found: Option<FoundAgent>,
}

/// An agent that is about to be let in.
#[derive(Debug, Clone)]
pub struct FoundAgent {
    /// Its row.
    pub agent: Agent,
    /// Whether commands wait for it.
    pub has_open_commands: bool,
    /// Whether it must still hear that tasks were taken back.
    pub has_removals: bool,
}

/// What the registry knows of a certificate of a foreign authority.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Whether it opened a connection before.
    pub is_noted: bool,
    /// Whether it was revoked here.
    pub is_revoked: bool,
    /// Where its device was then.
    pub entity: Option<EntityId>,
}

impl Store {
    /// What the registry knows of the certificate with this fingerprint, and its agent.
    ///
    /// # Errors
    /// The database failed.
    pub async fn registered(&self, fingerprint: &str) -> Result<Option<Registered>, StoreError> {
        let question = format!(
            "select r.state, r.ends_at, {AGENT_COLUMNS}, {HAS_OPEN_COMMANDS}, {HAS_REMOVALS} from certificate r \
             left join agent a on a.agent_id = r.agent_id left join fleet f on f.fleet_id = a.fleet_id \
             where r.fingerprint = $1 and r.fingerprint <> ''"
        );
        Ok(self.row(Statement::new(question, [fingerprint.into()])).await?.map(|row| Registered {
            is_revoked: row.text("state") == "revoked",
            ends_at: Timestamp(row.int("ends_at")),
            found: row.opt_int("agent_id").and_then(|_| found_agent(&row)),
        }))
    }

    /// Whether the certificate with this fingerprint is taken now.
    ///
    /// # Errors
    /// The database failed.
    pub async fn certificate_stands(&self, fingerprint: &str, now: Timestamp) -> Result<bool, StoreError> {
        let question =
            "select 1 as n from certificate where fingerprint = $1 and state <> 'revoked' and ends_at > $2 limit 1";
        Ok(self.row(Statement::new(question, [fingerprint.into(), now.0.into()])).await?.is_some())
    }

    /// What became of a certificate of a foreign authority here.
    ///
    /// # Errors
    /// The database failed.
    pub async fn foreign_certificate(&self, fingerprint: &str, number: &str) -> Result<Seen, StoreError> {
        let question = Statement::new(
            "select fingerprint, state, entity_id from certificate where serial_number = $2 and is_foreign \
             and (fingerprint = $1 or fingerprint = '')",
            [fingerprint.into(), number.into()],
        );
        let rows = self.rows(question).await?;
        let noted = rows.iter().find(|row| row.text("fingerprint") == fingerprint);
        Ok(Seen {
            is_noted: noted.is_some(),
            is_revoked: rows.iter().any(|row| row.text("state") == "revoked"),
            entity: noted.and_then(|row| row.opt_int("entity_id")).map(EntityId),
        })
    }

    /// The agents with this serial, of one entity or of all; two are enough to know that it is ambiguous.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agents_at(&self, serial: &str, entity: Option<EntityId>) -> Result<Vec<FoundAgent>, StoreError> {
        let question = format!(
            "select {AGENT_COLUMNS}, {HAS_OPEN_COMMANDS}, {HAS_REMOVALS} from agent a \
             join fleet f on f.fleet_id = a.fleet_id where a.serial = $1 \
             and ($2 < 0 or coalesce(a.topic_entity_id, a.entity_id) = $2) limit 2"
        );
        let entity = entity.map_or(-1, |it| it.0);
        let rows = self.rows(Statement::new(question, [serial.into(), entity.into()])).await?;
        Ok(rows.iter().filter_map(found_agent).collect())
    }

    /// Writes a certificate down that was seen for the first time.
    ///
    /// # Errors
    /// The database failed.
    pub async fn note_certificate(&self, new: NewCertificate) -> Result<(), StoreError> {
        self.write(move |tx| Box::pin(async move { add(tx, &new).await })).await
    }

    /// Certificates, the latest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn certificates(&self, filter: &CertificateFilter) -> Result<Vec<CertificateView>, StoreError> {
        let (from, to) = filter.ends_before.map_or((-1, -1), |(now, end)| (now.0, end.0));
        let state = "case when state = 'valid' and ends_at <= $8 then 'ended' else state end";
        let question = Statement::new(
            format!(
                "select serial_number, fingerprint, issuer, is_foreign, agent_id, entity_id, serial, {state} as state_now, issued_at, \
                 not_before, not_after, ends_at, revoked_at, reason, case when $7 then pem else '' end as pem \
                 from certificate where ($1 = '' or serial = $1) and ($2 = '' or serial_number = $2) \
                 and ($3 = '' or {state} = $3) and ($5 < 0 or (ends_at between $4 and $5 and state <> 'revoked')) \
                 order by certificate_id desc limit $6"
            ),
            [
                filter.serial.clone().unwrap_or_default().into(),
                filter.serial_number.clone().unwrap_or_default().into(),
                filter.state.clone().unwrap_or_default().into(),
                Value::from(from),
                to.into(),
                LIST_ROWS_MAX.into(),
                filter.with_pem.into(),
                self.clock.now().0.into(),
            ],
        );
        Ok(self.rows(question).await?.iter().map(view).collect())
    }

    /// The back end with this name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn account_named(&self, name: &str) -> Result<Option<AccountId>, StoreError> {
        let question = Statement::new("select account_id from service_account where name = $1", [name.into()]);
        Ok(self.row(question).await?.map(|row| AccountId(row.int("account_id"))))
    }

    /// Foreign certificates that were seen and not revoked: issuer and number.
    ///
    /// # Errors
    /// The database failed.
    pub async fn seen_certificates(&self) -> Result<Vec<(String, String)>, StoreError> {
        let question = Statement::new(
            "select issuer, serial_number from certificate where is_foreign and state = 'valid' and fingerprint <> '' limit $1",
            [LIST_ROWS_MAX.into()],
        );
        Ok(self.rows(question).await?.iter().map(|row| (row.text("issuer"), row.text("serial_number"))).collect())
    }

    /// Agents that came in with foreign certificates which were not revoked.
    ///
    /// # Errors
    /// The database failed.
    pub async fn agents_with_foreign_certificates(&self) -> Result<Vec<AgentId>, StoreError> {
        let question = Statement::new(
            "select distinct agent_id from certificate where is_foreign and state = 'valid' and agent_id is not null limit $1",
            [LIST_ROWS_MAX.into()],
        );
        Ok(self.rows(question).await?.iter().map(|row| AgentId(row.int("agent_id"))).collect())
    }

    /// Agents whose certificates ended in this time; `None` stands for back ends.
    ///
    /// # Errors
    /// The database failed.
    pub async fn certificates_ended(
        &self,
        after: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Option<AgentId>>, StoreError> {
        let question = Statement::new(
            "select distinct agent_id from certificate where ends_at > $1 and ends_at <= $2 limit $3",
            [after.0.into(), until.0.into(), LIST_ROWS_MAX.into()],
        );
        Ok(self.rows(question).await?.iter().map(|row| row.opt_int("agent_id").map(AgentId)).collect())
    }

    /// Forgets certificates that ended some time ago: TLS refuses them by their date.
    ///
    /// # Errors
    /// The database failed.
    pub async fn prune_certificates(&self, now: Timestamp) -> Result<u64, StoreError> {
        let end = now.0 - KEPT_AFTER_END_MS;
        let over = Statement::new("select 1 as n from certificate where not_after <= $1 limit 1", [end.into()]);
        if self.row(over).await?.is_none() {
            return Ok(0);
        }
        let prune = Statement::new(
            "delete from certificate where certificate_id in \
             (select certificate_id from certificate where not_after <= $1 limit $2)",
            [end.into(), PRUNED_AT_ONCE_MAX.into()],
        );
        self.write(move |tx| Box::pin(tx.execute(prune))).await
    }

    /// How many certificates are taken now, and how many of them end before the given moment.
    ///
    /// # Errors
    /// The database failed.
    pub async fn certificate_counts(&self, now: Timestamp, soon: Timestamp) -> Result<(i64, i64), StoreError> {
        let question = Statement::new(
            "select count(*) as valid, coalesce(sum(case when ends_at <= $2 then 1 else 0 end), 0) as ending \
             from certificate where state = 'valid' and ends_at > $1",
            [now.0.into(), soon.0.into()],
        );
        Ok(self.row(question).await?.map_or((0, 0), |row| (row.int("valid"), row.int("ending"))))
    }
}

/// Writes a certificate down. One that is known already stays as it is.
///
/// # Errors
/// The database failed.
pub async fn add(tx: &mut Tx, new: &NewCertificate) -> Result<(), StoreError> {
    tx.execute(Statement::new(
        "insert into certificate (serial_number, fingerprint, issuer, is_foreign, agent_id, entity_id, serial, state, \
         issued_at, not_before, not_after, ends_at, pem) values ($1, $2, $3, $4, $5, $6, $7, 'valid', $8, $9, $10, $10, $11) \
         on conflict do nothing",
        [
            new.serial_number.clone().into(),
            new.fingerprint.clone().into(),
            new.issuer.clone().into(),
            new.is_foreign.into(),
            new.agent.map(|it| it.0).into(),
            new.entity.map(|it| it.0).into(),
            new.serial.clone().into(),
            new.issued_at.0.into(),
            new.not_before.0.into(),
            new.not_after.0.into(),
            new.pem.clone().into(),
        ],
    ))
    .await
    .map(drop)
}

/// Gives an agent a new certificate. Earlier ones are taken until the end of the overlap.
///
/// # Errors
/// The database failed.
pub async fn replace(tx: &mut Tx, new: &NewCertificate, overlap_until: Timestamp) -> Result<(), StoreError> {
    let Some(agent) = new.agent else { return Ok(()) };
    tx.execute(Statement::new(
        "update certificate set state = 'superseded', ends_at = case when ends_at < $2 then ends_at else $2 end \
         where agent_id = $1 and state = 'valid' and not is_foreign",
        [agent.0.into(), overlap_until.0.into()],
    ))
    .await?;
    add(tx, new).await?;
    tx.execute(Statement::new(
        "delete from certificate where agent_id = $1 and state = 'superseded' and certificate_id not in \
         (select certificate_id from certificate where agent_id = $1 order by certificate_id desc limit $2)",
        [agent.0.into(), PER_AGENT_MAX.into()],
    ))
    .await?;
    tx.execute(Statement::new(
        "update agent set certificate = $2 where agent_id = $1",
        [agent.0.into(), new.pem.clone().into()],
    ))
    .await
    .map(drop)
}

/// Whether an agent gets no other certificate, because people revoked the one that it had: whoever holds its key would have that too. One
/// that fell with its authority says nothing about the device.
///
/// # Errors
/// The database failed.
pub async fn is_barred(tx: &mut Tx, agent: AgentId) -> Result<bool, StoreError> {
    let question = Statement::new(
        "select state, reason from certificate where agent_id = $1 and not is_foreign order by certificate_id desc limit 1",
        [agent.0.into()],
    );
    let fell_with_authority = |reason: &str| matches!(reason, "ca_compromise" | "superseded");
    Ok(tx
        .row(question)
        .await?
        .is_some_and(|it| it.text("state") == "revoked" && !fell_with_authority(&it.text("reason"))))
}

fn found_agent(row: &Row) -> Option<FoundAgent> {
    Some(FoundAgent {
        agent: agent(row)?,
        has_open_commands: row.flag("has_open_commands"),
        has_removals: row.flag("has_removals"),
    })
}

fn view(row: &Row) -> CertificateView {
    let time = |column: &str| Timestamp(row.int(column)).rfc3339();
    CertificateView {
        serial_number: row.text("serial_number"),
        fingerprint: row.text("fingerprint"),
        issuer: row.text("issuer"),
        is_foreign: row.flag("is_foreign"),
        agent: row.opt_int("agent_id").map(AgentId),
        entity: row.opt_int("entity_id").map(EntityId),
        serial: row.text("serial"),
        state: row.text("state_now"),
        issued_at: time("issued_at"),
        not_before: time("not_before"),
        not_after: time("not_after"),
        ends_at: time("ends_at"),
        revoked_at: row.opt_int("revoked_at").map(|it| Timestamp(it).rfc3339()),
        reason: row.text("reason"),
        pem: row.text("pem"),
    }
}
