//! Beginnings of paths that files may be deployed to; what administrators change of them is in `administer`.

use serde::Serialize;

use crate::store::{
    Store, StoreError,
    administer::LIST_ROWS_MAX,
    db::{Row, Statement},
};

/// A beginning of a path on devices, such as `%SDCARD%`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathView {
    /// Key.
    pub id: i64,
    /// As it stands in values of policies.
    pub name: String,
    /// For people.
    pub comment: String,
    /// Whether it is proposed first.
    pub is_default: bool,
}

impl Store {
    /// All of them.
    ///
    /// # Errors
    /// The database failed.
    pub async fn well_known_paths(&self) -> Result<Vec<PathView>, StoreError> {
        let question = "select well_known_path_id, name, comment, is_default from well_known_path \
            order by well_known_path_id limit $1";
        Ok(self.rows(Statement::new(question, [LIST_ROWS_MAX.into()])).await?.iter().map(view).collect())
    }
}

fn view(row: &Row) -> PathView {
    PathView {
        id: row.int("well_known_path_id"),
        name: row.text("name"),
        comment: row.text("comment"),
        is_default: row.flag("is_default"),
    }
}
