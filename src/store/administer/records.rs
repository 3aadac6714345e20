//! What is kept beside agents: computers, positions, well-known paths.

use super::{Answer, Refused, exists, flag, int, number, text};
use crate::{
    clock::Timestamp,
    ids::{AgentId, ComputerId},
    mdm::audit::{Action, Deed, Subject},
    store::{
        Store, StoreError,
        db::{Statement, Value},
    },
};

/// Well-known paths.
pub const PATHS_MAX: i64 = 1000;

impl Store {
    /// Removes the inventory record of a device that is gone, with its positions.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_computer(&self, id: i64) -> Answer<()> {
        self.deed(Deed::to(Action::ComputerRemove, Subject::Computer, id), move |tx| {
            Box::pin(async move {
                if exists(tx, "select 1 as n from agent where computer_id = $1", id).await? {
                    return Ok(Err(Refused::Conflict(format!("computer {id} still has an agent"))));
                }
                let gone = tx.execute(Statement::new("delete from computer where computer_id = $1", [int(id)])).await?;
                Ok(if gone == 0 { Err(Refused::Absent(format!("there is no computer {id}"))) } else { Ok(()) })
            })
        })
        .await
    }

    /// Forgets where a device was once.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_position(&self, id: i64) -> Answer<()> {
        self.deed(Deed::to(Action::PositionRemove, Subject::Position, id), move |tx| {
            Box::pin(async move {
                let delete = "delete from geolocation where geolocation_id = $1";
                let gone = tx.execute(Statement::new(delete, [int(id)])).await?;
                Ok(if gone == 0 { Err(Refused::Absent(format!("there is no position {id}"))) } else { Ok(()) })
            })
        })
        .await
    }

    /// Whether the device of an agent said last that it does not know where it is.
    ///
    /// # Errors
    /// The database failed.
    pub async fn is_position_unknown(&self, agent: AgentId) -> Result<bool, StoreError> {
        let question = "select g.latitude from geolocation g join agent a on a.computer_id = g.computer_id \
                        where a.agent_id = $1 order by g.geolocation_id desc limit 1";
        let row = self.row(Statement::new(question, [int(agent.0)])).await?;
        Ok(row.is_some_and(|row| row.text("latitude") == "na"))
    }

    /// The number of a position that a computer was at. 0: it is gone already.
    ///
    /// # Errors
    /// The database failed.
    pub async fn position_number(&self, computer: ComputerId, at: Timestamp) -> Result<i64, StoreError> {
        let question = "select geolocation_id from geolocation where computer_id = $1 and at = $2 order by geolocation_id desc limit 1";
        let row = self.row(Statement::new(question, [int(computer.0), int(at.0)])).await?;
        Ok(row.map_or(0, |row| row.int("geolocation_id")))
    }

    /// One more beginning of paths that files may be deployed to.
    ///
    /// # Errors
    /// The database failed.
    pub async fn add_path(&self, name: String, comment: String) -> Answer<i64> {
        self.deed(Deed::new(Action::PathAdd, Subject::Path).with("name", name.as_str()), move |tx| {
            Box::pin(async move {
                if number(tx, "select count(*) as n from well_known_path", []).await? >= PATHS_MAX {
                    return Ok(Err(Refused::Conflict(format!("there are at most {PATHS_MAX} well-known paths"))));
                }
                let made = tx
                    .row(Statement::new(
                        "insert into well_known_path (name, comment, is_default) values ($1, $2, $3) \
                         on conflict (name) do nothing returning well_known_path_id",
                        [text(name.clone()), text(comment), flag(false)],
                    ))
                    .await?;
                let taken = Refused::Conflict(format!("the path {name} is there already"));
                Ok(made.map(|row| row.int("well_known_path_id")).ok_or(taken))
            })
        })
        .await
    }

    /// Another name, comment or default. Exactly one path is the default.
    ///
    /// # Errors
    /// The database failed.
    pub async fn change_path(
        &self,
        id: i64,
        name: Option<String>,
        comment: Option<String>,
        becomes_default: bool,
    ) -> Answer<()> {
        self.deed(Deed::to(Action::PathChange, Subject::Path, id).with("name", name.clone()), move |tx| {
            Box::pin(async move {
                if !exists(tx, "select 1 as n from well_known_path where well_known_path_id = $1", id).await? {
                    return Ok(Err(Refused::Absent(format!("there is no path {id}"))));
                }
                if let Some(name) = &name {
                    let other = "select well_known_path_id from well_known_path where name = $1";
                    let other = tx.row(Statement::new(other, [text(name.clone())])).await?;
                    if other.is_some_and(|row| row.int("well_known_path_id") != id) {
                        return Ok(Err(Refused::Conflict(format!("the path {name} is there already"))));
                    }
                }
                tx.execute(Statement::new(
                    "update well_known_path set name = coalesce($2, name), comment = coalesce($3, comment) \
                     where well_known_path_id = $1",
                    [int(id), Value::Text(name), Value::Text(comment)],
                ))
                .await?;
                if becomes_default {
                    let only = "update well_known_path set is_default = (well_known_path_id = $1)";
                    tx.execute(Statement::new(only, [int(id)])).await?;
                }
                Ok(Ok(()))
            })
        })
        .await
    }

    /// Removes a path; the default one stays.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_path(&self, id: i64) -> Answer<()> {
        self.deed(Deed::to(Action::PathRemove, Subject::Path, id), move |tx| {
            Box::pin(async move {
                let delete = "delete from well_known_path where well_known_path_id = $1 and not is_default";
                let gone = tx.execute(Statement::new(delete, [int(id)])).await?;
                Ok(if gone == 0 {
                    Err(Refused::Conflict(format!("path {id} is the default one, or there is none")))
                } else {
                    Ok(())
                })
            })
        })
        .await
    }
}
