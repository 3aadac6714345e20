//! Tenants: their numbers, names and places.

use serde::Serialize;

use super::{Answer, LIST_ROWS_MAX, Refused, absent_entity, exists, flag, int, text};
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
/// The highest number that a tenant is given: GLPI's are as large.
pub const ENTITY_NUMBER_MAX: i64 = i32::MAX as i64;

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

    /// A new tenant with its default fleet. Without a wish for its number it gets the next one, and never one that was in use before:
    /// topics and certificates of devices outlive their tenant.
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
                    None => match next_number(tx).await? {
                        Some(id) => EntityId(id),
                        None => return Ok(Err(Refused::Conflict("no number is left for another entity".into()))),
                    },
                };
                if exists(tx, "select 1 as n from entity where entity_id = $1", id.0).await? {
                    return Ok(Err(Refused::Conflict(format!("entity {id} exists already"))));
                }
                if was_in_use(tx, id).await? {
                    return Ok(Err(Refused::Conflict(format!(
                        "there was an entity {id} before; devices may still carry its number, so it is not given again"
                    ))));
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

    /// Removes a tenant that nothing lives in. Who was invited there is a guest there no longer; its number stays taken.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_entity(&self, id: EntityId) -> Answer<()> {
        const IN_USE: [(&str, &str); 9] = [
            ("other entities", "select 1 as n from entity where parent_id = $1"),
            ("agents", "select 1 as n from agent where entity_id = $1"),
            ("fleets", "select 1 as n from fleet where entity_id = $1 and not is_default"),
            ("computers", "select 1 as n from computer where entity_id = $1"),
            ("open invitations", "select 1 as n from invitation where entity_id = $1 and status = 'pending'"),
            ("service accounts", "select 1 as n from service_account where entity_id = $1"),
            ("files", "select 1 as n from file where entity_id = $1"),
            ("packages", "select 1 as n from package where entity_id = $1"),
            ("people with a profile", "select 1 as n from person_profile where entity_id = $1 and profile <> 'guest'"),
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
                if let Some(why) = in_topic_of(tx, id).await? {
                    return Ok(Err(Refused::Conflict(why)));
                }
                for statement in [
                    "insert into former_entity (entity_id) values ($1) on conflict do nothing",
                    "delete from person_profile where entity_id = $1",
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

/// Every number that is or was a tenant's.
const NUMBERS: &str = "(select entity_id from entity union select entity_id from former_entity)";

/// The number behind all that are or were in use, or else a free one between them.
async fn next_number(tx: &mut Tx) -> Result<Option<i64>, StoreError> {
    // Numbers beyond the bound may be there from before there was one.
    let last = format!("select max(entity_id) as n from {NUMBERS} it where entity_id <= $1");
    let last = tx.row(Statement::new(last, [int(ENTITY_NUMBER_MAX)])).await?.and_then(|row| row.opt_int("n"));
    if let Some(last) = last.filter(|it| *it < ENTITY_NUMBER_MAX) {
        return Ok(Some(last + 1));
    }
    let gap = format!(
        "select min(entity_id) + 1 as n from {NUMBERS} it where entity_id between 0 and $1 - 1 \
         and not exists (select 1 from {NUMBERS} other where other.entity_id = it.entity_id + 1)"
    );
    Ok(tx.row(Statement::new(gap, [int(ENTITY_NUMBER_MAX)])).await?.and_then(|row| row.opt_int("n")))
}

/// Whether a tenant that is gone had this number.
pub(in crate::store) async fn was_in_use(tx: &mut Tx, id: EntityId) -> Result<bool, StoreError> {
    exists(tx, "select 1 as n from former_entity where entity_id = $1", id.0).await
}

/// Which device still carries this tenant in its topic although it is there no longer, as a sentence.
async fn in_topic_of(tx: &mut Tx, id: EntityId) -> Result<Option<String>, StoreError> {
    const MOVED: &str = "select serial from agent where topic_entity_id = $1 order by serial limit 1";
    const REMOVED: &str = "select serial from tombstone where topic_entity_id = $1 order by serial limit 1";
    for (question, why) in [(MOVED, "was moved away"), (REMOVED, "was removed and must still be told to leave")] {
        if let Some(row) = tx.row(Statement::new(question, [int(id.0)])).await? {
            return Ok(Some(format!("entity {id} still stands in the topic of {}, which {why}", row.text("serial"))));
        }
    }
    Ok(None)
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
