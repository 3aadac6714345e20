//! Tenants: their numbers, names and places.

use serde::Serialize;

use super::{Answer, LIST_ROWS_MAX, Refused, absent_entity, exists, flag, int, number, text};
use crate::{
    clock::Timestamp,
    ids::EntityId,
    mdm::audit::{Action, Deed, Subject},
    store::{
        Store, StoreError,
        db::{Row, Statement, Tx, Value},
    },
};

/// Levels of tenants below the root.
const ENTITY_DEPTH_MAX: usize = 100;

/// A tenant.
#[derive(Debug, Clone, Serialize)]
pub struct EntityView {
    /// Key.
    pub id: EntityId,
    /// The tenant it belongs to; none for the root.
    pub parent: Option<EntityId>,
    /// What people call it.
    pub name: String,
    /// How many agents it has.
    pub agents: i64,
}

impl Store {
    /// All tenants.
    ///
    /// # Errors
    /// The database failed.
    pub async fn entities(&self) -> Result<Vec<EntityView>, StoreError> {
        let rows = self
            .rows(Statement::new(
                "select e.entity_id, e.parent_id, e.name, \
                 (select count(*) from agent a where a.entity_id = e.entity_id) as agents \
                 from entity e order by e.entity_id limit $1",
                [int(LIST_ROWS_MAX)],
            ))
            .await?;
        let view = |row: &Row| EntityView {
            id: EntityId(row.int("entity_id")),
            parent: row.opt_int("parent_id").map(EntityId),
            name: row.text("name"),
            agents: row.int("agents"),
        };
        Ok(rows.iter().map(view).collect())
    }

    /// A new tenant with its default fleet. Without a wish for its number it gets the next one.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_entity(
        &self,
        name: String,
        parent: EntityId,
        id: Option<EntityId>,
        at: Timestamp,
    ) -> Answer<EntityId> {
        let deed = Deed::new(Action::EntityAdd, Subject::Entity).with("name", name.as_str()).with("parent", parent.0);
        self.deed(deed, move |tx| {
            Box::pin(async move {
                if !exists(tx, "select 1 as n from entity where entity_id = $1", parent.0).await? {
                    return Ok(Err(absent_entity(parent)));
                }
                let id = match id {
                    Some(id) => id,
                    None => EntityId(number(tx, "select coalesce(max(entity_id), 0) + 1 as n from entity", []).await?),
                };
                if exists(tx, "select 1 as n from entity where entity_id = $1", id.0).await? {
                    return Ok(Err(Refused::Conflict(format!("entity {id} exists already"))));
                }
                tx.execute(Statement::new(
                    "insert into entity (entity_id, parent_id, name, created_at) values ($1, $2, $3, $4)",
                    [int(id.0), int(parent.0), text(name), int(at.0)],
                ))
                .await?;
                tx.execute(Statement::new(
                    "insert into fleet (entity_id, name, is_default, created_at) values ($1, $2, $3, $4)",
                    [int(id.0), text("not managed fleet"), flag(true), int(at.0)],
                ))
                .await?;
                Ok(Ok(id))
            })
        })
        .await
    }

    /// Another name or place for a tenant.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_entity(&self, id: EntityId, name: Option<String>, parent: Option<EntityId>) -> Answer<()> {
        let deed = Deed::to(Action::EntityChange, Subject::Entity, id)
            .with("name", name.clone())
            .with("parent", parent.map(|it| it.0));
        self.deed(deed, move |tx| {
            Box::pin(async move {
                if !exists(tx, "select 1 as n from entity where entity_id = $1", id.0).await? {
                    return Ok(Err(absent_entity(id)));
                }
                if let Some(parent) = parent
                    && let Err(refused) = may_hang_below(tx, id, parent).await?
                {
                    return Ok(Err(refused));
                }
                tx.execute(Statement::new(
                    "update entity set name = coalesce($2, name), parent_id = coalesce($3, parent_id) where entity_id = $1",
                    [int(id.0), Value::Text(name), Value::Int(parent.map(|it| it.0))],
                ))
                .await?;
                Ok(Ok(()))
            })
        })
        .await
    }

    /// Removes a tenant that nothing lives in.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_entity(&self, id: EntityId) -> Answer<()> {
        const IN_USE: [(&str, &str); 8] = [
            ("other entities", "select 1 as n from entity where parent_id = $1"),
            ("agents", "select 1 as n from agent where entity_id = $1"),
            ("fleets", "select 1 as n from fleet where entity_id = $1 and not is_default"),
            ("computers", "select 1 as n from computer where entity_id = $1"),
            ("open invitations", "select 1 as n from invitation where entity_id = $1 and status = 'pending'"),
            ("service accounts", "select 1 as n from service_account where entity_id = $1"),
            ("files", "select 1 as n from file where entity_id = $1"),
            ("packages", "select 1 as n from package where entity_id = $1"),
        ];
        self.deed(Deed::to(Action::EntityRemove, Subject::Entity, id), move |tx| {
            Box::pin(async move {
                if id == EntityId::ROOT {
                    return Ok(Err(Refused::Conflict("the root entity cannot be removed".into())));
                }
                if !exists(tx, "select 1 as n from entity where entity_id = $1", id.0).await? {
                    return Ok(Err(absent_entity(id)));
                }
                for (what, question) in IN_USE {
                    if exists(tx, question, id.0).await? {
                        return Ok(Err(Refused::Conflict(format!("entity {id} still has {what}"))));
                    }
                }
                for statement in [
                    "delete from invitation where entity_id = $1",
                    "delete from fleet where entity_id = $1",
                    "delete from entity where entity_id = $1",
                ] {
                    tx.execute(Statement::new(statement, [int(id.0)])).await?;
                }
                Ok(Ok(()))
            })
        })
        .await
    }
}

/// A tenant must not hang below itself.
async fn may_hang_below(tx: &mut Tx, id: EntityId, parent: EntityId) -> Result<Result<(), Refused>, StoreError> {
    if id == EntityId::ROOT {
        return Ok(Err(Refused::Conflict("the root entity has no parent".into())));
    }
    let mut above = Some(parent);
    for _ in 0..ENTITY_DEPTH_MAX {
        let Some(entity) = above else { return Ok(Ok(())) };
        if entity == id {
            return Ok(Err(Refused::Conflict(format!("entity {id} cannot hang below itself"))));
        }
        let up = Statement::new("select parent_id from entity where entity_id = $1", [int(entity.0)]);
        match tx.row(up).await? {
            Some(row) => above = row.opt_int("parent_id").map(EntityId),
            None => return Ok(Err(absent_entity(entity))),
        }
    }
    Ok(Err(Refused::Conflict(format!("entities nest at most {ENTITY_DEPTH_MAX} levels deep"))))
}
