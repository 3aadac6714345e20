//! What a database says of itself: how often a server was started on it, and with which key. Judges nothing.

use super::{Store, StoreError, db::Statement};

/// What earlier starts left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// How many there were.
    pub starts: i64,
    /// The number of the key that the last of them had. `None`: it did not say.
    pub key_number: Option<i64>,
}

impl Store {
    /// Whether a server was started on it before, and with which key.
    ///
    /// # Errors
    /// The database failed.
    pub async fn past(&self) -> Result<Past, StoreError> {
        let rows = self.rows(Statement::new("select name, value from meta", [])).await?;
        let value = |name: &str| rows.iter().find(|row| row.text("name") == name).map(|row| row.int("value"));
        Ok(Past { starts: value("starts").unwrap_or_default(), key_number: value("key_number") })
    }

    /// Counts this start of a server, keeps the number of its key, and gives the start's: the upper half of its connection numbers
    /// ([`super::agent::CONNECTIONS_PER_START_BITS`]).
    ///
    /// # Errors
    /// The database failed.
    pub async fn start_number(&self, key_number: i64) -> Result<i64, StoreError> {
        let keep = Statement::new(
            "insert into meta (name, value) values ('key_number', $1) on conflict (name) do update set value = $1",
            [key_number.into()],
        );
        let count = Statement::new(
            "insert into meta (name, value) values ('starts', 1) \
             on conflict (name) do update set value = meta.value + 1 returning value",
            [],
        );
        let row = self.write(move |tx| {
            Box::pin(async move {
                tx.execute(keep).await?;
                tx.row(count).await
            })
        });
        let row = row.await?;
        row.map(|row| row.int("value")).ok_or_else(|| StoreError::Database("the start was not counted".into()))
    }
}
