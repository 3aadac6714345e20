//! API tokens and HTTP sessions, as SQL. Knows hashes only.

use crate::{
    clock::Timestamp,
    ids::{AgentId, EntityId, InvitationId, PersonId},
    mdm::rights::{Grant, Profile},
};

use super::{
    StoreError,
    db::{Row, Statement, Tx, Value},
};

/// API tokens of one account, of which an invitation is one. The oldest ends when there are more.
pub const TOKENS_PER_PERSON_MAX: i64 = 1000;

/// Whose token or session it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A human being.
    Person(PersonId),
    /// One who shows no more than an invitation: whoever invites an address, or finds a deeplink, has that as well.
    Invited(PersonId, InvitationId),
    /// An enrolled agent.
    Agent(AgentId),
}

impl Owner {
    /// The column, and its value.
    fn column(self) -> (&'static str, Value) {
        match self {
            Owner::Person(id) | Owner::Invited(id, _) => ("person_id", Value::Int(Some(id.0))),
            Owner::Agent(id) => ("agent_id", Value::Int(Some(id.0))),
        }
    }

    /// What is counted as one account's: with a deeplink nobody pushes out what its person has elsewhere.
    fn own(self) -> (&'static str, Value) {
        match self {
            Owner::Person(id) => ("person_id = $1 and invitation_id is null", Value::Int(Some(id.0))),
            Owner::Invited(_, invitation) => ("invitation_id = $1", Value::Int(Some(invitation.0))),
            Owner::Agent(id) => ("agent_id = $1", Value::Int(Some(id.0))),
        }
    }

    fn invitation(self) -> Value {
        match self {
            Owner::Invited(_, invitation) => Value::Int(Some(invitation.0)),
            Owner::Person(_) | Owner::Agent(_) => Value::Int(None),
        }
    }

    /// Reads an answer that has the three columns.
    pub fn read(row: &Row) -> Option<Owner> {
        let person = row.opt_int("person_id").map(PersonId).map(|person| match row.opt_int("invitation_id") {
            Some(invitation) => Owner::Invited(person, InvitationId(invitation)),
            None => Owner::Person(person),
        });
        person.or_else(|| row.opt_int("agent_id").map(|it| Owner::Agent(AgentId(it))))
    }
}

/// What a session works with, besides its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The active profile.
    pub profile: Profile,
    /// The only profile that the session may have; `None`: every one of its owner.
    pub limited_to: Option<Profile>,
    /// The active entity, and whether those below it belong to it; `None`: all of the profile.
    pub narrowed: Option<(EntityId, bool)>,
}

impl Terms {
    /// Those of whoever was invited.
    pub const GUEST: Terms = Terms { profile: Profile::Guest, limited_to: Some(Profile::Guest), narrowed: None };

    /// Reads an answer to [`session_owner`].
    pub fn read(row: &Row) -> Terms {
        let profile = |column| row.opt_text(column).as_deref().and_then(Profile::parse);
        Terms {
            profile: profile("profile").unwrap_or(Profile::Guest),
            limited_to: profile("limited_to"),
            narrowed: row.opt_int("entity_id").map(|it| (EntityId(it), row.flag("is_recursive"))),
        }
    }
}

/// Asks whose API token this is, and for which profile it is good.
pub fn token_owner(token_hash: &str, now: Timestamp) -> Statement {
    Statement::new(
        "select t.person_id, t.agent_id, t.invitation_id, t.limited_to from api_token t left join person p on p.person_id = t.person_id \
         where t.token_hash = $1 and (t.expires_at is null or t.expires_at > $2) and coalesce(p.is_active, true)",
        [text(token_hash), int(now.0)],
    )
}

/// The sessions that still hold: used and opened since then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// Used since then.
    pub used: Timestamp,
    /// Opened since then.
    pub opened: Timestamp,
}

/// Asks whose session this is, if it still holds.
pub fn session_owner(token_hash: &str, since: Since) -> Statement {
    Statement::new(
        "select s.person_id, s.agent_id, s.invitation_id, s.used_at, s.profile, s.limited_to, s.entity_id, s.is_recursive \
         from http_session s left join person p on p.person_id = s.person_id \
         where s.token_hash = $1 and s.used_at > $2 and s.created_at > $3 and coalesce(p.is_active, true)",
        [text(token_hash), int(since.used.0), int(since.opened.0)],
    )
}

/// Asks for the name of a person, as sessions show it.
pub fn person(person: PersonId) -> Statement {
    Statement::new("select email, firstname, realname from person where person_id = $1", [int(person.0)])
}

/// Stores an API token that is good for guests, as those in deeplinks are, or an agent's.
///
/// # Errors
/// The database failed.
pub async fn add_token(tx: &mut Tx, owner: Owner, token_hash: &str, now: Timestamp) -> Result<(), StoreError> {
    insert_token(tx, owner, token_hash, now, Some(Profile::Guest)).await
}

/// Stores an API token that is good for every profile of its owner.
///
/// # Errors
/// The database failed.
pub async fn add_full_token(tx: &mut Tx, owner: Owner, token_hash: &str, now: Timestamp) -> Result<(), StoreError> {
    insert_token(tx, owner, token_hash, now, None).await
}

async fn insert_token(
    tx: &mut Tx,
    owner: Owner,
    token_hash: &str,
    now: Timestamp,
    limited_to: Option<Profile>,
) -> Result<(), StoreError> {
    let (column, id) = owner.column();
    let limited_to = Value::Text(limited_to.map(|it| it.as_str().into()));
    tx.execute(Statement::new(
        format!(
            "insert into api_token (token_hash, {column}, created_at, limited_to, invitation_id) values ($1, $2, $3, $4, $5) \
             on conflict do nothing"
        ),
        [text(token_hash), id, int(now.0), limited_to, owner.invitation()],
    ))
    .await?;
    let (own, account) = owner.own();
    tx.execute(Statement::new(
        format!(
            "delete from api_token where {own} and token_hash not in \
             (select token_hash from api_token where {own} order by created_at desc, token_hash limit $2)"
        ),
        [account, int(TOKENS_PER_PERSON_MAX)],
    ))
    .await?;
    Ok(())
}

/// What somebody presented to get a session.
#[derive(Clone)]
pub enum Proof {
    /// An API token, by its hash.
    Token(String),
    /// The password behind this hash.
    Secret(String),
    /// The first administrator's token, of which the database knows nothing.
    Administrator,
}

/// Whether it is still good: while a password is computed it may be changed, which ends the sessions that there are.
async fn holds(tx: &mut Tx, owner: Owner, proof: &Proof, now: Timestamp) -> Result<bool, StoreError> {
    let question = match (proof, owner) {
        (Proof::Token(hash), _) => token_owner(hash, now),
        (Proof::Secret(secret), Owner::Person(id)) => Statement::new(
            "select 1 as n from person where person_id = $1 and secret = $2 and is_active",
            [int(id.0), text(secret)],
        ),
        (Proof::Secret(_), _) => return Ok(false),
        (Proof::Administrator, _) => return Ok(true),
    };
    Ok(tx.row(question).await?.is_some())
}

/// A session that is about to be opened.
#[derive(Clone)]
pub struct Opening {
    /// Whose it is.
    pub owner: Owner,
    /// Why.
    pub proof: Proof,
    /// Of its token.
    pub token_hash: String,
    /// What it may.
    pub terms: Terms,
}

/// Opens a session, if what was presented for it is still good; those of the same account that hold no more, and those beyond `max`, end.
///
/// # Errors
/// The database failed.
pub async fn open(tx: &mut Tx, it: &Opening, now: Timestamp, since: Since, max: u32) -> Result<bool, StoreError> {
    let Opening { owner, proof, token_hash, terms } = it;
    if !holds(tx, *owner, proof, now).await? {
        return Ok(false);
    }
    let (column, id) = owner.column();
    let limited_to = Value::Text(terms.limited_to.map(|it| it.as_str().into()));
    tx.execute(Statement::new(
        format!(
            "insert into http_session (token_hash, {column}, created_at, used_at, profile, limited_to, invitation_id) \
             values ($1, $2, $3, $3, $4, $5, $6)"
        ),
        [text(token_hash), id, int(now.0), text(terms.profile.as_str()), limited_to, owner.invitation()],
    ))
    .await?;
    let (own, account) = owner.own();
    tx.execute(Statement::new(
        format!(
            "delete from http_session where {own} and token_hash <> $2 and (used_at <= $3 or created_at <= $5 or token_hash not in \
             (select token_hash from http_session where {own} and token_hash <> $2 \
             order by used_at desc, created_at desc, token_hash limit $4))"
        ),
        [account, text(token_hash), int(since.used.0), int(i64::from(max.max(1)) - 1), int(since.opened.0)],
    ))
    .await?;
    Ok(true)
}

/// Notes that a session is in use.
///
/// # Errors
/// The database failed.
pub async fn touch(tx: &mut Tx, token_hash: &str, now: Timestamp) -> Result<(), StoreError> {
    let update = "update http_session set used_at = $2 where token_hash = $1 and used_at < $2";
    tx.execute(Statement::new(update, [text(token_hash), int(now.0)])).await.map(|_| ())
}

/// Lets a session work with another profile or another entity.
///
/// # Errors
/// The database failed.
pub async fn change(tx: &mut Tx, token_hash: &str, terms: Terms) -> Result<(), StoreError> {
    let (entity, is_recursive) = terms.narrowed.map_or((None, true), |(entity, deep)| (Some(entity.0), deep));
    let update = "update http_session set profile = $2, entity_id = $3, is_recursive = $4 where token_hash = $1";
    let args = [text(token_hash), text(terms.profile.as_str()), Value::Int(entity), Value::Bool(Some(is_recursive))];
    tx.execute(Statement::new(update, args)).await.map(|_| ())
}

/// Asks for the profiles of a person.
pub fn grants(person: PersonId) -> Statement {
    Statement::new(
        "select profile, entity_id, is_recursive from person_profile where person_id = $1 order by profile, entity_id limit $2",
        [int(person.0), int(super::person::GRANTS_PER_PERSON_MAX)],
    )
}

/// Reads an answer to [`grants`].
pub fn grant(row: &Row) -> Option<Grant> {
    let profile = Profile::parse(&row.text("profile"))?;
    Some(Grant { profile, entity: EntityId(row.int("entity_id")), is_recursive: row.flag("is_recursive") })
}

/// Asks where an invitation invites to.
pub fn invited_to(invitation: InvitationId) -> Statement {
    Statement::new("select entity_id from invitation where invitation_id = $1", [int(invitation.0)])
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
