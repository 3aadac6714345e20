//! Invitations as administrators see them, the queue of their mails, and what the invited person may know. SQL only.

use serde::Serialize;

use super::{
    StoreError,
    administer::{LIST_ROWS_MAX, Refused},
    db::{Row, Statement, Tx, Value},
    session::{self, Owner},
};
use crate::{
    clock::Timestamp,
    ids::{AgentId, EntityId, InvitationId, PersonId},
};

/// Who is invited where.
#[derive(Debug, Clone)]
pub struct NewInvitation {
    /// In lower case.
    pub email: String,
    /// Empty: as it was.
    pub firstname: String,
    /// Empty: as it was.
    pub lastname: String,
    /// Empty: as it was.
    pub phone: String,
    /// Where the device will live.
    pub entity: EntityId,
    /// Who invites; shown to the invited person.
    pub invited_by: String,
    /// Whether a mail is to be sent.
    pub is_mailed: bool,
    /// Now.
    pub at: Timestamp,
    /// How long it lasts where its tenant says nothing.
    pub life_ms: i64,
}

/// A row that was just written and has no token yet.
#[derive(Debug, Clone, Copy)]
pub struct Unsealed {
    /// Key.
    pub id: InvitationId,
    /// Who was invited.
    pub person: PersonId,
    /// Made now.
    pub at: Timestamp,
    /// End of its life.
    pub expires_at: Timestamp,
}

/// An invitation as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct InvitationView {
    /// Key.
    pub id: InvitationId,
    /// Address of the invited person.
    pub email: String,
    /// First name of the invited person.
    pub firstname: String,
    /// Last name of the invited person.
    pub lastname: String,
    /// Where the device will live.
    pub entity: EntityId,
    /// `pending`, `done` or `expired`.
    pub status: &'static str,
    /// Who invited.
    pub invited_by: String,
    /// `none`, `queued`, `sent` or `failed`.
    pub mail: String,
    /// How often it was tried to send the mail.
    pub mail_attempts: i64,
    /// Why the last attempt failed.
    pub mail_error: String,
    /// Who enrolled with it.
    pub agent: Option<AgentId>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// End of its life, RFC 3339.
    pub expires_at: String,
    /// When it was made.
    #[serde(skip)]
    pub at: Timestamp,
    /// End of its life.
    #[serde(skip)]
    pub until: Timestamp,
    /// Who was invited.
    #[serde(skip)]
    pub person: PersonId,
    /// Hash of its token.
    #[serde(skip)]
    pub token_hash: String,
}

/// Which invitations a question is about; `None` matches all.
#[derive(Debug, Clone, Default)]
pub struct InvitationFilter {
    /// By key.
    pub id: Option<InvitationId>,
    /// By tenant.
    pub entity: Option<EntityId>,
    /// By address.
    pub email: Option<String>,
    /// `pending`, `done` or `expired`.
    pub status: Option<String>,
}

const COLUMNS: &str = "select i.invitation_id, i.person_id, p.email, p.firstname, p.realname, i.entity_id, i.status, \
     i.invited_by, i.mail_state, i.mail_attempts, i.mail_error, i.agent_id, i.created_at, i.expires_at, i.token_hash \
     from invitation i join person p on p.person_id = i.person_id";

/// Asks for invitations, the latest first.
pub fn matching(filter: &InvitationFilter, now: Timestamp) -> Statement {
    Statement::new(
        format!(
            "{COLUMNS} where ($1 is null or i.invitation_id = $1) and ($2 is null or i.entity_id = $2) \
             and ($3 is null or p.email = $3) and ($4 is null or $4 = \
             case when i.status = 'pending' and i.expires_at <= $5 then 'expired' else i.status end) \
             order by i.invitation_id desc limit $6"
        ),
        [
            Value::Int(filter.id.map(|it| it.0)),
            Value::Int(filter.entity.map(|it| it.0)),
            Value::Text(filter.email.clone()),
            Value::Text(filter.status.clone()),
            now.0.into(),
            LIST_ROWS_MAX.into(),
        ],
    )
}

/// Asks for the mails that are due.
pub fn due(now: Timestamp, limit: i64) -> Statement {
    Statement::new(
        format!(
            "{COLUMNS} where i.mail_state = 'queued' and i.mail_next_at <= $1 \
             order by i.mail_next_at, i.invitation_id limit $2"
        ),
        [now.0.into(), limit.into()],
    )
}

/// Asks when the next mail after now is due: `at`, or null.
pub fn next_due(now: Timestamp) -> Statement {
    Statement::new(
        "select min(mail_next_at) as at from invitation where mail_state = 'queued' and mail_next_at > $1",
        [now.0.into()],
    )
}

/// Asks how many mails wait: `mails`.
pub fn waiting_mails() -> Statement {
    Statement::new("select count(*) as mails from invitation where mail_state = 'queued'", [])
}

/// Asks for the invitation whose token and whose person's token are these.
pub fn of_holder(invitation_hash: &str, user_hash: &str) -> Statement {
    Statement::new(
        format!(
            "{COLUMNS} join api_token t on t.person_id = i.person_id where i.token_hash = $1 and t.token_hash = $2"
        ),
        [invitation_hash.into(), user_hash.into()],
    )
}

/// Reads an answer to the questions above.
pub fn view(row: &Row, now: Timestamp) -> InvitationView {
    let (at, until) = (Timestamp(row.int("created_at")), Timestamp(row.int("expires_at")));
    InvitationView {
        id: InvitationId(row.int("invitation_id")),
        email: row.text("email"),
        firstname: row.text("firstname"),
        lastname: row.text("realname"),
        entity: EntityId(row.int("entity_id")),
        status: match row.text("status").as_str() {
            "pending" if until <= now => "expired",
            "pending" => "pending",
            _ => "done",
        },
        invited_by: row.text("invited_by"),
        mail: row.text("mail_state"),
        mail_attempts: row.int("mail_attempts"),
        mail_error: row.text("mail_error"),
        agent: row.opt_int("agent_id").map(AgentId),
        created_at: at.rfc3339(),
        expires_at: until.rfc3339(),
        at,
        until,
        person: PersonId(row.int("person_id")),
        token_hash: row.text("token_hash"),
    }
}

/// Asks for the log of an invitation, oldest first.
pub fn log_of(invitation: InvitationId) -> Statement {
    Statement::new(
        "select created_at, event from invitation_log where invitation_id = $1 order by invitation_log_id limit $2",
        [invitation.0.into(), super::enroll::LOG_LINES_PER_INVITATION_MAX.into()],
    )
}

/// Writes an invitation down, with its person where he is new. It cannot be used before [`seal`] gave it its token.
///
/// # Errors
/// The database failed.
pub async fn add(tx: &mut Tx, new: NewInvitation) -> Result<Result<Unsealed, Refused>, StoreError> {
    let entity = Statement::new("select token_life_days from entity where entity_id = $1", [new.entity.0.into()]);
    let Some(entity) = tx.row(entity).await? else {
        return Ok(Err(Refused::Absent(format!("there is no entity {}", new.entity))));
    };
    let life_ms = entity.opt_int("token_life_days").map_or(new.life_ms, |days| days.saturating_mul(86_400_000));
    let expires_at = Timestamp(new.at.0.saturating_add(life_ms));
    let person = person(tx, &new).await?;
    let Some(person) = person else {
        return Ok(Err(Refused::Conflict(format!("{} is disabled", new.email))));
    };
    tx.execute(Statement::new(
        "insert into person_profile (person_id, profile, entity_id, is_recursive) values ($1, 'guest', $2, false) \
         on conflict (person_id, profile, entity_id) do nothing",
        [person.0.into(), new.entity.0.into()],
    ))
    .await?;
    let (state, next_at) = if new.is_mailed { ("queued", Some(new.at.0)) } else { ("none", None) };
    let insert = Statement::new(
        "insert into invitation (person_id, entity_id, token_hash, created_at, expires_at, invited_by, mail_state, \
         mail_next_at) values ($1, $2, $3, $4, $5, $6, $7, $8) returning invitation_id",
        [
            person.0.into(),
            new.entity.0.into(),
            // Only one at a time is ever like this: the writer is one, and the same story seals it.
            "unsealed".into(),
            new.at.0.into(),
            expires_at.0.into(),
            new.invited_by.into(),
            state.into(),
            next_at.into(),
        ],
    );
    let id = tx.row(insert).await?.map(|row| InvitationId(row.int("invitation_id"))).ok_or_else(lost)?;
    Ok(Ok(Unsealed { id, person, at: new.at, expires_at }))
}

/// The person with this address, found or made. `None`: he may not come in any more.
async fn person(tx: &mut Tx, new: &NewInvitation) -> Result<Option<PersonId>, StoreError> {
    let upsert = Statement::new(
        "insert into person (email, firstname, realname, phone, created_at) values ($1, $2, $3, $4, $5) \
         on conflict (email) do update set \
         firstname = case when excluded.firstname = '' then person.firstname else excluded.firstname end, \
         realname = case when excluded.realname = '' then person.realname else excluded.realname end, \
         phone = case when excluded.phone = '' then person.phone else excluded.phone end \
         returning person_id, is_active",
        [
            new.email.as_str().into(),
            new.firstname.as_str().into(),
            new.lastname.as_str().into(),
            new.phone.as_str().into(),
            new.at.0.into(),
        ],
    );
    let row = tx.row(upsert).await?.ok_or_else(lost)?;
    Ok(row.flag("is_active").then(|| PersonId(row.int("person_id"))))
}

/// Gives an invitation its token, and its person the token that goes with it.
///
/// # Errors
/// The database failed.
pub async fn seal(tx: &mut Tx, it: Unsealed, invitation_hash: &str, user_hash: &str) -> Result<(), StoreError> {
    tx.execute(Statement::new(
        "update invitation set token_hash = $2 where invitation_id = $1",
        [it.id.0.into(), invitation_hash.into()],
    ))
    .await?;
    session::add_token(tx, Owner::Invited(it.person, it.id), user_hash, it.at).await
}

/// Asks for the mail once more, from its first attempt on.
///
/// # Errors
/// The database failed.
pub async fn queue_mail(tx: &mut Tx, invitation: InvitationId, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(Statement::new(
        "update invitation set mail_state = 'queued', mail_attempts = 0, mail_next_at = $2, mail_error = '' \
         where invitation_id = $1",
        [invitation.0.into(), now.0.into()],
    ))
    .await?;
    Ok(())
}

/// What became of an attempt: `sent`, `failed`, or `queued` until `next_at`.
///
/// # Errors
/// The database failed.
pub async fn note_attempt(
    tx: &mut Tx,
    invitation: InvitationId,
    state: &'static str,
    next_at: Option<Timestamp>,
    error: &str,
) -> Result<(), StoreError> {
    tx.execute(Statement::new(
        "update invitation set mail_state = $2, mail_next_at = $3, mail_error = $4, mail_attempts = mail_attempts + 1 \
         where invitation_id = $1",
        [invitation.0.into(), state.into(), next_at.map(|it| it.0).into(), error.into()],
    ))
    .await?;
    Ok(())
}

/// Removes an invitation with its log. The person's token that came with it ends too, unless somebody enrolled with it:
/// some agents go on using it.
///
/// # Errors
/// The database failed.
pub async fn remove(tx: &mut Tx, invitation: InvitationId, user_hash: &str) -> Result<bool, StoreError> {
    let removed =
        Statement::new("delete from invitation where invitation_id = $1 returning status", [invitation.0.into()]);
    let Some(row) = tx.row(removed).await? else { return Ok(false) };
    if row.text("status") == "pending" {
        tx.execute(Statement::new("delete from api_token where token_hash = $1", [user_hash.into()])).await?;
    }
    Ok(true)
}

fn lost() -> StoreError {
    StoreError::Database("a row that was just written is missing".into())
}
