//! Commands: asked for, looked at, cancelled.

use serde::Serialize;

use super::{Answer, LIST_ROWS_MAX, Refused, flag, fleets::absent_agent, int, number, text};
use crate::{
    clock::Timestamp,
    ids::{AgentId, CommandId},
    mdm::{
        agent::{EnrollStatus, LifeEvent, Lifecycle, LockWish},
        audit::{Action, Deed, Subject},
    },
    store::{
        Store, StoreError,
        db::{Row, Statement, Tx, Value},
    },
};

/// A command as people see it. Times are RFC 3339.
#[derive(Debug, Clone, Serialize)]
pub struct CommandView {
    /// Key.
    #[serde(rename = "command_id")]
    pub id: CommandId,
    /// The enrollment it was meant for.
    pub agent: AgentId,
    /// Its serial.
    pub serial: String,
    /// What it is.
    pub name: String,
    /// `queued`, `sent`, `delivered`, `answered`, `expired`, `failed` or `cancelled`.
    pub state: String,
    /// Who wanted it.
    pub requested_by: String,
    /// When.
    pub created_at: String,
    /// When nobody waits for it any more.
    pub expires_at: Option<String>,
    /// When it was handed to a connection.
    pub sent_at: Option<String>,
    /// When the device had it.
    pub delivered_at: Option<String>,
    /// When it was answered, expired, failed or cancelled.
    pub finished_at: Option<String>,
    /// Why it did not succeed.
    pub detail: String,
}

impl CommandView {
    /// Whether nothing will happen to it any more.
    pub fn is_settled(&self) -> bool {
        !matches!(self.state.as_str(), "queued" | "sent" | "delivered")
    }
}

/// What a wish does to the agent's row, besides adding a command.
struct Wish {
    sql: &'static str,
    value: Value,
    supersedes: &'static [&'static str],
}

impl Store {
    /// Writes the wish and its command down in one story. A wish that is fulfilled or under way already answers the command that
    /// stands for it: a second lock of a locked agent sends nothing (spec/mqtt.md §7.4), nor does a second ping of an agent that the
    /// first has not reached.
    ///
    /// # Errors
    /// The database failed.
    pub async fn order(
        &self,
        agent: AgentId,
        name: &'static str,
        by: String,
        at: Timestamp,
        query_expires_at: Timestamp,
    ) -> Answer<CommandId> {
        self.deed(Deed::to_agent(Action::CommandOrder, agent).with("command", name), move |tx| {
            Box::pin(async move {
                let now_is = "select serial, enroll_status, lock_wish, wipe from agent where agent_id = $1";
                let Some(row) = tx.row(Statement::new(now_is, [int(agent.0)])).await? else {
                    return Ok(Err(absent_agent(agent)));
                };
                let wish = wish_of(name);
                match standing(&row, name) {
                    Standing::Refused(why) => return Ok(Err(Refused::Conflict(why.into()))),
                    Standing::Fulfilled => {
                        if let Some(id) = latest(tx, agent, name).await? {
                            return Ok(Ok(id));
                        }
                    }
                    Standing::Due if wish.is_none() => {
                        if let Some(id) = renew_queued(tx, agent, name, query_expires_at).await? {
                            return Ok(Ok(id));
                        }
                    }
                    Standing::Due => {}
                }
                if let Some(wish) = &wish {
                    tx.execute(Statement::new(wish.sql, [int(agent.0), wish.value.clone()])).await?;
                    for superseded in wish.supersedes {
                        supersede(tx, agent, superseded, name, at).await?;
                    }
                }
                let expires_at = Value::Int(wish.is_none().then_some(query_expires_at.0));
                let id = number(
                    tx,
                    "insert into command (agent_id, serial, name, requested_by, created_at, expires_at) \
                     values ($1, $2, $3, $4, $5, $6) returning command_id as n",
                    [int(agent.0), text(row.text("serial")), text(name), text(by), int(at.0), expires_at],
                )
                .await?;
                Ok(Ok(CommandId(id)))
            })
        })
        .await
    }

    /// One command.
    ///
    /// # Errors
    /// The database failed.
    pub async fn command_view(&self, id: CommandId) -> Result<Option<CommandView>, StoreError> {
        let question = "select * from command where command_id = $1";
        Ok(self.row(Statement::new(question, [int(id.0)])).await?.as_ref().map(view))
    }

    /// Commands, latest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn command_views(
        &self,
        serial: Option<&str>,
        state: Option<&str>,
    ) -> Result<Vec<CommandView>, StoreError> {
        let mut sql = "select * from command where true".to_owned();
        let mut args = Vec::new();
        for (condition, value) in [(" and serial = $", serial), (" and state = $", state)] {
            if let Some(value) = value {
                args.push(text(value));
                sql.push_str(condition);
                sql.push_str(&args.len().to_string());
            }
        }
        args.push(int(LIST_ROWS_MAX));
        sql.push_str(" order by command_id desc limit $");
        sql.push_str(&args.len().to_string());
        Ok(self.rows(Statement::new(sql, args)).await?.iter().map(view).collect())
    }

    /// Takes back the request to leave, whether the device has heard it or not. A device that left all the same says so, and is gone.
    ///
    /// # Errors
    /// The database failed.
    pub async fn cancel_unenrollment(&self, agent: AgentId, by: String, at: Timestamp) -> Answer<()> {
        self.deed(Deed::to_agent(Action::CommandCancel, agent).with("command", "unenroll"), move |tx| {
            Box::pin(async move {
                let question = "select enroll_status from agent where agent_id = $1";
                let Some(row) = tx.row(Statement::new(question, [int(agent.0)])).await? else {
                    return Ok(Err(absent_agent(agent)));
                };
                let life = match EnrollStatus::parse(&row.text("enroll_status")) {
                    Some(EnrollStatus::Unenrolling) => Lifecycle::Unenrolling,
                    _ => Lifecycle::Enrolled,
                };
                if let Err(why) = life.next(LifeEvent::Cancel) {
                    return Ok(Err(Refused::Conflict(why.to_string())));
                }
                take_back(tx, agent, "unenroll").await?;
                tx.execute(Statement::new(
                    "update command set state = 'cancelled', finished_at = $2, detail = $3 \
                     where agent_id = $1 and name = 'unenroll' and state in ('queued', 'sent', 'delivered')",
                    [int(agent.0), int(at.0), text(format!("cancelled by {by}"))],
                ))
                .await?;
                Ok(Ok(()))
            })
        })
        .await
    }

    /// Takes back a command that did not reach its device yet, and the wish behind it. Answers whose it was.
    ///
    /// # Errors
    /// The database failed.
    pub async fn cancel_order(&self, id: CommandId, by: String, at: Timestamp) -> Answer<AgentId> {
        self.deed(Deed::to(Action::CommandCancel, Subject::Command, id), move |tx| {
            Box::pin(async move {
                let question = "select agent_id, name, state from command where command_id = $1";
                let Some(row) = tx.row(Statement::new(question, [int(id.0)])).await? else {
                    return Ok(Err(Refused::Absent(format!("there is no command {id}"))));
                };
                let state = row.text("state");
                if state != "queued" {
                    return Ok(Err(Refused::Conflict(format!(
                        "command {id} is {state}; only a queued one can be cancelled"
                    ))));
                }
                let agent = AgentId(row.int("agent_id"));
                take_back(tx, agent, &row.text("name")).await?;
                tx.execute(Statement::new(
                    "update command set state = 'cancelled', finished_at = $2, detail = $3 where command_id = $1",
                    [int(id.0), int(at.0), text(format!("cancelled by {by}"))],
                ))
                .await?;
                Ok(Ok(agent))
            })
        })
        .await
    }
}

/// How a wish stands to what is so already.
enum Standing {
    Due,
    Fulfilled,
    Refused(&'static str),
}

fn standing(row: &Row, name: &str) -> Standing {
    let is_leaving = EnrollStatus::parse(&row.text("enroll_status")) == Some(EnrollStatus::Unenrolling);
    let lock = LockWish::parse(&row.text("lock_wish")).unwrap_or(LockWish::Never);
    decide(name, is_leaving, lock, row.flag("wipe"))
}

/// Wipe wins over lock (spec/mqtt.md §7.4), leaving wins over everything (§7.5).
fn decide(name: &str, is_leaving: bool, lock: LockWish, is_wiped: bool) -> Standing {
    match (name, lock) {
        ("unenroll", _) if is_leaving => Standing::Fulfilled,
        ("unenroll", _) => Standing::Due,
        _ if is_leaving => Standing::Refused("the agent is being unenrolled"),
        ("wipe", _) if is_wiped => Standing::Fulfilled,
        ("lock" | "unlock", _) if is_wiped => {
            Standing::Refused("the agent was told to wipe itself, which wins over lock and unlock")
        }
        ("lock", LockWish::Lock) | ("unlock", LockWish::Unlock) => Standing::Fulfilled,
        ("unlock", LockWish::Never) => Standing::Refused("the agent is not locked"),
        _ => Standing::Due,
    }
}

fn wish_of(name: &str) -> Option<Wish> {
    const LOCK: &str = "update agent set lock_wish = $2 where agent_id = $1";
    match name {
        "lock" => Some(Wish { sql: LOCK, value: text(LockWish::Lock.as_str()), supersedes: &["unlock"] }),
        "unlock" => Some(Wish { sql: LOCK, value: text(LockWish::Unlock.as_str()), supersedes: &["lock"] }),
        "wipe" => Some(Wish {
            sql: "update agent set wipe = $2 where agent_id = $1",
            value: flag(true),
            supersedes: &["lock", "unlock"],
        }),
        "unenroll" => Some(Wish {
            sql: "update agent set enroll_status = $2 where agent_id = $1",
            value: text(EnrollStatus::Unenrolling.as_str()),
            supersedes: &[],
        }),
        _ => None,
    }
}

async fn latest(tx: &mut Tx, agent: AgentId, name: &str) -> Result<Option<CommandId>, StoreError> {
    let question = "select max(command_id) as n from command where agent_id = $1 and name = $2";
    let row = tx.row(Statement::new(question, [int(agent.0), text(name)])).await?;
    Ok(row.and_then(|row| row.opt_int("n")).map(CommandId))
}

async fn renew_queued(
    tx: &mut Tx,
    agent: AgentId,
    name: &str,
    until: Timestamp,
) -> Result<Option<CommandId>, StoreError> {
    let renew = "update command set expires_at = $3 where agent_id = $1 and name = $2 and state = 'queued' returning command_id";
    let rows = tx.rows(Statement::new(renew, [int(agent.0), text(name), int(until.0)])).await?;
    Ok(rows.first().map(|row| CommandId(row.int("command_id"))))
}

async fn supersede(tx: &mut Tx, agent: AgentId, name: &str, by: &str, at: Timestamp) -> Result<(), StoreError> {
    tx.execute(Statement::new(
        "update command set state = 'cancelled', finished_at = $3, detail = $4 \
         where agent_id = $1 and name = $2 and state in ('queued', 'sent', 'delivered')",
        [int(agent.0), text(name), int(at.0), text(format!("superseded by {by}"))],
    ))
    .await?;
    Ok(())
}

/// The device never heard of it, so the row goes back to what the device believes.
async fn take_back(tx: &mut Tx, agent: AgentId, name: &str) -> Result<(), StoreError> {
    let (sql, value) = match name {
        "lock" => ("update agent set lock_wish = $2 where agent_id = $1", text(LockWish::Unlock.as_str())),
        "unlock" => ("update agent set lock_wish = $2 where agent_id = $1", text(LockWish::Lock.as_str())),
        "wipe" => ("update agent set wipe = $2 where agent_id = $1", flag(false)),
        "unenroll" => {
            ("update agent set enroll_status = $2 where agent_id = $1", text(EnrollStatus::Enrolled.as_str()))
        }
        _ => return Ok(()),
    };
    tx.execute(Statement::new(sql, [int(agent.0), value])).await?;
    Ok(())
}

fn view(row: &Row) -> CommandView {
    let time = |column| row.opt_int(column).map(|it| Timestamp(it).rfc3339());
    CommandView {
        id: CommandId(row.int("command_id")),
        agent: AgentId(row.int("agent_id")),
        serial: row.text("serial"),
        name: row.text("name"),
        state: row.text("state"),
        requested_by: row.text("requested_by"),
        created_at: Timestamp(row.int("created_at")).rfc3339(),
        expires_at: time("expires_at"),
        sent_at: time("sent_at"),
        delivered_at: time("delivered_at"),
        finished_at: time("finished_at"),
        detail: row.text("detail"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, is_leaving: bool, lock: LockWish, is_wiped: bool, expected: &str) {
        let is = match decide(name, is_leaving, lock, is_wiped) {
            Standing::Due => "due",
            Standing::Fulfilled => "fulfilled",
            Standing::Refused(_) => "refused",
        };
        assert_eq!(is, expected, "{name}");
    }

    #[test]
    fn wishes_are_granted_once_and_wipe_wins_over_lock() {
        check("ping", false, LockWish::Never, false, "due");
        check("ping", true, LockWish::Never, false, "refused");
        check("lock", false, LockWish::Never, false, "due");
        check("lock", false, LockWish::Unlock, false, "due");
        check("lock", false, LockWish::Lock, false, "fulfilled");
        check("lock", false, LockWish::Never, true, "refused");
        check("unlock", false, LockWish::Lock, true, "refused");
        check("unlock", false, LockWish::Lock, false, "due");
        check("unlock", false, LockWish::Never, false, "refused");
        check("wipe", false, LockWish::Lock, false, "due");
        check("wipe", false, LockWish::Never, true, "fulfilled");
        check("unenroll", false, LockWish::Never, true, "due");
        check("unenroll", true, LockWish::Never, false, "fulfilled");
    }
}
