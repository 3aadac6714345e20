//! Revocation: which certificates, since when, why.

use sha2::{Digest, Sha256};

use crate::{
    clock::Timestamp,
    ids::{AgentId, EntityId},
    mdm::audit::{Action, Deed, Subject},
    store::{
        Store, StoreError, audit,
        db::{Row, Statement, Tx, Value},
    },
};

/// Certificates of one device that are revoked at once by its serial.
const REVOKED_AT_ONCE_MAX: i64 = 1000;
/// Revocations at once that get an entry each in the audit; more of them get one together.
const ENTRIES_AT_ONCE_MAX: usize = 16;

/// Certificates that are to be revoked.
#[derive(Debug, Clone)]
pub enum Which {
    /// Those with a number, or if there is none, those of the device with a serial.
    Named {
        /// In hexadecimal digits.
        number: Option<String>,
        /// Of a device.
        serial: String,
        /// Only those of devices with this entity in their topic.
        entity: Option<EntityId>,
    },
    /// One of a foreign authority.
    Foreign {
        /// The authority.
        issuer: String,
        /// In hexadecimal digits.
        number: String,
    },
    /// All that the built-in authority signed.
    AllOfOurs,
    /// What was signed here by anybody but these; a part of it, if it is much.
    NotSignedBy(Vec<String>),
}

/// What a revocation did.
#[derive(Debug, Clone, Default)]
pub struct Revocation {
    /// Numbers of the certificates that were revoked now.
    pub serial_numbers: Vec<String>,
    /// Whose they are.
    pub agents: Vec<AgentId>,
    /// Names in foreign certificates of back ends.
    pub accounts: Vec<String>,
    /// How many matched, those that were revoked before included.
    pub known: usize,
    /// Where certificates of several entities have the serial: which ones, and nothing was revoked. `None` stands for back ends.
    pub ambiguous: Vec<Option<EntityId>>,
}

impl Store {
    /// Revokes certificates.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revoke_certificates(
        &self,
        which: Which,
        reason: String,
        at: Timestamp,
    ) -> Result<Revocation, StoreError> {
        self.write(move |tx| Box::pin(async move { revoke(tx, which, &reason, at).await })).await
    }

    /// Certificates of this issuer that are revoked and have not ended: number, when, why.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revoked_certificates(
        &self,
        issuer: &str,
        now: Timestamp,
    ) -> Result<Vec<(String, Timestamp, String)>, StoreError> {
        let question = Statement::new(
            "select serial_number, revoked_at, reason from certificate where state = 'revoked' and not is_foreign \
             and not_after > $1 and issuer = $2 order by certificate_id",
            [now.0.into(), issuer.into()],
        );
        let rows = self.rows(question).await?;
        let line = |row: &Row| {
            (row.text("serial_number"), Timestamp(row.opt_int("revoked_at").unwrap_or_default()), row.text("reason"))
        };
        Ok(rows.iter().map(line).collect())
    }

    /// Changes whenever a certificate is revoked, here or by another server on this database.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revocations_mark(&self) -> Result<(i64, i64), StoreError> {
        let question =
            "select count(*) as n, coalesce(max(revoked_at), 0) as latest from certificate where state = 'revoked'";
        let row = self.row(Statement::new(question, [])).await?;
        Ok(row.map_or((0, 0), |row| (row.int("n"), row.int("latest"))))
    }
}

async fn revoke(tx: &mut Tx, which: Which, reason: &str, at: Timestamp) -> Result<Revocation, StoreError> {
    let found = |condition: &str, args: Vec<Value>| {
        Statement::new(
            format!(
                "select certificate_id, serial_number, agent_id, entity_id, serial, state from certificate where {condition}"
            ),
            args,
        )
    };
    let rows = match which {
        Which::AllOfOurs => return revoke_all(tx, reason, at).await,
        Which::NotSignedBy(trusted) => {
            let places: Vec<String> = (1..=trusted.len()).map(|place| format!("${}", place + 1)).collect();
            let condition = format!(
                "not is_foreign and state <> 'revoked' and issuer not in ({}) order by certificate_id limit $1",
                places.join(", ")
            );
            let names = trusted.into_iter().map(Value::from);
            tx.rows(found(&condition, std::iter::once(REVOKED_AT_ONCE_MAX.into()).chain(names).collect())).await?
        }
        Which::Foreign { issuer, number } => {
            let args = vec![number.into(), issuer.into()];
            tx.rows(found("is_foreign and serial_number = $1 and issuer = $2", args)).await?
        }
        Which::Named { number, serial, entity } => {
            let entity = entity.map_or(-1, |it| it.0);
            let args = vec![number.unwrap_or_default().into(), entity.into()];
            let numbered = tx.rows(found("serial_number = $1 and ($2 < 0 or entity_id = $2)", args)).await?;
            if numbered.is_empty() {
                let condition = "serial = $1 and ($3 < 0 or entity_id = $3) order by certificate_id desc limit $2";
                let rows =
                    tx.rows(found(condition, vec![serial.into(), REVOKED_AT_ONCE_MAX.into(), entity.into()])).await?;
                let entities = entities_of(&rows);
                if entities.len() > 1 {
                    return Ok(Revocation { known: rows.len(), ambiguous: entities, ..Revocation::default() });
                }
                rows
            } else {
                numbered
            }
        }
    };
    let live: Vec<&Row> = rows.iter().filter(|row| stands(row)).collect();
    let mut done = Revocation { known: rows.len(), ..Revocation::default() };
    for row in live.iter().copied() {
        tx.execute(Statement::new(
            "update certificate set state = 'revoked', revoked_at = $2, reason = $3 where certificate_id = $1",
            [row.int("certificate_id").into(), at.0.into(), reason.into()],
        ))
        .await?;
        if live.len() <= ENTRIES_AT_ONCE_MAX {
            audit::append(tx, revoked_one(row, reason)).await?;
        }
        done.serial_numbers.push(row.text("serial_number"));
        match row.opt_int("agent_id") {
            Some(agent) => done.agents.push(AgentId(agent)),
            None => done.accounts.push(row.text("serial")),
        }
    }
    if live.len() > ENTRIES_AT_ONCE_MAX {
        audit::append(tx, revoked_many(&live, reason)).await?;
    }
    done.agents.sort_unstable();
    done.agents.dedup();
    for agent in &done.agents {
        // What the device finds in its settings must still be good for something.
        tx.execute(Statement::new(
            "update agent set certificate = coalesce((select pem from certificate where agent_id = $1 \
             and state = 'valid' and pem <> '' order by certificate_id desc limit 1), '') where agent_id = $1",
            [agent.0.into()],
        ))
        .await?;
    }
    Ok(done)
}

async fn revoke_all(tx: &mut Tx, reason: &str, at: Timestamp) -> Result<Revocation, StoreError> {
    let all = "not is_foreign and state <> 'revoked'";
    let columns = "serial_number, agent_id, entity_id, serial";
    let rows = tx.rows(Statement::new(format!("select {columns} from certificate where {all}"), [])).await?;
    let sql = format!("update certificate set state = 'revoked', revoked_at = $1, reason = $2 where {all}");
    tx.execute(Statement::new(sql, [at.0.into(), reason.into()])).await?;
    tx.execute(Statement::new("update agent set certificate = '' where certificate <> ''", [])).await?;
    let mut agents: Vec<AgentId> = rows.iter().filter_map(|row| row.opt_int("agent_id").map(AgentId)).collect();
    agents.sort_unstable();
    agents.dedup();
    let serial_numbers: Vec<String> = rows.iter().map(|row| row.text("serial_number")).collect();
    if !rows.is_empty() {
        audit::append(tx, revoked_many(&rows.iter().collect::<Vec<_>>(), reason)).await?;
    }
    Ok(Revocation { known: serial_numbers.len(), serial_numbers, agents, ..Revocation::default() })
}

fn stands(row: &Row) -> bool {
    row.text("state") != "revoked"
}

/// The entities of those that stand, each once.
fn entities_of(rows: &[Row]) -> Vec<Option<EntityId>> {
    let mut entities: Vec<_> =
        rows.iter().filter(|row| stands(row)).map(|row| row.opt_int("entity_id").map(EntityId)).collect();
    entities.sort_unstable();
    entities.dedup();
    entities
}

fn revoked_one(row: &Row, reason: &str) -> Deed {
    let deed =
        Deed::to(Action::CertificateRevoke, Subject::Certificate, row.text("serial_number")).with("reason", reason);
    let deed = Deed { entity: row.opt_int("entity_id").map(EntityId), ..deed };
    // Without an agent it is a back end's, and what stands for the device's serial is the name of its account.
    match row.opt_int("agent_id") {
        Some(agent) => deed.with_serial(row.text("serial")).with("agent", agent),
        None => deed.with("account", row.text("serial")),
    }
}

/// One entry for many; it names the device and the entity where all are of one.
fn revoked_many(rows: &[&Row], reason: &str) -> Deed {
    let numbers: Vec<String> = rows.iter().map(|row| row.text("serial_number")).collect();
    let digest: String = Sha256::digest(numbers.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
    let deed = Deed::new(Action::CertificateRevoke, Subject::Certificate)
        .with("certificates", numbers.len())
        .with("sha256", digest)
        .with("reason", reason);
    let deed = Deed { entity: shared(rows.iter().map(|row| row.opt_int("entity_id"))).flatten().map(EntityId), ..deed };
    let devices = rows.iter().map(|row| row.opt_int("agent_id").map(|_| row.text("serial")));
    match shared(devices).flatten() {
        Some(serial) => deed.with_serial(&serial),
        None => deed,
    }
}

/// What all of them are.
fn shared<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|it| it == first).then_some(first)
}

/// The agent is gone, and what we signed for it with it.
pub(in crate::store) fn revoked_with(agent: AgentId, at: Timestamp) -> Statement {
    Statement::new(
        "update certificate set state = 'revoked', revoked_at = $2, reason = 'cessation_of_operation' \
         where agent_id = $1 and state <> 'revoked' and not is_foreign",
        [agent.0.into(), at.0.into()],
    )
}

/// Writes down that every certificate of a foreign authority with this number is revoked.
///
/// # Errors
/// The database failed.
pub async fn block(tx: &mut Tx, number: &str, reason: &str, at: Timestamp, until: Timestamp) -> Result<(), StoreError> {
    tx.execute(Statement::new(
        "insert into certificate (serial_number, is_foreign, state, issued_at, not_before, not_after, ends_at, revoked_at, reason) \
         values ($1, $5, 'revoked', $2, $2, $3, $3, $2, $4)",
        [number.into(), at.0.into(), until.0.into(), reason.into(), true.into()],
    ))
    .await?;
    let deed = Deed::to(Action::CertificateRevoke, Subject::Certificate, number).with("reason", reason);
    audit::append(tx, deed.with("is_foreign", true)).await
}
