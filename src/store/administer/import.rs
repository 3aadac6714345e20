//! Many agents at once: all or nothing.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{int, text};
use crate::{
    clock::Timestamp,
    ids::{AgentId, EntityId, FleetId},
    mdm::audit::{Action, Deed, Subject},
    store::{
        Store, StoreError, audit,
        db::{Statement, Tx, Value},
        task,
    },
};

/// Rows per statement. SQLite looks up the name of every argument by a linear search, so long statements cost more than many.
const CHUNK_ROWS_MAX: usize = 64;
/// Bad lines that are reported; the rest is counted.
pub const BAD_LINES_MAX: usize = 100;

/// One line of the file, checked as far as it can be without the database.
#[derive(Clone, PartialEq, Eq)]
pub struct StagedAgent {
    /// Where it stands.
    pub line: u64,
    /// Its tenant.
    pub entity: EntityId,
    /// Its serial, which is its user name.
    pub serial: String,
    /// What is stored instead of its password.
    pub secret: String,
    /// The name of its fleet; empty is the default one.
    pub fleet: String,
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
}

impl std::fmt::Debug for StagedAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StagedAgent")
            .field("line", &self.line)
            .field("entity", &self.entity)
            .field("serial", &self.serial)
            .field("secret", &"***")
            .finish_non_exhaustive()
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Counted from 1, the header included.
    pub line: u64,
    /// The column at fault; empty when the line as a whole is.
    pub column: &'static str,
    /// What is wrong.
    pub error: String,
}

impl Store {
    /// Stages all of them, or none and says why.
    ///
    /// # Errors
    /// The database failed.
    pub async fn stage_agents(
        &self,
        staged: Vec<StagedAgent>,
        at: Timestamp,
    ) -> Result<Result<usize, Vec<BadLine>>, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let fleets = match places(tx, &staged).await? {
                    Ok(fleets) => fleets,
                    Err(bad) => return Ok(Err(bad)),
                };
                let with_tasks = fleets_with_tasks(tx).await?;
                let computers = computers(tx, &staged, at).await?;
                let agents = agents(tx, &staged, &fleets, &computers, at).await?;
                credentials(tx, &staged, &agents, at).await?;
                for (agent, fleet) in staged.iter().zip(&fleets).filter(|(agent, _)| !agent.fleet.is_empty()) {
                    let id = agents.get(&(agent.entity.0, agent.serial.clone())).copied().ok_or_else(lost)?;
                    if with_tasks.contains(fleet) {
                        task::joined(tx, AgentId(id), at).await?;
                    }
                }
                audit::append(tx, deed_of(&staged)).await?;
                Ok(Ok(staged.len()))
            })
        })
        .await
    }
}

/// One entry for all of them: how many, and a digest of who, so that a list of them can be compared later.
fn deed_of(staged: &[StagedAgent]) -> Deed {
    let mut digest = Sha256::new();
    for agent in staged {
        digest.update(format!("{}/{}\n", agent.entity, agent.serial));
    }
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Deed::new(Action::AgentImport, Subject::Server).with("agents", staged.len()).with("sha256", digest)
}

async fn fleets_with_tasks(tx: &mut Tx) -> Result<HashSet<FleetId>, StoreError> {
    let question = "select distinct fleet_id from task where fleet_id is not null";
    Ok(tx.rows(Statement::new(question, [])).await?.iter().map(|row| FleetId(row.int("fleet_id"))).collect())
}

type ByAddress = HashMap<(i64, String), i64>;

/// The fleet of every line, in order, or what is wrong with the lines.
async fn places(tx: &mut Tx, staged: &[StagedAgent]) -> Result<Result<Vec<FleetId>, Vec<BadLine>>, StoreError> {
    let entities: HashSet<i64> = staged.iter().map(|it| it.entity.0).collect();
    let mut taken: HashSet<(i64, String)> = HashSet::new();
    let mut fleets: HashMap<(i64, String), FleetId> = HashMap::new();
    for entity in &entities {
        // A moved agent keeps the topic of the entity that it enrolled in.
        let question = "select serial from agent where entity_id = $1 or topic_entity_id = $1";
        let enrolled = tx.rows(Statement::new(question, [int(*entity)])).await?;
        taken.extend(enrolled.iter().map(|row| (*entity, row.text("serial"))));
        let question = "select fleet_id, name, is_default from fleet where entity_id = $1";
        for row in tx.rows(Statement::new(question, [int(*entity)])).await? {
            let id = FleetId(row.int("fleet_id"));
            if row.flag("is_default") {
                fleets.insert((*entity, String::new()), id);
            }
            fleets.insert((*entity, row.text("name")), id);
        }
    }
    let mut found = Vec::with_capacity(staged.len());
    let mut bad = Vec::new();
    for agent in staged {
        let entity = agent.entity.0;
        let mut complain = |column, error: String| {
            if bad.len() < BAD_LINES_MAX {
                bad.push(BadLine { line: agent.line, column, error });
            }
        };
        // Every entity has a default fleet, so one without is no entity.
        if !fleets.contains_key(&(entity, String::new())) {
            complain("entity", format!("there is no entity {entity}"));
        } else if taken.contains(&(entity, agent.serial.clone())) {
            complain("serial", format!("{} is already enrolled in entity {entity}", agent.serial));
        } else if let Some(id) = fleets.get(&(entity, agent.fleet.clone())) {
            found.push(*id);
        } else {
            complain("fleet", format!("entity {entity} has no fleet \"{}\"", agent.fleet));
        }
    }
    Ok(if bad.is_empty() { Ok(found) } else { Err(bad) })
}

/// The inventory record of every address: the one that an earlier enrollment left, or a new one.
async fn computers(tx: &mut Tx, staged: &[StagedAgent], at: Timestamp) -> Result<ByAddress, StoreError> {
    let mut known = ByAddress::new();
    let entities: HashSet<i64> = staged.iter().map(|it| it.entity.0).collect();
    for entity in entities {
        let question = "select computer_id, serial from computer where entity_id = $1";
        for row in tx.rows(Statement::new(question, [int(entity)])).await? {
            known.insert((entity, row.text("serial")), row.int("computer_id"));
        }
    }
    let fresh: Vec<&StagedAgent> =
        staged.iter().filter(|it| !known.contains_key(&(it.entity.0, it.serial.clone()))).collect();
    for chunk in fresh.chunks(CHUNK_ROWS_MAX) {
        let args =
            chunk.iter().flat_map(|it| [int(it.entity.0), text(&it.serial), text(&it.uuid), text(&it.name), int(at.0)]);
        let sql = format!(
            "insert into computer (entity_id, serial, uuid, name, created_at) values {} returning computer_id, entity_id, serial",
            tuples(chunk.len(), 5)
        );
        for row in tx.rows(Statement::new(sql, args.collect::<Vec<Value>>())).await? {
            known.insert((row.int("entity_id"), row.text("serial")), row.int("computer_id"));
        }
    }
    Ok(known)
}

async fn agents(
    tx: &mut Tx,
    staged: &[StagedAgent],
    fleets: &[FleetId],
    computers: &ByAddress,
    at: Timestamp,
) -> Result<ByAddress, StoreError> {
    let mut made = ByAddress::with_capacity(staged.len());
    for (chunk, fleets) in staged.chunks(CHUNK_ROWS_MAX).zip(fleets.chunks(CHUNK_ROWS_MAX)) {
        let mut args = Vec::with_capacity(chunk.len() * 6);
        for (agent, fleet) in chunk.iter().zip(fleets) {
            let computer = computers.get(&(agent.entity.0, agent.serial.clone())).copied().ok_or_else(lost)?;
            args.extend([
                int(agent.entity.0),
                text(&agent.serial),
                int(computer),
                int(fleet.0),
                text(&agent.name),
                int(at.0),
            ]);
        }
        let sql = format!(
            "insert into agent (entity_id, serial, computer_id, fleet_id, name, created_at) values {} \
             returning agent_id, entity_id, serial",
            tuples(chunk.len(), 6)
        );
        for row in tx.rows(Statement::new(sql, args)).await? {
            made.insert((row.int("entity_id"), row.text("serial")), row.int("agent_id"));
        }
    }
    Ok(made)
}

async fn credentials(tx: &mut Tx, staged: &[StagedAgent], agents: &ByAddress, at: Timestamp) -> Result<(), StoreError> {
    for chunk in staged.chunks(CHUNK_ROWS_MAX) {
        let mut args = Vec::with_capacity(chunk.len() * 4);
        for agent in chunk {
            let id = agents.get(&(agent.entity.0, agent.serial.clone())).copied().ok_or_else(lost)?;
            args.extend([int(id), text(&agent.serial), text(&agent.secret), int(at.0)]);
        }
        let sql = format!(
            "insert into credential (agent_id, username, secret, created_at) values {}",
            tuples(chunk.len(), 4)
        );
        tx.execute(Statement::new(sql, args)).await?;
    }
    Ok(())
}

/// `($1, $2), ($3, $4)`.
fn tuples(rows: usize, columns: usize) -> String {
    let mut sql = String::with_capacity(rows * columns * 8);
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            if column > 0 {
                sql.push_str(", ");
            }
            sql.push('$');
            sql.push_str(&(row * columns + column + 1).to_string());
        }
        sql.push(')');
    }
    sql
}

fn lost() -> StoreError {
    StoreError::Database("an inserted row was not given back".into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn placeholders_are_counted_over_all_rows() {
        assert_eq!(super::tuples(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
