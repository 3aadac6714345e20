//! API tokens and HTTP sessions, as SQL. Knows hashes only.

use crate::{
    clock::Timestamp,
    ids::{AgentId, PersonId},
};

use super::{
    StoreError,
    db::{Row, Statement, Tx, Value},
};

/// API tokens of one person: one per invitation. The oldest ends when there are more.
pub const TOKENS_PER_PERSON_MAX: i64 = 1000;

/// Whose token or session it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// An invited human being.
    Person(PersonId),
    /// An enrolled agent.
    Agent(AgentId),
}

impl Owner {
    /// The column, and its value.
    fn column(self) -> (&'static str, Value) {
        match self {
            Owner::Person(id) => ("person_id", Value::Int(Some(id.0))),
            Owner::Agent(id) => ("agent_id", Value::Int(Some(id.0))),
        }
    }

    /// Reads an answer that has both columns.
    pub fn read(row: &Row) -> Option<Owner> {
        let person = row.opt_int("person_id").map(|it| Owner::Person(PersonId(it)));
        person.or_else(|| row.opt_int("agent_id").map(|it| Owner::Agent(AgentId(it))))
    }
}

/// Asks whose API token this is.
pub fn token_owner(token_hash: &str, now: Timestamp) -> Statement {
    Statement::new(
        "select person_id, agent_id from api_token where token_hash = $1 and (expires_at is null or expires_at > $2)",
        [text(token_hash), int(now.0)],
    )
}

/// Asks whose session this is, if it was used since `oldest`.
pub fn session_owner(token_hash: &str, oldest: Timestamp) -> Statement {
    Statement::new(
        "select person_id, agent_id, used_at from http_session where token_hash = $1 and used_at > $2",
        [text(token_hash), int(oldest.0)],
    )
}

/// Asks for the name of a person, as sessions show it.
pub fn person(person: PersonId) -> Statement {
    Statement::new("select email, firstname, realname from person where person_id = $1", [int(person.0)])
}

/// Stores an API token.
///
/// # Errors
/// The database failed.
pub async fn add_token(tx: &mut Tx, owner: Owner, token_hash: &str, now: Timestamp) -> Result<(), StoreError> {
    let (column, id) = owner.column();
    tx.execute(Statement::new(
        format!("insert into api_token (token_hash, {column}, created_at) values ($1, $2, $3) on conflict do nothing"),
        [text(token_hash), id.clone(), int(now.0)],
    ))
    .await?;
    tx.execute(Statement::new(
        format!(
            "delete from api_token where {column} = $1 and token_hash not in \
             (select token_hash from api_token where {column} = $1 order by created_at desc, token_hash limit $2)"
        ),
        [id, int(TOKENS_PER_PERSON_MAX)],
    ))
    .await?;
    Ok(())
}

/// Opens a session; those of the same owner that were not used since `oldest`, and those beyond `max`, end.
///
/// # Errors
/// The database failed.
pub async fn open(
    tx: &mut Tx,
    owner: Owner,
    token_hash: &str,
    now: Timestamp,
    oldest: Timestamp,
    max: u32,
) -> Result<(), StoreError> {
    let (column, id) = owner.column();
    tx.execute(Statement::new(
        format!("insert into http_session (token_hash, {column}, created_at, used_at) values ($1, $2, $3, $3)"),
        [text(token_hash), id.clone(), int(now.0)],
    ))
    .await?;
    tx.execute(Statement::new(
        format!(
            "delete from http_session where {column} = $1 and token_hash <> $2 and (used_at <= $3 or token_hash not in \
             (select token_hash from http_session where {column} = $1 and token_hash <> $2 \
             order by used_at desc, created_at desc, token_hash limit $4))"
        ),
        [id, text(token_hash), int(oldest.0), int(i64::from(max.max(1)) - 1)],
    ))
    .await?;
    Ok(())
}

/// Notes that a session is in use.
///
/// # Errors
/// The database failed.
pub async fn touch(tx: &mut Tx, token_hash: &str, now: Timestamp) -> Result<(), StoreError> {
    let update = "update http_session set used_at = $2 where token_hash = $1 and used_at < $2";
    tx.execute(Statement::new(update, [text(token_hash), int(now.0)])).await.map(|_| ())
}

/// Ends a session.
///
/// # Errors
/// The database failed.
pub async fn close(tx: &mut Tx, token_hash: &str) -> Result<(), StoreError> {
    let delete = "delete from http_session where token_hash = $1";
    tx.execute(Statement::new(delete, [text(token_hash)])).await.map(|_| ())
}

fn int(value: i64) -> Value {
    Value::Int(Some(value))
}

fn text(value: &str) -> Value {
    Value::Text(Some(value.into()))
}
