//! Admin tokens as rows. Only hashes are stored.

use std::collections::HashSet;

use serde::Serialize;

use super::{
    Store, StoreError,
    administer::{Answer, LIST_ROWS_MAX, Refused},
    audit::place_of,
    db::{Row, Statement, Value},
    scope,
};
use crate::{
    clock::Timestamp,
    ids::EntityId,
    mdm::{
        audit::{Action, Deed, Subject},
        rights::Scope,
    },
};

/// Tokens at once.
pub const TOKENS_MAX: i64 = 1000;

/// A token as people see it. Times are RFC 3339.
#[derive(Debug, Clone, Serialize)]
pub struct TokenView {
    /// What it is called.
    pub name: String,
    /// `viewer`, `operator` or `administrator`.
    pub role: String,
    /// It is good for this tenant and those below it; none: for all.
    pub entity: Option<EntityId>,
    /// When it was made.
    pub created_at: String,
    /// When it ends.
    pub expires_at: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<String>,
}

/// A token that somebody showed.
#[derive(Debug, Clone)]
pub struct KnownToken {
    /// Key.
    pub id: i64,
    /// What it is called.
    pub name: String,
    /// What it may do.
    pub role: String,
    /// Where.
    pub entity: Option<EntityId>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
}

/// A new token.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// What it is called.
    pub name: String,
    /// Hash.
    pub token_hash: String,
    /// What it may do.
    pub role: &'static str,
    /// Where; none: everywhere.
    pub entity: Option<EntityId>,
    /// Now.
    pub at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl Store {
    /// The token with this hash that has not ended.
    ///
    /// # Errors
    /// The database failed.
    pub async fn admin_token(&self, hash: &str, now: Timestamp) -> Result<Option<KnownToken>, StoreError> {
        let question = Statement::new(
            "select admin_token_id, name, role, entity_id, last_used_at from admin_token \
             where token_hash = $1 and (expires_at is null or expires_at > $2)",
            [hash.into(), now.0.into()],
        );
        Ok(self.row(question).await?.map(|row| KnownToken {
            id: row.int("admin_token_id"),
            name: row.text("name"),
            role: row.text("role"),
            entity: row.opt_int("entity_id").map(EntityId),
            last_used_at: row.opt_int("last_used_at").map(Timestamp),
        }))
    }

    /// Notes that a token is in use.
    ///
    /// # Errors
    /// The database failed.
    pub async fn touch_admin_token(&self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        let touch = "update admin_token set last_used_at = $2 where admin_token_id = $1";
        let touch = Statement::new(touch, [id.into(), now.0.into()]);
        self.write(move |tx| Box::pin(tx.execute(touch))).await.map(drop)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn admin_tokens(&self) -> Result<Vec<TokenView>, StoreError> {
        let question =
            "select name, role, entity_id, created_at, expires_at, last_used_at from admin_token order by name";
        Ok(self.rows(Statement::new(question, [])).await?.iter().map(view).collect())
    }

    /// A new token.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_admin_token(&self, new: NewToken) -> Answer<()> {
        let mut deed = Deed::to(Action::TokenAdd, Subject::Token, &new.name)
            .with("role", new.role)
            .with("expires_at", new.expires_at.map(Timestamp::rfc3339));
        deed.entity = new.entity;
        self.deed(deed, move |tx| {
            Box::pin(async move {
                let count = tx.row(Statement::new("select count(*) as n from admin_token", [])).await?;
                if count.is_some_and(|row| row.int("n") >= TOKENS_MAX) {
                    return Ok(Err(Refused::Conflict(format!("there are at most {TOKENS_MAX} admin tokens"))));
                }
                if let Some(entity) = new.entity {
                    let question = "select 1 as n from entity where entity_id = $1";
                    if tx.row(Statement::new(question, [entity.0.into()])).await?.is_none() {
                        return Ok(Err(Refused::Absent(format!("there is no entity {entity}"))));
                    }
                }
                let insert = "insert into admin_token (name, token_hash, role, entity_id, created_at, expires_at) \
                     values ($1, $2, $3, $4, $5, $6) on conflict (name) do nothing";
                let args: [Value; 6] = [
                    new.name.as_str().into(),
                    new.token_hash.into(),
                    new.role.into(),
                    new.entity.map(|it| it.0).into(),
                    new.at.0.into(),
                    new.expires_at.map(|it| it.0).into(),
                ];
                let made = tx.execute(Statement::new(insert, args)).await?;
                let taken = Refused::Conflict(format!("there is a token {} already", new.name));
                Ok(if made == 0 { Err(taken) } else { Ok(()) })
            })
        })
        .await
    }

    /// Ends a token.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_admin_token(&self, name: String) -> Answer<()> {
        self.deed(Deed::to(Action::TokenRemove, Subject::Token, &name), move |tx| {
            Box::pin(async move {
                let delete = Statement::new("delete from admin_token where name = $1", [name.as_str().into()]);
                let gone = tx.execute(delete).await?;
                Ok(if gone == 0 { Err(Refused::Absent(format!("there is no token {name}"))) } else { Ok(()) })
            })
        })
        .await
    }

    /// The tenant of a thing. `None`: there is no such thing, or it belongs to nobody.
    ///
    /// # Errors
    /// The database failed.
    pub async fn entity_of(&self, subject: Subject, id: i64) -> Result<Option<EntityId>, StoreError> {
        let Some(question) = place_of(subject) else { return Ok(None) };
        let row = self.row(Statement::new(question, [id.into()])).await?;
        Ok(row.and_then(|row| row.opt_int("entity_id")).map(EntityId))
    }

    /// The numbers of the agents or fleets in these tenants.
    ///
    /// # Errors
    /// The database failed.
    pub async fn ids_within(&self, subject: Subject, entities: &Scope) -> Result<HashSet<i64>, StoreError> {
        let mut args = Vec::new();
        let within =
            scope::subquery(entities, &mut args).map_or(String::new(), |it| format!(" where entity_id in {it}"));
        let select = match subject {
            Subject::Agent => "select agent_id as id from agent",
            _ => "select fleet_id as id from fleet",
        };
        let sql = format!("{select}{within} limit {LIST_ROWS_MAX}");
        Ok(self.rows(Statement::new(sql, args)).await?.iter().map(|row| row.int("id")).collect())
    }
}

fn view(row: &Row) -> TokenView {
    let time = |column: &str| row.opt_int(column).map(|it| Timestamp(it).rfc3339());
    TokenView {
        name: row.text("name"),
        role: row.text("role"),
        entity: row.opt_int("entity_id").map(EntityId),
        created_at: Timestamp(row.int("created_at")).rfc3339(),
        expires_at: time("expires_at"),
        last_used_at: time("last_used_at"),
    }
}
