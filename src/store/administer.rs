//! What administrators ask and change: tenants, fleets, agents, invitations, service accounts. SQL only; refusals are values.

use serde::Serialize;

use super::{
    Store, StoreError,
    db::{Statement, Tx, Value},
};
use crate::{
    clock::Timestamp,
    ids::{AccountId, AgentId, EntityId, FleetId},
    mdm::audit::{Action, Deed, Subject},
};

mod entities;
mod fleets;
mod import;
mod orders;
mod records;
mod settings;

pub(super) use entities::was_in_use;
pub use entities::{ENTITY_NUMBER_MAX, EntityView};
pub(super) use fleets::{FLEET_FROM_BELOW, FLEET_WITHIN};
pub use fleets::{FleetChange, NewFleet};
pub use import::{BAD_LINES_MAX, BadLine, StagedAgent};
pub use orders::CommandView;
pub use settings::{OwnHelpDesk, StoredSettings};

/// Rows that one list shows at most.
pub const LIST_ROWS_MAX: i64 = 100_000;
/// Entries of an access list that the audit shows.
const ENTRIES_TOLD_MAX: usize = 20;

/// Why a wish was not granted, as a sentence for the administrator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such thing.
    #[error("{0}")]
    Absent(String),
    /// It is there, but its state forbids it.
    #[error("{0}")]
    Conflict(String),
    /// The wish itself makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// A wish granted or refused, unless the database failed.
pub type Answer<T> = Result<Result<T, Refused>, StoreError>;

/// A group of agents.
#[derive(Debug, Clone, Serialize)]
pub struct FleetView {
    /// Key.
    pub id: FleetId,
    /// Whose.
    pub entity: EntityId,
    /// What people call it.
    pub name: String,
    /// Whether it is the "not managed" one.
    pub is_default: bool,
    /// Whether it is seen in the entities below its own.
    pub is_recursive: bool,
    /// How many agents are in it.
    pub agents: i64,
}

/// An agent with what people want to see of it.
#[derive(Debug, Clone)]
pub struct AgentView {
    /// Key.
    pub id: AgentId,
    /// Its topic's serial.
    pub serial: String,
    /// Its tenant.
    pub entity: EntityId,
    /// The tenant in its topic: the one that it enrolled in.
    pub topic_entity: EntityId,
    /// Its fleet.
    pub fleet: FleetId,
    /// The name of its fleet.
    pub fleet_name: String,
    /// Its name.
    pub name: String,
    /// Version of its software.
    pub version: String,
    /// `android` or `apple`.
    pub mdm_type: String,
    /// Whether it is connected.
    pub is_online: bool,
    /// When it was last heard.
    pub last_contact: Option<Timestamp>,
    /// `enrolled` or `unenrolling`.
    pub enroll_status: String,
    /// `never`, `lock` or `unlock`.
    pub lock_wish: String,
    /// Whether it was told to wipe itself.
    pub wipe: bool,
    /// Number of its latest connection.
    pub connection: i64,
    /// Its inventory record.
    pub computer: i64,
    /// From the inventory.
    pub uuid: String,
    /// From the inventory.
    pub model: String,
    /// From the inventory.
    pub os: String,
    /// When the last inventory came.
    pub inventory_at: Option<Timestamp>,
}

/// Which agents a question is about; `None` matches all.
#[derive(Debug, Clone, Default)]
pub struct AgentFilter {
    /// By key.
    pub id: Option<AgentId>,
    /// By serial.
    pub serial: Option<String>,
    /// By tenant.
    pub entity: Option<EntityId>,
    /// By fleet.
    pub fleet: Option<FleetId>,
}

/// A service account without its password.
#[derive(Debug, Clone, Serialize)]
pub struct AccountView {
    /// Key.
    pub id: AccountId,
    /// User name.
    pub name: String,
    /// Scope; none is everything.
    pub entity: Option<EntityId>,
    /// `filter:access` entries.
    pub acl: Vec<String>,
}

/// A new service account.
#[derive(Clone)]
pub struct NewAccount {
    /// User name.
    pub name: String,
    /// Hash of the password.
    pub secret: String,
    /// Scope; none is everything.
    pub entity: Option<EntityId>,
    /// Filter and `r|w|rw|deny`.
    pub access: Vec<(String, String)>,
    /// Now.
    pub at: Timestamp,
}

impl std::fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAccount")
            .field("name", &self.name)
            .field("entity", &self.entity)
            .field("access", &self.access)
            .field("secret", &"***")
            .finish_non_exhaustive()
    }
}

impl Store {
    /// All service accounts.
    ///
    /// # Errors
    /// The database failed.
    pub async fn accounts(&self) -> Result<Vec<AccountView>, StoreError> {
        let rows = self
            .rows(Statement::new(
                "select s.account_id, s.name, s.entity_id, a.filter, a.access from service_account s \
                 left join service_access a on a.account_id = s.account_id order by s.name, a.position limit $1",
                [int(LIST_ROWS_MAX)],
            ))
            .await?;
        let mut accounts: Vec<AccountView> = Vec::new();
        for row in &rows {
            let id = AccountId(row.int("account_id"));
            if accounts.last().is_none_or(|last| last.id != id) {
                let entity = row.opt_int("entity_id").map(EntityId);
                accounts.push(AccountView { id, name: row.text("name"), entity, acl: Vec::new() });
            }
            if let (Some(filter), Some(access), Some(last)) =
                (row.opt_text("filter"), row.opt_text("access"), accounts.last_mut())
            {
                last.acl.push(format!("{filter}:{access}"));
            }
        }
        Ok(accounts)
    }

    /// A new service account.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_account(&self, new: NewAccount) -> Answer<AccountId> {
        let name = new.name.clone();
        let answer = self.write_account(new).await?;
        if answer.is_ok() {
            self.accounts.add(name);
        }
        Ok(answer)
    }

    async fn write_account(&self, new: NewAccount) -> Answer<AccountId> {
        let acl: Vec<String> =
            new.access.iter().take(ENTRIES_TOLD_MAX).map(|(it, access)| format!("{it}:{access}")).collect();
        let mut deed = Deed::to(Action::AccountAdd, Subject::Account, &new.name).with("acl", acl);
        deed.entity = new.entity;
        self.deed(deed, move |tx| {
            Box::pin(async move {
                if let Some(entity) = new.entity
                    && !exists(tx, "select 1 as n from entity where entity_id = $1", entity.0).await?
                {
                    return Ok(Err(absent_entity(entity)));
                }
                let taken =
                    Statement::new("select 1 as n from service_account where name = $1", [text(new.name.clone())]);
                if tx.row(taken).await?.is_some() {
                    return Ok(Err(Refused::Conflict(format!("account {} exists already", new.name))));
                }
                let id = number(
                    tx,
                    "insert into service_account (name, secret, entity_id, created_at) values ($1, $2, $3, $4) \
                     returning account_id as n",
                    [text(new.name), text(new.secret), Value::Int(new.entity.map(|it| it.0)), int(new.at.0)],
                )
                .await?;
                for (position, (filter, access)) in (0..).zip(new.access) {
                    tx.execute(Statement::new(
                        "insert into service_access (account_id, position, filter, access) values ($1, $2, $3, $4)",
                        [int(id), int(position), text(filter), text(access)],
                    ))
                    .await?;
                }
                Ok(Ok(AccountId(id)))
            })
        })
        .await
    }

    /// Removes a service account.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_account(&self, name: String) -> Answer<AccountId> {
        self.deed(Deed::to(Action::AccountRemove, Subject::Account, &name), move |tx| {
            Box::pin(async move {
                let found =
                    Statement::new("select account_id from service_account where name = $1", [text(name.clone())]);
                let Some(row) = tx.row(found).await? else {
                    return Ok(Err(Refused::Absent(format!("there is no account {name}"))));
                };
                let id = row.int("account_id");
                tx.execute(Statement::new("delete from service_access where account_id = $1", [int(id)])).await?;
                tx.execute(Statement::new("delete from service_account where account_id = $1", [int(id)])).await?;
                Ok(Ok(AccountId(id)))
            })
        })
        .await
    }
}

/// What any database answers.
pub fn trivial_question() -> Statement {
    Statement::new("select 1 as n", [])
}

fn absent_entity(id: EntityId) -> Refused {
    Refused::Absent(format!("there is no entity {id}"))
}

async fn exists(tx: &mut Tx, question: &'static str, id: i64) -> Result<bool, StoreError> {
    Ok(tx.row(Statement::new(question, [int(id)])).await?.is_some())
}

/// The column `n` of the only row.
async fn number<const N: usize>(tx: &mut Tx, question: &'static str, args: [Value; N]) -> Result<i64, StoreError> {
    match tx.row(Statement::new(question, args)).await? {
        Some(row) => Ok(row.int("n")),
        None => Err(StoreError::Database("a statement that always answers did not".into())),
    }
}

fn int(value: i64) -> Value {
    Value::Int(Some(value))
}

fn flag(value: bool) -> Value {
    Value::Bool(Some(value))
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(Some(value.into()))
}
